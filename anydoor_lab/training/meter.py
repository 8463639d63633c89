"""Averages of what a training reports between two log lines, over all processes."""

from __future__ import annotations

import time
from collections import Counter, defaultdict
from typing import Any

import torch

from anydoor_lab.training.processes import gathered


class Meter:
    """Averages of what the objective reports between two log lines."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._values: dict[str, list[torch.Tensor]] = defaultdict(list)
        self._notes: dict[str, float] = {"skipped_steps": 0.0}
        self._steps, self._since = 0, time.perf_counter()

    def add(self, outputs: dict[str, Any]) -> None:
        """Take one micro-batch's scalars, and its `per_sample` losses by `groups`."""
        for name, value in outputs.items():
            if isinstance(value, torch.Tensor) and value.ndim == 0:
                self._values[name].append(value.detach())
        for name, chosen in outputs.get("groups", {}).items():
            self._values[f"loss/{name}"].append(outputs["per_sample"].detach()[chosen])

    def note(self, finite: bool, **values: float) -> None:
        """Take one optimizer step's values, of which the last ones count."""
        self._notes |= values
        self._notes["skipped_steps"] += not finite
        self._steps += 1

    def flush(self, batch_size: int) -> dict[str, float]:
        """The averages since the last flush over all processes, which must all ask, with
        `samples_per_second`; starts afresh."""
        joined = {n: torch.cat([v.reshape(-1) for v in vs]) for n, vs in self._values.items()}
        sums: dict[str, float] = defaultdict(float)
        numbers: Counter[str] = Counter()
        for part in gathered({n: (float(v.double().sum()), len(v)) for n, v in joined.items()}):
            for name, (total, number) in part.items():
                sums[name] += total
                numbers[name] += number
        metrics = {name: sums[name] / number for name, number in numbers.items() if number}
        rate = self._steps * batch_size / max(time.perf_counter() - self._since, 1e-9)
        metrics |= self._notes | {"samples_per_second": rate}
        self._reset()
        return metrics
