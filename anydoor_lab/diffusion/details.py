"""Detail maps ahead of the steps that use them: they do not depend on the noisy latent."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

Details = tuple[torch.Tensor, ...]
"""What the detail extractor hands to the UNet's decoder."""


class DetailSchedule:
    """The detail maps by timestep, computed for several at once when the first of them is asked.

    Args:
        compute: the maps of each of several spans of timesteps, for all of a span those of its
            first.
        timesteps: all that will be asked for, in their order; others are computed one by one.
        every: timesteps of a span.
        chunk: spans whose maps are computed at once.
    """

    def __init__(
        self,
        compute: Callable[[Sequence[Sequence[int]]], Sequence[Details]],
        timesteps: Sequence[int],
        every: int = 1,
        chunk: int = 1,
    ) -> None:
        self.compute = compute
        spans = [timesteps[first : first + every] for first in range(0, len(timesteps), every)]
        self.ahead = {t: spans[n : n + chunk] for n, span in enumerate(spans) for t in span}
        self.known: dict[int, Details] = {}

    def __call__(self, t: int) -> Details:
        """The detail maps for `t`."""
        if t not in self.known:
            spans = self.ahead.get(t, [[t]])
            computed = zip(spans, self.compute(spans), strict=True)
            self.known = {t: maps for span, maps in computed for t in span}
        return self.known[t]
