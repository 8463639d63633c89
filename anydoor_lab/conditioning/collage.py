"""The five collages: what of the object is stitched into the scene (Sec. 3.2, Table 4, Figure 9).

A collage is a function `(image, mask, rng) -> map`: image (h, w, 3) uint8 RGB and mask (h, w) bool
of the object's tight crop; the map (h', w', 3) uint8 is black where nothing is handed on.
"""

from __future__ import annotations

from typing import Protocol

import cv2
import numpy as np
import yaml

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.images import resized, resized_mask
from anydoor_lab.structures.names import conf_folders, name_of, named


class Collage(Protocol):
    """Any function from the object to its detail map; a new one needs one file in conf/collage."""

    def __call__(self, image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The map (h', w', 3) uint8 of `image` (h, w, 3) and `mask` (h, w)."""


def empty(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`none`: the all-zero map."""
    del mask, rng
    return np.zeros_like(image)


def original(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`original`: the object itself, background removed."""
    del rng
    return image * mask[..., None]


def noise(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, *, level: float = 0.5
) -> np.ndarray:
    """`noise`: the object mixed with Gaussian noise.

    Args:
        image, mask, rng: as for every collage.
        level: share of the variance that is noise, in [0, 1] (the paper does not state it).
    """
    values = image.astype(np.float32) / 127.5 - 1
    drawn = rng.standard_normal(image.shape, np.float32)
    mixed = np.sqrt(1 - level) * values + np.sqrt(level) * drawn
    return np.clip((mixed + 1) * 127.5, 0, 255).astype(np.uint8) * mask[..., None]


def shuffle(
    image: np.ndarray, mask: np.ndarray, rng: np.random.Generator, *, patches: int = 4
) -> np.ndarray:
    """`shuffle`: the object cut into `patches` x `patches` pieces in random order."""
    masked = image * mask[..., None]
    height = -(-image.shape[0] // patches) * patches
    width = -(-image.shape[1] // patches) * patches
    whole = resized(masked, height, width)
    cells = whole.reshape(patches, height // patches, patches, width // patches, 3)
    pieces = cells.swapaxes(1, 2).reshape(patches * patches, *cells.shape[1::2][:2], 3)
    mixed = pieces[rng.permutation(len(pieces))].reshape(cells.swapaxes(1, 2).shape)
    return np.ascontiguousarray(mixed.swapaxes(1, 2).reshape(height, width, 3))


def high_frequency(
    image: np.ndarray,
    mask: np.ndarray,
    rng: np.random.Generator,
    *,
    size_px: int = 256,
    erosion_px: int = 5,
    erosion_passes: int = 2,
    threshold: int = 50,
    power: float = 1.0,
) -> np.ndarray:
    """`hf`: the high-frequency map of Equation 1, I_h = (I * K_h + I * K_v) . I . M_erode.

    Sobel magnitudes are averaged over the two directions, the largest of R, G and B counts
    (as in the released code; the equation has the grey picture).

    Args:
        image, mask, rng: as for every collage.
        size_px: side at which edges are taken.
        erosion_px: side of the eroding square, of which `erosion_passes` follow each other.
        threshold: weaker edges (of 255) are dropped.
        power: exponent of the edges' strength in [0, 1]; 1 is Equation 1, less lifts soft edges.
    """
    del rng
    colour = resized(image, size_px, size_px)
    inside = resized_mask(mask, size_px, size_px).astype(np.uint8)
    square = np.ones((erosion_px, erosion_px), np.uint8)
    eroded = cv2.erode(
        inside, square, iterations=erosion_passes, borderType=cv2.BORDER_CONSTANT, borderValue=0
    )
    scaled = edge_map(colour, eroded, threshold, power)
    height, width = image.shape[:2]
    if 2 * max(height, width) <= size_px:  # fewer than every second pixel: linear would alias
        return resized(scaled, height, width)
    return cv2.resize(scaled, (width, height), interpolation=cv2.INTER_LINEAR)


def edge_map(
    colour: np.ndarray, inside: np.ndarray, threshold: int, power: float = 1.0
) -> np.ndarray:
    """`colour` (H, W, 3) uint8 weighed by its edges to the `power`, uint8; black where `inside`
    (H, W) uint8 is 0 and where the edge is weaker than `threshold`."""
    horizontal = cv2.convertScaleAbs(cv2.Sobel(colour, cv2.CV_16S, 1, 0, ksize=3))
    vertical = cv2.convertScaleAbs(cv2.Sobel(colour, cv2.CV_16S, 0, 1, ksize=3))
    averaged = cv2.addWeighted(horizontal, 0.5, vertical, 0.5, 0)
    edges = np.maximum.reduce(cv2.split(averaged)) * inside
    strong = (edges > 0) & (edges >= threshold)
    scaled = np.zeros_like(colour)
    weights = (edges[strong, None].astype(np.float32) / 255) ** power
    scaled[strong] = (weights * colour[strong].astype(np.float32)).astype(np.uint8)
    return scaled


COLLAGES: dict[str, Collage] = {
    "none": empty,
    "original": original,
    "noise": noise,
    "shuffle": shuffle,
    "hf": high_frequency,
}
"""The paper's five by the names of conf/collage, for the pipeline's `collage` argument."""


def named_collage(collage: str | Collage) -> Collage:
    """One of the five collages by name, another by its public name; a function as it stands.

    Raises:
        ValueError: it names neither.
    """
    if not isinstance(collage, str):
        return collage
    if "." in collage:
        found: Collage = named(collage)
        return found
    check_choice("collage", collage, tuple(COLLAGES))
    return COLLAGES[collage]


def collage_name(collage: Collage) -> str:
    """What `named_collage` finds a function by: one of the five names, else its public name."""
    own = next((name for name, function in COLLAGES.items() if function is collage), None)
    return own or name_of(collage)


def offered_collages() -> list[str]:
    """What `named_collage` finds: the paper's five, then those of `ANYDOOR_PARTS`."""
    files = [path for folder in conf_folders() for path in sorted(folder.glob("collage/*.yaml"))]
    return [*COLLAGES, *(yaml.safe_load(path.read_text())["_target_"] for path in files)]
