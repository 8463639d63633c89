"""Which files belong together by their names: masks with photos, cut-outs with photos, frames."""

from __future__ import annotations

import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath

_NUMBERED = re.compile(r"(.*?)(\d+)")
_ANYWHERE = "\0"
_SEPARATORS = re.compile(r"[\s._-]+")


def folded(name: str) -> str:
    """`name` as the eye compares it: one way of writing accents, no difference of letter case."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def key_of(path: PurePath) -> tuple[bool, str]:
    """Whether a file (relative to the root) is a mask, and the name it shares with its picture."""
    folders = [part for part in path.parts[:-1] if part.lower() not in {"images", "masks"}]
    in_masks = any(part.lower() == "masks" for part in path.parts[:-1])
    stem = path.stem
    marked = stem.lower().endswith(("_mask", "-mask"))
    stem = stem[:-5] if marked else stem
    return in_masks or marked, "/".join([*folders, stem])


def masks_by_picture(
    pictures: Mapping[Path, str], masks: Mapping[Path, str]
) -> dict[Path, list[Path]]:
    """The masks of each picture; a mask whose picture is not there stands in none of the lists.

    Names that are equal letter by letter belong together; a picture without such a mask takes one
    that differs in letter case or in how its accents are written (macOS against everybody else).

    Args:
        pictures, masks: the key of each file, from `key_of`.
    """
    exact: dict[str, list[Path]] = defaultdict(list)
    alike: dict[str, list[Path]] = defaultdict(list)
    own = set(pictures.values())
    for path, key in masks.items():
        (exact[key] if key in own else alike[folded(key)]).append(path)
    return {path: exact.get(key) or alike.get(folded(key), []) for path, key in pictures.items()}


@dataclass(frozen=True, slots=True)
class Picture:
    """What is known of a picture of a folder without its pixels.

    Args:
        path: the file.
        key: from `key_of`.
        cutout: whether its own alpha marks the object.
    """

    path: Path
    key: str
    cutout: bool


def objects_of(pictures: Mapping[str, Picture], tie_videos: bool = True) -> dict[str, str]:
    """The object each picture shows, called by the first name of its pictures.

    One object are: the frames of a sub-folder (all of whose pictures bear numbers: `bear/00000`,
    `bear/frame_1`), files of equal bytes, and a cut-out with the photos it may be cut from: of
    equal name (`cup.png`, `cup.jpg`; in another folder too unless the name is a number), or of a
    name that it lengthens (`cup_cutout.png`).

    Args:
        pictures: by the names under which the source lists them.
        tie_videos: whether two videos with a file of equal bytes are one object.
    """
    videos = list(_frames(pictures))
    frames = set() if tie_videos else {name for names in videos for name in names}
    equal = [[name for name in names if name not in frames] for names in _equal_files(pictures)]
    first = {name: name for name in pictures}

    def root(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    for alike in filter(None, (*videos, *equal, *_cut_from(pictures))):
        roots = sorted({root(name) for name in alike})
        first |= dict.fromkeys(roots, roots[0])
    return {name: root(name) for name in pictures}


def _frames(pictures: Mapping[str, Picture]) -> Iterable[list[str]]:
    """Names by sub-folder where all of its pictures are numbered alike; not in the folder that
    holds everything."""
    by_folder: dict[str, list[str]] = defaultdict(list)
    for name, picture in pictures.items():
        by_folder[picture.key.rpartition("/")[0]].append(name)
    if len(by_folder) == 1:
        return
    for folder, names in by_folder.items():
        stems = [_NUMBERED.fullmatch(pictures[name].key.rpartition("/")[2]) for name in names]
        if folder and len({match[1] if match else None for match in stems} | {None}) == 2:
            yield names


def _equal_files(pictures: Mapping[str, Picture]) -> Iterable[list[str]]:
    """Names of files of equal bytes; only files of one size are read."""
    sizes: dict[int, list[str]] = defaultdict(list)
    for name, picture in pictures.items():
        sizes[picture.path.stat().st_size].append(name)
    contents: dict[bytes, list[str]] = defaultdict(list)
    for names in sizes.values():
        for name in names if len(names) > 1 else ():
            contents[sha256(pictures[name].path.read_bytes()).digest()].append(name)
    return contents.values()


def _cut_from(pictures: Mapping[str, Picture]) -> Iterable[list[str]]:
    """Names of photos of one name, and of each cut-out with the photos that its name points to."""
    photos: dict[str, list[str]] = defaultdict(list)
    for name, picture in pictures.items():
        if not picture.cutout:
            key = folded(picture.key)
            photos[key].append(name)
            stem = key.rpartition("/")[2]
            if not stem.isdigit():
                photos[f"{_ANYWHERE}{stem}"].append(name)
    yield from [alike for key, alike in photos.items() if not key.startswith(_ANYWHERE)]
    for name, picture in pictures.items():
        if picture.cutout:
            folder, slash, stem = folded(picture.key).rpartition("/")
            ends = [match.start() for match in _SEPARATORS.finditer(stem)]
            begun = [f"{folder}{slash}{stem[:end]}" for end in ends if end]
            keys = [f"{folder}{slash}{stem}", f"{_ANYWHERE}{stem}", *begun]
            yield [name, *(photo for key in keys for photo in photos.get(key, ()))]
