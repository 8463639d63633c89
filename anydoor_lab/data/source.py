"""Where pairs come from: the only thing that training and scoring know about data."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np

from anydoor_lab.structures.pair import Pair

Split = Literal["train", "held_out"]


@dataclass(slots=True)
class Counts:
    """How many entries a source found usable, and how many it refused for which reason."""

    used: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.rejected.most_common())
        return f"{self.used} used, {sum(self.rejected.values())} rejected" + (
            f" ({reasons})" if reasons else ""
        )


class PairSource(Protocol):
    """Anything pairs are drawn from: the only thing training and scoring know about data."""

    counts: Counts

    def __len__(self) -> int:
        """Number of entries (identities, videos, photographs) to choose from."""

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The pair of entry `index`; everything that varies is drawn from `rng`.

        Raises:
            UnusablePair: this entry cannot be used with these draws.
        """
