"""Training samples: from a source of pairs to what the model is shown, by global index."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.conditioning.official import OfficialConditioner
from anydoor_lab.data.cache import KeptPairs
from anydoor_lab.data.mixture import Mixture
from anydoor_lab.data.source import MAX_TRIES, PairSource, pair_of, reasons
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.kept import KeptOutputs


@dataclass(slots=True)
class PairStream:
    """An endless stream of training samples; sample i is a pure function of (seed, i).

    Every epoch runs through all entries of the source in an order of its own; a `Mixture` says
    itself which of its entries comes when.

    Args:
        source: where pairs come from.
        conditioner: how they are shown to the model.
        seed: the run's seed.
        still_share: share of the samples whose pair is shown as a still; the others stay as
            the source draws them.
        kept: where drawn pairs are kept for other runs that draw the same ones.
        frozen: where it is kept what frozen networks make of what is shown; they then see each
            picture by itself.

    Raises:
        ValueError: `still_share` is no share.
    """

    source: PairSource
    conditioner: Conditioner | OfficialConditioner
    seed: int = 0
    still_share: float = 0.0
    rejected: Counter[str] = field(default_factory=Counter)
    kept: KeptPairs | None = None
    frozen: KeptOutputs | None = None

    def __post_init__(self) -> None:
        if not 0 <= self.still_share <= 1:
            raise InputError(f"still_share is {self.still_share}; expected a number from 0 to 1")

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample `index`: `index`, `variation`, the arrays of its `Conditioning`, and `rejected`,
        the reasons why entries were passed over for it, as one text; of a mixture also `set`, the
        set it comes from; with `frozen` also `kept`, what is known of it."""
        before = self.rejected.copy()
        pair = self.pair(index)
        passed_over = "; ".join((self.rejected - before).elements())
        rng = rng_for(self.seed, index, "conditioning")
        shown = self.conditioner.condition_for_training(pair, rng)
        facts: dict[str, Any] = {"index": index, "variation": pair.variation}
        facts["rejected"] = passed_over
        if isinstance(self.source, Mixture):
            facts["set"] = self.source.set_of(pair)
        if self.frozen:
            facts["kept"] = self.frozen.picture(shown.inputs)
        return {**facts, **shown.inputs}

    def pair(self, index: int) -> Pair:
        """The pair of sample `index`; an unusable entry is counted and replaced.

        Raises:
            RuntimeError: `MAX_TRIES` entries in a row were unusable.
        """
        found = self.kept.get(index) if self.kept else None
        pair, refused = self.drawn(index) if found is None else found
        if self.kept and found is None:
            self.kept.put(index, pair, refused)
        self.rejected.update(refused)
        return pair

    def drawn(self, index: int) -> tuple[Pair, list[str]]:
        """The same, drawn now, and the reasons for which entries were passed over.

        Raises:
            RuntimeError: `MAX_TRIES` entries in a row were unusable.
        """
        cv2.setNumThreads(0)  # one thread per worker: the workers are the parallelism
        refused: list[str] = []
        for attempt in range(MAX_TRIES):
            rng = rng_for(self.seed, index, f"pair.{attempt}")
            try:
                pair = pair_of(self.source, self._entry(index, attempt), rng)
                still = rng.random() < self.still_share
                return (pair.as_still() if still else pair), refused
            except UnusablePair as error:
                refused.append(error.reason)
        self.rejected.update(refused)
        seen = f"{MAX_TRIES} entries in a row were unusable ({reasons(Counter(refused))})"
        raise RunError(f"{seen}; check the pictures and masks")

    def _entry(self, index: int, attempt: int) -> int:
        if isinstance(self.source, Mixture):
            return self.source.entry(self.seed, index, attempt)
        epoch, position = divmod(index, len(self.source))
        if attempt == 0:
            return int(epoch_order(self.seed, epoch, len(self.source))[position])
        return int(rng_for(self.seed, index, f"entry.{attempt}").integers(len(self.source)))


@lru_cache(maxsize=4)
def epoch_order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The order in which an epoch visits its entries, (length,) int."""
    return rng_for(seed, epoch, "order").permutation(length)
