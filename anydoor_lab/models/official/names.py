"""The released layout as one table: where each of our tensors lies in an LDM state dict.

All of it is renaming, but for the attention of the VAE (1x1 convolutions there, linear layers
here) and DINOv2's joint matrices (queries, keys and values; the two halves of SwiGLU).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

PREFIXES = {
    "unet": "model.diffusion_model.",
    "detail_extractor": "control_model.",
    "vae": "first_stage_model.",
    "id_extractor": "cond_stage_model.",
}
"""Of a pipeline's components in the released state dict."""

Rename = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Slot:
    """Where one of our tensors lies.

    Args:
        key: name of the official tensor.
        part, parts: which of the equal shares of its rows.
        as_convolution: the official tensor has two more dimensions of size 1.
    """

    key: str
    part: int = 0
    parts: int = 1
    as_convolution: bool = False


@dataclass(frozen=True, slots=True)
class Blocks:
    """How a UNet, its copy or a VAE is built.

    Args:
        layers: residual blocks in each level of the encoder.
        attends: of a UNet's levels, from the largest maps, which have attention; the VAE's are
            only counted.
        stem: convolutions of the detail extractor's hint stem between its first and its last.
    """

    layers: int
    attends: tuple[bool, ...]
    stem: int = 6

    @property
    def levels(self) -> int:
        """Number of resolutions."""
        return len(self.attends)


def blocks_of(config: Mapping[str, Any]) -> Blocks:
    """How the network of such a config is built; the ID extractor has no blocks."""
    kinds = config.get("down_block_types", ())
    widths = config.get("conditioning_embedding_out_channels", ())
    attends = tuple("CrossAttn" in kind for kind in kinds)
    return Blocks(config.get("layers_per_block", 0), attends, max(0, 2 * len(widths) - 2))


RESNET: list[Rename] = [
    ("norm1.", "in_layers.0."),
    ("conv1.", "in_layers.2."),
    ("time_emb_proj.", "emb_layers.1."),
    ("norm2.", "out_layers.0."),
    ("conv2.", "out_layers.3."),
    ("conv_shortcut.", "skip_connection."),
]
UNET_ENDS: list[Rename] = [
    ("time_embedding.linear_1.", "time_embed.0."),
    ("time_embedding.linear_2.", "time_embed.2."),
    ("conv_in.", "input_blocks.0.0."),
    ("mid_block.attentions.0.", "middle_block.1."),
    ("conv_norm_out.", "out.0."),
    ("conv_out.", "out.2."),
]
DETAIL_ENDS: list[Rename] = [
    ("controlnet_mid_block.", "middle_block_out.0."),
    ("controlnet_cond_embedding.conv_in.", "input_hint_block.0."),
]
VAE_MIDDLE: list[Rename] = [
    ("mid_block.resnets.0.", "mid.block_1."),
    ("mid_block.resnets.1.", "mid.block_2."),
    ("mid_block.attentions.0.group_norm.", "mid.attn_1.norm."),
    ("mid_block.attentions.0.to_q.", "mid.attn_1.q."),
    ("mid_block.attentions.0.to_k.", "mid.attn_1.k."),
    ("mid_block.attentions.0.to_v.", "mid.attn_1.v."),
    ("mid_block.attentions.0.to_out.0.", "mid.attn_1.proj_out."),
    ("conv_norm_out.", "norm_out."),
]
DINO: list[Rename] = [
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("layernorm.", "norm."),
]
DINO_LAYER: list[Rename] = [
    ("attention.o_proj.", "attn.proj."),
    ("layer_scale1.lambda1", "ls1.gamma"),
    ("layer_scale2.lambda1", "ls2.gamma"),
    ("mlp.down_proj.", "mlp.w3."),
]
DINO_SHARED = {
    "attention.q_proj.": ("attn.qkv.", 0, 3),
    "attention.k_proj.": ("attn.qkv.", 1, 3),
    "attention.v_proj.": ("attn.qkv.", 2, 3),
    "mlp.gate_proj.": ("mlp.w12.", 0, 2),
    "mlp.up_proj.": ("mlp.w12.", 1, 2),
}


def slot(component: str, name: str, blocks: Blocks) -> Slot:
    """Where `name`, a tensor of a pipeline's `component`, lies in the released state dict.

    A name the table does not know keeps its own, and so is not found there.
    """
    prefix = PREFIXES[component]
    if component == "id_extractor":
        return _id_slot(prefix, name)
    table = vae_table(blocks) if component == "vae" else unet_table(blocks)
    key = prefix + _renamed(name, table)
    linear = component == "vae" and ".attn_1." in key and ".norm." not in key
    return Slot(key, as_convolution=linear and key.endswith("weight"))


