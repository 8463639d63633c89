"""Which views of an index are used: the released code's filters, each counted."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, fields

import numpy as np

from anydoor_lab.data.index.store import Index
from anydoor_lab.structures.checks import check_finite
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Limits:
    """Which views are used: the released code's filters.

    Args:
        min_mask_area, max_mask_area: share of the picture the object may cover.
        min_mask_px: smallest number of the object's pixels.
        min_component: smallest share of the mask that its largest connected part has; 1 asks for
            a mask in one piece.
        min_reference_box: smallest height and width of the object in a reference, as shares of
            the picture's.
        max_scene_box: largest height and width of it in a scene.
        min_score: of the set's own scores; views without one are used.

    Raises:
        ValueError: a limit is no number that is possible.
    """

    min_mask_area: float = 0.01
    max_mask_area: float = 0.64
    min_mask_px: int = 0
    min_component: float = 0.9
    min_reference_box: float = 0.1
    max_scene_box: float = 0.8
    min_score: float = 0.0

    def __post_init__(self) -> None:
        for name in (one.name for one in fields(self)):
            check_finite(name, getattr(self, name))
            if getattr(self, name) < 0 or (name != "min_mask_px" and getattr(self, name) > 1):
                raise InputError(f"{name} is {getattr(self, name)}; expected a share in [0, 1]")
        if self.min_mask_area >= self.max_mask_area:
            seen = f"min_mask_area={self.min_mask_area}, max_mask_area={self.max_mask_area}"
            raise InputError(f"{seen}; expected the first to be smaller")

    def judged(self, index: Index) -> tuple[np.ndarray, np.ndarray, Counter[str]]:
        """Which usable rows may be references (N,) bool, which scenes, and how many neither why."""
        height, width = index.numbers("height"), index.numbers("width")
        area, score = index.numbers("area"), index.numbers("score")
        tall = (index.numbers("y2") - index.numbers("y1")) / np.maximum(height, 1)
        wide = (index.numbers("x2") - index.numbers("x1")) / np.maximum(width, 1)
        role = index.roles()
        faults = {
            "mask too small": area < self.min_mask_area,
            "mask too large": area > self.max_mask_area,
            "fewer pixels than min_mask_px": area * height * width < self.min_mask_px - 0.5,
            "mask in pieces": index.numbers("component") < self.min_component,
            "score too low": score < self.min_score,  # of no score false
        }
        good, rejected = np.ones(len(area), np.bool_), Counter[str]()
        for reason, faulty in faults.items():
            rejected[reason] = int(np.count_nonzero(good & faulty))
            good &= ~faulty
        small = np.minimum(tall, wide) < self.min_reference_box
        large = np.maximum(tall, wide) > self.max_scene_box
        references, scenes = good & (role != "scene"), good & (role != "reference")
        rejected["box too small for a reference"] = int(np.count_nonzero(references & small))
        rejected["box too large for a scene"] = int(np.count_nonzero(scenes & large))
        return references & ~small, scenes & ~large, +rejected
