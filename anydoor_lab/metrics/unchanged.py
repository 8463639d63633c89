"""Whether a method leaves the rest of the scene as it was, to the bit."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError


def unchanged_outside(result: np.ndarray, scene: np.ndarray, crop: Box) -> bool:
    """Whether all pixels outside `crop` equal the scene's.

    Raises:
        TypeError: a picture is no (H, W, 3) uint8.
        ValueError: the sizes differ.
    """
    check_image("result", result)
    check_image("scene", scene)
    if result.shape != scene.shape:
        seen = f"result {result.shape[:2]}, scene {scene.shape[:2]} (height, width)"
        raise InputError(f"{seen}; expected one size, paste the result back first")
    same = (result == scene).all(axis=-1)
    same[crop.clipped(*same.shape).slices] = True
    return bool(same.all())


class Unchanged(MeanScore):
    """The share of results, in %, that equal the scene bit by bit outside the regenerated crop."""

    higher_is_better = True
    bounds = (0.0, 100.0)

    def scores(
        self, results: Sequence[np.ndarray], scenes: Sequence[np.ndarray], crops: Sequence[Box]
    ) -> torch.Tensor:
        """(B,) 100 or 0 of B results (H, W, 3) uint8 and their scenes.

        `crops` are what each method wrote into; of one that shows none, the region's box.
        """
        shown = zip(results, scenes, crops, strict=True)
        values = [100.0 * unchanged_outside(*one) for one in shown]
        return torch.tensor(values, dtype=torch.float64)
