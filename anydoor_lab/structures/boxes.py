"""Boxes in pixels: half-open, always y before x."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Box:
    """Rows `y1:y2` and columns `x1:x2` of a picture (half-open, pixels).

    Raises:
        ValueError: the box is inverted or has no area.
    """

    y1: int
    y2: int
    x1: int
    x2: int

    def __post_init__(self) -> None:
        if self.y2 <= self.y1 or self.x2 <= self.x1:
            raise InputError(
                f"box [y1={self.y1}, x1={self.x1}, y2={self.y2}, x2={self.x2}] has no area; "
                "expected y1 < y2 and x1 < x2"
            )

    @classmethod
    def around(cls, mask: np.ndarray) -> Box:
        """The smallest box that holds every marked pixel of `mask` (H, W) bool.

        Raises:
            ValueError: nothing is marked.
        """
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if not len(rows):
            raise InputError("the mask marks no pixel, so it has no box; mark a region")
        return cls(int(rows[0]), int(rows[-1]) + 1, int(columns[0]), int(columns[-1]) + 1)

    @property
    def height(self) -> int:
        """Number of rows."""
        return self.y2 - self.y1

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.x2 - self.x1

    @property
    def slices(self) -> tuple[slice, slice]:
        """Index for numpy: `image[box.slices]`."""
        return slice(self.y1, self.y2), slice(self.x1, self.x2)

    def mask(self, height: int, width: int) -> np.ndarray:
        """(height, width) bool, True inside the box."""
        mask = np.zeros((height, width), np.bool_)
        mask[self.slices] = True
        return mask

    def clipped(self, height: int, width: int) -> Box:
        """The part of the box inside a picture of `height` x `width`.

        Raises:
            ValueError: nothing of it is inside.
        """
        return Box(max(self.y1, 0), min(self.y2, height), max(self.x1, 0), min(self.x2, width))

    def grown(self, ratio: float, height: int, width: int) -> Box:
        """The box enlarged `ratio` times about its centre, clipped to the picture."""
        half_h, half_w = self.height * ratio / 2, self.width * ratio / 2
        cy, cx = (self.y1 + self.y2) / 2, (self.x1 + self.x2) / 2
        grown = Box(round(cy - half_h), round(cy + half_h), round(cx - half_w), round(cx + half_w))
        return grown.clipped(height, width)

    def squared(self, height: int, width: int) -> Box:
        """A square of the longer side about the same centre, clipped to the picture."""
        side = max(self.height, self.width)
        y1 = self.y1 - (side - self.height) // 2
        x1 = self.x1 - (side - self.width) // 2
        return Box(y1, y1 + side, x1, x1 + side).clipped(height, width)

    def within(self, other: Box) -> Box:
        """The box shifted into `other` as far as needed, and cut where it is the larger one."""
        height, width = min(self.height, other.height), min(self.width, other.width)
        y1 = min(max(self.y1, other.y1), other.y2 - height)
        x1 = min(max(self.x1, other.x1), other.x2 - width)
        return Box(y1, y1 + height, x1, x1 + width)

    def moved(self, dy: int, dx: int) -> Box:
        """The box shifted by `dy` rows and `dx` columns."""
        return Box(self.y1 + dy, self.y2 + dy, self.x1 + dx, self.x2 + dx)

    def scaled(self, factor: float) -> Box:
        """The box in a picture resized by `factor`, at least one pixel in each direction."""
        y1, x1 = round(self.y1 * factor), round(self.x1 * factor)
        y2, x2 = round(self.y2 * factor), round(self.x2 * factor)
        if y1 == y2:  # the pixel it lies in: rounding up could leave the picture
            y1 = math.floor(self.y1 * factor)
            y2 = y1 + 1
        if x1 == x2:
            x1 = math.floor(self.x1 * factor)
            x2 = x1 + 1
        return Box(y1, y2, x1, x2)
