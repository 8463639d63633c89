"""The world as a pair source: which objects there are, and two photographs of one of them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import get_args

import numpy as np

from anydoor_lab.data.source import Counts, Split
from anydoor_lab.data.world import objects, scenes, shapes, views
from anydoor_lab.data.world.objects import Attributes
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair, Quality, Variation
from anydoor_lab.structures.rng import rng_for

EASY_SHAPES = ("disc", "square", "triangle", "star", "heart", "cross", "drop", "flower")
EASY_COLOURS = tuple(objects.COLOURS)[:10]
EASY_PATTERNS = ("solid", "two-tone", "stripes", "dots")
EASY_LETTERS = tuple("ACEHJKLMPRSTUXYZ")
VARIATIONS: Mapping[str, float] = MappingProxyType({"still": 0.4, "video": 0.4, "multiview": 0.2})
HELD_OUT_ONE_IN = 10
_ATTRIBUTES = tuple(field.name for field in fields(Attributes))
_SCALE_RATIO = (0.75, 1.33)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is drawn for one photograph before anything is painted."""

    pose: np.ndarray
    longer_side: float
    where: np.ndarray
    place: scenes.Place
    light: views.Light


class World:
    """A pair source whose identities are all combinations of five attributes.

    Whether an identity is held out depends on its names alone, not on the lists chosen here, so
    an object held out on an easy level is held out on every harder one.

    Args:
        split: "train" or "held_out" (about one identity in ten).
        seed: shuffles the order of the identities, nothing else.
        size_px: side of both pictures; scenes get soft above 128, objects above 512.
        shapes, colours, patterns: names of SHAPES, COLOURS and PATTERNS.
        letters: capitals and digits.
        variations: how often each variation of Table 1 is drawn; weights, not all zero.
        object_size: smallest and largest longer side of the object's box, fractions of `size_px`.
        letter_scale: 1 gives letters of about half the object's height.

    Raises:
        ValueError: an unknown name, a split without identities, senseless weights or sizes.
    """

    VERSION = 1
    """Of the drawing: another one gives other pixels from the same draws (part of cache keys)."""

    def __init__(
        self,
        *,
        split: Split = "train",
        seed: int = 0,
        size_px: int = 96,
        shapes: Sequence[str] = EASY_SHAPES,
        colours: Sequence[str] = EASY_COLOURS,
        patterns: Sequence[str] = EASY_PATTERNS,
        letters: Sequence[str] = EASY_LETTERS,
        variations: Mapping[str, float] = VARIATIONS,
        object_size: tuple[float, float] = (0.30, 0.55),
        letter_scale: float = 1.0,
    ) -> None:
        _check_split(split)
        _check_sizes(size_px, object_size, letter_scale)
        self.split, self.size_px, self.letter_scale = split, size_px, letter_scale
        self.object_size = (float(object_size[0]), float(object_size[1]))
        self._names = _checked_names(shapes, colours, patterns, letters)
        self._variations, self._weights = _checked_weights(variations)
        numbers = _identities(self._names, held_out=split == "held_out")
        if not len(numbers):
            raise InputError(f"no identity is in split {split!r}; give longer attribute lists")
        self._numbers = rng_for(seed, 0, "order of identities").permutation(numbers)
        self.counts = Counts(used=len(numbers))

    def __len__(self) -> int:
        """Number of identities of this split."""
        return len(self._numbers)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """Every attribute's possible values, by the attribute's name: the classes of a reader."""
        return dict(zip(_ATTRIBUTES, self._names, strict=True))

    def attributes(self, index: int) -> Attributes:
        """The names of identity `index`.

        Raises:
            IndexError: there is no such identity.
        """
        places = np.unravel_index(self._numbers[index], [len(names) for names in self._names])
        return Attributes(
            *(names[int(place)] for names, place in zip(self._names, places, strict=True))
        )

    def attributes_of(self, pair: Pair) -> Attributes:
        """The names of the identity a pair of this world shows."""
        return self.attributes(self.entry_of(pair))

    def entry_of(self, pair: Pair) -> int:
        """Which entry a pair of this source shows."""
        return int(pair.origin.rsplit("/", 1)[1])

    def varied(self, variations: Mapping[str, float]) -> World:
        """The same world with other relative frequencies of the variations.

        Raises:
            ValueError: as for the world itself.
        """
        other = copy(self)
        other._variations, other._weights = _checked_weights(variations)
        return other

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """Two photographs of identity `index` as Table 1 knows them; all else is from `rng`.

        `still` gives one photograph twice, `video` two poor frames in two places, `multiview` two
        crisp ones from two sides of one place.
        """
        attributes = self.attributes(index)
        variation = self._draw_variation(rng)
        first = self._draw_frame(variation, rng)
        second = None if variation == "still" else self._draw_second(first, variation, rng)
        longest = max(first.longer_side, second.longer_side if second else 0.0)
        sprite = self._sprite(attributes, longest)
        reference, reference_mask = self._take(sprite, attributes, first, variation, rng)
        scene, scene_mask = reference, reference_mask
        if second is not None:
            scene, scene_mask = self._take(sprite, attributes, second, variation, rng)
        quality: Quality = "low" if variation == "video" else "high"
        origin = f"world/{self.split}/{index}"
        return Pair(reference, reference_mask, scene, scene_mask, variation, quality, origin)

    def view(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One photograph of identity `index`: (S, S, 3) uint8 RGB and its exact (S, S) bool mask.

        It is like a frame of a pair, of a variation drawn as often as pairs draw it.
        """
        attributes, variation = self.attributes(index), self._draw_variation(rng)
        frame = self._draw_frame(variation, rng)
        sprite = self._sprite(attributes, frame.longer_side)
        return self._take(sprite, attributes, frame, variation, rng)

    def clean_view(
        self, index: int, *, ground: int = 255, longer_side: float = 0.8
    ) -> tuple[np.ndarray, np.ndarray]:
        """Identity `index` upright in the middle of plain grey: as `view`, nothing random.

        Args:
            index: the identity.
            ground: grey level around it, 0 to 255.
            longer_side: of the object's box, fraction of the picture's side.
        """
        attributes = self.attributes(index)
        plain = views.Light(np.ones((2, 2, 3), np.float32), 0.0, np.zeros(2), 0.0)
        outline = shapes.outline(attributes.shape)
        side = longer_side * self.size_px
        matrix = views.fit_pose(np.eye(3), outline, side, np.full(2, 0.5), self.size_px)
        scene = np.full((self.size_px, self.size_px, 3), ground, np.uint8)
        return views.take_picture(self._sprite(attributes, longer_side), matrix, scene, plain)

    def _draw_variation(self, rng: np.random.Generator) -> Variation:
        return self._variations[int(np.searchsorted(self._weights, rng.random(), side="right"))]

    def _draw_frame(self, variation: Variation, rng: np.random.Generator) -> _Frame:
        return _Frame(
            pose=views.draw_pose(views.MOTIONS[variation], rng),
            longer_side=rng.uniform(*self.object_size),
            where=rng.random(2),
            place=scenes.draw_place(rng),
            light=views.draw_light(1.0 if variation == "video" else 0.5, rng),
        )

    def _draw_second(self, first: _Frame, variation: Variation, rng: np.random.Generator) -> _Frame:
        """The other frame: everything anew, but a size in proportion to the first one's."""
        second = self._draw_frame(variation, rng)
        ratio = np.exp(rng.uniform(*np.log(_SCALE_RATIO)))
        side = float(np.clip(first.longer_side * ratio, *self.object_size))
        shared = first if variation == "multiview" else second
        return _Frame(second.pose, side, second.where, shared.place, shared.light)

    def _sprite(self, attributes: Attributes, longer_side: float) -> np.ndarray:
        side_px = objects.ladder_px(longer_side * self.size_px)
        return objects.draw_sprite(attributes, side_px, self.letter_scale)

    def _take(
        self,
        sprite: np.ndarray,
        attributes: Attributes,
        frame: _Frame,
        variation: Variation,
        rng: np.random.Generator,
    ) -> tuple[np.ndarray, np.ndarray]:
        outline, side = shapes.outline(attributes.shape), frame.longer_side * self.size_px
        matrix = views.fit_pose(frame.pose, outline, side, frame.where, self.size_px)
        scene = scenes.draw_scene(frame.place, self.size_px, rng)
        image, mask = views.take_picture(sprite, matrix, scene, frame.light)
        return (views.degrade(image, rng) if variation == "video" else image), mask


def _identities(names: Sequence[Sequence[str]], *, held_out: bool) -> np.ndarray:
    """Numbers of the identities of a split, in the order of `names`' product."""
    hashed = np.zeros([1] * len(names), np.uint64)
    for axis, values in enumerate(names):
        codes = np.array([zlib.crc32(value.encode()) for value in values], np.uint64)
        hashed = _mixed(hashed ^ np.expand_dims(codes, [a for a in range(5) if a != axis]))
    first, second = np.array(names[1]), np.array(names[2])
    differ = (first[:, None] != second[None, :])[None, :, :, None, None]
    chosen = (hashed % np.uint64(HELD_OUT_ONE_IN) == 0) == held_out
    return np.flatnonzero(chosen & differ)


def _mixed(values: np.ndarray) -> np.ndarray:
    """One round of splitmix64: spreads every bit of the input over the whole word."""
    values = values + np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def _check_split(split: str) -> None:
    if split not in get_args(Split):
        raise InputError(f"split is {split!r}; expected one of {', '.join(get_args(Split))}")


def _check_sizes(size_px: int, object_size: Sequence[float], letter_scale: float) -> None:
    if size_px < 32:
        raise InputError(f"size_px is {size_px}; expected at least 32, or nothing can be seen")
    smallest, largest = object_size
    if not 0 < smallest <= largest <= 0.9:
        seen = f"object_size is ({smallest}, {largest})"
        raise InputError(f"{seen}; expected two rising fractions between 0 and 0.9")
    if not 0.2 <= letter_scale <= 1.2:
        raise InputError(f"letter_scale is {letter_scale}; expected 0.2 to 1.2")


def _checked_names(
    shape_names: Sequence[str],
    colours: Sequence[str],
    patterns: Sequence[str],
    letters: Sequence[str],
) -> tuple[tuple[str, ...], ...]:
    known = {
        "shapes": (shape_names, tuple(shapes.SHAPES)),
        "colours": (colours, tuple(objects.COLOURS)),
        "patterns": (patterns, tuple(objects.PATTERNS)),
        "letters": (letters, objects.LETTERS),
    }
    for name, (values, allowed) in known.items():
        unknown = [value for value in values if value not in allowed]
        if unknown or len(set(values)) != len(values) or not values:
            seen = f"{name} is {list(values)}"
            raise InputError(f"{seen}; expected different names out of {', '.join(allowed)}")
    return tuple(tuple(v) for v in (shape_names, colours, colours, patterns, letters))


def _checked_weights(
    variations: Mapping[str, float],
) -> tuple[tuple[Variation, ...], np.ndarray]:
    """The variations in the order of Table 1 and their cumulative shares."""
    unknown = sorted(set(variations) - set(get_args(Variation)))
    weights = np.array([variations.get(name, 0.0) for name in get_args(Variation)], np.float64)
    if unknown or (weights < 0).any() or not weights.sum() > 0:
        expected = f"weights of {', '.join(get_args(Variation))}, not all zero"
        raise InputError(f"variations is {dict(variations)}; expected {expected}")
    return get_args(Variation), np.cumsum(weights) / weights.sum()
