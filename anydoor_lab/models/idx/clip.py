"""CLIP's image encoder as ID extractor (Table 3, row 2)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel

from anydoor_lab.models.idx.tokens import (
    CLIP_MEAN,
    CLIP_STD,
    TokenChoice,
    choose_tokens,
    normalise,
)
from anydoor_lab.models.sources import obtain, reading


class ClipExtractor(ModelMixin, ConfigMixin):
    """ID tokens from CLIP's vision transformer, all after its final layer norm.

    Args:
        encoder_config: keyword arguments of `transformers.CLIPVisionConfig`.
        cross_attention_dim: D of the tokens.
        tokens: G, P or G+P of Table 3.
    """

    @register_to_config
    def __init__(
        self, encoder_config: dict[str, Any], cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> None:
        super().__init__()
        self.encoder = CLIPVisionModel(CLIPVisionConfig(**encoder_config))
        self.projector = nn.Linear(self.encoder.config.hidden_size, cross_attention_dim)

    @classmethod
    def from_encoder(
        cls, source: str | Path, cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> ClipExtractor:
        """Around a pretrained encoder (embedded, folder or hub name), with a fresh projector."""
        folder = obtain(source, setting="idx.extractor.source")
        with reading(f"idx.extractor.source {source}"):
            encoder = CLIPVisionModel.from_pretrained(folder, dtype=torch.float32)
        with torch.device("meta"):
            extractor = cls(encoder.config.to_diff_dict(), cross_attention_dim, tokens)
        extractor.encoder = encoder
        extractor.projector = nn.Linear(encoder.config.hidden_size, cross_attention_dim)
        return extractor

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """(B, N, E) frozen features of `id_image` (B, 3, S, S) in [0, 1]."""
        pixels = normalise(id_image, CLIP_MEAN, CLIP_STD)
        hidden = self.encoder(pixels).last_hidden_state
        hidden = self.encoder.post_layernorm(hidden)
        return choose_tokens(hidden[:, :1], hidden[:, 1:], self.config.tokens)

    def forward(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S) in [0, 1]."""
        return self.projector(self.features(id_image))
