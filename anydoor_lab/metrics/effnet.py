"""EfficientNet-Lite0 as a judge: a real encoder, supervised on ImageNet. It is no DINO, no CLIP."""

from __future__ import annotations

from pathlib import Path

from anydoor_lab.metrics.judge import Preprocess
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.models.effnet import MEAN, SIZE_PX, STD, EfficientNetLite0, pretrained_effnet


class EffnetScore(SimilarityScore):
    """100 x mean cosine of EfficientNet-Lite0 embeddings; a number of its own, not DINO's.

    `EffnetScore(*effnet_judge())`; see `SimilarityScore`.
    """


def effnet_judge(weights: str | Path | None = None) -> tuple[EfficientNetLite0, Preprocess]:
    """The frozen network with its pixels: 224 px, (x - 127) / 128; see `pretrained_effnet`."""
    return pretrained_effnet(weights), Preprocess(SIZE_PX, SIZE_PX, MEAN, STD)
