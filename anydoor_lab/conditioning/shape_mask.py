"""The shape mask: where the object goes, coarse as a user would draw it (Sec. 3.2)."""

from __future__ import annotations

import cv2
import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import resized_mask

PERTURB_PX = 128
"""Longer side at which masks are perturbed: the same family of shapes as at full resolution,
14 to 18 times faster."""


def perturb_mask(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A coarse version of `mask` (H, W) bool: down-sampled, then dilated or eroded at random.

    Never empty: where erosion leaves nothing, the down-sampled mask is given back.
    """
    height, width = mask.shape
    small_h, small_w = _sized(height, width, min(PERTURB_PX, max(height, width)))
    coarse_h, coarse_w = _sized(height, width, int(rng.integers(8, 33)))
    coarse = resized_mask(resized_mask(mask, coarse_h, coarse_w), small_h, small_w)
    radius = int(rng.integers(1, max(2, min(small_h, small_w) // 12)))
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    changed = change(coarse.astype(np.uint8), kernel)
    for candidate in (changed.astype(np.bool_), coarse):
        if candidate.any():
            grown = resized_mask(candidate, height, width)
            return grown if grown.any() else mask
    return mask


def roomy_box(mask: np.ndarray, slack: float, rng: np.random.Generator) -> np.ndarray:
    """The box of `mask` (H, W) bool as a filled region, higher or wider than the object.

    One side, chosen at random, is up to `1 + slack` times as long, with the object in its middle
    and as far as the picture has room: a box drawn by hand, or about another pose, has another
    aspect ratio than the object.
    """
    box, (height, width) = Box.around(mask), mask.shape
    share = rng.uniform(0, slack) / 2
    if rng.random() < 0.5:
        added = min(round(share * box.height), box.y1, height - box.y2)
        return Box(box.y1 - added, box.y2 + added, box.x1, box.x2).mask(height, width)
    added = min(round(share * box.width), box.x1, width - box.x2)
    return Box(box.y1, box.y2, box.x1 - added, box.x2 + added).mask(height, width)


def shape_channel(region: np.ndarray, padding: np.ndarray) -> np.ndarray:
    """(1, R, R) float32: 1 in `region`, -1 in `padding`, else 0; both (R, R) bool."""
    channel = region.astype(np.float32)
    channel[padding] = -1
    return channel[None]


def _sized(height: int, width: int, longer: int) -> tuple[int, int]:
    scale = longer / max(height, width)
    return max(1, round(height * scale)), max(1, round(width * scale))
