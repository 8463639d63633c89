"""LPIPS: how unlike two pictures look to a VGG-16, weighted by people's judgement."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
import torchmetrics
from safetensors.torch import load_file
from torch import Tensor, nn

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.models.idx.vgg import Vgg16, load_vgg16, vgg16_of
from anydoor_lab.models.sources import MissingError, obtain, reading
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_masked
from anydoor_lab.structures.errors import InputError, NotRunError

HEADS = Path(torchmetrics.__file__).parent / "functional/image/lpips_models/vgg.pth"
"""The five linear heads, which torchmetrics ships; the VGG-16 beneath they do not hold."""
WIDTHS = (64, 128, 256, 512, 512)
ENDS = (3, 8, 15, 22, 29)
"""The layers after which features are compared: the last ReLU of each stage."""
SIDE_PX = 64
"""Regions are compared at this size at least: five stages need 16 px."""
SHIFT, SCALE = (-0.030, -0.088, -0.188), (0.458, 0.448, 0.450)


class Lpips(nn.Module):
    """Zhang et al. 2018 (version 0.1, VGG): the weighted squared distance of unit features.

    Args:
        network: the 13 convolutions with ImageNet's weights.

    Raises:
        ValueError: `network` is a smaller one, or torchmetrics ships no heads.
    """

    shift: Tensor
    scale: Tensor

    def __init__(self, network: Vgg16) -> None:
        super().__init__()
        if tuple(network.config.widths) != WIDTHS:
            seen = f"the network's widths are {tuple(network.config.widths)}"
            raise InputError(f"{seen}; LPIPS needs VGG-16 itself, {WIDTHS}")
        self.layers = nn.ModuleList(list(network.features.children())[: ENDS[-1] + 1])
        with reading(f"LPIPS's heads {HEADS}"):
            heads = torch.load(HEADS, map_location="cpu", weights_only=True)
        self.heads = nn.ParameterList(heads[f"lin{i}.model.1.weight"] for i in range(len(ENDS)))
        self.register_buffer("shift", torch.tensor(SHIFT)[None, :, None, None], persistent=False)
        self.register_buffer("scale", torch.tensor(SCALE)[None, :, None, None], persistent=False)
        self.eval().requires_grad_(False)

    @torch.no_grad()
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        """(B,) distances of (B, 3, H, W) in [-1, 1]; 0 is equal."""
        distances = torch.zeros(len(one), device=one.device)
        hidden = (torch.cat([one, other]) - self.shift) / self.scale
        for number, layer in enumerate(self.layers):
            hidden = layer(hidden)
            if number in ENDS:
                unit = hidden / (hidden.square().sum(dim=1, keepdim=True) + 1e-8).sqrt()
                first, second = unit.chunk(2)
                head = self.heads[ENDS.index(number)]
                seen = nn.functional.conv2d((first - second).square(), head)
                distances = distances + seen.mean(dim=(1, 2, 3))
        return distances


class LpipsScore(MeanScore):
    """The mean over pictures of LPIPS between result and true scene in the region's box.

    Args:
        network: pictures in, distances out.
    """

    higher_is_better = False
    bounds = (0.0, float("inf"))

    def __init__(self, network: Lpips) -> None:
        super().__init__()
        self.network = network

    def scores(
        self,
        results: Sequence[np.ndarray],
        truths: Sequence[np.ndarray],
        masks: Sequence[np.ndarray],
    ) -> Tensor:
        """(B,) float64 of B results and true scenes (H, W, 3) uint8, in the boxes of `masks`."""
        shown = zip(results, truths, masks, strict=True)
        pairs = [(_region(result, mask), _region(scene, mask)) for result, scene, mask in shown]
        return torch.cat([self.network(*pair) for pair in pairs]).double()


def _region(image: np.ndarray, mask: np.ndarray) -> Tensor:
    check_masked("image", image, mask)
    region = image[Box.around(mask).slices]
    scale = max(1.0, SIDE_PX / min(region.shape[:2]))
    large = cv2.resize(region, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)
    return torch.from_numpy(large).permute(2, 0, 1)[None].float() / 127.5 - 1


def lpips(weights: str | None) -> LpipsScore:
    """The metric of a VGG-16 (conf/metrics/lpips.yaml).

    Args:
        weights: a folder as of `load_vgg16`, or a file of torchvision's weights, .safetensors or
            .pth.

    Raises:
        NotRunError: there are none.
        ValueError: they are not those of VGG-16.
    """
    if weights is None:
        raise NotRunError("LPIPS needs the weights of VGG-16; set metrics.lpips.weights=")
    path = Path(weights)
    if path.is_file():
        with reading(f"metrics.lpips.weights {path}"):
            return LpipsScore(Lpips(vgg16_of(_read(path), path)))
    try:
        folder = obtain(weights, setting="metrics.lpips.weights")
    except MissingError as error:
        raise NotRunError(str(error)) from error
    return LpipsScore(Lpips(load_vgg16(folder)))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    read: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return read
