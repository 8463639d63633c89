"""EfficientNet-Lite0 as ID extractor: an outside encoder that needs no hub (not in the paper)."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional

from anydoor_lab.models.effnet import (
    MEAN,
    SIZE_PX,
    STD,
    WIDTH,
    EfficientNetLite0,
    pretrained_effnet,
)
from anydoor_lab.models.idx.tokens import TokenChoice, choose_tokens, normalise


class EffnetExtractor(ModelMixin, ConfigMixin):
    """ID tokens from EfficientNet-Lite0: the mean of its last map, and the map's 49 places.

    The network sees 224 px, whatever the id_image's side.

    Args:
        cross_attention_dim: D of the tokens.
        tokens: G, P or G+P of Table 3.
    """

    @register_to_config
    def __init__(self, cross_attention_dim: int, tokens: TokenChoice = "both") -> None:
        super().__init__()
        self.encoder = EfficientNetLite0()
        self.projector = nn.Linear(WIDTH, cross_attention_dim)

    @classmethod
    def from_encoder(
        cls, source: str | Path | None, cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> EffnetExtractor:
        """Around the checkpoint file `source`, or with None the installed package's.

        Raises:
            ValueError: there is no such file, or the package is not installed.
        """
        extractor = cls(cross_attention_dim, tokens)
        extractor.encoder = pretrained_effnet(source)
        return extractor

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """(B, N, 1280) frozen features of `id_image` (B, 3, S, S) in [0, 1]."""
        if id_image.shape[-1] != SIZE_PX:
            shape = (SIZE_PX, SIZE_PX)
            id_image = functional.interpolate(id_image, shape, mode="bicubic", antialias=True)
        places = self.encoder.last_map(normalise(id_image, MEAN, STD)).flatten(2).transpose(1, 2)
        return choose_tokens(places.mean(dim=1, keepdim=True), places, self.config.tokens)

    def forward(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S) in [0, 1]."""
        return self.projector(self.features(id_image))

    def train(self, mode: bool = True) -> EffnetExtractor:
        """The encoder keeps the statistics it was trained with."""
        super().train(mode)
        self.encoder.eval()
        return self
