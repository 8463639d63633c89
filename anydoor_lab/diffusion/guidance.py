"""Classifier-free guidance, and a denoiser with all its conditions bound.

All that can be computed once is: tokens, hints and the unconditional tokens before the first step,
their projections in the first, detail maps once for all seeds of a pair. No step waits for the
device: what it must know of t it knows as a Python number.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anydoor_lab.diffusion.details import Details, DetailSchedule
from anydoor_lab.diffusion.sampler import Denoiser
from anydoor_lab.diffusion.schedule import Schedule


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Unconditional + scale (conditional - unconditional); scale 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)


def guided(both: Denoiser, scale: float) -> Denoiser:
    """Classifier-free guidance of `both`, which takes each x twice: with its conditions, then
    without."""

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        conditional, unconditional = both(torch.cat([x, x]), t).chunk(2)
        return guide(conditional, unconditional, scale)

    return denoise


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the denoising steps need of B pairs, whatever the seeds, steps and guidance.

    Args:
        tokens: (B, N, D) ID tokens.
        unconditional: (1, N, D) tokens of an all-zero id_image.
        hints: (B, C, h, w) embedded pictures, by the branch that reads them.
        resolution: R.
    """

    tokens: torch.Tensor
    unconditional: torch.Tensor
    hints: Mapping[str, torch.Tensor]
    resolution: int


@dataclass(frozen=True, slots=True)
class Savings:
    """What a denoiser leaves out or does at once.

    Args:
        chunk: timesteps whose detail maps are computed together; the result is the same.
        guided_below, guided_above: t between which guidance is given; outside, only the
            conditional half is computed.
        details_every: steps that share one computation of the detail maps.
    """

    chunk: int = 1
    guided_above: int = -1
    guided_below: int = 1_000_000
    details_every: int = 1

    def guided(self, t: int) -> bool:
        """Whether step `t` is guided."""
        return self.guided_above < t < self.guided_below


class BoundNetworks:
    """The networks with the conditions of R rows bound; x is (R * K, 4, h, w), a row's K together.

    Args:
        model: `models.anydoor.AnyDoor` or anything with its methods.
        schedule: what it predicts.
        tokens: (R, N, D).
        hints: (R, C, h, w) each.
        num_seeds: K.
    """

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        tokens: torch.Tensor,
        hints: Mapping[str, torch.Tensor],
        num_seeds: int,
    ) -> None:
        self.model, self.schedule, self.num_seeds = model, schedule, num_seeds
        self.tokens, self.hints = tokens, hints
        self._beside = model.projections(_several(tokens, num_seeds))
        self._after: dict[int, Any] = {}

    def noise(self, x: torch.Tensor, t: int, details: Details) -> torch.Tensor:
        """Eps, float32 or as x is, given detail maps of which the first R rows are these.

        The networks may be of lower precision; the step, which divides by alpha_t, may not.
        """
        rows, times = len(self.tokens), torch.full((len(x),), t, device=x.device)
        maps = tuple(_several(one[:rows], self.num_seeds) for one in details)
        with self._beside as known:
            output = self.model(x.to(known.tokens.dtype), times, known.tokens, maps)
        return self.schedule.noise_of(output.float(), x, t)

    def details(self, timesteps: Sequence[int]) -> list[Details]:
        """The R rows' detail maps at each of `timesteps`, all in one batch."""
        rows, many, device = len(self.tokens), len(timesteps), self.tokens.device
        if many not in self._after:
            self._after[many] = self.model.projections(self.tokens.repeat(many, 1, 1))
        times = torch.cat([torch.full((rows,), t, device=device) for t in timesteps])
        hints = {name: hint.repeat(many, 1, 1, 1) for name, hint in self.hints.items()}
        with self._after[many] as known:
            maps = self.model.details(hints, times, known.tokens)
        return list(zip(*(one.chunk(many) for one in maps), strict=True))


def _several(rows: torch.Tensor, times: int) -> torch.Tensor:
    """Each of the rows `times` times, side by side; once is no copy."""
    return rows if times == 1 else rows.repeat_interleave(times, dim=0)


def bound_denoiser(
    model: Any,
    schedule: Schedule,
    prepared: Prepared,
    num_seeds: int,
    guidance: float,
    timesteps: Sequence[int] = (),
    savings: Savings | None = None,
) -> Denoiser:
    """The guided denoiser (x, t) -> eps of `prepared`, float32 or as x is.

    Args:
        model, schedule: as of `BoundNetworks`.
        prepared: B pairs.
        num_seeds: K; x is (B * K, 4, h, w), the seeds of a pair beside each other.
        guidance: scale; 1 leaves the unconditional half out.
        timesteps: all that will be asked for, in their order; detail maps are computed ahead.
        savings: what may be saved.
    """
    savings, few = savings or Savings(), prepared.tokens
    tokens = torch.cat([few, prepared.unconditional.expand_as(few)])
    hints = {name: torch.cat([hint, hint]) for name, hint in prepared.hints.items()}
    alone = BoundNetworks(model, schedule, few, prepared.hints, num_seeds)
    both = BoundNetworks(model, schedule, tokens, hints, num_seeds)

    def is_guided(t: int) -> bool:
        return guidance != 1.0 and savings.guided(t)

    def maps(spans: Sequence[Sequence[int]]) -> list[Details]:
        networks = both if any(is_guided(t) for span in spans for t in span) else alone
        return networks.details([span[0] for span in spans])

    details = DetailSchedule(maps, timesteps, savings.details_every, savings.chunk)
    with_guidance = guided(lambda x, t: both.noise(x, t, details(t)), guidance)

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        return with_guidance(x, t) if is_guided(t) else alone.noise(x, t, details(t))

    return denoise
