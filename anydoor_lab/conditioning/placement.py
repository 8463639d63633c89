"""The zoom-in crop of the scene and its inverse (Sec. 4.1)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError, InputTypeError
from anydoor_lab.structures.images import padded_square, resized, square_padding
from anydoor_lab.structures.pair import Pair

Blend = Literal["box", "mask", "crop"]
BLENDS = ("box", "mask", "crop")
"""Written back: the region's grown box, its mask, or the whole crop (as the released code)."""

MARGIN_PX = 5
"""Pixels at each seam of the crop that are never written back (the released code's margin)."""
Sides = tuple[bool, bool, bool, bool]
"""Top, bottom, left, right."""


@dataclass(frozen=True, slots=True)
class Placement:
    """All that is needed to paste a generated crop back.

    Args:
        scene_height, scene_width: size of the scene, pixels.
        crop: the part of the scene the model is shown; padded to a square if it is none.
        region: the box asked for, grown, in scene pixels; its mask channel is 1 inside.
        resolution: R, the side of the model's picture.
    """

    scene_height: int
    scene_width: int
    crop: Box
    region: Box
    resolution: int

    @property
    def side(self) -> int:
        """Side of the padded square crop, scene pixels."""
        return max(self.crop.height, self.crop.width)

    @property
    def padding(self) -> tuple[int, int, int, int]:
        """(top, bottom, left, right) padding of the crop to a square, scene pixels."""
        return square_padding(self.crop.height, self.crop.width)

    @property
    def seams(self) -> Sides:
        """Where the crop ends inside the scene; at the scene's own rim there is no seam to hide."""
        box = self.crop
        return box.y1 > 0, box.y2 < self.scene_height, box.x1 > 0, box.x2 < self.scene_width

    @property
    def writable(self) -> Box:
        """The crop without a margin at its seams: nothing outside is ever changed, scene pixels."""
        margin = min(MARGIN_PX, min(self.crop.height, self.crop.width) // 8)
        top, bottom, left, right = (margin * seam for seam in self.seams)
        box = self.crop
        return Box(box.y1 + top, box.y2 - bottom, box.x1 + left, box.x2 - right)

    def to_crop(self, box: Box) -> Box:
        """`box` of the scene in the model's picture (R x R)."""
        top, _, left, _ = self.padding
        moved = box.moved(top - self.crop.y1, left - self.crop.x1)
        return moved.scaled(self.resolution / self.side).clipped(self.resolution, self.resolution)


def place(scene_mask: np.ndarray, resolution: int, grow: float, zoom: float) -> Placement:
    """Where to look for a region: its box grown, and a square about it.

    Args:
        scene_mask: (H, W) bool, the region asked for.
        resolution: R.
        grow: factor on the region's box (released code 1.1 to 1.2); above 1, at least one
            pixel is added on each side.
        zoom: side of the square crop over the longer side of the grown box (the paper's 2.0).
    """
    height, width = scene_mask.shape
    region = _grown(Box.around(scene_mask), grow, height, width)
    crop = region.grown(zoom, height, width).squared(height, width)
    return Placement(height, width, crop, region, resolution)


def _grown(box: Box, grow: float, height: int, width: int) -> Box:
    grown = box.grown(grow, height, width)
    if grow <= 1:
        return grown
    # resizing the crop smears a pixel over its neighbours: without a rim a small object would
    # show around the blackened box
    rim = Box(box.y1 - 1, box.y2 + 1, box.x1 - 1, box.x2 + 1).clipped(height, width)
    y1, y2 = min(grown.y1, rim.y1), max(grown.y2, rim.y2)
    return Box(y1, y2, min(grown.x1, rim.x1), max(grown.x2, rim.x2))


def crop_scene(image: np.ndarray, placement: Placement, fill: int = 0) -> np.ndarray:
    """The crop of `image` (H, W[, C]) uint8, padded to a square with `fill`, as (R, R[, C])."""
    square = padded_square(image[placement.crop.slices], fill)
    return resized(square, placement.resolution, placement.resolution)


def uncrop(prediction: np.ndarray, placement: Placement) -> np.ndarray:
    """`prediction` (R, R[, C]) back at the crop's own size, without the padding."""
    side, (top, bottom, left, right) = placement.side, placement.padding
    square = resized(_without_padding(prediction, placement), side, side)
    return square[top : side - bottom, left : side - right]


def _without_padding(prediction: np.ndarray, placement: Placement) -> np.ndarray:
    """`prediction` with its outermost pixels of the scene instead of padding: resizing would smear
    the padding over the scene's rim."""
    if not any(placement.padding):
        return prediction
    last, side = placement.resolution - 1, placement.side
    top, bottom, left, right = (
        min(-(-pad * placement.resolution // side), last) for pad in placement.padding
    )
    every = np.arange(last + 1)
    rows = np.clip(every, top, max(last - bottom, top))
    columns = np.clip(every, left, max(last - right, left))
    return prediction[rows][:, columns]


def paste_back(
    prediction: np.ndarray,
    scene: np.ndarray,
    placement: Placement,
    region: np.ndarray | None = None,
    feather_px: float = 0.0,
) -> np.ndarray:
    """A copy of `scene` with the generated crop written back: the inverse of `crop_scene`.

    Args:
        prediction: (R, R, 3) uint8.
        scene: (H, W, 3) uint8; outside the edit the result equals it bit for bit.
        placement: as it was cropped.
        region: (H, W) bool, where to write; None writes the whole crop but its margin.
        feather_px: width inside the region over which the two are blended, scene pixels; nothing
            is blended towards the scene's own rim.

    Raises:
        TypeError: the scene is not uint8 RGB, or the region not bool.
        ValueError: the scene or the region is not of the placement's size.
    """
    check_image("scene", scene)
    if scene.shape[:2] != (placement.scene_height, placement.scene_width):
        expected = f"{placement.scene_height}x{placement.scene_width}"
        raise InputError(
            f"the scene is {scene.shape[0]}x{scene.shape[1]}, the placement was made for {expected}"
        )
    weight = edit_weight(placement, region, feather_px)[..., None]
    old = scene[placement.crop.slices]
    blended = old + weight * (uncrop(prediction, placement).astype(np.float32) - old)
    result = scene.copy()
    result[placement.crop.slices] = np.where(weight > 0, np.rint(blended), old).astype(np.uint8)
    return result


def edit_weight(
    placement: Placement, region: np.ndarray | None = None, feather_px: float = 0.0
) -> np.ndarray:
    """How much of the prediction `paste_back` writes where in the crop, float32 in [0, 1].

    Args:
        placement, region, feather_px: as for `paste_back`.

    Raises:
        TypeError: the region is not bool.
        ValueError: the region is not as large as the scene.
    """
    crop = placement.crop
    edit = placement.writable.moved(-crop.y1, -crop.x1).mask(crop.height, crop.width)
    if region is not None:
        _check_region(region, placement)
        edit &= region[crop.slices]
    if feather_px <= 0:
        return edit.astype(np.float32)
    top, bottom, left, right = map(int, placement.seams)
    framed = np.pad(edit.astype(np.uint8), ((top, bottom), (left, right)))
    depth = cv2.distanceTransform(framed, cv2.DIST_L2, 3)
    depth = depth[top : top + crop.height, left : left + crop.width]
    return np.clip(depth / (feather_px + 1), 0, 1).astype(np.float32)


def _check_region(region: np.ndarray, placement: Placement) -> None:
    if region.dtype != np.bool_:
        raise InputTypeError(f"region is {region.dtype}; expected a (H, W) bool array")
    expected = (placement.scene_height, placement.scene_width)
    if region.shape != expected:
        raise InputError(f"region has shape {region.shape}; expected the scene's, {expected}")


def paste(crop: np.ndarray, pair: Pair, placement: Placement, blend: Blend) -> np.ndarray:
    """The scene with a generated crop written back by the chosen blending."""
    if blend == "crop":
        return paste_back(crop, pair.scene, placement)
    region = placement.region.mask(placement.scene_height, placement.scene_width)
    if blend == "mask":
        region = pair.scene_mask
    return paste_back(crop, pair.scene, placement, region, feather_px=placement.side / 32)
