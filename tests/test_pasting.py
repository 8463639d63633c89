"""Ways of pasting: nothing outside the object changes, its colours come nearer to the scene's."""

from __future__ import annotations

import numpy as np
import pytest
from skimage.color import rgb2lab

from anydoor_lab.conditioning.copy_paste import emptied, pasted_object
from anydoor_lab.data.things import Things
from anydoor_lab.methods.copy_paste import CopyPaste, HarmonisedPaste, Poisson
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

METHODS = [CopyPaste(), HarmonisedPaste(), Poisson()]
named = pytest.mark.parametrize("method", METHODS, ids=lambda method: type(method).__name__)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    things = Things(split="held_out", variations={"multiview": 1.0}, hidden=0.0)
    return [things.pair(index, rng_for(0, index, "pasting")) for index in range(6)]


@named
def test_nothing_outside_the_object_changes(method: CopyPaste, pairs: list[Pair]) -> None:
    for result in method(pairs, [[0]] * 6, [rng_for(0, 0, "")] * 6):
        _, inside = pasted_object(result.pair)
        assert np.array_equal(result.scene[~inside], emptied(result.pair)[~inside])
        assert not np.array_equal(result.scene[inside], emptied(result.pair)[inside])


@named
def test_every_seed_gives_a_result_of_its_pair(method: CopyPaste, pairs: list[Pair]) -> None:
    results = method(pairs[:2], [[0, 1], [2, 3]], [rng_for(0, 0, "")] * 2)
    assert [result.pair for result in results] == [pairs[0], pairs[0], pairs[1], pairs[1]]
    assert np.array_equal(results[0].scene, results[1].scene)


@pytest.mark.parametrize("method", METHODS[1:], ids=lambda method: type(method).__name__)
def test_colours_come_nearer_to_what_is_around(method: CopyPaste, pairs: list[Pair]) -> None:
    def distance(pair: Pair, scene: np.ndarray) -> float:
        _, inside = pasted_object(pair)
        ring = Box.around(pair.scene_mask).grown(1.5, *inside.shape).mask(*inside.shape)
        around = rgb2lab(pair.scene[ring & ~pair.scene_mask]).mean(axis=0)
        return float(np.linalg.norm(rgb2lab(scene[inside]).mean(axis=0) - around))

    plain = [distance(pair, CopyPaste().placed(pair)) for pair in pairs]
    fitted = [distance(pair, method.placed(pair)) for pair in pairs]
    assert np.mean(fitted) < 0.75 * np.mean(plain)


def test_without_strength_colours_stay(pairs: list[Pair]) -> None:
    plain, same = CopyPaste().placed(pairs[0]), HarmonisedPaste(0.0).placed(pairs[0])
    assert np.abs(plain.astype(int) - same).max() <= 1
    with pytest.raises(ValueError, match="expected 0 to 1"):
        HarmonisedPaste(1.5)


@named
@pytest.mark.parametrize(
    "box",
    [(0, 40, 0, 40), (56, 96, 60, 96), (0, 96, 0, 95), (30, 33, 10, 80), (50, 51, 50, 51)],
    ids=["corner", "other corner", "nearly everything", "thin", "a pixel"],
)
def test_regions_at_the_rim_thin_ones_and_single_pixels_are_filled(
    method: CopyPaste, box: tuple[int, int, int, int], pairs: list[Pair]
) -> None:
    region = Box(*box).mask(96, 96)
    scene = np.full((96, 96, 3), (40, 90, 160), np.uint8)
    pair = Pair(pairs[0].reference, pairs[0].reference_mask, scene, region)
    made = method.placed(pair)
    assert made.shape == scene.shape and made.dtype == np.uint8
    assert np.array_equal(made[~region], scene[~region])
