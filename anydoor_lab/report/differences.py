"""Differences between runs that were scored on the same pairs, paired pair by pair."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anydoor_lab.metrics.interval import UNBOUNDED, Range
from anydoor_lab.metrics.score import Score, difference_of
from anydoor_lab.report.rows import long_rows, scores_of
from anydoor_lab.structures.rng import rng_for

Run = tuple[str, Mapping[str, Any]]
"""A run's name and its `scores.json`."""


def difference_rows(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """How much higher each further run is than the first, metric by metric, in the long format.

    The variant is called "<run> - <first run>", the metric `<metric>_difference`; n counts the
    pairs that both have a score of. Runs of other pairs, another protocol, seed or scale than the
    first are left out, as are metrics whose single scores are not known.
    """
    rows = []
    (first_name, first), *others = runs
    for name, scores in others:
        if _alike(first, scores):
            found = differences(first, scores)
            known: dict[str, Any] = {
                key: str(scores.get(key, "")) for key in ("data", "commit", "config")
            }
            rows += long_rows(f"{name} - {first_name}", found, **known)
    return rows


def differences(first: Mapping[str, Any], scores: Mapping[str, Any]) -> list[Score]:
    """How much higher a run is than the first, for each metric of which both have single scores."""
    mine, theirs = (run["rows"][run["model_row"]] for run in (scores, first))
    base = {score.metric: score for score in scores_of(first, theirs)}
    found = []
    for score in scores_of(scores, mine):
        singles = [singles_of(row, score.metric) for row in (mine, theirs)]
        if score.metric not in base or any(one is None for one in singles):
            continue
        number = range(max(max(one or {}, default=0) for one in singles) + 1)
        pair = [np.array([(one or {}).get(i, math.nan) for i in number]) for one in singles]
        if np.isnan(pair[0] - pair[1]).all():
            continue
        rng = rng_for(0, 0, f"difference {score.metric}")
        bounds = bounds_in(first, score.metric)
        found.append(difference_of(score, base[score.metric], (pair[0], pair[1]), rng, bounds))
    return found


def mean_over_seeds(several: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The `scores.json` of runs on the same pairs as one: its model's single scores are each
    pair's mean over them, of the pairs that all have; metrics without single scores are left out.
    """
    first, rows = several[0], [scores["rows"][scores["model_row"]] for scores in several]
    mean: dict[str, Any] = {"run": rows[0]["run"], "n": first["n"]}
    for metric in (score.metric for score in scores_of(first, rows[0])):
        singles = [singles_of(row, metric) or {} for row in rows]
        shared = sorted(set.intersection(*map(set, singles)))
        if shared:
            known = {str(i): float(np.mean([one[i] for one in singles])) for i in shared}
            ends = {f"{metric}_low": None, f"{metric}_high": None, f"{metric}_known_each": known}
            mean |= {metric: float(np.mean(list(known.values()))), **ends}
    return {**first, "model_row": 0, "rows": [mean]}


def singles_of(row: Mapping[str, Any], metric: str) -> dict[int, float] | None:
    """A metric's single scores by the pair's number; None where the row does not hold them."""
    each, some = row.get(f"{metric}_each"), row.get(f"{metric}_known_each")
    if each is not None:
        return dict(enumerate(each))
    return None if some is None else {int(number): value for number, value in some.items()}


def bounds_in(scores: Mapping[str, Any], metric: str) -> Range:
    """The range of a metric's single scores as its run wrote it down; none is known of old runs."""
    low, high = scores.get("bounds", {}).get(metric, (None, None))
    return (UNBOUNDED[0] if low is None else low, UNBOUNDED[1] if high is None else high)


def _alike(one: Mapping[str, Any], other: Mapping[str, Any]) -> bool:
    parts = ("protocol", "seed", "scale", "pairs")
    return all(one.get(part) == other.get(part) for part in parts) and bool(one.get("pairs"))
