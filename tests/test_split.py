"""An object stands in one split only, and names that look the same are the same."""

from __future__ import annotations

import shutil
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anydoor_lab.data.readers.folder import Folder
from anydoor_lab.data.readers.photos import Photos
from anydoor_lab.data.split import split_objects
from anydoor_lab.structures.rng import rng_for

MASK = np.zeros((48, 64), np.uint8)
MASK[12:36, 20:44] = 255
DECOMPOSED, COMPOSED = (unicodedata.normalize(form, "Größe Tür é") for form in ("NFD", "NFC"))


def save(path: Path, image: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def shade(number: int) -> np.ndarray:
    return np.full((48, 64, 3), (number * 37 % 256, number * 11 % 256, 90), np.uint8)


def masked_photo(root: Path, name: str, number: int) -> None:
    save(root / "images" / f"{name}.jpg", shade(number))
    save(root / "masks" / f"{name}.png", MASK)


def cutout(path: Path, number: int) -> Path:
    return save(path, np.dstack([shade(number), MASK]))


def splits(root: Path, **settings: Any) -> list[Folder]:
    return [Folder(root, split="train", **settings), Folder(root, split="held_out", **settings)]


def names(source: Folder) -> set[str]:
    return {entry.name for entry in source._entries}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("pattern", ["{:05d}", "frame_{}", "shot-{:03d}"])
def test_the_frames_of_a_video_stand_in_one_split(tmp_path: Path, pattern: str, seed: int) -> None:
    for video in range(6):
        for frame in range(4):
            masked_photo(tmp_path, f"video_{video}/{pattern.format(frame)}", 10 * video + frame)
    train, held_out = (
        {name.split("/")[1] for name in names(source)} for source in splits(tmp_path, seed=seed)
    )
    assert not train & held_out and len(train | held_out) == 6
    assert len(held_out) == 1, "a fifth of 24 frames is nearest to one video of four"


def test_a_folder_that_holds_everything_is_no_video(tmp_path: Path) -> None:
    for number in range(10):
        cutout(tmp_path / "cups" / f"cup_{number}.png", number)
    assert [len(source) for source in splits(tmp_path)] == [8, 2]


def test_a_folder_of_named_pictures_is_no_video(tmp_path: Path) -> None:
    for number, name in enumerate(("red", "blue", "green", "grey", "pink")):
        cutout(tmp_path / "cups" / f"{name}.png", number)
        cutout(tmp_path / "pots" / f"{name}.png", 10 + number)
    assert [len(source) for source in splits(tmp_path)] == [8, 2]


@pytest.mark.parametrize("seed", range(6))
def test_files_of_equal_bytes_stand_in_one_split(tmp_path: Path, seed: int) -> None:
    for number in range(6):
        first = cutout(tmp_path / f"a_{number}.png", number)
        shutil.copy(first, tmp_path / f"copy of {number}.png")
    contents = [
        {entry.picture.read_bytes() for entry in source._entries}
        for source in splits(tmp_path, seed=seed)
    ]
    assert not contents[0] & contents[1] and all(contents)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("cut", "photo"),
    [
        ("{}.png", "images/{}.jpg"),
        ("{}_cutout.png", "images/{}.jpg"),
        ("cutouts/{}.png", "images/photos/{}.jpg"),
        ("{}.PNG", "images/{}.jpg"),
    ],
)
def test_a_cutout_and_its_own_photo_stand_in_one_split(
    tmp_path: Path, cut: str, photo: str, seed: int
) -> None:
    for number, name in enumerate(("cup", "pot", "jug", "bowl", "vase", "plate")):
        cutout(tmp_path / cut.format(name.upper() if "PNG" in cut else name), number)
        save(tmp_path / photo.format(name), shade(100 + number))
        mask = photo.replace("images", "masks").replace("jpg", "png")
        save(tmp_path / mask.format(name), MASK)
    stems = [
        {Path(name).stem.lower().removesuffix("_cutout") for name in names(source)}
        for source in splits(tmp_path, seed=seed)
    ]
    assert not stems[0] & stems[1] and all(stems)


def test_no_backdrop_shows_what_is_held_out(tmp_path: Path) -> None:
    for number in range(8):
        cutout(tmp_path / f"thing{number}.png", number)
        save(tmp_path / f"thing{number}.jpg", shade(100 + number))  # its own photo, without a mask
    save(tmp_path / "wall.jpg", shade(77))
    train, held_out = splits(tmp_path)
    for source, other in ((train, held_out), (held_out, train)):
        shown = {path.stem for path in source._opaque}
        assert "wall" in shown
        assert not shown & {Path(name).stem for name in names(other)}


