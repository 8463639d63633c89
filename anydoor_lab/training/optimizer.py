"""The optimizers a training can choose."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch

from anydoor_lab.structures.errors import InputError


def optimizer_class(name: str, device: torch.device | None = None) -> Any:
    """`adamw`, fused into one kernel on a GPU, or `adamw8bit` with a quarter of its state
    (bitsandbytes).

    Raises:
        ValueError: another name, or bitsandbytes is not installed.
    """
    if name == "adamw":
        on_gpu = device is not None and device.type == "cuda"
        return partial(torch.optim.AdamW, fused=True) if on_gpu else torch.optim.AdamW
    if name != "adamw8bit":
        raise InputError(f"train.optimizer is {name!r}; expected adamw or adamw8bit")
    try:
        from bitsandbytes.optim import AdamW8bit
    except ImportError as error:
        raise InputError(
            "train.optimizer=adamw8bit needs bitsandbytes, which is not installed; "
            "pip install 'anydoor-lab[gpu]', or use train.optimizer=adamw"
        ) from error
    return AdamW8bit
