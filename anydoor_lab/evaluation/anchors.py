"""What frames the scores: scenes that no network has a part in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from anydoor_lab.boxes import Box
from anydoor_lab.conditioning.collage import original
from anydoor_lab.conditioning.conditioner import stitch
from anydoor_lab.conditioning.id_crop import crop_object
from anydoor_lab.draws import generator
from anydoor_lab.pair import Pair


def anchor_scenes(pairs: Sequence[Pair]) -> dict[str, Iterator[np.ndarray]]:
    """What frames the scores, without any network: for each anchor a scene per pair, one by one.

    `true second view` is the real scene (for stills, which show the reference itself, `ground
    truth`); `copy-paste` the reference set into it; `another object` the next pair's reference,
    where there is more than one; `empty` the region in its surroundings' colour.
    """
    still = all(pair.variation == "still" for pair in pairs)
    anchors = {
        "ground truth" if still else "true second view": (pair.scene for pair in pairs),
        "copy-paste": (paste_copy(emptied(pair), pair) for pair in pairs),
    }
    if len(pairs) > 1:
        following = zip(pairs, [*pairs[1:], pairs[0]], strict=True)
        anchors["another object"] = (paste_copy(emptied(p), p, other) for p, other in following)
    return {**anchors, "empty": (emptied(pair) for pair in pairs)}


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
    rng = generator(0, 0, "unused")
    pixels = stitch(np.zeros_like(scene), box, box, original(image, mask, rng))
    inside = stitch(
        np.zeros_like(scene), box, box, np.repeat(mask[..., None], 3, 2) * np.uint8(255)
    )
    return np.where(inside >= 128, pixels, scene)