def _renamed(name: str, table: list[Rename]) -> str:
    matches = ((ours, theirs) for ours, theirs in table if name.startswith(ours))
    ours, theirs = next(matches, ("", ""))
    return theirs + name.removeprefix(ours)


@cache
def unet_table(blocks: Blocks) -> list[Rename]:
    """Prefixes of the UNet's and the detail extractor's tensors, ours and the official ones."""
    resnets = [("mid_block.resnets.0.", "middle_block.0.")]
    resnets += [("mid_block.resnets.1.", "middle_block.2.")]
    table = [*UNET_ENDS, *DETAIL_ENDS]
    for level, attends in enumerate(reversed(blocks.attends)):
        ours, first = f"up_blocks.{level}.", level * (blocks.layers + 1)
        for layer in range(blocks.layers + 1):
            resnets.append((f"{ours}resnets.{layer}.", f"output_blocks.{first + layer}.0."))
            table.append((f"{ours}attentions.{layer}.", f"output_blocks.{first + layer}.1."))
        last = f"output_blocks.{first + blocks.layers}.{2 if attends else 1}.conv."
        table.append((f"{ours}upsamplers.0.conv.", last))
    for level in range(blocks.levels):
        ours, first = f"down_blocks.{level}.", 1 + level * (blocks.layers + 1)
        for layer in range(blocks.layers):
            resnets.append((f"{ours}resnets.{layer}.", f"input_blocks.{first + layer}.0."))
            table.append((f"{ours}attentions.{layer}.", f"input_blocks.{first + layer}.1."))
        last = f"input_blocks.{first + blocks.layers}.0.op."
        table.append((f"{ours}downsamplers.0.conv.", last))
    for number in range(blocks.levels * (blocks.layers + 1)):
        table.append((f"controlnet_down_blocks.{number}.", f"zero_convs.{number}.0."))
    table += [(o + here, t + there) for o, t in resnets for here, there in RESNET]
    return table + _stem_table(blocks)


def _stem_table(blocks: Blocks) -> list[Rename]:
    """The hint stem: a SiLU stands between any two convolutions of the official list."""
    inner = [
        (f"controlnet_cond_embedding.blocks.{n}.", f"input_hint_block.{2 * n + 2}.")
        for n in range(blocks.stem)
    ]
    last = f"input_hint_block.{2 * blocks.stem + 2}."
    return [*inner, ("controlnet_cond_embedding.conv_out.", last)]


@cache
def vae_table(blocks: Blocks) -> list[Rename]:
    """Prefixes of the autoencoder's tensors, ours and the official ones."""
    table = [
        (f"{half}.{ours}", f"{half}.{theirs}")
        for half in ("encoder", "decoder")
        for ours, theirs in VAE_MIDDLE
    ]
    for level in range(blocks.levels):
        up = blocks.levels - 1 - level  # the official decoder counts from the picture
        sides = (
            ("encoder.down_blocks", "encoder.down", level, "downsample", blocks.layers),
            ("decoder.up_blocks", "decoder.up", up, "upsample", blocks.layers + 1),
        )
        for ours, theirs, number, change, layers in sides:
            for layer in range(layers):
                here, there = (
                    f"{ours}.{level}.resnets.{layer}.",
                    f"{theirs}.{number}.block.{layer}.",
                )
                table += [(f"{here}conv_shortcut.", f"{there}nin_shortcut."), (here, there)]
            here = f"{ours}.{level}.{change}rs.0.conv."
            table.append((here, f"{theirs}.{number}.{change}.conv."))
    return table


def _id_slot(prefix: str, name: str) -> Slot:
    """DINOv2 is `model` there, beside the projector."""
    if not name.startswith("encoder."):
        return Slot(prefix + name)
    found = re.fullmatch(r"encoder\.layer\.(\d+)\.(.*)", name.removeprefix("encoder."))
    if not found:
        return Slot(f"{prefix}model.{_renamed(name.removeprefix('encoder.'), DINO)}")
    layer, inner = f"{prefix}model.blocks.{found[1]}.", found[2]
    for ours, (theirs, part, parts) in DINO_SHARED.items():
        if inner.startswith(ours):
            return Slot(layer + theirs + inner.removeprefix(ours), part, parts)
    return Slot(layer + _renamed(inner, DINO_LAYER))
