"""The pipeline: pictures in, pictures out, and nothing touched that was not asked for."""

from __future__ import annotations

import copy
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from anydoor_lab.conditioning.collage import COLLAGES
from anydoor_lab.methods.anydoor import AnyDoorMethod
from anydoor_lab.methods.several_references import SeveralReferences
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.idx.vgg import VggExtractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.pipeline.proposals import shown_by_seed
from anydoor_lab.pipeline.results import AnyDoorPipelineOutput
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.originals import over_white
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from small import small_pipeline

ROOT = Path(__file__).resolve().parents[1]


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Smooth colours with some noise, (height, width, 3) uint8."""
    rng = rng_for(seed, 0, "picture")
    rows, columns = np.mgrid[0:height, 0:width]
    waves = np.stack([np.sin(rows / 9), np.cos(columns / 7), np.sin((rows + columns) / 11)], 2)
    noisy = 128 + 90 * waves + rng.normal(0, 8, waves.shape)
    return noisy.clip(0, 255).astype(np.uint8)


def disc(height: int, width: int, share: float = 0.3) -> np.ndarray:
    """(height, width) bool, an ellipse about a point right of the centre."""
    rows, columns = np.mgrid[0:height, 0:width]
    y, x = (rows / height - 0.5) / share, (columns / width - 0.55) / share
    return y**2 + x**2 < 1


REFERENCE, OBJECT = picture(50, 61, seed=1), disc(50, 61)


def grainy(image: np.ndarray, mask: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A collage of one's own that draws."""
    return rng.integers(0, 256, image.shape, np.uint8) * mask[..., None]


def place(pipeline: AnyDoorPipeline, scene: np.ndarray, **settings: Any) -> AnyDoorPipelineOutput:
    settings = {"output_type": "np", "num_inference_steps": 2, **settings}
    return pipeline(REFERENCE, scene, OBJECT, **settings)


SIZES = [(64, 64), (97, 131), (300, 41), (33, 250), (20, 17), (401, 303)]


@pytest.mark.parametrize("blend", ["box", "mask", "crop"])
@pytest.mark.parametrize(("height", "width"), SIZES)
def test_outside_the_edit_not_one_pixel_differs(
    pipeline: AnyDoorPipeline, height: int, width: int, blend: Any
) -> None:
    scene, mask = picture(height, width), disc(height, width, 0.2)
    before = scene.copy()
    placed = place(pipeline, scene, scene_mask=mask, blend=blend)
    where = placed.conditioning.placement
    allowed = {
        "box": where.region.mask(height, width),
        "mask": mask,
        "crop": where.writable.mask(height, width),
    }[blend]
    (result,) = placed.images
    assert result.shape == scene.shape and result.dtype == np.uint8
    changed = (result != scene).any(axis=2)
    assert changed.any() and not (changed & ~allowed).any()
    assert np.array_equal(scene, before), "the caller's picture is left alone"


@pytest.mark.parametrize("box", [(10, 20, 50, 60), (0, 0, 15, 90), (60, 100, 97, 131)])
def test_a_box_may_touch_any_border(pipeline: AnyDoorPipeline, box: tuple[int, ...]) -> None:
    scene = picture(97, 131)
    (result,) = place(pipeline, scene, box=box).images
    y1, x1, y2, x2 = box
    inside = np.zeros((97, 131), bool)
    inside[max(y1 - 5, 0) : y2 + 5, max(x1 - 6, 0) : x2 + 6] = True  # grown 1.1 times
    changed = (result != scene).any(axis=2)
    assert changed[y1:y2, x1:x2].mean() > 0.5 and not (changed & ~inside).any()


def test_arrays_and_pictures_with_alpha_give_the_same_result(pipeline: AnyDoorPipeline) -> None:
    scene, mask = picture(80, 70), disc(80, 70, 0.2)
    alpha = np.dstack([REFERENCE, OBJECT.astype(np.uint8) * 255])
    shown = (over_white(alpha), scene, OBJECT, mask)
    arrays = pipeline(*shown, num_inference_steps=2, output_type="np")
    pictures = pipeline(
        Image.fromarray(alpha),
        Image.fromarray(scene),
        scene_mask=Image.fromarray(mask.astype(np.uint8) * 255),
        num_inference_steps=2,
    )
    assert isinstance(pictures.images[0], Image.Image)
    assert np.array_equal(np.asarray(pictures.images[0]), arrays.images[0])


def test_a_box_is_given_as_four_numbers_or_as_a_box(pipeline: AnyDoorPipeline) -> None:
    scene = picture(80, 70)
    numbers = place(pipeline, scene, box=[10, 20, 50, 60]).images[0]
    assert np.array_equal(numbers, place(pipeline, scene, box=Box(10, 50, 20, 60)).images[0])


