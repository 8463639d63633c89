"""The training objective: mean squared error of the predicted noise (Equation 2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import TimestepSampler
from anydoor_lab.structures.rng import rng_for

TIMESTEP_BINS = 4
BYTES = {"id_image": (1 / 255, 0.0), "collage": (2 / 255, -1.0), "target": (2 / 255, -1.0)}
"""Factor and shift of pictures that come as uint8."""


class DiffusionLoss(nn.Module):
    """Loss of a batch; every random draw is a function of (seed, the sample's global index).

    Args:
        model: `models.anydoor.AnyDoor` or anything with its methods.
        schedule: noise schedule.
        timesteps: draws t from the samples' variation (Sec. 3.4).
        seed: the run's seed.
        cond_drop_prob: share of samples trained with the unconditional (all-zero) id_image.
        region_weight: weight of the loss where the shape mask marks the region; 1 = the paper.
        sample_posterior: draw the latents from the VAE's posterior (the released code) rather
            than take its mode.
    """

    def __init__(
        self,
        model: nn.Module,
        schedule: Schedule,
        timesteps: TimestepSampler,
        *,
        seed: int = 0,
        cond_drop_prob: float = 0.0,
        region_weight: float = 1.0,
        sample_posterior: bool = False,
    ) -> None:
        super().__init__()
        self.model: Any = model
        self.schedule = schedule
        self.timesteps = timesteps
        self.seed = seed
        self.cond_drop_prob = cond_drop_prob
        self.region_weight = region_weight
        self.sample_posterior = sample_posterior

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The batch's loss.

        Args:
            batch: `index` (B,), `variation` (list of B), `id_image` (B, 3, S, S) in [0, 1],
                `target` and `collage` (B, 3, R, R) in [-1, 1], `shape_mask` (B, 1, R, R),
                and what else the model's branches read; bytes are scaled as in `as_numbers`;
                for a model of several ID extractors also `extractor` (B,), which one to use;
                of a mixture also `set` (list of B); `kept`, what is asked for what the frozen
                networks make of the batch, by name.

        Returns:
            `loss` scalar, `per_sample` (B,), and `groups`: which samples belong to which
            timestep bin, variation and set, (B,) bool each.
        """
        indices, batch = torch.as_tensor(batch["index"]).tolist(), as_numbers(batch)
        kept = batch.get("kept", {})
        x0 = self._clean_latents(batch["target"], indices, kept.get("latents")).float()
        noise = self._normal(indices, "noise", x0.shape[1:]).to(x0)
        t = self._draw_timesteps(indices, batch["variation"], x0.device)
        chosen = {name: batch[name] for name in ("extractor",) if name in batch}
        keep = self._conditioned(indices)
        if "features" in kept:  # of the pictures as they came, not of the dropped ones
            chosen["kept"] = kept["features"].only(keep.tolist())
        tokens = self.model.tokens(dropped(batch["id_image"], keep), **chosen)
        details = self.model.details(self.model.hints(batch), t, tokens)
        noisy = self.schedule.add_noise(x0, noise, t).to(tokens.dtype)
        output = self.model(noisy, t, tokens, details)
        squared = (output.float() - self.schedule.target(x0, noise, t).float()) ** 2
        squared = squared * self.schedule.weight(t)
        weight = self._weights(batch["shape_mask"], squared)
        per_sample = (squared * weight).mean(dim=(1, 2, 3))
        groups = self._groups(t, batch["variation"], batch.get("set", ()))
        return {"loss": per_sample.mean(), "per_sample": per_sample, "groups": groups}

    def _conditioned(self, indices: list[int]) -> np.ndarray:
        """Which samples (B,) bool are shown their object."""
        return self._uniform(indices, "condition") >= self.cond_drop_prob

    def _clean_latents(
        self, target: torch.Tensor, indices: list[int], kept: Any = None
    ) -> torch.Tensor:
        drawn = None
        if self.sample_posterior:
            shape = self.model.latent_shape(target)
            drawn = self._normal(indices, "posterior", shape).to(target)
        return self.model.latents(target, drawn, **({"kept": kept} if kept else {}))

    def _normal(self, indices: list[int], purpose: str, shape: Sequence[int]) -> torch.Tensor:
        """(B, *shape) standard normal numbers."""
        drawn = [
            rng_for(self.seed, i, purpose).standard_normal(tuple(shape), np.float32)
            for i in indices
        ]
        return torch.from_numpy(np.stack(drawn))

    def _uniform(self, indices: list[int], purpose: str) -> np.ndarray:
        return np.array([rng_for(self.seed, i, purpose).random() for i in indices])

    def _draw_timesteps(
        self, indices: list[int], variations: list[str], device: torch.device
    ) -> torch.Tensor:
        drawn = self.timesteps(self._uniform(indices, "timestep"), variations, len(self.schedule))
        return torch.from_numpy(drawn).to(device)

    def _weights(self, shape_mask: torch.Tensor, squared: torch.Tensor) -> torch.Tensor:
        """`region_weight` inside the region, 1 outside, scaled to a mean of 1 per sample."""
        region = (shape_mask > 0).to(squared)
        share = nn.functional.adaptive_avg_pool2d(region, (squared.shape[-2], squared.shape[-1]))
        weight = 1 + (self.region_weight - 1) * share
        return weight / weight.mean(dim=(1, 2, 3), keepdim=True)

    def _groups(
        self, t: torch.Tensor, variations: list[str], sets: Sequence[str]
    ) -> dict[str, torch.Tensor]:
        width = len(self.schedule) // TIMESTEP_BINS
        groups = {}
        for start in range(0, len(self.schedule), width):
            groups[f"t_{start}_{start + width}"] = (t >= start) & (t < start + width)
        for prefix, names in (("", variations), ("set/", sets)):
            for name in sorted(set(names)):
                groups[prefix + name] = torch.tensor([n == name for n in names], device=t.device)
        return groups


def dropped(id_image: torch.Tensor, keep: np.ndarray) -> torch.Tensor:
    """`id_image` (B, 3, S, S), all zero where `keep` (B,) is not: the unconditional input."""
    return id_image * torch.from_numpy(keep).to(id_image)[:, None, None, None]


def as_numbers(batch: Mapping[str, Any]) -> dict[str, Any]:
    """`batch` with what comes as bytes (`Conditioner.as_bytes`) in float32 as it is described:
    bit for bit what would have come."""
    scaled = dict(batch)
    for name, value in batch.items():
        kind = value.dtype if isinstance(value, torch.Tensor) else None
        if kind == torch.uint8 and name in BYTES:
            factor, shift = BYTES[name]
            scaled[name] = value.float().mul_(factor).add_(shift)
        elif kind == torch.int8:
            scaled[name] = value.float()
    return scaled
