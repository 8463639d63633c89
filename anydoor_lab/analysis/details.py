"""How strongly the detail extractor speaks, by resolution, place and timestep (Sec. 3.2)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch.nn import functional

from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True, eq=False)
class DetailEnergy:
    """Root mean square of the detail maps of one pair.

    Args:
        t: (T,) timesteps.
        sides: (K,) resolutions of the maps in latent pixels, falling; those of one resolution
            are averaged.
        inside, outside: (T, K) within the region asked for and in the rest of the crop; NaN
            where a resolution has no place there.
    """

    t: np.ndarray
    sides: np.ndarray
    inside: np.ndarray
    outside: np.ndarray


@torch.no_grad()
def detail_energy(
    pipeline: AnyDoorPipeline, prepared: Prepared, region: np.ndarray, timesteps: Sequence[int]
) -> DetailEnergy:
    """The energy of one pair's detail maps at `timesteps`.

    Args:
        pipeline: its detail extractor is asked.
        prepared: one pair, from `AnyDoorPipeline.prepare`.
        region: (R, R) bool, in the crop: `conditioning.shape_mask[0] > 0`.
        timesteps: t in [0, T).

    Raises:
        ValueError: several pairs are prepared.
    """
    if len(prepared.tokens) != 1:
        raise InputError(f"{len(prepared.tokens)} pairs are prepared; expected one")
    asked = torch.tensor(timesteps, device=prepared.tokens.device)
    many = len(asked)
    hints = {name: hint.expand(many, -1, -1, -1) for name, hint in prepared.hints.items()}
    maps = pipeline.model.details(hints, asked, prepared.tokens.expand(many, -1, -1))
    shares = torch.from_numpy(region).to(prepared.tokens)[None, None]
    sides = sorted({m.shape[-1] for m in maps}, reverse=True)
    columns = [_energies([m for m in maps if m.shape[-1] == side], shares) for side in sides]
    inside, outside = (np.stack(column, axis=1) for column in zip(*columns, strict=True))
    return DetailEnergy(np.array(timesteps), np.array(sides), inside, outside)


def _energies(maps: Sequence[torch.Tensor], region: torch.Tensor) -> tuple[np.ndarray, np.ndarray]:
    """(T,) each: inside and outside of the region, of maps of one resolution."""
    weight = functional.adaptive_avg_pool2d(region, maps[0].shape[-1])
    squares = torch.stack([m.float().square().mean(dim=1, keepdim=True) for m in maps]).mean(dim=0)
    energies = [((squares * w).sum(dim=(1, 2, 3)) / w.sum()).sqrt() for w in (weight, 1 - weight)]
    return energies[0].cpu().numpy(), energies[1].cpu().numpy()
