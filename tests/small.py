"""A small random pipeline, and random training samples it can take."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch.utils.data import default_collate

from anydoor_lab.diffusion.loss import DiffusionLoss
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import TimestepSampler, adaptive_timesteps
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.rng import rng_for

VARIATIONS = ("still", "video", "multiview")


def small_pipeline(folder: Path) -> AnyDoorPipeline:
    """A pipeline of the random networks in `folder`, before training; the same every time."""
    torch.manual_seed(1)
    base = folder / "base"
    unet = UNet2DConditionModel.from_pretrained(base, subfolder="unet")
    return AnyDoorPipeline(
        unet=unet,
        vae=AutoencoderKL.from_pretrained(base, subfolder="vae"),
        detail_extractor=DetailExtractor.copied_from(unet, (8, 8, 16)),
        id_extractor=Dinov2Extractor.from_encoder(folder / "dinov2", 32),
        scheduler=DDIMScheduler.from_pretrained(base, subfolder="scheduler"),
        resolution=64,
        id_size=64,
        zoom=1.5,
        num_inference_steps=3,
        guidance_scale=3.0,
    ).to("cpu")


def small_objective(
    model: AnyDoor, timesteps: TimestepSampler = adaptive_timesteps, **settings: Any
) -> DiffusionLoss:
    """The diffusion loss of a copy of `model`, frozen as in the paper."""
    schedule = Schedule(torch.linspace(0.999, 0.01, 1000), "v_prediction")
    return DiffusionLoss(copy.deepcopy(model).freeze(), schedule, timesteps, **settings)


def move_zero_convolutions(detail: DetailExtractor) -> None:
    """Give the zero convolutions random weights, as they have after some training."""
    torch.manual_seed(2)
    for layer in [*detail.controlnet_down_blocks, detail.controlnet_mid_block]:
        torch.nn.init.normal_(layer.weight, std=0.2)
    torch.nn.init.normal_(detail.controlnet_cond_embedding.conv_out.weight, std=0.2)


@dataclass(frozen=True)
class RandomSamples:
    """Random arrays in the shapes of real samples; sample i is a pure function of i."""

    side: int = 32

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(0, index, "sample")
        region = np.zeros((1, self.side, self.side), np.float32)
        region[:, 8:24, 12:20] = 1
        return {
            "index": index,
            "variation": VARIATIONS[index % 3],
            "id_image": rng.random((3, 64, 64), np.float32),
            "target": rng.uniform(-1, 1, (3, self.side, self.side)).astype(np.float32),
            "collage": rng.uniform(-1, 1, (3, self.side, self.side)).astype(np.float32),
            "shape_mask": region,
        }


def batch_of(indices: Iterable[int]) -> dict[str, Any]:
    """The batch of these samples."""
    samples = RandomSamples()
    return default_collate([samples[index] for index in indices])
