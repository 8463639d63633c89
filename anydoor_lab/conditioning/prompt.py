"""What a segmenter is shown: the window about a box, with the box and the clicks as maps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import resized

Click = tuple[int, int, bool]
"""(y, x, whether it is on the object), pixels."""

MARGIN = 0.2
"""Seen on each side of a box, share of its longer side."""
CLICK_SHARE = 1 / 32
"""Radius of a click's disc, share of the window's side."""
_OUTSIDE = 127  # grey, where a window reaches beyond the picture


@dataclass(frozen=True, slots=True)
class Window:
    """A square part of a picture, which may reach beyond its edges.

    Args:
        y: its first row, pixels.
        x: its first column, pixels.
        side: of the square, pixels.
    """

    y: int
    x: int
    side: int

    @classmethod
    def about(cls, box: Box | None, height: int, width: int) -> Window:
        """The window about a box of a picture of `height` x `width`; about all of it for None."""
        seen = box or Box(0, height, 0, width)
        side = max(seen.height, seen.width)
        side = max(2, round(side * (1 + 2 * MARGIN)) if box else side)
        return cls((seen.y1 + seen.y2 - side) // 2, (seen.x1 + seen.x2 - side) // 2, side)

    def of(self, image: np.ndarray, side_px: int, outside: int = _OUTSIDE) -> np.ndarray:
        """(side_px, side_px[, C]) uint8: what is seen through it, `outside` beyond the picture."""
        seen = np.full((self.side, self.side, *image.shape[2:]), outside, np.uint8)
        inside, there = self._overlap(image.shape[0], image.shape[1])
        seen[inside] = image[there]
        return resized(seen, side_px, side_px)

    def back(self, values: np.ndarray, height: int, width: int) -> np.ndarray:
        """(height, width) float32: a square map of the window at its place, 0 elsewhere."""
        large = cv2.resize(
            values.astype(np.float32), (self.side, self.side), interpolation=cv2.INTER_LINEAR
        )
        result = np.zeros((height, width), np.float32)
        inside, there = self._overlap(height, width)
        result[there] = large[inside]
        return result

    def _overlap(self, height: int, width: int) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        """Where the picture is in the window, and where the window is in the picture."""
        y1, x1 = max(0, self.y), max(0, self.x)
        y2, x2 = min(height, self.y + self.side), min(width, self.x + self.side)
        inside = slice(y1 - self.y, y2 - self.y), slice(x1 - self.x, x2 - self.x)
        return inside, (slice(y1, y2), slice(x1, x2))


def prompt_maps(
    window: Window, box: Box | None, clicks: Sequence[Click], side_px: int
) -> np.ndarray:
    """(3, side_px, side_px) float32: the box, the clicks on the object and those beside it.

    The box's map is 1 inside, -1 outside and 0 where there is none; a click is a disc of ones.
    """
    maps = np.zeros((3, side_px, side_px), np.float32)
    scale = side_px / window.side
    if box:
        maps[0] = -1
        y1, y2 = (round((y - window.y) * scale) for y in (box.y1, box.y2))
        x1, x2 = (round((x - window.x) * scale) for x in (box.x1, box.x2))
        maps[0, max(0, y1) : max(0, y2), max(0, x1) : max(0, x2)] = 1
    for y, x, on in clicks:
        centre = (int((x - window.x) * scale), int((y - window.y) * scale))
        cv2.circle(maps[1 if on else 2], centre, round(CLICK_SHARE * side_px), 1.0, -1)
    return maps
