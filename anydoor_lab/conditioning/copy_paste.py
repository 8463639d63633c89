"""The object's own pixels set into the scene: what every method is measured against."""

from __future__ import annotations

import numpy as np

from anydoor_lab.conditioning.collage import original
from anydoor_lab.conditioning.conditioner import stitch
from anydoor_lab.conditioning.id_crop import crop_object
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for


def emptied(pair: Pair) -> np.ndarray:
    """The scene with the object's box in the mean colour of what surrounds it."""
    height, width = pair.scene_mask.shape
    inner = Box.around(pair.scene_mask)
    outer = inner.grown(1.5, height, width)
    around = outer.mask(height, width) & ~inner.mask(height, width)
    scene = pair.scene.copy()
    scene[inner.slices] = scene[around].mean(axis=0) if around.any() else 128
    return scene


def paste_copy(scene: np.ndarray, pair: Pair, source: Pair | None = None) -> np.ndarray:
    """`scene` with the reference of `source` (default: the pair's own) pasted into the box."""
    pixels, inside = pasted_object(pair, source)
    return np.where(inside[..., None], pixels, scene)


def pasted_object(pair: Pair, source: Pair | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The reference of `source` (default: the pair's own) where it goes in the pair's scene.

    Its pixels (H, W, 3) uint8, of no meaning outside the object, and where it is, (H, W) bool.
    """
    source, empty = source or pair, np.zeros_like(pair.scene)
    box = Box.around(pair.scene_mask)
    image, mask = crop_object(source.reference, source.reference_mask, 4096)
    pixels = stitch(empty, box, box, original(image, mask, rng_for(0, 0, "unused")))
    inside = stitch(empty, box, box, np.repeat(mask[..., None], 3, 2) * np.uint8(255))
    return pixels, inside[..., 0] >= 128
