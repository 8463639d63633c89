"""Files and folders that appear whole or not at all, and small files that carry a checksum."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anydoor_lab.structures.errors import FileError, InputError

SEAL = "sha256"
"""The key under which a small file carries the first 16 hex digits of its values' SHA-256."""
MOST_BYTES = 256 * 2**20
"""No file that is read as text is larger."""


@contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Say in one sentence that `path` cannot be written: a full disk, a folder to be read only.

    Raises:
        FileError: the system refused.
    """
    try:
        yield
    except FileError:
        raise
    except OSError as error:
        raise FileError(
            f"{path} cannot be written ({error.strerror or error}); make room, allow writing there "
            "or choose another folder"
        ) from error


def write_whole(path: str | Path, content: str | bytes) -> Path:
    """Write text (UTF-8) or bytes through a temporary file, creating the folder; the path.

    Raises:
        FileError: it cannot be written; what stood there before stays.
    """
    path = Path(path)
    temporary = _beside(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with temporary.open("wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)
    return path


def write_unflushed(path: Path, content: bytes) -> None:
    """As `write_whole`, but the system brings it to the disk when it likes: for files that carry
    a checksum and can be made again.

    Raises:
        FileError: it cannot be written.
    """
    temporary = _beside(path)
    with writing(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            temporary.write_bytes(content)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def check_writable(path: str | Path) -> None:
    """Find out before the work whether `write_whole` can write here; leaves nothing behind.

    Raises:
        ValueError: the folder cannot be created or written to, or a folder, pipe or device stands
            at the path.
    """
    path = Path(path)
    standing = next(folder for folder in path.absolute().parents if folder.exists())
    trial = _beside(standing / path.name)
    try:
        trial.touch()
        trial.unlink()
        mode = path.stat().st_mode if path.exists() else stat.S_IFREG
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); choose another") from error
    if not stat.S_ISREG(mode):
        raise InputError(f"{path} is a folder, a pipe or a device; choose another file")


def _beside(path: Path) -> Path:
    return path.with_name(f".{path.name}.{os.getpid()}.part")


@contextmanager
def whole_folder(folder: Path, part: Path) -> Iterator[Path]:
    """The fresh folder `part` to be filled, which becomes `folder` at the end of the block, in the
    place of one that stands there; after an error neither `part` nor a change is left.

    Raises:
        FileError: the system refused to write.
    """
    aside = folder.with_name(f"{folder.name}{ASIDE}")
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(part, ignore_errors=True)
        try:
            part.mkdir()
            yield part
            flush_folder(part)
            if folder.exists():
                shutil.rmtree(aside, ignore_errors=True)
                folder.rename(aside)
            try:
                part.rename(folder)
            except OSError:
                if aside.exists():
                    aside.rename(folder)
                raise
            flush(folder.parent)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    shutil.rmtree(aside, ignore_errors=True)


ASIDE = ".replaced"
"""What a folder's name ends with while another takes its place."""


def flush_folder(folder: Path) -> None:
    """Give every file below `folder` the rights new files have, and bring all of it to the disk.

    Some libraries write files that only their owner may read.
    """
    probe = folder / ".rights"
    probe.touch()
    rights = probe.stat().st_mode & 0o777
    probe.unlink()
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(rights)
        flush(path)
    flush(folder)


def flush(path: Path) -> None:
    """Bring a file or a folder's list of files to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sealed(values: Mapping[str, Any]) -> dict[str, Any]:
    """The values, as JSON gives them back, with their checksum."""
    known = json.loads(json.dumps(values))
    return {**known, SEAL: _seal(known)}


def _seal(values: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:16]


def write_sealed(path: Path, values: Mapping[str, Any]) -> Path:
    """Write values as JSON with their checksum, for `read_sealed`; the path."""
    return write_whole(path, json.dumps(sealed(values), indent=1))


def read_sealed(path: Path) -> dict[str, Any]:
    """What `write_sealed` wrote; also JSON without a checksum, as older versions wrote it.

    Raises:
        ValueError: it cannot be read, or it is damaged (the sentence names the file).
    """
    return unsealed(read_small(path), path)


def unsealed(text: str, where: object) -> dict[str, Any]:
    """The values of a JSON text without their checksum, which is compared where it is there.

    Args:
        text: one JSON object.
        where: named by the error.

    Raises:
        ValueError: the text is damaged.
    """
    try:
        values = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{where} is damaged ({error})") from error
    if not isinstance(values, dict):
        raise InputError(f"{where} is damaged: expected values by name")
    seal = values.pop(SEAL, None)
    named = seal is not None
    if not named and values:  # a damaged name does not hide a checksum, which comes last
        last = list(values)[-1]
        named = values[last] == _seal({k: v for k, v in values.items() if k != last})
    if named and seal != _seal(values):
        raise InputError(f"{where} is damaged (its checksum differs)")
    return values


def read_small(path: Path, most: int = MOST_BYTES, errors: str = "strict") -> str:
    """The text of a file; `errors` as in `bytes.decode`.

    Raises:
        ValueError: it cannot be read, is no UTF-8 or has more than `most` bytes.
    """
    try:
        if path.stat().st_size > most:
            raise InputError(f"{path} is damaged: {path.stat().st_size} bytes, at most {most}")
        return path.read_text("utf-8", errors)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror or error})") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is damaged (it is no UTF-8 text)") from error
