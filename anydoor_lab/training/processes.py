"""Several processes that train and score together: who is who, and what all of them know."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch.distributed as dist

from anydoor_lab.structures.errors import RunError


def rank_and_size() -> tuple[int, int]:
    """This process's number and how many there are."""
    together = dist.is_available() and dist.is_initialized()
    return (dist.get_rank(), dist.get_world_size()) if together else (0, 1)


def gathered(value: Any) -> list[Any]:
    """The values of all processes, in their order; all must ask."""
    size = rank_and_size()[1]
    if size == 1:
        return [value]
    values: list[Any] = [None] * size
    dist.all_gather_object(values, value)
    return values


def from_first(value: Any) -> Any:
    """The first process's value; all must ask."""
    return gathered(value)[0]


@contextmanager
def told_of_the_lost() -> Iterator[None]:
    """Inside, a process that waits in vain for another one ends with a sentence.

    Raises:
        RunError: another process ended, or did not answer within the time limit.
    """
    try:
        yield
    except RunError:
        raise
    except RuntimeError as error:
        lost = ("Connection closed", "Connection reset", "Timed out", "timed out", "NCCL", "Broken")
        if rank_and_size()[1] == 1 or not any(sign in str(error) for sign in lost):
            raise
        raise RunError(
            f"process {rank_and_size()[0]} lost another one ({str(error).splitlines()[0]}); start "
            "the same command again: it goes on from the last checkpoint"
        ) from error
