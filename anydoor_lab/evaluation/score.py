"""Scores of results, pair by pair, and what they come to."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from anydoor_lab.evaluation.generate import Generate, generate_results
from anydoor_lab.evaluation.judges import Judges, asks_for
from anydoor_lab.evaluation.pairs import references_of, region_of
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.metrics.background import background_mask
from anydoor_lab.metrics.interval import UNBOUNDED, student_interval
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.training.processes import gathered

Singles = dict[str, dict[int, float]]
"""Single scores by name and the pair's number."""


def evaluate(
    method: Generate,
    pairs: Sequence[Pair],
    judges: Judges,
    settings: EvalSettings,
    progress: Callable[[int], Any] | None = None,
) -> tuple[dict[str, Any], list[Result]]:
    """Scores of a method as one row, and the first `num_shown` results.

    All processes must ask; each scores its share and all get the same answer.

    Args:
        method: to be scored.
        pairs: from `held_out_pairs`.
        judges: metrics and protocol.
        settings: how to score.
        progress: called with the number of pairs done since the last call.
    """
    singles: Singles = defaultdict(dict)
    shown: dict[int, Result] = {}
    for numbers, results in generate_results(method, pairs, settings):
        score_batch(judges, numbers, results, singles)
        shown |= {i: r for i, r in zip(numbers, results, strict=True) if i < settings.num_shown}
        if progress:
            progress(len(numbers))
    diverse = pairs[: settings.num_diverse] if settings.num_seeds > 1 else []
    for numbers, results in generate_results(method, diverse, settings, settings.num_seeds):
        score_seeds(judges, numbers, results, singles)
    everything = gather(dict(singles))
    results_by_number = gather({"shown": shown})["shown"]
    first = [results_by_number[i] for i in sorted(results_by_number)]
    return row_of(everything, judges, len(pairs)), first


def score_scenes(
    scenes: Iterable[np.ndarray], pairs: Sequence[Pair], judges: Judges, batch_size: int = 16
) -> dict[str, Any]:
    """The row of one scene per pair, made by whatever means; this process alone asks."""
    singles: Singles = defaultdict(dict)
    batch: list[Result] = []
    for number, (scene, pair) in enumerate(zip(scenes, pairs, strict=True), 1):
        batch.append(Result(pair, scene))
        if len(batch) == batch_size or number == len(pairs):
            score_batch(judges, range(number - len(batch), number), batch, singles)
            batch = []
    return row_of(singles, judges, len(pairs))


def score_batch(
    judges: Judges, numbers: Sequence[int], results: Sequence[Result], singles: Singles
) -> None:
    """Add the single scores of one result per pair to `singles`."""
    pairs = [result.pair for result in results]
    fields: dict[str, Any] = {
        "generated": [region_of(r.scene, r.pair, judges.protocol) for r in results],
        "references": [references_of(pair, judges.protocol) for pair in pairs],
        "results": [result.scene for result in results],
        "scenes": [pair.scene for pair in pairs],
    }
    if judges.truth:
        fields["attributes"] = [judges.truth(pair) for pair in pairs]
    if all(result.shown for result in results):
        fields["backgrounds"] = [background_of(result) for result in results]
    _count(judges, numbers, fields, singles)


def score_seeds(
    judges: Judges, numbers: Sequence[int], results: Sequence[Result], singles: Singles
) -> None:
    """Add what the results of each pair over several seeds come to."""
    regions = [region_of(r.scene, r.pair, judges.protocol) for r in results]
    each = len(regions) // len(numbers)
    several = [regions[first : first + each] for first in range(0, len(regions), each)]
    _count(judges, numbers, {"seeds": several}, singles)


def _count(
    judges: Judges, numbers: Sequence[int], fields: Mapping[str, Any], singles: Singles
) -> None:
    for name, metric in judges.metrics.items():
        asked = asks_for(metric)
        if not set(asked) <= set(fields):
            continue
        scores = metric.scores(**{field: fields[field] for field in asked})
        named = scores if isinstance(scores, Mapping) else {"": scores}
        for part, values in named.items():
            key = f"{name}_{part}" if part else name
            singles[key] |= dict(zip(numbers, torch.as_tensor(values).tolist(), strict=True))


def background_of(result: Result) -> np.ndarray:
    """(H, W) bool: inside the regenerated crop and outside the region, before blending."""
    if result.shown is None:
        raise InputError("this result has no crop, so no regenerated background")
    place = result.shown.placement
    region = place.region.mask(place.scene_height, place.scene_width)
    return background_mask(place.writable, region)


def gather(values: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    """The values of all processes, by name and the pair's number."""
    joined: dict[str, dict[int, Any]] = defaultdict(dict)
    for part in gathered(values):
        for name, numbered in part.items():
            joined[name] |= numbered
    return dict(joined)


def row_of(singles: Singles, judges: Judges, num_pairs: int) -> dict[str, Any]:
    """Means with their 95 % intervals (`clip`, `clip_low`, `clip_high`; inside the metric's
    `bounds`), and where every pair has one the single scores (`clip_each`)."""
    row: dict[str, Any] = {"n": num_pairs}
    for name, numbered in sorted(singles.items(), key=lambda item: _place(item[0], judges)):
        values = np.array([numbered[i] for i in sorted(numbered)])
        known = values[~np.isnan(values)]
        if not len(known):
            row[name] = None
            continue
        metric = list(judges.metrics.values())[_place(name, judges)]
        interval = student_interval(known, getattr(metric, "bounds", UNBOUNDED))
        row |= {name: interval.mean, f"{name}_low": interval.low, f"{name}_high": interval.high}
        if len(known) == num_pairs:
            row[f"{name}_each"] = [round(value, 3) for value in known.tolist()]
    return row


def _place(name: str, judges: Judges) -> int:
    """Where the metric that gave a number stands among all, so that columns keep their order."""
    owners = [own for own in judges.metrics if name == own or name.startswith(f"{own}_")]
    return list(judges.metrics).index(max(owners, key=len))
