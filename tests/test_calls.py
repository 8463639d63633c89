"""What a call of the pipeline takes and gives, as users of diffusers write it."""

from __future__ import annotations

import copy
import inspect
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.callbacks import PipelineCallback
from diffusers.utils import BaseOutput
from PIL import Image

from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.seeds import proposal_seeds
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import write_image
from anydoor_lab.structures.rng import rng_for
from test_pipeline import OBJECT, REFERENCE, disc, picture

SCENE, BOX = picture(80, 70), [10, 20, 50, 60]


def call(pipeline: AnyDoorPipeline, **settings: Any) -> Any:
    """One call with two steps; what is not given is as in the others."""
    given = {"reference": REFERENCE, "scene": SCENE, "reference_mask": OBJECT, "box": BOX}
    return pipeline(**{**given, "num_inference_steps": 2, "output_type": "np", **settings})


@pytest.fixture(scope="module")
def expected(pipeline: AnyDoorPipeline) -> np.ndarray:
    """The scene of such a call."""
    return call(pipeline).images[0]


# pictures and boxes


def with_alpha() -> np.ndarray:
    return np.dstack([REFERENCE, OBJECT.astype(np.uint8) * 255])


@pytest.mark.parametrize("as_path", [str, Path])
def test_pictures_are_given_by_their_paths(
    pipeline: AnyDoorPipeline, expected: np.ndarray, tmp_path: Path, as_path: Any
) -> None:
    pixels = {"reference": REFERENCE, "scene": SCENE, "reference_mask": OBJECT}
    paths = {name: as_path(tmp_path / f"{name}.png") for name in pixels}
    for name, path in paths.items():
        write_image(path, pixels[name].astype(np.uint8) * (255 if pixels[name].ndim == 2 else 1))
    assert np.array_equal(call(pipeline, **paths).images[0], expected)
    write_image(tmp_path / "cut_out.png", with_alpha())
    cut_out = {"reference": as_path(tmp_path / "cut_out.png"), "reference_mask": None}
    opened = {"reference": Image.fromarray(with_alpha()), "reference_mask": None}
    by_path, by_picture = (call(pipeline, **given).images[0] for given in (cut_out, opened))
    assert np.array_equal(by_path, by_picture)


def test_a_scene_mask_is_given_by_its_path(pipeline: AnyDoorPipeline, tmp_path: Path) -> None:
    region = Box(10, 50, 20, 60).mask(80, 70)
    write_image(tmp_path / "where.png", region.astype(np.uint8) * 255)
    by_path, by_array = (
        call(pipeline, box=None, scene_mask=mask).images[0]
        for mask in (str(tmp_path / "where.png"), region)
    )
    assert np.array_equal(by_path, by_array)


