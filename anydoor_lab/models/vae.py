"""Images to latents and back, for a diffusers `AutoencoderKL` with its scaling factor."""

from __future__ import annotations

import torch
from diffusers import AutoencoderKL


def encode_image(
    vae: AutoencoderKL, image: torch.Tensor, noise: torch.Tensor | None = None
) -> torch.Tensor:
    """Scaled latents (B, 4, h, w) of `image` (B, 3, R, R) in [-1, 1].

    With `noise` (B, 4, h, w, standard normal) a sample of the posterior, else its mode.
    """
    posterior = vae.encode(image).latent_dist
    latents = posterior.mean if noise is None else posterior.mean + posterior.std * noise
    return latents * vae.config.scaling_factor


def decode_latents(vae: AutoencoderKL, latents: torch.Tensor) -> torch.Tensor:
    """Images (B, 3, R, R), nominally in [-1, 1], not clipped, of scaled `latents`."""
    return vae.decode(latents / vae.config.scaling_factor).sample
