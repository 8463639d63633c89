"""What every reported number is: a mean with its interval and all that it depends on."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from anydoor_lab.metrics.interval import UNBOUNDED, Interval, Range, paired_difference
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Score:
    """One reported number.

    Args:
        value: the mean over pictures (for a rank-based metric over queries); NaN where no picture
            has this score.
        metric: its name, as the key of a table: "clip", "attribute_accuracy_letter".
        protocol: what exactly was compared, a `ScoreProtocol` as text.
        n: how many single scores the mean is of.
        ci95: ends of the 95 % interval, inside the metric's range; NaN where n is below 2.
        seed: of the pairs and of the starting noise.
        scale: "tiny", "sd21": a number never stands without it.

    Raises:
        ValueError: n is negative, or the interval's ends are in the wrong order.
    """

    value: float
    metric: str
    protocol: str
    n: int
    ci95: tuple[float, float]
    seed: int | None
    scale: str

    def __post_init__(self) -> None:
        low, high = self.ci95
        if self.n < 0 or low > high:  # NaN is in no order
            seen = f"{self.metric}: n is {self.n}, the interval [{low}, {high}]"
            raise InputError(f"{seen}; expected n from 0, and the lower end first")

    @property
    def known(self) -> bool:
        """Whether any picture has this score."""
        return not math.isnan(self.value)

    def __str__(self) -> str:
        of_what = f"{self.scale}; {self.protocol}; seed {self.seed}"
        return f"{self.metric} {Interval(self.value, *self.ci95, self.n)}, {of_what}"


def difference_of(
    first: Score,
    second: Score,
    singles: tuple[np.ndarray, np.ndarray],
    rng: np.random.Generator,
    bounds: Range = UNBOUNDED,
) -> Score:
    """How much higher `first` is than `second`, paired picture by picture, as a `Score`.

    Its metric is called `<metric>_difference`; n counts the pictures that have both scores.

    Args:
        first, second: what is compared.
        singles: their (n,) single scores, of the same pictures in the same order; NaN where a
            picture has none.
        rng: decides the bootstrap's resamples.
        bounds: the range of a single score.

    Raises:
        ValueError: the two are of different metrics, protocols, seeds or scales, or the pictures
            differ in number.
    """
    for part in ("metric", "protocol", "seed", "scale"):
        one, other = getattr(first, part), getattr(second, part)
        if one != other:
            seen = f"{part} is {one!r} of one score and {other!r} of the other"
            raise InputError(f"{seen}; only scores of one protocol can be subtracted")
    found = paired_difference(*singles, rng, bounds=bounds)
    ends = (found.low, found.high)
    name = f"{first.metric}_difference"
    return Score(found.mean, name, first.protocol, found.n, ends, first.seed, first.scale)
