"""Torch's random numbers inside a training step, made a function of which samples it sees."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def drawn_by_index(batch: dict[str, torch.Tensor]) -> Iterator[None]:
    """Inside, dropout and noise follow from `batch["index"]`: a resumed training draws the same."""
    with torch.random.fork_rng():
        torch.manual_seed(int(batch["index"][0]))
        yield
