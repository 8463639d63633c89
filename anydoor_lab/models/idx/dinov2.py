"""DINOv2 as ID extractor: the paper's choice (Sec. 3.1; Table 3, rows 3 to 5)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from anydoor_lab.models.embedded import locate
from anydoor_lab.models.idx.tokens import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TokenChoice,
    choose_tokens,
    normalise,
)


class OffsetEmbeddings(Dinov2Embeddings):
    """Dinov2's embeddings with the grid size raised by `offset` where positions are resized."""

    def __init__(self, config: Dinov2Config, offset: float) -> None:
        super().__init__(config)
        self.offset = offset

    def interpolate_pos_encoding(
        self, embeddings: torch.Tensor, height: int, width: int
    ) -> torch.Tensor:
        """(1, 1 + P, E) positions for pictures of `height` x `width` pixels."""
        class_position, positions = self.position_embeddings.split(
            [1, self.position_embeddings.shape[1] - 1], dim=1
        )
        side = math.isqrt(positions.shape[1])
        rows, columns = height // self.patch_size, width // self.patch_size
        if rows == columns == side:
            return self.position_embeddings
        grid = positions.unflatten(1, (side, side)).permute(0, 3, 1, 2).float()
        scale = ((rows + self.offset) / side, (columns + self.offset) / side)
        resized = functional.interpolate(grid, scale_factor=scale, mode="bicubic")
        resized = resized.to(positions.dtype).flatten(2).transpose(1, 2)
        return torch.cat([class_position, resized], dim=1)


class Dinov2Extractor(ModelMixin, ConfigMixin):
    """ID tokens from a DINOv2 vision transformer, after its last layer norm.

    At paper scale (giant, 224 px) 1 class token + 256 patch tokens of 1536, projected to 1024.

    Args:
        encoder_config: keyword arguments of `transformers.Dinov2Config`.
        cross_attention_dim: D of the tokens.
        tokens: G, P or G+P of Table 3.
        interpolate_offset: added to the grid of patches where the position embedding is resized
            to it; 0 is transformers' rule, 0.1 the released code's.
    """

    @register_to_config
    def __init__(
        self,
        encoder_config: dict[str, Any],
        cross_attention_dim: int,
        tokens: TokenChoice = "both",
        interpolate_offset: float = 0.0,
    ) -> None:
        super().__init__()
        config = Dinov2Config(**encoder_config)
        self.encoder = Dinov2Model(config)
        if interpolate_offset:
            self.encoder.embeddings = OffsetEmbeddings(config, interpolate_offset)
        self.projector = nn.Linear(self.encoder.config.hidden_size, cross_attention_dim)

    @classmethod
    def from_encoder(
        cls, source: str | Path, cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> Dinov2Extractor:
        """Around a pretrained encoder (embedded, folder or hub name), with a fresh projector."""
        encoder = Dinov2Model.from_pretrained(locate(source), dtype=torch.float32)
        with torch.device("meta"):
            extractor = cls(encoder.config.to_diff_dict(), cross_attention_dim, tokens)
        extractor.encoder = encoder
        extractor.projector = nn.Linear(encoder.config.hidden_size, cross_attention_dim)
        return extractor

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """(B, N, E) frozen features of `id_image` (B, 3, S, S) in [0, 1]."""
        pixels = normalise(id_image, IMAGENET_MEAN, IMAGENET_STD)
        hidden = self.encoder(pixels).last_hidden_state
        return choose_tokens(hidden[:, :1], hidden[:, 1:], self.config.tokens)

    def forward(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S) in [0, 1]."""
        return self.projector(self.features(id_image))
