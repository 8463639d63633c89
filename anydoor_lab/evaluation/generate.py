"""Results of a method on pairs, batch by batch, shared among the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from anydoor_lab.evaluation.kept import KeptResults, seeds_of
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
) -> Iterator[tuple[range, list[Result]]]:
    """Yield this process's batches: the pairs' numbers, and for each `num_seeds` results.

    The batches are the same however many processes share them. One of which a result is missing in
    `kept` is made whole, so that every result comes from the same batch as ever.
    """
    rank, world = rank_and_size()
    size = max(1, settings.batch_size // num_seeds)
    for first in range(rank * size, len(pairs), world * size):
        numbers = range(first, min(first + size, len(pairs)))
        results = kept.read(pairs, numbers, num_seeds) if kept else None
        if results is None:
            results = results_of(method, pairs, numbers, settings, num_seeds)
            if kept:
                kept.write(results, numbers, settings, num_seeds)
        yield numbers, results


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
