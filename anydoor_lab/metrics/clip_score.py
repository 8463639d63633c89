"""CLIP score (CLIP-I): semantic likeness of the generated region and the object."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor
from transformers import CLIPVisionModelWithProjection

from anydoor_lab.metrics.judge import Preprocess, load_frozen
from anydoor_lab.metrics.protocol import CLIP_B32, ScoreProtocol
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.models.idx.tokens import CLIP_MEAN, CLIP_STD


class ClipScore(SimilarityScore):
    """100 x mean cosine of CLIP image embeddings (Tables 3 and 4; DreamBooth's CLIP-I).

    `ClipScore(*clip_judge())` is the conventional ViT-B/32; see `SimilarityScore`.
    """


@dataclass(frozen=True, slots=True, eq=False)
class ClipJudge:
    """CLIP's projected image embedding, (B, 3, S, S) -> (B, D), on the network's own device."""

    network: Any

    def __call__(self, images: Tensor) -> Tensor:
        """(B, D) float32 embeddings, not normalised."""
        embeddings: Tensor = self.network(pixel_values=images.to(self.network.device)).image_embeds
        return embeddings


def clip_judge(source: str = CLIP_B32) -> tuple[ClipJudge, Preprocess]:
    """The CLIP image encoder in a folder or on the hub, with its preprocessing.

    Shorter side to the network's image size (224 for ViT-B/32), bicubic, centre crop, CLIP's
    mean and standard deviation. A folder of a whole CLIP model serves as well.

    Raises:
        RuntimeError: the checkpoint does not hold the whole image encoder.
        OSError: there is no such folder or hub name.
    """
    network = load_frozen(CLIPVisionModelWithProjection, source)
    size = network.config.image_size
    return ClipJudge(network), Preprocess(size, size, CLIP_MEAN, CLIP_STD)


def clip_score(source: str, protocol: ScoreProtocol | None = None) -> ClipScore:
    """The metric of a judge's folder or hub name (conf/metrics/clip.yaml)."""
    return ClipScore(*clip_judge(source), protocol)
