"""Several sets drawn by weight: which of them a sample comes from, and which entry of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from anydoor_lab.data.source import Cache, Counts, PairSource, check_cache, note_of, pair_of
from anydoor_lab.structures.checks import check_finite
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

BLOCK = 10_000
"""In each so many samples every set has its exact share, rounded to one sample."""


class Mixture:
    """A `PairSource` over several others; a training draws from them by weight.

    Its entries are all the sets' entries, each set's spread evenly over the indices. Which entry
    sample i of a training is follows from (seed, i): in every `BLOCK` samples each set has its
    share, and a set's entries all come once before one comes again.

    Args:
        sources: the sets by name.
        weights: of each set, in any unit; a set that weighs nothing is left out.
        cache: as of `IndexedPairs`, for all sets; theirs are not asked.

    Attributes:
        names: the sets that are drawn from; a pair's origin begins with its set's name.
        shares: of each of them, (S,) float64 that sum to 1.
        counts: of all sets together.
        note: what the sets say of their held-out pairs.

    Raises:
        ValueError: the weights are not those of the sets, no positive numbers, or so unlike that
            a set would get none of `BLOCK` samples.
    """

    def __init__(
        self,
        sources: Mapping[str, PairSource],
        weights: Mapping[str, float],
        cache: Cache | None = None,
    ) -> None:
        check_cache(cache)
        self.cache = cache
        if unlike := set(sources) ^ set(weights):
            raise InputError(f"sets and weights differ in {', '.join(sorted(unlike))}")
        for name, weight in weights.items():
            check_finite(f"the weight of {name}", weight)
            if weight < 0:
                raise InputError(f"the weight of {name} is {weight}; expected 0 or more")
        self.names = tuple(name for name in sources if weights[name] > 0)
        if not self.names:
            raise InputError("no set of the mixture has a weight above 0; give at least one")
        self._sources = [sources[name] for name in self.names]
        chosen = np.array([weights[name] for name in self.names], np.float64)
        self.shares = chosen / chosen.sum()
        self._quotas = _quotas(self.shares)
        if not self._quotas.all():
            small = self.names[int(np.argmin(self._quotas))]
            raise InputError(f"{small} weighs less than 1/{BLOCK} of all; give it more, or 0")
        lengths = [len(source) for source in self._sources]
        self._first = np.concatenate([[0], np.cumsum(lengths)])
        self._spread = _spread(lengths)
        self._rank = np.empty_like(self._spread)
        self._rank[self._spread] = np.arange(len(self._spread), dtype=np.int32)
        self._orders: dict[int, tuple[tuple[int, int], np.ndarray]] = {}
        rejected = sum((source.counts.rejected for source in self._sources), Counter[str]())
        self.counts = Counts(sum(lengths), rejected)
        self.note = "; ".join(
            f"{name}: {note}"
            for name, own in zip(self.names, self._sources, strict=True)
            if (note := note_of(own))
        )

    def __len__(self) -> int:
        """Number of all sets' entries."""
        return len(self._spread)

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The pair of entry `index`, its origin beginning with the name of its set.

        Raises:
            UnusablePair: as the set's own `pair`.
        """
        joined = int(self._spread[index])
        number = int(np.searchsorted(self._first, joined, side="right")) - 1
        name = self.names[number]
        pair = pair_of(self._sources[number], joined - int(self._first[number]), rng)
        named = pair.origin.startswith(f"{name}: ")
        return pair if named else replace(pair, origin=f"{name}: {pair.origin}")

    def set_of(self, pair: Pair) -> str:
        """The name of the set a pair of this mixture comes from."""
        return pair.origin.partition(": ")[0]

    def entry(self, seed: int, sample: int, attempt: int = 0) -> int:
        """The entry that a training shows as a sample.

        Args:
            seed: the training's.
            sample: its global index.
            attempt: how many entries were unusable; another one of the same set takes its place.
        """
        block, place = divmod(sample, BLOCK)
        plan = self._plan(seed, block)
        number = int(plan[place])
        length = len(self._sources[number])
        if attempt:
            drawn = int(rng_for(seed, sample, f"entry.{attempt}").integers(length))
        else:
            before = int(np.count_nonzero(plan[:place] == number))
            epoch, position = divmod(block * int(self._quotas[number]) + before, length)
            drawn = int(self._order(seed, epoch, number)[position])
        return int(self._rank[int(self._first[number]) + drawn])

    def _plan(self, seed: int, block: int) -> np.ndarray:
        """The set of each sample of a block, (BLOCK,) by number."""

        def plan() -> np.ndarray:
            sets = np.repeat(np.arange(len(self.names)), self._quotas)
            return rng_for(seed, block, "sets").permutation(sets)

        return self._kept(-1, (seed, block), plan)

    def _order(self, seed: int, epoch: int, number: int) -> np.ndarray:
        """The order in which an epoch of a set visits its entries."""
        purpose, length = f"order of {self.names[number]}", len(self._sources[number])
        return self._kept(
            number, (seed, epoch), lambda: rng_for(seed, epoch, purpose).permutation(length)
        )

    def _kept(self, what: int, key: tuple[int, int], make: Callable[[], np.ndarray]) -> np.ndarray:
        """The array last made of a kind, made anew where it was made for another key."""
        if what not in self._orders or self._orders[what][0] != key:
            self._orders[what] = (key, make())
        return self._orders[what][1]


def _quotas(shares: np.ndarray) -> np.ndarray:
    """How many of `BLOCK` samples each set gets, (S,) int: largest remainders are rounded up."""
    exact = shares * BLOCK
    quotas = np.floor(exact).astype(np.int64)
    lacking = BLOCK - int(quotas.sum())
    quotas[np.argsort(quotas - exact, kind="stable")[:lacking]] += 1
    return quotas


def _spread(lengths: list[int]) -> np.ndarray:
    """The joined entries (N,) in an order in which every set is spread evenly."""
    places = [(np.arange(length) + 0.5) / length for length in lengths]
    return np.argsort(np.concatenate(places), kind="stable").astype(np.int32)
