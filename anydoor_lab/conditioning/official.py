"""How the released code shows a pair to the model, bit for bit, with its defects.

Boxes lose their last row and column, the object is stretched into the region's box, padding counts
as a part of the region, and everything is resized linearly. Weights imported from the released
checkpoint are shown pairs so; new ones learn from `Conditioner`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import cv2
import numpy as np

from anydoor_lab.conditioning.collage import Collage, edge_map
from anydoor_lab.conditioning.conditioner import Conditioning, Shape
from anydoor_lab.conditioning.placement import MARGIN_PX, Blend, Placement, paste
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair, check_all_finite
from anydoor_lab.structures.errors import RunError
from anydoor_lab.structures.images import as_picture, padded_square
from anydoor_lab.structures.pair import Pair

PREPROCESSINGS = ("default", "official")
EDGE_PX = 256
FEWEST_PX = 10
"""A mask of fewer pixels stands for the whole picture."""
TOO_SMALL = "too small for the official preprocessing"
AID = "; mark a larger one further inside, or set preprocessing to default"


@dataclass(frozen=True, slots=True)
class OfficialConditioner:
    """The released preprocessing with its random factors held fixed.

    Args:
        resolution: R.
        id_size: S.
        zoom: crop over the grown box; the released code draws 1.5 to 2.9.
        grow: factor on the region's box.
        id_margin: canvas of the id_image over the object.
        collage: another than the high-frequency map.
    """

    resolution: int = 512
    id_size: int = 224
    zoom: float = 2.0
    grow: float = 1.1
    id_margin: float = 1.2
    collage: Collage | None = None

    def placement(self, pair: Pair) -> Placement:
        """As `Conditioner.placement`, by the released code's rule."""
        return official_placement(pair, self.resolution, self.grow, self.zoom)

    def condition(self, pair: Pair, rng: np.random.Generator, shape: Shape = "box") -> Conditioning:
        """What the model is shown; as `Conditioner.condition`.

        Raises:
            UnusablePair: the object or the region is so small, or so near the scene's rim, that
                the released code fails or writes nothing.
        """
        id_image, mask = reference_square(pair, self.id_size, self.id_margin)
        place = self.placement(pair)
        crop, box = pair.scene[place.crop.slices], place.region
        box = box.moved(-place.crop.y1, -place.crop.x1)
        detail_map = (
            high_frequency(id_image, mask)
            if self.collage is None
            else self.collage(id_image, mask > 128, rng)
        )
        collage = crop.copy()
        collage[box.slices] = cv2.resize(detail_map, (box.width, box.height))
        region = box.mask(*crop.shape[:2])
        if shape == "mask":
            region = pair.scene_mask[place.crop.slices]
        marked = self._resized(region.astype(np.uint8), 255)  # the padding's -1, cast
        return Conditioning(
            id_image=(_channels_first(id_image) / 255.0).astype(np.float32),
            collage=_signed(self._resized(collage, 0)),
            shape_mask=(marked > 0.5).astype(np.float32)[None],
            target=_signed(self._resized(crop, 0)),
            placement=place,
        )

    def condition_for_training(self, pair: Pair, rng: np.random.Generator) -> Conditioning:
        """Refused: the released training draws differ from its inference.

        Raises:
            RuntimeError: always; train with preprocessing=default.
        """
        del pair, rng
        raise RunError("the official preprocessing is for inference; train with the default")

    def _resized(self, image: np.ndarray, fill: int) -> np.ndarray:
        return cv2.resize(padded_square(image, fill), (self.resolution, self.resolution))


