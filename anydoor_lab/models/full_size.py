"""The paper's networks at full size, random: to count on meta tensors, to time on a GPU."""

from __future__ import annotations

from typing import Any

from diffusers import AutoencoderKL, UNet2DConditionModel

from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor

UNET: dict[str, Any] = {
    "sample_size": 64,
    "block_out_channels": (320, 640, 1280, 1280),
    "layers_per_block": 2,
    "cross_attention_dim": 1024,
    "attention_head_dim": (5, 10, 20, 20),  # diffusers means the number of heads
    "use_linear_projection": True,
    "norm_num_groups": 32,
}
"""Stable Diffusion 2.1's UNet."""
VAE: dict[str, Any] = {
    "block_out_channels": (128, 256, 512, 512),
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "layers_per_block": 2,
    "latent_channels": 4,
    "sample_size": 512,
}
"""Stable Diffusion's autoencoder."""
DINOV2_GIANT: dict[str, Any] = {
    "hidden_size": 1536,
    "num_hidden_layers": 40,
    "num_attention_heads": 24,
    "use_swiglu_ffn": True,
    "image_size": 518,
    "patch_size": 14,
}
"""DINOv2-giant, positions for 37 x 37 patches."""


def full_size_networks() -> AnyDoor:
    """AnyDoor at the paper's sizes with random weights, 2.45 G parameters, nothing frozen yet.

    Inside `torch.device("meta")` it takes no memory.
    """
    unet = UNet2DConditionModel(**UNET)
    return AnyDoor(
        unet=unet,
        vae=AutoencoderKL(**VAE),
        branches={"detail_extractor": DetailExtractor.copied_from(unet)},
        id_extractor=Dinov2Extractor(DINOV2_GIANT, UNET["cross_attention_dim"]),
    )
