"""Places: a wall and a ground (or one surface) out of a bank of muted procedural textures."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import cv2
import numpy as np

from anydoor_lab.structures.images import resized
from anydoor_lab.structures.rng import rng_for

NUM_TEXTURES = 64
_BANK_SEED = 20231130  # the bank is the same in every process, for every world
_TEXTURE_PX, _SHARP_UP_TO_PX = 256, 128
_LEVEL_SCALES = (1.0, 0.75, 0.5)
_UNFLIPPED = 3
Levels = tuple[np.ndarray, ...]


@dataclass(frozen=True, slots=True)
class Place:
    """What a scene is made of, apart from where the camera stands.

    Args:
        wall, ground, panel: numbers of textures.
        horizon: where the ground begins, as a fraction of the height; 1 or more: no ground.
        tints: (2, 3) float64 RGB gains of wall and ground.
        has_panel: a window, picture or cupboard hangs on the wall.
    """

    wall: int
    ground: int
    panel: int
    horizon: float
    tints: np.ndarray
    has_panel: bool


def draw_place(rng: np.random.Generator) -> Place:
    """A random place: two thirds have a ground, half of the walls carry something."""
    wall, ground, panel = (int(number) for number in rng.integers(NUM_TEXTURES, size=3))
    horizon, grounded, panelled = rng.random(3)
    brightness = rng.uniform(0.72, 1.2, (2, 1))
    return Place(
        wall=wall,
        ground=ground,
        panel=panel,
        horizon=0.35 + 0.4 * horizon if grounded < 0.7 else 1.0,
        tints=brightness * rng.uniform(0.9, 1.1, (2, 3)),
        has_panel=bool(panelled < 0.5),
    )


def draw_scene(place: Place, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """(size_px, size_px, 3) uint8 RGB: the place from a random stand of the camera."""
    if size_px > _SHARP_UP_TO_PX:  # the textures have no finer detail to show
        return resized(draw_scene(place, _SHARP_UP_TO_PX, rng), size_px, size_px)
    bank = texture_bank()
    scene = _surface(bank[place.wall], size_px, rng)
    if place.has_panel:
        _hang_panel(scene, bank[place.panel], rng)
    horizon_px = size_px
    if place.horizon < 1:
        horizon_px = round((place.horizon + rng.uniform(-0.04, 0.04)) * size_px)
        scene[horizon_px:] = _receding(bank[place.ground], (size_px - horizon_px, size_px), rng)
    return cv2.multiply(scene, _row_gains(place, size_px, horizon_px), dtype=cv2.CV_8U)


def _row_gains(place: Place, size_px: int, horizon_px: int) -> np.ndarray:
    """(S, S, 3) float32: the tints, and ambient shade where wall and ground meet."""
    rows = np.repeat(place.tints, (horizon_px, size_px - horizon_px), axis=0)
    if horizon_px < size_px:
        distance = np.abs(np.arange(size_px) - horizon_px) / size_px
        rows *= 1.06 - 0.38 * np.exp(distance * -10)[:, None]
    return np.repeat(rows[:, None].astype(np.float32), size_px, axis=1)


def _surface(levels: Levels, size_px: int, rng: np.random.Generator) -> np.ndarray:
    """A flat crop of one level, flipped at random."""
    level, flip = (int(number) for number in rng.integers((len(levels), 4)))
    texture = levels[level]
    y, x = rng.integers(texture.shape[0] - size_px + 1, size=2)
    crop = texture[y : y + size_px, x : x + size_px]
    return crop.copy() if flip == _UNFLIPPED else cv2.flip(crop, flip - 1)


def _receding(levels: Levels, shape: tuple[int, int], rng: np.random.Generator) -> np.ndarray:
    """The texture as a floor: wide at its far (upper) side, narrow at its near side."""
    height, width = shape
    texture = levels[int(rng.integers(2))]
    side = texture.shape[0]
    near = min(width * rng.uniform(0.8, 1.2), side * 0.6)
    far, depth = min(near * rng.uniform(1.5, 2.2), side), min(height * 2.5, side)
    middle, top = rng.uniform(far / 2, side - far / 2), rng.uniform(0, side - depth)
    slant = rng.uniform(-0.2, 0.2) * near
    corners = np.array(
        [
            [middle - far / 2, top],
            [middle + far / 2, top],
            [middle + near / 2 + slant, top + depth],
            [middle - near / 2 + slant, top + depth],
        ],
        np.float32,
    )
    target = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    matrix = cv2.getPerspectiveTransform(corners, target)
    return cv2.warpPerspective(texture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)


def _hang_panel(scene: np.ndarray, levels: Levels, rng: np.random.Generator) -> None:
    texture = levels[-1]
    size_px = scene.shape[0]
    height, width = (int(side) for side in rng.integers(size_px // 5, size_px // 2, size=2))
    top, left = int(rng.integers(size_px - height)), int(rng.integers(size_px - width))
    frame = tuple(int(value) for value in rng.integers(50, 190) + rng.integers(-12, 13, size=3))
    scene[top : top + height, left : left + width] = texture[:height, :width]
    corner = (left + width - 1, top + height - 1)
    cv2.rectangle(scene, (left, top), corner, frame, max(size_px // 40, 1), cv2.LINE_AA)


@cache
def texture_bank() -> tuple[Levels, ...]:
    """NUM_TEXTURES textures, made on first use and always the same.

    Each is a tuple of (S, S, 3) uint8 RGB pictures of one texture, S falling from 256 to 128, so
    that a crop need not be shrunk.
    """
    return tuple(_levels(_texture(number, _TEXTURE_PX)) for number in range(NUM_TEXTURES))


def _levels(texture: np.ndarray) -> Levels:
    sides = [round(texture.shape[0] * scale) for scale in _LEVEL_SCALES]
    levels = tuple(resized(texture, side, side) for side in sides)
    for level in levels:
        level.setflags(write=False)
    return levels


def _texture(number: int, side_px: int) -> np.ndarray:
    rng = rng_for(_BANK_SEED, number, "texture")
    relief = _RELIEFS[number % len(_RELIEFS)](side_px, rng)
    relief = np.clip(relief + 0.10 * (_noise(side_px, 2.0, 2, rng) - 0.5), 0, 1)
    colours = _muted_palette(rng)
    position = relief * (len(colours) - 1)
    channels = [np.interp(position, np.arange(len(colours)), colours[:, c]) for c in range(3)]
    return np.stack(channels, axis=-1).round().astype(np.uint8)


def _muted_palette(rng: np.random.Generator) -> np.ndarray:
    """(3, 3) RGB from dark to light around one weak hue."""
    hue = rng.uniform(0, 180) + rng.uniform(-14, 14, 3)
    saturation = rng.uniform(10, 80) * rng.uniform(0.7, 1.2, 3)
    centre, spread = rng.uniform(95, 185), rng.uniform(22, 62)
    value = centre + spread * np.array([-1, 0, 1])
    hsv = np.stack([hue % 180, saturation, value], axis=-1).clip(0, 245)
    return cv2.cvtColor(hsv.astype(np.uint8)[None], cv2.COLOR_HSV2RGB)[0].astype(np.float64)


def _noise(side_px: int, cell_px: float, octaves: int, rng: np.random.Generator) -> np.ndarray:
    """Smooth noise in [0, 1]; the largest blobs are `cell_px` times 2^(octaves - 1) wide."""
    total = np.zeros((side_px, side_px), np.float32)
    for octave in range(octaves):
        cells = max(round(side_px / (cell_px * 2**octave)), 2)
        grid = rng.random((cells, cells), np.float32)
        wave = cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
        total += wave * 2.0 ** (octave - octaves)
    return cv2.normalize(total, None, 0, 1, cv2.NORM_MINMAX)


def _axes(side_px: int, tilt: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    y, x = np.mgrid[:side_px, :side_px].astype(np.float32)
    return x * np.cos(tilt) - y * np.sin(tilt), x * np.sin(tilt) + y * np.cos(tilt)


def _clouds(side_px: int, rng: np.random.Generator) -> np.ndarray:
    return _noise(side_px, 4, 5, rng)


def _gradient(side_px: int, rng: np.random.Generator) -> np.ndarray:
    x, _ = _axes(side_px, rng.uniform(0, 6.3))
    smooth = cv2.normalize(x, None, 0.1, 0.9, cv2.NORM_MINMAX)
    return smooth + 0.15 * (_noise(side_px, 16, 3, rng) - 0.5)


def _planks(side_px: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(side_px)
    if rng.random() < 0.5:
        x, y = y, x
    width = rng.uniform(16, 34)
    board = np.floor(x / width)
    tone = rng.random(64)[board.astype(int) % 64]
    grain = _noise(side_px, 2, 3, rng) if rng.random() < 0.3 else _streaks(side_px, y is x, rng)
    gap = np.mod(x, width) < 1.8
    return np.where(gap, 0.0, 0.3 + 0.4 * tone + 0.35 * (grain - 0.5))


def _streaks(side_px: int, flipped: bool, rng: np.random.Generator) -> np.ndarray:
    """Wood grain: noise stretched eight times."""
    grid = rng.random((side_px // 16, side_px // 2), np.float32)
    grain = cv2.resize(grid, (side_px, side_px), interpolation=cv2.INTER_CUBIC)
    return grain.T if flipped else grain


def _tiles(side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Bricks or square tiles with joints."""
    x, y = _axes(side_px)
    height = rng.uniform(12, 30)
    width = height * rng.choice([1.0, 2.0])
    row = np.floor(y / height)
    x = x + (width > height) * 0.5 * width * (row % 2)
    tone = rng.random((64, 64))[row.astype(int) % 64, np.floor(x / width).astype(int) % 64]
    joint = (np.mod(x, width) < 2) | (np.mod(y, height) < 2)
    return np.where(joint, rng.choice([0.05, 0.95]), 0.35 + 0.35 * tone)


