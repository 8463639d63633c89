"""Claims about the network that cuts objects out, what it is shown and how it learns."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anydoor_lab.conditioning.prompt import Window, prompt_maps
from anydoor_lab.data.things import Things
from anydoor_lab.models.segmenter import ObjectSegmenter
from anydoor_lab.pretraining.segmentation import (
    Segmentation,
    SegmentationSamples,
    click_on_error,
)
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.widgets.object_cutter.seeded import SeededGrabCut
from anydoor_lab.widgets.object_cutter.segmenters import grab_cut

BOX = Box(20, 70, 30, 90)


@pytest.fixture(scope="module")
def samples() -> SegmentationSamples:
    things = Things(split="held_out", size_px=96, object_size=(0.4, 0.8))
    return SegmentationSamples(things, seed=1, side_px=64)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that was never trained."""
    folder = tmp_path_factory.mktemp("segmenter")
    torch.manual_seed(0)
    ObjectSegmenter(widths=(8, 8), depth=1, size_px=64).save_pretrained(folder)
    return folder


def disc(height: int = 90, width: int = 120) -> tuple[np.ndarray, np.ndarray]:
    """A red disc in the middle of `BOX` on green grain, and where it is."""
    rng = np.random.default_rng(0)
    image = rng.integers(0, 40, (height, width, 3), dtype=np.uint8)
    image[..., 1] += 120
    mask = np.zeros((height, width), np.uint8)
    cv2.circle(mask, (60, 45), 23, 1, -1)
    image[mask > 0] = (200, 30, 30)
    return image, mask > 0


def test_a_map_of_the_window_comes_back_to_its_place_beyond_the_edges_too() -> None:
    for box in (BOX, Box(0, 30, 0, 50), Box(60, 90, 100, 120), None):
        mask = np.zeros((90, 120), np.uint8)
        seen = box or Box(10, 80, 10, 110)
        mask[seen.slices] = 255
        window = Window.about(box, 90, 120)
        back = window.back(window.of(mask, 128, 0), 90, 120) > 127
        both = np.count_nonzero(back & (mask > 0)) / np.count_nonzero(back | (mask > 0))
        assert both > 0.95, box


def test_clicks_are_marked_where_they_are_seen_through_the_window() -> None:
    window = Window.about(BOX, 90, 120)
    maps = prompt_maps(window, BOX, [(25, 35, True), (68, 88, False)], 64)
    rows, columns = np.nonzero(maps[1])
    scale = 64 / window.side
    assert rows.mean() == pytest.approx((25 - window.y) * scale, abs=1)
    assert columns.mean() == pytest.approx((35 - window.x) * scale, abs=1)
    assert maps[2].any()
    assert not (maps[1] * maps[2]).any()
    assert np.count_nonzero(maps[0] > 0) == pytest.approx(50 * 60 * scale**2, rel=0.05)


def test_a_sample_is_a_function_of_seed_and_index_with_the_object_in_its_box(
    samples: SegmentationSamples,
) -> None:
    for place in range(12):
        sample, again = samples[place], samples[place]
        assert np.array_equal(sample["image"], again["image"])
        mask, box = sample["mask"][0] > 0.5, sample["image"][3] > 0
        assert mask.any()
        if box.any():
            assert np.count_nonzero(mask & box) > 0.8 * np.count_nonzero(mask)
        else:
            assert mask[sample["image"][4] > 0].mean() > 0.5  # the click is on the object


def test_a_click_stands_on_the_largest_error_in_the_map_of_its_kind() -> None:
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 10:40, 10:40] = 1
    logits = torch.where(mask > 0, 5.0, -5.0)
    logits[0, :, 10:25, 10:40] = -5  # missed
    logits[1, :, 45:60, 45:60] = 5  # wrong
    clicked = click_on_error(torch.zeros(2, 6, 64, 64), logits, mask)
    assert clicked[0, 4, 10:25, 10:40].any()
    assert not clicked[0, 5].any()
    assert clicked[1, 5, 45:60, 45:60].any()
    assert not clicked[1, 4].any()
    unchanged = click_on_error(torch.zeros(2, 6, 64, 64), torch.where(mask > 0, 5.0, -5.0), mask)
    assert not unchanged.any()


def test_the_segmenter_learns_a_batch(samples: SegmentationSamples) -> None:
    torch.manual_seed(0)
    learning = Segmentation(ObjectSegmenter(widths=(16, 32), depth=1, size_px=64))
    shown = [samples[place] for place in range(4)]
    batch = {
        name: torch.from_numpy(np.stack([sample[name] for sample in shown]))
        for name in ("image", "mask")
    }
    optimizer = torch.optim.AdamW(learning.parameters(), 5e-3)
    losses = []
    for _ in range(40):
        found = learning(batch)
        optimizer.zero_grad()
        found["loss"].backward()
        optimizer.step()
        losses.append(float(found["loss"].detach()))
    assert losses[-1] < 0.5 * losses[0]


def test_the_shipped_recipe_is_below_two_mebibytes(tmp_path: Path) -> None:
    network = ObjectSegmenter()
    network.half().save_pretrained(tmp_path)
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 2 * 2**20
    assert network.float()(torch.zeros(1, 6, 128, 128)).shape == (1, 1, 128, 128)


def test_clicks_win_over_the_network_and_nothing_is_found_outside_the_box(weights: Path) -> None:
    image, mask = disc()
    cut = SeededGrabCut(weights, longest_px=64)(image, BOX, [(45, 60, True), (22, 32, False)])
    assert cut.shape == mask.shape
    assert cut.dtype == np.bool_
    assert cut[45, 60]
    assert not cut[22, 32]
    assert not (cut & ~BOX.grown(1.1, 90, 120).mask(90, 120)).any()


def test_a_folder_without_a_segmenter_is_refused_with_the_command_that_makes_one(
    tmp_path: Path,
) -> None:
    with pytest.raises(InputError, match="no object segmenter in .*part=segmenter"):
        SeededGrabCut(tmp_path)


def test_one_click_beside_an_object_that_fills_its_box_frees_it_from_the_ground() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(20, 60, (120, 160, 3), dtype=np.uint8)  # dark leaves, all in the box
    mask = np.zeros((120, 160), np.uint8)
    cv2.ellipse(mask, (80, 66), (70, 40), 0, 0, 360, 1, -1)
    image[mask > 0] += np.array([90, 50, 10], np.uint8)
    box = Box(0, 120, 0, 160)
    cut = grab_cut(image, box, [(12, 20, False)])
    both = np.count_nonzero(cut & (mask > 0)) / np.count_nonzero(cut | (mask > 0))
    assert both > 0.9
