"""Weights that are numbers: what is loaded is looked at once, before it draws anything."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain

import torch
from torch import nn

from anydoor_lab.structures.errors import InputError

PLAIN = (torch.float16, torch.bfloat16, torch.float32, torch.float64)


def check_finite(name: str, network: nn.Module) -> None:
    """Raise ValueError naming the first weight of `network` that is nan or infinite somewhere.

    One reading of every weight; those without memory (meta) or quantised are left out.
    """
    check_tensors(name, chain(network.named_parameters(), network.named_buffers()))


def check_tensors(name: str, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
    """Raise ValueError naming the first of `tensors` that is nan or infinite somewhere."""
    for key, value in tensors:
        if value.dtype not in PLAIN or value.is_meta or not value.numel():
            continue
        extremes = torch.stack(torch.aminmax(value.detach()))  # nan wins: no mask is made
        if not extremes.isfinite().all():
            raise InputError(
                f"the {name} has weights that are not finite (nan or inf), first in {key}; the "
                "file is damaged or its training failed, take another"
            )
