"""What placing an object gives: the scene with the object in it, and what led to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from diffusers.utils import BaseOutput

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.conditioning.placement import Blend, Placement, paste_back
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One generated scene.

    Args:
        pair: what was asked for.
        scene: (H, W, 3) uint8, the scene with the object in it.
        shown: what the networks were shown; None for methods that show nothing to a network.
        crop: (R, R, 3) uint8, the generated crop before it is pasted back; None likewise.
        placement: where it was pasted back; None takes the one in `shown`.
        blend: what of the crop was pasted back, see `BLENDS`.
    """

    pair: Pair
    scene: np.ndarray
    shown: Conditioning | None = None
    crop: np.ndarray | None = None
    placement: Placement | None = None
    blend: Blend = "crop"

    def __post_init__(self) -> None:
        if self.placement is None and self.shown is not None:
            object.__setattr__(self, "placement", self.shown.placement)

    @property
    def regenerates(self) -> bool:
        """Whether it is known what was made around the object; see `regenerated`."""
        whole = self.blend == "crop" or self.crop is not None
        return self.placement is not None and whole

    def regenerated(self) -> np.ndarray:
        """(H, W, 3) uint8, the scene with the whole crop written back, before blending.

        Raises:
            ValueError: the crop is not known.
        """
        if self.placement is not None and self.blend == "crop":
            return self.scene
        if self.placement is None or self.crop is None:
            raise InputError("this result has no crop; nothing is known around its object")
        return paste_back(self.crop, self.pair.scene, self.placement)


OUTPUT_TYPES = ("pil", "np", "pt")
OutputType = Literal["pil", "np", "pt"]


@dataclass(eq=False)
class AnyDoorPipelineOutput(BaseOutput):
    """What placing an object gives back; `output["images"]` and `output[0]` find them as well.

    Args:
        images: one scene per proposal, as `finished` gives them.
        crops: the generated crops, (R, R, 3) uint8 each.
        conditioning: what the model was shown for the first proposal.
    """

    images: list[Any]
    crops: list[np.ndarray]
    conditioning: Conditioning


def finished(scenes: list[np.ndarray], output_type: OutputType, original: Original) -> Any:
    """`scenes` (H, W, 3) uint8 as asked for: a list of PIL pictures (`pil`), which keep what the
    original scene had, or of the arrays themselves (`np`), or a tensor (B, 3, H, W) float32 in
    [0, 1] (`pt`)."""
    if output_type == "pil":
        return [original.changed_to(scene) for scene in scenes]
    if output_type == "np":
        return scenes
    return torch.from_numpy(np.stack(scenes)).permute(0, 3, 1, 2).float() / 255
