"""What placing needs on a device: precision, offloading and tiling, chosen by what is free."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import torch

from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.core import CHUNK_ROWS
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

Precision = Literal["auto", "fp32", "bf16", "fp16"]
Offload = Literal["auto", "none", "model", "sequential"]
DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
RESERVE = 0.8e9
"""Bytes that a GPU's own libraries take."""
_MAPS = 6
"""Full-resolution maps of the VAE decoder's first width that are alive at once."""
_TILED = 4
"""A tiled decoder needs about so many times less."""
_LATENT_MAPS = 25
"""Maps at the latents' resolution, of a network's first width, that a row of a batch keeps alive
in the detail extractor."""


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """How a pipeline is brought to a device.

    Args:
        device: its name.
        precision: fp32, bf16 or fp16; with fp16 the VAE stays in fp32, or its pictures go black.
        offload: none; model: one network at a time on the GPU; sequential: one layer at a time.
        vae_tiling: decode a picture in parts.
        needed: bytes on the device at the same time, about.
        free: bytes of the device.
    """

    device: str
    precision: str
    offload: str
    vae_tiling: bool
    needed: int
    free: int

    def __str__(self) -> str:
        how = [self.precision]
        how += [f"{self.offload} offloading"] if self.offload != "none" else []
        how += ["VAE in tiles"] if self.vae_tiling else []
        fits = "fits" if self.needed <= self.free else "may not fit"
        return (
            f"{', '.join(how)}: about {self.needed / 1e9:.2f} GB, {fits} {self.device} "
            f"({self.free / 1e9:.1f} GB free)"
        )


def memory_plan(
    pipeline: AnyDoorPipeline,
    device: str,
    free: int,
    precision: Precision = "auto",
    offload: Offload = "auto",
    vae_tiling: bool | None = None,
    num_images: int = 1,
) -> MemoryPlan:
    """How to place with `pipeline` on `device`; what is `auto` or None is chosen by `free`.

    On a GPU `auto` is bf16 (fp16 where the card has none), whole if it fits, else with the least
    offloading that does, the VAE in tiles last. On a CPU it is fp32, whole.

    Args:
        pipeline: wherever its networks are now, also on meta tensors.
        device: "cpu" or a GPU's name.
        free: bytes that may be used there.
        precision, offload, vae_tiling: of `MemoryPlan`, or to be chosen.
        num_images: placed at the same time.

    Raises:
        ValueError: an unknown choice, or offloading asked for on a CPU.
    """
    check_choice("dtype", precision, get_args(Precision))
    check_choice("offload", offload, get_args(Offload))
    if device == "cpu":
        if offload in ("model", "sequential"):
            raise InputError(f"offload={offload} keeps networks off a GPU; use none on a CPU")
        chosen = "fp32" if precision == "auto" else precision
        tiles = bool(vae_tiling)
        needed = bytes_needed(pipeline, chosen, "none", tiles, num_images, ahead=0)
        return MemoryPlan(device, chosen, "none", tiles, needed, free)
    if precision == "auto":
        precision = "bf16" if torch.cuda.is_bf16_supported() else "fp16"
    offloads = ("none", "model", "sequential") if offload == "auto" else (offload,)
    tilings = (False, True) if vae_tiling is None else (vae_tiling,)
    plans = [
        MemoryPlan(device, precision, how, tiles, needed, free)
        for how in offloads
        for tiles in tilings
        for needed in [bytes_needed(pipeline, precision, how, tiles, num_images)]
    ]
    return next((plan for plan in plans if plan.needed <= free), plans[-1])


def bytes_needed(
    pipeline: AnyDoorPipeline,
    precision: str,
    offload: str,
    vae_tiling: bool,
    num_images: int = 1,
    ahead: int = CHUNK_ROWS,
) -> int:
    """Bytes on the device at the same time, about: weights that are there, maps of the VAE's
    decoder and of the detail extractor, which sees `ahead` rows at once, and what a GPU's
    libraries take."""
    size = DTYPES[precision].itemsize
    weights = {
        name: sum(p.numel() for p in part.parameters()) * (4 if _full(name, precision) else size)
        for name, part in pipeline.components.items()
        if isinstance(part, torch.nn.Module)
    }
    there = {"none": sum(weights.values()), "model": max(weights.values()), "sequential": 0}
    width = pipeline.vae.config.block_out_channels[0]
    maps = _MAPS * width * pipeline.config.resolution**2 * num_images
    maps = maps * (4 if _full("vae", precision) else size) // (_TILED if vae_tiling else 1)
    rows = max(2 * num_images, ahead if offload == "none" else 0)
    side = pipeline.config.resolution // 2 ** (len(pipeline.vae.config.block_out_channels) - 1)
    maps += rows * _LATENT_MAPS * pipeline.unet.config.block_out_channels[0] * side**2 * size
    return int(there[offload] + maps + RESERVE)


def _full(name: str, precision: str) -> bool:
    """Whether a network is kept in fp32."""
    return precision == "fp32" or (precision == "fp16" and name == "vae")


def bring(pipeline: AnyDoorPipeline, plan: MemoryPlan) -> AnyDoorPipeline:
    """The pipeline on its plan's device, in its precision."""
    for name, part in pipeline.components.items():
        if isinstance(part, torch.nn.Module):
            whole: Any = torch.float32 if _full(name, plan.precision) else DTYPES[plan.precision]
            torch.nn.Module.to(part, dtype=whole)  # diffusers' own warns of nothing
    if plan.vae_tiling:
        pipeline.vae.enable_tiling()
    if plan.device != "cpu":  # a UNet step takes 10.0 ms so, 11.5 without; the VAE is slower
        for network in (pipeline.unet, *pipeline.model.branches.values()):
            network.to(memory_format=torch.channels_last)
    if plan.offload == "model":
        pipeline.enable_model_cpu_offload(device=plan.device)
    elif plan.offload == "sequential":
        pipeline.enable_sequential_cpu_offload(device=plan.device)
    else:
        pipeline.to(plan.device)
    return pipeline
