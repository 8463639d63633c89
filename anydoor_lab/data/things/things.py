"""Things as a pair source: rendered, moving, photograph-filled and drawn objects before photos."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import get_args

import numpy as np

from anydoor_lab.data.source import Counts, Split
from anydoor_lab.data.things import catalogue, fills, look, originals, places, sheets
from anydoor_lab.data.things.catalogue import Thing
from anydoor_lab.data.world import World, objects, views
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.pair import Pair, Quality, Variation
from anydoor_lab.structures.rng import rng_for

VARIATIONS: Mapping[str, float] = MappingProxyType({"still": 0.5, "video": 0.3, "multiview": 0.2})
_FILL_SEED = 20240617  # a filled object is the same in every process and for every seed
_SAME_PLACE = {"still": 1.0, "video": 0.7, "multiview": 0.7}
_TINT = (0.0, 0.45)
_SCALE_RATIO = (0.75, 1.33)


@dataclass(frozen=True, slots=True)
class _Frame:
    """What is drawn for one picture before anything is painted."""

    pose: np.ndarray
    longer_side: float
    where: np.ndarray
    stand: places.Stand
    light: views.Light
    look: look.Look
    tint: float


class Things:
    """A `PairSource` of 128 px class crops, all from the package's own pictures: no download.

    Entries are, in an order that `seed` shuffles: rendered 3-D objects (every seventh with a clip
    of true second views), their outlines filled with photographs, and the drawn world's objects
    with letters. They stand before crops of photographs, or before drawn places. The split is by
    family, and three whole categories are held out (`catalogue.is_held_out`); held-out pairs also
    stand before other photographs.

    Args:
        split: "train" or "held_out".
        seed: shuffles the order of the entries, nothing else.
        size_px: side of both pictures.
        variations: how often each variation of Table 1 is drawn; weights, not all zero.
        object_size: smallest and largest longer side of the object's box, fractions of `size_px`.
        filled: entries with photographs inside, per rendered object.
        drawn: entries of the drawn world, per rendered object.
        drawn_places: share of the pictures that stand before a drawn place.
        hidden: share of the pictures in which something stands before the object.
        categories: only things of these, split by family alone ("food-sweet" ...); None: of all.
        tones: print the scenes, and the objects in them, in two tones: RGB in [0, 255] of what is
            black and of what is white; references stay as they are. None: in colour.
        root: None for the package's 128 px pictures; else the folder of the unpacked original
            sets (256 px), or any folder of pictures with alpha.

    Attributes:
        counts: entries of the split; with `root`, also what was refused for which reason.

    Raises:
        ValueError: a split without entries, senseless weights, shares, sizes or tones, a `root`
            without usable pictures.
    """

    VERSION = 1
    """Of the drawing: another one gives other pixels from the same draws (part of cache keys)."""

    def __init__(
        self,
        *,
        split: Split = "train",
        seed: int = 0,
        size_px: int = 192,
        variations: Mapping[str, float] = VARIATIONS,
        object_size: tuple[float, float] = (0.30, 0.60),
        filled: float = 0.4,
        drawn: float = 0.1,
        drawn_places: float = 0.2,
        hidden: float = 0.1,
        categories: Sequence[str] | None = None,
        tones: Sequence[Sequence[float]] | None = None,
        root: str | Path | None = None,
    ) -> None:
        _check(split, size_px, object_size, filled, drawn, drawn_places, hidden)
        self.split, self.size_px = split, size_px
        self.object_size = (float(object_size[0]), float(object_size[1]))
        self.drawn_places, self.hidden = drawn_places, hidden
        self._variations, self._weights = _checked_weights(variations)
        self._tones = None if tones is None else _checked_tones(tones)
        found, rejected = originals.things_of(root)
        self._things = catalogue.of_split(found, split, categories)
        if not self._things:
            raise InputError(
                f"no object is in split {split!r}; give more objects than {len(found)}"
            )
        scenes = catalogue.packaged_index()["scenes"]
        self._scenes = [place for place, entry in enumerate(scenes) if entry["split"] == split]
        self._world = World(split=split, seed=0, size_px=size_px)
        self._filled = round(filled * len(self._things))
        total = len(self._things) + self._filled + round(drawn * len(self._things))
        self._order = rng_for(seed, 0, "order of things").permutation(total)
        self.counts = Counts(total, rejected)

    def __len__(self) -> int:
        """Number of entries of this split."""
        return len(self._order)

    @property
    def names(self) -> dict[str, tuple[str, ...]]:
        """The groups and the categories that occur in this split: classes for `vgg` and readers."""
        kinds = [(thing.group, thing.category) for thing in self._things]
        kinds += [(made, made) for made in catalogue.MADE]
        groups, categories = (tuple(sorted(set(each))) for each in zip(*kinds, strict=True))
        return {"group": groups, "category": categories}

    def attributes(self, index: int) -> Thing:
        """Names and kind of entry `index`.

        Raises:
            IndexError: there is no such entry.
        """
        number = int(self._order[index])
        known = len(self._things)
        if number < known:
            return self._things[number]
        if number < known + self._filled:
            shape = self._things[(number - known) % known]
            name = f"photograph in the shape of {catalogue.with_article(shape.name)}"
            return replace(shape, name=name, group="filled", category="filled", frames=())
        drawn = self._world.attributes(number - known - self._filled)
        name = f"{drawn.colour} {drawn.shape} with the letter {drawn.letter}"
        return Thing(name, "drawn", "drawn", drawn.shape)

    def attributes_of(self, pair: Pair) -> Thing:
        """Names and kind of what a pair of this source shows."""
        return self.attributes(self.entry_of(pair))

    def entry_of(self, pair: Pair) -> int:
        """Which entry a pair of this source shows."""
        return int(pair.origin.rsplit("/", 1)[1])

    def varied(self, variations: Mapping[str, float]) -> Things:
        """The same things with other relative frequencies of the variations.

        Raises:
            ValueError: as for the source itself.
        """
        other = copy(self)
        other._variations, other._weights = _checked_weights(variations)
        return other

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """Two pictures of entry `index` as Table 1 knows them; all else is from `rng`.

        `still` is one crisp picture twice. `video` is two poor frames, of a clip where there is
        one: the camera moves, the light changes, the pictures are blurred and compressed.
        `multiview` is two crisp pictures from two sides.
        """
        variation = self._draw_variation(rng)
        sprites = self._sprites(index, variation, rng)
        first = self._draw_frame(variation, rng)
        reference, reference_mask = self._take(sprites[0], first, variation, rng)
        scene, scene_mask = reference, reference_mask
        if variation != "still":
            second = self._draw_second(first, variation, rng)
            scene, scene_mask = self._take(sprites[1], second, variation, rng)
        if self._tones is not None:
            scene = look.toned(scene, self._tones)
        quality: Quality = "low" if variation == "video" else "high"
        origin = f"things/{self.split}/{index}"
        return Pair(reference, reference_mask, scene, scene_mask, variation, quality, origin)

    def view(self, index: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """One picture of entry `index`: (S, S, 3) uint8 RGB and its exact (S, S) bool mask."""
        variation = self._draw_variation(rng)
        sprite = self._sprites(index, variation, rng)[0]
        return self._take(sprite, self._draw_frame(variation, rng), variation, rng)

    def scenery(self, rng: np.random.Generator) -> np.ndarray:
        """(S, S, 3) uint8 RGB: a place with nothing put into it."""
        place = places.shown(places.draw_stand(self._scenes, 0.0, rng), self.size_px, rng)
        return place if self._tones is None else look.toned(place, self._tones)

    def _draw_variation(self, rng: np.random.Generator) -> Variation:
        return self._variations[int(np.searchsorted(self._weights, rng.random(), side="right"))]

    def _draw_frame(self, variation: Variation, rng: np.random.Generator) -> _Frame:
        return _Frame(
            pose=views.draw_pose(views.MOTIONS[variation], rng),
            longer_side=rng.uniform(*self.object_size),
            where=rng.random(2),
            stand=places.draw_stand(self._scenes, self.drawn_places, rng),
            light=views.draw_light(1.0 if variation == "video" else 0.4, rng),
            look=look.draw_look({"still": 0.0, "video": 0.3, "multiview": 1.0}[variation], rng),
            tint=rng.uniform(*_TINT),
        )

    def _draw_second(self, first: _Frame, variation: Variation, rng: np.random.Generator) -> _Frame:
        """The other frame: mostly the same place, and a size in proportion to the first one's."""
        second = self._draw_frame(variation, rng)
        ratio = np.exp(rng.uniform(*np.log(_SCALE_RATIO)))
        side = float(np.clip(first.longer_side * ratio, *self.object_size))
        same_place = rng.random() < _SAME_PLACE[variation]
        stand = places.moved(first.stand, rng) if same_place else second.stand
        return replace(second, longer_side=side, stand=stand)

    def _sprites(
        self, index: int, variation: Variation, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The object's (P, P, 4) sprites for the two frames; different ones only of a clip."""
        number, known = int(self._order[index]), len(self._things)
        if number >= known + self._filled:
            attributes = self._world.attributes(number - known - self._filled)
            sprite = objects.draw_sprite(attributes, 96)
            return sprite, sprite
        thing = self._things[number % known if number < known else (number - known) % known]
        if number >= known:
            sprite = self._fill(originals.sprite(thing.still or thing.frames[0]), number)
            return sprite, sprite
        if thing.frames and (variation == "video" or thing.still is None or rng.random() < 0.3):
            picked = rng.permutation(len(thing.frames))[:2]
            one, two = (originals.sprite(thing.frames[int(place)]) for place in picked)
            return (one, two) if variation == "video" else (one, one)
        sprite = originals.sprite(thing.still)
        return sprite, sprite

    def _fill(self, sprite: np.ndarray, number: int) -> np.ndarray:
        fixed = rng_for(_FILL_SEED, number, "filled object")
        photo = sheets.scene(int(fixed.choice(self._scenes)))
        return fills.filled(sprite, photo, fixed)

    def _take(
        self, sprite: np.ndarray, frame: _Frame, variation: Variation, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        scene = places.shown(frame.stand, self.size_px, rng)
        side_px = frame.longer_side * self.size_px
        small = look.looked_at(look.sized(sprite, side_px), frame.look)
        small = look.tinted(small, scene, frame.tint)
        matrix = views.fit_pose(frame.pose, look.outline(small), side_px, frame.where, self.size_px)
        image, mask = views.take_picture(small, matrix, scene, frame.light)
        if rng.random() < self.hidden:
            thing = self._things[int(rng.integers(len(self._things)))]
            obstacle = originals.sprite(thing.still or thing.frames[0])
            pose = views.draw_pose(views.MOTIONS["video"], rng)
            image, mask = look.hidden(image, mask, obstacle, pose, rng)
        return (views.degrade(image, rng) if variation == "video" else image), mask


def _check(
    split: str, size_px: int, object_size: Sequence[float], filled: float, *shares: float
) -> None:
    if split not in get_args(Split):
        raise InputError(f"split is {split!r}; expected one of {', '.join(get_args(Split))}")
    if size_px < 48:
        raise InputError(f"size_px is {size_px}; expected at least 48, or nothing can be seen")
    smallest, largest = object_size
    if not 0 < smallest <= largest <= 0.9:
        seen = f"object_size is ({smallest}, {largest})"
        raise InputError(f"{seen}; expected two rising fractions between 0 and 0.9")
    if filled < 0 or not all(0 <= share <= 1 for share in shares):
        seen = f"filled, drawn, drawn_places, hidden are {filled}, {', '.join(map(str, shares))}"
        raise InputError(f"{seen}; expected shares from 0 to 1")


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


def _checked_tones(tones: Sequence[Sequence[float]]) -> np.ndarray:
    try:
        values = np.array(tones, np.float32)
    except (TypeError, ValueError):
        values = np.empty(0, np.float32)
    if values.shape != (2, 3) or not ((values >= 0) & (values <= 255)).all():
        raise InputError(
            f"tones are {tones}; expected two colours of three numbers from 0 to 255, such as "
            "[[0, 0, 0], [255, 255, 255]]"
        )
    return values
