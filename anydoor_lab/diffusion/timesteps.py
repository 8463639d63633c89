"""Which timesteps a sample trains: uniform, or adaptive to its variation (Sec. 3.4)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np

from anydoor_lab.structures.errors import InputError

EARLY_VARIATIONS, LATE_VARIATIONS = ("video",), ("still",)


class TimestepSampler(Protocol):
    """Turns uniform random numbers into timesteps."""

    def __call__(self, uniform: np.ndarray, variations: Sequence[str], total: int) -> np.ndarray:
        """Timesteps (B,) int64 in [0, total) from `uniform` (B,) in [0, 1)."""


def uniform_timesteps(
    uniform: np.ndarray, variations: Sequence[str], total: int = 1000
) -> np.ndarray:
    """Every timestep equally likely, whatever the variation."""
    del variations
    return np.floor(np.asarray(uniform) * total).astype(np.int64)


def adaptive_timesteps(
    uniform: np.ndarray, variations: Sequence[str], total: int = 1000, *, mass: float = 0.75
) -> np.ndarray:
    """Early (t >= total/2) for video, late for stills, uniform for multi-view.

    Args:
        uniform: (B,) in [0, 1).
        variations: (B,) of `still`, `video`, `multiview`.
        total: number of timesteps T.
        mass: probability of the preferred half. The paper raises it "by 50 %", from 0.5 to 0.75;
            the released code comes to 0.85.

    Raises:
        ValueError: `mass` is outside [0, 1].
    """
    if not 0 <= mass <= 1:
        raise InputError(f"mass is {mass}; expected a probability between 0 and 1")
    early = np.array([_early_probability(v, mass) for v in variations])
    u = np.asarray(uniform, np.float64)
    late_share = 1 - early
    in_late = u < late_share
    within_late = u / np.where(late_share > 0, late_share, 1)
    within_early = (u - late_share) / np.where(early > 0, early, 1)
    position = np.where(in_late, within_late / 2, 0.5 + within_early / 2)
    return np.minimum(np.floor(position * total), total - 1).astype(np.int64)


def _early_probability(variation: str, mass: float) -> float:
    if variation in EARLY_VARIATIONS:
        return mass
    return 1 - mass if variation in LATE_VARIATIONS else 0.5
