"""What placing an object gives: the scene with the object in it, and what led to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.structures.pair import Pair


@dataclass(frozen=True, slots=True, eq=False)
class Result:
    """One generated scene.

    Args:
        pair: what was asked for.
        scene: (H, W, 3) uint8, the scene with the object in it.
        shown: what the networks were shown; None for methods that show nothing to a network.
        crop: (R, R, 3) uint8, the generated crop before it is pasted back; None likewise.
    """

    pair: Pair
    scene: np.ndarray
    shown: Conditioning | None = None
    crop: np.ndarray | None = None


@dataclass(frozen=True, slots=True, eq=False)
class AnyDoorPipelineOutput:
    """What placing an object gives back.

    Args:
        images: one scene (H, W, 3) uint8 or PIL picture per proposal.
        crops: the generated crops, (R, R, 3) uint8 each.
        conditioning: what the model was shown for the first proposal.
    """

    images: list[Any]
    crops: list[np.ndarray]
    conditioning: Conditioning
