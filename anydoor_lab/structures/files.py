"""Files that appear whole or not at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from anydoor_lab.structures.errors import InputError


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes through a temporary file, creating the folder; the path.

    Where writing fails (a full disk, say) what stood there stays, and no half file is left.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _beside(path)
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return path


def check_writable(path: str | Path) -> None:
    """Find out before the work whether `write_whole` can write here; creates the folder.

    Raises:
        ValueError: the folder cannot be created or written to, or a folder, pipe or device stands
            at the path.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _beside(path).touch()
        _beside(path).unlink()
        mode = path.stat().st_mode
    except FileNotFoundError:
        if path.parent.is_dir():
            return
        raise InputError(f"{path.parent} cannot be created; choose another folder") from None
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a folder, a pipe or a device; choose another file")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")
