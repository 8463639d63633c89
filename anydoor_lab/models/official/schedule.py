"""The released checkpoint's schedule buffers: thirteen tables that follow from the betas."""

from __future__ import annotations

import numpy as np
import torch

from anydoor_lab.structures.errors import InputError

BUFFERS = (
    "betas",
    "alphas_cumprod",
    "alphas_cumprod_prev",
    "sqrt_alphas_cumprod",
    "sqrt_one_minus_alphas_cumprod",
    "log_one_minus_alphas_cumprod",
    "sqrt_recip_alphas_cumprod",
    "sqrt_recipm1_alphas_cumprod",
    "posterior_variance",
    "posterior_log_variance_clipped",
    "posterior_mean_coef1",
    "posterior_mean_coef2",
    "logvar",
)
"""Their names, without a prefix in the state dict."""


STABLE_DIFFUSION = (0.00085, 0.012)
"""Its first and last beta."""


def scheduler_config(betas: torch.Tensor) -> dict[str, object]:
    """Keyword arguments of `DDIMScheduler` with the released rules, from `betas` (T,).

    Timesteps are multiples of T // steps plus one, and the last step ends at alphas_cumprod[0].

    Raises:
        ValueError: the betas are not linear in their square roots.
    """
    if betas.ndim != 1 or not len(betas) or not betas.is_floating_point():
        seen = f"{list(betas.shape)} {betas.dtype}"
        raise InputError(f"the checkpoint's betas are {seen}; expected one number per timestep")
    measured = tuple(float(f"{float(betas[place]):.6g}") for place in (0, -1))
    rounding = max(1e-5, torch.finfo(betas.dtype).eps)
    for start, end in (STABLE_DIFFUSION, measured):
        if not 0 < start < end < 1:
            continue
        expected = linear_betas(start, end, len(betas))
        if torch.allclose(expected, betas.double(), rtol=rounding, atol=0):
            break
    else:
        raise InputError(
            "the checkpoint's betas are not linear in their square roots, as those of Stable "
            "Diffusion are; its noise schedule is not supported"
        )
    return {
        "num_train_timesteps": len(betas),
        "beta_start": start,
        "beta_end": end,
        "beta_schedule": "scaled_linear",
        "prediction_type": "epsilon",
        "clip_sample": False,
        "set_alpha_to_one": False,
        "steps_offset": 1,
        "timestep_spacing": "leading",
    }


def linear_betas(start: float, end: float, total: int) -> torch.Tensor:
    """(T,) float64 betas, linear in their square roots."""
    return torch.linspace(start**0.5, end**0.5, total, dtype=torch.float64) ** 2


def stable_diffusion() -> torch.Tensor:
    """(1000,) betas of Stable Diffusion, for a file that leaves them out."""
    return linear_betas(*STABLE_DIFFUSION, 1000).float()


def schedule_buffers(start: float, end: float, total: int) -> dict[str, torch.Tensor]:
    """The thirteen tables, (T,) float32 each."""
    betas = linear_betas(start, end, total).numpy()
    alphas = 1.0 - betas
    now = np.cumprod(alphas)
    before = np.append(1.0, now[:-1])
    variance = betas * (1.0 - before) / (1.0 - now)
    tables = (
        betas,
        now,
        before,
        np.sqrt(now),
        np.sqrt(1.0 - now),
        np.log(1.0 - now),
        np.sqrt(1.0 / now),
        np.sqrt(1.0 / now - 1),
        variance,
        np.log(np.maximum(variance, 1e-20)),
        betas * np.sqrt(before) / (1.0 - now),
        (1.0 - before) * np.sqrt(alphas) / (1.0 - now),
        np.zeros(total),
    )
    return {n: torch.tensor(t, dtype=torch.float32) for n, t in zip(BUFFERS, tables, strict=True)}
