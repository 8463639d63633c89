"""Pipelines that show pairs as the released code does write back as it does, up to the rim."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from anydoor_lab.conditioning.official import OfficialConditioner, crop_back
from anydoor_lab.conditioning.placement import Placement
from anydoor_lab.evaluation.generate import results_of
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.anydoor import AnyDoorMethod
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from small import move_zero_convolutions, small_pipeline
from test_pipeline import OBJECT, REFERENCE, picture

BOXES = [(20, 30, 60, 70), (0, 0, 50, 90), (40, 60, 97, 131), (30, 100, 90, 131)]


@pytest.fixture(scope="module")
def official(networks: Path) -> AnyDoorPipeline:
    """A small random pipeline with the released preprocessing."""
    pipeline = small_pipeline(networks)
    move_zero_convolutions(pipeline.detail_extractor)
    pipeline.register_to_config(preprocessing="official")
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def released_result(decoded: np.ndarray, scene: np.ndarray, where: Placement) -> np.ndarray:
    """The released inference after its decoder, written down once more.

    The picture's first row is dropped; resize to the padded crop, cut the padding off, write all
    but 5 pixels at each side, fractions cut off.
    """
    crop, side = where.crop, max(where.crop.height, where.crop.width)
    prediction = np.clip(decoded.transpose(1, 2, 0) * 127.5 + 127.5, 0, 255)[1:, :, :]
    prediction = cv2.resize(prediction, (side, side))
    if crop.width < crop.height:
        before = int((side - crop.width) / 2)
        prediction = prediction[:, before : -(side - crop.width - before)]
    elif crop.height < crop.width:
        before = int((side - crop.height) / 2)
        prediction = prediction[before : -(side - crop.height - before)]
    result = scene.copy()
    result[crop.y1 + 5 : crop.y2 - 5, crop.x1 + 5 : crop.x2 - 5] = prediction[5:-5, 5:-5]
    return result


def latents_of(pipeline: AnyDoorPipeline, scene: np.ndarray, box: tuple[int, ...]) -> torch.Tensor:
    pair = make_pair(REFERENCE, scene, OBJECT, box=box)
    shown = pipeline.conditioner().condition(pair, rng_for(0, 0, "collage"))
    (*_, last) = pipeline.denoise(pipeline.prepare([shown]), [[0]], 2)
    return last.x


@pytest.mark.parametrize("box", BOXES)
def test_whole_crops_are_written_back_as_the_released_code_does(
    official: AnyDoorPipeline, box: tuple[int, ...]
) -> None:
    scene = picture(97, 131)
    before = scene.copy()
    placed = official(
        REFERENCE, scene, OBJECT, box=box, blend="crop", num_inference_steps=2, output_type="np"
    )
    with torch.no_grad():
        decoded = official.model.images(latents_of(official, scene, box))[0].numpy()
    expected = released_result(decoded, scene, placed.conditioning.placement)
    (result,) = placed.images
    assert (expected != scene).any()
    assert np.array_equal(result, expected)
    assert np.array_equal(scene, before), "the caller's picture is left alone"


def test_scores_see_what_the_released_code_writes(official: AnyDoorPipeline) -> None:
    scene, box = picture(97, 131), BOXES[0]
    pair = make_pair(REFERENCE, scene, OBJECT, box=box)
    settings = EvalSettings(shape="box")
    (result,) = results_of(AnyDoorMethod(official), [pair], [0], settings)
    alone = official(
        REFERENCE, scene, OBJECT, box=box, blend="crop", seed=settings.seed, output_type="np"
    )
    assert np.array_equal(result.scene, alone.images[0])


@pytest.mark.parametrize("blend", ["box", "mask"])
def test_other_blends_stay_inside_the_region(official: AnyDoorPipeline, blend: str) -> None:
    scene = picture(97, 131)
    (result,) = official(
        REFERENCE,
        scene,
        OBJECT,
        box=(20, 30, 60, 70),
        blend=blend,  # type: ignore[arg-type]
        num_inference_steps=1,
        output_type="np",
    ).images
    changed = (result != scene).any(axis=2)
    assert changed.any() and not changed[:16].any() and not changed[66:].any()


def boxed(height: int, width: int, box: tuple[int, ...]) -> Pair:
    return make_pair(REFERENCE, picture(height, width), OBJECT, box=box)


def test_a_box_one_row_short_of_the_scene_ends_in_a_sentence() -> None:
    with pytest.raises(UnusablePair, match=r"rim: .*crop is .*loses a row or column.*default"):
        OfficialConditioner(64, 28).condition(boxed(101, 101, (0, 0, 100, 101)), rng_for(0, 0, "x"))


@pytest.mark.parametrize("box", [(5, 0, 6, 50), (0, 70, 40, 71), (100, 0, 101, 101)])
def test_a_region_of_one_row_or_column_ends_in_a_sentence(box: tuple[int, ...]) -> None:
    with pytest.raises(UnusablePair, match="region asked for has no pixel left"):
        OfficialConditioner(64, 28).condition(boxed(101, 101, box), rng_for(0, 0, "x"))


def test_an_object_of_one_row_ends_in_a_sentence() -> None:
    pair = boxed(101, 101, (10, 10, 60, 60))
    thin = np.zeros_like(pair.reference_mask)
    thin[10, 5:40] = True
    with pytest.raises(UnusablePair, match="object of the reference has no pixel left"):
        OfficialConditioner(64, 28).condition(
            replace(pair, reference_mask=thin), rng_for(0, 0, "x")
        )


def test_a_crop_of_margins_only_ends_in_a_sentence() -> None:
    with pytest.raises(UnusablePair, match="crop is 8x8 .*5 at each side"):
        OfficialConditioner(64, 28).condition(boxed(8, 8, (1, 1, 6, 6)), rng_for(0, 0, "x"))


def random_box(rng: np.random.Generator) -> tuple[int, int, tuple[int, ...]]:
    """A scene's size, 1 to 130, and a box in it that often touches its rim."""
    sides, corners = rng.integers(1, 131, 2), []
    for side in sides:
        low = int(rng.choice([0, rng.integers(side)]))
        high = int(rng.choice([side, max(low + 1, side - 1), rng.integers(low, side) + 1]))
        corners.append((low, high))
    (y1, y2), (x1, x2) = corners
    return int(sides[0]), int(sides[1]), (y1, x1, y2, x2)


def test_any_box_in_any_small_scene_is_written_or_refused() -> None:
    rng, conditioner, written = np.random.default_rng(5), OfficialConditioner(64, 28), 0
    prediction = np.full((63, 64, 3), 77, np.float32)
    for _ in range(1500):
        height, width, box = random_box(rng)
        try:
            pair = boxed(height, width, box)
            shown = conditioner.condition(pair, rng)
        except UnusablePair as error:
            assert str(error)
            continue
        result = crop_back(prediction, pair.scene, shown.placement)
        assert result.shape == pair.scene.shape and (result == 77).all(axis=2).any()
        written += 1
    assert written > 500
