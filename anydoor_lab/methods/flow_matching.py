"""Later systems through diffusers: FLUX.1 Fill with Redux, Kontext, Qwen-Image-Edit, FLUX.2."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from anydoor_lab.methods.inpainting import (
    Canvas,
    Inpainting,
    Needs,
    brought,
    pipeline_class,
    read_pipeline,
)
from anydoor_lab.models.sources import MissingError, obtain_pipeline, reading

_FLUX = "FLUX.1 [dev] Non-Commercial"


@dataclass(eq=False, kw_only=True)
class FluxFillRedux(Inpainting):
    """FLUX.1 Fill, told what to paint by Redux's embedding of the reference.

    Args:
        redux: folder or hub name of the Redux prior.
    """

    needs = Needs(
        "black-forest-labs/FLUX.1-Fill-dev, black-forest-labs/FLUX.1-Redux-dev", 36, _FLUX
    )
    pipeline_name = "FluxFillPipeline"

    redux: str | Path | Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._redux, self._prior = obtain_pipeline(self.redux, "method.redux"), None

    @property
    def prior(self) -> Any:
        """The prior, with the text encoders of the pipeline."""
        if self._prior is None:
            names = ("text_encoder", "tokenizer", "text_encoder_2", "tokenizer_2")
            shared = {name: getattr(self.pipeline, name) for name in names} if self.prompt else {}
            kind = pipeline_class("FluxPriorReduxPipeline")
            with reading(self._redux):
                made = read_pipeline(kind, self._redux, self.device, **shared)
                self._prior = made.to(self.device) if shared else brought(made, self.device)
        return self._prior

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference's embedding."""
        told = {"prompt": self.prompt} if self.prompt else {}
        embedded = self.prior(canvas.reference, **told)
        return self.picture(
            image=canvas.crop,
            mask_image=canvas.mask,
            prompt_embeds=embedded.prompt_embeds,
            pooled_prompt_embeds=embedded.pooled_prompt_embeds,
            generator=generator,
        )


class FluxKontext(Inpainting):
    """FLUX.1 Kontext's inpainting, which has the reference among its tokens."""

    needs = Needs("black-forest-labs/FLUX.1-Kontext-dev", 36, _FLUX)
    pipeline_name = "FluxKontextInpaintPipeline"

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference."""
        return self.picture(
            prompt=self.prompt,
            image=canvas.crop,
            mask_image=canvas.mask,
            image_reference=canvas.reference,
            strength=1.0,
            max_area=self.resolution**2,
            _auto_resize=False,
            generator=generator,
        )


class Flux2Klein(Inpainting):
    """FLUX.2 [klein]'s inpainting, which has the reference among its tokens."""

    needs = Needs("black-forest-labs/FLUX.2-klein-4B", 18, "Apache-2.0")
    pipeline_name = "Flux2KleinInpaintPipeline"

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference."""
        return self.picture(
            prompt=self.prompt,
            image=canvas.crop,
            mask_image=canvas.mask,
            image_reference=canvas.reference,
            strength=1.0,
            generator=generator,
        )


class QwenImageEdit(Inpainting):
    """Qwen-Image-Edit with two pictures: it edits the whole crop, of which the region is kept."""

    needs = Needs("Qwen/Qwen-Image-Edit-2511", 60, "Apache-2.0")
    pipeline_name = "QwenImageEditPlusPipeline"

    def __post_init__(self) -> None:
        if find_spec("torchvision") is None:
            raise MissingError(
                "no torchvision, which transformers needs to read Qwen's processor; "
                "pip install torchvision"
            )
        super().__post_init__()

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop edited as the prompt says of pictures 1 (the crop) and 2 (the reference)."""
        return self.picture(
            image=[canvas.crop, canvas.reference],
            prompt=self.prompt,
            negative_prompt=" ",
            true_cfg_scale=self.guidance_scale,
            guidance_scale=None,
            generator=generator,
        )
