"""What will be edited is said before, and a mask that asks for too much is noticed."""

from __future__ import annotations

import numpy as np
import pytest

from anydoor_lab.conditioning.edit import Edit, planned_edit
from anydoor_lab.conditioning.placement import Blend, paste, place
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair

SIZE = (200, 300)


def region(*boxes: tuple[int, int, int, int]) -> np.ndarray:
    return np.stack([Box(*box).mask(*SIZE) for box in boxes]).any(axis=0)


def edit_of(mask: np.ndarray, blend: Blend) -> Edit:
    return planned_edit(mask, place(mask, 256, 1.1, 2.0), blend)


ONE = region((60, 120, 80, 160))
TWO = region((20, 60, 20, 70), (130, 180, 220, 280))
STRAY = region((60, 120, 80, 160), (190, 191, 290, 291))


@pytest.mark.parametrize("blend", ["box", "mask", "crop"])
@pytest.mark.parametrize("mask", [ONE, TWO, STRAY], ids=["one", "two", "stray"])
def test_the_box_that_is_told_holds_every_pixel_that_changes(
    mask: np.ndarray, blend: Blend
) -> None:
    scene = np.zeros((*SIZE, 3), np.uint8)
    placed = place(mask, 64, 1.1, 2.0)
    pasted = paste(
        np.full((64, 64, 3), 255, np.uint8), Pair(scene, mask, scene, mask), placed, blend
    )
    told = planned_edit(mask, placed, blend)
    changed = pasted.any(axis=2)
    assert told.box == Box.around(changed)
    assert told.share == pytest.approx(changed.mean(), rel=0.02)


@pytest.mark.parametrize("blend", ["box", "mask", "crop"])
def test_a_mask_of_one_part_is_no_reason_to_warn(blend: Blend) -> None:
    assert edit_of(ONE, blend).warnings == ()


@pytest.mark.parametrize("blend", ["box", "crop"])
def test_what_lies_between_two_parts_is_told_with_the_better_setting(blend: Blend) -> None:
    (warning,) = edit_of(TWO, blend).warnings
    assert "2 parts" in warning and "blend=mask" in warning
    assert edit_of(TWO, "mask").warnings == ()


def test_two_parts_that_nearly_fill_their_box_are_no_reason_to_warn() -> None:
    assert edit_of(region((60, 120, 80, 119), (60, 120, 121, 160)), "mask").warnings == ()


@pytest.mark.parametrize("blend", ["box", "mask", "crop"])
def test_a_stray_pixel_is_told_with_the_box_that_was_meant(blend: Blend) -> None:
    (warning,) = edit_of(STRAY, blend).warnings
    assert "1 stray part of 1 px" in warning and "5.8 times" in warning
    assert "box=[60,80,120,160]" in warning


def test_a_stray_pixel_beside_the_region_changes_nothing_and_is_not_told() -> None:
    assert edit_of(region((60, 120, 80, 160), (100, 101, 162, 163)), "mask").warnings == ()


def test_the_edit_is_said_in_pixels_of_the_scene() -> None:
    assert str(edit_of(ONE, "mask")) == (
        "rows 60 to 120, columns 80 to 160 of the scene will be written (8.0 % of it)"
    )


def test_many_scene_pixels_for_each_of_the_networks_are_told() -> None:
    mask = region((20, 180, 20, 180))
    placed = place(mask, 64, 1.1, 2.0)
    (told,) = planned_edit(mask, placed, "box").warnings
    assert "64 x 64 pixels" in told and f"enlarged {placed.side / 64:.1f} times" in told
    assert planned_edit(mask, place(mask, 160, 1.1, 2.0), "box").warnings == ()


def test_an_object_with_fewer_pixels_than_it_is_shown_with_is_told() -> None:
    mask = region((60, 120, 80, 120))
    placed = place(mask, 64, 1.1, 1.5)
    small, large = np.zeros((90, 90), np.bool_), np.zeros((90, 90), np.bool_)
    small[10:30, 10:20] = large[5:85, 5:85] = True
    (told,) = planned_edit(mask, placed, "box", small).warnings
    shown = placed.to_crop(Box.around(mask)).height
    assert "20 pixels long" in told and f"with {shown};" in told and shown > 20
    assert planned_edit(mask, placed, "box", large).warnings == ()
