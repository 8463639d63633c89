"""The running mean all scores share: three sums, so batches and processes simply add up."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric

from anydoor_lab.metrics.interval import UNBOUNDED, Interval, Range, interval_from_sums
from anydoor_lab.structures.errors import RunError


class MeanScore(Metric):
    """A mean over pictures; a score inherits it and says in `scores` what each picture gets."""

    full_state_update = False
    bounds: Range = UNBOUNDED
    """The range of a picture's score, at which intervals end; a score that has one says so."""
    total: Tensor
    squares: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        # float64: the same number whatever the batch size
        self.add_state("total", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("squares", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")

    def scores(self, *shown: Any, **more: Any) -> Tensor:
        """(B,) scores of B pictures, without counting them; its parameters say what it is shown."""
        raise NotImplementedError(f"{type(self).__name__} does not say how a picture is scored")

    def update(self, *shown: Any, **more: Any) -> None:
        """Count B pictures; arguments as `scores`."""
        self.add(self.scores(*shown, **more))

    def add(self, values: Tensor) -> None:
        """Count (n,) finished scores.

        Raises:
            RuntimeError: a score is NaN or infinite.
        """
        if not torch.isfinite(values).all():
            bad = int((~torch.isfinite(values)).sum())
            seen = f"{bad} of {values.numel()} scores are not finite"
            raise RunError(f"{seen}; check the judge's weights and its precision (use fp32)")
        values = values.detach().to(self.total)
        self.total += values.sum()
        self.squares += (values**2).sum()
        self.count += values.numel()

    def compute(self) -> Tensor:
        """The mean so far, a float64 scalar.

        Raises:
            RuntimeError: nothing was scored yet.
        """
        if not self.count:
            raise RunError(f"{type(self).__name__} has seen no picture; call update first")
        return self.total / self.count

    def interval(self, all_processes: bool = True) -> Interval:
        """The mean with its 95 % interval, each picture taken as independent.

        Over `all_processes`, which must then all ask, or over this one alone.

        Where several pictures show one object, keep the single scores and use
        `bootstrap_interval` with groups instead.
        """
        with self.sync_context(should_sync=all_processes):
            return interval_from_sums(
                float(self.total), float(self.squares), int(self.count), self.bounds
            )
