"""Which numbers the proposals of a call start from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from anydoor_lab.structures.checks import is_whole
from anydoor_lab.structures.errors import InputError, InputTypeError

SEEDS = 2**64
"""A seed is below this."""


def proposal_seeds(
    num_proposals: int,
    seed: int | None = None,
    generator: torch.Generator | Sequence[torch.Generator] | None = None,
) -> list[int]:
    """A seed for each proposal.

    Args:
        num_proposals: how many.
        seed: gives `seed`, `seed` + 1 ...; 0 where nothing else is given.
        generator: gives drawn ones, so that a second call with it goes on; or one for each
            proposal, of which each gives one.

    Raises:
        ValueError: a number out of range, both a seed and a generator, or too few of them.
        TypeError: `generator` is not torch's.
    """
    if not is_whole(num_proposals) or num_proposals < 1:
        raise InputError(f"num_proposals is {num_proposals!r}; expected a whole number from 1")
    if generator is not None:
        if seed is not None:
            raise InputError("give either seed or generator, not both of them")
        return _drawn(generator, int(num_proposals))
    first = 0 if seed is None else seed
    last = SEEDS - num_proposals
    if not is_whole(first) or not 0 <= first <= last:
        raise InputError(f"seed is {first!r}; expected a whole number from 0 to {last}")
    return [int(first) + k for k in range(num_proposals)]


def _drawn(generator: torch.Generator | Sequence[torch.Generator], number: int) -> list[int]:
    one = isinstance(generator, torch.Generator)
    several: Any = [generator] * number if one else generator
    known = isinstance(several, list | tuple)
    if not known or not all(isinstance(each, torch.Generator) for each in several):
        raise InputTypeError(
            f"generator is {type(generator).__name__}; expected a torch.Generator, or a list of "
            "one for each proposal"
        )
    if len(several) != number:
        raise InputError(f"generator has {len(several)} for {number} proposals; give one for each")
    return [_draw(each) for each in several]


def _draw(generator: torch.Generator) -> int:
    drawn = torch.randint(2**63 - 1, (1,), generator=generator, device=generator.device)
    return int(drawn.item())
