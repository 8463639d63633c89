"""How much of an object's identity arrives in a photograph: what is made, and what is asked."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch

from anydoor_lab.metrics.judge import Preprocess
from anydoor_lab.metrics.lab_difference import lab_difference
from anydoor_lab.metrics.retrieval import rank
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import as_picture, padded_square

SHARE, ZOOM = 0.4, 1.5
"""Longer side of the object over the scene's shorter one; crop over the object's box."""
SOLID, SEEN = 128, 12
"""Alpha from which on a pixel is the object's, and from which on it can be seen."""
BATCH = 32


@dataclass(frozen=True, slots=True, eq=False)
class Composed:
    """A cut-out (h, w, 4), the photograph before it, the two pasted together, and the object's
    mask in it."""

    name: str
    rgba: np.ndarray
    scene: np.ndarray
    pasted: np.ndarray
    mask: np.ndarray

    @property
    def box(self) -> Box:
        """Around the object in the photograph."""
        return Box.around(self.mask)


Way = Callable[[Composed], np.ndarray]
"""What puts the object into the photograph: the whole result, (H, W, 3) uint8."""


@dataclass(frozen=True, slots=True, eq=False)
class Identity:
    """For each object, (N,): whether its own cut-out comes `first` in the gallery, average
    `precision`, `cosine` to it, and the mean difference in `lab` to copy-paste."""

    first: np.ndarray
    precision: np.ndarray
    cosine: np.ndarray
    lab: np.ndarray


def composed(name: str, rgba: np.ndarray, scene: np.ndarray) -> Composed:
    """The cut-out in the middle of the scene, its longer side `SHARE` of the scene's shorter."""
    cut = rgba[Box.around(rgba[..., 3] > SEEN).slices]
    factor = SHARE * min(scene.shape[:2]) / max(cut.shape[:2])
    height, width = (max(1, round(length * factor)) for length in cut.shape[:2])
    how = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    alpha = cut[..., 3:].astype(np.float32) / 255
    small = cv2.resize(np.dstack([cut[..., :3] * alpha, alpha]), (width, height), interpolation=how)
    picture, mask = scene.astype(np.float32), np.zeros(scene.shape[:2], np.bool_)
    y, x = (scene.shape[0] - height) // 2, (scene.shape[1] - width) // 2
    below = picture[y : y + height, x : x + width]
    below[:] = small[..., :3] + below * (1 - small[..., 3:])
    mask[y : y + height, x : x + width] = small[..., 3] > 0.5
    return Composed(name, rgba, scene, picture.clip(0, 255).astype(np.uint8), mask)


def cut_out_on_white(rgba: np.ndarray) -> np.ndarray:
    """The cut-out's box on a white square, (S, S, 3) uint8."""
    cut = rgba[Box.around(rgba[..., 3] > SEEN).slices].astype(np.float32)
    alpha = cut[..., 3:] / 255
    shown = cut[..., :3] * alpha + 255 * (1 - alpha)
    return padded_square(shown.astype(np.uint8), 255)


def anchors(all_of: Sequence[Composed]) -> dict[str, Way]:
    """What frames the ways: the object's own pixels, the next object's, and none."""
    following = dict(zip((one.name for one in all_of), [*all_of[1:], all_of[0]], strict=True))
    return {
        "copy-paste": lambda one: one.pasted,
        "another object": lambda one: composed("", following[one.name].rgba, one.scene).pasted,
        "empty": lambda one: one.scene,
    }


def through(autoencoder: Any, side_px: int) -> Way:
    """The crop around the object brought to `side_px`, through an `AutoencoderKL` and back; None
    brings it there and back only."""

    @torch.no_grad()
    def change(one: Composed) -> np.ndarray:
        crop = one.box.grown(ZOOM, *one.mask.shape).squared(*one.mask.shape)
        seen = one.pasted[crop.slices]
        small = cv2.resize(seen, (side_px, side_px), interpolation=cv2.INTER_AREA)
        if autoencoder is not None:
            given = torch.from_numpy(small).permute(2, 0, 1)[None].float() / 127.5 - 1
            latents = autoencoder.encode(given).latent_dist.mode()
            small = as_picture(autoencoder.decode(latents).sample[0].numpy())
        result = one.pasted.copy()
        result[crop.slices] = cv2.resize(small, seen.shape[1::-1], interpolation=cv2.INTER_CUBIC)
        return result

    return change


def placed_by(pipeline: AnyDoorPipeline, seed: int = 0) -> Way:
    """The object placed by a pipeline into the box, at the photograph's own resolution."""

    def place(one: Composed) -> np.ndarray:
        sides = [one.box.y1, one.box.x1, one.box.y2, one.box.x2]
        given: Any = {"reference_mask": one.rgba[..., 3] > SOLID, "box": sides}
        placed = pipeline(one.rgba[..., :3], one.scene, **given, seed=seed, output_type="np")
        image: np.ndarray = placed.images[0]
        return image

    return place


class IdentityJudge:
    """Looks for the objects of results among all cut-outs on white.

    Args:
        all_of: the objects; their cut-outs are the gallery.
        network, prepare: as from `effnet_judge`.
    """

    def __init__(
        self, all_of: Sequence[Composed], network: torch.nn.Module, prepare: Preprocess
    ) -> None:
        self.all_of, self._network, self._prepare = all_of, network, prepare
        self._gallery = self._seen([cut_out_on_white(one.rgba) for one in all_of])

    def __call__(self, results: Sequence[np.ndarray]) -> Identity:
        """Of a whole picture for each of the objects, the square around its box is looked at.

        Raises:
            ValueError: the numbers of results and objects differ.
        """
        pairs = list(zip(results, self.all_of, strict=True))
        names = [one.name for one in self.all_of]
        crops = [made[one.box.squared(*one.mask.shape).slices] for made, one in pairs]
        found = rank(self._seen(crops), names, self._gallery, names)
        lab = np.array([_colours(made, one) for made, one in pairs])
        first = found.first.numpy() > 0
        return Identity(first, found.precisions.numpy(), found.cosine.numpy(), lab)

    @torch.no_grad()
    def _seen(self, pictures: Sequence[np.ndarray]) -> torch.Tensor:
        parts = [pictures[first : first + BATCH] for first in range(0, len(pictures), BATCH)]
        return torch.cat([self._network(self._prepare.batch(list(part))) for part in parts])


def _colours(made: np.ndarray, one: Composed) -> float:
    near = one.box.grown(1.2, *one.mask.shape).slices  # the rest of the photograph does not count
    return lab_difference(made[near], one.pasted[near], one.mask[near])