def test_a_path_without_alpha_does_not_say_where_the_object_is(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    write_image(tmp_path / "photo.png", REFERENCE)
    with pytest.raises(ValueError, match="give reference_mask"):
        call(pipeline, reference=tmp_path / "photo.png", reference_mask=None)


BOXES = [
    tuple(BOX),
    np.array(BOX),
    np.array(BOX, np.uint8),
    [np.int64(number) for number in BOX],
    Box(10, 50, 20, 60),
]


@pytest.mark.parametrize("box", BOXES, ids=repr)
def test_a_box_is_any_four_whole_numbers(
    pipeline: AnyDoorPipeline, expected: np.ndarray, box: Any
) -> None:
    assert np.array_equal(call(pipeline, box=box).images[0], expected)


@pytest.mark.parametrize(("where", "default"), [("scene_mask", "mask"), ("box", "box")])
def test_a_mask_stands_for_its_outline_and_a_box_for_itself(
    pipeline: AnyDoorPipeline, where: str, default: str
) -> None:
    region = disc(80, 70, 0.3)
    given = {"box": None, "scene_mask": None, where: region if where == "scene_mask" else BOX}
    own, same = (call(pipeline, **given, shape=shape).conditioning for shape in (None, default))
    assert np.array_equal(own.shape_mask, same.shape_mask)
    if where == "scene_mask":
        other = call(pipeline, **given, shape="box").conditioning
        assert not np.array_equal(own.shape_mask, other.shape_mask)


# settings of the pipeline


def test_the_settings_are_the_papers_unless_others_are_given() -> None:
    parameters = inspect.signature(AnyDoorPipeline.__init__).parameters
    found = {
        n: p.default for n, p in parameters.items() if p.default is not inspect.Parameter.empty
    }
    assert found == {
        "resolution": 512,
        "id_size": 224,
        "zoom": 2.0,
        "grow": 1.1,
        "id_margin": 1.2,
        "remove_background": True,
        "collage": "hf",
        "collage_settings": None,
        "num_inference_steps": 50,
        "guidance_scale": 5.0,
        "preprocessing": "default",
    }


def test_a_collage_has_the_settings_that_stand_under_its_name(pipeline: AnyDoorPipeline) -> None:
    collages = []
    for given in (
        {"shuffle": {"patches": 2}},
        {"shuffle": {"patches": 5}},
        {"noise": {"patches": 5}},
        {},
    ):
        other = AnyDoorPipeline.from_pipe(pipeline, collage_settings=given)
        other.set_progress_bar_config(disable=True)
        collages.append(call(other, collage="shuffle").conditioning.collage)
    assert not np.array_equal(collages[0], collages[1])
    assert np.array_equal(collages[2], collages[3])


def test_a_collage_that_draws_follows_the_seed(pipeline: AnyDoorPipeline) -> None:
    one, same, other = (
        call(pipeline, collage="noise", seed=seed).conditioning.collage for seed in (1, 1, 2)
    )
    assert np.array_equal(one, same) and not np.array_equal(one, other)


class Freeing(AnyDoorPipeline):
    """Counts how often the networks are sent back to where offloading keeps them."""

    freed = 0

    def maybe_free_model_hooks(self) -> None:
        self.freed += 1
        super().maybe_free_model_hooks()


def test_networks_are_sent_back_after_a_call(pipeline: AnyDoorPipeline) -> None:
    freeing = Freeing.from_pipe(pipeline)
    freeing.set_progress_bar_config(disable=True)
    call(freeing)
    assert freeing.freed == 1


# seeds


def test_a_generator_gives_seeds_and_goes_on() -> None:
    first = proposal_seeds(3, generator=torch.Generator().manual_seed(7))
    assert len(set(first)) == 3 and all(0 <= seed < 2**63 for seed in first)
    generator = torch.Generator().manual_seed(7)
    one_by_one = [proposal_seeds(1, generator=generator)[0] for _ in range(3)]
    assert one_by_one == first
    assert proposal_seeds(1, generator=torch.Generator().manual_seed(8)) != first[:1]
    several = [torch.Generator().manual_seed(7), torch.Generator().manual_seed(8)]
    assert proposal_seeds(2, generator=several)[0] == first[0]


def test_seeds_count_up_from_the_one_given() -> None:
    assert proposal_seeds(1) == [0]
    assert proposal_seeds(3, 5) == [5, 6, 7]
    assert proposal_seeds(2, np.int64(5)) == [5, 6]
    assert type(proposal_seeds(1, np.uint8(5))[0]) is int
    assert proposal_seeds(2, 2**64 - 2) == [2**64 - 2, 2**64 - 1]


def test_equal_generators_give_equal_pictures(pipeline: AnyDoorPipeline) -> None:
    for collage in (None, "noise"):
        crops = [
            call(pipeline, generator=torch.Generator().manual_seed(n), collage=collage).crops[0]
            for n in (1, 1, 2)
        ]
        assert np.array_equal(*crops[:2]) and not np.array_equal(*crops[1:])


def test_the_largest_seed_places_a_picture(pipeline: AnyDoorPipeline) -> None:
    assert call(pipeline, seed=2**64 - 1).images[0].shape == SCENE.shape


def test_a_seed_is_the_noise_it_always_was(pipeline: AnyDoorPipeline) -> None:
    noise = pipeline.start_noise(64, [[3, 4]])
    drawn = rng_for(4, 0, "latents").standard_normal((4, 16, 16), np.float32)
    assert noise.shape == (2, 4, 16, 16) and np.array_equal(noise[1].numpy(), drawn)


# what the steps start from and end with


@torch.no_grad()
def test_without_conditions_means_an_image_of_noughts_to_the_present_extractor(
    pipeline: AnyDoorPipeline,
) -> None:
    shown = [call(pipeline).conditioning]
    other = copy.copy(pipeline)
    swapped = copy.deepcopy(pipeline.id_extractor)
    for parameter in swapped.parameters():
        parameter.mul_(1.5)
    nought = torch.zeros(1, 3, 64, 64)
    assert torch.equal(other.prepare(shown).unconditional, pipeline.id_extractor(nought))
    other.register_modules(id_extractor=swapped)
    assert torch.equal(other.prepare(shown).unconditional, swapped(nought))


@pytest.mark.parametrize("to_one", [True, False])
def test_the_last_step_ends_where_the_scheduler_says(
    pipeline: AnyDoorPipeline, to_one: bool
) -> None:
    scheduler = type(pipeline.scheduler).from_config(
        pipeline.scheduler.config, set_alpha_to_one=to_one
    )
    other = AnyDoorPipeline.from_pipe(pipeline, scheduler=scheduler)
    assert other.last_alpha == (1.0 if to_one else float(scheduler.alphas_cumprod[0]))


# what comes back


def test_a_tensor_holds_the_scenes_in_order(pipeline: AnyDoorPipeline) -> None:
    arrays = call(pipeline, num_proposals=2).images
    tensor = call(pipeline, num_proposals=2, output_type="pt").images
    assert tensor.shape == (2, 3, 80, 70) and tensor.dtype == torch.float32
    back = (tensor * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(back, np.stack(arrays))


def test_the_output_is_one_of_diffusers(pipeline: AnyDoorPipeline, expected: np.ndarray) -> None:
    output = call(pipeline)
    assert isinstance(output, BaseOutput) and list(output) == ["images", "crops", "conditioning"]
    assert output[0] is output["images"] is output.images
    assert output[2] is output.conditioning
    images, crops, conditioning = call(pipeline, return_dict=False)
    assert np.array_equal(images[0], expected) and crops[0].shape == (64, 64, 3)
    assert conditioning.placement == output.conditioning.placement
    again = pickle.loads(pickle.dumps(output))
    assert np.array_equal(again.images[0], expected)


def test_pictures_of_pil_are_given_unless_others_are_asked_for(
    pipeline: AnyDoorPipeline, expected: np.ndarray
) -> None:
    given = {"reference_mask": OBJECT, "box": BOX, "num_inference_steps": 2}
    (image,) = pipeline(REFERENCE, SCENE, **given).images
    assert isinstance(image, Image.Image) and np.array_equal(np.asarray(image), expected)


# callbacks


def test_a_callback_that_gives_back_what_it_got_changes_nothing(
    pipeline: AnyDoorPipeline, expected: np.ndarray
) -> None:
    for callback in (lambda p, i, t, given: given, lambda p, i, t, given: {}, lambda *_: None):
        for preset in ("exact", "fast"):
            plain = call(pipeline, preset=preset, num_inference_steps=5).crops[0]
            seen = call(
                pipeline, preset=preset, num_inference_steps=5, callback_on_step_end=callback
            ).crops[0]
            assert np.array_equal(plain, seen)


def test_latents_that_come_back_as_they_went_keep_all_their_digits(
    pipeline: AnyDoorPipeline,
) -> None:
    prepared = pipeline.prepare([call(pipeline).conditioning])
    *_, plain = pipeline.denoise(prepared, [[0]], 9)
    steps = pipeline.denoise(prepared, [[0]], 9)
    for denoised in steps:
        again = steps.send(denoised.x.clone())
    assert torch.equal(again.x, plain.x)


@pytest.mark.parametrize("preset", ["exact", "fast"])
@pytest.mark.parametrize("step", [0, 1])
def test_the_next_step_starts_from_the_latents_a_callback_gives_back(
    pipeline: AnyDoorPipeline, preset: str, step: int
) -> None:
    seen: dict[int, torch.Tensor] = {}

    def replace(pipe: Any, index: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        seen[index] = given["latents"].clone()
        return {"latents": torch.full_like(given["latents"], 0.1) if index == step else seen[index]}

    def change(pipe: Any, index: int, t: int, given: dict[str, Any]) -> None:
        if index == step:
            given["latents"].fill_(0.1)

    settings = {"num_inference_steps": {"exact": 2, "fast": 5}[preset], "preset": preset}
    plain = call(pipeline, **settings).crops[0]
    crops = [
        call(pipeline, **settings, seed=seed, callback_on_step_end=callback).crops[0]
        for seed in (0, 1)
        for callback in (replace, change)
    ]
    assert sorted(seen) == [0, 1]
    assert not np.array_equal(crops[0], plain)
    assert np.array_equal(crops[0], crops[1]), "changed in place is changed"
    if step == 1:
        flat = torch.full((1, 4, 16, 16), 0.1)
        assert np.array_equal(crops[0], pipeline.decode(flat)[0]), "the last step is replaced too"


def test_from_a_replaced_step_on_seeds_no_longer_matter(pipeline: AnyDoorPipeline) -> None:
    def flat(pipe: Any, index: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        return {"latents": torch.zeros_like(given["latents"])} if index == 0 else given

    one, other = (call(pipeline, seed=k, callback_on_step_end=flat).crops[0] for k in (0, 1))
    assert np.array_equal(one, other)


def test_a_callback_is_given_what_it_asks_for(pipeline: AnyDoorPipeline) -> None:
    seen: list[set[str]] = []

    def note(pipe: Any, index: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(set(given))
        return given

    call(pipeline, callback_on_step_end=note)
    call(pipeline, callback_on_step_end=note, callback_on_step_end_tensor_inputs=[])
    assert seen == [{"latents"}] * 2 + [set()] * 2


class Halving(PipelineCallback):
    """A callback as diffusers has them."""

    tensor_inputs = ["latents"]

    def callback_fn(self, pipeline: Any, step: int, t: int, given: dict[str, Any]) -> Any:
        return {"latents": given["latents"] / 2}


class Asking(Halving):
    tensor_inputs = ["prompt_embeds"]


def test_callbacks_of_diffusers_are_heard(pipeline: AnyDoorPipeline, expected: np.ndarray) -> None:
    halved = call(pipeline, callback_on_step_end=Halving()).images[0]
    assert not np.array_equal(halved, expected)
    with pytest.raises(ValueError, match="names prompt_embeds; expected only latents"):
        call(pipeline, callback_on_step_end=Asking())


def test_an_interrupted_call_ends_with_that_step_and_the_next_is_whole(
    pipeline: AnyDoorPipeline, expected: np.ndarray
) -> None:
    seen: list[int] = []

    def stop(pipe: Any, index: int, t: int, given: dict[str, Any]) -> dict[str, Any]:
        seen.append(index)
        assert not pipe.interrupt or index > 1
        pipe.interrupt = index == 1
        return given

    steps: list[torch.Tensor] = []
    whole = {"num_inference_steps": 4}
    call(pipeline, **whole, callback_on_step_end=lambda p, i, t, g: steps.append(g["latents"]))
    stopped = call(pipeline, **whole, callback_on_step_end=stop)
    assert seen == [0, 1] and pipeline.interrupt
    assert np.array_equal(stopped.crops[0], pipeline.decode(steps[1])[0])
    assert np.array_equal(call(pipeline).images[0], expected)
    assert not pipeline.interrupt


# what is refused

NAN, INFINITE = float("nan"), float("inf")
GENERATOR = torch.Generator()
REFUSED: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({"num_inference_steps": "abc"}, ValueError, "steps is 'abc'; expected 1 to 1000"),
    ({"num_inference_steps": 2.5}, ValueError, r"steps is 2\.5; expected 1 to 1000"),
    ({"num_inference_steps": True}, ValueError, "steps is True; expected 1 to 1000"),
    ({"num_inference_steps": 1001}, ValueError, "steps is 1001; expected 1 to 1000"),
    ({"preset": "faster"}, ValueError, "preset is 'faster'; expected one of exact"),
    ({"guidance_scale": NAN}, ValueError, "guidance_scale is nan; expected a finite number from 0"),
    ({"guidance_scale": INFINITE}, ValueError, "guidance_scale is inf"),
    ({"guidance_scale": -0.1}, ValueError, r"guidance_scale is -0\.1"),
    ({"guidance_scale": "5"}, ValueError, "guidance_scale is '5'"),
    ({"guidance_scale": True}, ValueError, "guidance_scale is True"),
    (
        {"seed": 2**64},
        ValueError,
        rf"seed is {2**64}; expected .* to {2**64 - 1}",
    ),
    ({"seed": 2**64 - 1, "num_proposals": 2}, ValueError, rf"from 0 to {2**64 - 2}$"),
    ({"seed": 1.0}, ValueError, r"seed is 1\.0; expected a whole number"),
    ({"seed": "1"}, ValueError, "seed is '1'; expected a whole number"),
    ({"seed": -1}, ValueError, "seed is -1; expected a whole number"),
    ({"seed": 0, "generator": GENERATOR}, ValueError, "either seed or generator, not both"),
    ({"generator": np.random.default_rng()}, TypeError, "generator is Generator; expected a torch"),
    ({"generator": [GENERATOR, 3], "num_proposals": 2}, TypeError, "generator is list; expected"),
    ({"generator": [GENERATOR] * 3}, ValueError, "generator has 3 for 1 proposals; give one for"),
    ({"num_proposals": 0}, ValueError, "num_proposals is 0; expected a whole number from 1"),
    ({"num_proposals": 1.5}, ValueError, r"num_proposals is 1\.5; expected a whole number"),
    ({"output_type": "latent"}, ValueError, "output_type is 'latent'; expected one of pil, np, pt"),
    ({"scene": "absent.png"}, FileNotFoundError, "absent.png does not exist"),
    ({"reference": Path("absent.png")}, FileNotFoundError, "absent.png does not exist"),
    ({"reference_mask": "absent.png"}, FileNotFoundError, "absent.png does not exist"),
    ({"scene": [SCENE]}, TypeError, "scene is list; expected"),
    ({"box": np.array([BOX])}, ValueError, "box is .*; expected four whole pixel numbers"),
    ({"box": np.array(7)}, ValueError, "box is 7; expected four whole pixel numbers"),
    ({"box": np.array([1.5, 2, 30, 40])}, ValueError, "expected four whole pixel numbers"),
    ({"box": "1234"}, ValueError, "box is 1234; expected four whole pixel numbers"),
    ({"box": [-1, 20, 50, 60]}, ValueError, "leaves the scene of 80x70"),
    ({"box": [10, -1, 50, 60]}, ValueError, "leaves the scene of 80x70"),
    ({"box": [10, 20, 81, 60]}, ValueError, "leaves the scene of 80x70"),
    ({"box": [10, 20, 50, 71]}, ValueError, "leaves the scene of 80x70"),
    ({"box": [*BOX, 5]}, ValueError, "expected four whole pixel numbers"),
    ({"callback_on_step_end": 3}, TypeError, "callback_on_step_end is int; expected a function"),
    (
        {"callback_on_step_end_tensor_inputs": ["latents", "prompt_embeds"]},
        ValueError,
        "tensor_inputs names prompt_embeds; expected only latents",
    ),
]


@pytest.mark.parametrize(("given", "kind", "sentence"), REFUSED)
def test_what_cannot_be_is_refused_in_a_sentence_before_any_network_runs(
    pipeline: AnyDoorPipeline,
    given: dict[str, Any],
    kind: type[Exception],
    sentence: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(type(pipeline), "prepare", None)
    with pytest.raises(kind, match=sentence) as caught:
        call(pipeline, **given)
    assert "\n" not in str(caught.value)


ANSWERS: list[tuple[Any, type[Exception], str]] = [
    (torch.zeros(1, 4, 16, 16), TypeError, "returned Tensor; expected a dict or None"),
    ({"latents": 3}, ValueError, r"returned latents int; expected \(1, 4, 16, 16\)"),
    (
        {"latents": torch.zeros(1, 4, 8, 8)},
        ValueError,
        r"returned latents \(1, 4, 8, 8\); expected \(1, 4, 16, 16\)",
    ),
]


@pytest.mark.parametrize(("answer", "kind", "sentence"), ANSWERS)
def test_a_callback_that_gives_back_something_else_is_refused(
    pipeline: AnyDoorPipeline, answer: Any, kind: type[Exception], sentence: str
) -> None:
    with pytest.raises(kind, match=sentence):
        call(pipeline, callback_on_step_end=lambda *_: answer)


def test_guidance_of_nought_and_whole_guidance_are_taken(pipeline: AnyDoorPipeline) -> None:
    assert pipeline.guidance() == 3.0 and pipeline.guidance(np.float32(2)) == 2.0
    none, some = (call(pipeline, guidance_scale=scale).crops[0] for scale in (0, 2))
    assert not np.array_equal(none, some)
