"""Objects made of photographs: a silhouette from one picture, its surface from another."""

from __future__ import annotations

import cv2
import numpy as np


def filled(sprite: np.ndarray, photo: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(P, P, 4) uint8 premultiplied: the sprite's outline with a piece of a photograph inside.

    Half of them keep the light and dark of the sprite's own parts, the others are shaded as if
    the outline were inflated.

    Args:
        sprite: (P, P, 4) uint8 premultiplied RGBA.
        photo: (H, W, 3) uint8 RGB, square.
        rng: piece, colours and light are drawn from it.
    """
    surface = _piece(photo, sprite.shape[0], rng)
    alpha = cv2.extractChannel(sprite, 3)
    shade = _own_relief(sprite, alpha) if rng.random() < 0.5 else _inflated(alpha, rng)
    weight = (shade * alpha * (1 / 255)).astype(np.float32)
    lit = cv2.multiply(surface, cv2.cvtColor(weight, cv2.COLOR_GRAY2RGB), dtype=cv2.CV_8U)
    lit = np.minimum(lit, alpha[..., None])
    return np.dstack([lit, alpha])


def _piece(photo: np.ndarray, side_px: int, rng: np.random.Generator) -> np.ndarray:
    """(side_px, side_px, 3) uint8: a turned piece of the photograph in other colours."""
    height = photo.shape[0]
    span = height * np.exp(rng.uniform(np.log(0.2), np.log(0.9)))
    y, x = rng.uniform(0, height - span, 2)
    piece = photo[int(y) : int(y + span), int(x) : int(x + span)]
    how = cv2.INTER_AREA if span > side_px else cv2.INTER_LINEAR
    piece = cv2.resize(piece, (side_px, side_px), interpolation=how)
    if rng.random() < 0.4:
        piece = piece[..., rng.permutation(3)]
    piece = np.rot90(piece, int(rng.integers(4)))
    gains = rng.uniform(0.8, 1.35) * rng.uniform(0.8, 1.2, 3)
    return cv2.multiply(np.ascontiguousarray(piece), (*gains, 0.0))


def _own_relief(sprite: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    """(P, P) float32: brightness of the sprite over its mean, softened."""
    grey = cv2.cvtColor(np.ascontiguousarray(sprite[..., :3]), cv2.COLOR_RGB2GRAY)
    own = cv2.divide(grey, cv2.max(alpha, 1), scale=255).astype(np.float32)
    mean = cv2.mean(own, (alpha > 128).astype(np.uint8))[0]
    return cv2.pow((own + 24) / np.float32(mean + 24), 0.7).clip(0.35, 1.5)


def _inflated(alpha: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """(P, P) float32: shading of the outline blown up like a cushion, lit from some side."""
    depth = cv2.distanceTransform((alpha > 128).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_3)
    reach = 0.16 * alpha.shape[0]
    rise = np.minimum(depth / np.float32(reach), 1)
    height = cv2.blur(cv2.sqrt(1 - (1 - rise) ** 2), (5, 5)) * np.float32(reach)
    slope_x, slope_y = (cv2.Sobel(height, cv2.CV_32F, dx, 1 - dx, scale=1 / 8) for dx in (1, 0))
    angle = rng.uniform(0, 2 * np.pi)
    facing = 1.4 - slope_x * np.cos(angle) - slope_y * np.sin(angle)
    unit = cv2.sqrt(1 + slope_x * slope_x + slope_y * slope_y)
    return (0.30 + 0.55 * facing / unit).clip(0.15, 1.5)
