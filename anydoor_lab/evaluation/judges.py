"""The judges of a run: its metrics, and what each of them asks to see."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
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
    `references` (regions (h, w, 3) uint8); `results`, `scenes` and `pasted` (H, W, 3), what was
    made, the true scene and the scene with the reference pasted in; `masks` and `backgrounds`
    (H, W) bool, the shape asked for and what of the crop is not the object; `crops`, the `Box`
    that was written into; `attributes`; `objects`, the name of the object; or `seeds` (the regions
    of one pair over several seeds). One is the same for all: `gallery`, the references of all
    pairs. Where one of them is not known (the attributes of a photograph), the metric is left out.
    """

    scores: Callable[..., Tensor | dict[str, Tensor]]
    """(B,) scores, or several by name; NaN where a picture has none. Where the class also has
    `bounds`, their least and greatest value, intervals end there."""


FIELDS = ("generated", "references", "results", "scenes", "pasted", "masks", "backgrounds",
          "crops", "attributes", "objects", "gallery", "seeds")  # fmt: skip
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
        truth: the true attributes of a pair's object, where they are known.
        not_run: metrics that were asked for and are not here, and what is missing.
    """

    metrics: Mapping[str, Any]
    protocol: ScoreProtocol
    truth: Callable[[Pair], Attributes] | None = None
    not_run: Mapping[str, str] = field(default_factory=dict)

    def of(self, source: Any) -> Judges:
        """The same for the pairs of `source`: attributes are read only where they are known, and
        where the reader knows all their names."""
        readers = {name: m for name, m in self.metrics.items() if "attributes" in asks_for(m)}
        unread = {name: m for name, m in self.metrics.items() if name not in readers}
        if not hasattr(source, "attributes_of"):
            return replace(self, metrics=unread, truth=None)
        known = {name: m for name, m in readers.items() if m.reads(source.names)}
        metrics = {name: m for name, m in self.metrics.items() if name in known or name in unread}
        return replace(self, metrics=metrics, truth=source.attributes_of)
