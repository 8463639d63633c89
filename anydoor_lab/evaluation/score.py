"""Scores of results, pair by pair, and what they come to."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy
from anydoor_lab.evaluation.generate import Generate, generate_results
from anydoor_lab.evaluation.judges import Judges, asks_for, scores_by
from anydoor_lab.evaluation.kept import KeptResults
from anydoor_lab.evaluation.pairs import gallery_of, object_name, references_of, region_of
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.metrics.background import background_mask
from anydoor_lab.metrics.interval import UNBOUNDED, Range, score_interval
from anydoor_lab.metrics.score import Score
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.training.processes import gathered

Singles = dict[str, dict[int, float]]
"""Single scores by name and the pair's number."""
Fields = dict[str, Callable[[], Any]]
"""What a metric can ask for, by name; made when it is asked for."""


def evaluate(
    method: Generate,
    pairs: Sequence[Pair],
    judges: Judges,
    settings: EvalSettings,
    progress: Callable[[int], Any] | None = None,
    scale: str = "",
    kept: KeptResults | None = None,
) -> tuple[dict[str, Any], list[Result]]:
    """Scores of a method as one row, and the first `num_shown` results.

    All processes must ask; each scores its share and all get the same answer.

    Args:
        method: to be scored.
        pairs: from `held_out_pairs`.
        judges: metrics and protocol.
        settings: how to score.
        progress: called with the number of pairs done since the last call.
        scale: of the networks, for the scores.
        kept: where results lie that are not made again, and the others are written.

    Raises:
        FileExistsError: a result that is kept was made otherwise.
    """
    diverse = pairs[: settings.num_diverse] if settings.num_seeds > 1 else []
    if kept:
        kept.check(pairs, settings, len(diverse))
    tally = Tally(judges, pairs)
    shown: dict[int, Result] = {}
    for numbers, results in generate_results(method, pairs, settings, kept=kept):
        tally.add(numbers, results)
        shown |= {i: r for i, r in zip(numbers, results, strict=True) if i < settings.num_shown}
        if progress:
            progress(len(numbers))
    for numbers, results in generate_results(method, diverse, settings, settings.num_seeds, kept):
        tally.add_seeds(numbers, results)
    everything = gather(dict(tally.singles))
    results_by_number = gather({"shown": shown})["shown"]
    first = [results_by_number[i] for i in sorted(results_by_number)]
    return row_of(everything, judges, len(pairs), settings.seed, scale), first


def score_scenes(
    scenes: Iterable[np.ndarray],
    pairs: Sequence[Pair],
    judges: Judges,
    batch_size: int = 16,
    seed: int | None = None,
    scale: str = "",
) -> dict[str, Any]:
    """The row of one scene per pair, made by whatever means; this process alone asks.

    Raises:
        ValueError: there are no pairs, or not one scene for each.
    """
    if not pairs:
        raise InputError("there is no pair to score; give a source with usable pairs")
    tally = Tally(judges, pairs)
    batch: list[Result] = []
    for number, (scene, pair) in enumerate(zip(scenes, pairs, strict=True), 1):
        batch.append(Result(pair, scene))
        if len(batch) == batch_size or number == len(pairs):
            tally.add(range(number - len(batch), number), batch)
            batch = []
    return row_of(tally.singles, judges, len(pairs), seed, scale)


