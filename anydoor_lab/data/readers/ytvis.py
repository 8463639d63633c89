"""Videos with one JSON of run lengths: YouTube-VIS, UVO, OVIS.

`videos[]{id, file_names[], height, width}`, `annotations[]{id, video_id, category_id,
segmentations: [run lengths or null, one for each frame]}`, `categories[]{id, name}`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.views import CROWD, Part, View, without_mask
from anydoor_lab.data.readers.places import (
    below,
    categories_of,
    chunks,
    hashable,
    inside,
    listed,
    read_json,
)
from anydoor_lab.data.readers.segmentation import rle_of
from anydoor_lab.structures.checks import UnusablePair, is_whole

REQUIRED = ("json", "images")
VIDEOS = 20
"""Videos a part."""


def parts(root: Path, *, json: str, images: str) -> Iterator[Part]:
    """One part for every `VIDEOS` videos.

    Args:
        root: the set's folder.
        json: the annotations.
        images: the folder in which their `file_names` begin.

    Raises:
        ValueError: the JSON is not whole, or not of this kind.
    """
    table = read_json(root / json)
    videos = listed(table, "videos", root / json)
    tracks: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for track in listed(table, "annotations", root / json):
        tracks[hashable(track.get("video_id"))].append(track)
    names = categories_of(table)
    for number, some in chunks(videos, VIDEOS):
        content = {
            "json": json,
            "images": images,
            "videos": [(video, tracks.pop(hashable(video.get("id")), [])) for video in some],
            "categories": names,
        }
        pictures = [f"{images}/{name}" for video in some for name in _frames(video)]
        yield Part(f"{json}.{number:05}", (json, *pictures), content)
    if tracks:
        lost = [track for some in tracks.values() for track in some]
        content = {"json": json, "images": images, "videos": [({}, lost)], "categories": names}
        yield Part(f"{json}.lost", (json,), content)


def views(root: Path, part: Part) -> Iterator[View]:
    """The objects of every frame in which they have a mask; null is an object out of sight."""
    for video, tracks in part.content["videos"]:
        for track in tracks:
            yield from _track(root, part.content, video, track)
        if not tracks:
            name = _name(video)
            yield View(name, "", name, reason="video without masks")


def _track(
    root: Path, facts: Mapping[str, Any], video: Mapping[str, Any], track: Mapping[str, Any]
) -> Iterator[View]:
    name, frames, own = _name(video), _frames(video), str(track.get("id", ""))
    masks = track.get("segmentations")
    if not video:
        name = str(track.get("video_id"))
        yield View(name, own, name, reason="annotation without its video", detail=facts["json"])
    elif track.get("iscrowd"):
        yield View(name, own, name, reason=CROWD)
    elif not frames:
        yield View(name, own, name, reason="video without frames", detail=facts["json"])
    elif not isinstance(masks, list) or len(masks) != len(frames):
        seen = f"{len(masks) if isinstance(masks, list) else 'no'} masks of {len(frames)} frames"
        yield View(name, own, name, reason="unreadable annotation", detail=seen)
    elif all(mask is None for mask in masks):
        yield View(name, own, name, reason="object without a mask", detail=facts["json"])
    else:
        category = facts["categories"].get(hashable(track.get("category_id")), "")
        score = track.get("score")
        for place, mask in enumerate(masks):
            if mask is not None:
                score = score if isinstance(score, int | float) else None
                view = View(
                    name, own, str(frames[place]), place, len(frames), None, category, score
                )
                yield masked(root, facts["images"], view, mask, size_of(video), facts["json"])


def masked(
    root: Path, images: str, view: View, mask: Any, size: tuple[int, int], told_by: str
) -> View:
    """The view with its picture's place and its mask read, or with the reason why not.

    Args:
        root, images: where the names of pictures begin.
        view: its `image` as the annotation has it.
        mask: as `rle_of` takes it.
        size: (H, W), 0 where the annotation does not say it.
        told_by: the annotation's file.
    """
    try:
        view = replace(view, image=below(root, inside(root / images, view.image, told_by)))
        if min(size) < 1:
            raise UnusablePair("unreadable annotation", f"{told_by} gives no size of {view.image}")
        return replace(view, mask=rle_of(mask, *size))
    except UnusablePair as error:
        return without_mask(view, error)


def size_of(facts: Mapping[str, Any]) -> tuple[int, int]:
    """(H, W) of an annotation's `height` and `width`; 0 for what is no size."""
    sides: list[Any] = [facts.get("height"), facts.get("width")]
    whole = [is_whole(side) or (isinstance(side, float) and side.is_integer()) for side in sides]
    height, width = (int(side) if own else 0 for side, own in zip(sides, whole, strict=True))
    return height, width


def _name(video: Mapping[str, Any]) -> str:
    """A video's name: the folder of its frames, else its id."""
    frames = _frames(video)
    folder = str(frames[0]).rpartition("/")[0] if frames else ""
    return folder or str(video.get("id", ""))


def _frames(video: Mapping[str, Any]) -> list[Any]:
    frames = video.get("file_names")
    return frames if isinstance(frames, list) else []
