"""Pairs that check themselves, and counter-based draws."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.originals import over_white
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for


def ramp(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 5, rows + columns], axis=2).astype(np.uint8)


def marked(height: int = 20, width: int = 30) -> np.ndarray:
    return Box(5, 12, 8, 20).mask(height, width)


# pairs


@pytest.mark.parametrize(
    ("mask", "reason"),
    [
        (np.zeros((20, 30), np.bool_), "empty mask"),
        (np.ones((20, 30), np.bool_), "mask covering everything"),
        (marked(30, 30), "mask of another size than its photo"),
    ],
)
def test_an_unusable_mask_is_refused_under_its_reason(mask: np.ndarray, reason: str) -> None:
    for masks in ((mask, marked()), (marked(), mask)):
        with pytest.raises(UnusablePair, match=rf"{reason}: .+") as raised:
            Pair(ramp(), masks[0], ramp(), masks[1])
        assert raised.value.reason == reason


@pytest.mark.parametrize(
    ("picture", "mask", "words"),
    [
        (ramp().astype(np.float32), marked(), r"float32 .* expected a \(H, W, 3\) uint8"),
        (ramp()[..., 0], marked(), r"expected a \(H, W, 3\) uint8"),
        (np.dstack([ramp(), ramp()[..., :1]]), marked(), "4 channels; expected 3"),
        (ramp(), marked().astype(np.uint8), r"uint8 .* expected a \(H, W\) bool"),
        (ramp(), marked()[..., None], r"expected a \(H, W\) bool"),
        ("photo.png", marked(), "is str; expected"),
    ],
)
def test_a_wrong_kind_of_array_is_refused(picture: np.ndarray, mask: object, words: str) -> None:
    with pytest.raises(TypeError, match=words):
        Pair(ramp(), marked(), picture, mask)  # type: ignore[arg-type]


def test_a_still_shows_the_scenes_photo_twice() -> None:
    mask = marked()[::-1]
    still = Pair(ramp(), marked(), ramp()[::-1], mask, "video", "low", "here").as_still()
    assert np.array_equal(still.reference, ramp()[::-1])
    assert np.array_equal(still.reference_mask, mask)
    assert np.array_equal(still.scene, still.reference)
    assert np.array_equal(still.scene_mask, still.reference_mask)
    assert (still.variation, still.quality, still.origin) == ("still", "low", "here")


def test_what_is_one_photo_already_keeps_the_reference_as_its_source_made_it() -> None:
    printed = Pair(ramp(), marked(), 255 - ramp(), marked())
    assert printed.is_one_photo and printed.as_still() is printed
    elsewhere = Pair(ramp(), marked(), 255 - ramp(), marked()[::-1])
    assert not elsewhere.is_one_photo
    assert np.array_equal(elsewhere.as_still().reference, 255 - ramp())
    assert not Pair(ramp(), marked(), ramp(), marked(), "video").is_one_photo


def test_an_unknown_variation_is_refused() -> None:
    with pytest.raises(ValueError, match="'moving'; expected one of still, video, multiview"):
        Pair(ramp(), marked(), ramp(), marked(), "moving")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("box", "words"),
    [
        ([5, 5, 5, 9], "no area"),
        ([9, 5, 5, 9], "no area"),
        ([0, 0, 21, 5], "leaves the scene of 20x30"),
        ([-1, 0, 5, 5], "leaves the scene"),
        ([0, 0, 5, 31], "leaves the scene"),
        ([0, 0, 5], "expected four whole pixel numbers"),
        ([0, 0, 20, 30], "mask covering everything"),
    ],
)
def test_a_box_outside_inverted_or_whole_is_refused(box: list[int], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make_pair(ramp(), ramp(), marked(), box=box)


def test_exactly_one_of_mask_and_box_and_some_reference_mask_are_needed() -> None:
    with pytest.raises(ValueError, match="exactly one"):
        make_pair(ramp(), ramp(), marked())
    with pytest.raises(ValueError, match="exactly one"):
        make_pair(ramp(), ramp(), marked(), marked(), box=[0, 0, 5, 5])
    opaque = Image.fromarray(np.dstack([ramp(), np.full((20, 30), 255, np.uint8)]))
    for reference in (ramp(), Image.fromarray(ramp()), opaque):
        with pytest.raises(ValueError, match="no usable alpha; give reference_mask"):
            make_pair(reference, ramp(), box=[0, 0, 5, 5])


def test_any_transparency_gives_the_reference_its_mask_and_any_mask_file_its_region() -> None:
    grey = np.where(marked(), 200, 0).astype(np.uint8)
    palette = Image.fromarray(grey).convert("P")
    palette.info["transparency"] = 0
    for reference in (palette, Image.fromarray(np.dstack([grey, grey]))):
        assert np.array_equal(
            make_pair(reference, ramp(), box=[0, 0, 5, 5]).reference_mask, marked()
        )
    cut_out = Image.fromarray(np.dstack([ramp(), grey]))
    for mask in (cut_out, palette, Image.fromarray(grey.astype(np.uint16) * 257)):
        pair = make_pair(ramp(), ramp(), marked(), scene_mask=mask)
        assert np.array_equal(pair.scene_mask, marked())


def test_opened_pictures_are_turned_upright_and_16_bit_is_scaled() -> None:
    alpha = np.where(marked(), 255, 0).astype(np.uint8)
    cut_out = Image.fromarray(np.dstack([ramp(), alpha]))
    deep = Image.fromarray(np.full((20, 30), 40000, np.uint16))
    for picture in (cut_out, deep):
        picture.getexif()[0x0112] = 6
    pair = make_pair(cut_out, deep, box=[0, 0, 5, 5])
    assert np.array_equal(pair.reference, np.rot90(over_white(np.asarray(cut_out)), -1))
    assert np.array_equal(pair.reference_mask, np.rot90(marked(), -1))
    assert pair.scene.shape == (30, 20, 3)
    assert (pair.scene == 40000 // 257).all()


def test_arrays_pictures_alpha_and_boxes_make_the_same_pair() -> None:
    alpha = np.where(marked(), 255, 0).astype(np.uint8)
    cut_out = Image.fromarray(np.dstack([ramp(), alpha]))
    pairs = [
        make_pair(ramp(), ramp(), marked(), marked()),
        make_pair(cut_out, Image.fromarray(ramp()), scene_mask=Image.fromarray(alpha)),
        make_pair(cut_out, ramp(), box=[5, 8, 12, 20]),
        make_pair(cut_out, ramp(), box=Box(5, 12, 8, 20)),
    ]
    for pair in pairs:
        assert np.array_equal(pair.reference[marked()], ramp()[marked()])
        assert np.array_equal(pair.reference_mask, marked())
        assert np.array_equal(pair.scene, ramp())
        assert np.array_equal(pair.scene_mask, marked())


# draws


def test_draws_depend_on_seed_index_and_purpose_and_on_nothing_else() -> None:
    keys = [(seed, index, name) for seed in (0, 1, 2**40) for index in (0, 1) for name in "ab"]
    first = {key: rng_for(*key).random(50) for key in keys}
    rng_for(5, 5, "disturbance").random(1000)
    for key in reversed(keys):
        assert np.array_equal(rng_for(*key).random(50), first[key])
    firsts = np.concatenate(list(first.values()))
    assert len(np.unique(firsts)) == len(firsts)


def test_a_long_stream_does_not_run_into_the_next_index() -> None:
    long = rng_for(0, 0, "noise").random(100_000)
    assert not np.isin(rng_for(0, 1, "noise").random(100), long).any()
