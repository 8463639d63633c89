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
from transformers import (
    AutoConfig,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
    DINOv3ViTConfig,
    DINOv3ViTModel,
)
from transformers.models.dinov2.modeling_dinov2 import Dinov2Embeddings

from anydoor_lab.models.idx.tokens import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TokenChoice,
    choose_tokens,
    normalise,
)
from anydoor_lab.models.sources import obtain, reading
from anydoor_lab.structures.errors import InputError

FAMILY: dict[str, tuple[Any, Any]] = {
    "dinov2": (Dinov2Config, Dinov2Model),
    "dinov2_with_registers": (Dinov2WithRegistersConfig, Dinov2WithRegistersModel),
    "dinov3_vit": (DINOv3ViTConfig, DINOv3ViTModel),
}
"""Config and network by the `model_type` of a checkpoint's config.json."""


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
    Any size serves, with registers too (which are left out of the tokens), and DINOv3.

    Args:
        encoder_config: keyword arguments of `transformers.Dinov2Config`, or of the class in
            `FAMILY` that its `model_type` names.
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
        config_class, network = FAMILY[encoder_config.get("model_type", "dinov2")]
        config = config_class(**encoder_config)
        self.encoder = network(config)
        if interpolate_offset:
            self.encoder.embeddings = OffsetEmbeddings(config, interpolate_offset)
        self.projector = nn.Linear(self.encoder.config.hidden_size, cross_attention_dim)

    @classmethod
    def from_encoder(
        cls, source: str | Path, cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> Dinov2Extractor:
        """Around a pretrained encoder (embedded, folder or hub name), with a fresh projector.

        Raises:
            ValueError: it is not there, or neither a DINOv2 nor a DINOv3.
        """
        folder = obtain(source, setting="idx.extractor.source")
        with reading(f"idx.extractor.source {source}"):
            kind = AutoConfig.from_pretrained(folder).model_type
            if kind not in FAMILY:
                raise InputError(f"{source} is a {kind}; expected one of {', '.join(FAMILY)}")
            encoder = FAMILY[kind][1].from_pretrained(folder, dtype=torch.float32)
        with torch.device("meta"):
            extractor = cls(encoder.config.to_diff_dict(), cross_attention_dim, tokens)
        extractor.encoder = encoder
        extractor.projector = nn.Linear(encoder.config.hidden_size, cross_attention_dim)
        return extractor

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """(B, N, E) frozen features of `id_image` (B, 3, S, S) in [0, 1]."""
        pixels = normalise(id_image, IMAGENET_MEAN, IMAGENET_STD)
        hidden = self.encoder(pixels).last_hidden_state
        first_patch = 1 + getattr(self.encoder.config, "num_register_tokens", 0)
        return choose_tokens(hidden[:, :1], hidden[:, first_patch:], self.config.tokens)

    def forward(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S) in [0, 1]."""
        return self.projector(self.features(id_image))
