"""Results of a method on pairs, batch by batch, shared among the processes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.processes import rank_and_size

Generate = Callable[
    [Sequence[Pair], Sequence[Sequence[int]], Sequence[np.random.Generator]], list[Result]
]
"""What is scored: as `methods.anydoor.Method`."""


def generate_results(
    method: Generate, pairs: Sequence[Pair], settings: EvalSettings, num_seeds: int = 1
) -> Iterator[tuple[range, list[Result]]]:
    """Yield this process's batches: the pairs' numbers, and for each `num_seeds` results.

    The batches are the same however many processes share them.
    """
    rank, world = rank_and_size()
    size = max(1, settings.batch_size // num_seeds)
    for first in range(rank * size, len(pairs), world * size):
        numbers = range(first, min(first + size, len(pairs)))
        yield numbers, results_of(method, pairs, numbers, settings, num_seeds)


def results_of(
    method: Generate,
    pairs: Sequence[Pair],
    numbers: Sequence[int],
    settings: EvalSettings,
    num_seeds: int = 1,
) -> list[Result]:
    """The results of the pairs of these numbers, in one batch; every seed follows from a number."""
    seeds = [[settings.seed + i + 10_000 * k for k in range(num_seeds)] for i in numbers]
    rngs = [rng_for(settings.seed, i, "method") for i in numbers]
    return method([pairs[i] for i in numbers], seeds, rngs)
