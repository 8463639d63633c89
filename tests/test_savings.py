"""What the denoising leaves out: exactly nothing that shows, unless a preset says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.data.world import World
from anydoor_lab.diffusion.guidance import Prepared, Savings, bound_denoiser, guide
from anydoor_lab.diffusion.presets import PRESETS
from anydoor_lab.diffusion.sampler import last, sample_ddim
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from small import move_zero_convolutions, small_pipeline


@pytest.fixture
def own(networks: Path) -> AnyDoorPipeline:
    """A small pipeline of the test's own, with detail maps that are not zero."""
    pipeline = small_pipeline(networks)
    move_zero_convolutions(pipeline.detail_extractor)
    pipeline.set_progress_bar_config(disable=True)
    return pipeline


def shown(pipeline: AnyDoorPipeline, number: int = 2) -> list[Conditioning]:
    world, conditioner = World(split="held_out"), pipeline.conditioner()
    rngs = [np.random.default_rng(index) for index in range(number)]
    return [conditioner.condition(world.pair(i, rng), rng) for i, rng in enumerate(rngs)]


def start(pipeline: AnyDoorPipeline, batch: int) -> torch.Tensor:
    return torch.randn((batch, 4, 16, 16), generator=torch.Generator().manual_seed(0))


def plain_loop(
    pipeline: AnyDoorPipeline, prepared: Prepared, x: torch.Tensor, timesteps: list[int]
) -> torch.Tensor:
    """Everything anew in every step and for every seed, no batch."""
    model, schedule = pipeline.model, Schedule.of(pipeline.scheduler)
    seeds = len(x) // len(prepared.tokens)

    def denoise(x: torch.Tensor, t: int) -> torch.Tensor:
        results, time = [], torch.tensor([t])
        for place in range(len(x)):
            pair, one = place // seeds, x[place : place + 1]
            hint = {name: maps[pair : pair + 1] for name, maps in prepared.hints.items()}
            eps = []
            for tokens in (prepared.tokens[pair : pair + 1], prepared.unconditional):
                fresh = tokens.clone()
                output = model(one.float(), time, fresh, model.details(hint, time, fresh))
                eps.append(schedule.noise_of(output, one, time))
            results.append(guide(*eps, 3.0))
        return torch.cat(results)

    return last(sample_ddim(denoise, x, timesteps, schedule)).x


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_exact_savings_do_not_show(own: AnyDoorPipeline, chunk: int) -> None:
    prepared, timesteps = own.prepare(shown(own)), own.timesteps(5)
    x, schedule = start(own, 8), Schedule.of(own.scheduler)
    expected = plain_loop(own, prepared, x, timesteps)
    savings = Savings(chunk=chunk)
    denoiser = bound_denoiser(own.model, schedule, prepared, 4, 3.0, timesteps, savings)
    result = last(sample_ddim(denoiser, x, timesteps, schedule)).x
    assert float((result - expected).abs().max()) <= 1e-5 * float(expected.abs().max())


def calls(pipeline: AnyDoorPipeline, counts: Counter[str]) -> None:
    """Count the calls of the networks' parts into `counts`."""

    def counted(name: str, function: Any) -> Any:
        def call(*values: Any, **named: Any) -> Any:
            counts[name] += 1
            return function(*values, **named)

        return call

    extractor, detail = pipeline.id_extractor, pipeline.detail_extractor
    extractor.features = counted("features", extractor.features)
    detail.embed_hint = counted("hint", detail.embed_hint)
    detail.forward = counted("details", detail.forward)


def generate(pipeline: AnyDoorPipeline, prepared: Prepared, **settings: Any) -> torch.Tensor:
    seeds = [[0, 1, 2, 3]] * len(prepared.tokens)
    return last(pipeline.denoise(prepared, seeds, **settings)).x


def test_costly_parts_run_once(own: AnyDoorPipeline) -> None:
    counts: Counter[str] = Counter()
    calls(own, counts)
    prepared = own.prepare(shown(own))
    generate(own, prepared, num_inference_steps=5)
    generate(own, prepared, num_inference_steps=5)
    assert counts == {"features": 2, "hint": 1, "details": 10}
    own.prepare(shown(own))
    assert counts["features"] == 3, "the unconditional features are known by now"


def test_unconditional_tokens_follow_the_trained_projector(own: AnyDoorPipeline) -> None:
    before = own.prepare(shown(own)).unconditional
    with torch.no_grad():
        own.id_extractor.projector.bias += 1
    after = own.prepare(shown(own)).unconditional
    torch.testing.assert_close(after, before + 1)


def token_layers(pipeline: AnyDoorPipeline) -> list[nn.Module]:
    """The layers that make keys and values of the tokens."""
    networks = (pipeline.unet, pipeline.detail_extractor)
    named = [pair for network in networks for pair in network.named_modules()]
    return [layer for name, layer in named if name.endswith(("attn2.to_k", "attn2.to_v"))]


