"""AnyDoor as a diffusers pipeline: pictures in, pictures out, over a tensor core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image

from anydoor_lab.boxes import Box
from anydoor_lab.conditioning.collage import Collage, named_collage
from anydoor_lab.conditioning.conditioner import Conditioner, Conditioning, Shape
from anydoor_lab.conditioning.placement import BLENDS, Blend, paste
from anydoor_lab.diffusion.guidance import guide
from anydoor_lab.diffusion.sampler import Denoised, sample_ddim, spaced_timesteps
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.draws import generator
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx import clip, dinov2, vgg  # noqa: F401  from_pretrained must know them
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.pair import Picture, check_choice, make_pair

SHAPES = ("box", "mask")
OUTPUT_TYPES = ("pil", "np")


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """What placing an object gives back.

    Args:
        images: one scene (H, W, 3) uint8 or PIL picture per proposal.
        crops: the generated crops, (R, R, 3) uint8 each.
        conditioning: what the model was shown.
    """

    images: list[Any]
    crops: list[np.ndarray]
    conditioning: Conditioning


@dataclass(frozen=True, slots=True, eq=False)
class Prepared:
    """What the denoising steps need of B pairs, whatever the seeds, steps and guidance.

    Args:
        tokens: (B, N, D) ID tokens.
        unconditional: (1, N, D) tokens of an all-zero id_image.
        hint: (B, C, h, w) embedded collage and shape mask.
        resolution: R.
    """

    tokens: torch.Tensor
    unconditional: torch.Tensor
    hint: torch.Tensor
    resolution: int


class AnyDoorPipeline(DiffusionPipeline):
    """Puts the object of a reference into a marked place of a scene.

    Args:
        unet, vae, detail_extractor, id_extractor, scheduler: the networks of Figure 2; the
            scheduler gives the noise schedule.
        resolution, id_size, zoom, grow, id_margin, remove_background: as `Conditioner`.
        collage: name of the one of the five collages the weights were trained with.
        collage_settings: keyword arguments of collages by their names.
        num_inference_steps, guidance_scale: defaults of a call.
    """

    model_cpu_offload_seq = "id_extractor->detail_extractor->unet->vae"

    def __init__(
        self,
        unet: UNet2DConditionModel,
        vae: AutoencoderKL,
        detail_extractor: DetailExtractor,
        id_extractor: IdExtractor,
        scheduler: DDIMScheduler,
        resolution: int = 512,
        id_size: int = 224,
        zoom: float = 2.0,
        grow: float = 1.1,
        id_margin: float = 1.2,
        remove_background: bool = True,
        collage: str = "hf",
        collage_settings: dict[str, dict[str, Any]] | None = None,
        num_inference_steps: int = 50,
        guidance_scale: float = 5.0,
    ) -> None:
        super().__init__()
        self.register_modules(
            unet=unet,
            vae=vae,
            detail_extractor=detail_extractor,
            id_extractor=id_extractor,
            scheduler=scheduler,
        )
        self.register_to_config(
            resolution=resolution,
            id_size=id_size,
            zoom=zoom,
            grow=grow,
            id_margin=id_margin,
            remove_background=remove_background,
            collage=collage,
            collage_settings=dict(collage_settings or {}),
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
        )

    @property
    def model(self) -> AnyDoor:
        """The networks as one model."""
        return AnyDoor(self.unet, self.vae, self.detail_extractor, self.id_extractor)

    def conditioner(self, collage: str | Collage | None = None) -> Conditioner:
        """How this pipeline shows pairs to the model, optionally with another collage.

        Raises:
            ValueError: `collage` is not one of the five names.
        """
        names = ("resolution", "id_size", "zoom", "grow", "id_margin", "remove_background")
        settings = {name: self.config[name] for name in names}
        chosen = self.config.collage if collage is None else collage
        own = self.config.collage_settings.get(chosen, {}) if isinstance(chosen, str) else {}
        return Conditioner(**settings, collage=partial(named_collage(chosen), **own))

    def __call__(
        self,
        reference: Picture,
        scene: Picture,
        reference_mask: Picture | None = None,
        scene_mask: Picture | None = None,
        box: Box | Sequence[int] | None = None,
        num_proposals: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int = 0,
        collage: str | Collage | None = None,
        shape: Shape | None = None,
        blend: Blend = "box",
        output_type: Literal["pil", "np"] = "pil",
        callback_on_step_end: Callable[[Any, int, int, dict[str, Any]], dict[str, Any]]
        | None = None,
    ) -> Placed:
        """The scene with the object in it, once per proposal.

        Args:
            reference: the object's photo, any size; PIL (RGBA gives the mask) or (H, W, 3) uint8.
            scene: the picture to place into, any size.
            reference_mask: where the object is; not needed for an RGBA reference.
            scene_mask: the region asked for, or
            box: [y1, x1, y2, x2] in pixels of the scene (or a `Box`).
            num_proposals: results, from the seeds `seed`, `seed` + 1 ...
            num_inference_steps: DDIM steps.
            guidance_scale: of classifier-free guidance; 1 is none.
            seed: of the starting noise, independent of device and batch.
            collage: another collage than the weights' own.
            shape: hand on the region's `box` or its `mask` (outline); default: `mask` for a
                scene_mask, else `box`.
            blend: what is written back: the region's `box`, its `mask`, or the whole `crop`.
            output_type: `pil` or `np`.
            callback_on_step_end: (pipeline, step, t, {"latents": ...}) as in diffusers; what it
                returns is not read.

        Raises:
            ValueError, TypeError, UnusablePair: inputs that do not fit together.
        """
        pair = make_pair(reference, scene, reference_mask, scene_mask, box)
        shape = shape or ("box" if scene_mask is None else "mask")
        check_choice("shape", shape, SHAPES)
        check_choice("blend", blend, BLENDS)
        check_choice("output_type", output_type, OUTPUT_TYPES)
        if num_proposals < 1 or seed < 0:
            raise ValueError(
                f"num_proposals is {num_proposals} and seed {seed}; expected at least 1 and 0"
            )
        shown = self.conditioner(collage).condition(pair, generator(seed, 0, "collage"), shape)
        seeds = [[seed + k for k in range(num_proposals)]]
        prepared = self.prepare([shown])
        steps = self.denoise(prepared, seeds, num_inference_steps, guidance_scale)
        with self.progress_bar(total=self._number_of_steps(num_inference_steps)) as bar:
            for denoised in steps:
                if callback_on_step_end is not None:
                    state = {"latents": denoised.x}
                    callback_on_step_end(self, denoised.step, denoised.t, state)
                bar.update()
        crops = list(self.decode(denoised.x))
        images: list[Any] = [paste(crop, pair, shown.placement, blend) for crop in crops]
        if output_type == "pil":
            images = [Image.fromarray(image) for image in images]
        return Placed(images, crops, shown)

    @torch.no_grad()
    def prepare(self, shown: Sequence[Conditioning]) -> Prepared:
        """What the steps need of B conditionings; the costly encoders run here and only here.

        Keep it to try other seeds, steps or guidance on the same pairs.
        """
        names = ("id_image", "collage", "shape_mask")
        arrays = {name: np.stack([getattr(one, name) for one in shown]) for name in names}
        place = {"device": self._execution_device, "dtype": self.unet.dtype}
        inputs = {name: torch.from_numpy(array).to(**place) for name, array in arrays.items()}
        model, id_image = self.model, inputs["id_image"]
        # the unconditional branch: tokens of an all-zero image, the same hint
        tokens = model.tokens(torch.cat([id_image, torch.zeros_like(id_image[:1])]))
        hint = model.hint_features(inputs["collage"], inputs["shape_mask"])
        return Prepared(tokens[:-1], tokens[-1:], hint, shown[0].placement.resolution)

    @torch.no_grad()
    def denoise(
        self,
        prepared: Prepared,
        seeds: Sequence[Sequence[int]],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
    ) -> Iterator[Denoised]:
        """Yield the DDIM steps of every prepared pair with its seeds, all in one batch.

        Args:
            prepared: B pairs, from `prepare`.
            seeds: for each of them K seeds; the result's batch is (B * K), pair by pair.
            num_inference_steps, guidance_scale: as in a call.
        """
        guidance = self.config.guidance_scale if guidance_scale is None else guidance_scale
        steps = self._number_of_steps(num_inference_steps)
        schedule = Schedule.of(self.scheduler)
        timesteps = spaced_timesteps(steps, len(schedule), self.scheduler.config.timestep_spacing)
        last = 1.0 if self.scheduler.config.set_alpha_to_one else float(schedule.alphas_cumprod[0])
        denoiser = bind_conditioning(self.model, schedule, prepared, len(seeds[0]), guidance)
        noise = self._noise(prepared.resolution, seeds)
        yield from sample_ddim(denoiser, noise, timesteps, schedule, last)

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures (B, R, R, 3) uint8 of scaled latents (B, 4, h, w)."""
        images = self.model.images(latents.to(self.vae.dtype)).float()
        pixels = (images.clamp(-1, 1) + 1) * 127.5
        return pixels.round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()

    def _number_of_steps(self, asked: int | None) -> int:
        return int(self.config.num_inference_steps if asked is None else asked)

    def _noise(self, resolution: int, seeds: Sequence[Sequence[int]]) -> torch.Tensor:
        side = resolution // 2 ** (len(self.vae.config.block_out_channels) - 1)
        size = (self.unet.config.in_channels, side, side)
        flat = [seed for several in seeds for seed in several]
        drawn = [generator(seed, 0, "latents").standard_normal(size, np.float32) for seed in flat]
        return torch.from_numpy(np.stack(drawn)).to(self._execution_device)


