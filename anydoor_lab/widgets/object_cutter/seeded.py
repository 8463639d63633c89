"""GrabCut begun from what a network says about each pixel of the box."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np

from anydoor_lab.conditioning.prompt import Click, Window, prompt_maps
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.widgets.object_cutter.segmenters import enlarged, iterated, main_parts, shrunk

_SURE = (0.02, 0.99)  # below it certainly background, above it certainly the object
_CLICK = 1 / 50  # radius of what a click certainly is, share of the window's side
_COLLAPSED = 0.25  # GrabCut that leaves less of the network's mask has lost the object


class SeededGrabCut:
    """A `Segmenter`: an `ObjectSegmenter` says what is what, GrabCut finds the rim by colour.

    Where GrabCut loses the object (a dark one before dark leaves), the network's mask stands.

    Args:
        weights: folder of an `ObjectSegmenter` (`python -m anydoor_lab.pretrain part=segmenter`).
        longest_px: the window about the box is shrunk to this side first.

    Raises:
        ValueError: the folder holds no such network.
    """

    def __init__(self, weights: str | Path, longest_px: int = 400) -> None:
        from anydoor_lab.models.segmenter import ObjectSegmenter

        try:
            network = ObjectSegmenter.from_pretrained(weights, local_files_only=True)
        except (OSError, ValueError) as error:
            raise InputError(
                f"no object segmenter in {weights}; make one with "
                "python -m anydoor_lab.pretrain part=segmenter"
            ) from error
        self._network, self._longest_px = network.float().eval(), longest_px

    def certainty(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) float32, how certainly each pixel is the object, by the network alone."""
        import torch

        height, width = image.shape[:2]
        side = int(self._network.config.size_px)
        window = Window.about(box, height, width)
        seen = window.of(image, side).astype(np.float32).transpose(2, 0, 1) / 127.5 - 1
        prompted = np.concatenate([seen, prompt_maps(window, box, clicks, side)])
        both = torch.from_numpy(np.stack([prompted, prompted[..., ::-1]]))
        with torch.no_grad():
            found, mirrored = self._network(both).sigmoid()[:, 0]
        return window.back(((found + mirrored.flip(1)) / 2).numpy(), height, width)

    def __call__(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) bool, the object that box and clicks point at."""
        return seeded_cut(self.certainty, image, box, clicks, self._longest_px)


def seeded_cut(
    certainty: Callable[[np.ndarray, Box | None, Sequence[Click]], np.ndarray],
    image: np.ndarray,
    box: Box | None,
    clicks: Sequence[Click],
    longest_px: int = 400,
) -> np.ndarray:
    """(H, W) bool, by GrabCut that begins from (H, W) float32 `certainty(image, box, clicks)`."""
    height, width = image.shape[:2]
    scale = min(1.0, longest_px / Window.about(box, height, width).side)
    small = shrunk(image, scale)
    near = box and box.scaled(scale).clipped(*small.shape[:2])
    moved = [(int(y * scale), int(x * scale), on) for y, x, on in clicks]
    found = _cut(small, certainty(small, near, moved), near, moved)
    return enlarged(found, height, width)


def _cut(
    image: np.ndarray, guess: np.ndarray, box: Box | None, clicks: Sequence[Click]
) -> np.ndarray:
    height, width = image.shape[:2]
    window = Window.about(box, height, width)
    marks = _marked(guess, window, box, clicks)
    seen = Box(window.y, window.y + window.side, window.x, window.x + window.side)
    there = seen.clipped(height, width).slices
    part, cut = np.ascontiguousarray(image[there]), np.ascontiguousarray(marks[there])
    found, first = marks % 2 == 1, guess > 0.5
    found[there] = iterated(part, cut, rounds=3)
    if np.count_nonzero(found) < _COLLAPSED * np.count_nonzero(first):
        found = first
    return main_parts(found, [(y, x) for y, x, on in clicks if on])


def _marked(
    guess: np.ndarray, window: Window, box: Box | None, clicks: Sequence[Click]
) -> np.ndarray:
    """(H, W) uint8, OpenCV's four marks: even is background, odd is object."""
    marks = np.where(guess > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    low, high = _SURE
    marks[guess < low], marks[guess > high] = cv2.GC_BGD, cv2.GC_FGD
    if box:
        marks[~box.mask(*guess.shape)] = cv2.GC_BGD
    for y, x, on in clicks:
        reach = max(2, round(_CLICK * window.side))
        cv2.circle(marks, (x, y), reach, cv2.GC_FGD if on else cv2.GC_BGD, -1)
    return marks
