"""Checkpoints: atomic, checksummed folders of tensors and facts.

A checkpoint is written beside its final place, flushed to disk and then renamed, so that a folder
with the final name is always whole; older ones are pruned only after that.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import warnings
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from anydoor_lab.structures.errors import InputError

Tensors = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: `tensors[group][name]` on the CPU and JSON-like `facts`."""

    path: Path
    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    facts: dict[str, Any]


def save_checkpoint(
    folder: Path, step: int, tensors: Mapping[str, Tensors], facts: dict[str, Any], keep: int = 2
) -> Path:
    """Publish `folder/step_<step>` atomically and return its path.

    Of the older ones the newest `keep` - 1 stay. Later ones, which a run that was set back left
    behind, are not counted: they may be damaged.

    Raises:
        ValueError: `keep` is below 1.
    """
    if keep < 1:
        raise InputError(f"keep is {keep}; expected at least 1 checkpoint to be kept")
    folder.mkdir(parents=True, exist_ok=True)
    final = folder / f"step_{step:08d}"
    part = folder / f".{final.name}.part"
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir()
    try:
        write_folder(part, tensors, {**facts, "step": step})
        shutil.rmtree(final, ignore_errors=True)
        part.rename(final)
    finally:
        shutil.rmtree(part, ignore_errors=True)
    _flush(folder)
    for old in [path for path in _published(folder) if path.name <= final.name][:-keep]:
        shutil.rmtree(old)
    return final


def write_folder(folder: Path, tensors: Mapping[str, Tensors], facts: dict[str, Any]) -> None:
    """Write `<group>.safetensors` each, `facts.json` and a manifest of SHA-256 hashes."""
    for group, named in tensors.items():
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
        save_file(contiguous, folder / f"{group}.safetensors")
    (folder / "facts.json").write_text(json.dumps(facts, indent=1, sort_keys=True))
    hashes = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / "manifest.json").write_text(json.dumps(hashes, indent=1))
    for path in [*folder.iterdir(), folder]:
        _flush(path)


def load_checkpoint(path: Path, groups: Collection[str] | None = None) -> Checkpoint:
    """The checkpoint in `path`, verified against its manifest; of its tensors all or `groups`.

    Raises:
        ValueError: it is missing, incomplete or damaged (the sentence names the file).
    """
    try:
        hashes = json.loads((path / "manifest.json").read_text())
        files = [name for name in hashes if groups is None or Path(name).stem in {*groups, "facts"}]
        for name in files:
            if _sha256(path / name) != hashes[name]:
                raise InputError(f"{path / name} is damaged (its SHA-256 differs)")
        weights = [name for name in files if name.endswith(".safetensors")]
        tensors = {Path(name).stem: load_file(path / name) for name in weights}
        facts = json.loads((path / "facts.json").read_text())
    except (OSError, json.JSONDecodeError, SafetensorError, UnicodeDecodeError) as error:
        raise InputError(f"{path} is no complete checkpoint ({error})") from error
    return Checkpoint(path, int(facts["step"]), tensors, facts)


def newest_checkpoint(folder: Path, groups: Collection[str] | None = None) -> Checkpoint | None:
    """The newest valid checkpoint in `folder`, or None where there is no checkpoint at all.

    Damaged ones are passed over with a warning.

    Raises:
        ValueError: there are checkpoints, but none is valid.
    """
    published = _published(folder)
    problems = []
    for path in reversed(published):
        try:
            return load_checkpoint(path, groups)
        except ValueError as error:
            problems.append(str(error))
            warnings.warn(f"passing over a checkpoint: {error}", stacklevel=2)
    if problems:
        raise InputError(f"{folder} has no valid checkpoint: {'; '.join(problems)}")
    return None


def load_named(target: Mapping[str, torch.Tensor], named: Tensors, what: str) -> None:
    """Copy `named` into the tensors of `target` in place.

    Raises:
        ValueError: names or shapes differ; the sentence names the first difference.
    """
    for name in sorted(set(target) ^ set(named)):
        where = "is missing from" if name in target else "is not part of the model but in"
        raise InputError(f"{what} is of another architecture: {name} {where} the checkpoint")
    for name, tensor in target.items():
        if tensor.shape != named[name].shape:
            seen, expected = list(named[name].shape), list(tensor.shape)
            raise InputError(
                f"{what} is of another architecture: {name} is {seen}, the model has {expected}"
            )
    with torch.no_grad():
        for name, tensor in target.items():
            tensor.copy_(named[name])


def hash_tensors(named: Tensors) -> str:
    """SHA-256 over names, shapes and bytes: equal exactly where the weights are equal."""
    digest = hashlib.sha256()
    for name in sorted(named):
        tensor = named[name].detach().cpu().contiguous()
        digest.update(f"{name}{tuple(tensor.shape)}{tensor.dtype}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def fingerprint(named: Tensors) -> str:
    """16 hex digits from up to 1,000 evenly spaced values of every tensor: tells networks apart
    in milliseconds, where `hash_tensors` reads gigabytes."""
    few = {n: t.detach().flatten()[:: max(1, t.numel() // 1000)].clone() for n, t in named.items()}
    return hash_tensors(few)[:16]


def _published(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"step_\d{8,}", path.name))


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
