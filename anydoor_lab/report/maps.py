"""Maps over pictures: arrays of the method as pictures a sheet can show."""

from __future__ import annotations

import cv2
import numpy as np
from matplotlib import colormaps

from anydoor_lab.structures.checks import check_all_finite
from anydoor_lab.structures.images import resized

HEAT = "cividis"
"""Dark blue to yellow: read the same by colour-blind eyes, and by its lightness alone."""


def heat_over(
    picture: np.ndarray, heat: np.ndarray, highest: float | None = None, side_px: int = 192
) -> np.ndarray:
    """`heat` in colours, darker where the picture is, (side_px, side_px, 3) uint8.

    Args:
        picture: (H, W, 3) uint8.
        heat: (h, w) not negative; each value stays a square block.
        highest: the value of the last colour; default the map's own largest.
        side_px: side of the result.

    Raises:
        RuntimeError: the map has numbers that are not finite.
    """
    check_all_finite(heat)
    highest = float(heat.max()) if highest is None else highest
    shares = np.clip(heat / max(highest, 1e-12), 0, 1)
    colours = (255 * colormaps[HEAT](shares)[..., :3]).astype(np.uint8)
    blocks = cv2.resize(colours, (side_px, side_px), interpolation=cv2.INTER_NEAREST)
    grey = cv2.cvtColor(resized(picture, side_px, side_px), cv2.COLOR_RGB2GRAY)[..., None]
    return np.rint(blocks * (0.4 + 0.6 * grey / 255)).astype(np.uint8)  # keeps the colours' order


def framed(picture: np.ndarray) -> np.ndarray:
    """(H, W) bool, a frame inside a picture's rim: as a `Cell`'s mask it marks the picture."""
    mask = np.zeros(picture.shape[:2], np.bool_)
    rim = max(1, max(mask.shape) // 40)
    mask[rim:-rim, rim:-rim] = True
    return mask


def two_tone(components: np.ndarray) -> np.ndarray:
    """(h, w, 3) uint8: of two values in [0, 1] for each place (h, w, 2) the first is lightness, the
    second goes from blue to yellow, which colour-blind eyes tell apart, too."""
    first, second = np.moveaxis(components.astype(np.float32), 2, 0)
    lab = np.stack([25 + 60 * first, np.zeros_like(first), 130 * second - 65], axis=2)
    return np.rint(255 * cv2.cvtColor(lab, cv2.COLOR_LAB2RGB).clip(0, 1)).astype(np.uint8)
