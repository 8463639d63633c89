"""What tells weights and photographs on the disk from others; no network is read for it."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from anydoor_lab.config.values import absence
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import named

WEIGHTS = (".safetensors", ".bin", ".json")
"""What a network is read from; a folder without any is one of photographs."""
BLOCK, BLOCKS = 2**16, 256
"""Bytes that are read at a time, and how often, evenly spaced, of a larger file."""


def weights_of(source: str | Path) -> list[Path]:
    """The files that tell what `load_pipeline` reads from `source`.

    Raises:
        ValueError: there is no such folder.
    """
    from anydoor_lab.models.embedded import locate
    from anydoor_lab.models.idx.table import EMBEDDED_PARTS
    from anydoor_lab.models.joint import is_joint, part_beside
    from anydoor_lab.models.sources import INDEX
    from anydoor_lab.runs.folder import Run
    from anydoor_lab.training.checkpoint import MANIFEST

    folder = Path(locate(source))
    if not folder.is_dir():
        raise InputError(f"{folder} {absence(folder)}")
    if is_joint(folder):
        parts = {part_beside(folder, part) for part in ("vae", *EMBEDDED_PARTS.values())}
        return [path for one in (folder, *sorted(parts)) for path in files_of(one)]
    if (folder / INDEX).is_file():
        return files_of(folder)
    # a manifest has the SHA-256 of every file, among them the facts, which know the frozen networks
    manifests = [folder / MANIFEST, *Run(folder, {}).checkpoints.glob(f"step_*/{MANIFEST}")]
    return [path for path in sorted(manifests) if path.is_file()][-1:]


def files_of(folder: Path) -> list[Path]:
    """The files of weights below a folder, of a folder without weights all files."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return [path for path in files if path.suffix in WEIGHTS] or files


def folders_of(method: Mapping[str, Any]) -> list[Path]:
    """The folders of this machine that a node `method` names where it takes a path."""
    known = inspect.signature(named(method["_target_"])).parameters
    found: list[Path] = []
    for name in (name for name in method if name in known):
        value = method[name] if "Path" in str(known[name].annotation) else None
        several = value if isinstance(value, list) else [value]
        found += [Path(one) for one in several if one and Path(one).is_dir()]
    return found


def fingerprint(paths: Iterable[Path]) -> str:
    """16 hex digits that differ where the files do: from their sizes and their bytes, of a file
    beyond 16 MiB from 256 evenly spaced pieces."""
    found = hashlib.blake2b(digest_size=8)
    for path in paths:
        size = path.stat().st_size
        found.update(f"{path.name} {size} ".encode())
        with path.open("rb") as file:
            for start in range(0, size, max(BLOCK, size // BLOCKS)):
                file.seek(start)
                found.update(file.read(BLOCK))
    return found.hexdigest()
