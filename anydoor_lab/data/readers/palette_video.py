"""Videos whose masks are pictures of object numbers: YouTube-VOS, MOSE, DAVIS, VIPSeg as released.

`<masks>/<video>/<frame>.png` beside `<images>/<video>/<frame>.jpg`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from rlemasklib import RLEMask

from anydoor_lab.data.index.views import Part, View, without_mask
from anydoor_lab.data.readers.places import below, by_stem, composed, files, folders, read_json
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import DAMAGES

REQUIRED = ("images", "masks")
_MODES = ("P", "L", "1", "I", "I;16", "I;16B")
"""How PIL calls pictures whose values are numbers; colours would have to be guessed back."""


def parts(
    root: Path,
    *,
    images: str,
    masks: str,
    meta: str | None = None,
    list: str | None = None,  # noqa: A002  (the layout's word)
    first_id: int = 1,
    ids_per_category: int | None = None,
) -> Iterator[Part]:
    """One part for each video.

    Args:
        root: the set's folder.
        images, masks: folders with a sub-folder for each video.
        meta: YouTube-VOS' `meta.json`, which names the objects' categories.
        list: a text file with one video's name a line; null: every sub-folder of `masks`.
        first_id: the smallest number that is an object (VIPSeg: below 125 is stuff).
        ids_per_category: an object's number // this is its category (VIPSeg: 100).

    Raises:
        ValueError: a file is damaged or a folder cannot be listed.
    """
    objects = _objects(root / meta) if meta and (root / meta).is_file() else {}
    found = {composed(path.name): path for path in folders(root / masks)}
    wanted = _lines(root / list) if list else found
    pictures = {composed(path.name): path for path in folders(root / images)}
    for name in wanted:
        video = composed(name)
        own = [found[video]] if video in found else []
        shown = [pictures[video]] if video in pictures else []
        content = {
            "video": video,
            "masks": [below(root, path) for path in own],
            "images": [below(root, path) for path in shown],
            "objects": objects.get(video, {}),
            "first_id": first_id,
            "ids_per_category": ids_per_category,
        }
        sources = [below(root, path) for folder in own + shown for path in files(folder)]
        yield Part(video, tuple(sources), content)


def views(root: Path, part: Part) -> Iterator[View]:
    """The objects of every frame that has a mask."""
    facts, video = part.content, part.name
    masks = [path for folder in facts["masks"] for path in files(root / folder, (".png",))]
    images = by_stem(path for folder in facts["images"] for path in files(root / folder))
    seen: set[str] = set()
    if not masks:
        yield View(video, "", video, reason="video without masks")
    for place, mask in enumerate(masks):
        image = images.get(composed(mask.stem))
        frame = View(video, "", below(root, image or mask), place, len(masks))
        if image is None:
            yield without_mask(frame, UnusablePair("missing picture", f"of {below(root, mask)}"))
            continue
        try:
            numbers = read_numbers(mask)
        except UnusablePair as error:
            yield without_mask(frame, error)
            continue
        for view in _objects_of(frame, numbers, facts):
            seen.add(view.object)
            yield view
    for name in facts["objects"] if masks else ():
        if name not in seen:
            yield View(video, name, video, reason="object without a mask")


def read_numbers(path: Path) -> np.ndarray:
    """(H, W) whole numbers of a PNG, a palette's positions included.

    Raises:
        UnusablePair: it cannot be read, or is a picture of colours: those would have to be turned
            into numbers by guessing.
    """
    try:
        with opened(path) as picture:
            if picture.mode not in _MODES:
                seen = f"{path.name} is a picture of mode {picture.mode}; expected P or L"
                raise UnusablePair("mask of colours", seen)
            return np.asarray(picture).astype(np.int32)
    except UnusablePair:
        raise
    except (InputError, *DAMAGES) as error:
        raise UnusablePair("unreadable mask", f"{path.name}: {error}") from error


def masks_by_number(numbers: np.ndarray) -> dict[int, RLEMask]:
    """The mask of every number of (H, W) int32 but 0, in order."""
    present = np.unique(numbers)
    return {int(n): RLEMask.from_array(numbers == n) for n in present if n > 0}


def _objects_of(frame: View, numbers: np.ndarray, facts: Mapping[str, Any]) -> Iterator[View]:
    objects: Mapping[str, str] = facts["objects"]
    per_category = facts["ids_per_category"]
    for number, mask in masks_by_number(numbers).items():
        if number < facts["first_id"]:
            continue
        category = str(number // per_category) if per_category else objects.get(str(number), "")
        yield View(frame.group, str(number), frame.image, frame.frame, frame.frames, mask, category)


def _objects(path: Path) -> dict[str, dict[str, str]]:
    """The categories by video and object of a `meta.json`."""
    table = read_json(path)
    videos = table.get("videos") if isinstance(table, dict) else None
    if not isinstance(videos, dict):
        raise InputError(f"{path} has no 'videos'; expected YouTube-VOS' meta.json")
    return {
        composed(video): {
            str(number): str(item.get("category", "")) if isinstance(item, dict) else ""
            for number, item in _mapping(facts.get("objects")).items()
        }
        for video, facts in videos.items()
        if isinstance(facts, dict)
    }


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _lines(path: Path) -> list[str]:
    return [line.strip() for line in read_small(path).splitlines() if line.strip()]