def _checks(side_px: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(side_px, rng.choice([0.0, np.pi / 4]))
    cell = rng.uniform(14, 30)
    board = (np.floor(x / cell) + np.floor(y / cell)) % 2
    return 0.25 + 0.5 * board + 0.2 * (_noise(side_px, 6, 4, rng) - 0.5)


def _blobs(side_px: int, rng: np.random.Generator) -> np.ndarray:
    field = _noise(side_px, 14, 2, rng)
    return 1 / (1 + np.exp(-(field - 0.5) * 18)) * 0.7 + 0.3 * _noise(side_px, 8, 3, rng)


def _gravel(side_px: int, rng: np.random.Generator) -> np.ndarray:
    """Stones: distance to scattered seeds, each stone with its own tone."""
    seeds = (rng.random((side_px, side_px)) > 1 / rng.uniform(40, 140)).astype(np.uint8)
    distance, label = cv2.distanceTransformWithLabels(seeds, cv2.DIST_L2, 5)
    tone = rng.random(int(label.max()) + 1)[label]
    return 0.35 + 0.6 * tone - distance / 14


def _cloth(side_px: int, rng: np.random.Generator) -> np.ndarray:
    x, y = _axes(side_px, rng.uniform(-0.5, 0.5))
    period = rng.uniform(9, 26)
    weave = np.sin(2 * np.pi * x / period) + np.sin(2 * np.pi * y / period) * (rng.random() < 0.5)
    return 0.5 + 0.18 * weave + 0.3 * (_noise(side_px, 5, 4, rng) - 0.5)


_RELIEFS = (_clouds, _planks, _gravel, _gradient, _tiles, _blobs, _checks, _cloth)
