"""What training keeps in memory: weights in 16 bits, activations computed again."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

import torch
from diffusers.hooks.layerwise_casting import apply_layerwise_casting_hook
from torch import nn
from torch.utils.checkpoint import checkpoint

from anydoor_lab.structures.errors import InputError

PRECISIONS = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class Masters:
    """Copies in fp32 of trained weights of 16 bits: what the optimizer moves, is averaged and kept.

    An update smaller than a 256th of a weight would be lost in bf16.

    Args:
        weights: the trained 16-bit parameters.
    """

    def __init__(self, weights: Sequence[nn.Parameter]) -> None:
        self.live = list(weights)
        self.weights = [nn.Parameter(p.detach().float()) for p in weights]

    def gather(self) -> None:
        """Add the gradients of the 16-bit weights to their copies', and take them away there."""
        for live, master in zip(self.live, self.weights, strict=True):
            if live.grad is not None:
                found = live.grad.float()
                master.grad = found if master.grad is None else master.grad.add_(found)
                live.grad = None

    def hand_down(self) -> None:
        """Round the copies into the 16-bit weights."""
        with torch.no_grad():
            torch._foreach_copy_([*self.live], [*self.weights])


def frozen_layers(model: nn.Module) -> Iterator[nn.Module]:
    """Linear layers and convolutions of which nothing is trained: nearly all frozen weights.

    The embedding of patches stays out: transformers casts pictures to the precision it finds there.
    """
    for name, layer in model.named_modules():
        trained = any(p.requires_grad for p in layer.parameters())
        if isinstance(layer, nn.Linear | nn.Conv2d) and not trained and "patch_embed" not in name:
            yield layer


def store_frozen(model: nn.Module, precision: str) -> None:
    """Keep the frozen layers of `model` in `precision`; each computes in fp32 as before.

    Raises:
        ValueError: `precision` is none of fp32, bf16, fp16.
    """
    dtype = checked_precision(precision)
    for layer in frozen_layers(model) if dtype != torch.float32 else ():
        apply_layerwise_casting_hook(layer, dtype, torch.float32, non_blocking=False)


def round_frozen(model: nn.Module, precision: str) -> None:
    """Give the frozen layers the values they have in `precision`, kept as they are."""
    dtype = checked_precision(precision)
    for layer in frozen_layers(model):
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(dtype).to(parameter.dtype)


def checked_precision(precision: str) -> torch.dtype:
    """The dtype of a name; ValueError for another name."""
    if precision not in PRECISIONS:
        expected = ", ".join(PRECISIONS)
        raise InputError(f"train.frozen_precision is {precision!r}; expected one of {expected}")
    return PRECISIONS[precision]


def recompute_activations(model: nn.Module) -> None:
    """Let every block that is trained compute its activations again in the backward pass."""
    again = partial(checkpoint, use_reentrant=False)
    block: Any
    for block in model.modules():
        trained = any(p.requires_grad for p in block.parameters())
        if trained and hasattr(block, "gradient_checkpointing") and hasattr(block, "resnets"):
            block.gradient_checkpointing = True
            block._gradient_checkpointing_func = again
