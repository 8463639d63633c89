"""Pair -> Conditioning: what the model is shown."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest

from anydoor_lab.conditioning.collage import COLLAGES, empty, original
from anydoor_lab.conditioning.conditioner import Conditioner, Conditioning
from anydoor_lab.conditioning.placement import crop_scene
from anydoor_lab.data.world import World
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

CONDITIONER = Conditioner(resolution=64, id_size=56)
ARRAYS = ("id_image", "collage", "shape_mask", "target")


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    world = World(size_px=96)
    return [world.pair(index, rng_for(0, index, "pair")) for index in range(12)]


def shown(pair: Pair, conditioner: Conditioner = CONDITIONER, **options: str) -> Conditioning:
    return conditioner.condition(pair, rng_for(0, 0, "shown"), **options)  # type: ignore


def trained(pair: Pair, conditioner: Conditioner = CONDITIONER, index: int = 0) -> Conditioning:
    return conditioner.condition_for_training(pair, rng_for(0, index, "trained"))


def same(one: Conditioning, other: Conditioning) -> bool:
    equal = all(np.array_equal(getattr(one, name), getattr(other, name)) for name in ARRAYS)
    return equal and one.placement == other.placement


def check(made: Conditioning, size: int = 64, id_size: int = 56) -> None:
    """Shapes, types, ranges; a region that shows; -1 exactly in the padding."""
    shapes = ((3, id_size, id_size), (3, size, size), (1, size, size), (3, size, size))
    for name, shape, lowest in zip(ARRAYS, shapes, (0, -1, -1, -1), strict=True):
        array = getattr(made, name)
        assert array.shape == shape and array.dtype == np.float32, name
        assert array.flags.c_contiguous
        assert lowest <= array.min() and array.max() <= 1, name
    assert set(np.unique(made.shape_mask)) <= {-1.0, 0.0, 1.0}
    assert (made.shape_mask == 1).any()
    inside = made.placement.to_crop(made.placement.crop).mask(size, size)
    assert np.array_equal(made.shape_mask[0] == -1, ~inside)


def test_values_have_their_shapes_types_and_ranges(pairs: list[Pair]) -> None:
    for pair in pairs:
        check(shown(pair))
        check(shown(pair, shape="mask"))
        check(trained(pair))


def test_the_target_is_the_scenes_crop(pairs: list[Pair]) -> None:
    for pair in pairs:
        made = shown(pair)
        crop = crop_scene(pair.scene, made.placement)
        padding = made.shape_mask[0] == -1
        assert np.array_equal(np.rint((made.target + 1) * 127.5)[:, ~padding].T, crop[~padding])
        assert (made.target[:, padding] == -1).all()


@pytest.mark.parametrize("name", COLLAGES)
def test_the_collage_is_the_target_outside_the_regions_box(name: str, pairs: list[Pair]) -> None:
    for pair in pairs:
        for made in (
            shown(pair, CONDITIONER.with_collage(COLLAGES[name])),
            trained(pair, CONDITIONER.with_collage(COLLAGES[name])),
        ):
            outside = ~made.placement.to_crop(made.placement.region).mask(64, 64)
            assert np.array_equal(made.collage[:, outside], made.target[:, outside])


def test_without_a_collage_nothing_of_the_object_in_the_scene_can_be_seen(
    pairs: list[Pair],
) -> None:
    conditioner = CONDITIONER.with_collage(empty)
    for pair in pairs:
        painted = np.where(pair.scene_mask[..., None], np.uint8(0), pair.scene)
        white = np.where(pair.scene_mask[..., None], np.uint8(255), pair.scene)
        other = replace(pair, scene=white)
        gone = replace(pair, scene=painted)
        assert np.array_equal(shown(gone, conditioner).collage, shown(other, conditioner).collage)


@pytest.mark.parametrize("side", [1, 3, 6, 9, 12, 16, 25, 40])
def test_an_object_of_any_size_at_any_place_leaves_no_trace_in_the_collage(side: int) -> None:
    conditioner, rng = CONDITIONER.with_collage(empty), np.random.default_rng(side)
    corners = [(0, 0), (96 - side, 96 - side), (0, 30)]
    for y, x in (*corners, *rng.integers(0, 96 - side, (8, 2)).tolist()):
        mask = Box(y, y + side, x, x + side).mask(96, 96)
        scenes = [
            np.where(mask[..., None], value, 128).astype(np.uint8).repeat(3, axis=2)
            for value in (0, 255)
        ]
        black, white = (shown(Pair(scene, mask, scene, mask), conditioner) for scene in scenes)
        assert np.array_equal(black.collage, white.collage)


def test_the_id_image_is_white_around_the_object_unless_the_background_is_kept() -> None:
    ground, mask = np.full((60, 80, 3), 90, np.uint8), np.zeros((60, 80), np.uint8)
    cv2.circle(mask, (40, 30), 20, 1, -1)
    ground[mask > 0] = (200, 10, 10)
    pair = Pair(ground, mask > 0, ground, mask > 0)
    corner = (slice(None), 8, 8)  # inside the object's box, outside the object
    cut = shown(pair).id_image
    kept = shown(pair, replace(CONDITIONER, remove_background=False)).id_image
    assert (cut[corner] == 1).all()
    assert kept[corner] == pytest.approx([90 / 255] * 3, abs=0.01)
    for image in (cut, kept):
        assert image[:, 28, 28] == pytest.approx([200 / 255, 10 / 255, 10 / 255], abs=0.01)
        assert (image[:, :3] == 1).all() and (image[:, :, -3:] == 1).all()


def test_the_id_image_centres_the_object_at_the_margins_share() -> None:
    picture, mask = np.zeros((50, 90, 3), np.uint8), Box(5, 35, 10, 70).mask(50, 90)
    image = shown(Pair(picture, mask, picture, mask), replace(CONDITIONER, id_size=120)).id_image
    box = Box.around(image[0] < 0.5)
    assert (box.height, box.width) == (50, 100)
    assert abs(box.y1 + box.y2 - 120) <= 1 and abs(box.x1 + box.x2 - 120) <= 1


def test_the_same_draws_give_the_same_conditioning_and_the_pair_is_untouched(
    pairs: list[Pair],
) -> None:
    conditioner = replace(CONDITIONER, flip_probability=0.5)
    expected = [trained(pair, conditioner) for pair in pairs]
    copies = [pair.scene.copy() for pair in pairs]
    for pair, before, copy in reversed(list(zip(pairs, expected, copies, strict=True))):
        np.random.default_rng().random(7)
        assert same(trained(pair, conditioner), before)
        assert same(shown(pair), shown(pair))
        assert np.array_equal(pair.scene, copy)
    assert not same(trained(pairs[0], index=1), trained(pairs[0], index=2))


def test_augmentation_reaches_the_object_but_never_the_target(pairs: list[Pair]) -> None:
    conditioner = replace(CONDITIONER, flip_probability=1.0, light_probability=1.0)
    for index, pair in enumerate(pairs):
        made, plain = trained(pair, conditioner, index), shown(pair)
        assert np.array_equal(made.target, plain.target)
        assert not np.array_equal(made.id_image, plain.id_image)
    mirrored = trained(pairs[0], replace(conditioner, light_probability=0.0))
    assert np.abs(mirrored.id_image[:, :, ::-1] - shown(pairs[0]).id_image).mean() < 0.01


def test_the_share_of_boxes_is_the_one_asked_for(pairs: list[Pair]) -> None:
    box = shown(pairs[0]).shape_mask
    boxes = [np.array_equal(trained(pairs[0], index=i).shape_mask, box) for i in range(250)]
    assert 0.2 < np.mean(boxes) < 0.4
    for share in (0.0, 1.0):
        always = replace(CONDITIONER, box_probability=share)
        seen = [np.array_equal(trained(pairs[0], always, i).shape_mask, box) for i in range(20)]
        assert np.mean(seen) == share


def test_in_a_roomy_box_a_stills_object_is_stitched_to_where_the_scene_has_it(
    pairs: list[Pair],
) -> None:
    conditioner = replace(
        CONDITIONER, collage=original, box_probability=1.0, box_slack=0.6, light_probability=0.0
    )
    larger = 0
    for index, still in enumerate(pair.as_still() for pair in pairs):
        made = trained(still, conditioner, index)
        region, tight = made.placement.region, shown(still).placement.region
        larger += region.height * region.width > 1.1 * tight.height * tight.width
        mask = still.scene_mask[..., None].repeat(3, axis=2) * np.uint8(255)
        seen = crop_scene(mask, made.placement)[..., 0] > 200
        inside = cv2.erode(seen.astype(np.uint8), np.ones((5, 5))) > 0
        away, moved = (
            np.abs(collage - made.target)[:, inside].mean()
            for collage in (made.collage, np.roll(made.collage, 4, axis=2))
        )
        assert away < 0.45 * moved
    assert larger > len(pairs) / 3


def test_a_mask_shape_hands_on_the_outline_and_a_box_shape_does_not() -> None:
    scene, mask = np.full((90, 90, 3), 50, np.uint8), np.zeros((90, 90), np.uint8)
    cv2.circle(mask, (45, 45), 20, 1, -1)
    pair = Pair(scene, mask > 0, scene, mask > 0)
    area = {shape: (shown(pair, shape=shape).shape_mask == 1).sum() for shape in ("box", "mask")}
    assert area["mask"] / area["box"] == pytest.approx(np.pi / 4 / 1.1**2, rel=0.08)


def marked(height: int, width: int, *box: int) -> tuple[np.ndarray, np.ndarray]:
    picture = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return picture, Box(*box).mask(height, width)


PLACES = {
    "touching the upper left corner": marked(120, 160, 0, 40, 0, 30),
    "touching the lower right corner": marked(120, 160, 90, 120, 130, 160),
    "three by three pixels": marked(120, 160, 50, 53, 60, 63),
    "one pixel in the corner": marked(120, 160, 119, 120, 159, 160),
    "ninety percent of the picture": marked(100, 100, 0, 95, 0, 95),
    "one to ten": marked(200, 300, 90, 110, 50, 250),
    "a scene smaller than R": marked(20, 24, 5, 15, 6, 12),
    "one pixel wide": marked(120, 160, 20, 100, 60, 61),
    "one pixel wide at the far border of a large scene": marked(900, 900, 0, 900, 899, 900),
    "a strip of a scene": marked(8, 300, 2, 6, 20, 200),
}


def test_an_outline_is_padded_like_the_scene() -> None:
    picture, mask = marked(40, 200, 10, 30, 60, 140)
    mask[10:20, 60:100] = False
    made = shown(Pair(picture, mask, picture, mask), shape="mask")
    inside = made.placement.to_crop(made.placement.crop)
    region = Box.around(made.shape_mask[0] == 1)
    wanted = made.placement.to_crop(Box.around(mask))
    assert inside.height < 64
    for edge in ("y1", "y2", "x1", "x2"):
        assert abs(getattr(region, edge) - getattr(wanted, edge)) <= 1


@pytest.mark.parametrize("place", PLACES)
def test_awkward_places_work_with_every_collage_and_shape(place: str) -> None:
    picture, mask = PLACES[place]
    for collage in COLLAGES.values():
        conditioner = CONDITIONER.with_collage(collage)
        check(shown(Pair(picture, mask, picture, mask), conditioner, shape="mask"))
        made = shown(Pair(picture, mask, picture, mask), conditioner)
        check(made)
        outside = ~made.placement.to_crop(made.placement.region).mask(64, 64)
        assert np.array_equal(made.collage[:, outside], made.target[:, outside])
        for index in range(4):
            check(trained(Pair(picture, mask, picture, mask), conditioner, index))


def test_an_object_thinner_than_a_pixel_of_the_id_image_is_still_seen() -> None:
    picture, mask = np.zeros((600, 600, 3), np.uint8), np.eye(600, dtype=np.bool_)
    assert shown(Pair(picture, mask, picture, mask)).id_image.min() < 0.5
