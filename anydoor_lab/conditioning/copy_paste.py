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
    source = source or pair
    box = Box.around(pair.scene_mask)
    image, mask = crop_object(source.reference, source.reference_mask, 4096)
    rng = rng_for(0, 0, "unused")
    pixels = stitch(np.zeros_like(scene), box, box, original(image, mask, rng))
    inside = stitch(
        np.zeros_like(scene), box, box, np.repeat(mask[..., None], 3, 2) * np.uint8(255)
    )
    return np.where(inside >= 128, pixels, scene)
