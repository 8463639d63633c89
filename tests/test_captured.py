"""Placing by replays: the same pictures, from memory that is captured once and bound anew."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from diffusers.models.attention_processor import SlicedAttnProcessor

from anydoor_lab.data.world import World
from anydoor_lab.diffusion.captured import Captured, Repeated
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.captures import obstacle
from small import move_zero_convolutions, small_pipeline

MADE: list[Repeated] = []


class Counted(Repeated):
    """A graph without a GPU that knows how often it was recorded and replayed."""

    def __init__(self) -> None:
        self.recorded, self.replayed = 0, 0
        MADE.append(self)

    def record(self, work: Any) -> None:
        self.recorded += 1
        super().record(work)

    def replay(self) -> None:
        self.replayed += 1
        super().replay()


@pytest.fixture
def pipelines(networks: Path) -> tuple[AnyDoorPipeline, AnyDoorPipeline]:
    """The same pipeline twice: as ever, and with its steps captured."""
    MADE.clear()
    made = []
    for _ in range(2):
        pipeline = small_pipeline(networks)
        move_zero_convolutions(pipeline.detail_extractor)
        pipeline.set_progress_bar_config(disable=True)
        made.append(pipeline)
    made[1].captures.graph = Counted
    return made[0], made[1]


def prepared(pipeline: AnyDoorPipeline, pairs: Sequence[int] = (0,)) -> Prepared:
    world, conditioner, shown = World(split="held_out"), pipeline.conditioner(), []
    for pair in pairs:
        rng = np.random.default_rng(pair)
        shown.append(conditioner.condition(world.pair(pair, rng), rng))
    return pipeline.prepare(shown)


def placed(pipeline: AnyDoorPipeline, conditions: Prepared, *how: Any) -> torch.Tensor:
    seeds = [[0, 1]] * len(conditions.tokens)
    return last(pipeline.denoise(conditions, seeds, *how)).x


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
@pytest.mark.parametrize("preset", ["exact", "draft"])
def test_replayed_steps_make_the_same_latents(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline], prediction: str, preset: str
) -> None:
    results = []
    for pipeline in pipelines:
        pipeline.scheduler.register_to_config(prediction_type=prediction)
        results.append(placed(pipeline, prepared(pipeline), 10, 3.3, preset))
    assert torch.equal(*results)
    assert all(graph.recorded == 1 for graph in MADE)  # type: ignore[attr-defined]
    assert sum(graph.replayed for graph in MADE) >= 6  # type: ignore[attr-defined]


def test_other_pairs_seeds_and_guidance_are_bound_to_what_is_captured(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    for pair, guidance in ((0, 3.0), (1, 2.5), (0, 7.0)):
        results = [placed(p, prepared(p, [pair]), 2, guidance) for p in (eager, captured)]
        assert torch.equal(*results)
        if pair == 0 and guidance == 3.0:
            first = len(MADE)
    assert len(MADE) == first == 2, "one guided step, one of the detail maps"
    mine = prepared(captured, [0])
    kept = mine.tokens.clone()
    placed(captured, prepared(captured, [1]), 2)
    assert torch.equal(mine.tokens, kept), "what the caller holds is not written to"


def test_detail_maps_of_several_timesteps_are_one_replay_of_always_as_many(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    expected = placed(eager, prepared(eager), 4)
    captured._chunk = lambda pairs: 3  # type: ignore[method-assign]
    result = placed(captured, prepared(captured), 4)
    torch.testing.assert_close(result, expected, atol=1e-5, rtol=1e-5)
    replayed = sorted(graph.replayed for graph in MADE)  # type: ignore[attr-defined]
    assert replayed == [2, 4], "two of the detail maps, of three timesteps each, and four steps"


def test_moved_or_trained_weights_are_seen(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    results: list[list[torch.Tensor]] = []
    for pipeline in pipelines:
        conditions = prepared(pipeline)
        placed(pipeline, conditions, 2)
        with torch.no_grad():  # in place, as training does: what was recorded still holds
            for parameter in pipeline.unet.parameters():
                parameter.mul_(1.01)
        trained = placed(pipeline, conditions, 2)
        pipeline.unet.load_state_dict(
            {n: t * 1.01 for n, t in pipeline.unet.state_dict().items()}, assign=True
        )
        results.append([trained, placed(pipeline, conditions, 2)])
    for eager, captured in zip(*results, strict=True):
        assert torch.equal(eager, captured)
    assert len(MADE) == 4, "weights elsewhere are captured anew"


def test_two_denoisings_at_the_same_time_do_not_share_memory(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    both = [prepared(captured, [pair]) for pair in (0, 1)]
    expected = [placed(eager, conditions, 3) for conditions in both]
    *_, in_turn = zip(*(captured.denoise(c, [[0, 1]], 3) for c in both), strict=True)
    with ThreadPoolExecutor() as pool:
        beside = pool.map(lambda conditions: placed(captured, conditions, 3), both)
    for result, step, apart in zip(expected, in_turn, beside, strict=True):
        assert torch.equal(step.x, result) and torch.equal(apart, result)


def test_a_denoising_that_is_left_gives_back_what_it_was_lent(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    _, captured = pipelines
    steps = captured.denoise(prepared(captured), [[0, 1]], 3)
    next(steps)
    steps.close()
    placed(captured, prepared(captured), 3)
    assert len(MADE) == 2


def test_warm_up_leaves_nothing_to_record(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    assert captured.warm_up(num_proposals=2, num_inference_steps=2) > 0
    recorded = len(MADE)
    result = placed(captured, prepared(captured), 3)
    assert len(MADE) == recorded
    assert torch.equal(result, placed(eager, prepared(eager), 3))
    captured.captures.clear()
    placed(captured, prepared(captured), 2)
    assert len(MADE) == 2 * recorded


def test_a_callback_may_change_latents_that_are_replayed_on(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    results = []
    for pipeline in pipelines:
        steps = pipeline.denoise(prepared(pipeline), [[0, 1]], 3)
        for denoised in steps:
            changed = steps.send(denoised.x * 0.9)
        results.append(changed.x)
    assert torch.equal(*results)


def test_what_python_does_between_layers_is_not_captured(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    assert obstacle(captured.model) == ""
    seen: list[int] = []
    layer = captured.unet.conv_in
    hook = layer.register_forward_hook(lambda *_: seen.append(1))
    with pytest.warns(UserWarning, match="piece by piece: the unet has hooks"):
        result = placed(captured, prepared(captured), 3)
    assert torch.equal(result, placed(eager, prepared(eager), 3)) and len(seen) == 3
    hook.remove()
    layer._hf_hook = object()  # type: ignore[assignment]
    assert "the unet is offloaded" in obstacle(captured.model)
    del layer._hf_hook
    captured.unet.set_attn_processor(SlicedAttnProcessor(1))
    assert "attention of another kind (SlicedAttnProcessor)" in obstacle(captured.model)
    assert not MADE


def test_adapters_are_not_captured(networks: Path) -> None:
    pipeline = small_pipeline(networks)
    pipeline.model.freeze("lora", 2)
    assert "has LoRA adapters" in obstacle(pipeline.model)


def test_a_copied_pipeline_captures_for_itself(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    _, captured = pipelines
    expected = placed(captured, prepared(captured), 2)
    twin = copy.deepcopy(captured)
    assert torch.equal(placed(twin, prepared(twin), 2), expected)
    assert len(MADE) == 4


def test_results_of_a_captured_function_are_overwritten_by_its_next_call() -> None:
    work = Captured(lambda x, number, scale: (x + number, x * scale), Repeated())
    first = work(torch.ones(2), 1, 0.5)
    assert [one.tolist() for one in first] == [[2, 2], [0.5, 0.5]]
    second = work(torch.zeros(2), 3, 0.5)
    assert [one.tolist() for one in second] == [[3, 3], [0, 0]]
    assert all(one is other for one, other in zip(first, second, strict=True))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_a_cuda_graph_makes_the_latents_of_the_eager_steps(
    pipelines: tuple[AnyDoorPipeline, AnyDoorPipeline],
) -> None:
    eager, captured = pipelines
    eager.to("cuda").captures.allowed = False
    captured.to("cuda").captures.graph = None
    for pair in (0, 1):
        for preset in ("exact", "fast", "draft"):
            conditions = prepared(eager, [pair])
            results = [placed(p, conditions, 10, 3.0, preset) for p in (eager, captured)]
            torch.testing.assert_close(*results, atol=1e-3, rtol=1e-3)
