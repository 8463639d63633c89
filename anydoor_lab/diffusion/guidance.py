"""Classifier-free guidance, and a denoiser with all its conditions bound.

All that can be computed once is: tokens, hint and the unconditional tokens before the first step,
their projections in the first, detail maps once for all seeds of a pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anydoor_lab.diffusion.schedule import Schedule

REMEMBERED = "projections"
"""Name of a tensor's attribute: a dictionary in which layers keep what they made of it."""
Details = tuple[torch.Tensor, ...]


def guide(conditional: torch.Tensor, unconditional: torch.Tensor, scale: float) -> torch.Tensor:
    """Unconditional + scale (conditional - unconditional); scale 1 is no guidance."""
    return unconditional + scale * (conditional - unconditional)


def remembering(tokens: torch.Tensor) -> torch.Tensor:
    """`tokens`, of which `models.unet.TokenProjection` layers keep their output."""
    setattr(tokens, REMEMBERED, {})
    return tokens


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the denoising steps need of B pairs, whatever the seeds, steps and guidance.

    Args:
        tokens: (B, N, D) ID tokens.
        unconditional: (1, N, D) tokens of an all-zero id_image.
        hint: (B, C, h, w) embedded collage and shape mask.
        resolution: R.
    """

    tokens: torch.Tensor
    unconditional: torch.Tensor
    hint: torch.Tensor
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


class BoundDenoiser:
    """A denoiser (x, t) -> eps with tokens, hint and guidance bound; eps is float32, or as x is.

    The networks may be of lower precision; the step itself, which divides by alpha_t, may not.

    Args:
        model: `models.anydoor.AnyDoor` or anything with its methods.
        schedule: what it predicts.
        prepared: B pairs.
        num_seeds: K; x is (B * K, 4, h, w), the seeds of a pair beside each other.
        guidance: scale; 1 leaves the unconditional half out.
        timesteps: all that will be asked for, in their order; detail maps are computed ahead.
        savings: what may be saved.
    """

    def __init__(
        self,
        model: Any,
        schedule: Schedule,
        prepared: Prepared,
        num_seeds: int,
        guidance: float,
        timesteps: Sequence[int] = (),
        savings: Savings | None = None,
    ) -> None:
        self.model, self.schedule, self.guidance = model, schedule, guidance
        self.num_seeds, self.savings = num_seeds, savings or Savings()
        tokens, hint = prepared.tokens, prepared.hint
        if guidance != 1.0:
            tokens = torch.cat([tokens, prepared.unconditional.expand_as(tokens)])
            hint = torch.cat([hint, hint])
        self.pairs, self.hint, self.tokens = len(prepared.tokens), hint, tokens
        every = self.savings.details_every
        self.spans = [list(timesteps[i : i + every]) for i in range(0, len(timesteps), every)]
        self.ahead: dict[int, Details] = {}
        self._repeated: dict[tuple[int, int, bool], torch.Tensor] = {}

    def __call__(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Eps (B * K, 4, h, w) of `x` at `t` (B * K,), the same for all."""
        step = int(t[0])
        guided = self._guided(step)
        rows = len(self.tokens) if guided else self.pairs
        details = tuple(
            detail[:rows].repeat_interleave(self.num_seeds, dim=0) for detail in self._details(step)
        )
        doubled, times = (torch.cat([x, x]), torch.cat([t, t])) if guided else (x, t)
        tokens = self._tokens(rows, self.num_seeds, beside=True)
        output = self.model(doubled.to(tokens.dtype), times, tokens, details)
        eps = self.schedule.noise_of(output.float(), doubled, times)
        if not guided:
            return eps
        conditional, unconditional = eps.chunk(2)
        return guide(conditional, unconditional, self.guidance)

    def _guided(self, step: int) -> bool:
        return self.guidance != 1.0 and self.savings.guided(step)

    def _tokens(self, rows: int, times: int, *, beside: bool) -> torch.Tensor:
        """The first `rows` tokens, each (or all) `times` times; always the same tensor, so that
        its projections are computed once."""
        key = (rows, times, beside)
        if key not in self._repeated:
            few = self.tokens[:rows]
            several = few.repeat_interleave(times, dim=0) if beside else few.repeat(times, 1, 1)
            self._repeated[key] = remembering(several)
        return self._repeated[key]

    def _details(self, step: int) -> Details:
        """The detail maps for `step`: those of its span's first timestep."""
        place = next((i for i, span in enumerate(self.spans) if step in span), None)
        spans = [[step]] if place is None else self.spans[place : place + self.savings.chunk]
        if spans[0][0] not in self.ahead:
            self.ahead = self._computed(spans)
        return self.ahead[spans[0][0]]

    def _computed(self, spans: list[list[int]]) -> dict[int, Details]:
        guided = [any(self._guided(step) for step in span) for span in spans]
        rows = len(self.tokens) if any(guided) else self.pairs
        tokens = self._tokens(rows, len(spans), beside=False)
        t = torch.tensor([span[0] for span in spans], device=tokens.device)
        hint = self.hint[:rows].repeat(len(spans), 1, 1, 1)
        maps = self.model.details(hint, t.repeat_interleave(rows), tokens)
        chunks = zip(*(one.chunk(len(spans)) for one in maps), strict=True)
        return {span[0]: chunk for span, chunk in zip(spans, chunks, strict=True)}
