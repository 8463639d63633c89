"""The tiny text-to-image base, Stable Diffusion's place: latents from captions of the world."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from torch import nn
from torch.nn import functional
from torch.utils.data import default_collate
from transformers import CLIPTextModel

from anydoor_lab.data.rows import RowFile
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.models.vae import decode_latents, latents_side
from anydoor_lab.pretraining.captions import TEMPLATES, put, tokenized, tokenizer_of
from anydoor_lab.pretraining.folders import weights_hash
from anydoor_lab.pretraining.frames import FramePool, channels_first, framed, sheet
from anydoor_lab.structures.errors import RunError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.rng import rng_for

NUM_TIMESTEPS = 1000
SCHEDULE = {
    "num_train_timesteps": NUM_TIMESTEPS,
    "beta_schedule": "squaredcos_cap_v2",
    "prediction_type": "sample",
    "clip_sample": False,
    "set_alpha_to_one": True,
    "timestep_spacing": "trailing",
}
"""Config of the scheduler that is saved beside the weights."""

SAMPLING_STEPS = 20
_BATCH = 50


class LatentSamples:
    """A crop's scaled latents, a caption, noise and a timestep, each drawn by the index.

    The crops are encoded once, on first use, into a memory-mapped file beside the frames, under a
    name that holds the autoencoder's hash.

    Args:
        frames: the identities.
        vae: folder of the autoencoder.
        clip: folder of the text tower (used by the objective only).
        seed: decides every draw.
        side_px: side of the crops.
        share: the object's longer side as a fraction of the crop's, from and to.
        crops: how many crops are encoded at most, one of each frame.
        dropout: share of the samples without a caption.
        joined: so many latents by so many are one to the UNet; see `models.vae`.
    """

    def __init__(
        self,
        frames: FramePool,
        *,
        vae: Path,
        clip: Path,
        seed: int,
        side_px: int = 64,
        share: tuple[float, float] = (0.45, 0.70),
        crops: int = 16000,
        dropout: float = 0.1,
        joined: int = 1,
    ) -> None:
        self.joined = joined
        self.frames, self.seed, self.side_px, self.share = frames, seed, side_px, share
        self.crops, self.dropout = min(crops, 2 * len(frames)), dropout
        self.tokenizer = tokenizer_of(clip)
        name = f"latents_{weights_hash(vae)[:12]}_{frames.path.stem}_{self.crops}_seed{seed}.pool"
        self.latents = self._encoded(frames.path.with_name(name), vae)

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "latents")
        crop = int(rng.integers(self.crops))
        text = self.caption(crop // 2, TEMPLATES[int(rng.integers(len(TEMPLATES)))])
        text = "" if rng.random() < self.dropout else text
        ids, attention = tokenized(self.tokenizer, [text])
        latents = self._joined(np.array(self.latents[crop], np.float32))
        return {
            "latents": latents,
            "noise": rng.standard_normal(latents.shape, np.float32),
            "t": int(rng.integers(NUM_TIMESTEPS)),
            "ids": ids[0],
            "attention": attention[0],
        }

    def _joined(self, latents: np.ndarray) -> np.ndarray:
        return functional.pixel_unshuffle(torch.from_numpy(latents), self.joined).numpy()

    def caption(self, entry: int, template: str = "{}") -> str:
        """The coarse caption of an identity, in a template."""
        return put(self.frames.attributes(entry).caption, template)

    def crop(self, number: int) -> np.ndarray:
        """Crop `number`, framed as in the method, (S, S, 3) uint8."""
        rng = rng_for(self.seed, number, "base crop")
        frame = self.frames.frames(number // 2)[number % 2]
        return framed(frame, self.side_px, float(rng.uniform(*self.share)), rng)

    @torch.no_grad()
    def _encoded(self, path: Path, folder: Path) -> np.ndarray:
        """The scaled latents of every crop, (crops, C, h, w) fp16; made where they are missing."""
        config = AutoencoderKL.load_config(folder)
        side = self.side_px // 2 ** (len(config["block_out_channels"]) - 1)
        file = RowFile(path, self.crops, (config["latent_channels"], side, side), np.float16)
        latents = file.rows()
        if latents is None:
            vae = AutoencoderKL.from_pretrained(folder)
            for block in file.missing():
                parts = [
                    self._latents(vae, part) for part in np.split(block, [_BATCH]) if len(part)
                ]
                file.write(block, np.concatenate(parts))
            latents = file.rows()
        if latents is None:
            raise RunError(f"{path} was taken away while it was written; start again")
        return latents

    def _latents(self, vae: AutoencoderKL, numbers: np.ndarray) -> np.ndarray:
        """(n, C, h, w) fp16 of the crops of these numbers."""
        crops = [channels_first(self.crop(int(number)), "symmetric") for number in numbers]
        latents = vae.encode(torch.from_numpy(np.stack(crops))).latent_dist.mode()
        encoded: np.ndarray = (latents * vae.config.scaling_factor).half().numpy()
        return encoded


class TextToImage(nn.Module):
    """Prediction of clean latents from noised ones and the frozen text tower's last hidden states.

    Args:
        network: the UNet to train.
        vae: folder of the autoencoder, for pictures.
        clip: folder of the text tower.
    """

    def __init__(self, network: UNet2DConditionModel, *, vae: Path, clip: Path) -> None:
        super().__init__()
        self.network = network
        # one tower of a two-tower folder would otherwise come in the precision of its weights
        self.text = CLIPTextModel.from_pretrained(clip, dtype=torch.float32).eval()
        self.text.requires_grad_(False)
        self.tokenizer = tokenizer_of(clip)
        self.vae = AutoencoderKL.from_pretrained(vae).requires_grad_(False)
        self.scheduler = DDIMScheduler(**SCHEDULE)
        self.schedule = Schedule.of(self.scheduler)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`loss` of {"latents", "noise", "t", "ids", "attention"}."""
        latents, noise, t = batch["latents"], batch["noise"], batch["t"]
        noisy = self.schedule.add_noise(latents, noise, t)
        target = self.schedule.target(latents, noise, t)
        states = self.text(batch["ids"], attention_mask=batch["attention"]).last_hidden_state
        predicted = self.network(noisy, t, encoder_hidden_states=states).sample
        squared = (predicted - target) ** 2
        return {"loss": (squared * self.schedule.weight(t)).mean()}

    def finish(self, samples: LatentSamples, count: int) -> None:
        """Nothing is measured into the config."""

    @torch.no_grad()
    def scores(self, samples: LatentSamples, count: int) -> dict[str, float]:
        """`held_out_loss` of `count` samples: mean squared error as in training."""
        losses = [float(self(batch)["loss"]) for batch in batches(samples, count)]
        return {"held_out_loss": float(np.mean(losses)), "crops": float(count)}

    @torch.no_grad()
    def generate(self, captions: list[str], seed: int, guidance: float = 2.0) -> np.ndarray:
        """Pictures (B, S, S, 3) uint8 of `captions`, by DDIM with classifier-free guidance."""
        ids, attention = tokenized(self.tokenizer, [*captions, *[""] * len(captions)])
        mask = torch.from_numpy(attention)
        states = self.text(torch.from_numpy(ids), attention_mask=mask).last_hidden_state
        side = self.network.config.sample_size
        shape = (len(captions), self.network.config.in_channels, side, side)
        noise = rng_for(seed, 0, "pictures").standard_normal(shape, np.float32)
        latents = torch.from_numpy(noise)
        self.scheduler.set_timesteps(SAMPLING_STEPS)
        for t in self.scheduler.timesteps:
            doubled = torch.cat([latents, latents])
            told, untold = self.network(doubled, t, encoder_hidden_states=states).sample.chunk(2)
            output = untold + guidance * (told - untold)
            latents = self.scheduler.step(output, t, latents).prev_sample
        joined = latents_side(self.vae, self.network.config.in_channels)
        return as_picture(decode_latents(self.vae, latents, joined).numpy())

    def picture(self, samples: LatentSamples) -> np.ndarray:
        """Two rows of crops, and under each what its caption alone generates."""
        rows = []
        for first in (0, 12):
            numbers = range(first, first + 12)
            captions = [samples.caption(number) for number in numbers]
            rows.append([samples.crop(2 * number) for number in numbers])
            rows.append(list(self.generate(captions, first)))
        return sheet(rows)

    def save(self, folder: Path) -> None:
        """Write `unet` (fp16) and `scheduler` in diffusers' format."""
        self.network.half().save_pretrained(folder / "unet")
        self.network.float()
        self.scheduler.save_pretrained(folder / "scheduler")


def batches(samples: Any, count: int) -> Iterator[dict[str, Any]]:
    """The first `count` samples in batches, as a data loader hands them on."""
    for first in range(0, count, _BATCH):
        numbers = range(first, min(first + _BATCH, count))
        yield default_collate([samples[index] for index in numbers])
