"""Which timesteps are trained, and how hard each is (Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import TimestepSampler
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.rng import rng_for


def timestep_shares(
    sampler: TimestepSampler,
    variations: Sequence[str],
    total: int = 1000,
    bins: int = 20,
    draws: int = 20_000,
    seed: int = 0,
) -> dict[str, np.ndarray]:
    """Share of the draws in each of `bins` equal parts of [0, total), (bins,), by variation."""
    shares = {}
    for variation in variations:
        uniform = rng_for(seed, 0, f"timesteps of {variation}").random(draws)
        drawn = sampler(uniform, [variation] * draws, total)
        shares[variation] = np.histogram(drawn, bins, (0, total))[0] / draws
    return shares


@torch.no_grad()
def loss_at(
    pipeline: AnyDoorPipeline,
    shown: Sequence[Conditioning],
    timesteps: Sequence[int],
    seed: int = 0,
) -> np.ndarray:
    """The training loss of each pair at each timestep, (T, B), with the same noise at all.

    Args:
        pipeline: its networks and schedule.
        shown: B pairs; `target` is the truth.
        timesteps: t in [0, T).
        seed: of the noise.
    """
    model, schedule = pipeline.model, Schedule.of(pipeline.scheduler)
    prepared = pipeline.prepare(shown)
    target = torch.from_numpy(np.stack([one.target for one in shown])).to(prepared.tokens)
    x0 = model.latents(target)
    drawn = rng_for(seed, 0, "noise").standard_normal(tuple(x0.shape), np.float32)
    noise = torch.from_numpy(drawn).to(x0)
    losses = []
    for timestep in timesteps:
        t = torch.full((len(shown),), timestep, device=x0.device)
        details = model.details(prepared.hints, t, prepared.tokens)
        output = model(schedule.add_noise(x0, noise, t), t, prepared.tokens, details)
        squared = (output - schedule.target(x0, noise, t)).float().square()
        losses.append(squared.mean(dim=(1, 2, 3)).cpu().numpy())
    return np.stack(losses)
