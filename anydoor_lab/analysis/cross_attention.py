"""What the UNet asks of the ID tokens at each timestep (Sec. 3.3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.errors import InputError

COMMON_SIDE = 16
"""Layers of several resolutions are brought to this many places per side before averaging."""


@dataclass(frozen=True, slots=True, eq=False)
class CrossAttention:
    """Attention onto the ID tokens: the mean of all layers and heads of the UNet.

    Args:
        t: (T,) timesteps, falling.
        maps: (T, h, w, N), how much each place of the crop takes from each token; sums to 1 over N.
    """

    t: np.ndarray
    maps: np.ndarray

    def looked_at(self, region: np.ndarray | None = None) -> np.ndarray:
        """(T, N): each token's share, averaged over the places, or over those in `region`.

        Args:
            region: (R, R) bool, a part of the crop.

        Raises:
            ValueError: no place's centre is in the region.
        """
        if region is None:
            return self.maps.mean(axis=(1, 2))
        centres = [(np.arange(n) + 0.5) / n for n in self.maps.shape[1:3]]
        rows, columns = (
            (c * side).astype(int) for c, side in zip(centres, region.shape, strict=True)
        )
        inside = region[np.ix_(rows, columns)]
        if not inside.any():
            raise InputError("the region holds no place of the attention maps; choose a larger one")
        return self.maps[:, inside].mean(axis=1)


def cross_attention(
    pipeline: AnyDoorPipeline,
    prepared: Prepared,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
) -> CrossAttention:
    """The UNet's attention onto the ID tokens of one pair while it is placed.

    Args:
        pipeline: not changed; its result is the same as without looking.
        prepared: one pair, from `AnyDoorPipeline.prepare`.
        seed, num_inference_steps, guidance_scale: as in a call; the guided half counts.

    Raises:
        ValueError: several pairs are prepared.
    """
    if len(prepared.tokens) != 1:
        raise InputError(f"{len(prepared.tokens)} pairs are prepared; expected one")
    times, maps = [], []
    with _attention_kept(pipeline.unet) as kept:
        steps = pipeline.denoise(prepared, [[seed]], num_inference_steps, guidance_scale)
        for denoised in steps:
            times.append(denoised.t)
            maps.append(torch.stack(kept).mean(dim=0).cpu().numpy())
            kept.clear()
    return CrossAttention(np.array(times), np.stack(maps))


@contextmanager
def _attention_kept(unet: nn.Module) -> Iterator[list[torch.Tensor]]:
    """Inside, every cross-attention layer adds its (h, w, N) of the batch's first sample."""
    kept: list[torch.Tensor] = []

    def look(layer: Any, args: tuple[Any, ...], named: dict[str, Any]) -> None:
        kept.append(_common(_probabilities(layer, args[0], named["encoder_hidden_states"])))

    with ExitStack() as hooks:
        for name, layer in unet.named_modules():
            if name.endswith("attn2"):
                hooks.callback(layer.register_forward_pre_hook(look, with_kwargs=True).remove)
        yield kept


def _probabilities(layer: Any, hidden: torch.Tensor, tokens: torch.Tensor) -> torch.Tensor:
    """(h w, N) of the first sample, the mean of the heads."""
    query = layer.head_to_batch_dim(layer.to_q(hidden[:1]))
    key = layer.head_to_batch_dim(layer.to_k(tokens[:1]))
    return layer.get_attention_scores(query, key).mean(dim=0).float()


def _common(probabilities: torch.Tensor) -> torch.Tensor:
    side = round(len(probabilities) ** 0.5)
    places = probabilities.T.reshape(1, -1, side, side)
    if side > COMMON_SIDE:
        places = functional.adaptive_avg_pool2d(places, COMMON_SIDE)
    else:
        places = functional.interpolate(places, size=COMMON_SIDE, mode="nearest")
    return places[0].permute(1, 2, 0)
