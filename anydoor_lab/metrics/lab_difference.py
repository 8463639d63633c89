"""The difference of colours inside the mask: what encoders hardly see."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from skimage.color import rgb2lab

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.checks import check_masked

LAB_WIDTH = 258.7
"""The largest Delta E 1976 of two sRGB colours: blue against green."""


def lab_difference(image: np.ndarray, target: np.ndarray, mask: np.ndarray) -> float:
    """Mean distance in CIE L*a*b* (Delta E 1976) of two pictures inside a mask; 0 is equal.

    An encoder trained on ImageNet hardly sees colour: this does. 2.3 is just noticeable.

    Args:
        image, target: (H, W, 3) uint8 RGB of one size.
        mask: (H, W) bool.

    Raises:
        TypeError: a picture is no (H, W, 3) uint8.
        UnusablePair: the mask is empty, covers everything or has another size.
    """
    check_masked("image", image, mask)
    check_masked("target", target, mask)
    return float(np.linalg.norm(rgb2lab(image[mask]) - rgb2lab(target[mask]), axis=-1).mean())


class LabDifference(MeanScore):
    """Mean over pictures of `lab_difference` between result and true scene, inside the object's
    mask there: the colours that the object should have had. Lower is better; noise is not low."""

    higher_is_better = False
    bounds = (0.0, LAB_WIDTH)

    def scores(
        self,
        results: Sequence[np.ndarray],
        truths: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
    ) -> torch.Tensor:
        """(B,) float64 Delta E of B results (H, W, 3) against the true scenes, in (H, W) masks."""
        shown = zip(results, truths, masks, strict=True)
        return torch.tensor([lab_difference(*one) for one in shown], dtype=torch.float64)
