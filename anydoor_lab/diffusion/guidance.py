"""Classifier-free guidance, and a denoiser with all its conditions bound.

All that can be computed once is: tokens, hints and the unconditional tokens before the first step,
their projections in the first, detail maps once for all seeds of a pair. No step waits for the
device: what it must know of t it knows as a Python number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import torch

from anydoor_lab.diffusion.details import Details, DetailSchedule
from anydoor_lab.diffusion.sampler import Denoiser
from anydoor_lab.diffusion.schedule import Schedule

Time = int | torch.Tensor
"""t, the same for all rows, as a number or as (1,) on the device."""
Work = Callable[..., Any]


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: Any) -> torch.Tensor:
    """Unconditional + scale (conditional - unconditional); scale 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)


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

    def copied(self) -> Prepared:
        """The same in memory of its own."""
        hints = {name: hint.clone() for name, hint in self.hints.items()}
        return Prepared(self.tokens.clone(), self.unconditional.clone(), hints, self.resolution)

    def twice(self) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Tokens and hints of the pairs with their conditions, then without: 2 B rows."""
        tokens = torch.cat([self.tokens, self.unconditional.expand_as(self.tokens)])
        return tokens, {name: torch.cat([hint, hint]) for name, hint in self.hints.items()}


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

    def bind(self, tokens: torch.Tensor, hints: Mapping[str, torch.Tensor]) -> None:
        """Bind the conditions of other rows, in the memory of the former ones."""
        self.tokens.copy_(tokens)
        for name, hint in self.hints.items():
            hint.copy_(hints[name])
        self._beside.renew(_several(self.tokens, self.num_seeds))
        for many, known in self._after.items():
            known.renew(self.tokens.repeat(many, 1, 1))

    def noise(self, x: torch.Tensor, t: Time, details: Details) -> torch.Tensor:
        """Eps, float32 or as x is, given the R rows' detail maps.

        The networks may be of lower precision; the step, which divides by alpha_t, may not.
        """
        maps = tuple(_several(one, self.num_seeds) for one in details)
        times = _times(t, len(x), x.device)
        with self._beside as known:
            output = self.model(x.to(known.tokens.dtype), times, known.tokens, maps)
        return self.schedule.noise_of(output.float(), x, t)

    def details(self, *timesteps: Time) -> Details:
        """The R rows' detail maps at each of `timesteps`, all in one batch."""
        rows, many, device = len(self.tokens), len(timesteps), self.tokens.device
        if many not in self._after:
            self._after[many] = self.model.projections(self.tokens.repeat(many, 1, 1))
        times = torch.cat([_times(t, rows, device) for t in timesteps])
        hints = {name: hint.repeat(many, 1, 1, 1) for name, hint in self.hints.items()}
        with self._after[many] as known:
            maps: Details = self.model.details(hints, times, known.tokens)
        return maps


def _times(t: Time, rows: int, device: torch.device) -> torch.Tensor:
    """(rows,) of t."""
    return t.expand(rows) if isinstance(t, torch.Tensor) else torch.full((rows,), t, device=device)


def _several(rows: torch.Tensor, times: int) -> torch.Tensor:
    """Each of the rows `times` times, side by side; once is no copy."""
    return rows if times == 1 else rows.repeat_interleave(times, dim=0)


class GuidedNetworks:
    """The networks bound to B pairs with K seeds each, with and without their conditions.

    Args:
        model, schedule: as of `BoundNetworks`.
        prepared: B pairs.
        num_seeds: K; x is (B * K, 4, h, w), the seeds of a pair beside each other.
        capture: makes of a function one that is recorded (`captured.Captured`): then nothing is
            bound but by `bind`, in memory of its own. None calls the networks as they are.
    """

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        prepared: Prepared,
        num_seeds: int,
        capture: Callable[[Work], Work] | None = None,
    ) -> None:
        if capture:
            prepared = prepared.copied()
            on_device = schedule.alphas_cumprod.to(prepared.tokens.device)
            schedule = replace(schedule, alphas_cumprod=on_device)
        self.alone = BoundNetworks(model, schedule, prepared.tokens, prepared.hints, num_seeds)
        self.both = BoundNetworks(model, schedule, *prepared.twice(), num_seeds)
        self.capture = capture
        self._captured: dict[Any, Work] = {}

    def bind(self, prepared: Prepared) -> None:
        """Bind as many other pairs."""
        self.alone.bind(prepared.tokens, prepared.hints)
        self.both.bind(*prepared.twice())

    def denoiser(
        self, guidance: float, timesteps: Sequence[int] = (), savings: Savings | None = None
    ) -> Denoiser:
        """The guided denoiser (x, t) -> eps, float32 or as x is, as of `bound_denoiser`."""
        chosen = savings or Savings()

        def is_guided(t: int) -> bool:
            return guidance != 1.0 and chosen.guided(t)

        def maps(spans: Sequence[Sequence[int]]) -> list[Details]:
            firsts = [span[0] for span in spans]
            return self._details(any(is_guided(t) for span in spans for t in span), firsts, chosen)

        details = DetailSchedule(maps, timesteps, chosen.details_every, chosen.chunk)

        def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
            if is_guided(t):
                eps = self._work(self._guided_noise, x.dtype)(x, t, guidance, *details(t))
            else:
                maps = (one[: len(self.alone.tokens)] for one in details(t))
                eps = self._work(self._plain_noise, x.dtype)(x, t, *maps)
            return cast(torch.Tensor, eps)

        return denoise

    def _details(self, guided: bool, timesteps: list[int], savings: Savings) -> list[Details]:
        """Detail maps at each of `timesteps`; captured ones always of as many at once."""
        networks = self.both if guided else self.alone
        spare = savings.chunk - len(timesteps) if self.capture else 0
        asked = timesteps + spare * timesteps[-1:]
        found = self._work(networks.details, len(asked))(*asked)
        several = zip(*(one.chunk(len(asked)) for one in found), strict=True)
        return list(several)[: len(timesteps)]

    def _guided_noise(self, x: torch.Tensor, t: Time, scale: Any, *maps: torch.Tensor) -> Any:
        """Each x is taken twice: with its conditions, then without."""
        conditional, unconditional = self.both.noise(torch.cat([x, x]), t, maps).chunk(2)
        return guide(conditional, unconditional, scale)

    def _plain_noise(self, x: torch.Tensor, t: Time, *maps: torch.Tensor) -> Any:
        return self.alone.noise(x, t, maps)

    def _work(self, function: Work, kind: Any) -> Work:
        """`function`, captured once for each kind of inputs where capturing is asked for."""
        if not self.capture:
            return function
        if (function, kind) not in self._captured:
            self._captured[function, kind] = self.capture(function)
        return self._captured[function, kind]


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
        model, schedule, prepared, num_seeds: as of `GuidedNetworks`.
        guidance: scale; 1 leaves the unconditional half out.
        timesteps: all that will be asked for, in their order; detail maps are computed ahead.
        savings: what may be saved.
    """
    networks = GuidedNetworks(model, schedule, prepared, num_seeds)
    return networks.denoiser(guidance, timesteps, savings)
