"""What frozen networks make of training pictures, kept on the disk for other epochs and runs."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch.utils.data import default_collate

from anydoor_lab.models.anydoor import AnyDoor, Compute
from anydoor_lab.structures.files import write_unflushed
from anydoor_lab.training.checkpoint import hash_tensors

SHOWN = {"latents": "target", "features": "id_image"}
"""What is kept, and which array of a sample each follows from."""
KINDS = {"latents": ("latents",), "tokens": ("features",), "both": ("latents", "features")}
"""What `data.cache` means: the trained projector stands behind an encoder's features."""
FORMAT = 2
"""Goes up when what is kept, or what it follows from, changes its meaning."""


class KeptOutputs:
    """Outputs by what they follow from: the network's weights and settings, what it computes on,
    and every byte it is shown; so the way a picture was cropped and changed is in it too.

    Any number of processes may share the folder; a damaged file counts as not there.

    Args:
        folder: where the files go.
        networks: a network's name to all that tells what it makes of the same bytes from what
            another would; "": nothing of it is kept.
    """

    def __init__(self, folder: Path, networks: Mapping[str, str]) -> None:
        self.folder, self.networks = folder, dict(networks)

    def __call__(self, name: str, shown: torch.Tensor, compute: Compute) -> torch.Tensor:
        """`compute(shown)` of a whole batch, read where it is kept, else computed and kept.

        What a network makes of a picture may differ in the last bit with the batch it is in; so
        what is read is, bit for bit, what would be computed.

        Raises:
            FileError: it cannot be written.
        """
        path = self._path(name, shown.detach().float().numpy())
        found = _read(path)
        if found is None:
            found = compute(shown)
            _write(path, found)
        return found

    def picture(self, inputs: Mapping[str, np.ndarray]) -> dict[str, tuple[str, Any]]:
        """Of a sample's arrays, by the network's name: its file ("" where nothing is kept), and
        what is in it or None."""
        known: dict[str, tuple[str, Any]] = {}
        for name, network in self.networks.items():
            if SHOWN[name] in inputs:
                path = self._path(name, inputs[SHOWN[name]]) if network else None
                known[name] = (str(path), _read(path)) if path else ("", None)
        return known

    def _path(self, name: str, array: np.ndarray) -> Path:
        key = hashlib.sha256(f"{FORMAT} {self.networks[name]} {array.shape} {array.dtype}".encode())
        key.update(np.ascontiguousarray(array).data)
        digest = key.hexdigest()[:32]
        return self.folder / name / digest[:2] / f"{digest[2:]}.kept"


@dataclass(frozen=True, slots=True, eq=False)
class KeptPictures:
    """What a frozen network makes of a batch's pictures, each by itself, so far as it is kept.

    A picture alone comes out the same in whatever batch it is asked for.

    Args:
        files: of each picture, "" where nothing is to be kept.
        found: which of them are there.
        values: (B, ...) of those that are; None where none is.
    """

    files: Sequence[str]
    found: Sequence[bool]
    values: torch.Tensor | None

    def __call__(self, shown: torch.Tensor, compute: Compute) -> torch.Tensor:
        """`compute` of each picture of `shown` (B, ...), what was not found kept from now on.

        Raises:
            FileError: it cannot be written.
        """
        if self.values is not None and all(self.found):
            return self.values
        rows = []
        for number, (file, found) in enumerate(zip(self.files, self.found, strict=True)):
            own = slice(number, number + 1)
            if found and self.values is not None:
                rows.append(self.values[own])
                continue
            rows.append(compute(shown[own]))
            if file:
                _write(Path(file), rows[-1][0])
        return torch.cat(rows)

    def only(self, wanted: Sequence[bool]) -> KeptPictures:
        """The same, pictures that are not wanted neither read nor kept."""
        files = [file if own else "" for file, own in zip(self.files, wanted, strict=True)]
        found = [there and own for there, own in zip(self.found, wanted, strict=True)]
        return replace(self, files=files, found=found)

    def to(self, *place: Any, **how: Any) -> KeptPictures:
        """The same with its values on another device."""
        return self if self.values is None else replace(self, values=self.values.to(*place, **how))

    def pin_memory(self, *place: Any) -> KeptPictures:
        """The same with its values where a GPU reads them without a copy between."""
        pinned = None if self.values is None else self.values.pin_memory(*place)
        return replace(self, values=pinned)


def collated(samples: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Samples as a batch; of what `KeptOutputs.picture` says of each one a `KeptPictures`."""
    kept = [sample["kept"] for sample in samples if "kept" in sample]
    plain = [{name: own for name, own in one.items() if name != "kept"} for one in samples]
    batch: dict[str, Any] = default_collate(plain)
    if kept:
        batch["kept"] = {name: _joined([one[name] for one in kept]) for name in kept[0]}
    return batch


def _joined(pictures: Sequence[tuple[str, torch.Tensor | None]]) -> KeptPictures:
    files, values = zip(*pictures, strict=True)
    one = next((value for value in values if value is not None), None)
    stacked = None
    if one is not None:
        nothing = torch.zeros_like(one)
        stacked = torch.stack([nothing if value is None else value for value in values])
    return KeptPictures(files, [value is not None for value in values], stacked)


def kept_outputs(
    model: AnyDoor, folder: Path, arithmetic: str, names: Sequence[str] = tuple(SHOWN)
) -> KeptOutputs:
    """Where the latents and the ID features of a model are kept.

    Args:
        model: its weights as they were loaded, before they are brought to another precision.
        folder: where the files go.
        arithmetic: what else the last bit depends on: device, precision, threads.
        names: the networks of which something is kept.
    """
    parts: dict[str, Any] = {"latents": model.vae, "features": model.id_extractor}
    networks = {}
    for name in names:
        weights = parts[name].state_dict()
        frozen = {k: v for k, v in weights.items() if not k.startswith("projector.")}
        settings = {k: v for k, v in dict(parts[name].config).items() if not k.startswith("_")}
        said = json.dumps(settings, sort_keys=True, default=str)
        kind = type(parts[name]).__name__
        networks[name] = f"{kind} {hash_tensors(frozen)} {said} {arithmetic}"
    return KeptOutputs(folder, networks)


def arithmetic_of(device: torch.device, precision: str, frozen_precision: str) -> str:
    """What the last bit of a network's output depends on beside its weights and its input."""
    on_gpu = device.type == "cuda"
    where = torch.cuda.get_device_name(device) if on_gpu else f"{torch.get_num_threads()} threads"
    return f"{torch.__version__} {device.type} {where} {precision} {frozen_precision}"


def _read(path: Path) -> torch.Tensor | None:
    try:
        content = path.read_bytes()
        if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "big"):
            return None
        return load(content[:-4])["kept"]
    except (OSError, SafetensorError, KeyError):
        return None


def _write(path: Path, value: torch.Tensor) -> None:
    content = save({"kept": value.detach().cpu().contiguous()})
    write_unflushed(path, content + zlib.crc32(content).to_bytes(4, "big"))
