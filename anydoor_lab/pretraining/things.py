"""The autoencoder's crops of photographs and things, and what real features add to its loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from anydoor_lab.data.things import Things
from anydoor_lab.metrics.effnet import MEAN, STD, effnet_judge
from anydoor_lab.pretraining.frames import channels_first, framed, view
from anydoor_lab.pretraining.vae import Autoencoding
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.rng import rng_for

_ENDS = (0, 2, 4)  # blocks of strides 2, 4 and 8: edges and textures, no classes


class ThingCrops:
    """Crops in [-1, 1] of things and of places without any: {"image": (3, W, W), "index"}.

    Args:
        source: the things; drawn anew for every sample, so there is no pool.
        seed: decides every draw.
        side_px: side of the crop as the method makes it.
        window_px: W, side of the part of it that is trained on: convolutions need no more, and
            four small parts of different crops teach more than one whole crop of equal cost.
        share: the object's longer side as a fraction of the crop's, from and to.
        close_up: share of the samples that show the object filling the crop.
        scenery: share of the samples that show a photograph with nothing put into it.
    """

    def __init__(
        self,
        source: Things,
        *,
        seed: int,
        side_px: int = 128,
        window_px: int = 128,
        share: tuple[float, float] = (0.45, 0.8),
        close_up: float = 0.15,
        scenery: float = 0.3,
    ) -> None:
        if not 0 < window_px <= side_px <= source.size_px:
            seen = (
                f"parts of {window_px} px of crops of {side_px} px of {source.size_px} px pictures"
            )
            raise InputError(f"{seen}; expected window_px <= side_px <= world.size_px")
        self.source, self.seed = source, seed
        self.side_px, self.window_px = side_px, window_px
        self.share, self.close_up, self.scenery = share, close_up, scenery

    def __getitem__(self, index: int) -> dict[str, Any]:
        rng = rng_for(self.seed, index, "vae crop of things")
        kind = rng.random()
        if kind < self.scenery:
            image = _part(self.source.scenery(rng), self.side_px, rng)
        else:
            frame = self.source.view(int(rng.integers(len(self.source))), rng)
            if kind < self.scenery + self.close_up:
                image = view(frame, self.side_px, rng, cut_out=0.5)
            else:
                image = framed(frame, self.side_px, float(rng.uniform(*self.share)), rng)
        part = _part(image, self.window_px, rng)
        return {"image": channels_first(part, "symmetric"), "index": index}


class FeatureAutoencoding(Autoencoding):
    """`Autoencoding` with the difference of a frozen network's first feature maps in its loss.

    The features are EfficientNet-Lite0's (see `effnet_judge`) after the blocks of strides 2, 4
    and 8, of unit length at each place (as LPIPS does; Zhang et al. 2018). A score by that
    network's last layer is related to this loss: look at PSNR and pictures as well.

    Args:
        network: the autoencoder to train.
        feature_weight: weight of the features' squared difference beside the L1, which has 1.
        terms: the weights of `Autoencoding`.

    Raises:
        ValueError: the package with the features is not installed.
    """

    def __init__(self, network: nn.Module, *, feature_weight: float = 0.25, **terms: float) -> None:
        super().__init__(network, **terms)
        self.feature_weight = feature_weight
        self.features = effnet_judge()[0]

    def extra_loss(self, restored: Tensor, image: Tensor) -> Tensor:
        """The weighed difference of the features of two (B, 3, S, S) in [-1, 1]."""
        mean, std = (torch.tensor(v, device=image.device)[:, None, None] for v in (MEAN, STD))
        mine, theirs = ((((x + 1) / 2) - mean) / std for x in (restored, image))
        with torch.no_grad():
            wanted = [_unit(each) for each in self.features.features(theirs, _ENDS)]
        found = (_unit(each) for each in self.features.features(mine, _ENDS))
        pairs = zip(found, wanted, strict=True)
        differences = [(a - b).square().sum(dim=1).mean() for a, b in pairs]
        return self.feature_weight * torch.stack(differences).sum()

    def train(self, mode: bool = True) -> FeatureAutoencoding:
        """The features stay as they are: frozen, with their own statistics."""
        super().train(mode)
        self.features.eval()
        return self


def _part(image: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """(side_px, side_px, 3): a random part of a square picture."""
    y, x = (int(start) for start in rng.integers(image.shape[0] - side_px + 1, size=2))
    return image[y : y + side_px, x : x + side_px]


def _unit(features: Tensor) -> Tensor:
    return functional.normalize(features, dim=1, eps=1e-4)
