"""Parts that learn from the world's true attributes: the reader, and the VGG ID extractor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import ModelMixin
from torch import nn
from torch.nn import functional

from anydoor_lab.models.idx.vgg import Vgg16
from anydoor_lab.pretraining.chance import drawn_by_index
from anydoor_lab.pretraining.contrast import retrieval_scores
from anydoor_lab.pretraining.frames import FramePool, Statistics, channels_first, sheet, view
from anydoor_lab.structures.rng import rng_for

Labels = Mapping[str, Sequence[str]]

UNKNOWN = -100
"""Of a held-out name that is none of the labels; `cross_entropy` passes it over."""


class LabelledSamples:
    """A look at an object and its attributes: {"image": (3, S, S), "labels": (L,) int64, "index"}.

    Args:
        frames: the identities.
        seed: decides every draw.
        looks: keyword arguments of `view`.
        labels: the names by attribute; a label is a name's place among them.
        statistics: how pictures are normalised.
        side_px: S.
        clean: share of the samples drawn without scene, pose and light.
    """

    def __init__(
        self,
        frames: FramePool,
        *,
        seed: int,
        looks: dict[str, Any],
        labels: Labels,
        statistics: Statistics = "plain",
        side_px: int = 64,
        clean: float = 0.1,
    ) -> None:
        self.frames, self.seed, self.looks, self.labels = frames, seed, looks, labels
        self.statistics, self.side_px, self.clean = statistics, side_px, clean

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "labelled look")
        entry = int(rng.integers(len(self.frames)))
        frame = self.frames.frames(entry)[int(rng.integers(2))]
        if rng.random() < self.clean:
            ground = int(rng.integers(256))
            drawn: Any = self.frames.world  # things are not drawn: clean=0 for them
            frame = drawn.clean_view(entry, ground=ground, longer_side=0.6)
        look = view(frame, self.side_px, rng, **self.looks)
        return {"image": self.shown(look), "labels": self.label(entry), "index": index}

    def shown(self, look: np.ndarray) -> np.ndarray:
        """A picture as the network takes it."""
        return channels_first(look, self.statistics)

    def label(self, entry: int) -> np.ndarray:
        """(L,) int64, the places of identity `entry`'s names; `UNKNOWN` where it is none."""
        true = self.frames.attributes(entry)
        places = {name: {n: k for k, n in enumerate(names)} for name, names in self.labels.items()}
        return np.array([places[name].get(getattr(true, name), UNKNOWN) for name in places])


class Naming(nn.Module):
    """Sum of the cross-entropies of the attributes' names.

    Args:
        network: gives logits (B, number of names) by attribute.
        smoothing: label smoothing.
    """

    def __init__(self, network: ModelMixin, *, smoothing: float = 0.02) -> None:
        super().__init__()
        self.network, self.smoothing = network, smoothing

    def logits(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by attribute."""
        named: dict[str, torch.Tensor] = self.network(images)
        return named

    def forward(self, batch: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """`loss`, and the share of right names by attribute."""
        labels = batch["labels"].unbind(dim=1)
        loss, right = torch.zeros((), device=batch["labels"].device), {}
        with drawn_by_index(batch):
            named = self.logits(batch["image"])
        for (name, logits), label in zip(named.items(), labels, strict=True):
            loss = loss + functional.cross_entropy(logits, label, label_smoothing=self.smoothing)
            right[name] = (logits.argmax(dim=1) == label).float().mean()
        return {"loss": loss, **right}

    def finish(self, samples: LabelledSamples, count: int) -> None:
        """Nothing is measured into the config."""

    @torch.no_grad()
    def scores(self, samples: LabelledSamples, count: int) -> dict[str, float]:
        """Share of right names of `count` identities never trained on, by attribute and in all:
        on clean drawings, and on box crops of photographs as `AttributesKept` takes them."""
        world: Any = samples.frames.world
        side = samples.side_px
        scores = {"identities": float(count)}
        for kind in ("clean", "photo") if hasattr(world, "clean_view") else ("photo",):
            looks = []
            for entry in range(count):
                photo = samples.frames.frames(entry)[1]
                frame = world.clean_view(entry) if kind == "clean" else photo
                looks.append(view(frame, side, rng_for(0, entry, "plain"), 0.0, (1, 1)))
            images = torch.from_numpy(np.stack([samples.shown(look) for look in looks]))
            labels = torch.from_numpy(np.stack([samples.label(e) for e in range(count)]))
            for number, (name, logits) in enumerate(self.logits(images).items()):
                known = labels[:, number] != UNKNOWN
                right = (logits.argmax(dim=1) == labels[:, number])[known]
                scores[f"{kind}_{name}"] = float(right.float().mean())
            shares = [scores[f"{kind}_{name}"] for name in samples.labels]
            scores[f"{kind}_all"] = float(np.mean(shares))
        return scores

    def picture(self, samples: LabelledSamples) -> np.ndarray:
        """Looks as the network sees them."""
        rng = rng_for(samples.seed, 0, "picture")
        looks = [
            view(samples.frames.frames(entry)[0], samples.side_px, rng, **samples.looks)
            for entry in range(24)
        ]
        return sheet([looks[:12], looks[12:]])

    def save(self, folder: Path) -> None:
        """Write the network in diffusers' format with its weights in fp16."""
        self.network.half().save_pretrained(folder)
        self.network.float()


class VggNaming(Naming):
    """`Naming` on the last feature map of a small VGG-16, whose classifier is not kept.

    Args:
        network: the thirteen convolutions.
        labels: the names by attribute.
        hidden: width of the classifier's hidden layer.
        side_px: side of the pictures.
    """

    def __init__(
        self, network: Vgg16, *, labels: Labels, hidden: int = 128, side_px: int = 64
    ) -> None:
        super().__init__(network)
        for module in network.modules():
            if isinstance(module, nn.Conv2d) and module.bias is not None:
                # thirteen layers without normalisation do not start from the default
                nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
                nn.init.zeros_(module.bias)
        self.classifier = nn.Sequential(nn.Flatten(), nn.LazyLinear(hidden), nn.ReLU())
        self.classifier(network(torch.zeros(1, 3, side_px, side_px)))
        self.heads = nn.ModuleDict({n: nn.Linear(hidden, len(v)) for n, v in labels.items()})

    def logits(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits by attribute."""
        shared = self.classifier(self.network(images))
        return {name: head(shared) for name, head in self.heads.items()}

    def embed(self, images: torch.Tensor) -> torch.Tensor:
        """(B, C) mean of the last feature map, of length 1."""
        return functional.normalize(self.network(images).mean(dim=(2, 3)), dim=-1)

    def scores(self, samples: LabelledSamples, count: int) -> dict[str, float]:
        """As `Naming`, and the retrieval of `retrieval_scores`."""
        found = retrieval_scores(self.embed, samples.frames, count, samples.side_px, "imagenet")
        return super().scores(samples, count) | found
