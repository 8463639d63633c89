"""The plan of a training: how long, at which learning rate, and which samples at which step."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class FitSettings:
    """How to train. `batch_size` is the number of samples of one optimizer step over all
    processes and micro-batches; `learning_rate` falls to zero by a cosine over the last
    `decay_share` of the steps."""

    steps: int
    batch_size: int = 16
    micro_batches: int = 1
    compile: bool = False
    optimizer: str = "adamw"
    learning_rate: float = 1e-5
    warmup_steps: int = 0
    decay_share: float = 0.0
    weight_decay: float = 0.01
    gradient_clip: float = 1.0
    ema_decay: float = 0.999
    seed: int = 0
    workers: int = 0
    log_every: int = 10
    checkpoint_every: int = 500
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        at_least_one = ("steps", "batch_size", "micro_batches", "log_every", "checkpoint_every")
        for name in at_least_one:
            value = getattr(self, name)
            if not isinstance(value, int) or value < 1:
                raise InputError(f"train.{name} is {value!r}; expected a whole number from 1")


@dataclass(frozen=True, slots=True)
class Plan:
    """The sample indices of every micro-batch this process computes, from `first_step` on."""

    settings: FitSettings
    first_step: int
    rank: int
    world: int

    def __len__(self) -> int:
        return (self.settings.steps - self.first_step) * self.settings.micro_batches

    def __iter__(self) -> Iterator[list[int]]:
        size = self.settings.batch_size // (self.world * self.settings.micro_batches)
        for step in range(self.first_step, self.settings.steps):
            for micro in range(self.settings.micro_batches):
                first = step * self.settings.batch_size + (micro * self.world + self.rank) * size
                yield list(range(first, first + size))


def learning_rate(step: int, settings: FitSettings) -> float:
    """The learning rate of a step: linear warm-up, constant, cosine decay to zero at the end."""
    warm = min(1.0, (step + 1) / max(1, settings.warmup_steps))
    decay_steps = max(1, round(settings.decay_share * settings.steps))
    into_decay = max(0.0, (step - (settings.steps - decay_steps)) / decay_steps)
    decayed = 0.5 * (1 + math.cos(math.pi * min(1.0, into_decay))) if settings.decay_share else 1.0
    return settings.learning_rate * warm * decayed
