"""Silhouettes: each shape a polygon in [-1, 1] x [-1, 1] (y down) with a place for its letter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import numpy as np


@dataclass(frozen=True, slots=True)
class Silhouette:
    """How one shape is made and where its letter sits.

    Args:
        draw: gives the (N, 2) polygon, (x, y) with y down; any size, `outline` normalises it.
        letter_y: height of the letter's centre in [-1, 1].
        letter_height: the letter's height as a fraction of the object's.
    """

    draw: Callable[[], np.ndarray]
    letter_y: float = 0.0
    letter_height: float = 0.52


@cache
def outline(shape: str) -> np.ndarray:
    """(N, 2) float64 (x, y) polygon of a shape: centred, its longer box side exactly 2."""
    points = SHAPES[shape].draw()
    low, high = points.min(axis=0), points.max(axis=0)
    points = (points - (low + high) / 2) * (2.0 / (high - low).max())
    points.setflags(write=False)
    return points


def _polar(radius: Callable[[np.ndarray], np.ndarray], num_points: int = 180) -> np.ndarray:
    angle = np.linspace(0, 2 * np.pi, num_points, endpoint=False) - np.pi / 2
    return radius(angle)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _regular(num_corners: int) -> np.ndarray:
    return _polar(np.ones_like, num_corners)


def _points(*pairs: tuple[float, float]) -> np.ndarray:
    return np.array(pairs, np.float64)


def _mirrored(*right: tuple[float, float]) -> np.ndarray:
    """A polygon from its right half, listed from top to bottom."""
    half = _points(*right)
    return np.concatenate([half, half[::-1] * (-1, 1)])


def _star() -> np.ndarray:
    return _polar(np.ones_like, 10) * np.where(np.arange(10) % 2, 0.58, 1.0)[:, None]


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1)


def _drop() -> np.ndarray:
    t = np.linspace(-np.pi / 6, np.pi * 7 / 6, 100)
    return np.concatenate([np.stack([np.cos(t), np.sin(t)], axis=1), _points((0.0, -1.7))])


def _cross() -> np.ndarray:
    arm = 0.42
    return _mirrored((arm, -1), (arm, -arm), (1, -arm), (1, arm), (arm, arm), (arm, 1))


def _gear() -> np.ndarray:
    return _polar(lambda a: 0.86 + 0.14 * np.tanh(6 * np.cos(8 * (a + np.pi / 2))), 320)


def _flower() -> np.ndarray:
    return _polar(lambda a: 0.78 + 0.22 * np.abs(np.cos(2.5 * (a + np.pi / 2))) ** 0.8 * 1.4 - 0.1)


def _cloud() -> np.ndarray:
    bumps = _polar(lambda a: 0.85 + 0.15 * np.abs(np.cos(3.5 * (a + np.pi / 2))))
    return np.stack([bumps[:, 0] * 1.0, np.minimum(bumps[:, 1] * 0.8, 0.5)], axis=1)


SHAPES: dict[str, Silhouette] = {
    "disc": Silhouette(lambda: _polar(np.ones_like)),
    "square": Silhouette(lambda: _points((-1, -1), (1, -1), (1, 1), (-1, 1)), 0.0, 0.55),
    "triangle": Silhouette(lambda: _points((0, -1), (1.12, 1), (-1.12, 1)), 0.28, 0.42),
    "star": Silhouette(_star, 0.06, 0.45),
    "heart": Silhouette(_heart, -0.14, 0.48),
    "cross": Silhouette(_cross, 0.0, 0.5),
    "drop": Silhouette(_drop, 0.28, 0.46),
    "flower": Silhouette(_flower, 0.04, 0.48),
    "hexagon": Silhouette(lambda: _regular(6)),
    "house": Silhouette(lambda: _mirrored((0, -1), (1, -0.25), (0.8, -0.25), (0.8, 1)), 0.25, 0.5),
    "shield": Silhouette(
        lambda: _mirrored((0, -1), (0.85, -0.8), (0.85, 0.1), (0.6, 0.6), (0, 1)), -0.1, 0.5
    ),
    "gear": Silhouette(_gear),
    "arrow": Silhouette(lambda: _mirrored((0, -1), (1, 0.05), (0.5, 0.05), (0.5, 1)), 0.1, 0.48),
    "cloud": Silhouette(_cloud, -0.02, 0.4),
}
"""Every shape there is, by the name used in captions; the first eight are the easy level."""
