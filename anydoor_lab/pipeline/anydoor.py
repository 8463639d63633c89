"""AnyDoor as a diffusers pipeline: pictures in, pictures out, over a tensor core."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import numpy as np
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel

from anydoor_lab import HOMES
from anydoor_lab.conditioning.collage import Collage, named_collage
from anydoor_lab.conditioning.conditioner import Conditioner, Shape
from anydoor_lab.conditioning.official import PREPROCESSINGS, OfficialConditioner, paste_decoded
from anydoor_lab.conditioning.placement import BLENDS, Blend
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.idx import clip, dinov2, vgg  # noqa: F401  from_pretrained must know them
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.models.lora import AdapterFiles
from anydoor_lab.pipeline.core import TensorCore
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.pipeline.results import AnyDoorPipelineOutput
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_choice, check_finite
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.originals import Picture, original_of

SHAPES = ("box", "mask")
OUTPUT_TYPES = ("pil", "np")


class AnyDoorPipeline(AdapterFiles, TensorCore, DiffusionPipeline):
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
        self._model: AnyDoor | None = None
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
    ) -> AnyDoorPipelineOutput:
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
            output_type: `pil`, which keeps the scene's alpha, colour profile and resolution, or
                `np`, in sRGB.
            callback_on_step_end: (pipeline, step, t, {"latents": ...}) as in diffusers; what it
                returns is not read.

        Raises:
            ValueError, TypeError, UnusablePair: inputs that do not fit together.
            RuntimeError: the networks' output is not finite.
        """
        original = original_of(scene, "scene")
        pair = make_pair(reference, original.rgb, reference_mask, scene_mask, box)
        original.check_visible(pair.scene_mask)
        shape = shape or ("box" if scene_mask is None else "mask")
        check_choice("shape", shape, SHAPES)
        check_choice("blend", blend, BLENDS)
        check_choice("output_type", output_type, OUTPUT_TYPES)
        if guidance_scale is not None:
            check_finite("guidance_scale", guidance_scale)
        if num_proposals < 1 or seed < 0:
            raise InputError(
                f"num_proposals is {num_proposals} and seed {seed}; expected at least 1 and 0"
            )
        asked = [[seed + k for k in range(num_proposals)]]
        shown, seeds = shown_by_seed(self.conditioner(collage), [pair], asked, shape)
        prepared = self.prepare(shown)
        steps = self.denoise(prepared, seeds, num_inference_steps, guidance_scale, preset)
        with self.progress_bar(total=len(self.timesteps(num_inference_steps, preset))) as bar:
            for denoised in steps:
                if callback_on_step_end is not None:
                    callback_on_step_end(self, denoised.step, denoised.t, {"latents": denoised.x})
                bar.update()
        decoded = self.model.decoded(denoised.x)
        self.maybe_free_model_hooks()
        how = (pair, shown[0].placement, blend, self.config.preprocessing)
        finish: Any = original.changed_to if output_type == "pil" else np.asarray
        images = [finish(paste_decoded(picture, *how)) for picture in decoded]
        return AnyDoorPipelineOutput(images, list(as_picture(decoded)), shown[0])
