"""Mean pairwise cosine of embeddings: what CLIP and DINO scores have in common."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from anydoor_lab.metrics.judge import Judge, Preprocess
from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.structures.errors import InputError, RunError


def cosines(first: Tensor, second: Tensor) -> Tensor:
    """(N, M) cosines between (N, D) and (M, D) embeddings."""
    return F.normalize(first.double(), dim=-1) @ F.normalize(second.double(), dim=-1).T


def embed(judge: Judge, preprocess: Preprocess, images: Sequence[np.ndarray]) -> Tensor:
    """(B, D) embeddings of B uint8 pictures of any sizes, one call of the judge.

    Raises:
        ValueError: the judge's answer is not one vector per picture.
        RuntimeError: an embedding is NaN or infinite.
    """
    with torch.inference_mode():
        embeddings = judge(preprocess.batch(images))
    if embeddings.ndim != 2 or len(embeddings) != len(images):
        seen = f"the judge gave {tuple(embeddings.shape)} for {len(images)} pictures"
        raise InputError(f"{seen}; expected (B, D), one embedding per picture")
    broken = int((~torch.isfinite(embeddings).all(dim=1)).sum())
    if broken:
        seen = f"the judge's embeddings of {broken} of {len(images)} pictures are not finite"
        raise RunError(f"{seen}; check its weights and its precision (use fp32)")
    return embeddings


class SimilarityScore(MeanScore):
    """100 x the mean cosine between generated regions and their references (Sec. 4.1).

    Args:
        judge: prepared images to embeddings.
        preprocess: what the judge expects.
        protocol: its `reference` says how many references a result may have.
    """

    higher_is_better = True
    bounds = (-100.0, 100.0)

    def __init__(
        self, judge: Judge, preprocess: Preprocess, protocol: ScoreProtocol | None = None
    ) -> None:
        super().__init__()
        self.judge, self.preprocess = judge, preprocess
        self.protocol = protocol or ScoreProtocol()

    def update(
        self,
        generated: Sequence[np.ndarray],
        references: Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]],
    ) -> None:
        """Count B generated regions against their references; see `scores`."""
        self.add(self.scores(generated, references))

    def scores(
        self,
        generated: Sequence[np.ndarray],
        references: Sequence[np.ndarray] | Sequence[Sequence[np.ndarray]],
    ) -> Tensor:
        """(B,) float64 in [-100, 100], one score per generated region, without counting them.

        Args:
            generated: B regions (h, w, 3) uint8, sizes may differ: `ScoreProtocol.region`.
            references: for each of them one region, or several under `reference="all"`.

        Raises:
            ValueError: the lengths differ, an entry has no reference, or it has several although
                the protocol says `single`.
        """
        groups = [[entry] if isinstance(entry, np.ndarray) else list(entry) for entry in references]
        self._check(len(generated), [len(group) for group in groups])
        photos = [photo for group in groups for photo in group]
        made = embed(self.judge, self.preprocess, generated)
        real = embed(self.judge, self.preprocess, photos).split([len(group) for group in groups])
        return 100 * torch.stack(
            [cosines(one[None], several).mean() for one, several in zip(made, real, strict=True)]
        )

    def _check(self, generated: int, references: list[int]) -> None:
        if not generated or generated != len(references):
            seen = f"{generated} generated regions and {len(references)} references"
            raise InputError(f"{seen}; expected as many references as regions, at least one")
        if not all(references):
            raise InputError(f"entry {references.index(0)} has no reference; give at least one")
        if self.protocol.reference == "single" and max(references) > 1:
            seen = f"an entry has {max(references)} references under reference='single'"
            raise InputError(f"{seen}; use ScoreProtocol(reference='all') or give one")