@contextmanager
def projected(pipeline: AnyDoorPipeline) -> Iterator[Counter[int]]:
    """How often each of the tokens' projections was really computed."""
    counts: Counter[int] = Counter()

    def count(layer: nn.Module, *_: Any) -> None:
        counts[id(layer)] += 1

    hooks = [layer.register_forward_hook(count) for layer in token_layers(pipeline)]
    yield counts
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("slicing", [False, True])
def test_tokens_are_projected_once_for_all_steps(own: AnyDoorPipeline, slicing: bool) -> None:
    if slicing:
        own.enable_attention_slicing()
    prepared = own.prepare(shown(own))
    with projected(own) as counts:
        generate(own, prepared, num_inference_steps=5)
    assert len(counts) == len(token_layers(own))
    assert set(counts.values()) == {1}


def test_projections_are_of_the_very_tokens_and_never_kept_in_training(
    own: AnyDoorPipeline,
) -> None:
    prepared, x, t = own.prepare(shown(own)), start(own, 2), torch.tensor([9, 9])
    with torch.no_grad(), own.model.projections(prepared.tokens) as known:
        own.model(x, t, prepared.tokens, None)
        assert known.kept
        other = own.model(x, t, 2 * prepared.tokens, None)
    assert torch.equal(other, own.model(x, t, 2 * prepared.tokens, None))
    with own.model.projections(prepared.tokens) as known:
        own.model(x, t, prepared.tokens, None)
    assert not known.kept, "gradients would not reach the layers"


def test_denoising_leaves_the_networks_as_they_were(own: AnyDoorPipeline) -> None:
    def state() -> list[Any]:
        networks = [getattr(own, name) for name in ("unet", "detail_extractor")]
        modules = [m for network in networks for m in network.modules()]
        processors = [getattr(module, "processor", None) for module in modules]
        return [[type(module) for module in modules], processors, *map(dict, map(vars, modules))]

    before, prepared = state(), own.prepare(shown(own))
    between = []
    for _ in own.denoise(prepared, [[0], [1]], 2):
        between.append(state())
    assert between == [before, before]
    assert not vars(prepared.tokens), "nothing hangs on the tensor"
    with pytest.raises(RuntimeError), own.model.projections(prepared.tokens):
        raise RuntimeError
    assert state() == before


def test_two_denoisings_in_turn_or_in_threads_do_not_mix(own: AnyDoorPipeline) -> None:
    pairs = [own.prepare([one]) for one in shown(own)]
    expected = [generate(own, prepared, num_inference_steps=5) for prepared in pairs]
    runs = [own.denoise(prepared, [[0, 1, 2, 3]], 5) for prepared in pairs]
    *_, in_turn = zip(*runs, strict=True)
    with ThreadPoolExecutor() as pool:
        beside = pool.map(lambda prepared: generate(own, prepared, num_inference_steps=5), pairs)
    for result, step, apart in zip(expected, in_turn, beside, strict=True):
        assert torch.equal(step.x, result)
        # a thread may compute with another number of OpenMP threads: equal but for rounding
        torch.testing.assert_close(apart, result, rtol=1e-4, atol=1e-4)
    assert not any("Knowing" in type(p).__name__ for p in own.unet.attn_processors.values())


class Reads(TorchDispatchMode):
    """Counts what makes the processor wait: a number read from another device, or a tensor copied
    between the two."""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, op: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        name, named = op.overloadpacket.__name__, kwargs or {}
        kinds = {one.device.type for one in args if isinstance(one, torch.Tensor)}
        if name in ("_to_copy", "copy_"):
            kinds |= {torch.device(named["device"]).type} if named.get("device") else set()
            self.seen[name] += len(kinds) > 1
        elif name in ("_local_scalar_dense", "nonzero", "equal", "_linalg_solve_ex"):
            self.seen[name] += "meta" in kinds
        return op(*args, **named)


