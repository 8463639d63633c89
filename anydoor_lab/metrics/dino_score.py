"""DINO score: likeness of the generated region and this very object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import AutoConfig, Dinov2Model, ViTModel

from anydoor_lab.metrics.judge import Preprocess, load_frozen
from anydoor_lab.metrics.protocol import DINO_S16, ScoreProtocol
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.models.idx.tokens import IMAGENET_MEAN, IMAGENET_STD
from anydoor_lab.models.sources import reading
from anydoor_lab.structures.errors import InputError

MARGIN = 256 / 224
"""DINO's resize over its centre crop."""


class DinoScore(SimilarityScore):
    """100 x mean cosine of DINO class tokens (Tables 3 and 4; DreamBooth's DINO).

    `DinoScore(*dino_judge())` is ViT-S/16; see `SimilarityScore`.
    """


@dataclass(frozen=True, slots=True, eq=False)
class DinoJudge:
    """The class token after the last norm, (B, 3, S, S) -> (B, D), on the network's own device."""

    network: Any

    def __call__(self, images: Tensor) -> Tensor:
        """(B, D) float32 embeddings, not normalised."""
        answer = self.network(pixel_values=images.to(self.network.device))
        tokens: Tensor = answer.last_hidden_state
        return tokens[:, 0]


def dino_judge(
    source: str = DINO_S16, size_px: int | None = None, margin: float | None = None
) -> tuple[DinoJudge, Preprocess]:
    """The DINO (`vit`) or DINOv2 (`dinov2`) network in a folder or on the hub, with its pixels.

    Args:
        source: a folder or a hub name.
        size_px: side of what the network sees; None takes the checkpoint's `image_size`.
        margin: resize over centre crop; None takes 256 / 224 for `vit` (ViT-S/16: 256 px, then
            224 px) and 1 for `dinov2`, so that a region of few pixels keeps its rim.

    Raises:
        ValueError: the folder holds another kind of network.
        RuntimeError: the checkpoint lacks weights.
        OSError: there is no such folder or hub name.
    """
    with reading(f"the judge {source}"):
        config = AutoConfig.from_pretrained(source)
    if config.model_type == "vit":
        # the score is defined on the class token: no pooling layer
        network = load_frozen(ViTModel, source, add_pooling_layer=False)
    elif config.model_type == "dinov2":
        network = load_frozen(Dinov2Model, source)
    else:
        seen = f"{source} holds a {config.model_type!r} network"
        raise InputError(f"{seen}; expected 'vit' (DINO) or 'dinov2', give such a folder")
    size = size_px or config.image_size
    ratio = margin or (MARGIN if config.model_type == "vit" else 1.0)
    return DinoJudge(network), Preprocess(round(size * ratio), size, IMAGENET_MEAN, IMAGENET_STD)


def dino_score(source: str, protocol: ScoreProtocol | None = None) -> DinoScore:
    """The metric of a judge's folder or hub name (conf/metrics/dino.yaml)."""
    return DinoScore(*dino_judge(source), protocol)
