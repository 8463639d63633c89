"""Pictures with a mask file each: MSRA-10K, DUTS, HFlickr of iHarmony4."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from anydoor_lab.data.index.views import Part, View, with_mask, without_mask
from anydoor_lab.data.readers.places import below, by_stem, chunks, composed, files
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_mask

REQUIRED = ("images", "masks")
PICTURES = 500
"""Masks a part."""
_PHOTOS = (".jpg", ".jpeg")


def parts(root: Path, *, images: str, masks: str, image_of: str = "(.+)") -> Iterator[Part]:
    """One part for every `PICTURES` masks.

    Args:
        root: the set's folder.
        images, masks: their folders, perhaps the same: then photos are JPEGs and masks PNGs.
        image_of: what of a mask's name without ending is its picture's name: the first group of
            this regular expression (HFlickr, with several masks a picture: `(.+)_[0-9]+`).

    Raises:
        ValueError: a folder cannot be listed, or `image_of` is no such expression.
    """
    try:
        pattern = re.compile(image_of)
    except re.error as error:
        raise InputError(f"image_of is {image_of!r}, no regular expression ({error})") from error
    if pattern.groups < 1:
        raise InputError(f"image_of is {image_of!r}; expected a group (...) that is the name")
    same = images == masks
    photos = by_stem(files(root / images, _PHOTOS) if same else files(root / images))
    pairs = []
    for mask in files(root / masks, (".png",)) if same else files(root / masks):
        stem = pattern.fullmatch(composed(mask.stem))
        photo = photos.pop(stem[1], None) if stem and image_of == "(.+)" else None
        if stem and image_of != "(.+)":
            photo = photos.get(stem[1])
        pairs.append((below(root, mask), below(root, photo) if photo else ""))
    for number, some in chunks(pairs, PICTURES):
        sources = [name for pair in some for name in pair if name]
        yield Part(f"{masks}.{number:05}", tuple(sources), {"pairs": some})
    if photos and image_of == "(.+)":
        lone = [("", below(root, photo)) for photo in photos.values()]
        yield Part(f"{images}.lone", tuple(name for _, name in lone), {"pairs": lone})


def views(root: Path, part: Part) -> Iterator[View]:
    """One view for each mask."""
    for mask, image in part.content["pairs"]:
        group, own = Path(image or mask).stem, Path(mask or image).stem
        if not image:
            yield View(group, own, mask, reason="missing picture", detail=f"of {mask}")
        elif not mask:
            yield View(group, own, image, reason="no mask")
        else:
            yield mask_view(View(group, own, image), root / mask)


def mask_view(view: View, path: Path) -> View:
    """The view with the mask of a file by the rule of `mask_of`, or with the reason why not."""
    try:
        return with_mask(view, read_mask(path))
    except UnusablePair as error:
        return without_mask(view, error)
    except FileNotFoundError as error:
        return without_mask(view, UnusablePair("no mask", str(error)))
    except InputError as error:
        return without_mask(view, UnusablePair("unreadable mask", str(error)))
