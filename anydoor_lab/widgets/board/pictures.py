"""A board's pictures: kept small, compared, and cut to what is looked at."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import cv2
import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """A picture as what differs from one that others share: 50 results of a photo fit in memory.

    Args:
        shared: (H, W, 3) uint8.
        box: where it differs; None where it does not.
        pixels: (h, w, 3) uint8, what stands there.
    """

    shared: np.ndarray
    box: Box | None
    pixels: np.ndarray

    @classmethod
    def of(cls, shared: np.ndarray, picture: np.ndarray) -> Patch:
        """The patch that makes `picture` of `shared`, of the same size."""
        changed = (picture != shared).any(axis=2)
        if not changed.any():
            return cls(shared, None, shared[:0])
        box = Box.around(changed)
        return cls(shared, box, picture[box.slices].copy())

    @property
    def whole(self) -> np.ndarray:
        """The picture (H, W, 3) uint8."""
        if self.box is None:
            return self.shared
        picture = self.shared.copy()
        picture[self.box.slices] = self.pixels
        return picture


@dataclass(frozen=True, slots=True, eq=False)
class Filled:
    """What a cell holds once it is finished.

    Args:
        number: the cell.
        pictures: one for each of its pairs.
        scores: by name, means with `<name>_low` and `<name>_high` over several pairs.
        seconds: that it took.
        error: why there is no picture.
    """

    number: int
    pictures: Sequence[Patch] = ()
    scores: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    error: str = ""


def window_of(pair: Pair) -> Box:
    """The square about a pair's region that is looked at."""
    return Box.around(pair.scene_mask).grown(1.6, *pair.scene_mask.shape)


def colour_difference(first: np.ndarray, second: np.ndarray) -> float:
    """The mean distance of two pictures (H, W, 3) uint8 in CIELAB (CIE 1976): 0 is the same, 2.3
    just seen."""
    if first.shape != second.shape:
        return float("nan")
    one, other = (cv2.cvtColor(p.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
                  for p in (first, second))  # fmt: skip
    return float(np.linalg.norm(one - other, axis=2).mean())
