"""Small random networks on disk, in the same formats as the embedded and the large ones."""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from transformers import (
    CLIPVisionConfig,
    CLIPVisionModelWithProjection,
    Dinov2Config,
    Dinov2Model,
)

from anydoor_lab.models.idx.vgg import Vgg16

TRANSFORMER = {
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 64,
    "patch_size": 16,
}
SHOWN = {"resolution": 64, "id_size": 64, "zoom": 1.5, "stem_channels": "[8,8,16]"}


def make_unet() -> UNet2DConditionModel:
    """Two levels, 4 latent channels, cross-attention to 32."""
    return UNet2DConditionModel(
        sample_size=16,
        block_out_channels=(16, 32),
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        layers_per_block=1,
        cross_attention_dim=32,
        attention_head_dim=2,
        norm_num_groups=8,
    )


def make_vae() -> AutoencoderKL:
    """f = 4 with 4 channels."""
    return AutoencoderKL(
        block_out_channels=(8, 8, 16),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=4,
        norm_num_groups=8,
        mid_block_add_attention=False,
        scaling_factor=0.7,
    )


def make_scheduler(prediction: str = "sample") -> DDIMScheduler:
    """A cosine schedule of 1000 steps."""
    return DDIMScheduler(
        beta_schedule="squaredcos_cap_v2",
        prediction_type=prediction,
        clip_sample=False,
        timestep_spacing="trailing",
    )


def save_networks(folder: Path) -> Path:
    """Everything conf/model needs, below `folder`: base/, vgg/, clip/, dinov2/, judges."""
    torch.manual_seed(0)
    make_unet().save_pretrained(folder / "base" / "unet")
    make_vae().save_pretrained(folder / "base" / "vae")
    make_scheduler().save_pretrained(folder / "base" / "scheduler")
    Vgg16(widths=(8, 8, 16, 16, 16)).save_pretrained(folder / "vgg")
    for name in ("dinov2", "judge_dino"):
        Dinov2Model(Dinov2Config(**TRANSFORMER, mlp_ratio=2)).save_pretrained(folder / name)
    clip = CLIPVisionConfig(**TRANSFORMER, intermediate_size=64, projection_dim=16)
    for name in ("clip", "judge_clip"):
        CLIPVisionModelWithProjection(clip).save_pretrained(folder / name)
    return folder


def model_overrides(folder: Path) -> list[str]:
    """Hydra overrides that put these networks in the place of `model`'s own."""
    sources = ["model.init=base", "model.start=base", "model.judges.reader=null"]
    sources += [f"model.base={folder / 'base'}", f"model.vae={folder / 'base'}"]
    sources.append("model.vae_subfolder=vae")
    sources += [f"model.encoders.{name}={folder / name}" for name in ("vgg", "clip", "dinov2")]
    sources += [f"model.judges.{name}={folder / f'judge_{name}'}" for name in ("clip", "dino")]
    return sources + [f"model.{key}={value}" for key, value in SHOWN.items()]
