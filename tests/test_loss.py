"""The objective: what it draws depends on (seed, sample index) and on nothing else."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from anydoor_lab.diffusion.loss import DiffusionLoss, dropped
from anydoor_lab.diffusion.timesteps import uniform_timesteps
from anydoor_lab.models.vae import encode_image
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from small import VARIATIONS, batch_of, small_objective

INDICES = (0, 1, 5, 9)


@pytest.fixture(scope="module")
def objective(pipeline: AnyDoorPipeline) -> DiffusionLoss:
    return small_objective(pipeline.model, seed=4)


@torch.no_grad()
def losses(objective: DiffusionLoss, indices: tuple[int, ...]) -> torch.Tensor:
    return objective(batch_of(indices))["per_sample"]


@pytest.mark.parametrize("sample_posterior", [False, True])
def test_a_samples_loss_does_not_depend_on_its_batch(
    pipeline: AnyDoorPipeline, sample_posterior: bool
) -> None:
    settings = {"cond_drop_prob": 0.5, "sample_posterior": sample_posterior}
    objective = small_objective(pipeline.model, seed=4, **settings)
    together = losses(objective, INDICES)
    alone = torch.cat([losses(objective, (index,)) for index in INDICES])
    reversed_ = losses(objective, INDICES[::-1]).flip(0)
    torch.testing.assert_close(together, alone, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(together, reversed_, rtol=1e-5, atol=1e-5)


def test_the_global_random_state_plays_no_part(objective: DiffusionLoss) -> None:
    torch.manual_seed(1)
    np.random.seed(1)
    first = losses(objective, INDICES)
    torch.manual_seed(2)
    np.random.seed(2)
    assert torch.equal(first, losses(objective, INDICES))


def test_another_seed_draws_other_noise(pipeline: AnyDoorPipeline) -> None:
    one, other = (losses(small_objective(pipeline.model, seed=s), INDICES) for s in (4, 5))
    assert (one - other).abs().min() > 1e-4


def test_the_loss_is_the_mean_over_samples(objective: DiffusionLoss) -> None:
    outputs = objective(batch_of(INDICES))
    torch.testing.assert_close(outputs["loss"], outputs["per_sample"].mean())


def test_dropping_every_condition_leaves_the_tokens_of_an_empty_picture(
    pipeline: AnyDoorPipeline, objective: DiffusionLoss
) -> None:
    always = small_objective(pipeline.model, seed=4, cond_drop_prob=1.0)
    empty = batch_of(INDICES)
    empty["id_image"] = torch.zeros_like(empty["id_image"])
    with torch.no_grad():
        expected = objective(empty)["per_sample"]
    assert torch.equal(losses(always, INDICES), expected)
    assert not torch.allclose(losses(objective, INDICES), expected)


def test_conditions_are_dropped_as_often_as_asked(pipeline: AnyDoorPipeline) -> None:
    objective = small_objective(pipeline.model, cond_drop_prob=0.2)
    kept = dropped(torch.ones(2000, 1, 1, 1), objective._conditioned(list(range(2000))))
    assert 0.77 < float(kept.mean()) < 0.83


def test_the_mode_of_the_posterior_is_taken_unless_draws_are_asked_for(
    pipeline: AnyDoorPipeline, objective: DiffusionLoss
) -> None:
    target = batch_of(INDICES)["target"]
    drawing = small_objective(pipeline.model, seed=4, sample_posterior=True)
    with torch.no_grad():
        mode = objective._clean_latents(target, list(INDICES))
        drawn = drawing._clean_latents(target, list(INDICES))
        posterior = pipeline.vae.encode(target).latent_dist
    scale = pipeline.vae.config.scaling_factor
    torch.testing.assert_close(mode, posterior.mode() * scale)
    standardised = (drawn / scale - posterior.mean) / posterior.std
    assert abs(float(standardised.mean())) < 0.1
    assert abs(float(standardised.std()) - 1) < 0.1
    assert torch.equal(mode, encode_image(pipeline.vae, target))


def test_region_weight_keeps_the_mean_weight_at_one(pipeline: AnyDoorPipeline) -> None:
    objective = small_objective(pipeline.model, region_weight=3.0)
    mask = batch_of(INDICES)["shape_mask"]
    mask[1] = -1  # a sample without any region
    weights = objective._weights(mask, torch.zeros(4, 4, 8, 8))
    torch.testing.assert_close(weights.mean(dim=(1, 2, 3)), torch.ones(4))
    inside, outside = weights[0, 0, 3, 3], weights[0, 0, 0, 0]
    assert float(inside / outside) == pytest.approx(3)


def test_region_weight_of_one_is_the_papers_loss(
    pipeline: AnyDoorPipeline, objective: DiffusionLoss
) -> None:
    plain = small_objective(pipeline.model, seed=4, region_weight=1.0)
    weighted = small_objective(pipeline.model, seed=4, region_weight=3.0)
    assert torch.equal(losses(plain, INDICES), losses(objective, INDICES))
    assert not torch.allclose(losses(weighted, INDICES), losses(objective, INDICES))


def test_groups_divide_the_batch_by_timestep_and_by_variation(pipeline: AnyDoorPipeline) -> None:
    indices = tuple(range(12))
    objective = small_objective(pipeline.model, uniform_timesteps, seed=4)
    groups = objective(batch_of(indices))["groups"]
    bins = [f"t_{start}_{start + 250}" for start in range(0, 1000, 250)]
    assert set(groups) == {*bins, *VARIATIONS}
    t = objective._draw_timesteps(list(indices), ["still"] * 12, torch.device("cpu"))
    for name in bins:
        low, high = map(int, name.split("_")[1:])
        assert torch.equal(groups[name], (t >= low) & (t < high))
    assert torch.stack([groups[name] for name in bins]).sum(0).eq(1).all()
    for number, name in enumerate(VARIATIONS):
        assert groups[name].tolist() == [index % 3 == number for index in indices]
