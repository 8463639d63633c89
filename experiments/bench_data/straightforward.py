"""What the released code does for a sample, step by step and at the picture's own size.

Written from its description, with its types: numbers become 64 bits wide where they do there.
"""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from anydoor_lab import IndexedPairs
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.rng import rng_for

ROUNDS, TURNS, SIZES = 250, 4, (3, 10)
GROWN, ZOOM, MARGIN = (11, 12), (13, 30), (11, 15)
"""Tenths: from the first to before the second."""
OVERLAP = (0.3, 0.99)


class Straightforward:
    """Samples of an indexed set as the released code makes them of the same two views.

    Its filters are computed and not obeyed (the index's entries pass ours already, and a refused
    draw would be read and lost there), its draws are our generator's.

    Args:
        source: whose rows and pictures are shown.
        resolution: R.
        rounds: of the shape mask's perturbation, at most; it stops when the mask has moved enough.
    """

    def __init__(self, source: IndexedPairs, resolution: int, rounds: int = ROUNDS) -> None:
        self.source, self.resolution, self.rounds = source, resolution, rounds

    def sample(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of a sample: `ref` (224, 224, 3), `jpg` (R, R, 3) and `hint` (R, R, 4)."""
        rng = rng_for(0, index, "straightforward")
        entry = int(rng.integers(len(self.source)))
        (image, mask), (scene, region) = (self._read(r) for r in self.source.rows(entry, rng))
        _filters(mask, region)
        shown, inside = _reference(image, mask, rng)
        detail = _edges(shown, inside / 255)
        return self._placed(shown, detail, scene, region, rng)

    def _read(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        """A view's picture (H, W, 3) and mask (H, W) bool, of all objects' annotation."""
        row = self.source.index.row(place)
        image = cv2.cvtColor(cv2.imread(str(self.source.root / row["image"])), cv2.COLOR_BGR2RGB)
        drawn = row["image"].replace("JPEGImages", "Annotations").replace(".jpg", ".png")
        with Image.open(self.source.root / drawn) as picture:
            numbers = np.array(picture)
        np.unique(numbers)  # which objects there are
        return image, numbers == int(row["object"])

    def _placed(
        self, shown: np.ndarray, detail: np.ndarray, scene: np.ndarray, region: np.ndarray,
        rng: np.random.Generator,
    ) -> dict[str, np.ndarray]:  # fmt: skip
        box = _grown(Box.around(region), rng.integers(*GROWN) / 10, region)
        crop = _square(_grown(box, rng.integers(*ZOOM) / 10, region), region)
        target, inner = scene[crop.slices], box.moved(-crop.y1, -crop.x1)
        collage = target.copy()
        collage[inner.slices] = cv2.resize(detail, (inner.width, inner.height))
        marked = target.copy() * 0.0
        marked[inner.slices] = 1.0
        if rng.random() < 0.7:
            marked = np.stack([self._perturbed(region[crop.slices], rng)] * 3, -1)
        target, collage, marked = (
            _padded(picture, value).astype(np.uint8)
            for picture, value in ((target, 0), (collage, 0), (marked, 2))
        )
        side = (self.resolution, self.resolution)
        target, collage = (cv2.resize(one, side).astype(np.float32) for one in (target, collage))
        marked = cv2.resize(marked, side, interpolation=cv2.INTER_NEAREST).astype(np.float32)
        marked[marked == 2] = -1
        hint = np.concatenate([collage / 127.5 - 1.0, marked[..., :1]], -1)
        return {"ref": shown / 255, "jpg": target / 127.5 - 1.0, "hint": hint.copy()}

    def _perturbed(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """`mask` (h, w) bool dilated and eroded in random rectangles, never less than it was."""
        least, true = rng.uniform(*OVERLAP), mask.astype(np.uint8)
        moved = true.copy()
        for _ in range(self.rounds):
            for _ in range(TURNS):
                _move(moved, rng)
                moved = np.logical_or(moved, true).astype(np.uint8)
            if np.count_nonzero(moved * true) / np.count_nonzero(moved + true) < least:
                break
        _, pieces, facts, _ = cv2.connectedComponentsWithStats(moved, connectivity=8)
        largest = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA]))
        return np.where(pieces == largest, 1, 0).astype(np.uint8)


def _filters(mask: np.ndarray, region: np.ndarray) -> list[float]:
    """What decides whether a pair is taken: how much of the object its largest outline holds, and
    which share of the pictures the object is."""
    found = []
    for _ in range(2):  # once by the set's reader, once by the preprocessing
        outlines, _ = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE
        )
        areas = [cv2.contourArea(outline) for outline in outlines]
        found.append(max(areas) / sum(areas))
    return [*found, mask.sum() / mask.size, region.sum() / region.size]


def _reference(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The object on white (224, 224, 3) and its soft mask (224, 224), mirrored and relit."""
    thrice, box = np.stack([mask] * 3, -1), Box.around(mask)
    white = image * thrice + np.ones_like(image) * 255 * (1 - thrice)
    white, inside = white[box.slices], mask[box.slices]
    ratio = rng.integers(*MARGIN) / 10
    added = [(round(side * (ratio - 1) / 2),) * 2 for side in inside.shape]
    white = np.pad(white, (*added, (0, 0)), constant_values=255)
    thrice = np.stack([np.pad(inside, added)] * 3, -1)
    shown = cv2.resize(_padded(white, 255).astype(np.uint8), (224, 224))
    soft = cv2.resize(_padded(thrice * 255, 0).astype(np.uint8), (224, 224))[..., 0]
    if rng.random() < 0.5:
        shown, soft = np.ascontiguousarray(shown[:, ::-1]), np.ascontiguousarray(soft[:, ::-1])
    if rng.random() < 0.5:
        shown = cv2.convertScaleAbs(shown, alpha=rng.uniform(0.8, 1.2), beta=rng.uniform(0, 51))
    return shown, soft


def _edges(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The high-frequency map (224, 224, 3) uint8."""
    colour = cv2.resize(image, (256, 256))
    inside = (cv2.resize(mask, (256, 256)) > 0.5).astype(np.uint8)
    inside = cv2.erode(inside, np.ones((5, 5), np.uint8), iterations=2)
    along, down = (cv2.Sobel(colour, cv2.CV_64F, *way, ksize=3) for way in ((1, 0), (0, 1)))
    strength = cv2.addWeighted(cv2.convertScaleAbs(along), 0.5, cv2.convertScaleAbs(down), 0.5, 0)
    strength = np.max(strength, -1) * inside
    strength[strength < 50] = 0
    weight = np.stack([strength] * 3, -1).astype(np.float32) / 255
    return cv2.resize((weight * colour.astype(np.float32)).astype(np.uint8), image.shape[1::-1])


def _grown(box: Box, ratio: float, picture: np.ndarray) -> Box:
    height, width = ratio * box.height / 2, ratio * box.width / 2
    y, x = (box.y1 + box.y2) / 2, (box.x1 + box.x2) / 2
    return Box(int(y - height), int(y + height), int(x - width), int(x + width)).clipped(
        *picture.shape
    )


def _square(box: Box, picture: np.ndarray) -> Box:
    half, y, x = max(box.height, box.width) // 2, (box.y1 + box.y2) // 2, (box.x1 + box.x2) // 2
    return Box(y - half, y + half, x - half, x + half).clipped(*picture.shape)


def _padded(image: np.ndarray, value: int) -> np.ndarray:
    """`image` (h, w, C) in the middle of a square of `value`."""
    height, width = image.shape[:2]
    lacking = abs(height - width)
    own = (lacking // 2, lacking - lacking // 2)
    sides = ((0, 0), own) if height > width else (own, (0, 0))
    return np.pad(image, (*sides, (0, 0)), constant_values=value) if lacking else image


def _move(mask: np.ndarray, rng: np.random.Generator) -> None:
    """Dilate or erode a random rectangle of `mask` (h, w) uint8 in place; sometimes a pixel of it
    is set or cleared before."""
    height, width = mask.shape
    y1, x1 = int(rng.integers(height)), int(rng.integers(width))
    y2, x2 = int(rng.integers(y1 + 1, height + 1)), int(rng.integers(x1 + 1, width + 1))
    if rng.random() < 0.1:
        mask[(y1 + y2) // 2, (x1 + x2) // 2] = rng.integers(2) * 255
    change, size = cv2.dilate if rng.random() < 0.5 else cv2.erode, int(rng.integers(*SIZES))
    round_, half = cv2.MORPH_ELLIPSE, size // 2
    kinds = ((cv2.MORPH_RECT, (size, size)), (round_, (size, size)), (round_, (size, half)),
             (round_, (half, size)))  # fmt: skip
    kernel = cv2.getStructuringElement(*kinds[int(rng.integers(4))])
    mask[y1:y2, x1:x2] = change(mask[y1:y2, x1:x2], kernel)
