"""How far two orders agree: Kendall's tau with an interval."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anydoor_lab.metrics.interval import LEVEL, Interval
from anydoor_lab.structures.errors import InputError


def kendall_tau(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of `first` (V,) and each row of `second` (R, V), (R,): 1 is the same order,
    -1 the reverse; NaN where all values of one side are equal."""
    low, high = np.triu_indices(len(first), 1)
    ordered = np.sign(first[low] - first[high])
    others = np.sign(second[:, low] - second[:, high])
    untied = np.count_nonzero(ordered) * np.count_nonzero(others, axis=1).astype(np.float64)
    agreed: np.ndarray = (others @ ordered) / np.where(untied > 0, np.sqrt(untied), np.nan)
    return agreed


def rank_agreement(
    printed: Sequence[float],
    ours: Sequence[np.ndarray],
    rng: np.random.Generator,
    resamples: int = 2000,
) -> Interval:
    """Kendall's tau-b between printed numbers and the means of ours, and its bootstrap interval.

    Each resample draws the pairs, the same for all variants, since all are scored on the same
    ones, and for each variant the seeds it was trained with. The order of the printed numbers is
    taken as it stands: nothing is known of their spread.

    Args:
        printed: V numbers.
        ours: for each of the V variants (S, P) single scores, of S trainings on P pairs.
        rng: decides the resamples.
        resamples: how many.

    Returns:
        The tau as `mean`, its interval, and V as `n`; NaN where the interval is not known.

    Raises:
        ValueError: fewer than two variants, or they are not scored on equally many pairs.
    """
    pairs = {np.asarray(scores).shape[1] for scores in ours}
    if len(printed) != len(ours) or len(ours) < 2 or len(pairs) != 1:
        seen = f"{len(printed)} printed numbers, {len(ours)} variants of {sorted(pairs)} pairs"
        raise InputError(f"{seen}; expected two or more, all scored on the same pairs")
    (size,) = pairs
    drawn_pairs = rng.multinomial(size, np.full(size, 1 / size), resamples) / size
    means = []
    for scores in ours:
        seeds = len(scores)
        drawn_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), resamples) / seeds
        means.append(((drawn_seeds @ scores) * drawn_pairs).sum(axis=1))
    known = np.asarray(printed, np.float64)
    tau = kendall_tau(known, np.array([[np.mean(scores) for scores in ours]]))[0]
    taus = kendall_tau(known, np.stack(means, axis=1))
    edges = [(1 - LEVEL) / 2, (1 + LEVEL) / 2]
    low, high = np.nanquantile(taus, edges) if np.isfinite(taus).any() else (np.nan, np.nan)
    return Interval(float(tau), float(low), float(high), len(ours))
