"""Background: what the regenerated crop does to the scene around the object.

AnyDoor regenerates the whole crop, so faces and text beside the object change too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
import torch
from skimage.metrics import structural_similarity

from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair, check_image
from anydoor_lab.structures.errors import InputError

PSNR_CAP_DB = 100.0
"""PSNR of identical pixels, which would be infinite; far above 8-bit rounding (51 to 59 dB)."""
SSIM_WINDOW_PX = 7


def background_mask(crop: Box, edited: np.ndarray) -> np.ndarray:
    """(H, W) bool: inside the regenerated `crop` and outside `edited` (H, W) bool."""
    return crop.mask(*edited.shape) & ~edited


def background_psnr(result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> float:
    """PSNR in dB over the pixels of `background`, at most `PSNR_CAP_DB`.

    Args:
        result: (H, W, 3) uint8.
        scene: (H, W, 3) uint8.
        background: (H, W) bool, where they are compared: `background_mask`.

    Raises:
        UnusablePair: `background` is empty.
        ValueError: the sizes differ.
    """
    _check(result, scene, background)
    error = result[background].astype(np.float64) - scene[background]
    mean_square = float((error**2).mean())
    return min(10 * np.log10(255**2 / mean_square), PSNR_CAP_DB) if mean_square else PSNR_CAP_DB


def background_ssim(result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> float:
    """SSIM in [-1, 1] over the 7x7 windows that lie wholly in `background`; see `background_psnr`.

    Raises:
        UnusablePair: no such window fits.
        ValueError: the sizes differ.
    """
    _check(result, scene, background)
    window = np.ones((SSIM_WINDOW_PX, SSIM_WINDOW_PX), np.uint8)
    # a window that reaches into the edited region would judge the object
    whole = cv2.erode(background.astype(np.uint8), window, borderType=cv2.BORDER_CONSTANT,
                      borderValue=0).astype(bool)  # fmt: skip
    if not whole.any():
        raise UnusablePair("no background", f"no {SSIM_WINDOW_PX} px window fits beside the object")
    _, values = structural_similarity(
        result, scene, win_size=SSIM_WINDOW_PX, channel_axis=2, data_range=255, full=True
    )
    return float(values[whole].mean())


class BackgroundScore(MeanScore):
    """The mean over pictures of what `of_one` says of one."""

    higher_is_better = True

    def of_one(self, result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> float:
        """The score of one picture; arguments and errors as `background_psnr`."""
        raise NotImplementedError

    def update(self, result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> None:
        """Count one picture; arguments and errors as `background_psnr`."""
        self.add(torch.tensor([self.of_one(result, scene, background)]))

    def scores(
        self,
        regenerated: Sequence[np.ndarray],
        scenes: Sequence[np.ndarray],
        backgrounds: Sequence[np.ndarray],
    ) -> torch.Tensor:
        """(B,) float64, NaN for a picture without background; `regenerated` are the scenes with the
        whole generated crop, before blending."""
        values = []
        for result, scene, background in zip(regenerated, scenes, backgrounds, strict=True):
            try:
                values.append(self.of_one(result, scene, background))
            except UnusablePair:
                values.append(math.nan)
        return torch.tensor(values, dtype=torch.float64)


class BackgroundPsnr(BackgroundScore):
    """Mean of `background_psnr` (dB, higher = the scene is kept) over pictures."""

    bounds = (0.0, PSNR_CAP_DB)

    def of_one(self, result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> float:
        """`background_psnr` of one picture."""
        return background_psnr(result, scene, background)


class BackgroundSsim(BackgroundScore):
    """Mean of `background_ssim` (1 = the scene is kept) over pictures."""

    bounds = (-1.0, 1.0)

    def of_one(self, result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> float:
        """`background_ssim` of one picture."""
        return background_ssim(result, scene, background)


def _check(result: np.ndarray, scene: np.ndarray, background: np.ndarray) -> None:
    check_image("result", result)
    check_image("scene", scene)
    if not result.shape[:2] == scene.shape[:2] == background.shape:
        seen = f"result {result.shape[:2]}, scene {scene.shape[:2]}, mask {background.shape}"
        raise InputError(f"{seen}; expected one size (height, width), paste the result back first")
    if not background.any():
        raise UnusablePair("no background", "the edited region fills the whole crop")
