"""Cropping a scene, and pasting back as the inverse of it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anydoor_lab.conditioning.placement import (
    Blend,
    Placement,
    crop_scene,
    edit_weight,
    paste,
    paste_back,
    place,
)
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair

SIDE = st.integers(2, 70)
RESOLUTION = 32
QUICK = settings(max_examples=60, deadline=None)


@st.composite
def scenes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    height, width, seed = draw(SIDE), draw(SIDE), draw(st.integers(0, 10**6))
    scene = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    y1, x1 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y2, x2 = draw(st.integers(y1 + 1, height)), draw(st.integers(x1 + 1, width))
    return scene, Box(y1, y2, x1, x2).mask(height, width)


FACTORS = (st.floats(1, 1.5), st.floats(1, 3))
Scene = tuple[np.ndarray, np.ndarray]


def own_side(mask: np.ndarray, grow: float, zoom: float) -> Placement:
    """The placement whose picture is exactly as large as the crop."""
    return place(mask, place(mask, RESOLUTION, grow, zoom).side, grow, zoom)


def smooth(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(3 * rows + columns), np.cos(2 * columns), rows * columns]
    return (np.stack(waves, axis=2) * 100 + 110).astype(np.uint8)


@QUICK
@given(scenes(), *FACTORS)
def test_the_crop_holds_the_region_and_the_region_holds_the_mask(
    scene: Scene, grow: float, zoom: float
) -> None:
    placed = place(scene[1], RESOLUTION, grow, zoom)
    for inner, outer in ((Box.around(scene[1]), placed.region), (placed.region, placed.crop)):
        assert outer.y1 <= inner.y1 and inner.y2 <= outer.y2
        assert outer.x1 <= inner.x1 and inner.x2 <= outer.x2
    assert placed.crop == placed.crop.clipped(*scene[1].shape)


@QUICK
@given(scenes(), st.integers(0, 20), *FACTORS)
def test_outside_the_writable_edit_not_one_pixel_differs(
    scene: Scene, feather_px: int, grow: float, zoom: float
) -> None:
    picture, mask = scene
    placed = place(mask, RESOLUTION, grow, zoom)
    shown = 255 - crop_scene(picture, placed)
    whole = paste_back(shown, picture, placed)
    writable = placed.writable.mask(*mask.shape)
    assert np.array_equal(whole[~writable], picture[~writable])
    inside = paste_back(shown, picture, placed, mask, feather_px)
    assert np.array_equal(inside[~(mask & writable)], picture[~(mask & writable)])


@QUICK
@given(scenes(), *FACTORS)
def test_a_picture_of_the_crops_own_side_is_written_exactly(
    scene: Scene, grow: float, zoom: float
) -> None:
    picture, mask = scene
    placed = own_side(mask, grow, zoom)
    crop = crop_scene(picture, placed)
    assert np.array_equal(paste_back(crop, picture, placed), picture)
    negative = paste_back(255 - crop, picture, placed)
    writable = placed.writable
    assert np.array_equal(negative[writable.slices], 255 - picture[writable.slices])


@QUICK
@given(scenes(), *FACTORS)
def test_an_untouched_prediction_changes_nothing_at_any_feathering(
    scene: Scene, grow: float, zoom: float
) -> None:
    picture, mask = scene
    placed = own_side(mask, grow, zoom)
    for feather_px in (0, 3.5):
        pasted = paste_back(crop_scene(picture, placed), picture, placed, mask, feather_px)
        assert np.array_equal(pasted, picture)


@pytest.mark.parametrize("size", [(90, 120), (40, 40), (200, 30), (480, 640)])
def test_a_smooth_scene_survives_the_change_of_size(size: tuple[int, int]) -> None:
    picture, mask = smooth(*size), Box(0, size[0] // 2, size[1] // 3, size[1]).mask(*size)
    placed = place(mask, 64, 1.1, 2.0)
    pasted = paste_back(crop_scene(picture, placed), picture, placed)
    difference = np.abs(pasted.astype(int) - picture)
    assert difference.mean() < 1 and difference.max() <= 12


@QUICK
@given(scenes(), *FACTORS)
def test_padding_is_filled_and_centred_at_the_scenes_borders(
    scene: Scene, grow: float, zoom: float
) -> None:
    picture, mask = scene
    placed = own_side(mask, grow, zoom)
    square = crop_scene(np.maximum(picture, 1), placed, fill=0)
    inside = Box.around(square.any(axis=2))
    assert inside == placed.to_crop(placed.crop)
    assert np.array_equal(square[inside.slices], np.maximum(picture, 1)[placed.crop.slices])
    top, bottom, left, right = placed.padding
    assert 0 <= bottom - top <= 1 and 0 <= right - left <= 1


@QUICK
@given(scenes(), *FACTORS)
def test_boxes_are_mapped_to_where_their_pixels_go(scene: Scene, grow: float, zoom: float) -> None:
    mask = scene[1]
    placed = own_side(mask, grow, zoom)
    for box in (Box.around(mask), placed.region):
        marks = crop_scene(box.mask(*mask.shape).astype(np.uint8), placed)
        assert Box.around(marks > 0) == placed.to_crop(box)


@QUICK
@given(scenes(), st.integers(4, 80), *FACTORS)
def test_every_region_has_a_box_in_a_picture_of_any_size(
    scene: Scene, resolution: int, grow: float, zoom: float
) -> None:
    placed = place(scene[1], resolution, grow, zoom)
    for box in (Box.around(scene[1]), placed.region, placed.crop):
        mapped = placed.to_crop(box)
        assert mapped == mapped.clipped(resolution, resolution)


def test_a_thin_region_at_the_far_border_keeps_its_pixel() -> None:
    mask = Box(999, 1000, 0, 1000).mask(1000, 1000)
    placed = place(mask, 64, 1.0, 2.0)
    mapped = placed.to_crop(Box.around(mask))
    assert (mapped.height, mapped.y2) == (1, placed.to_crop(placed.crop).y2)


@QUICK
@given(scenes(), *FACTORS)
def test_the_callers_arrays_are_never_changed(scene: Scene, grow: float, zoom: float) -> None:
    for array in scene:
        array.setflags(write=False)
    placed = own_side(scene[1], grow, zoom)
    crop = crop_scene(scene[0], placed)
    assert not np.shares_memory(crop, scene[0])
    prediction = 255 - crop
    prediction.setflags(write=False)
    for region in (None, scene[1]):
        pasted = paste_back(prediction, scene[0], placed, region, 2.0)
        assert not np.shares_memory(pasted, scene[0])


def test_feathering_is_the_scene_where_the_weight_is_zero_and_full_in_the_middle() -> None:
    picture = smooth(100, 120)
    mask = np.zeros((100, 120), np.uint8)
    cv2.circle(mask, (60, 50), 25, 1, -1)
    placed = place(mask.astype(np.bool_), 64, 1.1, 2.0)
    weight = np.zeros((100, 120), np.float32)
    weight[placed.crop.slices] = edit_weight(placed, mask.astype(np.bool_), feather_px=8)
    pasted = paste_back(np.full((64, 64, 3), 255, np.uint8), picture, placed, mask > 0, 8)
    assert np.array_equal(pasted[weight == 0], picture[weight == 0])
    assert (pasted[weight == 1] == 255).all() and (weight == 1).any()
    assert ((weight > 0) == (mask > 0)).all()
    along = weight[50, 35:61]
    assert (np.diff(along) >= 0).all() and np.abs(np.diff(along)).max() < 0.15


RIMS = {
    "bottom": (70, 120, 40, 80),
    "left": (30, 70, 0, 50),
    "corner": (0, 50, 0, 50),
    "far corner": (80, 120, 70, 150),
    "whole edge": (100, 120, 0, 150),
    "three sides": (0, 120, 90, 150),
}


@pytest.mark.parametrize("blend", ["box", "mask", "crop"])
@pytest.mark.parametrize("box", RIMS.values(), ids=RIMS)
def test_a_region_at_the_scenes_rim_is_written_up_to_the_rim(
    box: tuple[int, int, int, int], blend: Blend
) -> None:
    scene = np.zeros((120, 150, 3), np.uint8)
    mask = Box(*box).mask(120, 150)
    pair = Pair(scene, mask, scene, mask)
    placed = place(mask, 64, 1.1, 1.5)
    pasted = paste(np.full((64, 64, 3), 255, np.uint8), pair, placed, blend)[..., 0]
    assert (pasted[mask] > 0).all(), f"{(pasted[mask] == 0).sum()} px asked for are not written"
    middle = ((box[0] + box[1]) // 2, (box[2] + box[3]) // 2)
    for y, x, at_rim in (
        (box[0], middle[1], box[0] == 0),
        (box[1] - 1, middle[1], box[1] == 120),
        (middle[0], box[2], box[2] == 0),
        (middle[0], box[3] - 1, box[3] == 150),
    ):
        if at_rim and (box[1] - box[0]) > 20:
            assert pasted[y, x] == 255, "the edit fades out towards the scene's own rim"


@QUICK
@given(scenes(), *FACTORS)
def test_a_margin_stands_at_every_seam_and_nowhere_else(
    scene: Scene, grow: float, zoom: float
) -> None:
    placed = place(scene[1], RESOLUTION, grow, zoom)
    crop, inner = placed.crop, placed.writable
    gaps = (inner.y1 - crop.y1, crop.y2 - inner.y2, inner.x1 - crop.x1, crop.x2 - inner.x2)
    ends = (crop.y1 == 0, crop.y2 == scene[1].shape[0], crop.x1 == 0, crop.x2 == scene[1].shape[1])
    margin = min(5, min(crop.height, crop.width) // 8)
    assert gaps == tuple(0 if at_rim else margin for at_rim in ends)


def test_another_scene_or_region_is_refused_with_a_sentence() -> None:
    picture, mask = smooth(30, 40), Box(5, 20, 5, 20).mask(30, 40)
    placed, shown = place(mask, 16, 1.1, 2.0), np.zeros((16, 16, 3), np.uint8)
    with pytest.raises(ValueError, match="40x30, the placement was made for 30x40"):
        paste_back(shown, smooth(40, 30), placed)
    with pytest.raises(TypeError, match="expected a"):
        paste_back(shown, picture.astype(np.float32), placed)
    with pytest.raises(TypeError, match="region is uint8"):
        paste_back(shown, picture, placed, mask.astype(np.uint8))
    with pytest.raises(ValueError, match="expected the scene's"):
        paste_back(shown, picture, placed, mask[:20])
