"""The looks inside: what the arrays must add up to, and that looking changes nothing."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch

from anydoor_lab.analysis import (
    attention,
    cross_attention,
    details,
    features,
    swapping,
    timesteps,
)
from anydoor_lab.data.world import World
from anydoor_lab.diffusion.timesteps import adaptive_timesteps, uniform_timesteps
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.idx.vgg import VggExtractor
from anydoor_lab.structures.rng import rng_for

if TYPE_CHECKING:
    from pathlib import Path

    from anydoor_lab.conditioning.conditioner import Conditioning
    from anydoor_lab.diffusion.guidance import Prepared
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

STEPS = 4
WORLD = World(split="held_out", variations={"video": 1})


@pytest.fixture(scope="module")
def shown(pipeline: AnyDoorPipeline) -> list[Conditioning]:
    """Two objects in one scene."""
    pairs = features.moving_pairs(WORLD, 2)
    other = replace(pairs[0], reference=pairs[1].reference, reference_mask=pairs[1].reference_mask)
    rng = rng_for(0, 0, "collage")
    return [pipeline.conditioner().condition(pair, rng) for pair in (pairs[0], other)]


@pytest.fixture(scope="module")
def prepared(pipeline: AnyDoorPipeline, shown: list[Conditioning]) -> list[Prepared]:
    return [pipeline.prepare([one]) for one in shown]


def last(steps: object) -> torch.Tensor:
    return list(steps)[-1].x  # type: ignore[call-overload]


def test_attention_rows_sum_to_one_and_features_stay_the_same(
    pipeline: AnyDoorPipeline, networks: Path, shown: list[Conditioning]
) -> None:
    images = np.stack([one.id_image for one in shown])
    for extractor in (pipeline.id_extractor, ClipExtractor.from_encoder(networks / "clip", 32)):
        before = features.features(extractor, images)
        settings = extractor.encoder.config._attn_implementation
        layers = attention.attention_layers(extractor, images)
        assert layers.shape == (2, 2, 2, 17, 17)
        assert np.allclose(layers.sum(axis=-1), 1, atol=1e-5)
        assert extractor.encoder.config._attn_implementation == settings
        assert np.array_equal(features.features(extractor, images), before)


def test_class_attention_and_rollout_are_maps_of_the_patches() -> None:
    layers = np.zeros((2, 1, 3, 5, 5))
    layers[:] = np.eye(5)
    layers[1, 0, :, 0] = [0.2, 0.5, 0.3, 0, 0]  # the class token looks up only, in the last layer
    assert np.allclose(attention.class_attention(layers)[0, 1], [[0.5, 0.3], [0, 0]])
    assert np.allclose(attention.attention_rollout(layers)[0], [[0.25, 0.15], [0, 0]])
    assert np.allclose(attention.attention_rollout(layers, 0.0)[0], [[0.5, 0.3], [0, 0]])
    with pytest.raises(ValueError, match="residual is 1"):
        attention.attention_rollout(layers, 1)


def test_an_extractor_without_attention_is_refused(networks: Path) -> None:
    vgg = VggExtractor.from_encoder(networks / "vgg", 32)
    with pytest.raises(ValueError, match="VggExtractor has no attention"):
        attention.attention_layers(vgg, np.zeros((1, 3, 64, 64), np.float32))


def test_cross_attention_shares_sum_to_one_and_looking_changes_no_pixel(
    pipeline: AnyDoorPipeline, prepared: list[Prepared]
) -> None:
    unseen = last(pipeline.denoise(prepared[0], [[3]], STEPS))
    seen = cross_attention.cross_attention(pipeline, prepared[0], 3, STEPS)
    assert torch.equal(last(pipeline.denoise(prepared[0], [[3]], STEPS)), unseen)
    assert seen.t.tolist() == [999, 749, 499, 249]
    assert seen.maps.shape == (STEPS, 16, 16, 17)
    assert np.allclose(seen.maps.sum(axis=-1), 1, atol=1e-5)
    region = np.zeros((64, 64), np.bool_)
    region[:4, :4] = True  # the first place only
    assert np.allclose(seen.looked_at(region), seen.maps[:, 0, 0])
    with pytest.raises(ValueError, match="holds no place"):
        seen.looked_at(np.zeros((64, 64), np.bool_))


def test_cross_attention_takes_one_pair(
    pipeline: AnyDoorPipeline, shown: list[Conditioning]
) -> None:
    with pytest.raises(ValueError, match="2 pairs"):
        cross_attention.cross_attention(pipeline, pipeline.prepare(shown))


def test_detail_energy_is_that_of_the_maps_and_split_by_the_region(
    pipeline: AnyDoorPipeline, prepared: list[Prepared], shown: list[Conditioning]
) -> None:
    region = shown[0].shape_mask[0] > 0
    energy = details.detail_energy(pipeline, prepared[0], region, [900, 100])
    assert energy.sides.tolist() == [16, 8]
    assert energy.inside.shape == energy.outside.shape == (2, 2)
    one = prepared[0]
    with torch.no_grad():
        maps = pipeline.model.details(one.hints, torch.tensor([900]), one.tokens)
    everywhere = details.detail_energy(pipeline, one, np.ones_like(region), [900])
    large = [m.square().mean() for m in maps if m.shape[-1] == 16]
    assert everywhere.inside[0, 0] == pytest.approx(float(torch.stack(large).mean().sqrt()), 1e-4)


def test_conditions_switch_at_the_step_asked_for(
    pipeline: AnyDoorPipeline, prepared: list[Prepared]
) -> None:
    first, then = prepared
    alone = [last(pipeline.denoise(one, [[0]], STEPS)) for one in prepared]
    ends = [
        last(swapping.denoise_switched(pipeline, first, then, step, 0, STEPS))
        for step in (STEPS, 2, 0)
    ]
    assert torch.equal(ends[0], alone[0])
    assert torch.equal(ends[2], alone[1])
    assert not torch.equal(ends[1], alone[0])
    assert not torch.equal(ends[1], alone[1])
    with pytest.raises(ValueError, match="step is 9; expected 0 to 4"):
        list(swapping.denoise_switched(pipeline, first, then, 9, 0, STEPS))


def test_swapping_takes_tokens_here_and_the_hint_there(prepared: list[Prepared]) -> None:
    swapped = swapping.swap(tokens_of=prepared[0], details_of=prepared[1])
    assert torch.equal(swapped.tokens, prepared[0].tokens)
    assert swapped.hints is prepared[1].hints
    with pytest.raises(ValueError, match="as many pairs"):
        smaller = {name: hint[:, :, :8] for name, hint in prepared[1].hints.items()}
        swapping.swap(prepared[0], replace(prepared[1], hints=smaller))


def test_decided_shares_are_zero_at_the_first_result_and_one_at_the_last() -> None:
    drawn = rng_for(0, 0, "crops").integers(0, 256, (2, 3, 32, 32, 3), np.uint8)
    shares = swapping.decided_shares(np.stack([drawn[0], drawn[0], drawn[1]]))
    assert set(shares) == {"structure", "details", "colour"}
    for share in shares.values():
        assert share.shape == (3, 3)  # each of three pairs has its own
        assert np.allclose(share.T, [0, 0, 1])
    greys = np.uint8([100, 140, 180]).reshape(3, 1, 1, 1, 1)
    brighter = np.broadcast_to(greys, (3, 1, 16, 16, 3))
    assert 0.4 < swapping.decided_shares(brighter)["structure"][1, 0] < 0.6


def test_timestep_shares_show_what_each_variation_trains() -> None:
    adaptive = partial(adaptive_timesteps, mass=0.75)
    shares = timesteps.timestep_shares(adaptive, ["video", "still", "multiview"], bins=2)
    assert {n: round(float(s[1]), 1) for n, s in shares.items()} == {
        "video": 0.8, "still": 0.2, "multiview": 0.5,
    }  # fmt: skip
    flat = timesteps.timestep_shares(uniform_timesteps, ["video"], bins=20)["video"]
    assert flat.shape == (20,)
    assert np.abs(flat - 0.05).max() < 0.01


def test_loss_at_each_timestep_is_one_number_per_pair(
    pipeline: AnyDoorPipeline, shown: list[Conditioning]
) -> None:
    losses = timesteps.loss_at(pipeline, shown, [900, 500, 100], seed=1)
    assert losses.shape == (3, 2)
    assert np.array_equal(losses, timesteps.loss_at(pipeline, shown, [900, 500, 100], seed=1))
    assert (losses > 0).all()


def test_frames_are_the_two_photos_of_each_object_with_or_without_background() -> None:
    pairs = features.moving_pairs(WORLD, 3)
    first, second = features.frames(pairs, 32)
    assert first.shape == second.shape == (3, 3, 32, 32)
    assert (first[:, :, 0, 0] == 1).all()
    assert len({pair.origin for pair in pairs}) == 3
    kept, _ = features.frames(pairs, 32, remove_background=False)
    assert kept.mean() < first.mean()
    with pytest.raises(ValueError, match="0 entries have a second frame"):
        features.moving_pairs(World(split="held_out", variations={"still": 1}, letters="A"), 3)


def test_retrieval_counts_queries_that_find_their_own_second_frame() -> None:
    rng = rng_for(0, 0, "features")
    queries = rng.standard_normal((20, 5, 8)).astype(np.float32)
    queries /= np.linalg.norm(queries, axis=2, keepdims=True)
    for compared in ("global", "pooled", "tokens"):
        alike = features.similarity(queries, queries, compared)
        assert np.allclose(np.diag(alike), 1, atol=1e-5)
        assert features.retrieval(alike).mean == 100
    turned = features.similarity(queries, np.roll(queries, 1, axis=0), "tokens")
    assert features.retrieval(turned).mean == 0
    assert np.allclose(
        features.similarity(queries, queries[:, :1], "global"),
        queries[:, 0] @ queries[:, 0].T,
        atol=1e-5,
    )


def test_token_components_give_equal_colours_to_equal_features() -> None:
    tokens = np.zeros((2, 5, 4), np.float32)
    tokens[0, 1:3] = [1, 0, 0, 0]
    tokens[:, 3:] = [0, 1, 0, 0]
    colours = features.token_components(tokens)
    assert colours.shape == (2, 2, 2, 3)
    assert np.allclose(colours[0, 1], colours[1, 1])
    assert not np.allclose(colours[0, 0, 0], colours[0, 1, 0])
    assert colours.min() >= 0
    assert colours.max() <= 1
