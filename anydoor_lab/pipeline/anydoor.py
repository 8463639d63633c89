"""AnyDoor as a diffusers pipeline: pictures in, pictures out, over a tensor core."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Literal

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel
from PIL import Image

from anydoor_lab import HOMES
from anydoor_lab.conditioning.collage import Collage, named_collage
from anydoor_lab.conditioning.conditioner import Conditioner, Conditioning, Shape
from anydoor_lab.conditioning.official import OfficialConditioner
from anydoor_lab.conditioning.placement import BLENDS, Blend, paste
from anydoor_lab.diffusion.guidance import BoundDenoiser, Prepared
from anydoor_lab.diffusion.presets import named_preset, solver_scheduler
from anydoor_lab.diffusion.sampler import Denoised, sample_by, sample_ddim, spaced_timesteps
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx import clip, dinov2, vgg  # noqa: F401  from_pretrained must know them
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.models.lora import AdapterFiles
from anydoor_lab.models.unet import keep_projections
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import Picture, as_picture
from anydoor_lab.structures.rng import rng_for

SHAPES = ("box", "mask")
OUTPUT_TYPES = ("pil", "np")
PREPROCESSINGS = ("default", "official")
CHUNK_ROWS = 16
"""Detail maps computed at once on a GPU, the two halves of the guidance counted."""


@dataclass(frozen=True, slots=True, eq=False)
class Placed:
    """What placing an object gives back.

    Args:
        images: one scene (H, W, 3) uint8 or PIL picture per proposal.
        crops: the generated crops, (R, R, 3) uint8 each.
        conditioning: what the model was shown for the first proposal.
    """

    images: list[Any]
    crops: list[np.ndarray]
    conditioning: Conditioning


class AnyDoorPipeline(AdapterFiles, DiffusionPipeline):
    """Puts the object of a reference into a marked place of a scene.

    Args:
        unet, vae, detail_extractor, id_extractor, scheduler: the networks of Figure 2; the
            scheduler gives the noise schedule.
        resolution, id_size, zoom, grow, id_margin, remove_background: as `Conditioner`.
        collage: name of the one of the five collages the weights were trained with.
        collage_settings: keyword arguments of collages by their names.
        num_inference_steps, guidance_scale: defaults of a call.
        preprocessing: how pairs are shown: `default`, or `official`, as the released code does
            (inference only; the whole crop is then written back with blend="crop").
    """

    # the detail extractor takes turns with the UNet at every step: both stay once they are needed
    model_cpu_offload_seq = "id_extractor->unet->vae"

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
        preprocessing: str = "default",
    ) -> None:
        super().__init__()
        self._zero: tuple[Any, ...] | None = None
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
            preprocessing=preprocessing,
        )

    def register_modules(self, **modules: Any) -> None:
        """As diffusers', but classes of this package are saved under their public names."""
        super().register_modules(**modules)
        kinds = {name: type(module).__name__ for name, module in modules.items() if module}
        public = {name: ("anydoor_lab", kind) for name, kind in kinds.items() if kind in HOMES}
        self.register_to_config(**public)

    @property
    def model(self) -> AnyDoor:
        """The networks as one model."""
        return AnyDoor(self.unet, self.vae, self.detail_extractor, self.id_extractor)

    def conditioner(
        self, collage: str | Collage | None = None
    ) -> Conditioner | OfficialConditioner:
        """How this pipeline shows pairs to the model, optionally with another collage.

        Raises:
            ValueError: `collage` is not one of the five names, or the pipeline's preprocessing
                neither default nor official.
        """
        check_choice("preprocessing", self.config.preprocessing, PREPROCESSINGS)
        names = ("resolution", "id_size", "zoom", "grow", "id_margin", "remove_background")
        settings = {name: self.config[name] for name in names}
        chosen = self.config.collage if collage is None else collage
        own = self.config.collage_settings.get(chosen, {}) if isinstance(chosen, str) else {}
        if self.config.preprocessing == "official":
            del settings["remove_background"]
            other = None if chosen == "hf" else partial(named_collage(chosen), **own)
            return OfficialConditioner(**settings, collage=other)
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
        preset: str = "exact",
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
            seed: of the starting noise and of what a collage draws, independent of device and
                batch.
            collage: another collage than the weights' own.
            shape: hand on the region's `box` or its `mask` (outline); default: `mask` for a
                scene_mask, else `box`.
            blend: what is written back: the region's `box`, its `mask`, or the whole `crop`.
            preset: `exact`, or the approximate `fast` and `draft` (`diffusion.presets`).
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
            raise InputError(
                f"num_proposals is {num_proposals} and seed {seed}; expected at least 1 and 0"
            )
        asked = [[seed + k for k in range(num_proposals)]]
        shown, seeds = shown_by_seed(self.conditioner(collage), [pair], asked, shape)
        steps = self.denoise(
            self.prepare(shown), seeds, num_inference_steps, guidance_scale, preset
        )
        with self.progress_bar(total=len(self.timesteps(num_inference_steps, preset))) as bar:
            for denoised in steps:
                if callback_on_step_end is not None:
                    callback_on_step_end(self, denoised.step, denoised.t, {"latents": denoised.x})
                bar.update()
        crops = list(self.decode(denoised.x))
        self.maybe_free_model_hooks()
        images: list[Any] = [paste(crop, pair, shown[0].placement, blend) for crop in crops]
        if output_type == "pil":
            images = [Image.fromarray(image) for image in images]
        return Placed(images, crops, shown[0])

    @torch.no_grad()
    def prepare(self, shown: Sequence[Conditioning]) -> Prepared:
        """What the steps need of B conditionings; the costly encoders run here and only here.

        Keep it to try other seeds, steps or guidance on the same pairs.
        """
        names = ("id_image", "collage", "shape_mask")
        arrays = {name: np.stack([getattr(one, name) for one in shown]) for name in names}
        place = {"device": self._execution_device, "dtype": self.unet.dtype}
        inputs = {name: torch.from_numpy(array).to(**place) for name, array in arrays.items()}
        tokens = self.model.tokens(inputs["id_image"])
        unconditional = self._unconditional(inputs["id_image"])
        hint = self.model.hint_features(inputs["collage"], inputs["shape_mask"])
        return Prepared(tokens, unconditional, hint, shown[0].placement.resolution)

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
    ) -> Iterator[Denoised]:
        """Yield the steps of every prepared pair with its seeds, all in one batch.

        Args:
            prepared: B pairs, from `prepare`.
            seeds: for each of them K seeds; the result's batch is (B * K), pair by pair.
            num_inference_steps, guidance_scale, preset: as in a call.
        """
        chosen = named_preset(preset)
        guidance = self.config.guidance_scale if guidance_scale is None else guidance_scale
        schedule = Schedule.of(self.scheduler)
        timesteps = self.timesteps(num_inference_steps, preset)
        savings = replace(chosen.savings, chunk=self._chunk(len(prepared.tokens)))
        sizes = (len(seeds[0]), guidance, timesteps, savings)
        denoiser = BoundDenoiser(self.model, schedule, prepared, *sizes)
        for network in (self.unet, self.detail_extractor):
            keep_projections(network)
        noise = self.start_noise(prepared.resolution, seeds)
        if chosen.solver == "ddim":
            yield from sample_ddim(denoiser, noise, timesteps, schedule, self.last_alpha)
        else:
            solver = solver_scheduler(self.scheduler, len(timesteps), noise.device)
            yield from sample_by(solver, denoiser, noise, schedule)

    def sample(
        self,
        prepared: Prepared,
        seeds: Sequence[Sequence[int]],
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        preset: str = "exact",
    ) -> torch.Tensor:
        """The latents (B * K, 4, h, w) after the last step of `denoise`."""
        for denoised in self.denoise(prepared, seeds, num_inference_steps, guidance_scale, preset):
            latents = denoised.x
        return latents

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
        """For how many timesteps the detail maps are computed at once: what fills a GPU."""
        return max(1, CHUNK_ROWS // (2 * pairs)) if self._execution_device.type == "cuda" else 1

    @torch.no_grad()
    def decode(self, latents: torch.Tensor) -> np.ndarray:
        """Pictures (B, R, R, 3) uint8 of scaled latents (B, 4, h, w)."""
        images = self.model.images(latents.to(self.vae.dtype))
        return as_picture(images.float().cpu().numpy())

    @property
    def last_alpha(self) -> float:
        """alphas_cumprod after the last DDIM step."""
        if self.scheduler.config.set_alpha_to_one:
            return 1.0
        return float(self.scheduler.alphas_cumprod[0])

    def start_noise(self, resolution: int, seeds: Sequence[Sequence[int]]) -> torch.Tensor:
        """(B * K, 4, h, w) standard normal numbers, each from its own seed."""
        side = resolution // 2 ** (len(self.vae.config.block_out_channels) - 1)
        size = (self.unet.config.in_channels, side, side)
        flat = [seed for several in seeds for seed in several]
        drawn = [rng_for(seed, 0, "latents").standard_normal(size, np.float32) for seed in flat]
        return torch.from_numpy(np.stack(drawn)).to(self._execution_device)