class Tally:
    """The single scores of results on pairs, by metric and the pair's number.

    Args:
        judges: by what.
        pairs: all that are scored, by whichever process: their references are the gallery.
    """

    def __init__(self, judges: Judges, pairs: Sequence[Pair]) -> None:
        self.judges, self.pairs = judges, pairs
        self.singles: Singles = defaultdict(dict)
        asked = {name for metric in judges.metrics.values() for name in asks_for(metric)}
        self.gallery = gallery_of(pairs, judges) if "gallery" in asked else None

    def add(self, numbers: Sequence[int], results: Sequence[Result]) -> None:
        """Score one result per pair."""
        self._count(numbers, self._fields(numbers, results))

    def add_seeds(self, numbers: Sequence[int], results: Sequence[Result]) -> None:
        """Score what the results of each pair over several seeds come to."""
        regions = [region_of(r.scene, r.pair, self.judges.protocol) for r in results]
        each = len(regions) // len(numbers)
        several = [regions[first : first + each] for first in range(0, len(regions), each)]
        self._count(numbers, {"seeds": lambda: several})

    def _fields(self, numbers: Sequence[int], results: Sequence[Result]) -> Fields:
        """What metrics can be shown of these results; made where one asks for it."""
        pairs, protocol = [result.pair for result in results], self.judges.protocol
        fields: Fields = {
            "generated": lambda: [region_of(r.scene, r.pair, protocol) for r in results],
            "references": lambda: [references_of(pair, self.judges) for pair in pairs],
            "results": lambda: [result.scene for result in results],
            "scenes": lambda: [pair.scene for pair in pairs],
            "pasted": lambda: [paste_copy(emptied(pair), pair) for pair in pairs],
            "masks": lambda: [pair.scene_mask for pair in pairs],
            "crops": lambda: [crop_of(result) for result in results],
            "objects": lambda: [object_name(self.pairs[i], i) for i in numbers],
            "gallery": lambda: self.gallery,
        }
        if self.judges.truth:
            fields["truths"] = fields["scenes"]
        attributes_of = self.judges.attributes_of
        if attributes_of:
            fields["attributes"] = lambda: [attributes_of(pair) for pair in pairs]
        if all(result.regenerates for result in results):
            fields["regenerated"] = lambda: [result.regenerated() for result in results]
            fields["backgrounds"] = lambda: [background_of(result) for result in results]
        return fields

    def _count(self, numbers: Sequence[int], fields: Fields) -> None:
        made: dict[str, Any] = {}
        for name, metric in self.judges.metrics.items():
            asked = asks_for(metric)
            if not set(asked) <= set(fields):
                continue
            made |= {field: fields[field]() for field in asked if field not in made}
            for part, values in scores_by(metric, made, len(numbers)).items():
                key = f"{name}_{part}" if part else name
                self.singles[key] |= dict(zip(numbers, values.tolist(), strict=True))


def crop_of(result: Result) -> Box:
    """What the method wrote into; of one that shows no crop, the box of the region."""
    return result.placement.writable if result.placement else Box.around(result.pair.scene_mask)


def background_of(result: Result) -> np.ndarray:
    """(H, W) bool: inside the regenerated crop and outside the region."""
    place = result.placement
    if place is None:
        raise InputError("this result has no crop, so no regenerated background")
    region = place.region.mask(place.scene_height, place.scene_width)
    return background_mask(place.writable, region)


def gather(values: dict[str, dict[int, Any]]) -> dict[str, dict[int, Any]]:
    """The values of all processes, by name and the pair's number."""
    joined: dict[str, dict[int, Any]] = defaultdict(dict)
    for part in gathered(values):
        for name, numbered in part.items():
            joined[name] |= numbered
    return dict(joined)


def row_of(
    singles: Singles,
    judges: Judges,
    num_pairs: int,
    seed: int | None = None,
    scale: str = "",
) -> dict[str, Any]:
    """The scores as keys: mean and 95 % interval (`clip`, `clip_low`, `clip_high`), where not
    every pair has a score `clip_n`, and the single scores (`clip_each`; `clip_known_each`, by the
    pair's number, where not every pair has one)."""
    row: dict[str, Any] = {"n": num_pairs}
    for score in scores_of(singles, judges, seed, scale):
        name, known = score.metric, _known(singles[score.metric])
        if not score.known:
            row[name] = None
            continue
        low, high = score.ci95
        row |= {name: score.value, f"{name}_low": low, f"{name}_high": high}
        if score.n == num_pairs:
            row[f"{name}_each"] = [round(value, 3) for value in known.values()]
        else:
            row[f"{name}_n"] = score.n
            row[f"{name}_known_each"] = {str(i): round(value, 3) for i, value in known.items()}
    return row


def scores_of(
    singles: Singles, judges: Judges, seed: int | None = None, scale: str = ""
) -> list[Score]:
    """The mean of each metric with its interval inside the metric's `bounds`, in their order."""
    scores = []
    for name in sorted(singles, key=lambda name: _place(name, judges)):
        values = np.array(list(_known(singles[name]).values()), np.float64)
        mean, ends = math.nan, (math.nan, math.nan)
        if len(values):
            interval = score_interval(values, bounds_of(name, judges))
            mean, ends = interval.mean, (interval.low, interval.high)
        protocol = str(judges.protocol)
        scores.append(Score(mean, name, protocol, len(values), ends, seed, scale))
    return scores


def bounds_of(name: str, judges: Judges) -> Range:
    """The range of a single score, by the name of its metric or of a part of it."""
    metric = list(judges.metrics.values())[_place(name, judges)]
    bounds: Range = getattr(metric, "bounds", UNBOUNDED)
    return bounds


def _known(numbered: Mapping[int, float]) -> dict[int, float]:
    """The single scores that there are, in the pairs' order."""
    return {i: numbered[i] for i in sorted(numbered) if not math.isnan(numbered[i])}


def _place(name: str, judges: Judges) -> int:
    """Where the metric that gave a number stands among all, so that columns keep their order."""
    owners = [own for own in judges.metrics if name == own or name.startswith(f"{own}_")]
    return list(judges.metrics).index(max(owners, key=len))
