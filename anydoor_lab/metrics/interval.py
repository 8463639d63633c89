"""Means with their 95 % confidence intervals."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm
from scipy.stats import t as student

from anydoor_lab.structures.errors import InputError

LEVEL = 0.95
"""Confidence of every interval."""
FEWEST = 5
"""Of fewer values (or groups) a bootstrap's interval is far too narrow."""
Range = tuple[float, float]
"""The least and the greatest value a score can have."""
UNBOUNDED: Range = (-math.inf, math.inf)
PER_CENT: Range = (0.0, 100.0)


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean of `n` values and its 95 % interval; `low`, `high` are NaN where n = 1."""

    mean: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        if math.isnan(self.low):
            return f"{self.mean:.1f} (n = {self.n}, no interval)"
        return f"{self.mean:.1f} [{self.low:.1f}, {self.high:.1f}] (n = {self.n})"


def interval_from_sums(total: float, squares: float, n: int, bounds: Range = UNBOUNDED) -> Interval:
    """Student's 95 % interval of the mean of `n` independent values, from their sums.

    Of a handful of values it is wide (at n = 2 it is 12.7 standard errors to each side), which is
    right; the part of it where no mean can lie is cut off, which costs no coverage.

    Args:
        total: sum of the values.
        squares: sum of their squares.
        n: how many values.
        bounds: the range of a single value, and so of their mean.

    Raises:
        ValueError: n is below 1.
    """
    if n < 1:
        raise InputError(f"n is {n}; an interval needs at least one value, score something first")
    mean = total / n
    if n == 1:
        return Interval(mean, math.nan, math.nan, n)
    variance = max(squares - n * mean**2, 0.0) / (n - 1)
    half = float(student.ppf((1 + LEVEL) / 2, n - 1)) * math.sqrt(variance / n)
    return Interval(mean, max(mean - half, bounds[0]), min(mean + half, bounds[1]), n)


def student_interval(values: np.ndarray, bounds: Range = UNBOUNDED) -> Interval:
    """Student's 95 % interval of the mean of (n,) independent values: right for few seeds.

    Args:
        values: single scores.
        bounds: their range, at which the interval ends, as for `interval_from_sums`.

    Raises:
        ValueError: there is no value.
    """
    values = np.asarray(values, np.float64)
    if not values.size:
        return interval_from_sums(0.0, 0.0, 0)
    centre = values[0]  # sums about a value near the mean lose no digits
    shifted = interval_from_sums(
        float((values - centre).sum()), float(((values - centre) ** 2).sum()), values.size
    )
    # a NaN (one value, no interval) stays one: it is never the smaller of two
    low, high = max(shifted.low + centre, bounds[0]), min(shifted.high + centre, bounds[1])
    return Interval(shifted.mean + centre, low, high, values.size)


def wilson_interval(right: np.ndarray, full: float = 1.0) -> Interval:
    """The share of True in (n,) bool with Wilson's 95 % interval, which has a width at its ends.

    Args:
        right: the single answers.
        full: what all of them right counts as; 100 gives per cent.

    Raises:
        ValueError: there is no value.
    """
    right = np.asarray(right, np.bool_)
    if not right.size:
        raise InputError("there is no answer to count; ask for at least one")
    count = int(right.sum())
    ends = binomtest(count, right.size).proportion_ci(LEVEL, method="wilson")
    return Interval(full * count / right.size, full * ends.low, full * ends.high, right.size)


def at_an_end(values: np.ndarray, bounds: Range) -> bool:
    """Whether all of (n,) values stand at the same end of a scale in per cent."""
    return bounds == PER_CENT and any(bool(np.all(values == end)) for end in bounds)


def score_interval(values: np.ndarray, bounds: Range = UNBOUNDED) -> Interval:
    """The 95 % interval of the mean of (n,) single scores: Student's, but Wilson's where all of
    them stand at one end of a scale in per cent, where Student's has no width.

    A similarity or a distance (other ranges) that is the same for all has none: a picture is like
    itself by definition.

    Args:
        values: single scores.
        bounds: their range.

    Raises:
        ValueError: there is no value.
    """
    values = np.asarray(values, np.float64)
    if values.size > 1 and at_an_end(values, bounds):
        return wilson_interval(values == PER_CENT[1], full=PER_CENT[1])
    return student_interval(values, bounds)


def bootstrap_interval(
    values: np.ndarray,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    resamples: int = 2000,
    bounds: Range = UNBOUNDED,
) -> Interval:
    """The bootstrap's 95 % interval of the mean of (n,) values, which ends where values can.

    Bias-corrected and accelerated (Efron 1987), its quantiles moved outwards by Student's t
    (Hesterberg 2015, the expanded interval): without that it is too narrow for few values. Of
    fewer than `FEWEST` a bootstrap cannot know (of two, every resample's mean lies between them,
    and the interval holds the truth half of the time); there it is Student's, cut off at
    `bounds`. Of values that are all equal it has no width.

    Args:
        values: one score per picture.
        rng: decides the resamples.
        groups: (n,) labels; pictures of one object are no independent evidence, so whole groups
            are drawn where this is given. None draws single values.
        resamples: how many means the interval is read from.
        bounds: the range of a single value.

    Raises:
        ValueError: there is no value, or `groups` is of another length.
    """
    values = np.asarray(values, np.float64)
    labels = np.arange(values.size) if groups is None else np.asarray(groups)
    if not values.size or labels.shape != values.shape:
        seen = f"{values.size} values and {labels.size} group labels"
        raise InputError(f"{seen}; expected at least one value and one label per value")
    _, members = np.unique(labels, return_inverse=True)
    totals, sizes = np.bincount(members, values), np.bincount(members)
    mean, number = float(values.mean()), len(sizes)
    if number == 1:
        return Interval(mean, math.nan, math.nan, values.size)
    reach = math.sqrt(number / (number - 1)) * float(student.ppf((1 + LEVEL) / 2, number - 1))
    if number < FEWEST:
        off = totals - mean * sizes
        half = reach * math.sqrt(float(off @ off)) / values.size
        low, high = mean - half, mean + half
    else:
        drawn = rng.integers(number, size=(resamples, number))
        means = totals[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
        left_out = (totals.sum() - totals) / (sizes.sum() - sizes)
        levels = _accelerated(np.array([-reach, reach]), mean, means, left_out)
        low, high = np.quantile(means, levels)
    low, high = min(low, mean), max(high, mean)  # rounding, and a mean outside its resamples
    return Interval(mean, max(float(low), bounds[0]), min(float(high), bounds[1]), values.size)


def _accelerated(
    reach: np.ndarray, mean: float, means: np.ndarray, left_out: np.ndarray
) -> np.ndarray:
    """The levels at which an interval is read from `means` (Efron 1987, Eq. 6.8): for the normal
    deviates `reach`, corrected for the bias of the resamples and for the skew of the values."""
    below = (np.count_nonzero(means < mean) + np.count_nonzero(means <= mean)) / 2
    bias = norm.ppf(np.clip(below, 0.5, len(means) - 0.5) / len(means))
    skew = left_out.mean() - left_out
    spread = float(skew @ skew)
    acceleration = float((skew**3).sum()) / (6 * spread**1.5) if spread > 0 else 0.0
    moved = bias + reach
    steep = 1 - acceleration * moved
    corrected = np.where(
        steep > 0, bias + moved / np.where(steep > 0, steep, 1), np.sign(reach) * 9
    )
    levels: np.ndarray = norm.cdf(corrected)
    return levels


def paired_difference(
    first: np.ndarray,
    second: np.ndarray,
    rng: np.random.Generator,
    groups: np.ndarray | None = None,
    bounds: Range = UNBOUNDED,
) -> Interval:
    """How much higher `first` is on average, with the 95 % interval of that difference.

    Two runs are scored on the same pictures, so what makes a picture easy falls out of the
    difference. See `bootstrap_interval`.

    Args:
        first: (n,) single scores; NaN where a picture has none.
        second: (n,) of the same pictures in the same order. Pictures that only one has are left
            out.
        rng: decides the resamples.
        groups: as for `bootstrap_interval`.
        bounds: the range of a single score; a difference can be as large as it is wide.

    Raises:
        ValueError: the numbers of pictures differ, or no picture has both scores.
    """
    first, second = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if first.shape != second.shape:
        seen = f"{first.size} and {second.size} single scores"
        raise InputError(f"{seen}; a paired difference needs both on the same pictures")
    both = ~np.isnan(first - second)
    if not both.any():
        raise InputError("no picture has both scores; score both runs on the same pictures")
    chosen = None if groups is None else np.asarray(groups)[both]
    width = bounds[1] - bounds[0]
    return bootstrap_interval((first - second)[both], rng, chosen, bounds=(-width, width))