class Uploads(TorchFunctionMode):
    """Counts tensors made of Python's numbers on another device, which are copied there."""

    def __init__(self, seen: Counter[str]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        self.seen["tensor"] += function is torch.tensor and bool((kwargs or {}).get("device"))
        return function(*args, **(kwargs or {}))


def waits_of_steps(pipeline: AnyDoorPipeline, preset: str, chunk: int = 1) -> list[Counter[str]]:
    """What each of four steps waited for, on a device of shapes only that refuses to be read."""
    real = pipeline.prepare(shown(pipeline))
    hints = {name: hint.to("meta") for name, hint in real.hints.items()}
    prepared = Prepared(real.tokens.to("meta"), real.unconditional.to("meta"), hints, 64)
    meta = pipeline.to("meta")
    meta._chunk = lambda pairs: chunk  # type: ignore[method-assign]
    asked = 4 if preset == "exact" else 10
    steps, seen = meta.denoise(prepared, [[0, 1], [2, 3]], asked, preset=preset), []
    for _ in range(4):
        seen.append(Counter[str]())
        with Reads(seen[-1]), Uploads(seen[-1]):
            next(steps)
    assert next(steps, None) is None
    return [+counts for counts in seen]


NOISE = {"_to_copy": 1}
"""The first step begins with bringing the noise to the device."""


@pytest.mark.parametrize(
    ("chunk", "prediction"), [(1, "epsilon"), (3, "v_prediction"), (1, "sample")]
)
def test_guided_ddim_steps_never_wait_for_the_device(
    own: AnyDoorPipeline, chunk: int, prediction: str
) -> None:
    own.scheduler.register_to_config(prediction_type=prediction)
    assert waits_of_steps(own, "exact", chunk) == [NOISE, {}, {}, {}]


@pytest.mark.parametrize("preset", ["fast", "draft"])
def test_unipc_waits_only_where_its_corrector_solves_two_equations(
    own: AnyDoorPipeline, preset: str
) -> None:
    begins = {"_to_copy": 2}  # noise and sigmas
    solves = {"_linalg_solve_ex": 1}
    assert waits_of_steps(own, preset) == [begins, {}, solves, solves]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_guided_ddim_steps_never_wait_for_a_gpu(own: AnyDoorPipeline) -> None:
    prepared = own.to("cuda").prepare(shown(own))
    steps = own.denoise(prepared, [[0, 1], [2, 3]], 10)
    next(steps)
    torch.cuda.set_sync_debug_mode("error")
    try:
        last(steps)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def test_presets_say_what_they_change_and_exact_is_the_default(own: AnyDoorPipeline) -> None:
    prepared = own.prepare(shown(own, 1))
    assert torch.equal(generate(own, prepared), generate(own, prepared, preset="exact"))
    assert all(preset.says for preset in PRESETS.values())
    with pytest.raises(ValueError, match="preset is 'quick'; expected one of exact, fast, draft"):
        own.timesteps(5, "quick")


def test_fast_and_draft_take_fewer_steps_and_draft_fewer_details(own: AnyDoorPipeline) -> None:
    counts: Counter[str] = Counter()
    calls(own, counts)
    prepared = own.prepare(shown(own, 1))
    seen = {}
    for preset in PRESETS:
        counts.clear()
        generate(own, prepared, num_inference_steps=20, preset=preset)
        seen[preset] = counts["details"]
    assert seen == {"exact": 20, "fast": 8, "draft": 4}


def test_draft_guides_in_the_middle_only(own: AnyDoorPipeline) -> None:
    batches: dict[int, int] = {}
    forward = own.unet.conv_in.forward

    def watched(x: torch.Tensor) -> torch.Tensor:
        batches[len(batches)] = len(x)
        return forward(x)

    own.unet.conv_in.forward = watched  # type: ignore[method-assign]
    generate(own, own.prepare(shown(own, 1)), num_inference_steps=20, preset="draft")
    timesteps = own.timesteps(20, "draft")
    assert list(batches.values()) == [8 if 200 < t < 800 else 4 for t in timesteps]


def test_fast_ends_near_exact_with_many_steps(own: AnyDoorPipeline) -> None:
    # a clean sample predicted by a random network would jump from step to step
    own.scheduler.register_to_config(prediction_type="v_prediction")
    prepared = own.prepare(shown(own, 1))
    fine = generate(own, prepared, num_inference_steps=100, guidance_scale=1.0)
    fast = generate(own, prepared, num_inference_steps=50, guidance_scale=1.0, preset="fast")
    assert float((fast - fine).abs().mean()) < 0.1 * float(fine.abs().mean())


class Counting(ModelHook):
    """Counts how often a network was brought to its device."""

    def __init__(self, counts: Counter[str], name: str) -> None:
        self.counts, self.name = counts, name

    def pre_forward(self, module: nn.Module, *values: Any, **named: Any) -> Any:
        self.counts[self.name] += 1
        return values, named


def test_offloading_is_told_before_each_network_is_used(own: AnyDoorPipeline) -> None:
    counts: Counter[str] = Counter()
    networks = ("unet", "vae", "detail_extractor", "id_extractor")
    for name in networks:
        add_hook_to_module(getattr(own, name), Counting(counts, name))
    latents = generate(own, own.prepare(shown(own, 1)), num_inference_steps=2)
    own.decode(latents)
    assert all(counts[name] for name in networks), counts


def test_diffusers_own_savings_change_nothing_much(own: AnyDoorPipeline) -> None:
    prepared = own.prepare(shown(own, 1))
    expected = generate(own, prepared, num_inference_steps=2)
    own.enable_attention_slicing()
    sliced = generate(own, prepared, num_inference_steps=2)
    torch.testing.assert_close(sliced, expected, atol=1e-4, rtol=1e-4)
    own.vae.enable_tiling()
    assert own.decode(expected).shape == (4, 64, 64, 3)
