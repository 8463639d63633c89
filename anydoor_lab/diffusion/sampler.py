"""DDIM as a generator: from noise to latents, one step at a time."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.structures.errors import InputError

Denoiser = Callable[[torch.Tensor, int], torch.Tensor]
"""(x (B, C, h, w), t) -> eps, with all conditioning bound inside; t is the same for all."""


@dataclass(frozen=True, slots=True, eq=False)
class Denoised:
    """One finished step: `x` after it and the clean `x0` it predicted, both (B, C, h, w)."""

    step: int
    t: int
    x: torch.Tensor
    x0: torch.Tensor


def last(steps: Iterable[Denoised]) -> Denoised:
    """The last step, once all have been taken.

    Raises:
        ValueError: there is none.
    """
    kept = deque(steps, maxlen=1)
    if not kept:
        raise InputError("no step was taken; expected at least one timestep")
    return kept.pop()


def spaced_timesteps(steps: int, total: int = 1000, spacing: str = "trailing") -> list[int]:
    """`steps` timesteps, falling, evenly spaced over `total`.

    `trailing` starts at the last timestep; `leading` is the rule of the released code: all
    multiples of total // steps, plus one. Where `steps` does not divide `total` these are more
    than were asked for (31 instead of 30).

    Raises:
        ValueError: `steps` is not in [1, total] ([1, total) if leading) or `spacing` is unknown.
    """
    most = total - (spacing == "leading")  # "plus one" would step over the last timestep
    if not 1 <= steps <= most:
        raise InputError(f"steps is {steps}; expected 1 to {most}")
    if spacing == "trailing":
        return [round(total - i * total / steps) - 1 for i in range(steps)]
    if spacing == "leading":
        return [t + 1 for t in reversed(range(0, total, total // steps)) if t + 1 < total]
    raise InputError(f"spacing is {spacing!r}; expected trailing or leading")


@torch.no_grad()
def sample_by(
    scheduler: Any, denoise: Denoiser, x: torch.Tensor, schedule: Schedule
) -> Iterator[Denoised]:
    """Yield every step of a diffusers scheduler that is set to its timesteps and takes eps.

    Whether a step waits for the device is the scheduler's affair: UniPC's corrector solves two
    equations with `torch.linalg.solve`, which waits to hear whether it could.

    Args:
        scheduler: e.g. `UniPCMultistepScheduler`; it keeps a state, so each run needs its own.
        denoise, x, schedule: as of `sample_ddim`.
    """
    for step, t in enumerate(scheduler.timesteps.tolist()):
        eps = denoise(x, t)
        alpha, sigma = schedule.alpha_sigma(t)
        x0 = (x - sigma * eps) / alpha
        x = scheduler.step(eps, t, x).prev_sample
        yield Denoised(step, t, x, x0)


@torch.no_grad()
def sample_ddim(
    denoise: Denoiser,
    x: torch.Tensor,
    timesteps: Sequence[int],
    schedule: Schedule,
    last_alpha: float = 1.0,
) -> Iterator[Denoised]:
    """Yield every step of deterministic DDIM (eta 0) from noise `x` (B, C, h, w).

    The steps are float64 where the device has it: a division by alpha_t, 0.005 at the noisy end of
    a cosine schedule, would otherwise enlarge float32's rounding 200 times.

    Args:
        denoise: gives eps; conditioning and guidance are bound inside.
        x: standard normal start.
        timesteps: falling, e.g. from `spaced_timesteps`.
        schedule: of the training.
        last_alpha: alphas_cumprod after the last step; the released code has alphas_cumprod[0].
    """
    known = schedule.alphas_cumprod.tolist()
    cumprods = [known[t] for t in timesteps] + [last_alpha]
    given = x.dtype
    x = x.to(torch.float32 if x.device.type == "mps" else torch.float64)
    for step, t in enumerate(timesteps):
        eps = denoise(x, t)
        now, after = cumprods[step], cumprods[step + 1]
        x0 = (x - (1 - now) ** 0.5 * eps) / now**0.5
        x = after**0.5 * x0 + (1 - after) ** 0.5 * eps
        yield Denoised(step, t, x.to(given), x0.to(given))
