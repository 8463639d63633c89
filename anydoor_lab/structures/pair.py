"""The value everything starts from: one object in one photo, and its place in another."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np

from anydoor_lab.structures.checks import check_choice, check_masked

Variation = Literal["still", "video", "multiview"]
Quality = Literal["low", "high"]


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One object in one photo, and the place in another photo where it belongs.

    Args:
        reference: (H, W, 3) uint8 RGB, the photo of the object.
        reference_mask: (H, W) bool, where the object is in `reference`.
        scene: (H', W', 3) uint8 RGB, the picture to place into; in training it shows the object.
        scene_mask: (H', W') bool, the region asked for; in training the object's own mask.
        variation: how the object differs between the two (Table 1): decides the timesteps
            the pair trains (Sec. 3.4).
        quality: resolution class of Table 1; it stands beside the pair in scores.json.
        origin: where the pair came from, for reports.
        subject: which object it is: pairs with the same subject show the same object. "" where
            nothing tells it; then each pair's object is its own.

    Raises:
        TypeError: a dtype or number of dimensions is wrong.
        UnusablePair: a mask is empty, covers everything or has another size than its photo.
    """

    reference: np.ndarray
    reference_mask: np.ndarray
    scene: np.ndarray
    scene_mask: np.ndarray
    variation: Variation = "still"
    quality: Quality = "high"
    origin: str = ""
    subject: str = ""

    def __post_init__(self) -> None:
        check_masked("reference", self.reference, self.reference_mask)
        check_masked("scene", self.scene, self.scene_mask)
        check_choice("variation", self.variation, get_args(Variation))
        check_choice("quality", self.quality, get_args(Quality))

    @property
    def is_one_photo(self) -> bool:
        """Whether the object is in the same pixels of both pictures, as in a `still` of Table 1;
        the scene may be printed otherwise."""
        return self.variation == "still" and np.array_equal(self.reference_mask, self.scene_mask)

    def as_still(self) -> Pair:
        """The scene's photo twice: a `still` as Table 1 knows it, with nothing changed between.

        What is one photo already stays as its source made it."""
        if self.is_one_photo:
            return self
        return replace(
            self, reference=self.scene, reference_mask=self.scene_mask, variation="still"
        )
