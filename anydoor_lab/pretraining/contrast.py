"""Instance discrimination without labels: the DINO-like ID extractor and the DINO-like judge.

Positives are two augmented looks at one object, half of them from two frames of its video or two
of its views; everything else in the batch is a negative. A batch is made of groups of objects of
similar colours, found from the pixels alone, so that colour does not suffice to tell them apart.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.spatial import cKDTree
from torch import nn
from torch.nn import functional
from transformers import Dinov2Config, Dinov2Model

from anydoor_lab.pretraining.folders import save_encoder
from anydoor_lab.pretraining.frames import STATISTICS, Frames, channels_first, sheet, view
from anydoor_lab.structures.rng import rng_for


def dinov2(**settings: Any) -> Dinov2Model:
    """An untrained `Dinov2Model` with these settings of its config."""
    return Dinov2Model(Dinov2Config(**settings))


class LookSamples:
    """Two looks at one object: {"first", "second": (3, S, S)}, normalised as for ImageNet.

    Args:
        frames: the identities.
        seed: decides every draw.
        side_px: S.
        group: so many samples in a row are objects of similar colours; 1 = all independent.
        neighbours: a group is drawn from so many nearest in colour.
        temporal: share of the positives from two different frames.
        looks: keyword arguments of `view`.
    """

    def __init__(
        self,
        frames: Frames,
        *,
        seed: int,
        looks: dict[str, Any],
        side_px: int = 64,
        group: int = 8,
        neighbours: int = 24,
        temporal: float = 0.5,
    ) -> None:
        self.frames, self.seed, self.side_px = frames, seed, side_px
        self.group, self.neighbours, self.temporal = group, neighbours, temporal
        self.looks = looks

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "looks")
        frames = self.frames.frames(self._entry(index))
        which = int(rng.integers(2))
        other = 1 - which if rng.random() < self.temporal else which
        looks = {"first": frames[which], "second": frames[other]}
        return {
            name: channels_first(view(frame, self.side_px, rng, **self.looks), "imagenet")
            for name, frame in looks.items()
        }

    def _entry(self, index: int) -> int:
        """The entry of sample `index`: of a colour neighbour of its group's random anchor."""
        place, number = index // self.group, index % self.group
        rng = rng_for(self.seed, place, "group")
        identity = int(rng.integers(self.frames.identities))
        if self.group > 1:
            _, near = self._by_colour.query(self._colours[identity], k=self.neighbours)
            identity = int(rng.permutation(near)[number])
        if self.frames.identities == len(self.frames):
            return identity
        again = rng_for(self.seed, index, "which drawing")
        each = range(identity, len(self.frames), self.frames.identities)
        return each[int(again.integers(len(each)))]

    @cached_property
    def _by_colour(self) -> cKDTree:
        return cKDTree(self._colours)

    @cached_property
    def _colours(self) -> np.ndarray:
        """(N, 6) mean and standard deviation of each object's RGB."""
        return np.stack([_colour(*self.frames.frames(i)[0]) for i in range(self.frames.identities)])


