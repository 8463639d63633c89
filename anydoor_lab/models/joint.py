"""One AnyDoor for every ID extractor: shared networks, a projector of its own for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn

from anydoor_lab.models.anydoor import AnyDoor, Kept
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.embedded import embedded_folder, is_part
from anydoor_lab.models.idx.table import EMBEDDED_PARTS, kind_around
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.structures.errors import InputError

PROJECTORS = "projectors.safetensors"
"""File of a joint network's folder: `<extractor>.weight` and `<extractor>.bias`."""


def is_joint(folder: Path) -> bool:
    """Whether a folder holds a joint network."""
    return (folder / PROJECTORS).is_file()


def part_beside(folder: Path, part: str) -> Path:
    """What a part is built on: the finished one beside its folder, else the embedded one."""
    beside = folder.parent / part
    return beside if is_part(beside) else embedded_folder(part)


def load_extractor(folder: Path, name: str) -> IdExtractor:
    """One of the ID extractors of the joint network in `folder`, with its trained projector.

    Raises:
        ValueError: it was not trained with such an extractor, or its file is damaged.
    """
    try:
        tensors = load_file(folder / PROJECTORS)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder / PROJECTORS} is damaged ({error}); replace it") from error
    own = {
        key: tensors[f"{name}.{key}"] for key in ("weight", "bias") if f"{name}.{key}" in tensors
    }
    if not own:
        known = ", ".join(sorted({key.split(".")[0] for key in tensors}))
        raise InputError(f"{folder} has no projector for {name}; it has {known}")
    width = own["weight"].shape[0]
    part = part_beside(folder, EMBEDDED_PARTS[name])
    extractor: IdExtractor = kind_around(name).from_encoder(part, width)
    extractor.projector.load_state_dict(own)
    return extractor


class JointAnyDoor(AnyDoor):
    """AnyDoor whose ID extractor is chosen for each sample.

    Args:
        unet, vae, branches: as for `AnyDoor`.
        extractors: by name; all projectors have the same width.
        choices: what a sample's number stands for: an extractor's name and whether only its
            global token is handed on.
    """

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        branches: Mapping[str, DetailExtractor],
        extractors: nn.ModuleDict,
        choices: Sequence[tuple[str, bool]],
    ) -> None:
        super().__init__(unet, vae, branches, extractors)  # type: ignore[arg-type]
        self.choices = tuple(choices)

    @property
    def extractors(self) -> dict[str, Any]:
        """The ID extractors by name."""
        return dict(self.id_extractor.items())  # type: ignore[attr-defined]

    @property
    def projectors(self) -> list[nn.Module]:
        """One of each ID extractor."""
        return [extractor.projector for extractor in self.extractors.values()]

    def tokens(
        self,
        id_image: torch.Tensor,
        extractor: torch.Tensor | None = None,
        *,
        kept: Kept | None = None,
    ) -> torch.Tensor:
        """ID tokens (B, N, D) of `id_image` (B, 3, S, S), each by its sample's choice (B,) int.

        Where a choice gives fewer tokens than another they are repeated, which changes nothing
        for attention where the one number divides the other.

        Raises:
            ValueError: `extractor` is missing, or something is `kept`, of which encoder nobody
                knows.
        """
        if kept is not None:
            raise InputError("a joint model keeps nothing of its encoders; train without a cache")
        if extractor is None:
            raise InputError("a joint model needs `extractor`: which one each sample uses")
        parts = {}
        for number in extractor.unique().tolist():
            name, only_global = self.choices[number]
            network = self.extractors[name]
            with torch.no_grad():
                features = network.features(id_image[extractor == number].to(self.unet.dtype))
            parts[number] = network.projector(features[:, :1] if only_global else features)
        longest = max(part.shape[1] for part in parts.values())
        unused = sum(p.sum() for e in self.extractors.values() for p in e.projector.parameters())
        any_part = next(iter(parts.values()))
        tokens = any_part.new_zeros(len(id_image), longest, any_part.shape[2])
        tokens = tokens + 0 * unused  # every process must hand back a gradient for all of them
        for number, part in parts.items():
            places = torch.arange(longest, device=part.device) % part.shape[1]
            tokens[extractor == number] = part[:, places]
        return tokens
