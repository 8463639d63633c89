"""Panoptic sets: PNGs whose colours are segment ids (R + 256 G + 65536 B), and one JSON.

COCO's JSON lists pictures; VIPSeg's, as its owners convert it, lists videos of pictures. Only
things are taken: of stuff (walls, sky) there is no object to teleport.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from rlemasklib import RLEMask

from anydoor_lab.data.index.views import CROWD, STUFF, Part, View, without_mask
from anydoor_lab.data.readers.places import (
    below,
    chunks,
    hashable,
    inside,
    listed,
    objects_in,
    read_json,
)
from anydoor_lab.structures.checks import UnusablePair, is_whole
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import DAMAGES

REQUIRED = ("json", "images", "masks")
PICTURES = 500
"""Pictures a part, where they are no videos."""


def parts(root: Path, *, json: str, images: str, masks: str) -> Iterator[Part]:
    """One part for each video, or for every `PICTURES` pictures.

    Args:
        root: the set's folder.
        json: the annotations.
        images, masks: the folders of pictures and of PNGs; with a sub-folder for each video.

    Raises:
        ValueError: the JSON is not whole, or not of this kind.
    """
    table = read_json(root / json)
    things = {
        hashable(one.get("id")): str(one.get("name", one.get("id")))
        for one in listed(table, "categories", root / json)
        if one.get("isthing") == 1
    }
    facts = {"json": json, "images": images, "masks": masks, "things": things}
    annotated = listed(table, "annotations", root / json)
    if isinstance(table.get("videos"), list):
        yield from _videos(facts, listed(table, "videos", root / json), annotated)
        return
    pictures = listed(table, "images", root / json)
    names = {hashable(picture.get("id")): picture for picture in pictures}
    for number, some in chunks(annotated, PICTURES):
        frames = [
            _frame(names.get(hashable(item.get("image_id")), {}), item, "", 0, 1) for item in some
        ]
        yield _part(facts, f"{json}.{number:05}", frames)


def _videos(
    facts: Mapping[str, Any], videos: list[dict[str, Any]], annotated: list[dict[str, Any]]
) -> Iterator[Part]:
    items = {
        hashable(item.get("video_id")): objects_in(item.get("annotations")) for item in annotated
    }
    for video in videos:
        name = str(video.get("video_id"))
        shown = objects_in(video.get("images"))
        pictures = {hashable(picture.get("id")): picture for picture in shown}
        own = sorted(
            items.get(hashable(video.get("video_id")), []), key=lambda i: str(i.get("file_name"))
        )
        frames = [
            _frame(pictures.get(hashable(item.get("image_id")), {}), item, name, place, len(own))
            for place, item in enumerate(own)
        ]
        yield _part(facts, name, frames)


def _frame(
    picture: Mapping[str, Any], item: Mapping[str, Any], video: str, place: int, frames: int
) -> dict[str, Any]:
    image = str(picture.get("file_name") or "")
    return {
        "group": video or PurePosixPath(image).stem or str(item.get("image_id")),
        "image": f"{video}/{image}" if video and image and "/" not in image else image,
        "mask": _below_video(video, item.get("file_name")),
        "segments": item.get("segments_info"),
        "place": place,
        "frames": frames,
    }


def _below_video(video: str, name: Any) -> Any:
    return f"{video}/{name}" if video and isinstance(name, str) and "/" not in name else name


def _part(facts: Mapping[str, Any], name: str, frames: list[dict[str, Any]]) -> Part:
    sources = [facts["json"]]
    for frame in frames:
        sources += [f"{facts['images']}/{frame['image']}", f"{facts['masks']}/{frame['mask']}"]
    return Part(name, tuple(sources), {**facts, "frames": frames})


def views(root: Path, part: Part) -> Iterator[View]:
    """The things of every picture."""
    facts = part.content
    if not facts["frames"]:
        yield View(part.name, "", part.name, reason="video without masks")
    for frame in facts["frames"]:
        shown = View(frame["group"], "", frame["image"], frame["place"], frame["frames"])
        try:
            if not frame["image"]:
                raise UnusablePair("annotation without its picture", str(facts["json"]))
            image = below(root, inside(root / facts["images"], frame["image"], facts["json"]))
            mask = inside(root / facts["masks"], frame["mask"], facts["json"])
            ids = read_ids(mask)
            segments = _segments(frame["segments"], facts["json"])
        except UnusablePair as error:
            yield without_mask(shown, error)
            continue
        for segment in segments:
            yield _view(shown, image, ids, segment, facts["things"])


def _segments(segments: Any, told_by: str) -> list[Mapping[str, Any]]:
    if not isinstance(segments, list) or not all(isinstance(one, Mapping) for one in segments):
        raise UnusablePair("unreadable annotation", f"{told_by}: no list of segments")
    return segments


def _view(
    frame: View, image: str, ids: np.ndarray, segment: Mapping[str, Any], things: Mapping[Any, str]
) -> View:
    reason, mask, number = "", None, segment.get("id")
    category = hashable(segment.get("category_id"))
    if not is_whole(number):
        reason = "unreadable annotation"
    elif category not in things:
        reason = STUFF
    elif segment.get("iscrowd"):
        reason = CROWD
    else:
        marked = ids == number
        mask = RLEMask.from_array(marked)
        reason = "" if marked.any() else "id without a mask"
    return View(
        frame.group, str(number), image, frame.frame, frame.frames, None if reason else mask,
        things.get(category, ""), reason=reason,
    )  # fmt: skip


def read_ids(path: Path) -> np.ndarray:
    """(H, W) int32 segment ids of a panoptic PNG.

    Raises:
        UnusablePair: it cannot be read, or has no colours.
    """
    try:
        with opened(path) as picture:
            if picture.mode not in ("RGB", "RGBA"):
                seen = f"{path.name} is a picture of mode {picture.mode}; expected RGB"
                raise UnusablePair("mask without colours", seen)
            red, green, blue = np.moveaxis(np.asarray(picture)[..., :3].astype(np.int32), 2, 0)
    except UnusablePair:
        raise
    except FileNotFoundError as error:
        raise UnusablePair("missing mask", str(error)) from error
    except (InputError, *DAMAGES) as error:
        raise UnusablePair("unreadable mask", f"{path.name}: {error}") from error
    return red + 256 * green + 65536 * blue
