"""The nearest that stock diffusers has: a ControlNet beside the same UNet, same sizes and steps."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from diffusers import ControlNetModel, StableDiffusionControlNetPipeline

from anydoor_lab.models.unet import decoder_modules
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


def controlnet_of(pipeline: AnyDoorPipeline) -> Any:
    """A ControlNet of the detail extractor's sizes, on three-channel pictures."""
    stem = pipeline.detail_extractor.config.conditioning_embedding_out_channels
    made = ControlNetModel.from_unet(pipeline.unet, conditioning_embedding_out_channels=stem)
    return made.to(pipeline.unet.device, pipeline.unet.dtype)


def stock_place(pipeline: AnyDoorPipeline, num_tokens: int, images: int) -> Callable[[], Any]:
    """A call of `StableDiffusionControlNetPipeline`, DDIM and guidance as the pipeline's; pictures
    are decoded where the autoencoder's latents are the UNet's."""
    unet, scheduler, config = pipeline.unet, pipeline.scheduler, pipeline.config
    stock = StableDiffusionControlNetPipeline(
        pipeline.vae, None, None, unet, controlnet_of(pipeline), scheduler, None, None,
        requires_safety_checker=False,
    )  # fmt: skip
    stock.set_progress_bar_config(disable=True)
    place: dict[str, Any] = {"device": unet.device, "dtype": unet.dtype}
    side = config.resolution
    tokens = torch.randn(2, num_tokens, unet.config.cross_attention_dim, **place)
    latents = torch.randn(pipeline.start_noise(side, [list(range(images))]).shape, **place)
    whole = unet.config.in_channels == pipeline.vae.config.latent_channels

    def call() -> None:
        stock(
            prompt_embeds=tokens[:1], negative_prompt_embeds=tokens[1:],
            image=torch.rand(1, 3, side, side, **place), latents=latents.clone(),
            height=side, width=side, num_images_per_prompt=images,
            num_inference_steps=config.num_inference_steps,
            guidance_scale=config.guidance_scale, output_type="pt" if whole else "latent",
        )  # fmt: skip

    return call


def stock_step(pipeline: AnyDoorPipeline, num_tokens: int, batch: int) -> Callable[[], Any]:
    """A training step on cached latents and tokens, as diffusers' own example makes it: weights in
    fp32 under bf16 autocast, AdamW, the ControlNet and the UNet's decoder trained."""
    unet = pipeline.unet.float()
    control = controlnet_of(pipeline).float()
    unet.requires_grad_(False)
    for part in decoder_modules(unet):
        part.requires_grad_(True)
    trained = [p for network in (unet, control) for p in network.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-5)
    device, side = unet.device, pipeline.config.resolution
    shape = pipeline.model.latent_shape(torch.empty(batch, 3, side, side, device="meta"))
    latents = torch.randn(batch, *shape, device=device)
    tokens = torch.randn(batch, num_tokens, unet.config.cross_attention_dim, device=device)
    picture = torch.rand(batch, 3, side, side, device=device)
    t = torch.full((batch,), 500, device=device)

    def step() -> None:
        with torch.autocast(device.type, torch.bfloat16):
            down, middle = control(latents, t, tokens, picture, return_dict=False)
            output = unet(
                latents, t, tokens,
                down_block_additional_residuals=down, mid_block_additional_residual=middle,
            ).sample  # fmt: skip
            loss = (output.float() ** 2).mean()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    return step
