"""The object: a shape in two colours with a pattern and a letter, drawn as one RGBA sprite."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, lru_cache

import cv2
import numpy as np

from anydoor_lab.data.world.shapes import SHAPES, outline

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (216, 30, 36),
    "orange": (247, 132, 16),
    "yellow": (250, 218, 40),
    "green": (28, 148, 58),
    "cyan": (58, 206, 226),
    "blue": (32, 72, 214),
    "purple": (128, 44, 172),
    "pink": (252, 142, 196),
    "brown": (116, 66, 30),
    "white": (246, 246, 246),
    "black": (30, 30, 34),
    "grey": (140, 140, 146),
    "lime": (164, 226, 40),
    "navy": (18, 26, 104),
}
"""RGB of every colour there is, by the name used in captions; the first ten are the easy level."""

LETTERS = tuple("ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789")
"""Every letter there is."""

LADDER_PX = (24, 32, 48, 64, 96, 128, 192, 256, 384, 512)
"""Sizes a sprite is drawn at: the next one up is taken, so that warping hardly shrinks it."""

MARGIN_PX = 2
_CACHED_UP_TO_PX = 96  # larger sprites are drawn anew each time: many would fill the memory
_FINE = 4  # supersampling of the cached parts
_EDGE, _BORDER = 0.028, 0.068  # widths of the dark edge and the second-colour border, of the side
_EDGE_RGB = (34, 32, 38)
_INK = {True: (250, 250, 250), False: (16, 16, 18)}  # letter on dark ground, on light ground


@dataclass(frozen=True, slots=True)
class Attributes:
    """What makes an object itself: five names, all visible in every picture of it."""

    shape: str
    colour: str
    second_colour: str
    pattern: str
    letter: str

    @property
    def caption(self) -> str:
        """The coarse description a text-to-image base learns from: "a red star"."""
        article = "an" if self.colour[0] in "aeiou" else "a"
        return f"{article} {self.colour} {self.shape}"


def draw_sprite(attributes: Attributes, side_px: int, letter_scale: float = 1.0) -> np.ndarray:
    """The upright object, (P, P, 4) uint8 RGBA, colours premultiplied by alpha.

    Args:
        attributes: what to draw; the names must be known to SHAPES, COLOURS and PATTERNS.
        side_px: longer side of the object; P = side_px + 2 * MARGIN_PX.
        letter_scale: 1 gives letters of about half the object's height.
    """
    parts = _cached_parts if side_px <= _CACHED_UP_TO_PX else _parts
    fixed, border, glyph = parts(attributes.shape, attributes.letter, side_px, letter_scale)
    second = np.maximum(_pattern(attributes.pattern, side_px), border)
    main_rgb, second_rgb = COLOURS[attributes.colour], COLOURS[attributes.second_colour]
    dark = _is_dark(main_rgb, second_rgb, float(np.vdot(second, glyph)))
    weights = fixed.astype(np.float32)
    weights[..., 1] = weights[..., 0] * second
    weights[..., 0] -= weights[..., 1]
    inks = (main_rgb, second_rgb, _EDGE_RGB, _INK[not dark], _INK[dark])
    palette = np.array([(*ink, 255) for ink in inks], np.float32)
    return np.clip(weights @ palette + 0.5, 0, 255).astype(np.uint8)


def ladder_px(longer_side_px: float) -> int:
    """The size to draw a sprite at that will be seen `longer_side_px` large."""
    return next((side for side in LADDER_PX if side >= longer_side_px), LADDER_PX[-1])


def _is_dark(main: tuple[int, ...], second: tuple[int, ...], second_share: float) -> bool:
    """Whether what lies under the letter is dark (Rec. 601 luma below the middle)."""
    under = np.array(main) * (1 - second_share) + np.array(second) * second_share
    return bool(under @ (0.299, 0.587, 0.114) < 135)


def _parts(
    shape: str, letter: str, side_px: int, scale: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What does not depend on colours and pattern.

    Returns:
        (P, P, 5) float16 shares of body, (nothing yet), edge, letter's rim and letter, which sum
        to the object's alpha; (P, P) float32 border; (P, P) float32 letter, summing to 1.
    """
    alpha, edge, border = _silhouette(shape, side_px)
    glyph, rim = _letter(shape, letter, side_px, scale)
    bare = 1 - rim
    shares = (bare * (1 - edge), np.zeros_like(edge), bare * edge, rim - glyph, glyph)
    fixed = np.stack([alpha * share for share in shares], axis=-1).astype(np.float16)
    return fixed, border, glyph / glyph.sum()


