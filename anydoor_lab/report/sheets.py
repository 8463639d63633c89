"""Sheets of pictures: reference | scene + mask | collage | result | true scene."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anydoor_lab.report.caption import wrapped
from anydoor_lab.structures.errors import InputError, InputTypeError
from anydoor_lab.structures.images import resized

DPI = 150
GAP_PX = 8
READ_AT_PX, TEXT_PX = 800, 12.5
"""Text is this large where a figure is shown this wide, however wide it is itself."""
_LETTER = 0.55  # mean width of a letter, share of the text's size
OUTLINE = ((0, 0, 0), (255, 214, 0))
"""Mask outlines: a dark rim under a yellow line is seen on any picture."""


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A picture (H, W, 3) or (H, W), uint8 or bool, whose `mask` (H, W) bool is outlined."""

    image: np.ndarray
    mask: np.ndarray | None = None

    def drawn(self, side_px: int) -> np.ndarray:
        """(side_px, side_px, 3) uint8: enlarged by a whole factor without blur, on white.

        Raises:
            TypeError: the picture is neither uint8 nor bool, or not (H, W[, 3]).
            ValueError: the mask is of another size than the picture.
        """
        image = _enlarged(_rgb(self.image), side_px)
        if self.mask is not None:
            if self.mask.shape != self.image.shape[:2]:
                seen = f"mask is {self.mask.shape}, picture {self.image.shape[:2]}"
                raise InputError(f"{seen} (height, width); expected the same size")
            image = outlined(image, _enlarged(_rgb(self.mask), side_px)[..., 0] > 127)
        canvas = np.full((side_px, side_px, 3), 255, np.uint8)
        top, left = ((side_px - side) // 2 for side in image.shape[:2])
        canvas[top : top + image.shape[0], left : left + image.shape[1]] = image
        return canvas


Row = Sequence[np.ndarray | Cell]


def outlined(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 with the outline of `mask` (H, W) bool drawn on it."""
    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE)
    drawn = np.ascontiguousarray(image).copy()
    width = max(1, round(max(image.shape) / 110))
    for colour, thickness in zip(OUTLINE, (3 * width, width), strict=True):
        cv2.drawContours(drawn, contours, -1, colour, thickness)
    return drawn


def sheet(rows: Sequence[Row], side_px: int = 192, gap_px: int = GAP_PX) -> np.ndarray:
    """(H, W, 3) uint8: the pictures on a white grid, pixel for pixel and without text.

    Args:
        rows: pictures or `Cell`s; short rows end in white.
        side_px: side of a cell; smaller pictures grow by a whole factor, larger ones shrink.
        gap_px: white between cells.

    Raises:
        ValueError: there is no picture.
    """
    if not any(len(row) for row in rows):
        raise InputError("the sheet has no picture; give at least one row of one")
    columns, step = max(len(row) for row in rows), side_px + gap_px
    canvas = np.full((len(rows) * step - gap_px, columns * step - gap_px, 3), 255, np.uint8)
    for y, row in enumerate(rows):
        for x, entry in enumerate(row):
            cell = entry if isinstance(entry, Cell) else Cell(entry)
            place = slice(y * step, y * step + side_px), slice(x * step, x * step + side_px)
            canvas[place] = cell.drawn(side_px)
    return canvas


def grid(
    rows: Sequence[Row],
    headers: Sequence[str] = (),
    captions: Sequence[str] = (),
    title: str = "",
    side_px: int = 192,
) -> Figure:
    """The sheet with column headers on top, row captions on the left and a title.

    One figure pixel is one sheet pixel at the figure's own 150 dpi.

    Args:
        rows: as in `sheet`.
        headers: one per column, broken into lines where they are wider.
        captions: one per row; long ones are the caller's to break with a newline.
        title: usually a `Caption` as text; wrapped to the width.
        side_px: side of a cell.
    """
    pixels = sheet(rows, side_px)
    height, width = pixels.shape[:2]
    figure = Figure(figsize=(width / DPI, height / DPI), dpi=DPI)
    FigureCanvasAgg(figure)
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set_axis_off()
    axes.imshow(pixels, interpolation="nearest", aspect="auto")
    step, text_px = side_px + GAP_PX, _text_px(width, captions)
    size = text_px * 72 / DPI
    for x, header in enumerate(headers):
        text = _broken(header, int(step / (_LETTER * text_px)))
        axes.text(x * step + side_px / 2, -GAP_PX, text, ha="center", va="bottom", fontsize=size)
    for y, caption in enumerate(captions):
        axes.text(-GAP_PX, y * step + side_px / 2, caption, ha="right", va="center", fontsize=size)
    if title:
        characters = max(int(width / (_LETTER * text_px)), 20)
        axes.text(0, height + 2 * GAP_PX, wrapped(title, characters), va="top", fontsize=size)
    return figure


def _text_px(width: int, captions: Sequence[str]) -> float:
    """The text's size in a figure of pictures `width` px wide and captions on their left."""
    letters = max((len(line) for text in captions for line in text.split("\n")), default=0)
    share = TEXT_PX / READ_AT_PX
    return max(TEXT_PX, share * width / (1 - share * _LETTER * letters))


def _broken(text: str, characters: int) -> str:
    """Lines of at most `characters`, broken between words and after underscores only."""
    lines = [
        textwrap.wrap(line, characters, break_long_words=False, break_on_hyphens=False)
        for line in text.replace("_", "_ ").split("\n")
    ]
    return "\n".join(part.replace("_ ", "_") for line in lines for part in line)


def _rgb(image: np.ndarray) -> np.ndarray:
    if image.dtype not in (np.uint8, np.bool_) or image.ndim not in (2, 3):
        seen = f"{image.dtype} {image.shape}"
        raise InputTypeError(f"a picture is {seen}; expected (H, W, 3) or (H, W), uint8 or bool")
    image = image.astype(np.uint8) * 255 if image.dtype == np.bool_ else image
    return np.repeat(image[..., None], 3, axis=2) if image.ndim == 2 else image


def _enlarged(image: np.ndarray, side_px: int) -> np.ndarray:
    """Whole-number enlargement to at most `side_px`; area average where it is too large."""
    longer = max(image.shape[:2])
    if longer > side_px:
        height, width = (max(round(side * side_px / longer), 1) for side in image.shape[:2])
        return resized(image, height, width)
    factor = side_px // longer
    return image.repeat(factor, axis=0).repeat(factor, axis=1)