def reference_square(pair: Pair, size: int, margin: float) -> tuple[np.ndarray, np.ndarray]:
    """The object on white and its mask, (S, S, 3) and (S, S) uint8, the mask with soft edges.

    Raises:
        UnusablePair: the mask is a single row or column.
    """
    with _refused_without_area("the object of the reference"):
        box = official_box(pair.reference_mask)
    mask = pair.reference_mask[box.slices].astype(np.uint8)
    white = np.where(mask[..., None] > 0, pair.reference[box.slices], np.uint8(255))
    padding = []
    for side in mask.shape:
        extra = int(side * margin) - side
        padding.append((extra // 2, extra - extra // 2))
    framed = np.pad(white, (*padding, (0, 0)), constant_values=255)
    framed_mask = np.pad(mask, padding) * np.uint8(255)
    image = cv2.resize(padded_square(framed, 255), (size, size))
    return image, cv2.resize(padded_square(framed_mask, 0), (size, size))


def high_frequency(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The map (S, S, 3) uint8 of a square `image` (S, S, 3) and soft `mask` (S, S) uint8."""
    colour = cv2.resize(image, (EDGE_PX, EDGE_PX))
    inside = (cv2.resize(mask / 255, (EDGE_PX, EDGE_PX)) > 0.5).astype(np.uint8)
    eroded = cv2.erode(inside, np.ones((5, 5), np.uint8), iterations=2)
    return cv2.resize(edge_map(colour, eroded, threshold=50), image.shape[1::-1])


def official_placement(pair: Pair, resolution: int, grow: float, zoom: float) -> Placement:
    """Where the region lies, and the crop about it.

    Raises:
        UnusablePair: there is no crop that holds the region, or nothing of it would be written.
    """
    height, width = pair.scene_mask.shape
    with _refused_without_area("the region asked for"):
        region = grown(official_box(pair.scene_mask), grow, height, width)
        crop = squared(grown(region, zoom, height, width), height, width)
    seen = f"the region's crop is {crop.height}x{crop.width} (height x width) pixels"
    if min(crop.height, crop.width) <= 2 * MARGIN_PX:
        raise UnusablePair(TOO_SMALL, f"{seen}, and {MARGIN_PX} at each side stay as they are{AID}")
    if region.within(crop) != region:
        detail = f"{seen}, made square it loses a row or column of the region{AID}"
        raise UnusablePair("region at the scene's rim", detail)
    return Placement(height, width, crop, region, resolution)


@contextmanager
def _refused_without_area(what: str) -> Iterator[None]:
    """Boxes that lose their only row or column end in a sentence about `what`."""
    try:
        yield
    except ValueError as error:
        detail = f"{what} has no pixel left without its last row and column{AID}"
        raise UnusablePair(TOO_SMALL, detail) from error


def official_box(mask: np.ndarray) -> Box:
    """The box of `mask` (H, W) bool without its last row and column."""
    if mask.sum() < FEWEST_PX:
        return Box(0, mask.shape[0], 0, mask.shape[1])
    box = Box.around(mask)
    return Box(box.y1, box.y2 - 1, box.x1, box.x2 - 1)


def grown(box: Box, ratio: float, height: int, width: int) -> Box:
    """`box` as if it had one more row and column, enlarged about its centre and truncated."""
    cy, cx = 0.5 * (box.y1 + box.y2), 0.5 * (box.x1 + box.x2)
    half_h, half_w = ratio * (box.height + 1) * 0.5, ratio * (box.width + 1) * 0.5
    rows, columns = (int(cy - half_h), int(cy + half_h)), (int(cx - half_w), int(cx + half_w))
    return Box(*rows, *columns).clipped(height, width)


def squared(box: Box, height: int, width: int) -> Box:
    """`box` with its shorter side as long as the longer, an even number of pixels, clipped."""
    cy, cx = (box.y1 + box.y2) // 2, (box.x1 + box.x2) // 2
    half = max(box.height, box.width) // 2
    if box.height >= box.width:
        return Box(box.y1, box.y2, cx - half, cx + half).clipped(height, width)
    return Box(cy - half, cy + half, box.x1, box.x2).clipped(height, width)


def paste_decoded(
    decoded: np.ndarray, pair: Pair, placement: Placement, blend: Blend, preprocessing: str
) -> np.ndarray:
    """The scene with a decoded picture written back, a whole crop as the preprocessing has it.

    Args:
        decoded: (3, R, R) float in [-1, 1] but for overshoots.
        pair, placement, blend: as for `paste`.
        preprocessing: of the pipeline; `official` resizes linearly before rounding, truncates, and
            drops the picture's first row.

    Raises:
        RuntimeError: the decoded numbers are not finite.
    """
    if preprocessing != "official" or blend != "crop":
        return paste(as_picture(decoded), pair, placement, blend)
    check_all_finite(decoded)
    levels = np.clip(decoded.transpose(1, 2, 0) * 127.5 + 127.5, 0, 255)
    return crop_back(np.ascontiguousarray(levels[1:]), pair.scene, placement)


def crop_back(prediction: np.ndarray, scene: np.ndarray, placement: Placement) -> np.ndarray:
    """A copy of `scene` with a generated crop written over all of it but a margin.

    Args:
        prediction: (h, w, 3) in [0, 255], float as the released code has it or uint8.
        scene: (H, W, 3) uint8.
        placement: from `official_placement`.
    """
    crop, margin = placement.crop, MARGIN_PX
    square = cv2.resize(prediction, (placement.side, placement.side))
    top, bottom, left, right = placement.padding
    own = square[top : placement.side - bottom, left : placement.side - right]
    result = scene.copy()
    inner = Box(crop.y1 + margin, crop.y2 - margin, crop.x1 + margin, crop.x2 - margin)
    result[inner.slices] = own[margin:-margin, margin:-margin].astype(np.uint8)
    return result


def _channels_first(image: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _signed(image: np.ndarray) -> np.ndarray:
    """(3, R, R) float32 in [-1, 1] of (R, R, 3) uint8."""
    return _channels_first(image).astype(np.float32) / 127.5 - 1.0
