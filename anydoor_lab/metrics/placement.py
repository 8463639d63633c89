"""Whether the object fills the shape that was asked for."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_masked

SIDE_PX = 64
"""The surroundings are segmented at this size: 3 ms a picture."""
AROUND = 1.5
"""The part that is looked at, over the region's box."""
ITERATIONS = 2
NOTICED = 4.0
"""An object differs by more than this (Delta E) from the mean colour around it: from nothing."""


def segmented(
    result: np.ndarray, scene: np.ndarray, region: np.ndarray
) -> tuple[np.ndarray, np.ndarray] | None:
    """The object that stands in the box of `region`, and the region, both at `SIDE_PX`.

    By GrabCut (Rother et al. 2004) from the box, and where the result differs from the emptied
    scene, the mean colour around the box: GrabCut alone finds an object in a plain area, too. The
    background is the scene's, which surely shows no part of the object there.

    Args:
        result: (H, W, 3) uint8.
        scene: (H, W, 3) uint8, what it was made from.
        region: (H, W) bool, the shape asked for.

    Returns:
        Two (h, w) bool masks of the box's surroundings; None where nothing surrounds the box.
    """
    check_masked("result", result, region)
    check_masked("scene", scene, region)
    height, width = region.shape
    box = Box.around(region)
    around = box.grown(AROUND, height, width)
    crop = np.where(box.mask(height, width)[..., None], result, scene)[around.slices]
    scale = min(1.0, SIDE_PX / max(crop.shape[:2]))
    size = (max(2, round(crop.shape[1] * scale)), max(2, round(crop.shape[0] * scale)))
    small = cv2.resize(np.ascontiguousarray(crop), size, interpolation=cv2.INTER_AREA)
    inside = _resized(box.mask(height, width)[around.slices], size)
    asked = _resized(region[around.slices], size) & inside
    if inside.all() or not asked.any():
        return None
    lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    differs = np.linalg.norm(lab - lab[~inside].mean(axis=0), axis=-1) > NOTICED
    return _grab_cut(small, inside) & differs, asked


def _resized(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    shares = cv2.resize(mask.astype(np.float32), size, interpolation=cv2.INTER_AREA)
    found: np.ndarray = shares > 0.5
    return found


def _grab_cut(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    marks = np.where(inside, cv2.GC_PR_FGD, cv2.GC_BGD).astype(np.uint8)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.setRNGSeed(0)  # it draws colours to begin with
    cv2.grabCut(image, marks, None, *models, ITERATIONS, cv2.GC_INIT_WITH_MASK)
    found: np.ndarray = marks % 2 == 1
    return found


class PlacementScore(MeanScore):
    """100 x intersection over union of the object in the result with the shape asked for.

    The object is found without a network (`segmented`), which has its own faults: the true scene
    beside it, not 100, is what can be reached. What reaches beyond the region's box is not seen,
    so an object that is too large or has moved is punished less than it should be.
    """

    higher_is_better = True
    bounds = (0.0, 100.0)

    def scores(
        self,
        results: Sequence[np.ndarray],
        scenes: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
    ) -> torch.Tensor:
        """(B,) float64 of B results and scenes (H, W, 3) uint8 and the shapes (H, W) bool asked
        for; NaN where nothing of the scene surrounds the region."""
        values = [self._of_one(*one) for one in zip(results, scenes, masks, strict=True)]
        return torch.tensor(values, dtype=torch.float64)

    def _of_one(self, result: np.ndarray, scene: np.ndarray, mask: np.ndarray) -> float:
        found = segmented(result, scene, mask)
        if found is None:
            return math.nan
        thing, asked = found
        return float(100 * (thing & asked).sum() / (thing | asked).sum())
