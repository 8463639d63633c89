"""The rim of a cut: an alpha matte about it says, pixel by pixel, what is the object."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from importlib.util import find_spec

import cv2
import numpy as np

from anydoor_lab.conditioning.prompt import Click
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.widgets.object_cutter.segmenters import Segmenter, enlarged, grab_cut, shrunk

_BAND = 0.03  # half of the uncertain band's width, share of the object's longer side
_MIDDLE = 0.7  # of a part thinner than the band, what is deeper than this share is certain
_LONGEST_PX = 400  # the part about the object is shrunk to this side first


class MattedRim:
    """A `Segmenter` whose cuts get their rim from closed-form matting (Levin et al., 2008).

    Within a narrow band about the first cut's outline a pixel is the object where its share of
    the object's colours is above a half: hair, fur and leaves instead of a smooth line.

    Args:
        segmenter: makes the first cut.

    Raises:
        InputError: pymatting (extra `cutter`) is missing.
    """

    def __init__(self, segmenter: Segmenter = grab_cut) -> None:
        if find_spec("pymatting") is None:
            raise InputError(
                "pymatting is not installed; pip install 'anydoor-lab[cutter]', it finds the rim"
            )
        self._segmenter = segmenter

    def __call__(self, image: np.ndarray, box: Box | None, clicks: Sequence[Click]) -> np.ndarray:
        """(H, W) bool, the object that box and clicks point at."""
        found = self._segmenter(image, box, clicks)
        return matted(image, found) if found.any() and not found.all() else found


def matted(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`mask` (H, W) bool with its rim by the matte of `image` (H, W, 3) uint8."""
    # by default numba's threads, GNU OpenMP's, end every process that is forked afterwards
    os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")
    from pymatting import estimate_alpha_cf

    near = Box.around(mask).grown(1.3, *mask.shape)
    part, height, width = image[near.slices], near.height, near.width
    scale = min(1.0, _LONGEST_PX / max(height, width))
    small = shrunk(part, scale)
    known = cv2.resize(mask[near.slices].astype(np.float32), small.shape[1::-1])
    object_, ground = _sure(known > 0.5)
    if not object_.any() or not ground.any():
        return mask  # too thin: there is no inside to learn colours from
    trimap = np.where(object_, 1.0, np.where(ground, 0.0, 0.5))
    with warnings.catch_warnings():  # of its solver, which then takes a larger shift
        warnings.simplefilter("ignore")
        alpha = estimate_alpha_cf(small / 255.0, trimap).astype(np.float32)
    result = mask.copy()
    large, band = (enlarged(one, height, width) for one in (alpha, trimap == 0.5))
    result[near.slices] = np.where(band, large, mask[near.slices])
    return result


def _sure(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What is certainly the object and what certainly is not, (H, W) bool each."""
    rows, columns = np.nonzero(mask)
    side = max(np.ptp(rows), np.ptp(columns)) + 1
    reach = max(2, round(_BAND * side))
    return _core(mask, reach), _core(~mask, reach)


def _core(mask: np.ndarray, reach: int) -> np.ndarray:
    """What lies deeper than `reach` in a mask, and of its thin parts (legs, gaps) the middle."""
    depth = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    deepest = cv2.dilate(depth, disc)
    return mask & ((depth > reach) | (depth > _MIDDLE * deepest))
