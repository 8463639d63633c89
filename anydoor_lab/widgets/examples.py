"""Pictures of the package to begin with: objects, already cut out, and scenes."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import numpy as np
from PIL import Image

from anydoor_lab.data.readers.photos import Photos
from anydoor_lab.data.things import sheets
from anydoor_lab.data.things.catalogue import packaged_things
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import Picture
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets.view import png

THUMB_PX = 68


@dataclass(frozen=True, slots=True)
class Example:
    """A picture one can begin with.

    Args:
        name: what it shows.
        read: gives the picture (of RGBA the alpha marks the object) and (H, W) bool, what is
            marked in it, or None; raises ValueError where it is missing.
    """

    name: str
    read: Callable[[], tuple[Picture, np.ndarray | None]]

    def thumb(self) -> bytes:
        """A small PNG file."""
        picture, mask = self.read()
        image = np.array(picture.convert("RGBA") if isinstance(picture, Image.Image) else picture)
        if mask is not None:
            image = image[Box.around(mask).slices]
        return png(image, THUMB_PX)


OBJECTS = ("crab", "cupcake", "guitar", "tropical fish")
"""Rendered objects that no training of the package has seen (held out)."""
PHOTOGRAPHED = {
    "cat": "chelsea: cat's head",
    "coffee cup": "coffee: cup",
    "rocket": "rocket: rocket",
}
"""Objects of scikit-image's photographs, outlined by hand."""
PLACES = {"meadow": 38, "hillside": 37, "sunrise": 184, "lobby": 219, "saucer": 117}
"""Crops of photographs that are held out."""


def references() -> list[Example]:
    """Objects for `ObjectCutter`."""
    things = [Example(name, partial(_thing, name)) for name in OBJECTS]
    return things + [Example(n, partial(photographed, o)) for n, o in PHOTOGRAPHED.items()]


def scenes() -> list[Example]:
    """Places for `RegionPicker`."""
    return [*(Example(n, partial(_place, k)) for n, k in PLACES.items()), Example("table", _table)]


def offered(examples: list[Example]) -> list[dict[str, Any]]:
    """Name, number and small picture of each example that is there."""
    found = []
    for number, example in enumerate(examples):
        with suppress(InputError):  # of scikit-image's photographs some may be missing
            found.append({"name": example.name, "number": number, "picture": example.thumb()})
    return found


def _place(number: int) -> tuple[np.ndarray, None]:
    return np.array(sheets.scene(number)), None


def _table() -> tuple[np.ndarray, None]:
    return photographed(PHOTOGRAPHED["coffee cup"])[0], None


def _thing(name: str) -> tuple[Image.Image, None]:
    """A rendered object with its alpha."""
    cell = next(thing.still for thing in packaged_things() if thing.name == name)
    shown = sheets.sprite(cell)
    share = np.maximum(shown[..., 3:].astype(np.float32), 1) / 255
    colours = np.clip(np.rint(shown[..., :3] / share), 0, 255).astype(np.uint8)
    return Image.fromarray(np.dstack([colours, shown[..., 3]])), None


def photographed(origin: str) -> tuple[np.ndarray, np.ndarray]:
    """A photograph of scikit-image and the mask of one of its objects, by the pair's origin.

    Raises:
        ValueError: it is not there.
    """
    pair = _photographs().get(origin)
    if pair is None:
        raise InputError(f"the photograph {origin!r} is not in the installed scikit-image")
    return pair.reference, pair.reference_mask


@cache
def _photographs() -> dict[str, Pair]:
    photos = Photos(held_out=0.0)  # ValueError where scikit-image is not installed
    pairs = (photos.pair(number, rng_for(0, number, "pair")) for number in range(len(photos)))
    return {pair.origin: pair for pair in pairs if pair.origin in PHOTOGRAPHED.values()}
