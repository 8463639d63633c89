"""The joint AnyDoor of the notebooks: one set of weights for every switch of the method."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from safetensors.torch import load_file, save_file
from torch import nn

from anydoor_lab.conditioning.collage import COLLAGES
from anydoor_lab.conditioning.conditioner import Conditioner, Conditioning
from anydoor_lab.data.things import Things
from anydoor_lab.diffusion.loss import DiffusionLoss
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.diffusion.timesteps import adaptive_timesteps
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.models.embedded import locate
from anydoor_lab.models.idx.table import kind_around
from anydoor_lab.models.joint import PROJECTORS, JointAnyDoor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pretraining.frames import FramePool, sheet
from anydoor_lab.pretraining.text_to_image import SAMPLING_STEPS, SCHEDULE, batches
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.samples import PairStream

CHOICES = (("vgg", False), ("clip", False), ("dinov2", False), ("dinov2", True))
"""An extractor, and whether only its global token is handed on."""
GUIDANCE = 2.0
FULL = {"torch_dtype": torch.float32}
_APART = 2**40
"""More than any training has samples."""


class JointSamples:
    """Training samples of the world, each shown in a way of its own.

    Args:
        frames: names the world, or is it; pairs are drawn anew.
        seed: decides every draw.
        settings: keyword arguments of `Conditioner`, and of the pipeline.
        augmentation: keyword arguments of `Conditioner` for training.
        edges: how the HF map takes them, keyword arguments of `high_frequency`.
        collages: relative frequency by name.
        extractors: relative frequencies of `CHOICES`.
        remove_background: share of the samples whose id_image is cut out.
        variations: relative frequencies of the pairs' variations.
        still_share: as of `PairStream`.
    """

    def __init__(
        self,
        frames: FramePool | Things,
        *,
        seed: int,
        settings: dict[str, Any],
        augmentation: dict[str, Any],
        edges: dict[str, int],
        collages: dict[str, float],
        extractors: Sequence[float],
        remove_background: float,
        variations: dict[str, float],
        still_share: float,
        **_needed: Path,
    ) -> None:
        self.seed, self.remove_background = seed, remove_background
        self.world: Any = getattr(frames, "world", frames)
        self.settings, self.edges = settings, edges
        shown = self.world.varied(variations)
        self.names, self.collage_weights = list(collages), _shares(collages.values())
        self.extractor_weights = _shares(extractors)
        self.streams = {
            (name, cut_out): PairStream(
                shown,
                Conditioner(
                    **settings,
                    **augmentation,
                    remove_background=cut_out,
                    collage=_collage(name, edges),
                ),
                seed,
                still_share,
            )
            for name in self.names
            for cut_out in (False, True)
        }

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Sample `index` as of `PairStream`, and which `extractor` sees it."""
        rng = rng_for(self.seed, index, "way")
        collage = self.names[int(rng.choice(len(self.names), p=self.collage_weights))]
        extractor = int(rng.choice(len(self.extractor_weights), p=self.extractor_weights))
        cut_out = bool(rng.random() < self.remove_background)
        return {**self.streams[collage, cut_out][index], "extractor": extractor}


def _shares(weights: Any) -> np.ndarray:
    values = np.array(list(weights), float)
    return values / values.sum()


def _collage(name: str, edges: dict[str, int]) -> Any:
    function: Any = COLLAGES[name]
    return partial(function, **edges) if name == "hf" else function


class JointNetwork(nn.Module):
    """What the joint training trains: UNet, detail extractor, a projector per ID extractor."""

    def __init__(
        self, unet: UNet2DConditionModel, detail_extractor: DetailExtractor, widths: dict[str, int]
    ) -> None:
        super().__init__()
        self.unet, self.detail_extractor = unet, detail_extractor
        width = unet.config.cross_attention_dim
        self.projectors = nn.ModuleDict({n: nn.Linear(w, width) for n, w in widths.items()})

    @classmethod
    def from_base(
        cls, *, base: str | Path, stem_channels: Sequence[int], widths: dict[str, int]
    ) -> JointNetwork:
        """As AnyDoor begins (Sec. 3.2): from a diffusion base.

        Args:
            base: its folder.
            stem_channels: of the detail extractor.
            widths: channels of the encoders' features, by extractor.
        """
        unet = UNet2DConditionModel.from_pretrained(locate(base), subfolder="unet", **FULL)
        return cls(unet, DetailExtractor.copied_from(unet, stem_channels), widths)

    @classmethod
    def from_pretrained(cls, folder: Path) -> JointNetwork:
        """What `save_pretrained` wrote."""
        projectors = load_file(folder / PROJECTORS)
        widths = {
            name.removesuffix(".weight"): tensor.shape[1]
            for name, tensor in projectors.items()
            if name.endswith(".weight")
        }
        network = cls(
            UNet2DConditionModel.from_pretrained(folder, subfolder="unet", **FULL),
            DetailExtractor.from_pretrained(folder, subfolder="detail_extractor", **FULL),
            widths,
        )
        network.projectors.load_state_dict(projectors)
        return network

    def save_pretrained(self, folder: Path) -> None:
        """Write the networks in diffusers' format and the projectors beside them, fp16."""
        self.half()
        # where they came from is no part of them
        for network in (self.unet, self.detail_extractor):
            network.register_to_config(_name_or_path="")
        self.unet.save_pretrained(folder / "unet")
        self.detail_extractor.save_pretrained(folder / "detail_extractor")
        save_file(self.projectors.state_dict(), folder / PROJECTORS)
        self.float()


