"""The pipeline's tensor core: conditionings in, denoising steps out, latents back to pictures."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from time import perf_counter
from typing import Any

import numpy as np
import torch

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.diffusion.presets import named_preset, solver_scheduler
from anydoor_lab.diffusion.sampler import Steps, last, sample_by, sample_ddim, spaced_timesteps
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.vae import latents_shape
from anydoor_lab.pipeline.captures import Captures
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.rng import rng_for

CHUNK_ROWS = 20
"""Detail maps computed at once on a GPU, the two halves of the guidance counted."""


class TensorCore:
    """What `AnyDoorPipeline` does between pictures and pictures."""

    unet: Any
    vae: Any
    id_extractor: Any
    scheduler: Any
    config: Any
    _execution_device: torch.device
    _zero: tuple[Any, ...] | None
    _model: AnyDoor | None
    captures: Captures

    @property
    def model(self) -> AnyDoor:
        """The networks as one model, the same as long as none of them is swapped.

        Every component that is a `DetailExtractor` is one of its branches.
        """
        branches = {n: part for n, part in vars(self).items() if isinstance(part, DetailExtractor)}
        parts = {"unet": self.unet, "vae": self.vae, "id_extractor": self.id_extractor} | branches
        if self._model is None or dict(self._model.named_children()) != parts:
            self._model = AnyDoor(self.unet, self.vae, branches, self.id_extractor)
        return self._model

    @torch.no_grad()
    def prepare(self, shown: Sequence[Conditioning]) -> Prepared:
        """What the steps need of B conditionings; the costly encoders run here and only here.

        Keep it to try other seeds, steps or guidance on the same pairs.
        """
        place: dict[str, Any] = {"device": self._execution_device, "dtype": self._precision()}
        read = {"id_image", *self.model.inputs}.intersection(*(one.inputs for one in shown))
        arrays = {name: np.stack([one.inputs[name] for one in shown]) for name in read}
        inputs = {name: torch.from_numpy(array).to(**place) for name, array in arrays.items()}
        return self._prepared(inputs, shown[0].placement.resolution)

    def _prepared(self, inputs: dict[str, torch.Tensor], resolution: int) -> Prepared:
        """The same of what the networks see: `id_image` and the branches' inputs, (B, ...) each."""
        tokens = self.model.tokens(inputs["id_image"])
        unconditional = self._unconditional(inputs["id_image"])
        return Prepared(tokens, unconditional, self.model.hints(inputs), resolution)

    def _precision(self) -> torch.dtype:
        """What the networks beside the VAE compute in; RuntimeError unless they agree."""
        parts = {"unet": self.unet, **self.model.branches, "id_extractor": self.id_extractor}
        kinds = {name: getattr(part, "dtype", self.unet.dtype) for name, part in parts.items()}
        if len(set(kinds.values())) > 1:
            seen = ", ".join(f"{name} {kind}" for name, kind in kinds.items())
            raise RunError(
                f"the networks are of several precisions ({seen}); bring all but the VAE to one, "
                "e.g. by pipeline.to(torch.float32)"
            )
        dtype: torch.dtype = self.unet.dtype
        return dtype

    def _unconditional(self, id_image: torch.Tensor) -> torch.Tensor:
        """(1, N, D) tokens of an all-zero image; the encoder sees it once, as it is frozen."""
        extractor, zero = self.id_extractor, torch.zeros_like(id_image[:1])
        seen = (zero.shape, zero.dtype, zero.device, extractor.config.get("tokens"))
        if self._zero is None or self._zero[0] is not extractor or self._zero[1] != seen:
            self._zero = (extractor, seen, extractor.features(zero))
        return extractor.projector(self._zero[2])

    @torch.no_grad()
    def denoise(
        self,
        prepared: Prepared,
        seeds: Sequence[Sequence[int]],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        preset: str = "exact",
    ) -> Steps:
        """Yield the steps of every prepared pair with its seeds, all in one batch.

        Args:
            prepared: B pairs, from `prepare`.
            seeds: for each of them K seeds; the result's batch is (B * K), pair by pair.
            num_inference_steps, guidance_scale, preset: as in a call.

        Raises:
            ValueError: the guidance is not finite, the preset or the number of steps not possible.
        """
        chosen = named_preset(preset)
        guidance = self.guidance(guidance_scale)
        schedule = Schedule.of(self.scheduler)
        timesteps = self.timesteps(num_inference_steps, preset)
        savings = replace(chosen.savings, chunk=self._chunk(len(prepared.tokens)))
        bound = self.captures.networks(self.model, schedule, prepared, len(seeds[0]))
        with bound as networks:
            denoiser = networks.denoiser(guidance, timesteps, savings)
            noise = self.start_noise(prepared.resolution, seeds)
            if chosen.solver == "ddim":
                yield from sample_ddim(denoiser, noise, timesteps, schedule, self.last_alpha)
            else:
                solver = solver_scheduler(self.scheduler, len(timesteps), noise.device)
                yield from sample_by(solver, denoiser, noise, schedule)

    @torch.no_grad()
    def warm_up(
        self,
        num_pairs: int = 1,
        num_proposals: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        preset: str = "exact",
    ) -> float:
        """Place nothing once, so that the next call of these sizes finds all recorded and loaded.

        Returns the seconds it took. On a GPU the steps are captured as CUDA graphs, kept for the
        last few sizes; `captures.allowed = False` prevents that, `captures.clear()` frees them.

        Args:
            num_pairs, num_proposals: B and K of the batches to come.
            num_inference_steps, guidance_scale, preset: as in a call.
        """
        began, resolution, side = perf_counter(), self.config.resolution, self.config.id_size
        sizes = {name: (n, resolution, resolution) for name, n in self.model.inputs.items()}
        place: dict[str, Any] = {"device": self._execution_device, "dtype": self._precision()}
        sizes["id_image"] = (3, side, side)
        empty = {name: torch.zeros(num_pairs, *size, **place) for name, size in sizes.items()}
        how = (num_inference_steps, guidance_scale, preset)
        seeds = [list(range(num_proposals))] * num_pairs
        self.decode(last(self.denoise(self._prepared(empty, resolution), seeds, *how)).x)
        return perf_counter() - began

    def guidance(self, guidance_scale: float | None = None) -> float:
        """The scale that a call with this argument is guided by.

        Raises:
            ValueError: it is no finite number from 0.
        """
        asked = self.config.guidance_scale if guidance_scale is None else guidance_scale
        number = isinstance(asked, int | float | np.number) and not isinstance(asked, bool)
        if not number or not math.isfinite(asked) or asked < 0:
            raise InputError(
                f"guidance_scale is {asked!r}; expected a finite number from 0 (1 is no guidance)"
            )
        return float(asked)

    def timesteps(self, num_inference_steps: int | None = None, preset: str = "exact") -> list[int]:
        """The timesteps that a call with these arguments goes through, falling.

        Raises:
            ValueError: there is no such preset, or the number of steps is out of range.
        """
        asked = self.config.num_inference_steps
        asked = asked if num_inference_steps is None else num_inference_steps
        chosen, config = named_preset(preset), self.scheduler.config
        spaced = spaced_timesteps(asked, config.num_train_timesteps, config.timestep_spacing)
        if chosen.solver == "ddim":
            return spaced
        return [int(t) for t in solver_scheduler(self.scheduler, chosen.steps(asked)).timesteps]

    def _chunk(self, pairs: int) -> int:
        """For how many timesteps the detail maps are computed at once: what fills a GPU, on which
        the networks stay."""
        whole = self._execution_device.type == "cuda" and not hasattr(self.unet, "_hf_hook")
        return max(1, CHUNK_ROWS // (2 * pairs)) if whole else 1

    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures (B, R, R, 3) uint8 of scaled latents (B, 4, h, w).

        Raises:
            RuntimeError: they are not finite.
        """
        return as_picture(self.model.decoded(latents))

    @property
    def last_alpha(self) -> float:
        """alphas_cumprod after the last DDIM step."""
        if self.scheduler.config.set_alpha_to_one:
            return 1.0
        return float(self.scheduler.alphas_cumprod[0])

    def start_noise(self, resolution: int, seeds: Sequence[Sequence[int]]) -> torch.Tensor:
        """(B * K, 4, h, w) standard normal numbers, each from its own seed."""
        size = latents_shape(self.vae, self.unet.config.in_channels, resolution, resolution)
        flat = [seed for several in seeds for seed in several]
        drawn = [rng_for(seed, 0, "latents").standard_normal(size, np.float32) for seed in flat]
        return torch.from_numpy(np.stack(drawn)).to(self._execution_device)
