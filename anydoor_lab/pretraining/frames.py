"""Pictures of one object cut from a scene, the ways the parts look at it. RGB uint8 throughout."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, Protocol

import cv2
import numpy as np

from anydoor_lab.data.cache import PairPool
from anydoor_lab.data.rows import FORMAT
from anydoor_lab.data.things import Things
from anydoor_lab.data.world import World
from anydoor_lab.models.idx.tokens import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import on_white, resized

Frame = tuple[np.ndarray, np.ndarray]
"""A picture (H, W, 3) uint8 and its object's mask (H, W) bool."""

STATISTICS = {
    "imagenet": (IMAGENET_MEAN, IMAGENET_STD),
    "clip": (CLIP_MEAN, CLIP_STD),
    "plain": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "symmetric": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
}
"""Mean and standard deviation by which pictures in [0, 1] are normalised, by name."""

Statistics = Literal["imagenet", "clip", "plain", "symmetric"]


class Frames(Protocol):
    """Entries with two frames each: what every part is trained on.

    Attributes:
        identities: the first so many entries are all the different objects there are.
    """

    identities: int

    def __len__(self) -> int: ...

    def frames(self, entry: int) -> tuple[Frame, Frame]:
        """The two frames of identity `entry`."""


def channels_first(image: np.ndarray, statistics: Statistics) -> np.ndarray:
    """(H, W, 3) uint8 as (3, H, W) float32, normalised by the named mean and deviation."""
    mean, std = (np.array(values, np.float32) for values in STATISTICS[statistics])
    scaled = (image.astype(np.float32) / 255 - mean) / std
    return np.ascontiguousarray(scaled.transpose(2, 0, 1))


def framed(frame: Frame, side_px: int, share: float, rng: np.random.Generator) -> np.ndarray:
    """A square crop as the method makes it, the object `share` of its side, at a random place.

    (side_px, side_px, 3). A window larger than the picture becomes the picture's shorter side.
    """
    image, mask = frame
    height, width = mask.shape
    box = Box.around(mask)
    side = min(round(max(box.height, box.width) / share), height, width)
    y1 = _start(box.y1, box.y2, side, height, rng)
    x1 = _start(box.x1, box.x2, side, width, rng)
    return resized(image[y1 : y1 + side, x1 : x1 + side], side_px, side_px)


def _start(first: int, last: int, side: int, limit: int, rng: np.random.Generator) -> int:
    """Where a window of `side` begins that holds [first, last) and stays inside [0, limit)."""
    low, high = max(0, last - side), min(first, limit - side)
    return int(rng.integers(low, high + 1)) if high > low else max(0, min(low, limit - side))


def view(
    frame: Frame,
    side_px: int,
    rng: np.random.Generator,
    cut_out: float,
    room: tuple[float, float] = (1.0, 1.3),
    turn: float = 0.0,
    light: float = 0.0,
    stretch: float = 0.0,
) -> np.ndarray:
    """A square look at the object (side_px, side_px, 3), resampled once, bicubic.

    Args:
        frame: the picture and the object's mask.
        side_px: side of the result.
        rng: everything random is drawn from it.
        cut_out: share of the looks with the background replaced by white.
        room: the window's side in multiples of the object's longer side, from and to; the object
            stands anywhere in it.
        turn: largest rotation, degrees.
        light: largest relative change of contrast and of each channel's gain.
        stretch: share of the looks that squeeze the object's box into the square.
    """
    image, mask = frame
    box = Box.around(mask)
    white = rng.random() < cut_out
    if light:
        image = _relit(image, light, rng)
    if white:
        image = on_white(image, mask)
    spans = np.array([box.width, box.height], float)
    if rng.random() >= stretch:
        spans[:] = spans.max()
    factor = rng.uniform(*room)
    spans *= factor
    centre = np.array([(box.x1 + box.x2) / 2, (box.y1 + box.y2) / 2])
    centre += rng.uniform(-0.5, 0.5, 2) * spans * (1 - 1 / factor)
    return _warped(image, centre, spans, float(rng.uniform(-turn, turn)), side_px, white)


def box_crop(image: np.ndarray, mask: np.ndarray, side_px: int) -> np.ndarray:
    """The square about the object's box, (side_px, side_px, 3) bicubic: how scores look at it."""
    height, width = mask.shape
    crop = image[Box.around(mask).squared(height, width).slices]
    return cv2.resize(crop, (side_px, side_px), interpolation=cv2.INTER_CUBIC)


def _warped(
    image: np.ndarray,
    centre: np.ndarray,
    spans: np.ndarray,
    angle: float,
    side_px: int,
    white: bool,
) -> np.ndarray:
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = rotation * (spans / side_px)
    offset = centre - matrix @ np.full(2, side_px / 2) - 0.5 + matrix @ np.full(2, 0.5)
    border = cv2.BORDER_CONSTANT if white else cv2.BORDER_REFLECT_101
    return cv2.warpAffine(
        image,
        np.column_stack([matrix, offset]),
        (side_px, side_px),
        flags=cv2.INTER_CUBIC | cv2.WARP_INVERSE_MAP,
        borderMode=border,
        borderValue=(255, 255, 255),
    )


def _relit(image: np.ndarray, light: float, rng: np.random.Generator) -> np.ndarray:
    """Contrast about the mean, and a gain per channel, changed by up to `light`."""
    values = image.astype(np.float32)
    mean = values.mean()
    values = (values - mean) * (1 + rng.uniform(-light, light)) + mean
    return (values * (1 + rng.uniform(-light, light, 3) / 2)).clip(0, 255).astype(np.uint8)


def sheet(rows: list[list[np.ndarray]], gap_px: int = 2) -> np.ndarray:
    """Rows of equally large (H, W, 3) uint8 pictures as one picture, with white gaps."""
    padded = [
        [np.pad(image, ((0, gap_px), (0, gap_px), (0, 0)), constant_values=255) for image in row]
        for row in rows
    ]
    return np.concatenate([np.concatenate(row, axis=1) for row in padded])


class FramePool(PairPool):
    """Two frames of each of `entries` entries of a source; more than it has draw them again.

    Args:
        world: where the identities come from; entry i of the pool is identity i of the world,
            counted round.
        entries: how many.
        seed: decides poses and backgrounds.
        folder: the file is kept here under a name that says what is in it.
    """

    def __init__(self, world: World | Things, entries: int, seed: int, folder: Path) -> None:
        of = "v" if isinstance(world, World) else f"things{len(world)}_v"
        kind = f"{of}{world.VERSION}.{FORMAT}_{world.split}_{world.size_px}px"
        super().__init__(
            world, entries, folder / f"frames_{kind}_{entries}x2_seed{seed}.pool", seed
        )
        self.world, self.identities = world, min(entries, len(world))

    def attributes(self, entry: int) -> Any:
        """The true attributes of entry `entry`; they hold its `caption`."""
        return self.world.attributes(entry % len(self.world))

    def frames(self, entry: int) -> tuple[Frame, Frame]:
        """The two frames of entry `entry`: pictures (S, S, 3) uint8, masks (S, S) bool.

        Raises:
            RuntimeError: the pool was not filled yet.
        """
        pair = self.kept(entry)
        return (pair.reference, pair.reference_mask), (pair.scene, pair.scene_mask)