class JointPlacing(nn.Module):
    """The diffusion loss of a `JointAnyDoor`.

    Args:
        network: to be trained.
        vae, clip, dino, vgg: folders of the frozen parts.
        seed: decides noise, timesteps and dropped conditions.
        cond_drop_prob, region_weight: as of `DiffusionLoss`.
        mass: of adaptive timestep sampling.
        noises: how many noise levels each sample is trained at in its step; drawing a pair costs
            more than a small network on a GPU.
    """

    def __init__(
        self,
        network: JointNetwork,
        *,
        vae: Path,
        clip: Path,
        dino: Path,
        vgg: Path,
        seed: int,
        cond_drop_prob: float = 0.1,
        region_weight: float = 2.5,
        mass: float = 0.75,
        noises: int = 1,
    ) -> None:
        super().__init__()
        self.network, self.noises = network, noises
        width = network.unet.config.cross_attention_dim
        folders = {"vgg": vgg, "clip": clip, "dinov2": dino}
        extractors = nn.ModuleDict()
        for name, projector in network.projectors.items():
            extractors[name] = kind_around(name).from_encoder(folders[name], width)
            extractors[name].projector = projector
        autoencoder = AutoencoderKL.from_pretrained(vae, torch_dtype=torch.float32)
        branches = {"detail_extractor": network.detail_extractor}
        parts = (network.unet, autoencoder, branches, extractors)
        model = JointAnyDoor(*parts, CHOICES).freeze("all")
        self.scheduler = DDIMScheduler(**SCHEDULE)
        self.loss = DiffusionLoss(
            model.eval(),
            Schedule.of(self.scheduler),
            partial(adaptive_timesteps, mass=mass),
            seed=seed,
            cond_drop_prob=cond_drop_prob,
            region_weight=region_weight,
        )

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        """The loss of a batch of `JointSamples`."""
        return self.loss(repeated(batch, self.noises))

    def finish(self, samples: JointSamples, count: int) -> None:
        """Keep how the samples were shown, for the pipeline's config."""
        self.shown_as = samples

    @torch.no_grad()
    def scores(self, samples: JointSamples, count: int) -> dict[str, float]:
        """`held_out_loss` of `count` samples: the training's loss of them."""
        losses = [float(self(batch)["loss"]) for batch in batches(samples, count)]
        return {"held_out_loss": float(np.mean(losses)), "samples": float(count)}

    @torch.no_grad()
    def picture(self, samples: JointSamples, count: int = 24) -> np.ndarray:
        """Per held-out pair, side by side: id_image, collage, result, truth; three pairs a row."""
        pipeline = self.pipeline(samples)
        shown = [self._conditioning(pipeline, samples, entry) for entry in range(count)]
        steps = pipeline.denoise(pipeline.prepare(shown), [[k] for k in range(count)])
        results = pipeline.decode(last(steps).x)
        tiles = [
            [
                as_picture(one.id_image, low=0),
                as_picture(one.collage),
                result,
                as_picture(one.target),
            ]
            for one, result in zip(shown, results, strict=True)
        ]
        return sheet([sum(tiles[first : first + 3], []) for first in range(0, count, 3)])

    def _conditioning(
        self, pipeline: AnyDoorPipeline, samples: JointSamples, entry: int
    ) -> Conditioning:
        rng = rng_for(samples.seed, entry, "picture")
        return pipeline.conditioner().condition(samples.world.pair(entry, rng), rng)

    def pipeline(self, samples: JointSamples, extractor: str = "dinov2") -> AnyDoorPipeline:
        """The networks as a pipeline, with one of the extractors."""
        model = self.loss.model
        return AnyDoorPipeline(
            unet=model.unet,
            vae=model.vae,
            detail_extractor=model.detail_extractor,
            id_extractor=model.id_extractor[extractor],
            scheduler=self.scheduler,
            **samples.settings,
            collage_settings={"hf": samples.edges},
            num_inference_steps=SAMPLING_STEPS,
            guidance_scale=GUIDANCE,
        )

    def save(self, folder: Path) -> None:
        """Write the trained networks, the scheduler and the pipeline's config.

        The frozen networks are parts of their own and not written again.
        """
        self.network.save_pretrained(folder)
        self.scheduler.save_pretrained(folder / "scheduler")
        self.pipeline(self.shown_as).save_config(folder)


def repeated(batch: dict[str, Any], times: int) -> dict[str, Any]:
    """A batch so many times over, as samples of other numbers: with other noise and timesteps."""
    if times == 1:
        return batch
    numbers = torch.as_tensor(batch["index"])
    again = torch.arange(times).repeat_interleave(len(numbers)) * _APART
    whole = {
        name: torch.cat([value] * times) if isinstance(value, torch.Tensor) else value * times
        for name, value in batch.items()
    }
    return {**whole, "index": numbers.cpu().repeat(times) + again}


joint_network = JointNetwork.from_base
"""As conf/part/anydoor.yaml names it."""