# seeds


def test_a_proposal_is_the_result_of_its_own_seed(pipeline: AnyDoorPipeline) -> None:
    scene = picture(80, 70)
    together = place(pipeline, scene, box=(10, 20, 50, 60), num_proposals=3, seed=5)
    for k, crop in enumerate(together.crops):
        alone = place(pipeline, scene, box=(10, 20, 50, 60), seed=5 + k).crops[0]
        assert np.abs(crop.astype(int) - alone).max() <= 1
    one, other = together.crops[:2]
    assert np.abs(one.astype(int) - other).mean() > 1


@pytest.mark.parametrize("collage", ["noise", "shuffle", grainy])
def test_a_collage_that_draws_draws_for_every_proposal_anew(
    pipeline: AnyDoorPipeline, collage: Any
) -> None:
    settings = {"box": (10, 20, 50, 60), "collage": collage, "seed": 5}
    scene = picture(80, 70)
    together = place(pipeline, scene, num_proposals=3, **settings)
    alone = [place(pipeline, scene, **{**settings, "seed": 5 + k}) for k in range(3)]
    for crop, one in zip(together.crops, alone, strict=True):
        assert np.abs(crop.astype(int) - one.crops[0]).max() <= 1
    shown = [one.conditioning.collage for one in alone]
    assert not np.array_equal(shown[0], shown[1]), "the collages of two seeds do not differ"


@pytest.mark.parametrize(("collage", "encoded"), [("hf", 1), ("shuffle", 3)])
def test_only_what_differs_between_proposals_is_encoded_again(
    pipeline: AnyDoorPipeline, collage: str, encoded: int
) -> None:
    pair = make_pair(REFERENCE, picture(80, 70), OBJECT, box=(10, 20, 50, 60))
    shown, seeds = shown_by_seed(pipeline.conditioner(collage), [pair], [[7, 8, 9]])
    assert len(shown) == len(seeds) == encoded
    assert [seed for several in seeds for seed in several] == [7, 8, 9]


def two_pairs() -> list[Pair]:
    """The same object for two scenes of different sizes."""
    scenes = [picture(80, 70), picture(64, 90, seed=3)]
    return [make_pair(REFERENCE, scene, OBJECT, box=(10, 20, 50, 60)) for scene in scenes]


@pytest.mark.parametrize("collage", ["hf", "noise"])
def test_the_method_gives_for_every_seed_what_the_pipeline_gives(
    pipeline: AnyDoorPipeline, collage: str
) -> None:
    own = copy.copy(pipeline)
    own.register_to_config(collage=collage)
    pairs = two_pairs()
    seeds = [[3, 10_003], [4, 10_004]]
    results = AnyDoorMethod(own)(pairs, seeds, [np.random.default_rng(0)] * 2)
    asked = [(pair, seed) for pair, several in zip(pairs, seeds, strict=True) for seed in several]
    for result, (pair, seed) in zip(results, asked, strict=True):
        placed = own(
            pair.reference, pair.scene, OBJECT, box=(10, 20, 50, 60), seed=seed, output_type="np"
        )
        assert np.abs(result.crop.astype(int) - placed.crops[0]).max() <= 1
        assert np.array_equal(result.shown.collage, placed.conditioning.collage)


@pytest.mark.parametrize("collage", ["hf", "noise"])
def test_of_several_references_the_same_one_again_changes_nothing_and_another_does(
    pipeline: AnyDoorPipeline, collage: str
) -> None:
    own = copy.copy(pipeline)
    own.register_to_config(collage=collage)
    pairs = two_pairs()
    another = picture(*REFERENCE.shape[:2], seed=8)

    def crops(method: AnyDoorMethod) -> np.ndarray:
        results = method(pairs, [[3, 10_003], [4, 10_004]], [np.random.default_rng(0)] * 2)
        return np.stack([result.crop for result in results]).astype(int)

    one = crops(AnyDoorMethod(own))
    again = crops(SeveralReferences(own, lambda pair, _: (pair.reference, pair.reference_mask), 3))
    assert np.abs(again - one).max() <= 1  # attention over the same tokens twice
    assert np.abs(crops(SeveralReferences(own, lambda *_: (another, OBJECT), 2)) - one).max() > 1
    with pytest.raises(ValueError, match="number is 0"):
        SeveralReferences(own, lambda *_: (another, OBJECT), 0)


