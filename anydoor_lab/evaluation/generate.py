"""Results of a method on pairs, batch by batch, shared among the processes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence

import numpy as np

from anydoor_lab.evaluation.kept import KeptResults, seeds_of
from anydoor_lab.evaluation.pairs import object_name
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.processes import rank_and_size

Generate = Callable[
    [Sequence[Pair], Sequence[Sequence[int]], Sequence[np.random.Generator]], list[Result]
]
"""What is scored: as `methods.anydoor.Method`."""


def generate_results(
    method: Generate,
    pairs: Sequence[Pair],
    settings: EvalSettings,
    num_seeds: int = 1,
    kept: KeptResults | None = None,
) -> Iterator[tuple[Sequence[int], list[Result]]]:
    """Yield this process's batches: the pairs' numbers, and for each `num_seeds` results.

    The batches are the same however many processes share them; of a method that is tuned to
    subjects (`by_subject`) one process makes all of a subject, one after the other. A batch of
    which a result is missing in `kept` is made whole, so that every result comes from the same
    batch as ever.
    """
    rank, world = rank_and_size()
    size = max(1, settings.batch_size // num_seeds)
    shares = _shares(method, pairs, size)[rank::world]
    for numbers in (numbers for share in shares for numbers in share):
        results = kept.read(pairs, numbers, num_seeds) if kept else None
        if results is None:
            results = results_of(method, pairs, numbers, settings, num_seeds)
            if kept:
                kept.write(results, numbers, settings, num_seeds)
        yield numbers, results


def _shares(method: Generate, pairs: Sequence[Pair], size: int) -> list[list[Sequence[int]]]:
    """The numbers of all pairs in batches, and these in shares, each of them for one process."""
    if not getattr(method, "by_subject", False):
        return [[batch] for batch in _batches(range(len(pairs)), size)]
    by_name: dict[str, list[int]] = defaultdict(list)
    for number, pair in enumerate(pairs):
        by_name[object_name(pair, number)].append(number)
    return [_batches(numbers, size) for numbers in by_name.values()]


def _batches(numbers: Sequence[int], size: int) -> list[Sequence[int]]:
    return [numbers[first : first + size] for first in range(0, len(numbers), size)]


def results_of(
    method: Generate,
    pairs: Sequence[Pair],
    numbers: Sequence[int],
    settings: EvalSettings,
    num_seeds: int = 1,
) -> list[Result]:
    """The results of the pairs of these numbers, in one batch; every seed follows from a number."""
    seeds = [seeds_of(i, settings, num_seeds) for i in numbers]
    rngs = [rng_for(settings.seed, i, "method") for i in numbers]
    results = method([pairs[i] for i in numbers], seeds, rngs)
    expected, kind = len(numbers) * num_seeds, type(method).__name__
    if len(results) != expected or not all(isinstance(one, Result) for one in results):
        seen = f"{kind} gave {len(results)} {type(results[0]).__name__ if results else 'results'}"
        raise InputError(
            f"{seen} for {len(numbers)} pairs of {num_seeds} seeds; expected {expected} Result"
        )
    return results
