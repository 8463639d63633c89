"""The tiny autoencoder: f = 4 with 4 latent channels, trained on crops framed as in the method."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL
from diffusers.models.resnet import ResnetBlock2D
from torch import nn
from torch.nn import functional

from anydoor_lab.pretraining.chance import drawn_by_index
from anydoor_lab.pretraining.frames import Frames, channels_first, framed, sheet, view
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.rng import rng_for


class CropSamples:
    """Crops in [-1, 1] of one object each: {"image": (3, S, S), "index"}.

    Args:
        frames: the identities.
        seed: decides every draw.
        side_px: S.
        share: the object's longer side as a fraction of the crop's, from and to.
        close_up: share of the samples that show the object filling the crop.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        seed: int,
        side_px: int = 64,
        share: tuple[float, float] = (0.45, 0.70),
        close_up: float = 0.15,
    ) -> None:
        self.frames, self.seed, self.side_px = frames, seed, side_px
        self.share, self.close_up = share, close_up

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "vae crop")
        frame = self.frames.frames(int(rng.integers(len(self.frames))))[int(rng.integers(2))]
        if rng.random() < self.close_up:
            image = view(frame, self.side_px, rng, cut_out=0.5)
        else:
            image = framed(frame, self.side_px, float(rng.uniform(*self.share)), rng)
        return {"image": channels_first(image, "symmetric"), "index": index}


class Autoencoding(nn.Module):
    """Reconstruction in L1, in the L1 of its gradients and in MSE, with a weak KL.

    Args:
        network: the autoencoder to train.
        chroma_gain: errors of colour count so many times those of brightness.
        coarse_weight: weight of the L1 of 4 x 4 means.
        gradient_weight, square_weight, kl_weight: weights beside the L1, which has 1; the KL is
            the mean over the latent's elements.
    """

    def __init__(
        self,
        network: AutoencoderKL,
        *,
        chroma_gain: float = 1.5,
        coarse_weight: float = 1.0,
        gradient_weight: float = 0.5,
        square_weight: float = 0.5,
        kl_weight: float = 2e-3,
    ) -> None:
        super().__init__()
        self.network = network
        _start_linear(network)
        self.chroma_gain = chroma_gain
        self.coarse_weight, self.gradient_weight = coarse_weight, gradient_weight
        self.square_weight, self.kl_weight = square_weight, kl_weight

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`loss` and `psnr` (dB) of {"image": (B, 3, S, S) in [-1, 1], "index": (B,)}."""
        image = batch["image"]
        posterior = self.network.encode(image).latent_dist
        with drawn_by_index(batch):
            latents = posterior.sample()
        restored = self.network.decode(latents).sample
        error = restored - image
        grey = error.mean(dim=1, keepdim=True)
        weighed = grey + self.chroma_gain * (error - grey)
        coarse = functional.avg_pool2d(weighed, 4).abs().mean()
        loss = weighed.abs().mean() + self.coarse_weight * coarse
        loss = loss + self.gradient_weight * _gradients(weighed)
        loss = loss + self.square_weight * weighed.square().mean()
        loss = loss + self.kl_weight * posterior.kl().mean() / posterior.mean[0].numel()
        loss = loss + self.extra_loss(restored, image)
        return {"loss": loss, "psnr": 10 * torch.log10(4 / error.detach().square().mean())}

    def extra_loss(self, restored: torch.Tensor, image: torch.Tensor) -> torch.Tensor:
        """What a subclass adds to the loss of `restored` for `image` (B, 3, S, S); here nothing."""
        return restored.new_zeros(())

    @torch.no_grad()
    def finish(self, samples: CropSamples, count: int) -> None:
        """Write 1 / (standard deviation of `count` samples' latents) into the config."""
        images = _stacked(samples, count)
        latents = self.network.encode(images).latent_dist.sample()
        self.network.register_to_config(scaling_factor=round(1 / float(latents.std()), 4))

    @torch.no_grad()
    def scores(self, samples: CropSamples, count: int) -> dict[str, float]:
        """PSNR in dB of `count` crops, from the means of the latents; and the latents' spread."""
        images = _stacked(samples, count)
        latents = self.network.encode(images).latent_dist.mode()
        restored = self.network.decode(latents).sample.clamp(-1, 1)
        error = (restored - images).square().mean(dim=(1, 2, 3))
        return {
            "psnr_db": float((10 * torch.log10(4 / error)).mean()),
            "latent_std": float(latents.std()),
            "crops": float(count),
        }

    @torch.no_grad()
    def picture(self, samples: CropSamples) -> np.ndarray:
        """Crops above their reconstructions, eight a row."""
        images = _stacked(samples, 24)
        restored = self.network.decode(self.network.encode(images).latent_dist.mode()).sample
        crops, results = (list(as_picture(each.numpy())) for each in (images, restored))
        rows = []
        for first in range(0, 24, 8):
            rows += [crops[first : first + 8], results[first : first + 8]]
        return sheet(rows)

    def save(self, folder: Path) -> None:
        """Write the autoencoder in diffusers' format with its weights in fp16."""
        self.network.half().save_pretrained(folder)
        self.network.float()


def _start_linear(network: AutoencoderKL) -> None:
    """Start as an almost linear map with little noise on the latents.

    From the default start all four channels are spent on brightness and colours come very late.
    """
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
        for module in network.modules():
            if isinstance(module, ResnetBlock2D):
                module.conv2.weight.zero_()
                module.conv2.bias.zero_()
        network.quant_conv.weight.chunk(2)[1].mul_(0.1)
        network.quant_conv.bias.chunk(2)[1].fill_(-6.0)


def _gradients(error: torch.Tensor) -> torch.Tensor:
    """Mean absolute horizontal and vertical finite differences."""
    return error.diff(dim=-1).abs().mean() + error.diff(dim=-2).abs().mean()


def _stacked(samples: CropSamples, count: int) -> torch.Tensor:
    return torch.from_numpy(np.stack([samples[index]["image"] for index in range(count)]))
