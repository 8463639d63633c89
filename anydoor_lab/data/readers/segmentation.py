"""Masks as annotation files write them: polygons, and run lengths in two spellings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from rlemasklib import RLEMask

from anydoor_lab.structures.checks import UnusablePair, is_whole

_SHORTEST = 6  # numbers: a polygon of three points


def rle_of(segmentation: Any, height: int, width: int) -> RLEMask:
    """A mask from a `segmentation` of COCO, LVIS, YouTube-VIS, BURST or SA-1B.

    Args:
        segmentation: a list of polygons [x, y, x, y, ...]; or run lengths `counts`, a list of
            numbers or COCO's string, with or without their `size`; or such a string alone.
        height, width: of its picture.

    Raises:
        UnusablePair: it is none of these, or does not fit the picture.
    """
    if isinstance(segmentation, str | bytes):
        segmentation = {"counts": segmentation}
    if isinstance(segmentation, Mapping):
        return _from_counts(segmentation, height, width)
    if isinstance(segmentation, Sequence):
        return _from_polygons(segmentation, height, width)
    raise UnusablePair("unreadable mask", f"a segmentation is {type(segmentation).__name__}")


def _from_counts(segmentation: Mapping[str, Any], height: int, width: int) -> RLEMask:
    size = segmentation.get("size", [height, width])
    if size not in ([height, width], (height, width)):
        seen = f"run lengths of size {size}, their picture is {height}x{width}"
        raise UnusablePair("mask of another size than its photo", seen)
    counts = segmentation.get("counts")
    if isinstance(counts, str | bytes):
        encoded = counts.encode() if isinstance(counts, str) else counts
        try:
            mask = RLEMask.from_dict({"size": [height, width], "counts": encoded})
        except ValueError as error:
            raise UnusablePair("unreadable mask", str(error)) from error
        lengths = mask.counts_view.astype(np.int64)
    elif isinstance(counts, Sequence) and all(map(is_whole, counts)):
        lengths = np.array(counts, np.float64)
    else:
        raise UnusablePair("unreadable mask", f"run lengths are {type(counts).__name__}")
    if lengths.min(initial=0) < 0 or lengths.sum() != height * width:
        seen = f"run lengths add up to {lengths.sum():.0f}, the picture has {height}x{width} pixels"
        raise UnusablePair("unreadable mask", seen)
    if isinstance(counts, str | bytes):
        return mask
    return RLEMask.from_counts(lengths.astype(np.uint32), [height, width])


def _from_polygons(polygons: Sequence[Any], height: int, width: int) -> RLEMask:
    from pycocotools import mask as coco

    usable = [polygon for polygon in polygons if _is_polygon(polygon)]
    if not usable:
        raise UnusablePair("polygon of fewer than three points")
    return from_coco(coco.merge(coco.frPyObjects(usable, height, width)))


def from_coco(encoded: Mapping[str, Any]) -> RLEMask:
    """The mask of {"size": [H, W], "counts": COCO's bytes}."""
    return RLEMask.from_dict(dict(encoded))


def _is_polygon(polygon: Any) -> bool:
    if not isinstance(polygon, Sequence) or isinstance(polygon, str):
        return False
    numbers = all(isinstance(v, int | float) and math.isfinite(v) for v in polygon)
    # beyond this the C code that fills them overflows
    return numbers and len(polygon) >= _SHORTEST and len(polygon) % 2 == 0 and (
        max(map(abs, polygon)) < 1e5
    )  # fmt: skip
