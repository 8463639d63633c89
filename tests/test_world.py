"""The procedural world: exact, repeatable pairs of objects nobody saw before."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml

from anydoor_lab.data.world import Attributes, World, objects, shapes
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

SIZE = 64
CONF = Path(__file__).resolve().parents[1] / "conf" / "data"


@pytest.fixture(scope="module")
def world() -> World:
    return World(size_px=SIZE)


def only(variation: str, **options: object) -> World:
    return World(size_px=SIZE, variations={variation: 1.0}, **options)  # type: ignore[arg-type]


def arrays(pair: Pair) -> Iterator[np.ndarray]:
    yield from (pair.reference, pair.reference_mask, pair.scene, pair.scene_mask)


def same(one: Pair, other: Pair) -> bool:
    equal = all(np.array_equal(a, b) for a, b in zip(arrays(one), arrays(other), strict=True))
    return equal and one.variation == other.variation


def drawn(world: World, index: int, purpose: str = "pair") -> Pair:
    return world.pair(index, rng_for(3, index, purpose))


def test_same_index_and_rng_give_identical_pairs_whatever_was_drawn_before(world: World) -> None:
    expected = [drawn(world, index) for index in range(20)]
    fresh = World(size_px=SIZE)
    for index in reversed(range(20)):
        fresh.view(index + 500, rng_for(9, index, "disturbance"))
        assert same(drawn(fresh, index), expected[index])


def test_another_rng_gives_another_pair_of_the_same_object(world: World) -> None:
    assert not same(drawn(world, 0, "one"), drawn(world, 0, "other"))


def test_two_hundred_pairs_are_usable_and_lie_inside_the_frame(world: World) -> None:
    smallest, largest = (fraction * SIZE for fraction in world.object_size)
    for index in range(200):
        pair = drawn(world, index)
        for mask in (pair.reference_mask, pair.scene_mask):
            box = Box.around(mask)
            assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())
            assert smallest - 3 <= max(box.height, box.width) <= largest + 2


def test_still_pairs_show_one_picture_twice() -> None:
    for index in range(10):
        pair = drawn(only("still"), index)
        assert np.array_equal(pair.reference, pair.scene)
        assert np.array_equal(pair.reference_mask, pair.scene_mask)
        assert (pair.variation, pair.quality) == ("still", "high")


@pytest.mark.parametrize("size_px", [32, 128, 512])
def test_pairs_come_in_the_size_asked_for(size_px: int) -> None:
    pair = drawn(World(size_px=size_px), 0)
    assert pair.scene.shape == pair.reference.shape == (size_px, size_px, 3)


def centred(mask: np.ndarray) -> np.ndarray:
    """The mask cut to its box and scaled to 32 x 32, so that only its pose is left."""
    cut = mask[Box.around(mask).slices].astype(np.uint8)
    return cv2.resize(cut, (32, 32), interpolation=cv2.INTER_NEAREST) > 0


def test_video_pairs_differ_in_pose_place_and_scene() -> None:
    world = only("video", shapes=["square", "triangle", "star", "cross"])
    poses, outside = [], []
    for index in range(40):
        pair = drawn(world, index)
        assert (pair.variation, pair.quality) == ("video", "low")
        poses.append((centred(pair.reference_mask) != centred(pair.scene_mask)).mean())
        free = ~(pair.reference_mask | pair.scene_mask)
        both = pair.reference[free].astype(int), pair.scene[free].astype(int)
        outside.append(np.abs(both[0] - both[1]).mean())
    assert np.median(poses) > 0.05
    assert np.median(outside) > 20


def sharpness(image: np.ndarray) -> float:
    return float(np.abs(cv2.Laplacian(image, cv2.CV_32F)).mean())


def test_video_frames_are_poorer_than_multiview_ones() -> None:
    pairs = {name: [drawn(only(name), i) for i in range(40)] for name in ("video", "multiview")}
    mean = {name: np.mean([sharpness(p.scene) for p in found]) for name, found in pairs.items()}
    assert mean["video"] < 0.8 * mean["multiview"]


def test_variations_come_as_often_as_their_weights_say() -> None:
    world = World(size_px=32, variations={"still": 3, "video": 1})
    found = [world.pair(0, rng_for(0, index, "pair")).variation for index in range(200)]
    assert found.count("multiview") == 0
    assert 30 <= found.count("video") <= 70


def test_the_mask_is_exactly_the_object(world: World) -> None:
    red = World(size_px=SIZE, colours=["red", "white"], variations={"multiview": 1})
    blue = World(size_px=SIZE, colours=["blue", "black"], variations={"multiview": 1})
    attributes = red.attributes(0)
    other = replace(attributes, colour="blue", second_colour="black")
    for draw in range(10):
        frame = red._draw_frame("multiview", rng_for(1, draw, "frame"))
        images = []
        for names, source in ((attributes, red), (other, blue)):
            sprite = source._sprite(names, frame.longer_side)
            rng = rng_for(2, draw, "scene")
            images.append(source._take(sprite, names, frame, "multiview", rng))
        (one, mask), (two, other_mask) = images
        assert np.array_equal(mask, other_mask)
        changed = (one != two).any(axis=-1)
        rim = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8)) > 0
        assert not (changed & ~rim).any()
        assert (changed & mask).sum() > 0.4 * mask.sum()


@pytest.mark.parametrize("shape", shapes.SHAPES)
def test_every_silhouette_is_one_piece(shape: str) -> None:
    world = only("multiview", shapes=[shape])
    for index in range(8):
        _, mask = world.view(index, rng_for(0, index, "view"))
        num_labels, _ = cv2.connectedComponents(mask.astype(np.uint8))
        assert num_labels == 2


def sprite_alpha(shape: str) -> np.ndarray:
    names = Attributes(shape, "red", "blue", "solid", "A")
    return objects.draw_sprite(names, 64)[..., 3].astype(float) / 255


def test_silhouettes_differ_clearly() -> None:
    alphas = {shape: sprite_alpha(shape) for shape in World(size_px=SIZE).names["shape"]}
    for one, first in alphas.items():
        for other, second in alphas.items():
            overlap = np.minimum(first, second).sum() / np.maximum(first, second).sum()
            assert one == other or overlap < 0.88, (one, other, overlap)


@pytest.mark.parametrize("attribute", ["colour", "second_colour", "pattern", "letter"])
def test_every_attribute_shows_in_the_picture(attribute: str, world: World) -> None:
    base = {"shape": "heart", "colour": "green", "second_colour": "pink", "pattern": "dots"}
    values = [v for v in world.names[attribute] if v not in ("green", "pink")]
    drawings = [
        objects.draw_sprite(Attributes(**({**base, "letter": "A"} | {attribute: value})), 36)
        for value in values
    ]
    for index, one in enumerate(drawings):
        for other in drawings[:index]:
            differing = np.abs(one.astype(int) - other.astype(int)).max(axis=-1) > 50
            assert differing.sum() >= 20


def test_second_colour_shows_even_where_the_pattern_is_solid() -> None:
    one, other = (
        objects.draw_sprite(Attributes("disc", "red", colour, "solid", "A"), 36)
        for colour in ("blue", "yellow")
    )
    assert (np.abs(one.astype(int) - other.astype(int)).max(axis=-1) > 50).mean() > 0.05


def identities(world: World) -> set[Attributes]:
    return {world.attributes(index) for index in range(len(world))}


def test_splits_are_disjoint_complete_and_one_in_ten_is_held_out() -> None:
    few = {"shapes": ["disc", "star", "heart"], "letters": ["A", "H", "X"]}
    train, held_out = (
        identities(World(split=split, size_px=SIZE, **few))  # type: ignore[arg-type]
        for split in ("train", "held_out")
    )
    assert not train & held_out
    assert len(train) + len(held_out) == 3 * 10 * 9 * 4 * 3
    assert 0.08 < len(held_out) / (len(train) + len(held_out)) < 0.12
    assert all(names.colour != names.second_colour for names in train)


def test_an_object_held_out_here_is_held_out_with_any_other_lists() -> None:
    few = World(split="held_out", shapes=["heart", "disc"], letters=["Z", "A"])
    more = World(split="train", shapes=["disc", "gear", "heart"], letters=["A", "B", "Z"])
    assert not identities(few) & identities(more)


def test_seed_changes_the_order_and_not_the_objects() -> None:
    few = {"shapes": ["disc"], "letters": ["A", "B"]}
    one, other = (World(seed=seed, **few) for seed in (0, 1))  # type: ignore[arg-type]
    assert identities(one) == identities(other)
    assert [one.attributes(i) for i in range(9)] != [other.attributes(i) for i in range(9)]


def test_captions_read_as_english() -> None:
    assert Attributes("star", "red", "blue", "dots", "A").caption == "a red star"
    assert Attributes("disc", "orange", "blue", "solid", "A").caption == "an orange disc"


def test_a_clean_view_stands_upright_in_the_middle(world: World) -> None:
    image, mask = world.clean_view(0, ground=255, longer_side=0.5)
    box = Box.around(mask)
    assert abs(max(box.height, box.width) - SIZE / 2) <= 1
    assert abs(box.y1 + box.y2 - SIZE) <= 2 and abs(box.x1 + box.x2 - SIZE) <= 2
    assert (image[0] == 255).all()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": "test"}, "split"),
        ({"shapes": ["blob"]}, "shapes"),
        ({"letters": ["A", "A"]}, "letters"),
        ({"letters": ["AB"]}, "letters"),
        ({"colours": []}, "colours"),
        ({"colours": ["red"]}, "no identity"),
        ({"variations": {"film": 1.0}}, "variations"),
        ({"variations": {"still": 0.0}}, "variations"),
        ({"object_size": (0.6, 0.4)}, "object_size"),
        ({"size_px": 8}, "size_px"),
    ],
)
def test_senseless_arguments_are_refused_by_name(options: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        World(**options)  # type: ignore[arg-type]


def test_the_yaml_levels_build_and_the_easy_one_is_the_default() -> None:
    easy = yaml.safe_load((CONF / "world.yaml").read_text())
    hard = easy | yaml.safe_load((CONF / "world_hard.yaml").read_text())
    for level in (easy, hard):
        level.pop("_target_")
        level.pop("defaults", None)
    world, default = World(**easy), World(size_px=easy["size_px"])
    assert same(drawn(world, 0), drawn(default, 0)) and len(world) == len(default)
    assert len(World(**hard)) > 5 * len(world)