def test_sharing_tokens_and_details_equals_the_plain_loop(pipeline: AnyDoorPipeline) -> None:
    scenes = [picture(80, 70), picture(64, 90, seed=3)]
    shown = [place(pipeline, scene, box=(10, 20, 50, 60)).conditioning for scene in scenes]
    seeds = [[1, 2], [3, 4]]
    *_, shared = pipeline.denoise(pipeline.prepare(shown), seeds)
    flat = [(one, seed) for one, several in zip(shown, seeds, strict=True) for seed in several]
    plain = []
    for one, seed in flat:
        *_, last = pipeline.denoise(pipeline.prepare([one]), [[seed]])
        plain.append(last.x)
    # at the noisiest step rounding is divided by alpha = 5e-5
    torch.testing.assert_close(shared.x, torch.cat(plain), rtol=0, atol=1e-2)
    for one, other in zip(
        pipeline.decode(shared.x), pipeline.decode(torch.cat(plain)), strict=True
    ):
        assert np.abs(one.astype(int) - other).max() <= 1


def test_the_same_call_gives_the_same_picture(pipeline: AnyDoorPipeline) -> None:
    scene = picture(80, 70)
    results = []
    for number in (1, 2):
        torch.manual_seed(number)
        results.append(place(pipeline, scene, box=(10, 20, 50, 60), collage="noise").images[0])
    assert np.array_equal(*results)


@pytest.mark.parametrize(
    "change",
    [{"guidance_scale": 1.0}, {"num_inference_steps": 4}, {"seed": 1}, {"collage": "original"}],
)
def test_every_setting_of_a_call_matters(pipeline: AnyDoorPipeline, change: dict[str, Any]) -> None:
    scene, settings = picture(80, 70), {"box": (10, 20, 50, 60)}
    plain = place(pipeline, scene, **settings).crops[0]
    assert not np.array_equal(plain, place(pipeline, scene, **settings, **change).crops[0])


def test_guidance_of_one_equals_the_conditional_network_alone(pipeline: AnyDoorPipeline) -> None:
    scene = picture(80, 70)
    shown = place(pipeline, scene, box=(10, 20, 50, 60)).conditioning
    prepared = pipeline.prepare([shown])
    *_, without = pipeline.denoise(prepared, [[0]], 2, 1.0)
    *_, almost = pipeline.denoise(prepared, [[0]], 2, 1.0 + 1e-6)
    torch.testing.assert_close(without.x, almost.x, rtol=1e-3, atol=1e-3)


# to and from disk

AGAIN = """
import sys
import numpy as np
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
pipeline = AnyDoorPipeline.from_pretrained(sys.argv[1])
given = np.load(sys.argv[2])
placed = pipeline(given["reference"], given["scene"], given["mask"], box=(10, 20, 50, 60),
                  output_type="np")
np.savez(sys.argv[3], image=placed.images[0], zoom=pipeline.config.zoom)
"""


