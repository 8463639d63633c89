"""Tuning a text-to-image model on photographs of subjects (DreamBooth, Custom Diffusion)."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import StableDiffusionPipeline
from PIL import Image
from torch import nn

from anydoor_lab.data.readers.places import PICTURES, photos
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.images import padded_square, read_image
from anydoor_lab.structures.rng import rng_for

AROUND = 1.3
"""Side of a photograph's crop over its object."""
KEPT_BYTES = 4 * 10**9
"""Of the CPU's memory for earlier tunings: of Stable Diffusion 1.5 one DreamBooth (983 million
numbers) or some fifty Custom Diffusions."""


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """What a model is tuned on.

    Args:
        name: what it is called by users: the folder of its photographs.
        photos: of the subject, square.
        word: what stands for it in a prompt.
    """

    name: str
    photos: Sequence[Image.Image]
    word: str


@dataclass(frozen=True, slots=True, eq=False)
class Learned:
    """What tuning has made of a pipeline.

    Args:
        subjects: on which it was tuned.
        losses: of every step.
        values: of all that was trained, on the CPU.
    """

    subjects: list[Subject]
    losses: list[float]
    values: list[torch.Tensor]


class KeptTunings:
    """Earlier tunings by what they were tuned on; of more than `KEPT_BYTES` the oldest go."""

    def __init__(self) -> None:
        self._held: OrderedDict[tuple[str, ...], Learned] = OrderedDict()

    def put(self, key: tuple[str, ...], learned: Learned) -> None:
        """Keep one."""
        self._held[key] = learned
        while sum(value.nbytes for one in self._held.values() for value in one.values) > KEPT_BYTES:
            self._held.popitem(last=False)

    def take(self, key: tuple[str, ...]) -> Learned | None:
        """Hand one out, which is kept no longer; None where it is not there."""
        return self._held.pop(key, None)


@dataclass(frozen=True, slots=True)
class TuningSettings:
    """How a model is tuned.

    Args:
        steps: of AdamW.
        learning_rate: of it.
        batch_size: photographs a step.
        seed: every draw of step i follows from (seed, i) alone.
        prior_weight: of the loss on what the model itself makes of the kind of thing, so that it
            does not forget it; 0: off.
        num_prior: pictures of it.
    """

    steps: int = 400
    learning_rate: float = 5e-6
    batch_size: int = 1
    seed: int = 0
    prior_weight: float = 0.0
    num_prior: int = 32

    def __post_init__(self) -> None:
        for name in ("steps", "batch_size", "num_prior"):
            if getattr(self, name) < 1:
                raise InputError(f"method.{name} is {getattr(self, name)}; expected at least 1")
        for name in ("learning_rate", "prior_weight"):
            if not 0 <= getattr(self, name) < float("inf"):
                raise InputError(f"method.{name} is {getattr(self, name)}; expected 0 or more")


def read_subjects(folder: Path) -> dict[str, list[Image.Image]]:
    """The photographs below a folder by subject: each sub-folder is one; without any, the folder.
    A `0_mask.png` beside `0.png` is a mask and no photograph.

    Raises:
        ValueError: it is no folder, or one of them holds no picture.
    """
    if not folder.is_dir():
        raise InputError(f"method.photos is {folder}, which is no folder; give one of photographs")
    below = sorted(p for p in folder.iterdir() if p.is_dir() and p.name[0] != ".")
    return {place.name: _photos_in(place) for place in below or [folder]}


def _photos_in(folder: Path) -> list[Image.Image]:
    paths = photos(folder)
    if not paths:
        raise InputError(f"{folder} holds no picture of {', '.join(PICTURES)}; add photographs")
    return [Image.fromarray(padded_square(read_image(path), 255)) for path in paths]


def photo_of(image: np.ndarray, mask: np.ndarray) -> Image.Image:
    """The part of a photo (H, W, 3) around its object (H, W) bool, square."""
    box = Box.around(mask).grown(AROUND, *mask.shape).squared(*mask.shape)
    return Image.fromarray(padded_square(image[box.slices], 255))


