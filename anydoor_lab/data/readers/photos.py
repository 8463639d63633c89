"""Real photographs that ship inside scikit-image's wheel, with object masks drawn by hand."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anydoor_lab.data.source import Counts, Split
from anydoor_lab.data.split import nothing_held_out, split_names
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image
from anydoor_lab.structures.pair import Pair


@dataclass(frozen=True, slots=True)
class PhotoObject:
    """One outlined object of one photograph.

    `polygon` is (y, x) pixels; `whole` names the object it is a part of, else itself.
    """

    name: str
    whole: str
    polygon: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Photo:
    """A photograph of the wheel: where it comes from, under which licence, and its objects."""

    name: str
    file: str
    height: int
    width: int
    licence: str
    author: str
    source: str
    objects: tuple[PhotoObject, ...]


@lru_cache(maxsize=1)
def photo_facts() -> tuple[Photo, ...]:
    """The photographs of `photos.json`, each with licence, author, source and outlines.

    Pictures of the wheel without a stated licence or dedication are left out; the file names
    them with the reason (so the motorcycle, and with it the only pair of two views).
    """
    text = resources.files("anydoor_lab.data.readers").joinpath("photos.json").read_text("utf-8")
    return tuple(_photo(facts) for facts in json.loads(text)["photos"])


class Photos:
    """A `PairSource` of stills: reference and scene are the same photograph, one entry an object.

    With five photographs nothing can be held out by picture, so it is held out by object: the
    held-out objects' masks are never a training target, though their pixels stand in the
    training scenes. Parts stay with their whole (the patch with the astronaut).

    Args:
        split: "train" or "held_out".
        seed: decides which objects are held out.
        held_out: share of the whole objects held out, in [0, 1).
        root: the folder with the photographs; None finds the installed scikit-image.

    Attributes:
        counts: objects of this split, and photographs the installed wheel lacks.
        note: a sentence where nothing is held out, else "".

    Raises:
        ValueError: scikit-image is not installed, or none of the photographs is there.
    """

    def __init__(
        self,
        *,
        split: Split = "train",
        seed: int = 0,
        held_out: float = 0.3,
        root: str | Path | None = None,
    ) -> None:
        self._root = _wheel_folder() if root is None else Path(root)
        missing = [photo.file for photo in photo_facts() if not (self._root / photo.file).is_file()]
        found = [
            (photo, item)
            for photo in photo_facts()
            if photo.file not in missing
            for item in photo.objects
        ]
        if not found:
            raise InputError(
                f"{self._root} has none of {', '.join(missing)}; "
                "install scikit-image from its wheel, which carries them"
            )
        wholes = {_identity(*entry): _identity(*entry) for entry in found}
        self.note = nothing_held_out(wholes, held_out)
        names = split_names(wholes, split, seed, held_out)
        self._entries = [entry for entry in found if _identity(*entry) in names]
        rejected = Counter(f"{file} not in the installed scikit-image" for file in missing)
        self.counts = Counts(len(self._entries), rejected)

    def __len__(self) -> int:
        """Number of objects in this split."""
        return len(self._entries)

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The still pair of object `index`; nothing in it varies, so `rng` is left untouched.

        Raises:
            UnusablePair: the file is damaged, or not the photograph the outlines were drawn on.
        """
        photo, item = self._entries[index]
        try:
            image = read_image(self._root / photo.file)
        except (ValueError, FileNotFoundError) as error:
            raise UnusablePair("unreadable picture", str(error)) from error
        if image.shape[:2] != (photo.height, photo.width):
            seen = f"{photo.file} is {image.shape[0]}x{image.shape[1]}"
            expected = f"its outlines are for {photo.height}x{photo.width} (height x width)"
            raise UnusablePair("mask of another size than its photo", f"{seen}, {expected}")
        mask = outline_mask(item, photo.height, photo.width)
        return Pair(image, mask, image, mask, "still", origin=f"{photo.name}: {item.name}")


def outline_mask(item: PhotoObject, height: int, width: int) -> np.ndarray:
    """(height, width) bool, True inside the object's outline."""
    mask = np.zeros((height, width), np.uint8)
    points = np.array(item.polygon, np.int32)[:, ::-1]  # cv2 wants (x, y)
    return cv2.fillPoly(mask, [points], 1).astype(np.bool_)


def _identity(photo: Photo, item: PhotoObject) -> str:
    return f"{photo.name}/{item.whole}"


def _photo(facts: dict[str, Any]) -> Photo:
    objects = tuple(
        PhotoObject(
            item["name"],
            item.get("part_of", item["name"]),
            tuple((y, x) for y, x in item["polygon"]),
        )
        for item in facts["objects"]
    )
    return Photo(**{**facts, "objects": objects})


def _wheel_folder() -> Path:
    spec = find_spec("skimage")  # the package itself stays unimported: no download can start
    if spec is None or spec.origin is None:
        raise InputError("scikit-image is not installed; install it, its wheel has the photographs")
    return Path(spec.origin).parent / "data"
