"""Pasting: the object's own pixels, scaled into the region, as they are or made to fit."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import cv2
import numpy as np
from skimage.color import lab2rgb, rgb2lab

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy, pasted_object
from anydoor_lab.pipeline.results import Result
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair


class CopyPaste:
    """The cut-out object set into the region of the emptied scene; all seeds give the same."""

    def __call__(
        self,
        pairs: Sequence[Pair],
        seeds: Sequence[Sequence[int]],
        rngs: Sequence[np.random.Generator],
    ) -> list[Result]:
        """As `methods.anydoor.Method`."""
        del rngs
        made = [(pair, self.placed(pair)) for pair in pairs]
        return [Result(pair, scene) for pair, scene in made for _ in seeds[0]]

    def placed(self, pair: Pair) -> np.ndarray:
        """(H, W, 3) uint8: the scene with the object."""
        return paste_copy(emptied(pair), pair)


class HarmonisedPaste(CopyPaste):
    """The object's colours moved towards those around it before it is pasted.

    Mean and standard deviation of each channel of CIE L*a*b* inside the object become those of
    its surroundings (Reinhard et al. 2001, "Color Transfer between Images").

    Args:
        strength: how far, from 0 (plain copy and paste) to 1 (all the way).

    Raises:
        ValueError: it is outside of that.
    """

    def __init__(self, strength: float = 0.5) -> None:
        if not 0 <= strength <= 1:
            raise InputError(f"method.strength is {strength}; expected 0 to 1")
        self.strength = strength

    def placed(self, pair: Pair) -> np.ndarray:
        """(H, W, 3) uint8: the scene with the object in colours nearer to it."""
        scene = emptied(pair)
        pixels, inside = pasted_object(pair)
        around = Box.around(pair.scene_mask).grown(1.5, *inside.shape).mask(*inside.shape)
        around &= ~pair.scene_mask
        if not inside.any() or not around.any():
            return np.where(inside[..., None], pixels, scene)
        own, there = rgb2lab(pixels[inside]), rgb2lab(pair.scene[around])
        scale = there.std(axis=0) / np.maximum(own.std(axis=0), 1e-3)
        moved = (own - own.mean(axis=0)) * scale + there.mean(axis=0)
        result = scene.copy()
        with warnings.catch_warnings(action="ignore"):  # of colours that sRGB does not have
            colours = lab2rgb(own + self.strength * (moved - own))
        result[inside] = np.rint(255 * colours).clip(0, 255).astype(np.uint8)
        return result


class Poisson(CopyPaste):
    """The object's gradients set into the scene, its border in the scene's colours.

    Seamless cloning (Pérez et al. 2003, "Poisson Image Editing") as OpenCV does it. An object
    thinner than seven pixels has no inside to blend and is pasted as it is.
    """

    def placed(self, pair: Pair) -> np.ndarray:
        """(H, W, 3) uint8: the scene with the object blended in."""
        scene = emptied(pair)
        pixels, inside = pasted_object(pair)
        pasted = np.where(inside[..., None], pixels, scene)
        mask = 255 * inside.astype(np.uint8)
        if not cv2.erode(mask, np.ones((3, 3), np.uint8), iterations=3).any():
            return pasted
        # it fails where a mask meets the border: a frame is put around and taken away again
        framed = [np.pad(p, ((_FRAME, _FRAME), (_FRAME, _FRAME), (0, 0)), "edge") for p in
                  (pasted, scene)]  # fmt: skip
        mask = np.pad(mask, _FRAME)
        box = Box.around(mask > 0)
        middle = (box.x1 + box.width // 2, box.y1 + box.height // 2)
        blended = cv2.seamlessClone(framed[0], framed[1], mask, middle, cv2.NORMAL_CLONE)
        inner = blended[_FRAME:-_FRAME, _FRAME:-_FRAME]
        return np.where(inside[..., None], inner, scene)


_FRAME = 4
