"""What one press made, and all that made it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.originals import Original
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.teleporter.recipe import recipe_of


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """One press's proposals.

    Args:
        pair: object and place.
        original: the scene as its file was.
        settings: of the panel.
        weights: name or folder of the pipeline.
        crop: outside of it the scene is as it was.
        pieces: (h, w, 3) uint8 each, the proposals inside `crop`.
        warnings: sentences on region and sharpness; none where nothing is amiss.
    """

    pair: Pair
    original: Original
    settings: Mapping[str, Any]
    weights: str
    crop: Box
    pieces: tuple[np.ndarray, ...]
    warnings: tuple[str, ...] = ()

    def is_of(self, pair: Pair) -> bool:
        """Whether it was made from these very pictures and marks."""
        own = self.pair
        same = own.reference is pair.reference and own.scene is pair.scene
        same = same and np.array_equal(own.reference_mask, pair.reference_mask)
        return same and np.array_equal(own.scene_mask, pair.scene_mask)

    def scene(self, number: int) -> np.ndarray:
        """(H, W, 3) uint8, the scene with a proposal."""
        placed = self.original.rgb.copy()
        placed[self.crop.slices] = self.pieces[number]
        return placed

    def picture(self, number: int) -> Image.Image:
        """The scene with a proposal, in its file's own colours."""
        return self.original.changed_to(self.scene(number))

    def recipe(self, number: int) -> dict[str, Any]:
        """The recipe of a proposal."""
        recipe = recipe_of(self.pair, self.original, self.settings, self.weights)
        return {**recipe, "chosen": number}

    @property
    def words(self) -> str:
        """The settings, short."""
        own = dict(self.settings)
        first = f"seed {own.pop('seed')}, {own.pop('steps')} steps"
        return f"{first}, " + ", ".join(f"{name} {value}" for name, value in own.items())
