"""SA-1B: folders of pictures, each with a JSON of its own that lists masks as run lengths."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.views import SMALL, Part, View
from anydoor_lab.data.readers.places import below, chunks, files, folders, objects_in, read_json
from anydoor_lab.data.readers.ytvis import masked, size_of
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError

REQUIRED = ("images",)
PICTURES = 500
"""Pictures a part."""


def parts(root: Path, *, images: str = ".", min_area: int = 0) -> Iterator[Part]:
    """One part for every `PICTURES` pictures of a folder.

    Args:
        root: the set's folder.
        images: the folder with `sa_NNNNNN/sa_<id>.{jpg,json}`, or with such files themselves.
        min_area: masks of fewer pixels, as the JSON gives their `area`, are only counted: of a
            picture's hundred masks most are small.

    Raises:
        ValueError: a folder cannot be listed.
    """
    for folder in (root / images, *folders(root / images)):
        told = [path for path in files(folder, (".json",)) if path.stem.startswith("sa_")]
        for number, some in chunks(told, PICTURES):
            jsons = [below(root, path) for path in some]
            pictures = [below(root, path.with_suffix(".jpg")) for path in some]
            name = f"{below(root, folder)}.{number:04}"
            yield Part(name, (*jsons, *pictures), {"jsons": jsons, "min_area": min_area})


def views(root: Path, part: Part) -> Iterator[View]:
    """The masks of every picture; `score` is the `predicted_iou`."""
    for name in part.content["jsons"]:
        path = root / name
        try:
            image, masks = _read(path)
        except (UnusablePair, InputError) as error:
            detail = getattr(error, "detail", str(error))
            shown = f"{name.removesuffix('.json')}.jpg"
            yield View(path.stem, "", shown, reason="unreadable annotation", detail=detail)
            continue
        folder = below(root, path.parent)
        file = str(image.get("file_name") or path.with_suffix(".jpg").name)
        for mask in masks:
            score = mask.get("predicted_iou")
            score = float(score) if isinstance(score, int | float) else None
            view = View(path.stem, str(mask.get("id", "")), file, score=score)
            area = mask.get("area")
            if isinstance(area, int | float) and area < part.content["min_area"]:
                yield replace(view, image=f"{folder}/{file}", reason=SMALL)
                continue
            yield masked(root, folder, view, mask.get("segmentation"), size_of(image), name)


def _read(path: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """`image` and `annotations` of a picture's JSON.

    Raises:
        UnusablePair: they are not there.
    """
    table = read_json(path)
    image = table.get("image") if isinstance(table, dict) else None
    masks = table.get("annotations") if isinstance(table, dict) else None
    if not isinstance(image, dict) or not isinstance(masks, list):
        raise UnusablePair("unreadable annotation", f"{path.name}: no image or no annotations")
    return image, objects_in(masks)
