"""How large the networks of a released checkpoint are, read off the shapes of its tensors."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.official.names import PREFIXES, Blocks
from anydoor_lab.structures.errors import InputError

INTERPOLATE_OFFSET = 0.1
"""What the released DINOv2 adds to its grid when it resizes its position embedding."""
SCALE_FACTOR = 0.18215
"""Of Stable Diffusion's latents; no tensor holds it."""
GROUPS = 32
"""Of every group normalisation."""


@dataclass(frozen=True, slots=True)
class Heads:
    """What the tensors do not tell: the channels of one attention head.

    Args:
        unet_channels: of the UNet and the detail extractor.
        dino_channels: of DINOv2 (64 in all its sizes).

    Raises:
        ValueError: one is no positive whole number.
    """

    unet_channels: int = 64
    dino_channels: int = 64

    def __post_init__(self) -> None:
        positive("unet_head_channels", self.unet_channels)
        positive("dino_head_channels", self.dino_channels)


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

    def of(self, name: str, rank: int) -> tuple[int, ...]:
        """The shape of a tensor of `rank` dimensions.

        Raises:
            ValueError: there is none of that name, or it has other dimensions or no numbers.
        """
        if name not in self.known:
            raise InputError(f"the checkpoint has no tensor {self.prefix}{name}")
        shape = self.known[name]
        if len(shape) != rank or 0 in shape:
            seen = f"{self.prefix}{name} is {list(shape)}"
            raise InputError(f"{seen}; expected {rank} dimensions, none of them 0")
        return shape

    def count(self, pattern: str) -> int:
        """One more than the largest number that `pattern`'s group matches in a name; 0 if none.

        Raises:
            ValueError: the number is larger than that of the tensors.
        """
        found = (re.match(pattern, name) for name in self.known)
        total = max((int(match[1]) + 1 for match in found if match), default=0)
        if total > len(self.known):
            raise InputError(
                f"a tensor of {self.prefix}* has the number {total - 1}, and there are only "
                f"{len(self.known)}; the checkpoint is none of AnyDoor"
            )
        return total


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
    return {**config, "up_block_types": up, "out_channels": shapes.of("out.2.weight", 4)[0]}


