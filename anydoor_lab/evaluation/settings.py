"""How runs are scored."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from anydoor_lab.conditioning.conditioner import Shape
from anydoor_lab.diffusion.presets import named_preset
from anydoor_lab.metrics.protocol import Crop, References
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class EvalSettings:
    """How to score.

    Args:
        num_pairs: held-out pairs; fewer where the source has fewer stills.
        num_diverse: of them, how many are generated with `num_seeds` seeds for diversity.
        num_seeds: seeds per pair for diversity.
        num_shown: rows of the picture.
        batch_size: pairs generated at a time.
        seed: of the pairs and of the starting noise.
        crop: what of a result is scored, see `ScoreProtocol`.
        reference: against which photos, see `ScoreProtocol`.
        shape: whether the model is told the region's box or its outline.
        preset: of the pipeline: `exact`, `fast` or `draft`.
    """

    num_pairs: int = 64
    num_diverse: int = 16
    num_seeds: int = 4
    num_shown: int = 8
    batch_size: int = 16
    seed: int = 1000
    crop: Crop = "box"
    shape: Shape = "box"
    preset: str = "exact"
    reference: References = "single"

    def __post_init__(self) -> None:
        least = {"num_pairs": 1, "num_diverse": 0, "num_seeds": 1, "num_shown": 1, "batch_size": 1}
        for name, smallest in {**least, "seed": 0}.items():
            value = getattr(self, name)
            if not isinstance(value, int) or value < smallest:
                seen = f"eval.{name} is {value!r}"
                raise InputError(f"{seen}; expected a whole number from {smallest}")
        kinds = {"crop": Crop, "shape": Shape, "reference": References}
        for name, known in ((name, get_args(kind)) for name, kind in kinds.items()):
            check_choice(f"eval.{name}", getattr(self, name), known)
        named_preset(self.preset)
