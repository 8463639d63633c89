"""Augmentation of the reference in training."""

from __future__ import annotations

import cv2
import numpy as np

from anydoor_lab.structures.rng import rng_for


def jitter_light(
    image: np.ndarray,
    rng: np.random.Generator,
    probability: float,
    strength: float,
    bank: int = 0,
) -> np.ndarray:
    """`image` (H, W, 3) uint8 with brightness and contrast changed with `probability`.

    Args:
        image: left untouched; a new array comes back where it changes.
        rng: three numbers are drawn, whatever comes out.
        probability: of changing anything (released code 0.5).
        strength: largest relative change (released code 0.2).
        bank: only so many different changes are drawn from; 0: any.
    """
    chance, contrast, brightness = rng.random(3)
    if chance >= probability:
        return image
    if bank:
        return lit(image, *light_of(int(contrast * bank)), strength)
    return lit(image, contrast, brightness, strength)


def light_of(number: int) -> tuple[float, float]:
    """Contrast and brightness, numbers in [0, 1), of a change of the bank."""
    contrast, brightness = rng_for(0, number, "light").random(2)
    return float(contrast), float(brightness)


def lit(image: np.ndarray, contrast: float, brightness: float, strength: float) -> np.ndarray:
    """`image` (H, W, 3) uint8 with another contrast and brightness, 0.5 leaving each as it is."""
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
    return mirrored(image, mask)


def mirrored(image: np.ndarray, mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both mirrored left to right."""
    return np.ascontiguousarray(image[:, ::-1]), np.ascontiguousarray(mask[:, ::-1])
