"""The detail extractor: a ControlNet-style UNet encoder that sees the collage (Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from diffusers import ControlNetModel, ModelMixin, UNet2DConditionModel  # noqa: F401

from anydoor_lab.models.unet import embed_timestep, run_down_blocks, run_middle

# A pipeline loads a component only if the component's own module knows the name ModelMixin.


class DetailExtractor(ControlNetModel):
    """A copy of the UNet's encoder fed with the hint instead of the noisy latent.

    The embedded hint replaces the first convolution's output (as in the released code), so the
    branch sees the hint, t and the tokens only, and its maps can be shared by all seeds of a pair.
    A branch that sees other pictures is a subclass with other `inputs`.
    """

    inputs: ClassVar[Mapping[str, int]] = {"collage": 3, "shape_mask": 1}
    """The pictures that are stacked to the hint, in order: the channels of each by its name."""

    @classmethod
    def copied_from(
        cls, unet: UNet2DConditionModel, stem_channels: Sequence[int] = (16, 32, 96, 256)
    ) -> DetailExtractor:
        """Initialised as the encoder of `unet`, with zero convolutions and a fresh hint stem.

        Args:
            unet: the base network to copy.
            stem_channels: widths of the hint stem; each after the first halves the resolution.
        """
        detail = cls.from_unet(
            unet,
            conditioning_channels=sum(cls.inputs.values()),
            conditioning_embedding_out_channels=tuple(stem_channels),
        )
        # the zero convolutions alone make the branch start at nothing; a zero stem before them, as
        # ControlNet has it, would only keep the hint out for the first hundreds of steps
        detail.controlnet_cond_embedding.conv_out.reset_parameters()
        detail.conv_in.requires_grad_(False)
        torch.nn.init.zeros_(detail.conv_in.weight)
        torch.nn.init.zeros_(detail.conv_in.bias)
        return detail

    def embed_hint(self, hint: torch.Tensor) -> torch.Tensor:
        """(B, C, h, w) features of `hint`, the stacked `inputs` (B, 4, R, R); independent of t."""
        return self.controlnet_cond_embedding(hint)

    def forward(
        self, hint_features: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """The detail maps: one for each UNet skip, shallow to deep, then the middle's.

        Args:
            hint_features: (B, C, h, w) from `embed_hint`.
            t: (B,) timesteps.
            tokens: (B, N, D) ID tokens.
        """
        time = embed_timestep(self, t, hint_features.dtype)
        sample, skips = run_down_blocks(self.down_blocks, hint_features, time, tokens)
        maps = [
            zero_conv(skip)
            for zero_conv, skip in zip(self.controlnet_down_blocks, skips, strict=True)
        ]
        middle = run_middle(self.mid_block, sample, time, tokens)
        return (*maps, self.controlnet_mid_block(middle))
