"""How much a result is a copy of its reference instead of the object as it belongs there."""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from skimage.color import rgb2lab

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_masked

SIDE_PX = 32
"""Regions are compared at this size, so that a shift of a pixel is no difference."""
LEAST = 2.3
"""Delta E (just noticeable) by which copy and truth must differ to be told apart."""


class CopyPasteIndex(MeanScore):
    """100 d(result, truth) / (d(result, truth) + d(result, copy)), the mean over pictures.

    The copy is the reference pasted into the region, the truth the scene that really shows the
    object there; d is the mean CIE L*a*b* distance over the region's box. 0: the result is the
    truth; 100: it is the pasted reference; 50: it is as near to the one as to the other, as
    something else altogether is. Low means no copy-pasting, and a low value beside a low DINO
    score means nothing at all. The paper shows this in Figures 7 and 9 (`collage=original`) and
    gives no number for it.
    """

    higher_is_better = False
    bounds = (0.0, 100.0)

    def scores(
        self,
        results: Sequence[np.ndarray],
        truths: Sequence[np.ndarray],
        pasted: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
    ) -> torch.Tensor:
        """(B,) float64 of B results, true scenes and scenes with the pasted reference, (H, W, 3)
        uint8, compared in the boxes of `masks` (H, W) bool.

        NaN where copy and truth look alike (a still whose scene shows the reference itself).
        """
        shown = zip(results, truths, pasted, masks, strict=True)
        return torch.tensor([self._of_one(*one) for one in shown], dtype=torch.float64)

    def _of_one(
        self, result: np.ndarray, scene: np.ndarray, copy: np.ndarray, mask: np.ndarray
    ) -> float:
        seen, true, pasted = (_colours(image, mask) for image in (result, scene, copy))
        if _distance(true, pasted) < LEAST:
            return math.nan
        from_truth, from_copy = _distance(seen, true), _distance(seen, pasted)
        return 100 * from_truth / (from_truth + from_copy)


def _colours(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """(SIDE_PX, SIDE_PX, 3) L*a*b* of the box of `mask`."""
    check_masked("image", image, mask)
    region = image[Box.around(mask).slices]
    colours: np.ndarray = rgb2lab(
        cv2.resize(region, (SIDE_PX, SIDE_PX), interpolation=cv2.INTER_AREA)
    )
    return colours


def _distance(one: np.ndarray, other: np.ndarray) -> float:
    return float(np.linalg.norm(one - other, axis=-1).mean())
