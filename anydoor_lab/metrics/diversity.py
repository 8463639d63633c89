"""Diversity: how much the results of one pair differ between seeds.

The paper asks people (Table 2, four proposals per pair); these are the numbers beside it. LPIPS
(`metrics.lpips`) is measured from the true scene, not between seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import torch

from anydoor_lab.metrics.dino_score import dino_judge
from anydoor_lab.metrics.judge import Judge, Preprocess
from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.metrics.similarity import cosines, embed
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError


class Diversity(MeanScore):
    """100 x mean pairwise (1 - cosine) among the results of one pair, averaged over pairs.

    0 where all seeds look alike to the judge. Noise is diverse too: read it beside DINO score.

    Args:
        judge: prepared images to embeddings, usually `dino_judge`'s.
        preprocess: what the judge expects.
    """

    higher_is_better = True
    bounds = (0.0, 200.0)

    def __init__(self, judge: Judge, preprocess: Preprocess) -> None:
        super().__init__()
        self.judge, self.preprocess = judge, preprocess

    def update(self, results: Sequence[np.ndarray]) -> None:
        """Count one pair by its K regions (h, w, 3) uint8, one per seed.

        Raises:
            ValueError: K is below 2.
        """
        self.add(self.scores([results]))

    def scores(self, seeds: Sequence[Sequence[np.ndarray]]) -> torch.Tensor:
        """(B,) float64 of B pairs, without counting them.

        Raises:
            ValueError: a pair has less than two results.
        """
        return torch.stack([self._of_one(results) for results in seeds])

    def _of_one(self, results: Sequence[np.ndarray]) -> torch.Tensor:
        _check_several(results)
        embeddings = embed(self.judge, self.preprocess, results)
        first, second = torch.triu_indices(len(results), len(results), offset=1)
        # rounding gives equal results a cosine above 1
        return 100 * (1 - cosines(embeddings, embeddings)[first, second]).mean().clamp(min=0)


class PixelDiversity(MeanScore):
    """Mean pairwise absolute difference of pixels among the results of one pair, in % of 255."""

    higher_is_better = True
    bounds = (0.0, 100.0)

    def update(self, results: Sequence[np.ndarray]) -> None:
        """Count one pair by its K regions (h, w, 3) uint8 of one size, one per seed.

        Raises:
            ValueError: K is below 2, or the sizes differ.
        """
        _check_several(results)
        if len({result.shape for result in results}) > 1:
            seen = ", ".join(str(result.shape) for result in results)
            raise InputError(f"the results are {seen}; expected one size, cut the same region")
        pixels = [result.astype(np.float64) / 255 for result in results]
        distances = [float(np.abs(one - other).mean()) for one, other in combinations(pixels, 2)]
        self.add(torch.tensor([100 * np.mean(distances)]))


def _check_several(results: Sequence[np.ndarray]) -> None:
    if len(results) < 2:
        raise InputError(f"{len(results)} result; diversity needs two or more seeds of one pair")
    for result in results:
        check_image("result", result)


def diversity(source: str) -> Diversity:
    """The metric of a DINO judge's folder or hub name (conf/metrics/diversity.yaml)."""
    return Diversity(*dino_judge(source))
