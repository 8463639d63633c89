"""One AnyDoor for every ID extractor: shared networks, a projector of its own for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from torch import nn

from anydoor_lab.models.anydoor import AnyDoor, Trained
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.models.idx.vgg import VggExtractor

ExtractorName = Literal["vgg", "clip", "dinov2"]
EXTRACTORS = {"vgg": VggExtractor, "clip": ClipExtractor, "dinov2": Dinov2Extractor}
"""The classes by the names of conf/idx/."""


class JointAnyDoor(AnyDoor):
    """AnyDoor whose ID extractor is chosen for each sample.

    Args:
        unet, vae, detail_extractor: as for `AnyDoor`.
        extractors: by name; all projectors have the same width.
        choices: what a sample's number stands for: an extractor's name and whether only its
            global token is handed on.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        detail_extractor: DetailExtractor,
        extractors: nn.ModuleDict,
        choices: Sequence[tuple[str, bool]],
    ) -> None:
        super().__init__(unet, vae, detail_extractor, extractors)  # type: ignore[arg-type]
        self.choices = tuple(choices)

    def freeze(self, trained: Trained = "all") -> JointAnyDoor:
        """Leave gradients in the UNet, the detail extractor and the projectors; returns itself."""
        self.requires_grad_(False)
        projectors = [extractor.projector for extractor in self.id_extractor.values()]
        for part in (self.unet, self.detail_extractor, *projectors):
            part.requires_grad_(True)
        self.detail_extractor.conv_in.requires_grad_(False)
        return self

    def tokens(self, id_image: torch.Tensor, extractor: torch.Tensor) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S), each by its sample's choice (B,) int.

        Where a choice gives fewer tokens than another they are repeated, which changes nothing
        for attention where the one number divides the other.
        """
        parts = {}
        for number in extractor.unique().tolist():
            name, only_global = self.choices[number]
            network = self.id_extractor[name]
            with torch.no_grad():
                features = network.features(id_image[extractor == number])
            parts[number] = network.projector(features[:, :1] if only_global else features)
        longest = max(part.shape[1] for part in parts.values())
        unused = sum(p.sum() for e in self.id_extractor.values() for p in e.projector.parameters())
        any_part = next(iter(parts.values()))
        tokens = any_part.new_zeros(len(id_image), longest, any_part.shape[2])
        tokens = tokens + 0 * unused  # every process must hand back a gradient for all of them
        for number, part in parts.items():
            places = torch.arange(longest, device=part.device) % part.shape[1]
            tokens[extractor == number] = part[:, places]
        return tokens
