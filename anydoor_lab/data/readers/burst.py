"""BURST: videos with one JSON, a dictionary of tracks for each annotated frame.

`sequences[]{dataset, seq_name, height, width, annotated_image_paths[], track_category_ids{track:
category}, segmentations[{track: {rle, is_gt, score}}]}`, `categories[]{id, name}`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.views import Part, View
from anydoor_lab.data.readers.places import (
    categories_of,
    chunks,
    hashable,
    in_order,
    listed,
    read_json,
)
from anydoor_lab.data.readers.ytvis import masked, size_of

REQUIRED = ("json", "images")
SEQUENCES = 10
"""Sequences a part."""


def parts(root: Path, *, json: str, images: str) -> Iterator[Part]:
    """One part for every `SEQUENCES` sequences.

    Args:
        root: the set's folder.
        json: the annotations (`all_classes.json`).
        images: the folder that holds `<dataset>/<seq_name>/<frame>` (TAO's frames).

    Raises:
        ValueError: the JSON is not whole, or not of this kind.
    """
    table = read_json(root / json)
    same = {"json": json, "images": images, "categories": categories_of(table)}
    for number, some in chunks(listed(table, "sequences", root / json), SEQUENCES):
        pictures = [f"{images}/{name}" for sequence in some for name in _frames(sequence)]
        content = {**same, "sequences": some}
        yield Part(f"{json}.{number:05}", (json, *pictures), content)


def views(root: Path, part: Part) -> Iterator[View]:
    """The tracks of every annotated frame; a track may be missing in some."""
    for sequence in part.content["sequences"]:
        yield from _sequence(root, part.content, sequence)


def _sequence(root: Path, facts: Mapping[str, Any], sequence: Mapping[str, Any]) -> Iterator[View]:
    name, frames = _name(sequence), _frames(sequence)
    masks = sequence.get("segmentations")
    if not frames:
        yield View(name, "", name, reason="video without frames", detail=facts["json"])
        return
    if not isinstance(masks, list) or len(masks) != len(frames):
        seen = f"{len(masks) if isinstance(masks, list) else 'no'} masks of {len(frames)} frames"
        yield View(name, "", name, reason="unreadable annotation", detail=seen)
        return
    categories = _categories(facts, sequence)
    seen_tracks: set[str] = set()
    for place, (frame, tracks) in enumerate(zip(frames, masks, strict=True)):
        for track, mask in tracks.items() if isinstance(tracks, Mapping) else ():
            seen_tracks.add(track)
            known = mask if isinstance(mask, Mapping) else {"rle": mask}
            score = known.get("score")
            score = float(score) if isinstance(score, int | float) else None
            category = categories.get(track, "")
            view = View(name, track, frame, place, len(frames), None, category, score)
            yield masked(root, facts["images"], view, known.get("rle"), size_of(sequence),
                         facts["json"])  # fmt: skip
    for track in in_order(set(categories) - seen_tracks):
        yield View(name, track, name, reason="object without a mask", detail=facts["json"])


def _categories(facts: Mapping[str, Any], sequence: Mapping[str, Any]) -> dict[str, str]:
    """The category of each track; older files call the table `categories`."""
    table = sequence.get("track_category_ids") or sequence.get("categories") or {}
    names = facts["categories"]
    tracks = table.items() if isinstance(table, Mapping) else ()
    return {str(track): names.get(hashable(own), str(own)) for track, own in tracks}


def _name(sequence: Mapping[str, Any]) -> str:
    return f"{sequence.get('dataset')}/{sequence.get('seq_name')}"


def _frames(sequence: Mapping[str, Any]) -> list[str]:
    frames = sequence.get("annotated_image_paths")
    return [f"{_name(sequence)}/{one}" for one in frames] if isinstance(frames, list) else []
