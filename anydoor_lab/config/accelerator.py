"""Devices, processes and precision of a training."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

PATIENCE = timedelta(minutes=60)
"""A process that waits longer than this for another one ends with a sentence."""
PRECISIONS = {"fp32": "no", "bf16": "no", "bf16_autocast": "bf16", "fp16": "fp16"}
"""What `train.precision` means to accelerate: with bf16 the weights themselves are of 16 bits."""


def build_accelerator(precision: str) -> Accelerator:
    """Devices, processes and precision.

    Raises:
        ValueError: an unknown precision, or fp16 where there is no GPU.
    """
    import torch
    from accelerate import Accelerator, InitProcessGroupKwargs
    from accelerate.state import AcceleratorState

    check_choice("train.precision", precision, tuple(PRECISIONS))
    if precision == "fp16" and not torch.cuda.is_available():
        raise InputError("train.precision=fp16 needs a GPU; use fp32 or bf16 on this machine")
    AcceleratorState._reset_state()  # a sweep's jobs may differ in precision
    # processes wait for each other while one draws a pool or writes a checkpoint
    patience = InitProcessGroupKwargs(timeout=PATIENCE)
    return Accelerator(
        cpu=on_cpus(), mixed_precision=PRECISIONS[precision], kwargs_handlers=[patience]
    )


def on_cpus() -> bool:
    """Whether a launcher's processes have no GPU: then they find each other only when told so."""
    import torch

    return "RANK" in os.environ and not torch.cuda.is_available()


def start_processes() -> bool:
    """Join the processes that a launcher started; whether this is the first of them."""
    from accelerate import PartialState

    return PartialState(cpu=on_cpus(), timeout=PATIENCE).is_main_process
