"""A checkpoint file's tensors: read from disk one by one, from the formats they come in."""

from __future__ import annotations

import pickle
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open

from anydoor_lab.structures.errors import InputError

WRAPPER = "module."
"""What training on several devices puts before every name."""
PRECISIONS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
_ZIP, _PICKLE = b"PK\x03\x04", b"\x80"
_HEADER = 8
_SHOWN = 10


@dataclass(frozen=True, slots=True)
class Source:
    """The tensors of a checkpoint, by their names in the released layout."""

    path: Path
    shapes: dict[str, tuple[int, ...]]
    fetch: Callable[[str], torch.Tensor]

    def usable(self, name: str) -> torch.Tensor:
        """The tensor of this name.

        Raises:
            ValueError: it is no plain tensor of floating-point numbers, or holds NaN or inf.
        """
        tensor = self.fetch(name)
        if tensor.layout is not torch.strided or tensor.dtype not in PRECISIONS:
            seen = f"{tensor.layout} {tensor.dtype}".replace("torch.", "")
            raise InputError(f"{name} of {self.path} is {seen}; expected plain 16 to 64 bit floats")
        if not torch.isfinite(tensor).all():
            number = int((~torch.isfinite(tensor)).sum())
            raise InputError(
                f"{name} of {self.path} has {number} values that are NaN or inf; it was spoilt in "
                "training or copying: take another checkpoint"
            )
        return tensor


@contextmanager
def opened(path: Path) -> Iterator[Source]:
    """The tensors of a `.safetensors` or a `torch.save` file, memory-mapped.

    The format is told by the content.

    Raises:
        ValueError: the file is missing, damaged, no checkpoint, of torch's old format, or holds
            more than tensors.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there; give the path of a .ckpt or .safetensors file")
    with path.open("rb") as file:
        head = file.read(_HEADER + 1)
    if head.startswith(_ZIP) and path.suffix == ".safetensors":  # torch goes by the ending
        raise InputError(f"{path} is a torch.save file; rename it to .ckpt")
    if head.startswith(_ZIP):
        tensors = _tensors_of(_unpickled(path), path)
        shapes = {name: tuple(tensor.shape) for name, tensor in tensors.items()}
        yield _unwrapped(Source(path, shapes, tensors.__getitem__))
    elif head.endswith(b"{") or path.suffix == ".safetensors":
        with _safetensors(path) as file:
            names = file.keys()
            shapes = {name: tuple(file.get_slice(name).get_shape()) for name in names}
            yield _unwrapped(Source(path, shapes, file.get_tensor))
    elif head.startswith(_PICKLE):
        raise InputError(
            f"{path} is a bare pickle, the format of torch.save before torch 1.6: it has no "
            "checksums, so damage would pass for weights, and cannot be read tensor by tensor. "
            "Where you trust it, write it anew: torch.save(torch.load(old, weights_only=True), new)"
        )
    else:
        raise InputError(
            f"{path} is neither a .safetensors nor a torch.save file, or its beginning is damaged; "
            "download it again"
        )


def _safetensors(path: Path) -> Any:
    try:
        return safe_open(path, "pt")
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged ({error}); download it again") from error


def _unpickled(path: Path) -> Any:
    try:
        _check_sums(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except pickle.UnpicklingError as error:
        raise InputError(
            f"{path} holds more than tensors and plain values, and loading it could run foreign "
            "code: refused; convert it to .safetensors where you trust it"
        ) from error
    except Exception as error:  # damaged archives and pickles raise errors of every kind
        what = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError(f"{path} is no whole checkpoint ({what}); download it again") from error


def _check_sums(path: Path) -> None:
    """Read the whole archive once: torch alone takes damaged weights for good ones."""
    with zipfile.ZipFile(path) as archive:
        # written so by torch.serialization.set_crc32_options(False)
        without = all(entry.CRC == 0 for entry in archive.infolist())
        damaged = None if without else archive.testzip()
    if damaged:
        raise zipfile.BadZipFile(f"the checksum of its {damaged} is wrong")


def _tensors_of(content: Any, path: Path) -> dict[str, torch.Tensor]:
    named = content.get("state_dict", content) if isinstance(content, Mapping) else {}
    pairs = named.items() if isinstance(named, Mapping) else ()
    tensors = {name: tensor for name, tensor in pairs if isinstance(tensor, torch.Tensor)}
    if not tensors or not all(isinstance(name, str) for name in tensors):
        seen = type(content).__name__
        if isinstance(content, Mapping):
            keys = [str(key) for key in content][:_SHOWN]
            seen = f"a dict of {', '.join(keys)}" if keys else "an empty dict"
        raise InputError(
            f"{path} has no tensors under state_dict: it is {seen}; expected a checkpoint of "
            "AnyDoor or Stable Diffusion"
        )
    return tensors


def _unwrapped(source: Source) -> Source:
    """The same without the wrappers that every name has."""
    prefix = ""
    while source.shapes and all(name.startswith(prefix + WRAPPER) for name in source.shapes):
        prefix += WRAPPER
    shapes = {name.removeprefix(prefix): shape for name, shape in source.shapes.items()}
    return Source(source.path, shapes, lambda name: source.fetch(prefix + name))
