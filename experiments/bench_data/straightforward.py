"""The same preprocessing, written down in the order in which the paper tells it."""

from __future__ import annotations

import cv2
import numpy as np
from PIL import Image

from anydoor_lab import Conditioner, IndexedPairs
from anydoor_lab.conditioning.augment import jitter_light
from anydoor_lab.conditioning.collage import high_frequency
from anydoor_lab.conditioning.conditioner import stitch
from anydoor_lab.conditioning.id_crop import make_id_image
from anydoor_lab.conditioning.placement import crop_scene, place
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.rng import rng_for

TURNS, REACH = 4, (3, 10)


class Straightforward:
    """Samples of an indexed set: PIL decodes, whole masks, everything at the picture's own size.

    Args:
        source: whose rows and pictures are shown.
        resolution: R.
        passes: as the released code does, at most so many rounds (its 250) of four dilations or
            erosions of random rectangles about the true mask, until it covers enough beyond it;
            0: the whole crop dilated or eroded once.
    """

    def __init__(self, source: IndexedPairs, resolution: int, passes: int) -> None:
        self.source, self.resolution, self.passes = source, resolution, passes
        self.settings = Conditioner(resolution=resolution)

    def sample(self, index: int) -> dict[str, np.ndarray]:
        """The arrays of a sample."""
        rng = rng_for(0, index, "straightforward")
        entry = int(rng.integers(len(self.source)))
        (image, mask), (scene, region) = (self._read(r) for r in self.source.rows(entry, rng))
        image = jitter_light(image, rng, 0.5, 0.2)
        box = Box.around(mask)
        crop, inside = image[box.slices], mask[box.slices]
        placement = place(region, self.resolution, self.settings.grow, self.settings.zoom)
        target = crop_scene(scene, placement)
        detail = high_frequency(crop, inside, rng)
        inner = placement.to_crop(Box.around(region))
        collage = stitch(target, placement.to_crop(placement.region), inner, detail)
        id_image = make_id_image(crop, inside, self.settings.id_size, self.settings.id_margin)
        shape = region
        if rng.random() >= self.settings.box_probability:
            shape = self._perturbed(region[placement.crop.slices], rng)
            full = np.zeros_like(region)
            full[placement.crop.slices] = shape
            shape = full
        marked = crop_scene(shape.astype(np.uint8) * 255, placement)
        return {"id_image": (id_image / 255.0).astype(np.float32).transpose(2, 0, 1),
                "collage": (collage / 127.5 - 1).astype(np.float32).transpose(2, 0, 1),
                "target": (target / 127.5 - 1).astype(np.float32).transpose(2, 0, 1),
                "shape_mask": (marked / 255.0).astype(np.float32)}  # fmt: skip

    def _read(self, place: int) -> tuple[np.ndarray, np.ndarray]:
        row = self.source.index.row(place)
        with Image.open(self.source.root / row["image"]) as picture:
            image = np.asarray(picture.convert("RGB"))
        drawn = row["image"].replace("JPEGImages", "Annotations").replace(".jpg", ".png")
        with Image.open(self.source.root / drawn) as picture:
            return image, np.asarray(picture) == int(row["object"])

    def _perturbed(self, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        true = mask.astype(np.uint8)
        moved, target = true.copy(), rng.uniform(0.3, 0.99)
        if not self.passes:
            _move(moved, rng, whole=True)
        for _ in range(self.passes):
            for _ in range(TURNS):
                _move(moved, rng)
                moved = np.logical_or(moved, true).astype(np.uint8)
            if np.count_nonzero(moved * true) / np.count_nonzero(moved + true) < target:
                break
        _, pieces, facts, _ = cv2.connectedComponentsWithStats(moved)
        largest = 1 + int(np.argmax(facts[1:, cv2.CC_STAT_AREA])) if len(facts) > 1 else 0
        return np.asarray(pieces == largest)


def _move(mask: np.ndarray, rng: np.random.Generator, whole: bool = False) -> None:
    """Dilate or erode a rectangle of a mask (H, W) uint8, in place."""
    height, width = mask.shape
    y1, x1 = (0, 0) if whole else (int(rng.integers(height)), int(rng.integers(width)))
    y2 = height if whole else int(rng.integers(y1 + 1, height + 1))
    x2 = width if whole else int(rng.integers(x1 + 1, width + 1))
    if not whole and rng.random() < 0.1:
        mask[(y1 + y2) // 2, (x1 + x2) // 2] = rng.integers(2)
    size = int(rng.integers(*REACH))
    shapes = ((cv2.MORPH_RECT, (3, 3)), (cv2.MORPH_RECT, (size, size)),
              (cv2.MORPH_ELLIPSE, (size, size)), (cv2.MORPH_RECT, (size, size // 2)))  # fmt: skip
    kernel = cv2.getStructuringElement(*shapes[int(rng.integers(len(shapes)))])
    change = cv2.dilate if rng.random() < 0.5 else cv2.erode
    mask[y1:y2, x1:x2] = change(np.ascontiguousarray(mask[y1:y2, x1:x2]), kernel)
