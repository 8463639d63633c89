"""Checkpoints: atomic, checksummed folders of tensors and facts.

A checkpoint is written beside its final place, flushed to disk and then renamed, so that a folder
with the final name is always whole; older ones are pruned only after that.
"""

from __future__ import annotations

import hashlib
import json
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
from anydoor_lab.structures.files import ASIDE, read_sealed, whole_folder

Tensors = Mapping[str, torch.Tensor]
FACTS, MANIFEST, ENDING, PART = "facts.json", "manifest.json", ".safetensors", ".part"
NAME = re.compile(rf"step_(\d{{8,}})(?:{re.escape(ASIDE)})?")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """What a checkpoint holds: `tensors[group][name]` on the CPU and JSON-like `facts`."""

    path: Path
    step: int
    tensors: dict[str, dict[str, torch.Tensor]]
    facts: dict[str, Any]


def save_checkpoint(
    folder: Path,
    step: int,
    tensors: Mapping[str, Tensors],
    facts: dict[str, Any],
    keep: int = 2,
    lasting: bool = False,
) -> Path:
    """Publish `folder/step_<step>` atomically and return its path; `lasting`: a milestone before.

    Of the older ones the newest `keep` - 1 stay. Later ones, which a run that was set back left
    behind, are not counted: they may be damaged.

    Raises:
        ValueError: `keep` is below 1.
        FileError: it cannot be written; the older ones stay.
    """
    if keep < 1:
        raise InputError(f"keep is {keep}; expected at least 1 checkpoint to be kept")
    if lasting:
        save_milestone(folder, step, tensors["ema"], facts)
    final = folder / f"step_{step:08d}"
    with whole_folder(final, folder / f".{final.name}{PART}") as part:
        write_folder(part, tensors, {**facts, "step": step})
    for old in [path for path in _published(folder) if _order(path) <= _order(final)][:-keep]:
        _remove(old)
    for left in folder.glob(f".*_*{PART}"):
        shutil.rmtree(left, ignore_errors=True)
    return final


def save_milestone(folder: Path, step: int, averaged: Tensors, facts: dict[str, Any]) -> Path:
    """Publish `folder/milestone_<step>` atomically: the averaged weights alone, a quarter of a
    checkpoint. It is never pruned, and nothing can be resumed from it.

    Raises:
        FileError: it cannot be written.
    """
    final = folder / f"milestone_{step:08d}"
    with whole_folder(final, folder / f".{final.name}{PART}") as part:
        write_folder(part, {"ema": averaged}, {**facts, "step": step})
    return final


def write_folder(folder: Path, tensors: Mapping[str, Tensors], facts: dict[str, Any]) -> None:
    """Write `<group>.safetensors` each, `facts.json` and a manifest of SHA-256 hashes.

    Raises:
        OSError: the system refused to write.
    """
    for group, named in tensors.items():
        contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in named.items()}
        try:
            save_file(contiguous, folder / f"{group}.safetensors")
        except SafetensorError as error:
            raise OSError(f"{group}.safetensors: {error}") from error
    (folder / FACTS).write_text(json.dumps(facts, indent=1, sort_keys=True))
    hashes = {path.name: _sha256(path) for path in sorted(folder.iterdir())}
    (folder / MANIFEST).write_text(json.dumps(hashes, indent=1))


def load_checkpoint(path: Path, groups: Collection[str] | None = None) -> Checkpoint:
    """The checkpoint in `path`, verified against its manifest; of its tensors all or `groups`.

    Raises:
        ValueError: it is missing, incomplete or damaged (the sentence names the file).
    """
    try:
        hashes = _manifest(path, groups)
        files = [name for name in hashes if groups is None or Path(name).stem in {*groups, "facts"}]
        for name in files:
            if _sha256(path / name) != hashes[name]:
                raise InputError(f"{path / name} is damaged (its SHA-256 differs)")
        weights = [name for name in files if name.endswith(ENDING)]
        tensors = {Path(name).stem: load_file(path / name) for name in weights}
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path} is no complete checkpoint ({error})") from error
    facts = read_sealed(path / FACTS)
    step, named = facts.get("step"), NAME.fullmatch(path.name)
    if not isinstance(step, int) or (named and int(named[1]) != step):
        raise InputError(f"{path / FACTS} is of step {step}, which the folder's name is not")
    return Checkpoint(path, step, tensors, facts)


def _manifest(path: Path, groups: Collection[str] | None) -> dict[str, str]:
    """The hashes by file name, of at least the facts and `groups`, all of whose files are there.

    Raises:
        ValueError: the manifest is damaged or lacks one of them, or one of its files is gone.
    """
    hashes = read_sealed(path / MANIFEST)
    for name in (FACTS, *(f"{group}{ENDING}" for group in groups or ())):
        if name not in hashes:
            raise InputError(f"{path / MANIFEST} does not list {name}: it is damaged")
    for name in hashes:
        if Path(name).name != name or not (path / name).is_file():
            raise InputError(f"{path} is no complete checkpoint: {name} is missing")
    return hashes


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
        raise InputError(
            f"{folder} has no valid checkpoint: {'; '.join(problems)}; put one back, or train anew "
            "with train.resume=never overwrite=true"
        )
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
    """16 hex digits from up to 1,000 evenly spaced values of every tensor, as fp32: tells networks
    apart in milliseconds, where `hash_tensors` reads gigabytes."""
    few = {n: t.detach().flatten()[:: max(1, t.numel() // 1000)].float() for n, t in named.items()}
    return hash_tensors(few)[:16]


def _published(folder: Path) -> list[Path]:
    """The checkpoints, oldest first; one whose place another was taking comes before that."""
    if not folder.is_dir():
        return []
    return sorted((path for path in folder.iterdir() if NAME.fullmatch(path.name)), key=_order)


def _order(path: Path) -> tuple[int, bool]:
    found = NAME.fullmatch(path.name)
    return (int(found[1]) if found else -1, not path.name.endswith(ASIDE))


def _remove(path: Path) -> None:
    """Remove a checkpoint, which is gone at once; one that may not be removed stays."""
    part = path.with_name(f".{path.name}{PART}")
    try:
        path.rename(part)
    except OSError as error:
        warnings.warn(f"{path} cannot be removed ({error.strerror})", stacklevel=3)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
