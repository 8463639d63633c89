"""How an object looks from one stand: turned, shaded, tinted by its surroundings, partly hidden."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from anydoor_lab.data.world import views
from anydoor_lab.data.world.objects import MARGIN_PX
from anydoor_lab.structures.errors import InputError

_LADDER_PX = (32, 48, 64, 92)  # a sprite is shrunk to the step above its size in the picture
_LEAST_SEEN = 0.65  # share of the object an obstacle must leave visible
_PLAIN = views.Light(np.ones((2, 2, 3), np.float32), 0.0, np.array([0.0, 0.02]), 0.35)


@dataclass(frozen=True, slots=True)
class Look:
    """What changes on the object itself between two views.

    Args:
        turn: how far its surface is turned about the upright axis, -0.5 to 0.5 (0: frontal).
        nod: the same about the horizontal axis.
        shade: (2, 2) float32 gains at its corners, at most 1.
    """

    turn: float
    nod: float
    shade: np.ndarray


def draw_look(reach: float, rng: np.random.Generator) -> Look:
    """A random look; `reach` 1 is the range of a multi-view pair, 0 a frontal look."""
    turn, nod = rng.uniform(-0.35, 0.35, 2) * reach
    low = 1 - 0.35 * reach
    return Look(float(turn), 0.5 * float(nod), rng.uniform(low, 1, (2, 2)).astype(np.float32))


def looked_at(sprite: np.ndarray, look: Look) -> np.ndarray:
    """(P, P, 4) uint8 premultiplied: the sprite as `look` says, its outline's extent unchanged."""
    if look.turn or look.nod:
        sprite = _turned(sprite, look.turn, look.nod)
    if look.shade.min() < 1:
        gains = cv2.resize(look.shade, sprite.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        ones = np.ones_like(gains)
        sprite = cv2.multiply(sprite, cv2.merge([gains, gains, gains, ones]), dtype=cv2.CV_8U)
    return sprite


def _turned(sprite: np.ndarray, turn: float, nod: float) -> np.ndarray:
    """As if it were a ball's front: what was in the middle moves aside, the ends stay."""
    side = sprite.shape[0]
    axis = (np.arange(side) + 0.5) * (2 / side) - 1
    columns, rows = (
        ((axis + move * (1 - axis**2) + 1) * (side / 2) - 0.5).astype(np.float32)
        for move in (turn, nod)
    )
    return cv2.remap(
        sprite, np.tile(columns, (side, 1)), np.tile(rows[:, None], (1, side)), cv2.INTER_LINEAR
    )


def sized(sprite: np.ndarray, longer_side_px: float) -> np.ndarray:
    """(P, P, 4): the sprite shrunk to the ladder's step above its size, with the margin back."""
    inner = sprite.shape[0] - 2 * MARGIN_PX
    step = next((side for side in _LADDER_PX if side >= longer_side_px), inner)
    if step >= inner:
        return sprite
    cut = np.ascontiguousarray(sprite[MARGIN_PX:-MARGIN_PX, MARGIN_PX:-MARGIN_PX])
    small = cv2.resize(cut, (step, step), interpolation=cv2.INTER_AREA)
    sides = (MARGIN_PX,) * 4
    return cv2.copyMakeBorder(small, *sides, cv2.BORDER_CONSTANT, value=(0, 0, 0, 0))


def outline(sprite: np.ndarray) -> np.ndarray:
    """(N, 2) float64 points around what is visible, in [-1, 1] of the sprite's inner square.

    Raises:
        ValueError: nothing is visible.
    """
    points = cv2.findNonZero((sprite[..., 3] >= 128).astype(np.uint8))
    if points is None:
        raise InputError("the sprite is wholly transparent; leave it out")
    hull = cv2.convexHull(points)[:, 0].astype(np.float64)
    half = (sprite.shape[0] - 2 * MARGIN_PX) / 2
    return (hull + 0.5 - MARGIN_PX) / half - 1


def tinted(sprite: np.ndarray, scene: np.ndarray, strength: float) -> np.ndarray:
    """The sprite with the scene's colour cast and some of its darkness on it.

    Args:
        sprite: (P, P, 4) uint8 premultiplied.
        scene: (H, W, 3) uint8 RGB.
        strength: 0 leaves it, 1 multiplies it by the scene's mean colour.
    """
    mean = np.array(cv2.mean(scene)[:3]) + 16
    cast = (mean / mean.max()) ** strength
    dark = min(1.0, (mean.mean() / 128) ** (0.5 * strength))
    return cv2.multiply(sprite, (*(dark * cast).tolist(), 1.0))


def toned(image: np.ndarray, tones: np.ndarray) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB printed in two tones.

    Args:
        image: left untouched.
        tones: (2, 3) float32, RGB of what is black and of what is white.
    """
    dark, light = tones
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None].astype(np.float32) / 255
    return (dark + grey * (light - dark)).round().astype(np.uint8)


def hidden(
    image: np.ndarray,
    mask: np.ndarray,
    obstacle: np.ndarray,
    pose: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """The picture with an obstacle before the object's rim, and what is left of its mask.

    The obstacle is left out where it would hide too much.

    Args:
        image: (H, W, 3) uint8 RGB.
        mask: (H, W) bool, the object.
        obstacle: (P, P, 4) uint8 premultiplied sprite.
        pose: (3, 3) homography of the obstacle's plane.
        rng: its place and size are drawn from it.
    """
    size_px = image.shape[0]
    x, y, width, height = cv2.boundingRect(mask.astype(np.uint8))
    side = max(width, height) * rng.uniform(0.5, 0.9)
    angle = rng.uniform(0, 2 * np.pi)
    middle = np.array([x + width / 2 * (1 + np.cos(angle)), y + height / 2 * (1 + np.sin(angle))])
    where = ((middle - side / 2) / max(size_px - side, 1)).clip(0, 1)
    small = sized(obstacle, side)
    matrix = views.fit_pose(pose, outline(small), side, where, size_px)
    covered, before = views.take_picture(small, matrix, image, _PLAIN)
    left = mask & ~before
    if np.count_nonzero(left) < _LEAST_SEEN * np.count_nonzero(mask):
        return image, mask
    return covered, left
