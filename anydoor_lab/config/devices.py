"""Devices, processes and precision."""

from __future__ import annotations

import os
from datetime import timedelta
from typing import TYPE_CHECKING

from omegaconf import DictConfig

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from accelerate import Accelerator

    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

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


def place(pipeline: AnyDoorPipeline, device: str) -> AnyDoorPipeline:
    """The pipeline on `device`; `auto` is a GPU where there is one.

    Raises:
        ValueError: there is no such device.
    """
    return pipeline.to(present_device(device))


def place_as(pipeline: AnyDoorPipeline, cfg: DictConfig, num_images: int = 1) -> AnyDoorPipeline:
    """The pipeline on the device, in the precision and with the offloading of a command's `device`,
    `dtype`, `offload` and `vae_tiling`; prints how.

    Raises:
        ValueError: there is no such device, or the choices do not go together.
    """
    import torch

    from anydoor_lab.pipeline.memory import bring, memory_plan
    from anydoor_lab.runs.provenance import available_memory

    device = present_device(cfg.device)
    free = torch.cuda.mem_get_info(device)[0] if device != "cpu" else available_memory()
    asked = (cfg.dtype, cfg.offload, cfg.vae_tiling)
    plan = memory_plan(pipeline, device, free, *asked, num_images)
    print(f"device   {device}\nmemory   {plan}", flush=True)
    return bring(pipeline, plan)


def present_device(device: str) -> str:
    """`device` by its own name: `auto` is a GPU where there is one.

    Raises:
        ValueError: there is no such device.
    """
    import torch

    found = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if device == "auto":
        return "cuda" if found else "cpu"
    number = int(device.partition(":")[2] or 0) if device.startswith("cuda") else -1
    if number >= found:
        seen = f"there are {found} GPUs" if found else "torch finds no GPU here"
        raise InputError(f"device is {device}, and {seen}; use device=cpu or device=auto")
    return device