def test_one_object_alone_cannot_be_held_out_and_that_is_said(tmp_path: Path) -> None:
    first = cutout(tmp_path / "0.png", 0)
    for number in range(1, 8):
        shutil.copy(first, tmp_path / f"{number}.png")
    train, held_out = splits(tmp_path)
    assert names(train) == names(held_out)
    assert "8, which all show one object" in held_out.note


def test_videos_that_share_frames_are_told_apart_by_folder_if_nothing_else_is_left(
    tmp_path: Path,
) -> None:
    for video in ("bear", "car", "dog"):
        for frame in range(4):
            masked_photo(tmp_path, f"{video}/{frame}", frame)
    train, held_out = splits(tmp_path)
    folders = [{name.split("/")[1] for name in names(source)} for source in (train, held_out)]
    assert not folders[0] & folders[1] and all(folders)
    assert "trained on too" in held_out.note
    masked_photo(tmp_path, "fox/0", 99)
    masked_photo(tmp_path, "fox/1", 98)
    by_bytes = [{e.picture.read_bytes() for e in s._entries} for s in splits(tmp_path)]
    assert not by_bytes[0] & by_bytes[1], "the fox shares no frame with the others"
    assert splits(tmp_path)[1].note == ""


def test_photographs_of_which_nothing_is_held_out_say_so() -> None:
    assert "nothing is held out" in Photos(held_out=0.0).note
    assert Photos().note == ""


def test_whole_objects_are_held_out_as_near_to_the_share_as_they_allow() -> None:
    objects = {f"{name}/{n}": name for name, size in zip("abcd", (8, 8, 2, 2), strict=True)
               for n in range(size)}  # fmt: skip
    for seed in range(8):
        held = split_objects(objects, "held_out", seed, 0.2)
        kept = split_objects(objects, "train", seed, 0.2)
        assert {objects[name] for name in held}.isdisjoint(objects[name] for name in kept)
        assert held and kept and len(held) + len(kept) == len(objects)
        assert len(held) <= 8
    giant = {**{f"a/{n}": "a" for n in range(90)}, "b": "b", "c": "c"}
    assert split_objects(giant, "held_out", 0, 0.2) <= {"b", "c"}


@pytest.mark.parametrize(
    ("photo", "mask"),
    [
        (DECOMPOSED, COMPOSED),
        (COMPOSED, DECOMPOSED),
        ("IMG_01", "img_01"),
        ("Straße", "STRASSE"),
        ("Ωμέγα", "ωμέγα"),
        ("猫", "猫"),
    ],
)
@pytest.mark.parametrize("place", ["{}_mask.png", "masks/{}.png", "{}-MASK.PNG"])
def test_a_photo_finds_a_mask_whose_name_looks_the_same(
    tmp_path: Path, photo: str, mask: str, place: str
) -> None:
    save(tmp_path / f"{photo}.JPG", shade(1))
    save(tmp_path / place.format(mask), MASK)
    source = Folder(tmp_path)
    assert str(source.counts) == "1 used, 0 rejected"
    assert np.array_equal(source.pair(0, rng_for(0, 0, "pair")).scene_mask, MASK > 128)


def test_of_names_that_differ_in_case_each_keeps_its_own_mask(tmp_path: Path) -> None:
    other = np.roll(MASK, 8, axis=0)
    for name, mask in (("Cup", MASK), ("cup", other)):
        save(tmp_path / f"{name}.jpg", shade(1))
        save(tmp_path / f"{name}_mask.png", mask)
    source = Folder(tmp_path)
    found = {source.pair(i, rng_for(0, 0, "pair")).origin: i for i in range(len(source))}
    for name, mask in (("Cup.jpg", MASK), ("cup.jpg", other)):
        pair = source.pair(found[name], rng_for(0, 0, "pair"))
        assert np.array_equal(pair.scene_mask, mask > 128)
    (tmp_path / "Cup_mask.png").unlink()
    assert dict(Folder(tmp_path).counts.rejected) == {"no mask": 1}


def test_the_split_does_not_depend_on_how_accents_are_written() -> None:
    written = [[unicodedata.normalize(form, f"é{n}") for n in range(40)] for form in ("NFC", "NFD")]
    held = [split_objects({n: n for n in several}, "held_out", 0, 0.2) for several in written]
    assert {unicodedata.normalize("NFC", name) for name in held[1]} == held[0]
