"""What every ID extractor shares: normalisation, the choice of tokens, and the contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, runtime_checkable

import torch
from torch import nn

from anydoor_lab.structures.errors import InputError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CLIP_MEAN, CLIP_STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)

TokenChoice = Literal["global", "patch", "both"]
"""G, P or G+P of Table 3."""


@runtime_checkable
class IdExtractor(Protocol):
    """A frozen encoder and a trained linear projector (Sec. 3.1).

    A new one is a class with these members (a diffusers `ModelMixin`, so that it saves and loads;
    its module must import that name for diffusers to find it) and one file in conf/idx/.
    """

    projector: nn.Linear

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """Frozen features (B, N, E) of `id_image` (B, 3, S, S) in [0, 1], global token first."""

    def __call__(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D): the projected features."""


def normalise(image: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(image - mean) / std per channel, for `image` (B, 3, H, W) in [0, 1]."""
    shift = torch.tensor(mean, dtype=image.dtype, device=image.device)[:, None, None]
    scale = torch.tensor(std, dtype=image.dtype, device=image.device)[:, None, None]
    return (image - shift) / scale


def choose_tokens(
    global_token: torch.Tensor, patch_tokens: torch.Tensor, choice: TokenChoice
) -> torch.Tensor:
    """(B, 1, E), (B, P, E) or both joined, global first.

    Raises:
        ValueError: `choice` is none of the three.
    """
    if choice == "both":
        return torch.cat([global_token, patch_tokens], dim=1)
    if choice not in ("global", "patch"):
        raise InputError(f"tokens is {choice!r}; expected global, patch or both")
    return global_token if choice == "global" else patch_tokens
