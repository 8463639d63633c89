"""What placing will write into a scene, told before it is done."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import cv2
import numpy as np

from anydoor_lab.conditioning.placement import Blend, Placement
from anydoor_lab.structures.boxes import Box

STRAY_SHARE = 0.02
"""A part of a mask smaller than this share of its largest part is taken for a slip of the brush."""
ENLARGED = 2.0
"""From this enlargement of the network's pixels on a sentence says so."""
STRETCHED = 1.25
"""From this enlargement of the object's photo on a sentence says so."""
GROWN = 1.2
"""A box is said to be grown by strays where it is this many times the one without them."""
NOT_ASKED = 0.1
"""Share of the written pixels between the parts of a mask from which a sentence says so."""


@dataclass(frozen=True, slots=True)
class Edit:
    """What will be written.

    Args:
        box: around every pixel that may change, scene pixels.
        share: of the scene's pixels, those that may change.
        warnings: sentences where this is more than was asked for or will be less sharp than
            the scene, with the better choice.
    """

    box: Box
    share: float
    warnings: tuple[str, ...] = ()

    def __str__(self) -> str:
        box = self.box
        rows, columns = f"rows {box.y1} to {box.y2}", f"columns {box.x1} to {box.x2}"
        return f"{rows}, {columns} of the scene will be written ({100 * self.share:.1f} % of it)"


def planned_edit(
    scene_mask: np.ndarray,
    placement: Placement,
    blend: Blend,
    reference_mask: np.ndarray | None = None,
) -> Edit:
    """What `paste` with this `blend` writes of the scene.

    Args:
        scene_mask: (H, W) bool, the region asked for.
        placement: as the pair was conditioned.
        blend: `box`, `mask` or `crop`.
        reference_mask: (H, W) bool, where the object is in its photo, to look at its size too.
    """
    height, width = scene_mask.shape
    written = placement.writable.mask(height, width)
    if blend == "box":
        written &= placement.region.mask(height, width)
    elif blend == "mask":
        written &= scene_mask
    box = Box.around(written if written.any() else scene_mask)
    told = [
        _stray(scene_mask) or _between(scene_mask, placement, written, blend),
        *_softness(scene_mask, placement, reference_mask),
    ]
    return Edit(box, float(written.mean()), tuple(filter(None, told)))


def _softness(
    scene_mask: np.ndarray, placement: Placement, reference_mask: np.ndarray | None
) -> Iterator[str]:
    """The sentences about pixels that will be missing in the result."""
    enlarged = placement.side / placement.resolution
    if enlarged > ENLARGED:
        yield (
            f"the network paints {placement.resolution} x {placement.resolution} pixels, which "
            f"are enlarged {enlarged:.1f} times in this scene, so the object will look soft; mark "
            "a smaller place, or take a scene with fewer pixels"
        )
    if reference_mask is None or not reference_mask.any():
        return
    there, here = Box.around(reference_mask), placement.to_crop(Box.around(scene_mask))
    given, shown = max(there.height, there.width), max(here.height, here.width)
    if given * STRETCHED < shown:
        yield (
            f"the object is {given} pixels long in its photo and is shown to the network with "
            f"{shown}; a larger photo of it would give more detail"
        )


def _stray(mask: np.ndarray) -> str:
    """The sentence about parts so small that nobody can have meant them."""
    labels, areas = _parts(mask)
    kept = areas >= STRAY_SHARE * areas.max()
    if kept.all():
        return ""
    whole, clean = Box.around(mask), Box.around(np.r_[False, kept][labels])
    factor = whole.height * whole.width / (clean.height * clean.width)
    if factor < GROWN:
        return ""
    number, pixels = int((~kept).sum()), int(areas[~kept].sum())
    return (
        f"the mask has {number} stray part{'s' * (number > 1)} of {pixels} px in all, which make "
        f"its box {factor:.1f} times as large; clean the mask, or give "
        f"box=[{clean.y1},{clean.x1},{clean.y2},{clean.x2}]"
    )


def _between(mask: np.ndarray, placement: Placement, written: np.ndarray, blend: Blend) -> str:
    """The sentence about what lies between the parts of a mask and is written all the same."""
    number = len(_parts(mask)[1])
    if number < 2 or blend == "mask":
        return ""
    between = np.count_nonzero(placement.region.mask(*mask.shape) & ~mask)
    if between < NOT_ASKED * np.count_nonzero(written):
        return ""
    return (
        f"the mask has {number} parts, and blend={blend} also writes what lies between them; "
        "blend=mask writes the parts alone, one call for each part places an object in each"
    )


def _parts(mask: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(H, W) int labels of the connected parts, 0 outside, and their areas in pixels."""
    number, labels, facts, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8))
    del number
    return labels, facts[1:, cv2.CC_STAT_AREA]
