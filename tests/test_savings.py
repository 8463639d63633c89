"""What the denoising leaves out: exactly nothing that shows, unless a preset says so."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate.hooks import ModelHook, add_hook_to_module
from torch import nn

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.data.world import World
from anydoor_lab.diffusion.guidance import BoundDenoiser, Prepared, Savings, guide
from anydoor_lab.diffusion.presets import PRESETS
from anydoor_lab.diffusion.sampler import sample_ddim
from anydoor_lab.diffusion.schedule import Schedule
from anydoor_lab.models.unet import TokenProjection, keep_projections
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

    def denoise(x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        results = []
        for place in range(len(x)):
            pair = place // seeds
            one, time, hint = x[place : place + 1], t[:1], prepared.hint[pair : pair + 1]
            eps = []
            for tokens in (prepared.tokens[pair : pair + 1], prepared.unconditional):
                fresh = tokens.clone()
                output = model(one.float(), time, fresh, model.details(hint, time, fresh))
                eps.append(schedule.noise_of(output, one, time))
            results.append(guide(*eps, 3.0))
        return torch.cat(results)

    return list(sample_ddim(denoise, x, timesteps, schedule))[-1].x


@pytest.mark.parametrize("chunk", [1, 2, 5])
def test_exact_savings_do_not_show(own: AnyDoorPipeline, chunk: int) -> None:
    prepared, timesteps = own.prepare(shown(own)), own.timesteps(5)
    x, schedule = start(own, 8), Schedule.of(own.scheduler)
    expected = plain_loop(own, prepared, x, timesteps)
    for network in (own.unet, own.detail_extractor):
        keep_projections(network)
    savings = Savings(chunk=chunk)
    denoiser = BoundDenoiser(own.model, schedule, prepared, 4, 3.0, timesteps, savings)
    result = list(sample_ddim(denoiser, x, timesteps, schedule))[-1].x
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
    for denoised in pipeline.denoise(prepared, seeds, **settings):
        latents = denoised.x
    return latents


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


@pytest.fixture
def projected(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[int]]:
    """How often each of the tokens' projections was really computed."""
    counts: Counter[int] = Counter()
    linear = nn.Linear.forward

    def forward(layer: nn.Linear, values: torch.Tensor) -> torch.Tensor:
        if isinstance(layer, TokenProjection):
            counts[id(layer)] += 1
        return linear(layer, values)

    monkeypatch.setattr(nn.Linear, "forward", forward)
    yield counts


def test_tokens_are_projected_once_for_all_steps(
    own: AnyDoorPipeline, projected: Counter[int]
) -> None:
    generate(own, own.prepare(shown(own)), num_inference_steps=5)
    assert projected
    assert set(projected.values()) == {1}


def test_projections_are_never_kept_in_training(own: AnyDoorPipeline) -> None:
    keep_projections(own.unet)
    layer = next(m for m in own.unet.modules() if isinstance(m, TokenProjection))
    tokens = torch.zeros(1, 3, layer.in_features)
    tokens.projections = {id(layer): torch.ones(1)}  # type: ignore[attr-defined]
    assert layer(tokens).shape == (1, 3, layer.out_features)


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
