"""The shape mask: coarse, random, never empty."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anydoor_lab.conditioning.conditioner import perturb_within_box
from anydoor_lab.conditioning.shape_mask import perturb_mask, roomy_box, shape_channel
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.rng import rng_for

QUICK = settings(max_examples=50, deadline=None)


def blob(height: int = 120, width: int = 160) -> np.ndarray:
    mask = np.zeros((height, width), np.uint8)
    cv2.ellipse(mask, (width // 2, height // 2), (width // 4, height // 5), 25, 0, 360, 1, -1)
    return mask.astype(np.bool_)


def overlap(one: np.ndarray, other: np.ndarray) -> float:
    return float((one & other).sum() / (one | other).sum())


@QUICK
@given(st.integers(1, 200), st.integers(1, 200), st.floats(0.001, 0.9), st.integers(0, 10**6))
def test_a_perturbed_mask_is_never_empty(height: int, width: int, share: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((height, width)) < share
    mask[int(rng.integers(height)), int(rng.integers(width))] = True
    perturbed = perturb_mask(mask, rng)
    assert perturbed.any() and perturbed.shape == mask.shape and perturbed.dtype == np.bool_
    framed = perturb_within_box(mask, rng)
    assert framed.any() and framed.shape == mask.shape


def test_most_draws_differ_from_the_mask_and_from_each_other_but_resemble_it() -> None:
    mask = blob()
    draws = [perturb_within_box(mask, rng_for(0, index, "shape")) for index in range(60)]
    overlaps = [overlap(drawn, mask) for drawn in draws]
    assert sum(value < 1 for value in overlaps) >= 55
    assert min(overlaps) > 0.45 and np.mean(overlaps) > 0.7
    assert len({drawn.tobytes() for drawn in draws}) > 50
    areas = np.array([drawn.sum() for drawn in draws]) / mask.sum()
    assert (areas > 1.05).sum() > 10 and (areas < 0.95).sum() > 10


def test_a_perturbed_mask_stays_in_the_frame_about_its_box_and_is_repeatable() -> None:
    mask = blob()
    frame = Box.around(mask).grown(1.3, *mask.shape).mask(*mask.shape)
    for index in range(30):
        drawn = perturb_within_box(mask, rng_for(0, index, "shape"))
        assert not drawn[~frame].any()
        assert np.array_equal(drawn, perturb_within_box(mask, rng_for(0, index, "shape")))


@pytest.mark.parametrize("size", [(1, 90), (90, 1), (3, 3)])
def test_thin_and_tiny_masks_are_perturbed_too(size: tuple[int, int]) -> None:
    mask = Box(20, 20 + size[0], 5, 5 + size[1]).mask(120, 120)
    for index in range(30):
        assert perturb_within_box(mask, rng_for(1, index, "shape")).any()


@QUICK
@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10**6))
def test_a_roomy_box_is_longer_in_one_direction_with_the_object_in_its_middle(
    height: int, width: int, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    y, x = int(rng.integers(0, 61 - height)), int(rng.integers(0, 71 - width))
    mask = np.zeros((60, 70), np.bool_)
    mask[y : y + height, x : x + width] = np.eye(height, width, dtype=np.bool_)
    mask[y + height - 1, x + width - 1] = True
    box, region = Box.around(mask), roomy_box(mask, 0.5, rng)
    roomy = Box.around(region)
    assert region.sum() == roomy.height * roomy.width
    assert roomy.height == box.height or roomy.width == box.width
    assert roomy.height <= 1.5 * box.height + 1 and roomy.width <= 1.5 * box.width + 1
    assert roomy.y1 + roomy.y2 == box.y1 + box.y2
    assert roomy.x1 + roomy.x2 == box.x1 + box.x2


def test_roomy_boxes_are_of_many_lengths_in_both_directions() -> None:
    boxes = [Box.around(roomy_box(blob(), 0.5, rng_for(0, index, "box"))) for index in range(60)]
    tight = Box.around(blob())
    for side in ("height", "width"):
        lengths = [getattr(box, side) / getattr(tight, side) for box in boxes]
        assert len(set(lengths)) > 10 and max(lengths) > 1.35
        assert 20 < sum(length == 1 for length in lengths) < 45


def test_the_channel_is_one_in_the_region_and_minus_one_exactly_in_the_padding() -> None:
    region, padding = Box(2, 6, 1, 9).mask(10, 10), Box(0, 10, 8, 10).mask(10, 10)
    channel = shape_channel(region, padding)
    assert channel.shape == (1, 10, 10) and channel.dtype == np.float32
    assert np.array_equal(channel[0] == -1, padding)
    assert np.array_equal(channel[0] == 1, region & ~padding)
    assert np.array_equal(channel[0] == 0, ~region & ~padding)
