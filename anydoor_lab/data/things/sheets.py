"""The package's pictures: sheets of equal cells, decoded on first use and kept in memory."""

from __future__ import annotations

from functools import cache
from importlib import resources
from pathlib import Path

import cv2
import numpy as np

from anydoor_lab.structures.images import read_image, read_rgba

Cell = tuple[str, int]
"""A kind ("objects", "clips" or "scenes") and a number."""
CELL_PX = {"objects": 128, "clips": 128, "scenes": 256}


def folder() -> Path:
    """Where the sheets are."""
    return Path(str(resources.files("anydoor_lab.data.things").joinpath("assets")))


def sprite(cell: Cell) -> np.ndarray:
    """(128, 128, 4) uint8 premultiplied RGBA of an object or a frame; read only."""
    return _cell(*cell)


def scene(number: int) -> np.ndarray:
    """(256, 256, 3) uint8 RGB crop of a photograph; read only."""
    return _cell("scenes", number)


def premultiplied(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 4) uint8 whose colours are multiplied by alpha, as everything here composes them."""
    alpha = cv2.cvtColor(rgba[..., 3], cv2.COLOR_GRAY2RGB)
    shown = cv2.multiply(np.ascontiguousarray(rgba[..., :3]), alpha, scale=1 / 255)
    return np.dstack([shown, rgba[..., 3]])


def _cell(kind: str, number: int) -> np.ndarray:
    side = CELL_PX[kind]
    per_row = 2048 // side
    sheet, place = divmod(number, per_row * per_row)
    row, column = divmod(place, per_row)
    y, x = row * side, column * side
    return _sheet(kind, sheet)[y : y + side, x : x + side]


@cache
def _sheet(kind: str, number: int) -> np.ndarray:
    path = folder() / f"{kind}_{number:02d}.webp"
    pixels = read_image(path) if kind == "scenes" else premultiplied(read_rgba(path))
    pixels.setflags(write=False)
    return pixels
