"""AnyDoor as a diffusers pipeline: pictures in, pictures out, over a tensor core."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import diffusers
import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, DiffusionPipeline, UNet2DConditionModel

from anydoor_lab import HOMES
from anydoor_lab.conditioning.collage import Collage, named_collage
from anydoor_lab.conditioning.conditioner import Conditioner, Shape
from anydoor_lab.conditioning.official import PREPROCESSINGS, OfficialConditioner, paste_decoded
from anydoor_lab.conditioning.placement import BLENDS, Blend
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.finite import check_finite
from anydoor_lab.models.idx import clip, dinov2, vgg  # noqa: F401  from_pretrained must know them
from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.models.lora import AdapterFiles
from anydoor_lab.pipeline.callbacks import (
    TENSOR_INPUTS,
    Callback,
    check_callback,
    latents_after,
)
from anydoor_lab.pipeline.captures import Captures
from anydoor_lab.pipeline.core import TensorCore
from anydoor_lab.pipeline.inputs import make_pair, taken
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.pipeline.results import (
    OUTPUT_TYPES,
    AnyDoorPipelineOutput,
    OutputType,
    finished,
)
from anydoor_lab.pipeline.seeds import proposal_seeds
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.originals import Picture

SHAPES = ("box", "mask")


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

    _callback_tensor_inputs = list(TENSOR_INPUTS)
    _interrupt = False
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
        self.captures = Captures()
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
        """As diffusers', but classes of this package are saved under their public names.

        Raises:
            ValueError: a network has weights that are not finite.
        """
        for name, module in modules.items():
            if isinstance(module, torch.nn.Module):
                check_finite(name, module)
        super().register_modules(**modules)
        kinds = {name: type(module).__name__ for name, module in modules.items() if module}
        public = {name: ("anydoor_lab", kind) for name, kind in kinds.items() if kind in HOMES}
        self.register_to_config(**public)

    @classmethod
    def from_pipe(cls, pipeline: DiffusionPipeline, **changes: Any) -> AnyDoorPipeline:
        """As diffusers': another pipeline of the same networks, with other settings or components.

        ID extractors are handed on whatever their class, which diffusers would compare with the
        protocol's name.
        """
        expected = cls._get_signature_keys(cls)[0]
        parts = {n: part for n, part in pipeline.components.items() if n in expected}
        made: AnyDoorPipeline = super().from_pipe(pipeline, **(parts | changes))
        return made

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

    @property
    def interrupt(self) -> bool:
        """Whether the running call is to end after its present step; a callback may set it."""
        return self._interrupt

    @interrupt.setter
    def interrupt(self, value: bool) -> None:
        self._interrupt = value

    def __call__(
        self,
        reference: Picture | str | Path,
        scene: Picture | str | Path,
        reference_mask: Picture | str | Path | None = None,
        scene_mask: Picture | str | Path | None = None,
        box: Box | Sequence[int] | np.ndarray | None = None,
        num_proposals: int = 1,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        seed: int | None = None,
        collage: str | Collage | None = None,
        shape: Shape | None = None,
        blend: Blend = "box",
        preset: str = "exact",
        output_type: OutputType = "pil",
        callback_on_step_end: Callback | None = None,
        callback_on_step_end_tensor_inputs: Sequence[str] = TENSOR_INPUTS,
        generator: torch.Generator | Sequence[torch.Generator] | None = None,
        return_dict: bool = True,
    ) -> Any:
        """The scene with the object in it, once per proposal, as `AnyDoorPipelineOutput`.

        Args:
            reference: the object's photo, any size; PIL or a file's path (RGBA gives the mask), or
                (H, W, 3) uint8.
            scene: the picture to place into, any size.
            reference_mask: where the object is; not needed for an RGBA reference.
            scene_mask: the region asked for, or
            box: [y1, x1, y2, x2] in pixels of the scene (numbers, an array, or a `Box`).
            num_proposals: results, from the seeds `seed`, `seed` + 1 ...
            num_inference_steps: DDIM steps.
            guidance_scale: of classifier-free guidance, from 0; 1 is none.
            seed: of the starting noise and of what a collage draws, independent of device and
                batch, below 2^64; 0 by default.
            collage: another collage than the weights' own.
            shape: hand on the region's `box` or its `mask` (outline); default: `mask` for a
                scene_mask, else `box`.
            blend: what is written back: the region's `box`, its `mask`, or the whole `crop`.
            preset: `exact`, or the approximate `fast` and `draft` (`diffusion.presets`).
            output_type: `pil`, which keeps the scene's alpha, colour profile and resolution, `np`
                or `pt`, see `results.finished`.
            callback_on_step_end: (pipeline, step, t, {"latents": ...}) as in diffusers: the next
                step starts from the latents it returns. `pipeline.interrupt = True` in it makes
                its step the last.
            callback_on_step_end_tensor_inputs: what it is given: `latents` or nothing.
            generator: instead of `seed`: seeds are drawn from it (one for each proposal, or one of
                each of a list), so that a second call goes on.
            return_dict: False gives the plain tuple (images, crops, conditioning).

        Raises:
            ValueError, TypeError, UnusablePair, FileNotFoundError: inputs that do not fit.
            RuntimeError: the networks' output is not finite.
        """
        original = taken("scene", scene)
        pair = make_pair(reference, original.rgb, reference_mask, scene_mask, box)
        original.check_visible(pair.scene_mask)
        shape = shape or ("box" if scene_mask is None else "mask")
        check_choice("shape", shape, SHAPES)
        check_choice("blend", blend, BLENDS)
        check_choice("output_type", output_type, OUTPUT_TYPES)
        named = check_callback(callback_on_step_end, callback_on_step_end_tensor_inputs)
        guidance = self.guidance(guidance_scale)
        total = len(self.timesteps(num_inference_steps, preset))
        asked = [proposal_seeds(num_proposals, seed, generator)]
        shown, seeds = shown_by_seed(self.conditioner(collage), [pair], asked, shape)
        prepared = self.prepare(shown)
        self._interrupt = False
        with self.progress_bar(total=total) as bar:
            steps = self.denoise(prepared, seeds, num_inference_steps, guidance, preset)
            for denoised in steps:
                if callback_on_step_end is not None:
                    latents = latents_after(callback_on_step_end, self, denoised, named)
                    denoised = steps.send(latents)  # noqa: PLW2901  the step, now with these
                bar.update()
                if self._interrupt:
                    break
        decoded = self.model.decoded(denoised.x)
        self.maybe_free_model_hooks()
        how = (pair, shown[0].placement, blend, self.config.preprocessing)
        scenes = [paste_decoded(picture, *how) for picture in decoded]
        output = AnyDoorPipelineOutput(
            finished(scenes, output_type, original), list(as_picture(decoded)), shown[0]
        )
        return output if return_dict else output.to_tuple()


# `DiffusionPipeline.from_pretrained` looks a saved pipeline's class up among diffusers' own
diffusers.AnyDoorPipeline = AnyDoorPipeline