def test_a_fresh_process_gives_the_same_picture_from_disk(
    networks: Path, pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    settings = {**pipeline.config, "zoom": 1.75, "collage": "noise", "grow": 1.2}
    names = ("resolution", "id_size", "zoom", "grow", "collage", "num_inference_steps")
    changed = AnyDoorPipeline(
        **pipeline.components, **{name: settings[name] for name in names}, guidance_scale=2.0
    )
    scene = picture(80, 70)
    given, result = tmp_path / "given.npz", tmp_path / "result.npz"
    np.savez(given, reference=REFERENCE, mask=OBJECT, scene=scene)
    changed.save_pretrained(tmp_path / "saved")
    run = subprocess.run(
        [sys.executable, "-c", AGAIN, tmp_path / "saved", given, result],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.returncode == 0, run.stderr[-2000:]
    here = place(changed, scene, box=(10, 20, 50, 60), num_inference_steps=None).images[0]
    with np.load(result) as there:
        assert float(there["zoom"]) == 1.75
        assert np.array_equal(there["image"], here)


@pytest.mark.parametrize("extractor", [VggExtractor, ClipExtractor])
def test_every_setting_and_extractor_comes_back_from_disk(
    networks: Path, tmp_path: Path, extractor: Any
) -> None:
    parts = small_pipeline(networks).components
    source = {VggExtractor: "vgg", ClipExtractor: "clip"}[extractor]
    parts["id_extractor"] = extractor.from_encoder(networks / source, 32, "patch")
    settings = {
        "resolution": 96,
        "id_size": 64,
        "zoom": 1.25,
        "grow": 1.3,
        "id_margin": 1.4,
        "remove_background": False,
        "collage": "shuffle",
        "collage_settings": {"grid": 3},
        "num_inference_steps": 7,
        "guidance_scale": 1.5,
    }
    AnyDoorPipeline(**parts, **settings).save_pretrained(tmp_path)
    again = AnyDoorPipeline.from_pretrained(tmp_path)
    assert isinstance(again.id_extractor, extractor)
    assert {name: again.config[name] for name in settings} == settings
    assert again.id_extractor.config.tokens == "patch"


# what diffusers' users expect


def test_the_callback_sees_every_step(pipeline: AnyDoorPipeline) -> None:
    seen: list[tuple[int, int, tuple[int, ...]]] = []

    def note(pipe: Any, step: int, t: int, state: dict[str, Any]) -> dict[str, Any]:
        assert pipe is pipeline
        seen.append((step, t, tuple(state["latents"].shape)))
        return state

    settings = {"num_inference_steps": 4, "num_proposals": 2, "callback_on_step_end": note}
    place(pipeline, picture(80, 70), box=(10, 20, 50, 60), **settings)
    assert seen == [(k, t, (2, 4, 16, 16)) for k, t in enumerate((999, 749, 499, 249))]


def test_the_progress_bar_counts_the_steps(
    networks: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pipeline = small_pipeline(networks)
    place(pipeline, picture(80, 70), box=(10, 20, 50, 60), num_inference_steps=3)
    assert "3/3" in capsys.readouterr().err
    pipeline.set_progress_bar_config(disable=True)
    place(pipeline, picture(80, 70), box=(10, 20, 50, 60))
    assert capsys.readouterr().err == ""


def test_moving_and_attention_slicing_leave_the_result_as_it_was(
    networks: Path, pipeline: AnyDoorPipeline
) -> None:
    scene = picture(80, 70)
    whole = small_pipeline(networks)
    whole.set_progress_bar_config(disable=True)
    before = place(whole, scene, box=(10, 20, 50, 60)).crops[0]
    whole.to("cpu").enable_attention_slicing()
    sliced = place(whole, scene, box=(10, 20, 50, 60)).crops[0]
    assert np.abs(before.astype(int) - sliced).max() <= 1


def test_half_precision_gives_nearly_the_same_picture(networks: Path) -> None:
    pipeline = small_pipeline(networks)
    pipeline.set_progress_bar_config(disable=True)
    scene, settings = picture(80, 70), {"box": (10, 20, 50, 60), "guidance_scale": 1.5}
    full = place(pipeline, scene, **settings).crops[0].astype(int)
    half = place(pipeline.to(torch.bfloat16), scene, **settings).crops[0]
    assert np.abs(full - half).mean() < 6


@pytest.mark.parametrize("collage", sorted(COLLAGES))
def test_every_collage_can_be_asked_for(pipeline: AnyDoorPipeline, collage: str) -> None:
    placed = place(pipeline, picture(80, 70), box=(10, 20, 50, 60), collage=collage)
    assert placed.crops[0].shape == (64, 64, 3)


# inputs that do not fit together

SCENE = picture(80, 70)
GOOD: dict[str, Any] = {"reference": REFERENCE, "scene": SCENE, "reference_mask": OBJECT}
BAD: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ValueError, "either scene_mask or box"),
    ({"box": (0, 0, 9, 9), "scene_mask": disc(80, 70)}, ValueError, "exactly one of them"),
    ({"box": (0, 0, 9)}, ValueError, "expected four whole pixel numbers"),
    ({"box": (10, 10, 81, 20)}, ValueError, "leaves the scene of 80x70"),
    ({"box": (20, 20, 10, 40)}, ValueError, "has no area"),
    ({"box": (0, 0, 80, 70)}, ValueError, "marks every pixel"),
    ({"scene_mask": np.zeros((80, 70), bool)}, ValueError, "marks no pixel"),
    ({"scene_mask": disc(70, 80)}, ValueError, "its mask 70x80"),
    ({"box": (0, 0, 9, 9), "reference_mask": None}, ValueError, "give reference_mask"),
    ({"box": (0, 0, 9, 9), "scene": SCENE / 255.0}, TypeError, "uint8"),
    ({"box": (0, 0, 9, 9), "scene": SCENE[..., 0]}, TypeError, r"\(H, W, 3\)"),
    ({"box": (0, 0, 9, 9), "reference_mask": OBJECT * 255}, TypeError, "bool"),
    ({"box": (0, 0, 9, 9), "blend": "paste"}, ValueError, "expected one of box, mask, crop"),
    ({"box": (0, 0, 9, 9), "shape": "disc"}, ValueError, "expected one of box, mask"),
    ({"box": (0, 0, 9, 9), "collage": "sharp"}, ValueError, "collage is 'sharp'; expected"),
    ({"box": (0, 0, 9, 9), "num_inference_steps": 0}, ValueError, "steps is 0; expected 1"),
]


@pytest.mark.parametrize(("given", "kind", "sentence"), BAD)
def test_inputs_that_do_not_fit_are_refused_with_a_sentence(
    pipeline: AnyDoorPipeline, given: dict[str, Any], kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        pipeline(**{**GOOD, **given})
