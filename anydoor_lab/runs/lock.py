"""One process at a time in a run's folder."""

from __future__ import annotations

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import writing

LOCK = ".lock"
_TRIES = 10
_own: set[Path] = set()
"""The folders this process holds: opening and closing their lock's file would let go of it."""


class InUse(InputError):
    """A folder that another process holds; the sentence says which."""


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold `folder`, made where it is not there, against other processes.

    The lock dies with its process, also with a killed one; child processes do not share it. A
    folder in which nothing else was made is removed again.

    Raises:
        InUse: another process holds it; the sentence says which.
        FileError: nothing can be written there.
    """
    file = _taken(folder)
    _own.add(folder.resolve())
    try:
        yield
    finally:
        _own.discard(folder.resolve())
        (folder / LOCK).unlink(missing_ok=True)
        file.close()
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def holder_of(folder: Path) -> str:
    """Which process holds `folder`, as "process 12 on host"; empty where none does."""
    if folder.resolve() in _own:
        return _myself()
    try:
        file = (folder / LOCK).open("r+")
    except OSError:
        return ""
    with file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return file.read(200).strip() or "another process"
    return ""


def _myself() -> str:
    return f"process {os.getpid()} on {socket.gethostname()}"


def _taken(folder: Path) -> IO[str]:
    path = folder / LOCK
    for _ in range(_TRIES):
        with writing(folder):
            folder.mkdir(parents=True, exist_ok=True)
            file = path.open("a+")
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as error:
            file.seek(0)
            holder = file.read(200).strip() or "another process"
            file.close()
            raise InUse(
                f"{folder} is in use by {holder}; wait for it or stop it, or choose another "
                "hydra.run.dir"
            ) from error
        if path.is_file() and path.stat().st_ino == os.fstat(file.fileno()).st_ino:
            break  # else its former holder has just removed it
        file.close()
    else:
        raise InputError(f"{folder} is taken and left by others again and again; try later")
    with writing(path):
        file.truncate(0)
        file.write(_myself())
        file.flush()
    return file
