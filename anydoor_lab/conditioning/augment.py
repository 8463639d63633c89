"""Augmentation of the reference in training."""

from __future__ import annotations

import cv2
import numpy as np


def jitter_light(
    image: np.ndarray, rng: np.random.Generator, probability: float, strength: float
) -> np.ndarray:
    """`image` (H, W, 3) uint8 with brightness and contrast changed with `probability`.

    Args:
        image: left untouched; a new array comes back where it changes.
        rng: three numbers are drawn, whatever comes out.
        probability: of changing anything (released code 0.5).
        strength: largest relative change (released code 0.2).
    """
    chance, contrast, brightness = rng.random(3)
    if chance >= probability:
        return image
    gain = 1 + strength * (2 * contrast - 1)
    shift = 255 * strength * (2 * brightness - 1)
    return (
        cv2.convertScaleAbs(image, alpha=gain, beta=shift)
        if shift >= 0
        else np.clip(image * np.float32(gain) + np.float32(shift), 0, 255).astype(np.uint8)
    )


def flip(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, probability: float
) -> tuple[np.ndarray, np.ndarray]:
    """Both mirrored left to right with `probability` (it mirrors logos: off by default)."""
    if rng.random() >= probability:
        return image, mask
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