def bind_conditioning(
    model: AnyDoor,
    schedule: Schedule,
    prepared: Prepared,
    num_seeds: int,
    guidance: float,
) -> Callable[[torch.Tensor, torch.Tensor], torch.Tensor]:
    """A denoiser (x, t) -> eps with tokens, hint and guidance bound; x and eps are float32.

    The networks may be of lower precision; the step itself, which divides by alpha_t, may not.

    Args:
        model, schedule: the networks and what they predict.
        prepared: B pairs.
        num_seeds: K; x is (B * K, 4, h, w), the seeds of a pair beside each other.
        guidance: scale; 1 leaves the unconditional half out.
    """
    guided = guidance != 1.0
    tokens, hint = prepared.tokens, prepared.hint
    if guided:
        tokens = torch.cat([tokens, prepared.unconditional.expand_as(tokens)])
        hint = torch.cat([hint, hint])
    spread = tokens.repeat_interleave(num_seeds, dim=0)

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        details = model.details(hint, t[:1].expand(len(tokens)), tokens)
        details = tuple(d.repeat_interleave(num_seeds, dim=0) for d in details)
        doubled, times = (torch.cat([x, x]), torch.cat([t, t])) if guided else (x, t)
        output = model(doubled.to(tokens.dtype), times, spread, details)
        eps = schedule.noise_of(output.float(), doubled, times)
        if not guided:
            return eps
        conditional, unconditional = eps.chunk(2)
        return guide(conditional, unconditional, guidance)

    return denoise
