"""What a picture or an array marks, whatever scale its values have."""

from __future__ import annotations

import numpy as np
from PIL import Image

from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.colours import rgb
from anydoor_lab.structures.originals import alpha_of, stands_for_numbers, upright

_NEAR = 8  # of 255: how far from black or white a drawing in black and white may stray
_DRAWN = 0.95  # share of the visible pixels that makes it one


def mask_of(picture: Image.Image) -> np.ndarray:
    """What a picture marks, (H, W) bool: its alpha where that says something, else its values.

    - Transparent somewhere: alpha above 128 (a cut-out, a shape in any colour).
    - Otherwise black and one other value or colour (0 and 1, a palette's 0 and 1, 0 and 65535):
      all that is not black.
    - Otherwise shades: brighter than 128 of 255, of 65535 or of 1.0.

    Raises:
        UnusablePair: the alpha marks one thing and black and white another; the values are shades
            of which none is bright, negative, or not finite.
    """
    picture = upright(picture)
    alpha = alpha_of(picture)
    if alpha is not None:
        _check_agreement(picture, alpha)
        return alpha > 128
    if picture.mode in ("1", "L") or stands_for_numbers(picture):
        return marks_of(np.asarray(picture))
    colours = np.asarray(rgb(picture))
    coloured = np.asarray(colours.any(axis=2))
    one = colours[np.unravel_index(coloured.argmax(), coloured.shape)]
    if not coloured.all() and (colours[coloured] == one).all():
        return coloured
    return marks_of(np.asarray(picture.convert("L")))


def marks_of(values: np.ndarray) -> np.ndarray:
    """What values (H, W) of any kind mark, (H, W) bool, by the rule of `mask_of`.

    Raises: as `mask_of`.
    """
    if values.dtype == np.bool_:
        return values
    low, high = values.min(initial=0), values.max(initial=0)
    if not np.isfinite((low, high)).all() or low < 0:
        raise UnusablePair(
            "mask of unclear scale",
            f"its values go from {low:g} to {high:g}; expected black (0) and white (255)",
        )
    if _is_two_valued(values):
        return values > 0
    scale = next((top for top in _scales(values.dtype) if high <= top), None)
    if scale is None or high <= scale * 128 / 255:
        raise UnusablePair(
            "mask of unclear scale",
            f"its brightest value is {high:g} and it has more than two; "
            "expected black (0) and white (255)",
        )
    return values > scale * 128 / 255


def _is_two_valued(values: np.ndarray) -> bool:
    return bool(((values == 0) | (values == values.max(initial=0))).all())


def _scales(kind: np.dtype) -> tuple[float, ...]:
    if kind == np.uint8:
        return (255.0,)
    return (1.0, 255.0, 65535.0) if np.issubdtype(kind, np.floating) else (255.0, 65535.0)


def _check_agreement(picture: Image.Image, alpha: np.ndarray) -> None:
    """Raise where what is visible is itself a drawing in black and white."""
    if stands_for_numbers(picture):
        return
    grey, by_alpha = np.asarray(picture.convert("RGB").convert("L")), alpha > 128
    visible = grey[by_alpha]
    black, white = (visible <= _NEAR).sum(), (visible >= 255 - _NEAR).sum()
    if min(black, white) and black + white >= _DRAWN * len(visible):
        raise UnusablePair(
            "mask by alpha and by white differ",
            f"its alpha marks {by_alpha.sum()} pixels, its white {white}; "
            "save it without alpha, or in one colour with it",
        )
