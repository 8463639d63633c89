"""The judges of a run: its metrics, and what each of them asks to see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor

from anydoor_lab.data.world import Attributes
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair


class PictureScore(Protocol):
    """A metric that scores picture by picture; a new one is a class and one file in conf/metrics/.

    The names of its parameters say what it is shown, one entry per picture: `generated` and
    `references` (regions (h, w, 3) uint8); `results`, `scenes`, `truths`, `pasted` and
    `regenerated` (H, W, 3), what was made, the scene, the scene that truly shows the object, the
    scene with the reference pasted in and the one with the whole generated crop, before blending;
    `masks` and `backgrounds` (H, W) bool, the shape asked for and what of the crop is not the
    object; `crops`, the `Box` that was written into; `attributes`; `objects`, the name of the
    object; or `seeds` (the regions of one pair over several seeds). One is the same for all:
    `gallery`, the references of all pairs. Where one of them is not known (the attributes of a
    photograph, the truth where another object stands in the scene), the metric is left out.
    """

    scores: Callable[..., Tensor | dict[str, Tensor]]
    """(B,) scores, or several by name; NaN where a picture has none. Where the class also has
    `bounds`, their least and greatest value, intervals end there."""


FIELDS = ("generated", "references", "results", "scenes", "truths", "pasted", "regenerated",
          "masks", "backgrounds", "crops", "attributes", "objects", "gallery", "seeds")  # fmt: skip
"""What a metric can ask for."""


def asks_for(metric: PictureScore) -> tuple[str, ...]:
    """What a metric must be shown, by name.

    Raises:
        InputError: it asks for something that there is not.
    """
    asked = tuple(inspect.signature(metric.scores).parameters)
    foreign = [name for name in asked if name not in FIELDS]
    if foreign:
        kind = type(metric).__name__
        known = ", ".join(FIELDS)
        raise InputError(f"{kind}.scores asks for {', '.join(foreign)}; it may ask for {known}")
    return asked


def scores_by(metric: PictureScore, fields: Mapping[str, Any], number: int) -> dict[str, Tensor]:
    """(number,) scores by the name of their part ("" for a metric of one), of what it asks for.

    Raises:
        InputError: the metric does not give one score per picture.
    """
    scores = metric.scores(**{name: fields[name] for name in asks_for(metric)})
    named = scores if isinstance(scores, Mapping) else {"": scores}
    tensors = {part: torch.as_tensor(values) for part, values in named.items()}
    for values in tensors.values():
        if values.shape != (number,):
            seen = f"{type(metric).__name__}.scores gave {tuple(values.shape)}"
            raise InputError(f"{seen} for {number} pictures; expected one number for each, (B,)")
    return tensors


@dataclass(frozen=True, slots=True, eq=False)
class Judges:
    """The metrics by name and the protocol they score by.

    Args:
        metrics: by the names under which their numbers stand.
        protocol: which part of the pictures is compared.
        truth: whether the pairs' scenes show their object.
        attributes_of: the true attributes of a pair's object, where they are known.
        photos_of: the pair with every photo of its object as the reference, where there are more
            than the pair's own.
        not_run: metrics that were asked for and are not here, and what is missing.
    """

    metrics: Mapping[str, Any]
    protocol: ScoreProtocol
    truth: bool = True
    attributes_of: Callable[[Pair], Attributes] | None = None
    photos_of: Callable[[Pair], Sequence[Pair]] | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)

    def of(self, source: Any) -> Judges:
        """The same for the pairs of `source`, as far as it tells more than pairs: attributes are
        read only where they are known, and where the reader knows all their names.

        Raises:
            ValueError: no metric is left.
        """
        attributes_of = getattr(source, "attributes_of", None)
        truth = bool(getattr(source, "truth", True))

        def can_score(metric: Any) -> bool:
            asked = asks_for(metric)
            if "attributes" in asked and not (attributes_of and metric.reads(source.names)):
                return False
            return truth or "truths" not in asked

        metrics = {name: metric for name, metric in self.metrics.items() if can_score(metric)}
        if self.metrics and not metrics:
            lacking = "known attributes" if truth else "the object in their scenes"
            seen = f"none of the metrics {', '.join(self.metrics)} can score these pairs"
            raise InputError(f"{seen}, which lack {lacking}; add others, e.g. metrics=[clip,dino]")
        photos_of = getattr(source, "photos_of", None)
        return replace(
            self, metrics=metrics, truth=truth, attributes_of=attributes_of, photos_of=photos_of
        )
