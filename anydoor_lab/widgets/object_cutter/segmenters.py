"""From a box or clicks to an object's mask, by colours alone: GrabCut."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import cv2
import numpy as np

from anydoor_lab.conditioning.prompt import Click
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import resized

_FULL = 0.7  # a cut that fills this share of its box has found no background in it
_SPREAD = 0.3  # how far a click beside the object speaks for, share of the box's longer side
_ALIKE = 40  # largest difference of a channel from the click's colour for which it speaks


class Segmenter(Protocol):
    """Anything that cuts an object out."""

    def __call__(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) bool, the object in `image` (H, W, 3) uint8 that box and clicks point at."""


def grab_cut(
    image: np.ndarray, box: Box | None, clicks: Sequence[Click], longest_px: int = 400
) -> np.ndarray:
    """The object by OpenCV's GrabCut (Rother et al., 2004), (H, W) bool.

    Args:
        image: (H, W, 3) uint8.
        box: everything outside it is background; None leaves it to the clicks.
        clicks: what certainly is, or is not, the object.
        longest_px: the picture is shrunk to this side first.
    """
    height, width = image.shape[:2]
    scale = min(1.0, longest_px / max(height, width))
    small = shrunk(image, scale)
    near = box and box.scaled(scale).clipped(*small.shape[:2])
    moved = [(round(y * scale), round(x * scale), on) for y, x, on in clicks]
    found = iterated(small, _first_guess(small, near, moved))
    if near and np.count_nonzero(found) > _FULL * near.height * near.width:
        found = iterated(small, _spread(small, near, moved))
    found = main_parts(found, [(y, x) for y, x, on in moved if on])
    return enlarged(found, height, width)


def shrunk(image: np.ndarray, scale: float) -> np.ndarray:
    """The picture with its sides times `scale`, each of two pixels at least."""
    height, width = image.shape[:2]
    return resized(image, max(2, round(height * scale)), max(2, round(width * scale)))


def enlarged(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """(height, width) bool: a mask at another size, its edges drawn through linear steps."""
    large = cv2.resize(mask.astype(np.float32), (width, height), interpolation=cv2.INTER_LINEAR)
    return large > 0.5


def iterated(image: np.ndarray, marks: np.ndarray, rounds: int = 4) -> np.ndarray:
    """(H, W) bool, what GrabCut takes for the object after some rounds from these marks."""
    if (marks % 2 == 1).any() and (marks % 2 == 0).any():
        cv2.setRNGSeed(0)
        models = np.zeros((1, 65)), np.zeros((1, 65))
        cv2.grabCut(image, marks, None, *models, rounds, cv2.GC_INIT_WITH_MASK)
    return marks % 2 == 1


def _first_guess(image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
    """OpenCV's four marks: even is background, odd is object."""
    height, width = image.shape[:2]
    marks = np.full((height, width), cv2.GC_BGD if box else cv2.GC_PR_BGD, np.uint8)
    if box:
        marks[box.slices] = cv2.GC_PR_FGD
    side = min(height, width)
    for y, x, on in clicks:
        if on and not box:
            cv2.circle(marks, (x, y), side // 4, cv2.GC_PR_FGD, -1)
    for y, x, on in clicks:
        cv2.circle(marks, (x, y), max(1, side // 40), cv2.GC_FGD if on else cv2.GC_BGD, -1)
    return marks


def _spread(image: np.ndarray, box: Box, clicks: Sequence[Click]) -> np.ndarray:
    """The marks, where a click beside the object also speaks for what looks like it nearby.

    An object that fills its box (a cat from edge to edge) leaves GrabCut no background to learn
    colours from: the few pixels of a click do not outweigh the box, their surroundings do.
    """
    marks, smooth = _first_guess(image, box, clicks), cv2.medianBlur(image, 5).astype(int)
    reach = round(_SPREAD * max(box.height, box.width))
    for y, x, on in clicks:
        if on:
            continue
        near = cv2.circle(np.zeros_like(marks), (x, y), reach, 1, -1) > 0
        colour = smooth[min(y, len(marks) - 1), min(x, marks.shape[1] - 1)]
        alike = np.abs(smooth - colour).max(axis=2) < _ALIKE
        marks[near & alike & (marks == cv2.GC_PR_FGD)] = cv2.GC_PR_BGD
    return marks


def main_parts(found: np.ndarray, wanted: Sequence[tuple[float, float]]) -> np.ndarray:
    """The connected parts that were clicked, else those of at least a tenth of the largest."""
    number, labels, facts, _ = cv2.connectedComponentsWithStats(found.astype(np.uint8))
    if number < 2:
        return found
    height, width = found.shape
    clicked = {
        int(labels[min(height - 1, round(y)), min(width - 1, round(x))]) for y, x in wanted
    } - {0}
    sizes = facts[1:, cv2.CC_STAT_AREA]
    large = set((np.flatnonzero(sizes >= sizes.max() / 10) + 1).tolist())
    return np.isin(labels, sorted(clicked or large))
