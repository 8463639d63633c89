"""The id_image: what the ID extractor is shown (Sec. 3.1)."""

from __future__ import annotations

import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import on_white, padded_square, resized, resized_mask


def crop_object(
    image: np.ndarray, mask: np.ndarray, longest_px: int
) -> tuple[np.ndarray, np.ndarray]:
    """The object's tight crop (h, w, 3) and mask (h, w), shrunk to at most `longest_px`."""
    box = Box.around(mask)
    crop, inside = image[box.slices], mask[box.slices]
    scale = longest_px / max(box.height, box.width)
    if scale >= 1:
        return crop, inside
    height, width = max(1, round(box.height * scale)), max(1, round(box.width * scale))
    shrunk = resized_mask(inside, height, width)
    if not shrunk.any():  # thinner than half a pixel: keep every pixel it touches
        shrunk = resized(inside.astype(np.uint8) * 255, height, width) > 0
    return resized(crop, height, width), shrunk


def make_id_image(crop: np.ndarray, mask: np.ndarray, size: int, margin: float) -> np.ndarray:
    """The object on white, centred on a square canvas `margin` times its size, (S, S, 3) uint8.

    Args:
        crop: (h, w, 3) uint8, the object's tight crop.
        mask: (h, w) bool; all True keeps the background ("Seg" of Table 3 off).
        size: S.
        margin: canvas over object (released code 1.2).
    """
    white = on_white(crop, mask)
    rows, columns = (round(side * (margin - 1) / 2) for side in crop.shape[:2])
    framed = np.pad(white, ((rows, rows), (columns, columns), (0, 0)), constant_values=255)
    return resized(padded_square(framed, 255), size, size)
