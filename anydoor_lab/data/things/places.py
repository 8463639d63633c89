"""Where things stand: pieces of photographs and drawn places, twice from nearby stands."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from anydoor_lab.data.things import sheets
from anydoor_lab.data.world import scenes

_SPANS = (0.5, 0.95)  # of the stored crop's side


@dataclass(frozen=True, slots=True)
class Stand:
    """A stand before a place.

    Args:
        number: the photograph's crop, or None for a drawn place.
        place: the drawn place, or None.
        centre: (x, y) of the window in [0, 1], among all windows that fit.
        span: side of the window, share of the crop's.
        degrees: how far the camera is tilted.
        gains: (3,) of the colours.
        mirrored: left and right exchanged.
        soft: out of focus, in thousandths of the picture's side; 0 is sharp.
    """

    number: int | None
    place: scenes.Place | None
    centre: np.ndarray
    span: float
    degrees: float
    gains: np.ndarray
    mirrored: bool
    soft: float


def draw_stand(numbers: Sequence[int], drawn: float, rng: np.random.Generator) -> Stand:
    """A random stand before one of the crops `numbers`, or (a share `drawn`) a drawn place."""
    is_drawn = rng.random() < drawn
    place = scenes.draw_place(rng) if is_drawn else None
    return Stand(
        number=None if is_drawn else int(rng.choice(numbers)),
        place=place,
        centre=rng.random(2),
        span=float(rng.uniform(*_SPANS)),
        degrees=float(rng.normal(0, 2.5)),
        gains=rng.uniform(0.75, 1.15) * rng.uniform(0.88, 1.12, 3),
        mirrored=bool(rng.random() < 0.5),
        soft=float(rng.uniform(5, 20)) if rng.random() < 0.25 else 0.0,
    )


def moved(stand: Stand, rng: np.random.Generator) -> Stand:
    """The same place from a stand nearby: panned, a step nearer or farther, tilted."""
    return replace(
        stand,
        centre=(stand.centre + rng.uniform(-0.3, 0.3, 2)).clip(0, 1),
        span=float(np.clip(stand.span * rng.uniform(0.85, 1.18), *_SPANS)),
        degrees=stand.degrees + float(rng.uniform(-4, 4)),
    )


def shown(stand: Stand, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """(size_px, size_px, 3) uint8 RGB: what is seen from the stand."""
    if stand.number is None and stand.place is not None:
        return scenes.draw_scene(stand.place, size_px, rng)
    picture = sheets.scene(stand.number or 0)
    side = picture.shape[0]
    scale = stand.span * side / size_px
    turn = np.deg2rad(stand.degrees)
    rotation = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    if stand.mirrored:
        rotation[:, 0] *= -1
    middle = (0.5 * stand.span + stand.centre * (1 - stand.span)) * side - 0.5
    offset = middle - rotation @ np.full(2, (size_px - 1) / 2)
    seen = cv2.warpAffine(
        picture,
        np.column_stack([rotation, offset]),
        (size_px, size_px),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    if stand.soft:
        width = 2 * round(stand.soft * size_px / 2000) + 1
        seen = cv2.blur(cv2.blur(seen, (width, width)), (width, width))
    return cv2.multiply(seen, (*stand.gains.tolist(), 0.0))
