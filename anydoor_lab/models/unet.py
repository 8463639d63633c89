"""The base diffusion UNet in its two halves: the frozen encoder and the trained decoder.

Works on any diffusers `UNet2DConditionModel` with text conditioning only (as Stable Diffusion's).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from torch import nn


@dataclass(frozen=True, slots=True)
class Encoded:
    """What the encoder half hands to the decoder half.

    Args:
        middle: (B, C, h, w), the middle block's output.
        skips: the maps the decoder concatenates, shallow to deep.
        time: (B, E), the embedded timestep.
    """

    middle: torch.Tensor
    skips: tuple[torch.Tensor, ...]
    time: torch.Tensor


def encode_noisy(
    unet: UNet2DConditionModel, latents: torch.Tensor, t: torch.Tensor, tokens: torch.Tensor
) -> Encoded:
    """The encoder half and middle block on noisy `latents` (B, 4, h, w), `t` (B,), `tokens`."""
    time = embed_timestep(unet, t, latents.dtype)
    sample, skips = run_down_blocks(unet.down_blocks, unet.conv_in(latents), time, tokens)
    return Encoded(run_middle(unet.mid_block, sample, time, tokens), skips, time)


def decode_noise(
    unet: UNet2DConditionModel,
    encoded: Encoded,
    tokens: torch.Tensor,
    details: tuple[torch.Tensor, ...] | None = None,
) -> torch.Tensor:
    """The decoder half: the network's output (B, 4, h, w), with `details` added to the skips
    and, the last of them, to the middle (Sec. 3.3)."""
    sample, skips = encoded.middle, encoded.skips
    if details is not None:
        sample = sample + details[-1]
        skips = tuple(skip + detail for skip, detail in zip(skips, details[:-1], strict=True))
    for block in unet.up_blocks:
        number = len(block.resnets)
        skips, used = skips[:-number], skips[-number:]
        size = skips[-1].shape[2:] if skips else None
        context = {"encoder_hidden_states": tokens} if attends(block) else {}
        sample = block(
            hidden_states=sample,
            temb=encoded.time,
            res_hidden_states_tuple=used,
            upsample_size=size,
            **context,
        )
    return unet.conv_out(unet.conv_act(unet.conv_norm_out(sample)))


def decoder_modules(unet: UNet2DConditionModel) -> list[nn.Module]:
    """The parts of the UNet the paper trains: the decoder and its output (Sec. 3.3)."""
    return [unet.up_blocks, unet.conv_norm_out, unet.conv_out]


def embed_timestep(network: Any, t: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """(B, E) embedding of `t` (B,) by a UNet's or detail extractor's own layers."""
    return network.time_embedding(network.time_proj(t).to(dtype))


def run_down_blocks(
    blocks: Iterable[nn.Module], sample: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
) -> tuple[torch.Tensor, tuple[torch.Tensor, ...]]:
    """The last map and all skips (the input first) of a stack of encoder blocks."""
    skips = (sample,)
    for block in blocks:
        context = {"encoder_hidden_states": tokens} if attends(block) else {}
        sample, produced = block(hidden_states=sample, temb=time, **context)
        skips += tuple(produced)
    return sample, skips


def run_middle(
    block: nn.Module, sample: torch.Tensor, time: torch.Tensor, tokens: torch.Tensor
) -> torch.Tensor:
    """The middle block's output."""
    context = {"encoder_hidden_states": tokens} if attends(block) else {}
    return block(sample, time, **context)


def attends(block: nn.Module) -> bool:
    """Whether a block has cross-attention onto the tokens."""
    return bool(getattr(block, "has_cross_attention", False))