def _colour(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    inside = image[mask].astype(np.float32)
    return np.concatenate([inside.mean(axis=0), inside.std(axis=0)])


class InstanceContrast(nn.Module):
    """InfoNCE on the class token and on the patch tokens' mean; patch tokens also restore pixels.

    Args:
        network: the vision transformer to train.
        temperature: of the softmax over the batch.
        patch_weight: weight of the patch mean's InfoNCE; the class token's is 1.
        pixel_weight: weight of the squared error of a linear map from each patch token to its
            own patch, which keeps detail in the tokens.
    """

    def __init__(
        self,
        network: Dinov2Model,
        *,
        temperature: float = 0.1,
        patch_weight: float = 0.5,
        pixel_weight: float = 0.5,
    ) -> None:
        super().__init__()
        self.network = network
        # it stands for masked patches, which this training does not have
        network.embeddings.mask_token.requires_grad_(False)
        self.temperature = temperature
        self.patch_weight, self.pixel_weight = patch_weight, pixel_weight
        self.patch_px = network.config.patch_size
        self.pixels = nn.Linear(network.config.hidden_size, 3 * self.patch_px**2)

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`loss` and `hit` (share of pairs found in the batch) of {"first", "second"}."""
        images = torch.cat([batch["first"], batch["second"]])
        tokens = self.network(images).last_hidden_state
        first, second = tokens[:, 0].chunk(2)
        loss, hit = self._info_nce(first, second)
        patch_loss, _ = self._info_nce(*tokens[:, 1:].mean(dim=1).chunk(2))
        pixel_loss = functional.mse_loss(
            self.pixels(tokens[:, 1:]), _patches(images, self.patch_px)
        )
        loss = loss + self.patch_weight * patch_loss + self.pixel_weight * pixel_loss
        return {"loss": loss, "hit": hit, "pixel_loss": pixel_loss.detach()}

    def _info_nce(
        self, first: torch.Tensor, second: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        first, second = functional.normalize(first, dim=-1), functional.normalize(second, dim=-1)
        logits = first @ second.T / self.temperature
        own = torch.arange(len(logits), device=logits.device)
        loss = functional.cross_entropy(logits, own) + functional.cross_entropy(logits.T, own)
        return loss / 2, (logits.argmax(dim=1) == own).float().mean()

    def finish(self, samples: LookSamples, count: int) -> None:
        """Nothing is measured into the config."""

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, D) class tokens of length 1."""
        return functional.normalize(self.network(images).last_hidden_state[:, 0], dim=-1)

    def scores(self, samples: LookSamples, count: int) -> dict[str, float]:
        """`retrieval` of the other frame among all; see `retrieval_scores`."""
        return retrieval_scores(self.embed, samples.frames, count, samples.side_px, "imagenet")

    def picture(self, samples: LookSamples) -> np.ndarray:
        """Pairs of looks as the network sees them, the second under the first."""
        seen = [samples[index] for index in range(12)]
        return sheet([[_shown(one[name]) for one in seen] for name in ("first", "second")])

    def save(self, folder: Path) -> None:
        """Write the encoder in transformers' format with its weights in fp16."""
        save_encoder(self.network, folder)


@torch.no_grad()
def retrieval_scores(
    embed: Any, frames: Frames, count: int, side_px: int, statistics: Any
) -> dict[str, float]:
    """How the other frame of an object is found among `count`, by cosine of the embeddings.

    `retrieval` is the share of box crops whose nearest box crop of the other frames is the same
    object; `cut_out_retrieval` the same for cut-outs on white; `cosine_same` and
    `cosine_other` are mean cosines of box crops.
    """
    scores, count = {}, min(count, frames.identities)  # of each object once
    for name, cut_out in (("retrieval", 0.0), ("cut_out_retrieval", 1.0)):
        sides = []
        for number in (0, 1):
            images = [
                view(frames.frames(i)[number], side_px, rng_for(0, i, "plain"), cut_out, (1, 1))
                for i in range(count)
            ]
            seen = np.stack([channels_first(image, statistics) for image in images])
            sides.append(torch.cat([embed(part) for part in torch.from_numpy(seen).split(100)]))
        cosines = sides[0] @ sides[1].T
        own = torch.arange(len(cosines))
        scores[name] = float((cosines.argmax(dim=1) == own).float().mean())
        if cut_out == 0.0:
            scores["cosine_same"] = float(cosines.diagonal().mean())
            scores["cosine_other"] = float(cosines[own != own[:, None]].mean())
    return scores | {"identities": float(count)}


def _patches(images: torch.Tensor, side: int) -> torch.Tensor:
    """(B, 3, S, S) as (B, (S / side)^2, 3 side^2), row by row as a ViT numbers its patches."""
    return functional.unfold(images, side, stride=side).transpose(1, 2)


def _shown(image: np.ndarray) -> np.ndarray:
    mean, std = (np.array(values)[:, None, None] for values in STATISTICS["imagenet"])
    return ((image * std + mean) * 255).clip(0, 255).astype(np.uint8).transpose(1, 2, 0)
