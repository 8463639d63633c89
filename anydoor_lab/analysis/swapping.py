"""What each condition decides: take it from another object, throughout or from a step on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import cv2
import numpy as np
import torch

from anydoor_lab.diffusion.guidance import Prepared, bound_denoiser
from anydoor_lab.diffusion.sampler import Denoised, sample_ddim
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.errors import InputError


def swap(tokens_of: Prepared, details_of: Prepared) -> Prepared:
    """ID tokens of one object with collage and shape mask of another, pair by pair.

    The detail extractor hears the tokens as well (as in the released code), so the detail maps are
    those of `details_of` as the tokens of `tokens_of` make them.

    Raises:
        ValueError: the two hold different numbers of pairs or another resolution.
    """
    _check_alike(tokens_of, details_of)
    return replace(tokens_of, hints=details_of.hints)


@torch.no_grad()
def denoise_switched(
    pipeline: AnyDoorPipeline,
    first: Prepared,
    then: Prepared,
    step: int,
    seed: int = 0,
    num_inference_steps: int | None = None,
    guidance_scale: float | None = None,
) -> Iterator[Denoised]:
    """Yield the DDIM steps of the same noise under `first` for `step` steps, `then` for the rest.

    Step 0 is `then` alone, the number of steps `first` alone: what early and late steps decide
    (Sec. 3.4).

    Args:
        pipeline: its networks, schedule and defaults.
        first, then: conditions from `AnyDoorPipeline.prepare` or `swap`.
        step: steps under `first`.
        seed, num_inference_steps, guidance_scale: as in a call.

    Raises:
        ValueError: `step` is not among the steps, or the two do not fit together.
    """
    _check_alike(first, then)
    timesteps = pipeline.timesteps(num_inference_steps)
    if not 0 <= step <= len(timesteps):
        raise InputError(f"step is {step}; expected 0 to {len(timesteps)}, the number of steps")
    guidance = pipeline.config.guidance_scale if guidance_scale is None else guidance_scale
    schedule = Schedule.of(pipeline.scheduler)
    early, late = (
        bound_denoiser(pipeline.model, schedule, one, 1, guidance) for one in (first, then)
    )
    switched = timesteps[step] if step < len(timesteps) else -1

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        return (late if t <= switched else early)(x, t)

    noise = pipeline.start_noise(first.resolution, [[seed]] * len(first.tokens))
    yield from sample_ddim(denoise, noise, timesteps, schedule, pipeline.last_alpha)


def decided_shares(results: np.ndarray) -> dict[str, np.ndarray]:
    """How far each result has gone from the first one to the last, 0 to 1, (K, B) by what is
    looked at: `structure` (coarse lightness), `details` (the rest of it) and `colour`.

    Of results switched at rising steps it tells what the steps before the switch had decided.

    Args:
        results: (K, B, R, R, 3) uint8; the first are B results of one condition alone, the last
            those of the other alone.
    """
    looks = [[_looks(crop) for crop in row] for row in results]
    shares = {}
    for name in ("structure", "details", "colour"):
        values = np.array([[look[name] for look in row] for row in looks], np.float64)
        flat = values.reshape(*values.shape[:2], -1)
        way = flat[-1] - flat[0]
        gone = (way * (flat - flat[0])).sum(axis=2)
        shares[name] = gone / np.maximum((way**2).sum(axis=1), 1e-12)
    return shares


def _looks(crop: np.ndarray) -> dict[str, np.ndarray]:
    lab = cv2.cvtColor(crop.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
    coarse = cv2.GaussianBlur(lab[..., 0], (0, 0), sigmaX=len(crop) / 16)
    return {"structure": coarse, "details": lab[..., 0] - coarse, "colour": lab[..., 1:]}


def _check_alike(first: Prepared, second: Prepared) -> None:
    sizes = [{n: tuple(hint.shape) for n, hint in one.hints.items()} for one in (first, second)]
    if sizes[0] != sizes[1] or len(first.tokens) != len(second.tokens):
        seen = f"hints of {sizes[0]} and {sizes[1]}"
        raise InputError(f"{seen}; expected as many pairs at the same resolution")
