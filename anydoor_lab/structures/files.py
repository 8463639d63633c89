"""Files that appear whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from anydoor_lab.structures.errors import InputError


def check_writable(path: str | Path) -> None:
    """Refuse a path where nothing can be written, before there is anything to write.

    Raises:
        ValueError: what is to be its folder is a file, or may not be written to.
    """
    folder = Path(path).absolute().parent
    while not folder.exists() and folder != folder.parent:
        folder = folder.parent
    if not folder.is_dir():
        raise InputError(f"{path} cannot be written: {folder} is a file; choose another place")
    if not os.access(folder, os.W_OK):
        raise InputError(f"{path} cannot be written: {folder} is read-only; choose another place")


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes through a temporary file, creating the folder; the path."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    temporary.write_bytes(content.encode() if isinstance(content, str) else content)
    temporary.replace(path)
    return path
