"""Where pairs come from: the only thing that training and scoring know about data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol, get_args

import numpy as np

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputTypeError
from anydoor_lab.structures.pair import Pair

Split = Literal["train", "held_out"]
Cache = Literal["latents", "tokens", "both"]
"""What a training may keep of what frozen networks make of a source's pictures."""
MAX_TRIES = 50
"""A set of which so many entries in a row are unusable is refused."""


@dataclass(slots=True)
class Counts:
    """How many entries a source found usable, and how many it refused for which reason."""

    used: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        why = f" ({reasons(self.rejected)})" if self.rejected else ""
        return f"{self.used} used, {self.rejected.total()} rejected{why}"


def reasons(rejected: Counter[str]) -> str:
    """How many entries were refused for which reason: "3 no mask, 1 empty mask"."""
    return ", ".join(f"{number} {reason}" for reason, number in rejected.most_common())


class PairSource(Protocol):
    """Anything pairs are drawn from: the only thing training and scoring know about data.

    Where its held-out pairs are not held out, it also has a `note`, a sentence that says so. Where
    it shows the same pictures again and again, it also has a `cache`: a `Cache`, or None.
    """

    counts: Counts

    def __len__(self) -> int:
        """Number of entries (identities, videos, photographs) to choose from."""

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The pair of entry `index`; everything that varies is drawn from `rng`.

        Raises:
            UnusablePair: this entry cannot be used with these draws.
        """


def check_cache(cache: str | None) -> None:
    """Raise ValueError unless `cache` is one of `Cache` or None."""
    if cache is not None:
        check_choice("cache", cache, get_args(Cache))


def note_of(source: PairSource) -> str:
    """Why the held-out pairs of a source are not held out, as a sentence; else empty."""
    return str(getattr(source, "note", ""))


def pair_of(source: PairSource, index: int, rng: np.random.Generator) -> Pair:
    """As `source.pair`, which may be anybody's.

    Raises:
        UnusablePair: this entry cannot be used with these draws.
        TypeError: it gave something else than a `Pair`.
    """
    pair = source.pair(index, rng)
    if not isinstance(pair, Pair):
        kind = type(source).__name__
        raise InputTypeError(f"{kind}.pair gave a {type(pair).__name__}; expected a Pair")
    return pair
