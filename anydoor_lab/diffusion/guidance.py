"""Classifier-free guidance."""

from __future__ import annotations

import torch


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Unconditional + scale (conditional - unconditional); scale 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)
