"""Images to latents and back, for a diffusers `AutoencoderKL` with its scaling factor.

A UNet with p x p times the autoencoder's channels reads p x p latents as one, channels first and
then rows and columns (as Flux packs its latents): a fine autoencoder before a small, fast UNet.
"""

from __future__ import annotations

from math import isqrt

import torch
from diffusers import AutoencoderKL
from diffusers.models.autoencoders.vae import DiagonalGaussianDistribution
from torch.nn.functional import pixel_shuffle, pixel_unshuffle

from anydoor_lab.structures.errors import InputError


def latents_side(vae: AutoencoderKL, channels: int) -> int:
    """p: side of the square of latents that a UNet of so many channels reads as one; mostly 1.

    Raises:
        ValueError: `channels` are not p x p times the autoencoder's.
    """
    own = vae.config.latent_channels
    side = isqrt(channels // own)
    if side < 1 or side * side * own != channels:
        seen = f"a UNet of {channels} channels before an autoencoder of {own}"
        raise InputError(f"{seen}; expected {own}, or 4, 9, 16 ... times as many")
    return side


def latents_shape(vae: AutoencoderKL, channels: int, height: int, width: int) -> tuple[int, ...]:
    """(C, h, w) of what a UNet of C channels sees of pictures of `height` x `width` pixels."""
    factor = 2 ** (len(vae.config.block_out_channels) - 1) * latents_side(vae, channels)
    return channels, height // factor, width // factor


def encode_image(
    vae: AutoencoderKL, image: torch.Tensor, noise: torch.Tensor | None = None, side: int = 1
) -> torch.Tensor:
    """Scaled latents (B, C, h, w) of `image` (B, 3, R, R) in [-1, 1], `side` x `side` as one.

    With `noise` (B, C, h, w, standard normal) a sample of the posterior, else its mode.
    """
    return latents_of(vae, posterior_of(vae, image), noise, side)


def posterior_of(vae: AutoencoderKL, image: torch.Tensor) -> torch.Tensor:
    """Mean and log variance (B, 2 C, h, w) of the latents of `image` (B, 3, R, R) in [-1, 1]."""
    parameters: torch.Tensor = vae.encode(image).latent_dist.parameters
    return parameters


def latents_of(
    vae: AutoencoderKL, parameters: torch.Tensor, noise: torch.Tensor | None = None, side: int = 1
) -> torch.Tensor:
    """The latents that `encode_image` makes of what `posterior_of` found."""
    posterior = DiagonalGaussianDistribution(parameters)
    latents = posterior.mean
    if noise is not None:
        latents = latents + posterior.std * pixel_shuffle(noise, side)
    return pixel_unshuffle(latents, side) * vae.config.scaling_factor


def decode_latents(vae: AutoencoderKL, latents: torch.Tensor, side: int = 1) -> torch.Tensor:
    """Images (B, 3, R, R), nominally in [-1, 1], not clipped, of scaled `latents`."""
    return vae.decode(pixel_shuffle(latents, side) / vae.config.scaling_factor).sample