@dataclass(eq=False)
class Tuning:
    """A text-to-image pipeline and what it is tuned on; `steps` is the loop.

    Args:
        pipeline: with UNet, text encoder, tokenizer, VAE and scheduler of Stable Diffusion.
        subjects: all of them at once.
        settings: see there.
        resolution: side of the photographs, pixels.
        kind: what all subjects are, for the prior.
    """

    pipeline: Any
    subjects: Sequence[Subject]
    settings: TuningSettings
    resolution: int
    kind: str = "object"

    def __post_init__(self) -> None:
        self.schedule = Schedule.of(self.pipeline.scheduler)
        self._examples = [
            (f"a photo of {subject.word} {self.kind}", self._latents(photo))
            for subject in self.subjects
            for photo in subject.photos
        ]
        self._prior = self._own_pictures() if self.settings.prior_weight else []

    def steps(self, groups: Sequence[dict[str, Any]]) -> Iterator[float]:
        """Tune parameters, given as an optimizer's groups, and yield every step's loss.

        Raises:
            RuntimeError: the loss is not finite.
        """
        parameters = [p for group in groups for p in group["params"]]
        for part in (self.pipeline.unet, self.pipeline.text_encoder):
            part.requires_grad_(False)
        for parameter in parameters:
            parameter.requires_grad_(True)
        optimizer = torch.optim.AdamW(list(groups), lr=self.settings.learning_rate)
        for step in range(self.settings.steps):
            loss = self.loss(step)
            if not bool(torch.isfinite(loss)):
                raise RunError(f"the loss of tuning step {step} is {loss.item()}; lower the rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            yield float(loss.detach())
        for parameter in parameters:
            parameter.requires_grad_(False)
            parameter.grad = None

    def loss(self, step: int) -> torch.Tensor:
        """The loss of step `step`, every draw of which follows from (seed, step)."""
        rng = rng_for(self.settings.seed, step, "tuning")
        loss = self._mean_loss(self._examples, rng)
        if self._prior:
            loss = loss + self.settings.prior_weight * self._mean_loss(self._prior, rng)
        return loss

    def _mean_loss(
        self, examples: Sequence[tuple[str, torch.Tensor]], rng: np.random.Generator
    ) -> torch.Tensor:
        chosen = [examples[i] for i in rng.integers(len(examples), size=self.settings.batch_size)]
        clean = torch.cat([latents for _, latents in chosen])
        noise = torch.from_numpy(rng.standard_normal(clean.shape, np.float32)).to(clean)
        t = torch.from_numpy(rng.integers(len(self.schedule), size=len(chosen))).to(clean.device)
        noisy = self.schedule.add_noise(clean, noise, t)
        with torch.autocast(clean.device.type, torch.bfloat16, enabled=clean.is_cuda):
            told = self._told([prompt for prompt, _ in chosen])
            output = self.pipeline.unet(noisy, t, told).sample
        wanted = self.schedule.target(clean, noise, t)
        return nn.functional.mse_loss(output.float(), wanted.float())

    def _told(self, prompts: list[str]) -> torch.Tensor:
        """(B, N, D): what the UNet's cross-attention is told."""
        words = self.pipeline.tokenizer
        ids = words(prompts, padding="max_length", max_length=words.model_max_length,
                    truncation=True, return_tensors="pt").input_ids  # fmt: skip
        encoder = self.pipeline.text_encoder
        told: torch.Tensor = encoder(ids.to(encoder.device))[0]
        return told

    @torch.no_grad()
    def _latents(self, photo: Image.Image) -> torch.Tensor:
        """(1, 4, h, w): a photograph as the UNet knows it."""
        vae = self.pipeline.vae
        side = (self.resolution, self.resolution)
        pixels = np.asarray(photo.resize(side, Image.Resampling.LANCZOS), np.float32) / 127.5 - 1
        given = torch.from_numpy(pixels).permute(2, 0, 1)[None].to(vae.device, vae.dtype)
        latents: torch.Tensor = vae.encode(given).latent_dist.mode() * vae.config.scaling_factor
        return latents

    def _own_pictures(self) -> list[tuple[str, torch.Tensor]]:
        """What the untuned model makes of the kind of thing, as examples."""
        keys = StableDiffusionPipeline._get_signature_keys(StableDiffusionPipeline)[0]
        parts = {name: part for name, part in self.pipeline.components.items() if name in keys}
        own = StableDiffusionPipeline(**parts, requires_safety_checker=False)
        own.set_progress_bar_config(disable=True)
        prompt, made = f"a photo of {self.kind}", []
        for number in range(self.settings.num_prior):
            noise = torch.Generator("cpu").manual_seed(self.settings.seed + number)
            size = {"height": self.resolution, "width": self.resolution}
            latents = own(prompt, generator=noise, output_type="latent", **size).images
            made.append((prompt, latents.detach()))
        return made
