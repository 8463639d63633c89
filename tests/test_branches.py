"""A further branch beside the detail extractor: a class with its inputs, and a component."""

from __future__ import annotations

import copy
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.data.world import World
from anydoor_lab.diffusion.sampler import last
from anydoor_lab.models.anydoor import AnyDoor
from anydoor_lab.models.detail import DetailExtractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from small import batch_of, move_zero_convolutions, small_objective, small_pipeline


class PoseExtractor(DetailExtractor):
    """All that a branch for a pose has to say: which pictures it reads."""

    inputs = {"pose": 2}


class PosedPipeline(AnyDoorPipeline):
    """All that a pipeline has to say of it: that there is one more component."""

    def __init__(self, *, pose_extractor: PoseExtractor, **others: Any) -> None:
        super().__init__(**others)
        self.register_modules(pose_extractor=pose_extractor)


OTHERS = list(inspect.signature(AnyDoorPipeline.__init__).parameters.values())
ONE_MORE = inspect.Parameter("pose_extractor", inspect.Parameter.KEYWORD_ONLY)
# diffusers reads from here what is a component; the pipeline's own would be one more parameter
PosedPipeline.__init__.__signature__ = inspect.Signature([*OTHERS, ONE_MORE])  # type: ignore


@pytest.fixture
def posed(networks: Path) -> AnyDoorPipeline:
    """A small pipeline with a fresh second branch."""
    plain = small_pipeline(networks)
    move_zero_convolutions(plain.detail_extractor)
    torch.manual_seed(3)
    fresh = PoseExtractor.copied_from(plain.unet, (8, 8, 16))
    settings = {"resolution": 64, "id_size": 64, "zoom": 1.5, "guidance_scale": 3.0}
    return PosedPipeline(**plain.components, pose_extractor=fresh, **settings).to("cpu")


def shown(pipeline: AnyDoorPipeline) -> Conditioning:
    rng = np.random.default_rng(0)
    one = pipeline.conditioner().condition(World(split="held_out").pair(0, rng), rng)
    return replace(one, further={"pose": rng.random((2, 64, 64), np.float32)})


def latents(pipeline: AnyDoorPipeline, one: Conditioning) -> torch.Tensor:
    return last(pipeline.denoise(pipeline.prepare([one]), [[0]], 3)).x


def batch(indices: range) -> dict[str, Any]:
    generator = torch.Generator().manual_seed(0)
    return batch_of(indices) | {"pose": torch.rand(len(indices), 2, 32, 32, generator=generator)}


def test_a_fresh_branch_changes_nothing_and_a_trained_one_does(
    posed: AnyDoorPipeline, pipeline: AnyDoorPipeline
) -> None:
    one = shown(posed)
    without = latents(pipeline, one)
    assert torch.equal(latents(posed, one), without)
    move_zero_convolutions(posed.pose_extractor)
    moved = latents(posed, one)
    assert not torch.equal(moved, without)
    other = replace(one, further={"pose": 1 - one.further["pose"]})
    assert not torch.equal(latents(posed, other), moved), "the pose itself is seen"


@torch.no_grad()
def test_the_maps_of_all_branches_are_added(posed: AnyDoorPipeline) -> None:
    move_zero_convolutions(posed.pose_extractor)
    prepared, t = posed.prepare([shown(posed)]), torch.tensor([500])
    both = posed.model.details(prepared.hints, t, prepared.tokens)
    alone = [
        branch(prepared.hints[name], t, prepared.tokens)
        for name, branch in posed.model.branches.items()
    ]
    for added, one, other in zip(both, *alone, strict=True):
        assert other.any()
        assert torch.equal(added, one + other)


def test_training_reaches_every_branch(posed: AnyDoorPipeline) -> None:
    objective = small_objective(posed.model)
    objective(batch(range(4)))["loss"].backward()
    model = objective.model
    for branch in (model.detail_extractor, model.pose_extractor):
        gradient = branch.controlnet_mid_block.weight.grad
        assert gradient is not None and gradient.any()
        assert not branch.conv_in.weight.requires_grad
    assert "model.pose_extractor.controlnet_mid_block.weight" in objective.state_dict()


def test_a_picture_that_a_branch_needs_and_does_not_get_is_named(posed: AnyDoorPipeline) -> None:
    expected = "the pose_extractor needs pose; there are only .*collage"
    with pytest.raises(ValueError, match=expected):
        posed.prepare([replace(shown(posed), further={})])
    with pytest.raises(ValueError, match=expected):
        small_objective(posed.model)(batch_of(range(2)))


def test_the_names_of_the_parameters_are_those_of_one_branch(pipeline: AnyDoorPipeline) -> None:
    model = pipeline.model
    assert list(model.branches) == ["detail_extractor"]
    assert model.inputs == {"collage": 3, "shape_mask": 1}
    parts = [name for name, _ in model.named_children()]
    assert parts == ["unet", "vae", "detail_extractor", "id_extractor"]


def test_the_model_is_made_once_and_follows_a_swapped_component(networks: Path) -> None:
    pipeline = small_pipeline(networks)
    model = pipeline.model
    assert pipeline.model is model
    view, other = copy.copy(pipeline), copy.deepcopy(pipeline.id_extractor)
    view.register_modules(id_extractor=other)
    assert view.model.id_extractor is other
    assert pipeline.model is model and model.id_extractor is pipeline.id_extractor
    for name in ("unet", "vae", "detail_extractor"):
        swapped = copy.deepcopy(getattr(pipeline, name))
        setattr(pipeline, name, swapped)
        assert getattr(pipeline.model, name) is swapped
        assert pipeline.model is pipeline.model
    assert isinstance(copy.deepcopy(pipeline).model, AnyDoor)
