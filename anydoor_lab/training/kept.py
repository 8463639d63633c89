"""What frozen networks make of training batches, kept on the disk for other runs of a sweep."""

from __future__ import annotations

import hashlib
import io
import json
import os
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch

from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.structures.files import writing
from anydoor_lab.training.checkpoint import hash_tensors


class KeptOutputs:
    """Outputs by what they follow from: the network's weights and settings and every byte shown.

    Whole batches are kept, since what a network makes of a picture may differ in the last bit with
    the batch it is in; so what is read is, bit for bit, what would be computed. Any number of
    processes may share the folder; a damaged file counts as not there.

    Args:
        folder: where the files go.
        networks: a network's name to what tells its weights and settings from others.
    """

    def __init__(self, folder: Path, networks: Mapping[str, str]) -> None:
        self.folder, self.networks = folder, dict(networks)

    def __call__(
        self, name: str, shown: torch.Tensor, compute: Callable[[torch.Tensor], torch.Tensor]
    ) -> torch.Tensor:
        """`compute(shown)`, read where it is kept, else computed and kept.

        Raises:
            FileError: it cannot be written.
        """
        path = self._path(name, shown)
        found = _read(path)
        if found is None:
            found = compute(shown).contiguous()
            _write(path, found.numpy())
        return found

    def _path(self, name: str, shown: torch.Tensor) -> Path:
        array = shown.detach().contiguous().numpy()
        key = hashlib.sha256(f"{self.networks[name]} {array.shape} {array.dtype}".encode())
        key.update(f"{torch.__version__} {torch.get_num_threads()}".encode())
        key.update(array.tobytes())
        digest = key.hexdigest()[:32]
        return self.folder / name / digest[:2] / f"{digest[2:]}.npy"


def kept_outputs(model: AnyDoor, folder: Path) -> KeptOutputs:
    """Where the latents and the ID features of a model are kept."""
    parts: dict[str, Any] = {"latents": model.vae, "features": model.id_extractor}
    networks = {}
    for name, part in parts.items():
        frozen = {k: v for k, v in part.state_dict().items() if not k.startswith("projector.")}
        settings = json.dumps(dict(part.config), sort_keys=True, default=str)
        networks[name] = f"{type(part).__name__} {hash_tensors(frozen)} {settings}"
    networks["latents"] += f" read {model.latents_side} x {model.latents_side}"
    return KeptOutputs(folder, networks)


def _read(path: Path) -> torch.Tensor | None:
    try:
        content = path.read_bytes()
        if zlib.crc32(content[:-4]) != int.from_bytes(content[-4:], "big"):
            return None
        return torch.from_numpy(np.load(io.BytesIO(content[:-4]), allow_pickle=False))
    except (OSError, ValueError, EOFError):
        return None


def _write(path: Path, array: np.ndarray) -> None:
    buffer = io.BytesIO()
    np.save(buffer, array)
    content = buffer.getvalue()
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    with writing(path):  # not flushed: a torn file is found out when it is read
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content + zlib.crc32(content).to_bytes(4, "big"))
        part.replace(path)
