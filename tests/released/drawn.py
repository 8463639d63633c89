"""Drawn photographs whose objects are known, and the ways in which files say where these are."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

COLOURS = ((214, 69, 65), (42, 157, 143), (244, 162, 97), (69, 123, 214))


def photo(
    seed: int, step: int = 0, height: int = 120, width: int = 160, objects: int = 2
) -> tuple[np.ndarray, np.ndarray]:
    """A picture (H, W, 3) uint8 and its objects' numbers (H, W) uint8, 0 where there is none.

    The objects of one seed move with `step`; each has a spot of its own, so that it is known again.
    """
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    light = 90 + 60 * rows / height + 40 * np.sin(columns / (9 + seed % 5))
    image = np.clip(light[..., None] * rng.uniform(0.7, 1.1, 3), 0, 255).astype(np.uint8)
    numbers = np.zeros((height, width), np.uint8)
    for number in range(1, objects + 1):
        y = height * (0.3 + 0.4 * (number % 2)) + step
        x = width * (0.15 + 0.7 * number / (objects + 1)) + 3 * step * (-1) ** number
        centre, radii = (round(x), round(y)), (round(width * 0.13), round(height * 0.19))
        cv2.ellipse(numbers, centre, radii, 10 * step, 0, 360, number, -1)
        cv2.ellipse(image, centre, radii, 10 * step, 0, 360, COLOURS[number % 4], -1)
        cv2.circle(image, centre, radii[0] // 3, COLOURS[(number + seed) % 4][::-1], -1)
    return image, numbers


def save_picture(path: Path, image: np.ndarray, **options: Any) -> None:
    """Write a picture, with its folder; a JPEG at quality 95."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".jpg":
        options = {"quality": 95, **options}
    Image.fromarray(image).save(path, **options)


def save_palette(path: Path, numbers: np.ndarray) -> None:
    """Write numbers as a PNG of mode P with DAVIS' colours."""
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(numbers.astype(np.uint8), "L").copy()
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0, 128, 128, 0] + [64] * 756)
    assert picture.mode == "P"
    picture.save(path)


def save_ids(path: Path, ids: np.ndarray) -> None:
    """Write panoptic ids as colours: R + 256 G + 65536 B."""
    colours = np.stack([ids % 256, ids // 256 % 256, ids // 65536], axis=-1)
    save_picture(path, colours.astype(np.uint8))


def save_json(path: Path, table: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(table))


def runs(mask: np.ndarray) -> dict[str, Any]:
    """A mask as uncompressed run lengths, column by column, beginning with zeros."""
    flat = mask.T.ravel().astype(np.int8)
    ends = np.flatnonzero(np.diff(flat)) + 1
    lengths = np.diff([0, *ends, len(flat)]).tolist()
    return {"size": list(mask.shape), "counts": lengths if flat[0] == 0 else [0, *lengths]}


def encoded(mask: np.ndarray) -> dict[str, Any]:
    """A mask as COCO's own library writes it, its string as text."""
    from pycocotools import mask as coco

    found = coco.encode(np.asfortranarray(mask.astype(np.uint8)))
    return {"size": list(found["size"]), "counts": found["counts"].decode()}


def polygons(mask: np.ndarray) -> list[list[float]]:
    """A mask's outlines [x, y, x, y, ...]."""
    found, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return [[float(v) for v in outline.ravel()] for outline in found if len(outline) >= 3]


def box(mask: np.ndarray) -> list[float]:
    """[x, y, width, height]."""
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    y, x = float(rows[0]), float(columns[0])
    return [x, y, float(columns[-1] + 1 - x), float(rows[-1] + 1 - y)]
