"""Seconds of one training step and of one guided DDIM step, on one thread of the CPU.

The networks have random weights and the sizes of the small set with which the released code was
measured (UNet 64/64/128/128, 257 tokens, 128 px): python experiments/bench_steps/run.py
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel

from anydoor_lab.diffusion.guidance import Prepared, guide
from anydoor_lab.diffusion.loss import DiffusionLoss
from anydoor_lab.diffusion.sampler import sample_ddim
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import adaptive_timesteps
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.files import write_whole

STEPS, SEEDS = 5, 4
RELEASED = {"training step, batch 2": "0.72-0.81", "guided step": "0.31-0.34"}
UNET = {"block_out_channels": (64, 64, 128, 128), "attention_head_dim": (8, 8, 16, 16)}
UNET |= {"cross_attention_dim": 64, "use_linear_projection": True}
VAE = {"block_out_channels": (32, 64, 128, 128), "layers_per_block": 2, "latent_channels": 4}
VAE |= {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
}
DINO = {"hidden_size": 96, "num_hidden_layers": 3, "num_attention_heads": 3, "patch_size": 14}
DINO |= {"image_size": 518, "use_swiglu_ffn": True}


def main() -> None:
    """Print the table and write it beside this file."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    unet, scheduler = UNet2DConditionModel(**UNET), DDIMScheduler(beta_schedule="scaled_linear")
    networks = (unet, AutoencoderKL(**VAE), DetailExtractor.copied_from(unet))
    pipeline = AnyDoorPipeline(*networks, Dinov2Extractor(DINO, 64), scheduler, resolution=128)
    prepared = Prepared(
        *(torch.randn(1, 257, 64) for _ in range(2)),
        {"detail_extractor": torch.randn(1, 64, 16, 16)},
        128,
    )
    one = fastest(lambda: sample(pipeline, prepared, 1)) / STEPS
    many, plain = (
        fastest(lambda: sample(pipeline, prepared, SEEDS)),
        fastest(lambda: plain_loop(pipeline, prepared)),
    )
    rows = {"training step, batch 2": training(pipeline), "guided step": one}
    rows |= {f"guided step per image, {SEEDS} seeds": many / STEPS / SEEDS}
    rows |= {f"plain loop per image, {SEEDS} seeds": plain / STEPS / SEEDS}
    lines = ["| what | seconds | released code, CPU seconds |", "|---|---|---|"]
    lines += [
        f"| {name} | {value:.3f} | {RELEASED.get(name, '')} |" for name, value in rows.items()
    ]
    lines.append(
        f"\n{SEEDS} seeds: {many / plain:.2f} of the plain loop; torch {torch.__version__}"
    )
    table = "\n".join(lines)
    print(table)
    print(f"table {write_whole(Path(__file__).with_name('table.md'), table + chr(10))}")


def fastest(work: Callable[[], Any], times: int = 5) -> float:
    """Seconds of the fastest of several runs, after one that is not counted."""
    seconds = []
    for _ in range(times + 1):
        began = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - began)
    return min(seconds[1:])


def sample(pipeline: AnyDoorPipeline, prepared: Prepared, seeds: int) -> list[Any]:
    """All steps of one pair."""
    return list(pipeline.denoise(prepared, [list(range(seeds))], STEPS))


@torch.no_grad()
def plain_loop(pipeline: AnyDoorPipeline, prepared: Prepared) -> None:
    """The same seeds one after the other, nothing shared but tokens and hint."""
    model, schedule = pipeline.model, Schedule.of(pipeline.scheduler)
    tokens = torch.cat([prepared.tokens, prepared.unconditional])
    hints = {name: torch.cat([hint, hint]) for name, hint in prepared.hints.items()}

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        times = torch.full((2,), t)
        details = model.details(hints, times, tokens)
        eps = model(torch.cat([x, x]).float(), times, tokens, details)
        return guide(*eps.chunk(2), 5.0)

    for _ in range(SEEDS):
        noise = torch.randn(1, 4, 16, 16)
        list(sample_ddim(denoise, noise, pipeline.timesteps(STEPS), schedule))


def training(pipeline: AnyDoorPipeline) -> float:
    """Seconds of a whole step: frozen encoders, loss, gradients, optimizer."""
    schedule = Schedule.of(pipeline.scheduler)
    loss = DiffusionLoss(pipeline.model.freeze(), schedule, adaptive_timesteps)
    trained = [parameter for parameter in loss.parameters() if parameter.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    batch = {"index": np.arange(2), "variation": ["still", "video"]}
    batch |= {"id_image": torch.rand(2, 3, 224, 224), "target": torch.rand(2, 3, 128, 128) * 2 - 1}
    batch |= {"collage": torch.rand(2, 3, 128, 128), "shape_mask": torch.ones(2, 1, 128, 128)}

    def step() -> None:
        loss(batch)["loss"].backward()
        optimizer.step()
        optimizer.zero_grad()

    return fastest(step)


if __name__ == "__main__":
    main()
