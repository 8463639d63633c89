"""VGG-16 as ID extractor (Table 3, row 1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from safetensors.torch import load_file
from torch import nn

from anydoor_lab.models.idx.tokens import (
    IMAGENET_MEAN,
    IMAGENET_STD,
    TokenChoice,
    choose_tokens,
    normalise,
)
from anydoor_lab.models.sources import obtain, reading
from anydoor_lab.structures.errors import InputError

_CONVOLUTIONS_PER_STAGE = (2, 2, 3, 3, 3)
_LAST_OF_STAGE = (2, 7, 14, 21, 28)  # positions among the layers


class Vgg16(ModelMixin, ConfigMixin):
    """The 13 convolutions of VGG-16 (configuration D), with torchvision's parameter names.

    Args:
        widths: channels of the five stages; VGG-16 itself has (64, 128, 256, 512, 512).
    """

    @register_to_config
    def __init__(self, widths: Sequence[int] = (64, 128, 256, 512, 512)) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width, number in zip(widths, _CONVOLUTIONS_PER_STAGE, strict=True):
            for _ in range(number):
                layers += [nn.Conv2d(channels, width, 3, padding=1), nn.ReLU()]
                channels = width
            layers.append(nn.MaxPool2d(2))
        self.features = nn.Sequential(*layers)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """conv5_3 after its ReLU, (B, C, H/16, W/16), of `image` (B, 3, H, W) normalised."""
        return self.features[:-1](image)


def load_vgg16(source: str | Path) -> Vgg16:
    """A pretrained `Vgg16`: our own folder, or torchvision's weights as published on the hub.

    Args:
        source: `embedded:<part>`, a folder, or a hub name whose `model.safetensors` has
            torchvision's parameter names (`timm/vgg16.tv_in1k`).

    Raises:
        ValueError: the weights are not there, or not those of a VGG-16.
    """
    place = obtain(source, setting="idx.extractor.source")
    with reading(f"idx.extractor.source {source}"):
        if (place / "config.json").is_file() and '"Vgg16"' in (place / "config.json").read_text():
            return Vgg16.from_pretrained(place)
        weights = load_file(place / "model.safetensors")
    return vgg16_of(weights, source)


def vgg16_of(weights: Mapping[str, torch.Tensor], source: str | Path) -> Vgg16:
    """The network of weights by torchvision's names; `source` is named where they are others.

    Raises:
        ValueError: they are not those of a VGG-16.
    """
    kept = {name: tensor for name, tensor in weights.items() if name.startswith("features.")}
    if not all(f"features.{index}.weight" in kept for index in _LAST_OF_STAGE):
        raise InputError(f"{source} holds no VGG-16: its features lack the 13 convolutions")
    network = Vgg16([kept[f"features.{index}.weight"].shape[0] for index in _LAST_OF_STAGE])
    network.load_state_dict(kept)
    return network


class VggExtractor(ModelMixin, ConfigMixin):
    """ID tokens from VGG-16: the mean of conv5_3 (global) and its positions (patch).

    Args:
        encoder_config: keyword arguments of `Vgg16`.
        cross_attention_dim: D of the tokens.
        tokens: which of them to hand on.
    """

    @register_to_config
    def __init__(
        self, encoder_config: dict[str, Any], cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> None:
        super().__init__()
        self.encoder = Vgg16(**encoder_config)
        self.projector = nn.Linear(encoder_config["widths"][-1], cross_attention_dim)

    @classmethod
    def from_encoder(
        cls, source: str | Path, cross_attention_dim: int, tokens: TokenChoice = "both"
    ) -> VggExtractor:
        """Around a pretrained `Vgg16` folder, with a fresh projector."""
        encoder = load_vgg16(source)
        extractor = cls({"widths": list(encoder.config.widths)}, cross_attention_dim, tokens)
        extractor.encoder = encoder
        return extractor

    def features(self, id_image: torch.Tensor) -> torch.Tensor:
        """(B, N, E) frozen features of `id_image` (B, 3, S, S) in [0, 1]."""
        maps = self.encoder(normalise(id_image, IMAGENET_MEAN, IMAGENET_STD))
        patches = maps.flatten(2).transpose(1, 2)
        return choose_tokens(patches.mean(dim=1, keepdim=True), patches, self.config.tokens)

    def forward(self, id_image: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S) in [0, 1]."""
        return self.projector(self.features(id_image))
