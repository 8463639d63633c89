"""Pictures with one JSON of polygons or run lengths: LVIS, COCO, and what is written like them.

`images[]{id, file_name or coco_url, height, width}`, `annotations[]{id, image_id, category_id,
segmentation, iscrowd}`, `categories[]{id, name}`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.views import CROWD, Part, View
from anydoor_lab.data.readers.places import categories_of, chunks, hashable, listed, read_json
from anydoor_lab.data.readers.ytvis import masked, size_of

REQUIRED = ("json", "images")
PICTURES = 1000
"""Pictures a part."""


def parts(root: Path, *, json: str, images: str) -> Iterator[Part]:
    """One part for every `PICTURES` pictures.

    Args:
        root: the set's folder.
        json: the annotations.
        images: the folder in which the pictures' names begin; of LVIS, which gives only
            `coco_url`, the folder that holds `train2017` and `val2017`.

    Raises:
        ValueError: the JSON is not whole, or not of this kind.
    """
    table = read_json(root / json)
    pictures = listed(table, "images", root / json)
    objects: dict[Any, list[dict[str, Any]]] = defaultdict(list)
    for item in listed(table, "annotations", root / json):
        objects[hashable(item.get("image_id"))].append(item)
    content = {"json": json, "images": images, "categories": categories_of(table)}
    for number, some in chunks(pictures, PICTURES):
        own = [(picture, objects.pop(hashable(picture.get("id")), [])) for picture in some]
        names = [f"{images}/{file_name(picture)}" for picture, items in own if items]
        yield Part(f"{json}.{number:05}", (json, *names), {**content, "pictures": own})
    if objects:
        lost = [item for items in objects.values() for item in items]
        yield Part(f"{json}.lost", (json,), {**content, "pictures": [({}, lost)]})


def views(root: Path, part: Part) -> Iterator[View]:
    """The objects of every picture; crowds are refused."""
    for picture, items in part.content["pictures"]:
        for item in items:
            yield _view(root, part.content, picture, item)


def _view(
    root: Path, facts: Mapping[str, Any], picture: Mapping[str, Any], item: Mapping[str, Any]
) -> View:
    name, own = file_name(picture), str(item.get("id", ""))
    group = name.rpartition("/")[2].rpartition(".")[0] or str(item.get("image_id"))
    category = facts["categories"].get(hashable(item.get("category_id")), "")
    if not picture:
        reason = "annotation without its picture"
        return View(group, own, group, category=category, reason=reason, detail=facts["json"])
    if item.get("iscrowd"):
        return View(group, own, name, category=category, reason=CROWD)
    if item.get("segmentation") is None:
        reason = "annotation without a mask"
        return View(group, own, name, category=category, reason=reason, detail=facts["json"])
    score = item.get("score")
    score = score if isinstance(score, int | float) else None
    view = View(group, own, name, category=category, score=score)
    mask, size = item["segmentation"], size_of(picture)
    return masked(root, facts["images"], view, mask, size, facts["json"])


def file_name(picture: Mapping[str, Any]) -> str:
    """A picture's name: its `file_name`, else folder and name at the end of its `coco_url`."""
    name = picture.get("file_name")
    if name:
        return str(name)
    return "/".join(str(picture.get("coco_url") or "").split("/")[-2:])
