"""What the model is shown for each seed: a collage that draws does so for every seed anew."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioner, Conditioning, Shape
from anydoor_lab.conditioning.official import OfficialConditioner
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

Seeds = Sequence[Sequence[int]]


def shown_by_seed(
    conditioner: Conditioner | OfficialConditioner,
    pairs: Sequence[Pair],
    seeds: Seeds,
    shape: Shape = "box",
) -> tuple[list[Conditioning], Seeds]:
    """Conditionings to prepare, and the seeds of each, so that a result follows from its own seed.

    Where the collage draws nothing the seeds of a pair share one conditioning, and its costly
    encoding; where it draws (noise, shuffle) every seed has its own.

    Args:
        conditioner: of the pipeline.
        pairs: B pairs.
        seeds: for each of them K seeds.
        shape: as of `Conditioner.condition`.

    Returns:
        B conditionings with K seeds each, or B * K with one each: pair by pair either way.
    """
    rngs = [rng_for(several[0], 0, "collage") for several in seeds]
    before = [_state(rng) for rng in rngs]
    together = list(zip(pairs, rngs, strict=True))
    shown = [conditioner.condition(pair, rng, shape) for pair, rng in together]
    if [_state(rng) for rng in rngs] == before:
        return shown, seeds
    every: list[Conditioning] = []
    for pair, first, several in zip(pairs, shown, seeds, strict=True):
        others = [rng_for(seed, 0, "collage") for seed in several[1:]]
        every += [first, *(conditioner.condition(pair, rng, shape) for rng in others)]
    return every, [[seed] for several in seeds for seed in several]


def _state(rng: np.random.Generator) -> str:
    """What a draw changes."""
    return str(rng.bit_generator.state)
