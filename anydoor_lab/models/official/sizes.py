"""How large the networks of a released checkpoint are, read off the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anydoor_lab.models.official.names import PREFIXES, Blocks
from anydoor_lab.structures.errors import InputError

INTERPOLATE_OFFSET = 0.1
"""What the released DINOv2 adds to its grid when it resizes its position embedding."""
SCALE_FACTOR = 0.18215
"""Of Stable Diffusion's latents; no tensor holds it."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What the tensors do not tell: the channels of one attention head.

    Args:
        unet_channels: of the UNet and the detail extractor.
        dino_channels: of DINOv2 (64 in all its sizes).
    """

    unet_channels: int = 64
    dino_channels: int = 64


class Shapes:
    """The shapes of a state dict's tensors below a prefix."""

    def __init__(self, shapes: Mapping[str, tuple[int, ...]], prefix: str) -> None:
        self.known = {
            name.removeprefix(prefix): tuple(shape)
            for name, shape in shapes.items()
            if name.startswith(prefix)
        }
        self.prefix = prefix

    def __contains__(self, name: str) -> bool:
        return name in self.known

    def __getitem__(self, name: str) -> tuple[int, ...]:
        if name not in self.known:
            raise InputError(f"the checkpoint has no tensor {self.prefix}{name}")
        return self.known[name]

    def count(self, pattern: str) -> int:
        """One more than the largest number that `pattern`'s group matches in a name; 0 if none."""
        found = (re.match(pattern, name) for name in self.known)
        return max((int(match[1]) + 1 for match in found if match), default=0)


def unet_config(shapes: Shapes, heads: Heads) -> dict[str, Any]:
    """Keyword arguments of `UNet2DConditionModel`.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    config = encoder_config(shapes, heads)
    up = [
        "CrossAttnUpBlock2D" if "CrossAttn" in kind else "UpBlock2D"
        for kind in reversed(config["down_block_types"])
    ]
    return {**config, "up_block_types": up, "out_channels": shapes["out.2.weight"][0]}


def encoder_config(shapes: Shapes, heads: Heads) -> dict[str, Any]:
    """What a UNet and its copy have in common.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    blocks = unet_blocks(shapes)
    firsts = [1 + level * (blocks.layers + 1) for level in range(blocks.levels)]
    channels = [shapes[f"input_blocks.{n}.0.in_layers.2.weight"][0] for n in firsts]
    middle = "middle_block.1."
    return {
        "in_channels": shapes["input_blocks.0.0.weight"][1],
        "down_block_types": [
            "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in blocks.attends
        ],
        "block_out_channels": channels,
        "layers_per_block": blocks.layers,
        "cross_attention_dim": shapes[f"{middle}transformer_blocks.0.attn2.to_k.weight"][1],
        "transformer_layers_per_block": shapes.count(rf"{middle}transformer_blocks\.(\d+)\."),
        # diffusers means the number of heads
        "attention_head_dim": [max(1, c // heads.unet_channels) for c in channels],
        "use_linear_projection": len(shapes[f"{middle}proj_in.weight"]) == 2,
    }


def unet_blocks(shapes: Shapes) -> Blocks:
    """How the encoder of a UNet or of its copy is built."""
    total = shapes.count(r"input_blocks\.(\d+)\.")
    downs = [n for n in range(total) if f"input_blocks.{n}.0.op.weight" in shapes]
    layers = (downs[0] if downs else total) - 1
    firsts = [1, *(n + 1 for n in downs)]
    return Blocks(layers, tuple(f"input_blocks.{n}.1.norm.weight" in shapes for n in firsts))


def detail_config(shapes: Shapes, heads: Heads) -> dict[str, Any]:
    """Keyword arguments of `DetailExtractor`.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    stem = shapes.count(r"input_hint_block\.(\d+)\.")  # convolutions at every second place
    widths = [shapes[f"input_hint_block.{n}.weight"][0] for n in range(0, stem - 1, 4)]
    return {
        **encoder_config(shapes, heads),
        "conditioning_channels": shapes["input_hint_block.0.weight"][1],
        "conditioning_embedding_out_channels": widths,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Keyword arguments of `AutoencoderKL`.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    blocks = vae_blocks(shapes)
    levels = range(blocks.levels)
    return {
        "in_channels": shapes["encoder.conv_in.weight"][1],
        "out_channels": shapes["decoder.conv_out.weight"][0],
        "latent_channels": shapes["post_quant_conv.weight"][0],
        "block_out_channels": [shapes[f"encoder.down.{n}.block.0.conv1.weight"][0] for n in levels],
        "layers_per_block": blocks.layers,
        "down_block_types": ["DownEncoderBlock2D"] * blocks.levels,
        "up_block_types": ["UpDecoderBlock2D"] * blocks.levels,
        "norm_num_groups": 32,
        "scaling_factor": SCALE_FACTOR,
    }


def vae_blocks(shapes: Shapes) -> Blocks:
    """How the encoder of the autoencoder is built."""
    layers = shapes.count(r"encoder\.down\.0\.block\.(\d+)\.")
    return Blocks(layers, (False,) * shapes.count(r"encoder\.down\.(\d+)\."))


def id_config(shapes: Shapes, heads: Heads) -> dict[str, Any]:
    """Keyword arguments of `Dinov2Extractor`, with the released rule for positions.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    places, width = shapes["model.pos_embed"][1:]
    patch = shapes["model.patch_embed.proj.weight"][-1]
    swiglu = "model.blocks.0.mlp.w12.weight" in shapes
    encoder = {
        "hidden_size": width,
        "num_hidden_layers": shapes.count(r"model\.blocks\.(\d+)\."),
        "num_attention_heads": max(1, width // heads.dino_channels),
        "mlp_ratio": _mlp_ratio(shapes, width, swiglu=swiglu),
        "use_swiglu_ffn": swiglu,
        "patch_size": patch,
        "image_size": patch * math.isqrt(places - 1),
    }
    return {
        "encoder_config": encoder,
        "cross_attention_dim": shapes["projector.weight"][0],
        "interpolate_offset": INTERPOLATE_OFFSET,
    }


def _mlp_ratio(shapes: Shapes, width: int, *, swiglu: bool) -> int:
    """Of DINOv2's feed-forward; SwiGLU has two thirds of it, rounded up to a multiple of 8."""
    name = f"model.blocks.0.mlp.{'w3' if swiglu else 'fc2'}.weight"
    inner = shapes[name][1]
    for ratio in range(1, 17):
        wide = width * ratio
        if inner == ((int(wide * 2 / 3) + 7) // 8 * 8 if swiglu else wide):
            return ratio
    raise InputError(f"{shapes.prefix}{name} has {inner} columns: no whole multiple of {width}")


def shapes_of(shapes: Mapping[str, tuple[int, ...]], component: str) -> Shapes:
    """The shapes of one of the pipeline's components."""
    return Shapes(shapes, PREFIXES[component])
