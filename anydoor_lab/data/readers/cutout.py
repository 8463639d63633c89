"""A cut-out with transparent surroundings, set onto a backdrop so that it becomes a scene."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.images import resized
from anydoor_lab.structures.originals import blended

MAX_SIDE_PX = 2048
"""Longest side of a composed scene; larger cut-outs are shrunk to fit."""
SHARES = (0.3, 0.8)
"""Range of the object's longer side, as a share of the composed scene's side."""


def share_range(mask: np.ndarray, areas: tuple[float, float]) -> tuple[float, float]:
    """The shares of a square scene's side the object may take, so that its area stays allowed.

    Args:
        mask: (H, W) bool, the object.
        areas: smallest and largest share of the scene's area the object may cover.

    Raises:
        UnusablePair: no size within `SHARES` gives such an area (a hair-thin object, say).
    """
    box = Box.around(mask)
    fill = np.count_nonzero(mask) / max(box.height, box.width) ** 2
    low, high = max(SHARES[0], (areas[0] / fill) ** 0.5), min(SHARES[1], (areas[1] / fill) ** 0.5)
    if low > high:
        reason = "mask too large" if high < SHARES[0] else "mask too small"
        raise UnusablePair(reason, f"the object fills {fill:.3f} of the square around it")
    return low, high


def placed(
    rgba: np.ndarray,
    backdrop: np.ndarray | None,
    areas: tuple[float, float],
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """A square scene (S, S, 3) uint8 that shows the cut-out, and its mask (S, S) bool.

    Size, position and the part of the backdrop are drawn from `rng`. The object keeps its own
    pixels unless the scene would exceed `MAX_SIDE_PX`.

    Args:
        rgba: (H, W, 4) uint8, alpha above 128 = object.
        backdrop: (H', W', 3) uint8, or None for a smooth field of random colours.
        areas: smallest and largest share of the scene's area the object may cover.
        rng: all that varies is drawn from it.

    Raises:
        UnusablePair: as `share_range`.
    """
    mask = rgba[..., 3] > 128
    share = rng.uniform(*share_range(mask, areas))
    cut = rgba[Box.around(mask).slices]
    longest = max(cut.shape[:2])
    side = min(max(round(longest / share), 16), MAX_SIDE_PX)
    factor = min(1.0, share * side / longest)
    cut = _shrunk(cut, factor)
    scene = smooth_field(side, rng) if backdrop is None else _square_part(backdrop, side, rng)
    box = _somewhere(cut.shape[0], cut.shape[1], side, rng)
    scene[box.slices] = blended(cut, scene[box.slices])
    scene_mask = np.zeros((side, side), np.bool_)
    scene_mask[box.slices] = cut[..., 3] > 128
    return scene, scene_mask


def smooth_field(side: int, rng: np.random.Generator) -> np.ndarray:
    """(side, side, 3) uint8: slow gradients of light, faintly tinted, with a fine grain."""
    light, tint = rng.uniform(50, 205, (4, 4, 1)), rng.uniform(-30, 30, (4, 4, 3))
    coarse = (light + tint).astype(np.float32)
    field = cv2.resize(coarse, (side, side), interpolation=cv2.INTER_CUBIC)
    grain = rng.normal(0, 3, (side, side, 1)).astype(np.float32)
    return np.clip(field + grain, 0, 255).astype(np.uint8)


def _shrunk(rgba: np.ndarray, factor: float) -> np.ndarray:
    if factor >= 1:
        return np.ascontiguousarray(rgba)
    height, width = (max(1, round(length * factor)) for length in rgba.shape[:2])
    # PIL weighs colours by alpha: what lies under alpha = 0 must not bleed into the edge
    return np.array(Image.fromarray(rgba).resize((width, height), Image.Resampling.BOX))


def _square_part(image: np.ndarray, side: int, rng: np.random.Generator) -> np.ndarray:
    shortest = min(image.shape[:2])
    y1 = int(rng.integers(image.shape[0] - shortest + 1))
    x1 = int(rng.integers(image.shape[1] - shortest + 1))
    return resized(image[y1 : y1 + shortest, x1 : x1 + shortest], side, side).copy()


def _somewhere(height: int, width: int, side: int, rng: np.random.Generator) -> Box:
    y1, x1 = int(rng.integers(side - height + 1)), int(rng.integers(side - width + 1))
    return Box(y1, y1 + height, x1, x1 + width)
