"""Pair -> Conditioning: the one file that calls every step of Figure 2's left half."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

import cv2
import numpy as np

from anydoor_lab.conditioning.augment import flip, jitter_light, light_of, lit, mirrored
from anydoor_lab.conditioning.collage import Collage, high_frequency
from anydoor_lab.conditioning.id_crop import crop_object, make_id_image
from anydoor_lab.conditioning.placement import Placement, crop_scene, place
from anydoor_lab.conditioning.shape_mask import perturb_mask, roomy_box, shape_channel
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_image, is_whole
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import padded_square, resized, resized_mask
from anydoor_lab.structures.pair import Pair

Shape = Literal["box", "mask"]


@dataclass(frozen=True, slots=True, eq=False)
class Conditioning:
    """What the model is shown of a pair.

    Args:
        id_image: (3, S, S) float32 in [0, 1], the object for the ID extractor.
        collage: (3, R, R) float32 in [-1, 1], scene crop with the detail map stitched in.
        shape_mask: (1, R, R) float32 in {-1, 0, 1}; 1 = region asked for, -1 = padding.
        target: (3, R, R) float32 in [-1, 1], the scene crop itself (in training the truth).
        placement: how to paste back.
        further: (C, R, R) float32 each, what further branches of a model read, by name.
    """

    id_image: np.ndarray
    collage: np.ndarray
    shape_mask: np.ndarray
    target: np.ndarray
    placement: Placement
    further: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The arrays the networks read, by name."""
        names = ("id_image", "collage", "shape_mask", "target")
        return {name: getattr(self, name) for name in names} | dict(self.further)


