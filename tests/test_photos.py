"""The photographs of scikit-image's wheel: licences, outlines, splits."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anydoor_lab.data.readers.photos import Photos, outline_mask, photo_facts
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.images import write_image
from anydoor_lab.structures.rng import rng_for


def rng(index: int = 0) -> np.random.Generator:
    return rng_for(0, index, "pair")


def test_every_photograph_states_a_licence_an_author_and_a_source() -> None:
    assert len(photo_facts()) == 5
    for photo in photo_facts():
        assert photo.licence.startswith(("CC0", "public domain")), photo.name
        assert photo.author and photo.source and photo.objects


def test_pictures_without_a_stated_licence_are_left_out() -> None:
    files = {photo.file for photo in photo_facts()}
    assert not files & {"motorcycle_left.png", "motorcycle_right.png", "coins.png", "moon.png"}


@pytest.mark.parametrize("photo", photo_facts(), ids=lambda photo: photo.name)
def test_every_outline_lies_in_its_photo_and_is_one_piece_of_usable_size(photo) -> None:
    for item in photo.objects:
        points = np.array(item.polygon)
        assert 20 <= len(points) <= 80, item.name
        assert (points >= 0).all() and (points < (photo.height, photo.width)).all(), item.name
        mask = outline_mask(item, photo.height, photo.width)
        assert 0.01 <= mask.mean() <= 0.64, item.name
        assert item.whole in {other.name for other in photo.objects}


@pytest.mark.parametrize(
    ("origin", "inside", "outside"),
    [
        ("astronaut: helmet", (450, 400), (300, 100)),
        ("astronaut: shuttle model", (100, 415), (100, 480)),
        ("astronaut: mission patch", (385, 171), (450, 171)),
        ("rocket: rocket", (300, 322), (300, 350)),
        ("chelsea: cat's head", (150, 200), (150, 430)),
        ("coffee: cup", (150, 280), (340, 280)),
        ("coffee: spoon", (280, 365), (150, 280)),
        ("camera: photographer", (300, 80), (100, 400)),
    ],
)
def test_outlines_hold_their_objects(origin: str, inside: tuple, outside: tuple) -> None:
    masks = {
        pair.origin: pair.scene_mask
        for source in (Photos(), Photos(split="held_out"))
        for pair in (source.pair(index, rng()) for index in range(len(source)))
    }
    assert masks[origin][inside] and not masks[origin][outside]


def test_the_outline_follows_the_edge_between_the_rocket_and_the_sky() -> None:
    """The sky is darker than the rocket: an outline off to either side would hold less light."""
    source = Photos(held_out=0)
    pairs = [source.pair(index, rng()) for index in range(len(source))]
    pair = next(pair for pair in pairs if pair.origin == "rocket: rocket")
    red, mask = pair.scene[..., 0], pair.scene_mask
    light = {shift: red[np.roll(mask, shift, axis=1)].mean() for shift in (-40, -4, 0, 4, 40)}
    assert light[0] > max(light[-4], light[4]) + 5
    assert light[0] > 2 * max(light[-40], light[40])


def test_pairs_are_stills_of_one_photograph() -> None:
    source = Photos()
    for index in range(len(source)):
        pair = source.pair(index, rng(index))
        assert pair.variation == "still"
        assert np.array_equal(pair.reference, pair.scene)
        assert np.array_equal(pair.reference_mask, pair.scene_mask)


def test_parts_are_held_out_together_with_their_whole() -> None:
    for seed in range(6):
        wholes = [
            {(photo.name, item.whole) for photo, item in Photos(split=split, seed=seed)._entries}
            for split in ("train", "held_out")
        ]
        assert wholes[0] and wholes[1] and not wholes[0] & wholes[1]
        assert len(Photos(seed=seed)) + len(Photos(split="held_out", seed=seed)) == 10


def test_a_wheel_that_lacks_photographs_is_answered_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"has none of astronaut.png, .* install scikit-image"):
        Photos(root=tmp_path)
    write_image(tmp_path / "chelsea.png", np.zeros((300, 451, 3), np.uint8))
    source = Photos(root=tmp_path)
    assert len(source) == 1
    assert source.counts.rejected["astronaut.png not in the installed scikit-image"] == 1


def test_another_picture_under_the_same_name_is_refused(tmp_path: Path) -> None:
    write_image(tmp_path / "chelsea.png", np.zeros((300, 452, 3), np.uint8))
    with pytest.raises(UnusablePair, match="chelsea.png is 300x452"):
        Photos(root=tmp_path).pair(0, rng())
    (tmp_path / "chelsea.png").write_bytes(b"nothing")
    with pytest.raises(UnusablePair, match="unreadable picture"):
        Photos(root=tmp_path).pair(0, rng())


def test_reading_the_photographs_imports_neither_skimage_nor_its_downloader() -> None:
    program = (
        "import sys, numpy as np; from anydoor_lab.data.readers.photos import Photos; "
        "Photos().pair(0, np.random.default_rng(0)); "
        "assert not {'skimage', 'pooch', 'torch'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
