"""Whether a picture of an object still shows what makes it itself, read by a small network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import cv2
import numpy as np
import torch
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn
from torch.nn import functional
from torchmetrics import Metric

from anydoor_lab.data.world import Attributes
from anydoor_lab.models.embedded import locate
from anydoor_lab.models.sources import reading
from anydoor_lab.structures.errors import InputError

SIDE_PX = 64
"""Pictures are read at this size; others are resampled."""


class AttributeReader(ModelMixin, ConfigMixin):
    """A convolutional network that names the five attributes of the object that fills a picture.

    Args:
        labels: the names it knows, by attribute ("shape", "colour" ...), in the heads' order.
        widths: channels of the four stages, each half as large as the one before.
        hidden: width of the layer that all heads share.
    """

    @register_to_config
    def __init__(
        self,
        labels: dict[str, Sequence[str]],
        widths: Sequence[int] = (24, 48, 96, 128),
        hidden: int = 128,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 3
        for width in widths:
            layers += [*_convolution(channels, width, 2), *_convolution(width, width, 1)]
            channels = width
        side = SIDE_PX // 2 ** len(widths)
        shared = nn.Linear(channels * side**2, hidden)
        self.trunk = nn.Sequential(*layers, nn.Flatten(), nn.Dropout(0.1), shared, nn.SiLU())
        self.heads = nn.ModuleDict({n: nn.Linear(hidden, len(v)) for n, v in labels.items()})

    def forward(self, images: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits (B, number of names) by attribute, of `images` (B, 3, S, S) in [0, 1] RGB."""
        if images.shape[-2:] != (SIDE_PX, SIDE_PX):
            images = functional.interpolate(
                images, (SIDE_PX, SIDE_PX), mode="bicubic", antialias=True, align_corners=False
            )
        shared = self.trunk(images.clamp(0, 1) * 2 - 1)
        return {name: head(shared) for name, head in self.heads.items()}

    @torch.no_grad()
    def read(self, images: torch.Tensor) -> list[Attributes]:
        """What it reads in each of `images` (B, 3, S, S) in [0, 1] RGB."""
        best = {name: logits.argmax(dim=1).tolist() for name, logits in self(images).items()}
        names = {name: [self.config.labels[name][i] for i in best[name]] for name in best}
        rows = zip(*names.values(), strict=True)
        return [Attributes(**dict(zip(names, row, strict=True))) for row in rows]


def readable(regions: Sequence[np.ndarray]) -> torch.Tensor:
    """Square regions (h, w, 3) uint8 of any sizes as the reader takes them, (B, 3, S, S)."""
    side = (SIDE_PX, SIDE_PX)
    resized = [cv2.resize(region, side, interpolation=cv2.INTER_CUBIC) for region in regions]
    return torch.from_numpy(np.stack(resized)).permute(0, 3, 1, 2).float() / 255


def _convolution(inputs: int, outputs: int, stride: int) -> list[nn.Module]:
    convolution = nn.Conv2d(inputs, outputs, 3, stride, padding=1)
    return [convolution, nn.GroupNorm(8, outputs), nn.SiLU()]


class AttributeAccuracy(Metric):
    """Attribute accuracy: the share of the true attributes that are read in the generated regions.

    Only for objects of the procedural world. The reader's own ceiling, its share on true second
    photographs, stands in its card.

    Args:
        reader: the network that reads.
    """

    higher_is_better = True
    full_state_update = False
    bounds = (0.0, 100.0)
    right: torch.Tensor
    seen: torch.Tensor

    def __init__(self, reader: AttributeReader, **settings: Any) -> None:
        super().__init__(**settings)
        self.reader = reader.eval().requires_grad_(False)
        self.names = tuple(reader.config.labels)
        self.add_state("right", torch.zeros(len(self.names)), dist_reduce_fx="sum")
        self.add_state("seen", torch.zeros(()), dist_reduce_fx="sum")

    def reads(self, names: Mapping[str, Sequence[str]]) -> bool:
        """Whether the reader knows all these names, by attribute."""
        labels = self.reader.config.labels
        return all(set(values) <= set(labels.get(name, ())) for name, values in names.items())

    def scores(
        self, generated: Sequence[np.ndarray], attributes: Sequence[Attributes]
    ) -> dict[str, torch.Tensor]:
        """100 or 0 for each region (h, w, 3) uint8 and attribute, (B,); their mean as ""."""
        pairs = list(zip(self.reader.read(readable(generated)), attributes, strict=True))
        right = {
            name: torch.tensor([100.0 * (asdict(r)[name] == asdict(t)[name]) for r, t in pairs])
            for name in self.names
        }
        return {"": torch.stack(list(right.values())).mean(dim=0), **right}

    def update(self, images: torch.Tensor, attributes: Sequence[Attributes]) -> None:
        """Take generated regions (B, 3, S, S) in [0, 1] RGB, each filled by its object's box.

        Raises:
            ValueError: there are not as many attributes as pictures.
        """
        if len(images) != len(attributes):
            seen = f"{len(images)} pictures and {len(attributes)} attributes"
            raise InputError(f"{seen}; expected one Attributes for each picture")
        for read, true in zip(self.reader.read(images), attributes, strict=True):
            values, expected = asdict(read), asdict(true)
            self.right += torch.tensor([float(values[n] == expected[n]) for n in self.names])
        self.seen += len(images)

    def compute(self) -> dict[str, torch.Tensor]:
        """Shares in [0, 1] by attribute, their mean as "all"."""
        shares = self.right / self.seen
        return dict(zip(self.names, shares, strict=True)) | {"all": shares.mean()}


def attribute_accuracy(source: str) -> AttributeAccuracy:
    """The metric of a reader's folder (conf/metrics/attribute_accuracy.yaml)."""
    with reading(f"the judge {source}"):
        return AttributeAccuracy(AttributeReader.from_pretrained(locate(source)))