@dataclass(frozen=True, slots=True)
class Conditioner:
    """How a pair is shown to the model; the settings of Sec. 3.1, 3.2 and 4.1.

    Args:
        resolution: R, side of the model's picture.
        id_size: S, side of the id_image.
        zoom: side of the square crop over the longer side of the grown box (the paper's 2.0).
        grow: factor on the box of the region.
        id_margin: canvas of the id_image over the object.
        remove_background: "Seg" of Table 3.
        collage: what of the object is stitched into the scene.
        box_probability: share of training samples whose shape mask is the box (Sec. 3.2).
        box_slack: in training a box may be longer than the object by up to this share of one of
            its sides (see `roomy_box`; the paper's boxes fit).
        flip_probability: of mirroring the reference in training.
        light_probability, light_strength: of changing the reference's light in training.
        light_bank: how many different changes of light there are; 0: any.
        as_bytes: leave pictures uint8 and the shape mask int8, a quarter of the memory, for
            `diffusion.loss.as_numbers` to scale on the device.

    Raises:
        ValueError: a share is outside [0, 1], a factor below 1 or the slack below 0.
    """

    resolution: int = 512
    id_size: int = 224
    zoom: float = 2.0
    grow: float = 1.1
    id_margin: float = 1.2
    remove_background: bool = True
    collage: Collage = high_frequency
    box_probability: float = 0.3
    box_slack: float = 0.0
    flip_probability: float = 0.0
    light_probability: float = 0.5
    light_strength: float = 0.2
    light_bank: int = 0
    as_bytes: bool = False

    def __post_init__(self) -> None:
        shares = ("box_probability", "flip_probability", "light_probability", "light_strength")
        limits = dict.fromkeys(("zoom", "grow", "id_margin"), (1.0, math.inf))
        limits |= dict.fromkeys(shares, (0.0, 1.0)) | {"box_slack": (0.0, math.inf)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                expected = f"at least {low:g}" if high == math.inf else f"{low:g} to {high:g}"
                raise InputError(f"{name} is {getattr(self, name)}; expected {expected}")
        if not is_whole(self.light_bank) or self.light_bank < 0:
            raise InputError(f"light_bank is {self.light_bank}; expected a whole number from 0")

    def with_collage(self, collage: Collage) -> Conditioner:
        """The same with another collage."""
        return replace(self, collage=collage)

    def condition(self, pair: Pair, rng: np.random.Generator, shape: Shape = "box") -> Conditioning:
        """What the model is shown when it places an object: no augmentation.

        Args:
            pair: the object and the place.
            rng: for collages that draw (noise, shuffle).
            shape: hand on the box of the region only, or the region's own outline (its box
                where the outline is too thin to show at R).
        """
        reference, mask = self._object(pair)
        placement = self.placement(pair)
        outline = None if shape == "box" else pair.scene_mask[placement.crop.slices]
        return self._assembled(pair, placement, reference, mask, outline, rng)

    def condition_for_training(self, pair: Pair, rng: np.random.Generator) -> Conditioning:
        """What the model is shown in training: augmented object, perturbed shape mask."""
        reference, mask = self._object(pair)
        light = (self.light_probability, self.light_strength, self.light_bank)
        reference = jitter_light(reference, rng, *light)
        reference, mask = flip(reference, mask, rng, self.flip_probability)
        as_box = bool(rng.random() < self.box_probability)
        if as_box and self.box_slack:
            pair = replace(pair, scene_mask=roomy_box(pair.scene_mask, self.box_slack, rng))
        placement = self.placement(pair)
        inside = pair.scene_mask[placement.crop.slices]
        outline = None if as_box else perturb_within_box(inside, rng)
        return self._assembled(pair, placement, reference, mask, outline, rng)

    def id_images(self, pair: Pair) -> Iterator[np.ndarray]:
        """Each `id_image` (3, S, S) that training may draw of a pair's object; of changes of light
        and mirror images, only those of which there are few enough to count."""
        reference, mask = self._object(pair)
        strength, changes = self.light_strength, self.light_bank if self.light_probability else 0
        bank = [lit(reference, *light_of(number), strength) for number in range(changes)]
        plain = [reference] if self.light_probability < 1 else []
        for image in (*plain, *bank):
            if self.flip_probability < 1:
                yield self._id_image(image, mask)
            if self.flip_probability:
                yield self._id_image(*mirrored(image, mask))

    def target(self, pair: Pair) -> np.ndarray:
        """The `target` (3, R, R) of a pair, the box about its region taken as it is."""
        return self._channels_first(self._crop(pair, self.placement(pair)), 2 / 255, -1)

    def placement(self, pair: Pair) -> Placement:
        """Which part of the scene the model is shown and where the object goes in it."""
        return place(pair.scene_mask, self.resolution, self.grow, self.zoom)

    def _object(self, pair: Pair) -> tuple[np.ndarray, np.ndarray]:
        longest = max(self.resolution, self.id_size)
        return crop_object(pair.reference, pair.reference_mask, longest)

    def _assembled(
        self,
        pair: Pair,
        placement: Placement,
        reference: np.ndarray,
        mask: np.ndarray,
        outline: np.ndarray | None,
        rng: np.random.Generator,
    ) -> Conditioning:
        crop = self._crop(pair, placement)
        box = placement.to_crop(placement.region)
        inner = placement.to_crop(Box.around(pair.scene_mask))
        detail_map = self.collage(reference, mask, rng)
        check_image("the collage's map", detail_map)
        collage = stitch(crop, box, inner, detail_map)
        region = box.mask(*crop.shape[:2])
        if outline is not None and (drawn := _resized_outline(outline, placement)).any():
            region = drawn
        channel = shape_channel(region, _padding_mask(placement))
        return Conditioning(
            id_image=self._id_image(reference, mask),
            collage=self._channels_first(collage, 2 / 255, -1),
            shape_mask=channel.astype(np.int8) if self.as_bytes else channel,
            target=self._channels_first(crop, 2 / 255, -1),
            placement=placement,
        )

    def _crop(self, pair: Pair, placement: Placement) -> np.ndarray:
        crop = crop_scene(pair.scene, placement)
        # resizing smears the scene's rim, and an object on it, into the padding
        inside = placement.to_crop(placement.crop)
        crop[: inside.y1] = 0
        crop[inside.y2 :] = 0
        crop[:, : inside.x1] = 0
        crop[:, inside.x2 :] = 0
        return crop

    def _id_image(self, reference: np.ndarray, mask: np.ndarray) -> np.ndarray:
        shown = mask if self.remove_background else np.ones_like(mask)
        id_image = make_id_image(reference, shown, self.id_size, self.id_margin)
        return self._channels_first(id_image, 1 / 255, 0)

    def _channels_first(self, image: np.ndarray, scale: float, shift: float) -> np.ndarray:
        split = np.stack(cv2.split(image))  # while a byte per pixel
        if self.as_bytes:
            return split
        values = split.astype(np.float32)
        values *= np.float32(scale)
        values += np.float32(shift)
        return values


def stitch(crop: np.ndarray, box: Box, inner: Box, detail_map: np.ndarray) -> np.ndarray:
    """A copy of `crop` (R, R, 3) with `box` black and `detail_map` centred in `inner`.

    The map keeps its aspect ratio and touches two opposite sides of `inner`.
    """
    inner = inner.within(box)
    scale = min(inner.height / detail_map.shape[0], inner.width / detail_map.shape[1])
    height = max(1, min(inner.height, round(detail_map.shape[0] * scale)))
    width = max(1, min(inner.width, round(detail_map.shape[1] * scale)))
    top = inner.y1 + (inner.height - height) // 2
    left = inner.x1 + (inner.width - width) // 2
    collage = crop.copy()
    collage[box.slices] = 0
    collage[top : top + height, left : left + width] = resized(detail_map, height, width)
    return collage


def perturb_within_box(mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """`mask` (H, W) bool perturbed, computed on a frame about its box only."""
    frame = Box.around(mask).grown(1.3, *mask.shape)
    perturbed = np.zeros_like(mask)
    perturbed[frame.slices] = perturb_mask(mask[frame.slices], rng)
    return perturbed


def _resized_outline(outline: np.ndarray, placement: Placement) -> np.ndarray:
    square = padded_square(outline.astype(np.uint8), 0).astype(np.bool_)
    return resized_mask(square, placement.resolution, placement.resolution)


def _padding_mask(placement: Placement) -> np.ndarray:
    inside = placement.to_crop(placement.crop).mask(placement.resolution, placement.resolution)
    return ~inside
