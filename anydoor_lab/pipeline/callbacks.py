"""`callback_on_step_end`: what it is asked for, what it is given, what it gives back."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from anydoor_lab.diffusion.sampler import Denoised
from anydoor_lab.structures.errors import InputError, InputTypeError

TENSOR_INPUTS = ("latents",)
"""What a callback may ask for."""
Callback = Callable[[Any, int, int, dict[str, Any]], Mapping[str, Any] | None]
"""(pipeline, step, t, {"latents": (B, 4, h, w)}) -> the same, changed or not, or None."""


def check_callback(callback: Callback | None, names: Sequence[str]) -> tuple[str, ...]:
    """The names of the tensors that a callback is given; its own `tensor_inputs` come first.

    Raises:
        TypeError: it cannot be called.
        ValueError: it asks for a tensor that there is not.
    """
    if callback is not None and not callable(callback):
        kind = type(callback).__name__
        raise InputTypeError(f"callback_on_step_end is {kind}; expected a function")
    asked = tuple(getattr(callback, "tensor_inputs", names))
    unknown = [name for name in asked if name not in TENSOR_INPUTS]
    if unknown:
        raise InputError(
            f"callback_on_step_end_tensor_inputs names {', '.join(map(str, unknown))}; expected "
            f"only {', '.join(TENSOR_INPUTS)}"
        )
    return asked


def latents_after(
    callback: Callback, pipeline: Any, denoised: Denoised, names: Sequence[str]
) -> torch.Tensor:
    """The latents to go on from: those the callback gives back or has changed, else the step's.

    Raises:
        TypeError: it gives back neither a dict nor None.
        ValueError: its latents are not of the step's shape.
    """
    given = {name: denoised.x for name in names}
    answer = callback(pipeline, denoised.step, denoised.t, given)
    if answer is not None and not isinstance(answer, Mapping):
        kind = type(answer).__name__
        raise InputTypeError(f"callback_on_step_end returned {kind}; expected a dict or None")
    latents = (answer or {}).get("latents", denoised.x)
    if not isinstance(latents, torch.Tensor) or latents.shape != denoised.x.shape:
        seen = getattr(latents, "shape", type(latents).__name__)
        seen = tuple(seen) if isinstance(latents, torch.Tensor) else seen
        raise InputError(
            f"callback_on_step_end returned latents {seen}; expected {tuple(denoised.x.shape)}"
        )
    return latents
