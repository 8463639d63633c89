"""Where the ID extractor's vision transformer looks (Figure 3)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.structures.errors import InputError


@torch.no_grad()
def attention_layers(extractor: IdExtractor, id_images: np.ndarray) -> np.ndarray:
    """The attention of every layer and head, (L, B, H, N, N); each row sums to 1.

    Token 0 is the class token, the others are the patches row by row.

    Args:
        extractor: CLIP or DINOv2.
        id_images: (B, 3, S, S) float in [0, 1].

    Raises:
        ValueError: the extractor has no attention (VGG).
    """
    encoder: Any = getattr(extractor, "encoder", None)
    if not hasattr(encoder, "set_attn_implementation"):
        seen = type(extractor).__name__
        raise InputError(f"{seen} has no attention; expected a vision transformer (clip, dinov2)")
    place = {"device": encoder.device, "dtype": encoder.dtype}
    with _attentions_kept(encoder) as kept:
        extractor.features(torch.from_numpy(id_images).to(**place))
    return torch.stack(kept).float().cpu().numpy()


def class_attention(layers: np.ndarray) -> np.ndarray:
    """What the class token looks at in the last layer, (B, H, h, w), as the paper's Figure 3.

    Each head's map sums to 1 less what the class token gives itself.

    Args:
        layers: (L, B, H, N, N) from `attention_layers`.
    """
    return _as_maps(layers[-1, :, :, 0, 1:])


def attention_rollout(layers: np.ndarray, residual: float = 0.5) -> np.ndarray:
    """How much of each patch reaches the class token through all layers, (B, h, w).

    Heads are averaged and layers multiplied (Abnar and Zuidema, 2020).

    Args:
        layers: (L, B, H, N, N) from `attention_layers`.
        residual: share of a layer's output that comes past its attention, in [0, 1).

    Raises:
        ValueError: `residual` is outside its range.
    """
    if not 0 <= residual < 1:
        raise InputError(f"residual is {residual}; expected a share from 0 to below 1")
    stay = residual * np.eye(layers.shape[-1])
    flow = np.eye(layers.shape[-1])
    for layer in layers.mean(axis=2):
        flow = (stay + (1 - residual) * layer) @ flow
    return _as_maps(flow[:, 0, 1:])


@contextmanager
def _attentions_kept(encoder: Any) -> Iterator[list[torch.Tensor]]:
    """Inside, the list fills with the layers' (B, H, N, N); only `eager` hands them out."""
    config = encoder.config
    before = config._attn_implementation, config.output_attentions
    kept: list[torch.Tensor] = []
    hook = encoder.register_forward_hook(lambda _, __, output: kept.extend(output.attentions))
    try:
        encoder.set_attn_implementation("eager")
        config.output_attentions = True
        yield kept
    finally:
        hook.remove()
        config.output_attentions = before[1]
        encoder.set_attn_implementation(before[0])


def _as_maps(patches: np.ndarray) -> np.ndarray:
    side = round(patches.shape[-1] ** 0.5)
    return patches.reshape(*patches.shape[:-1], side, side)
