"""What users hand to the pipeline, as a checked `Pair`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from PIL import Image

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import is_whole
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.masks import mask_of
from anydoor_lab.structures.originals import Picture, original_of
from anydoor_lab.structures.pair import Pair


def make_pair(
    reference: Picture,
    scene: Picture,
    reference_mask: Picture | None = None,
    scene_mask: Picture | None = None,
    box: Box | Sequence[int] | None = None,
) -> Pair:
    """The pair of these inputs, as `AnyDoorPipeline.__call__` takes them.

    Raises:
        ValueError: not exactly one of scene_mask and box; a box outside the scene; no mask; a
            picture that cannot be read, or not for certain.
        TypeError: a picture is neither PIL's nor a (H, W, 3) uint8 array.
    """
    if (scene_mask is None) == (box is None):
        raise InputError("give either scene_mask or box, exactly one of them")
    object_photo, canvas = original_of(reference, "reference"), original_of(scene, "scene").rgb
    if reference_mask is not None:
        object_mask = _mask(reference_mask)
    elif object_photo.alpha is not None:
        object_mask = object_photo.alpha > 128
    else:
        raise InputError("the reference has no usable alpha; give reference_mask as well")
    region = (
        checked_box(box, *canvas.shape[:2]).mask(*canvas.shape[:2])
        if box is not None
        else _mask(scene_mask)
    )
    return Pair(object_photo.rgb, object_mask, canvas, region)


def checked_box(box: Box | Sequence[int] | None, height: int, width: int) -> Box:
    """A `Box` from itself or from [y1, x1, y2, x2], inside a picture of this size.

    Raises:
        ValueError: not four numbers, inverted, or not inside the picture.
    """
    if not isinstance(box, Box):
        if not isinstance(box, Sequence) or len(box) != 4 or not all(map(is_whole, box)):
            raise InputError(f"box is {box}; expected four whole pixel numbers [y1, x1, y2, x2]")
        y1, x1, y2, x2 = (int(value) for value in box)
        box = Box(y1, y2, x1, x2)
    if box.y1 < 0 or box.x1 < 0 or box.y2 > height or box.x2 > width:
        raise InputError(
            f"box [y1={box.y1}, x1={box.x1}, y2={box.y2}, x2={box.x2}] leaves the scene of "
            f"{height}x{width} (height x width); choose one inside it"
        )
    return box


def _mask(mask: Picture | None) -> np.ndarray:
    if isinstance(mask, Image.Image):
        return mask_of(mask)
    return np.asarray(mask)
