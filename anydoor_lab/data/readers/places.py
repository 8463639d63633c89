"""Where the files of a set are: no name that an annotation file gives leads out of its folder."""

from __future__ import annotations

import json
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar

from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".bmp")
OUTSIDE = "path out of the root"
_DIGITS = re.compile(r"(\d+)")
_Thing = TypeVar("_Thing")


def inside(folder: Path, name: Any, told_by: str) -> Path:
    """The file that an annotation names, below `folder`; it may be missing.

    A name with accents is found however they are written on the disk.

    Args:
        folder: where the names of the annotation begin; it may itself be a link.
        name: as the annotation has it.
        told_by: the annotation's file, named by the error.

    Raises:
        UnusablePair: the name is no path below the folder, or a link leads out of it. Nothing was
            opened.
    """
    if not isinstance(name, str) or not name or "\0" in name or len(name) > 4096:
        raise UnusablePair(OUTSIDE, f"{told_by} names the file {name!r:.80}")
    pure = PurePosixPath(name)
    if pure.is_absolute() or ".." in pure.parts or "\\" in name:
        raise UnusablePair(OUTSIDE, f"{told_by} names the file {name!r:.200}")
    path = folder / name
    if not os.path.lexists(path):
        forms = (folder / unicodedata.normalize(form, name) for form in ("NFC", "NFD"))
        path = next(filter(os.path.lexists, forms), path)
    if not Path(os.path.realpath(path)).is_relative_to(os.path.realpath(folder)):
        raise UnusablePair(OUTSIDE, f"{told_by} names {name!r:.200}, a link that leads elsewhere")
    return path


def below(root: Path, path: Path) -> str:
    """A path as rows and parts name it: below the root, with "/"."""
    return path.relative_to(root).as_posix()


def in_order(names: Iterable[str]) -> list[str]:
    """Names sorted as people count: 2 before 10, however many zeros are written."""
    return sorted(names, key=lambda name: (_counted(name), name))


def _counted(name: str) -> list[Any]:
    return [int(p) if n % 2 else p for n, p in enumerate(_DIGITS.split(name))]


def folders(path: Path) -> list[Path]:
    """The sub-folders in order, hidden ones left out.

    Raises:
        ValueError: the folder cannot be listed.
    """
    return [path / name for name in in_order(e.name for e in _entries(path) if e.is_dir())]


def files(path: Path, endings: Sequence[str] = PICTURES) -> list[Path]:
    """The files of a folder with one of these endings, in order; hidden ones left out.

    Raises:
        ValueError: the folder cannot be listed.
    """
    found = (entry.name for entry in _entries(path) if entry.name.lower().endswith(tuple(endings)))
    return [path / name for name in in_order(found)]


def photos(path: Path) -> list[Path]:
    """The pictures of a folder, without the masks (`0_mask.png` beside `0.png`) among them.

    Raises:
        ValueError: the folder cannot be listed.
    """
    return [picture for picture in files(path) if not picture.stem.endswith("_mask")]


def _entries(path: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(path) as entries:
            return [entry for entry in entries if entry.name[0] != "."]
    except OSError as error:
        raise InputError(f"{path} cannot be listed ({error.strerror})") from error


def by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    """The files by their names without ending, accents written one way."""
    return {composed(path.stem): path for path in paths}


def composed(name: str) -> str:
    """A name with its accents written one way (NFC): macOS writes them the other."""
    return unicodedata.normalize("NFC", name)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        ValueError: it cannot be read or is not whole.
    """
    try:
        with path.open("rb") as file:
            return json.load(file)
    except OSError as error:
        raise InputError(f"{path} cannot be read ({error.strerror})") from error
    except (ValueError, RecursionError) as error:
        raise InputError(
            f"{path} is no whole JSON file ({error}); get it again, it was probably cut short"
        ) from error


def listed(table: Any, key: str, path: Path) -> list[dict[str, Any]]:
    """The entries of a JSON file's list.

    Raises:
        ValueError: there is no such list of objects.
    """
    found = table.get(key) if isinstance(table, dict) else None
    if not isinstance(found, list) or not all(isinstance(entry, dict) for entry in found):
        raise InputError(f"{path} has no list {key!r} of objects; expected the released file")
    return found


def categories_of(table: Any) -> dict[Any, str]:
    """The names of a COCO-like file's categories by their ids."""
    found = objects_in(table.get("categories") if isinstance(table, dict) else None)
    return {hashable(one["id"]): str(one.get("name", one["id"])) for one in found if "id" in one}


def chunks(things: Sequence[_Thing], size: int) -> Iterator[tuple[int, Sequence[_Thing]]]:
    """(number, up to `size` things) ..."""
    for start in range(0, len(things), size):
        yield start // size, things[start : start + size]


def objects_in(value: Any) -> list[dict[str, Any]]:
    """The JSON objects of a list, whatever an annotation file has there."""
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def hashable(identity: Any) -> Any:
    """An id that can be looked up, whatever an annotation file has there."""
    return identity if isinstance(identity, int | str) else repr(identity)
