"""How a denoising is sped up: `exact` by leaving out what changes nothing, others by more."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from diffusers import UniPCMultistepScheduler

from anydoor_lab.diffusion.guidance import Savings
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Preset:
    """A named way of denoising.

    Args:
        says: what it changes, one sentence.
        solver: `ddim`, or `unipc`, a multistep solver of higher order.
        steps_share: of the steps asked for that are taken.
        savings: what the denoiser leaves out.
    """

    says: str
    solver: str = "ddim"
    steps_share: float = 1.0
    savings: Savings = field(default_factory=Savings)

    def steps(self, asked: int) -> int:
        """The steps it takes where `asked` are asked for."""
        return max(1, round(asked * self.steps_share))


PRESETS = {
    "exact": Preset("DDIM, nothing approximated"),
    "fast": Preset(
        "UniPC with 0.4 of the steps (20 of 50) in place of DDIM", solver="unipc", steps_share=0.4
    ),
    "draft": Preset(
        "as fast; no guidance at t above 800 and below 200, detail maps of every second step",
        solver="unipc",
        steps_share=0.4,
        savings=Savings(guided_above=200, guided_below=800, details_every=2),
    ),
}
"""By the names of the pipeline's `preset`."""


def named_preset(name: str) -> Preset:
    """One of `PRESETS`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in PRESETS:
        raise InputError(f"preset is {name!r}; expected one of {', '.join(PRESETS)}")
    return PRESETS[name]


def solver_scheduler(scheduler: Any, steps: int, device: Any = None) -> UniPCMultistepScheduler:
    """A UniPC scheduler for the noise schedule of `scheduler`, fed with eps, set to `steps`.

    Its numbers go to the `device` once, where its own way is number by number in every step, and
    its place among the steps is told, where it would search the timesteps for the first one.
    """
    solver = UniPCMultistepScheduler.from_config(scheduler.config, prediction_type="epsilon")
    solver.set_timesteps(steps)
    solver.set_begin_index(0)
    solver.sigmas = solver.sigmas.to(device)
    return solver