_cached_parts = lru_cache(maxsize=2048)(_parts)


@lru_cache(maxsize=64)
def _silhouette(shape: str, side_px: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(P, P) float32 coverages in [0, 1]: the whole object, its dark edge, its border."""
    fine_px = (side_px + 2 * MARGIN_PX) * _FINE
    points = (outline(shape) + 1) * (side_px * _FINE / 2) + MARGIN_PX * _FINE - 0.5
    inside = np.zeros((fine_px, fine_px), np.uint8)
    cv2.fillPoly(inside, [np.round(points * 16).astype(np.int32)], 1, cv2.LINE_8, 4)
    depth = cv2.distanceTransform(inside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    unit = side_px * _FINE
    return _shrunk(inside), _shrunk(depth < _EDGE * unit), _shrunk(depth < _BORDER * unit)


@lru_cache(maxsize=64)
def _pattern(pattern: str, side_px: int) -> np.ndarray:
    """(P, P) float32, how much of the second colour is where."""
    fine_px = (side_px + 2 * MARGIN_PX) * _FINE
    axis = ((np.arange(fine_px) + 0.5) / _FINE - MARGIN_PX) * (2 / side_px) - 1
    return _shrunk(PATTERNS[pattern](*np.meshgrid(axis, axis)))


def _letter(shape: str, letter: str, side_px: int, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """(P, P) float32 coverages: the letter, and the letter with its thin contrary rim."""
    fine_px = (side_px + 2 * MARGIN_PX) * _FINE
    extent = np.ptp(outline(shape)[:, 1]) / 2
    height = round(SHAPES[shape].letter_height * extent * scale * side_px * _FINE)
    glyph = _glyph(letter)
    width = min(round(height * glyph.shape[1] / glyph.shape[0]), round(height * 0.95))
    glyph = cv2.resize(glyph, (width, height), interpolation=cv2.INTER_AREA) > 127
    centre = fine_px / 2 + SHAPES[shape].letter_y * side_px * _FINE / 2
    top, left = round(centre - height / 2), round((fine_px - width) / 2)
    placed = np.zeros((fine_px, fine_px), np.uint8)
    placed[top : top + height, left : left + width] = glyph
    rim_px = max(round(0.022 * side_px * _FINE), 1)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * rim_px + 1, 2 * rim_px + 1))
    return _shrunk(placed), _shrunk(cv2.dilate(placed, disc))


@cache
def _glyph(letter: str) -> np.ndarray:
    """A bold capital or digit as a tight (h, w) uint8 picture."""
    canvas = np.zeros((400, 400), np.uint8)
    cv2.putText(canvas, letter, (80, 300), cv2.FONT_HERSHEY_SIMPLEX, 9.0, 255, 46, cv2.LINE_AA)
    rows, columns = np.flatnonzero(canvas.any(1)), np.flatnonzero(canvas.any(0))
    return canvas[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def _shrunk(fine: np.ndarray) -> np.ndarray:
    side = fine.shape[0] // _FINE
    shrunk = cv2.resize(fine.astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
    shrunk.setflags(write=False)
    return shrunk


def _dots(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A staggered grid, so that dots stay visible around every letter."""
    row = np.round(y / 0.42)
    u = x / 0.50 + 0.5 * (row % 2)
    return ((u - np.round(u)) * 0.50) ** 2 + (y - row * 0.42) ** 2 < 0.145**2


PATTERNS = {
    "solid": lambda x, y: np.zeros_like(x),
    "two-tone": lambda x, y: y > 0.12 + 0.25 * x,
    "stripes": lambda x, y: np.mod((x + y) / 0.62 + 0.28, 1) < 0.42,
    "dots": _dots,
    "checker": lambda x, y: (np.floor(x / 0.5) + np.floor(y / 0.5)) % 2 == 1,
    "rings": lambda x, y: np.mod(np.hypot(x, y) / 0.5 + 0.1, 1) < 0.45,
}
"""Every pattern there is: where (x, y in [-1, 1], y down) the second colour goes."""