def encoder_config(shapes: Shapes, heads: Heads) -> dict[str, Any]:
    """What a UNet and its copy have in common.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    blocks = unet_blocks(shapes)
    firsts = [1 + level * (blocks.layers + 1) for level in range(blocks.levels)]
    weights = [f"input_blocks.{n}.0.in_layers.2.weight" for n in firsts]
    channels = [_grouped(shapes.of(weight, 4)[0], f"{shapes.prefix}{weight}") for weight in weights]
    middle, setting = "middle_block.1.", "unet_head_channels"
    shapes.of(f"{middle}proj_in.weight", 2)
    return {
        "in_channels": shapes.of("input_blocks.0.0.weight", 4)[1],
        "down_block_types": [
            "CrossAttnDownBlock2D" if attends else "DownBlock2D" for attends in blocks.attends
        ],
        "block_out_channels": channels,
        "layers_per_block": blocks.layers,
        "cross_attention_dim": shapes.of(f"{middle}transformer_blocks.0.attn2.to_k.weight", 2)[1],
        "transformer_layers_per_block": shapes.count(rf"{middle}transformer_blocks\.(\d+)\."),
        # diffusers means the number of heads
        "attention_head_dim": [_num_heads(c, heads.unet_channels, setting) for c in channels],
        "use_linear_projection": True,
    }


def _grouped(width: int, name: str) -> int:
    """`width`, which must be whole groups of a group normalisation."""
    if width % GROUPS:
        raise InputError(f"{name} has {width} rows; expected a multiple of {GROUPS}")
    return width


def _num_heads(width: int, channels: int, setting: str) -> int:
    if width % channels:
        raise InputError(
            f"{width} channels are no whole number of heads of {channels}; give {setting}= as the "
            "network was trained with"
        )
    return width // channels


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
    widths = [shapes.of(f"input_hint_block.{n}.weight", 4)[0] for n in range(0, stem - 1, 4)]
    return {
        **encoder_config(shapes, heads),
        "conditioning_channels": shapes.of("input_hint_block.0.weight", 4)[1],
        "conditioning_embedding_out_channels": widths,
    }


def vae_config(shapes: Shapes) -> dict[str, Any]:
    """Keyword arguments of `AutoencoderKL`.

    Raises:
        ValueError: a tensor that tells the sizes is missing.
    """
    blocks = vae_blocks(shapes)
    weights = [f"encoder.down.{n}.block.0.conv1.weight" for n in range(blocks.levels)]
    return {
        "in_channels": shapes.of("encoder.conv_in.weight", 4)[1],
        "out_channels": shapes.of("decoder.conv_out.weight", 4)[0],
        "latent_channels": shapes.of("post_quant_conv.weight", 4)[0],
        "block_out_channels": [
            _grouped(shapes.of(weight, 4)[0], f"{shapes.prefix}{weight}") for weight in weights
        ],
        "layers_per_block": blocks.layers,
        "down_block_types": ["DownEncoderBlock2D"] * blocks.levels,
        "up_block_types": ["UpDecoderBlock2D"] * blocks.levels,
        "norm_num_groups": GROUPS,
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
    _, places, width = shapes.of("model.pos_embed", 3)
    patch = shapes.of("model.patch_embed.proj.weight", 4)[-1]
    swiglu = "model.blocks.0.mlp.w12.weight" in shapes
    encoder = {
        "hidden_size": width,
        "num_hidden_layers": shapes.count(r"model\.blocks\.(\d+)\."),
        "num_attention_heads": _num_heads(width, heads.dino_channels, "dino_head_channels"),
        "mlp_ratio": _mlp_ratio(shapes, width, swiglu=swiglu),
        "use_swiglu_ffn": swiglu,
        "patch_size": patch,
        "image_size": patch * math.isqrt(places - 1),
    }
    return {
        "encoder_config": encoder,
        "cross_attention_dim": shapes.of("projector.weight", 2)[0],
        "interpolate_offset": INTERPOLATE_OFFSET,
    }


def _mlp_ratio(shapes: Shapes, width: int, *, swiglu: bool) -> int:
    """Of DINOv2's feed-forward; SwiGLU has two thirds of it, rounded up to a multiple of 8."""
    name = f"model.blocks.0.mlp.{'w3' if swiglu else 'fc2'}.weight"
    inner = shapes.of(name, 2)[1]
    for ratio in range(1, 17):
        wide = width * ratio
        if inner == ((int(wide * 2 / 3) + 7) // 8 * 8 if swiglu else wide):
            return ratio
    raise InputError(f"{shapes.prefix}{name} has {inner} columns: no whole multiple of {width}")


def check_together(configs: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse networks that are each complete and do not work with each other.

    Args:
        configs: by component: the UNet's and the VAE's, and where there are such the detail
            extractor's and the ID extractor's.

    Raises:
        ValueError: they differ in channels or in the width of the tokens.
    """
    unet, vae = configs["unet"], configs["vae"]
    latent = vae["latent_channels"]
    if (unet["in_channels"], unet["out_channels"]) != (latent, latent):
        raise InputError(
            f"the UNet takes {unet['in_channels']} channels and gives {unet['out_channels']}, the "
            f"VAE's latents have {latent}; expected the same of all, as in Stable Diffusion "
            "2.1-base"
        )
    detail, extractor = configs.get("detail_extractor"), configs.get("id_extractor")
    if detail is None or extractor is None:
        return
    for name in ("in_channels", "block_out_channels", "layers_per_block", "cross_attention_dim"):
        if detail[name] != unet[name]:
            seen = f"{name} is {detail[name]} in control_model and {unet[name]} in the UNet"
            raise InputError(f"{seen}; expected a copy of the UNet's encoder")
    expected = sum(DetailExtractor.inputs.values())
    if detail["conditioning_channels"] != expected:
        raise InputError(
            f"control_model takes a hint of {detail['conditioning_channels']} channels; expected "
            f"AnyDoor's {expected}, collage and mask: a ControlNet is none"
        )
    if extractor["cross_attention_dim"] != unet["cross_attention_dim"]:
        seen = f"the projector makes tokens of {extractor['cross_attention_dim']}"
        raise InputError(f"{seen} numbers, and the UNet reads {unet['cross_attention_dim']}")


def positive(name: str, value: Any) -> int:
    """`value`, a setting that must be a positive whole number.

    Raises:
        ValueError: it is none.
    """
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise InputError(f"{name} is {value!r}; expected a whole number of at least 1")
    return value


def shapes_of(shapes: Mapping[str, tuple[int, ...]], component: str) -> Shapes:
    """The shapes of one of the pipeline's components."""
    return Shapes(shapes, PREFIXES[component])
