"""Methods on Stable Diffusion 1.5: inpainting by caption, by an adapter, by example (Fig. 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from PIL import Image
from transformers import CLIPImageProcessor, CLIPVisionModelWithProjection

from anydoor_lab.methods.inpainting import Canvas, Inpainting, Needs, read_pipeline
from anydoor_lab.models.idx.tokens import CLIP_MEAN, CLIP_STD, normalise
from anydoor_lab.models.sources import obtain, obtain_file
from anydoor_lab.structures.images import resized


class SdInpaint(Inpainting):
    """Stable Diffusion's inpainting model, told what to paint by a caption; sees no reference."""

    needs = Needs("stable-diffusion-v1-5/stable-diffusion-inpainting", 3, "CreativeML OpenRAIL-M")
    pipeline_name = "StableDiffusionInpaintPipeline"


@dataclass(eq=False, kw_only=True)
class IpAdapter(Inpainting):
    """The same model shown the reference by IP-Adapter's cross-attention (Ye et al. 2023).

    Args:
        adapter: folder or hub name of the adapters.
        weights: file of the adapter in it.
        encoder: folder of the image encoder in it.
        scale: how much the reference counts, from 0.
    """

    needs = Needs(
        "stable-diffusion-v1-5/stable-diffusion-inpainting, h94/IP-Adapter", 5,
        "CreativeML OpenRAIL-M, Apache-2.0",
    )  # fmt: skip
    pipeline_name = "StableDiffusionInpaintPipeline"

    adapter: str | Path | Sequence[str]
    weights: str = "models/ip-adapter-plus_sd15.safetensors"
    encoder: str = "models/image_encoder"
    scale: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        shown = obtain(self.adapter, (self.encoder,), "method.adapter")
        self._encoder = shown / self.encoder
        self._weights = obtain_file(self.adapter, self.weights, "method.adapter")

    def loaded(self) -> Any:
        """The pipeline with the adapter in its attention."""
        precision = torch.float32 if self.device == "cpu" else torch.bfloat16
        encoder = CLIPVisionModelWithProjection.from_pretrained(self._encoder, dtype=precision)
        made = read_pipeline(self.pipeline_class, self.folder, self.device, image_encoder=encoder)
        made.load_ip_adapter(str(self._weights.parent), "", self._weights.name)
        made.set_ip_adapter_scale(self.scale)
        return made

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference."""
        return self.picture(
            prompt=self.prompt,
            image=canvas.crop,
            mask_image=canvas.mask,
            ip_adapter_image=canvas.reference,
            generator=generator,
        )


class PaintByExample(Inpainting):
    """Paint by Example (Yang et al. 2023): the class token of the reference in caption's place."""

    needs = Needs("Fantasy-Studio/Paint-by-Example", 4, "CreativeML OpenRAIL-M")
    pipeline_name = "PaintByExamplePipeline"

    def loaded(self) -> Any:
        """The pipeline, part by part: diffusers no longer finds its encoder by the name in its
        index."""
        given: Any = {"torch_dtype": torch.float32 if self.device == "cpu" else torch.bfloat16}
        encoder = import_module(self.pipeline_class.__module__).PaintByExampleImageEncoder
        made = self.pipeline_class(
            vae=AutoencoderKL.from_pretrained(self.folder / "vae", **given),
            unet=UNet2DConditionModel.from_pretrained(self.folder / "unet", **given),
            image_encoder=encoder.from_pretrained(
                self.folder / "image_encoder", dtype=given["torch_dtype"]
            ),
            scheduler=DDIMScheduler.from_pretrained(self.folder / "scheduler"),
            feature_extractor=CLIPImageProcessor.from_pretrained(self.folder / "feature_extractor"),
            safety_checker=None,
        )
        made.set_progress_bar_config(disable=True)
        return made

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference; this pipeline takes no text."""
        return self.picture(
            example_image=canvas.reference,
            image=canvas.crop,
            mask_image=canvas.mask,
            generator=generator,
        )


@dataclass(eq=False, kw_only=True)
class Graphit(Inpainting):
    """Graphit-SD (NAVER, 2023): the reference's CLIP embedding in the caption's place.

    Its UNet is read into diffusers' inpainting pipeline: of the nine channels it is shown, its mask
    is the last and the pipeline's the fifth, so the first convolution's channels change places. Its
    prior (CompoDiff) is for changes by text and is left out.

    Args:
        unet: folder or hub name of its UNet.
        encoder: of the CLIP image encoder with projection.
        source: of VAE and scheduler.
    """

    needs = Needs(
        "navervision/Graphit-SD, openai/clip-vit-large-patch14, "
        "stable-diffusion-v1-5/stable-diffusion-inpainting", 4,
        "Apache-2.0, MIT, CreativeML OpenRAIL-M",
    )  # fmt: skip
    pipeline_name = "StableDiffusionInpaintPipeline"

    unet: str | Path | Sequence[str]
    encoder: str | Path | Sequence[str]

    def __post_init__(self) -> None:
        super().__post_init__()
        self._unet = obtain(self.unet, setting="method.unet")
        self._encoder = obtain(self.encoder, setting="method.encoder")

    def loaded(self) -> Any:
        """The pipeline with Graphit's UNet in its place."""
        precision = torch.float32 if self.device == "cpu" else torch.bfloat16
        unet = UNet2DConditionModel.from_pretrained(self._unet, torch_dtype=precision)
        with torch.no_grad():
            first = unet.conv_in.weight
            first.copy_(torch.cat([first[:, :4], first[:, 8:], first[:, 4:8]], dim=1))
        encoder = CLIPVisionModelWithProjection.from_pretrained(self._encoder, dtype=precision)
        return read_pipeline(
            self.pipeline_class, self.folder, self.device, unet=unet, image_encoder=encoder
        )

    def painted(self, canvas: Canvas, generator: torch.Generator) -> Image.Image:
        """The crop painted after the reference's embedding; the unconditional one is zero."""
        encoder = self.pipeline.image_encoder
        side = encoder.config.image_size
        pixels = torch.from_numpy(resized(np.asarray(canvas.reference), side, side) / 255)
        shown = normalise(pixels.permute(2, 0, 1)[None], CLIP_MEAN, CLIP_STD)
        with torch.no_grad():
            tokens = encoder(shown.to(encoder.device, encoder.dtype)).image_embeds[:, None]
        return self.picture(
            prompt_embeds=tokens,
            negative_prompt_embeds=torch.zeros_like(tokens),
            image=canvas.crop,
            mask_image=canvas.mask,
            generator=generator,
        )
