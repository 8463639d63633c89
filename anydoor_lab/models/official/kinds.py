"""Checkpoints that are taken for AnyDoor's or Stable Diffusion 2.1's, called by their names."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from anydoor_lab.models.official.names import PREFIXES
from anydoor_lab.models.official.source import Source
from anydoor_lab.structures.errors import InputError

UNET, CONTROL = PREFIXES["unet"], PREFIXES["detail_extractor"]
Sizes = Mapping[str, tuple[int, ...]]


def _has(*beginnings: str) -> Callable[[Sizes], bool]:
    return lambda shapes: any(name.startswith(beginnings) for name in shapes)


def _takes(channels: int) -> Callable[[Sizes], bool]:
    return lambda shapes: shapes.get(f"{UNET}input_blocks.0.0.weight", ())[1:2] == (channels,)


def _is_first_generation(shapes: Sizes) -> bool:
    projection = shapes.get(f"{UNET}middle_block.1.proj_in.weight", ())
    return len(projection) == 4 or _has("cond_stage_model.transformer.")(shapes)


def _alone(*beginnings: str) -> Callable[[Sizes], bool]:
    return lambda shapes: _has(*beginnings)(shapes) and not _has(UNET)(shapes)


KINDS: tuple[tuple[str, Callable[[Sizes], bool]], ...] = (
    ("Stable Diffusion XL", _has("conditioner.embedders.")),
    ("Stable Diffusion unCLIP", _has("noise_augmentor.", "embedder.")),
    ("Stable Diffusion XL (label_emb)", _has(f"{UNET}label_emb.")),
    ("Stable Diffusion 3 or Flux", _has(f"{UNET}joint_blocks.", f"{UNET}double_blocks.")),
    ("an inpainting model (its UNet takes 9 channels)", _takes(9)),
    ("an image-editing model (its UNet takes 8 channels)", _takes(8)),
    ("a depth-guided model (its UNet takes 5 channels)", _takes(5)),
    ("Stable Diffusion 1.x (a fixed number of heads, projections of 1x1)", _is_first_generation),
    (f"the moving average (EMA) alone, without {UNET}*", _alone("model_ema.")),
    (
        f"a ControlNet alone, without {UNET}*",
        _alone(CONTROL, "input_hint_block.", "zero_convs.", "controlnet_"),
    ),
    ("a LoRA alone", _alone("lora_", "unet.")),
    ("one network in diffusers' layout", _alone("down_blocks.", "encoder.down_blocks.")),
)
"""What it is called, and what tells it; the first that fits."""


def refuse_others(source: Source) -> None:
    """Raise ValueError, with its name, for a checkpoint of another network."""
    for name, tells in KINDS:
        if tells(source.shapes):
            raise InputError(
                f"{source.path} is {name}; expected the released AnyDoor checkpoint or plain "
                "Stable Diffusion 2.1-base"
            )
