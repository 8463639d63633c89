"""Training in bf16 with copies of the weights in fp32: what fp32 learns, resumed exactly."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from torch import nn

from anydoor_lab.training.batches import FitSettings
from anydoor_lab.training.checkpoint import newest_checkpoint
from anydoor_lab.training.fit import TrainingState, fit, start
from anydoor_lab.training.precision import Masters
from small import RandomSamples, move_zero_convolutions, small_objective, small_pipeline

SETTINGS = FitSettings(
    steps=8, batch_size=4, learning_rate=1e-3, ema_decay=0.9, log_every=1, checkpoint_every=4
)


def objective(networks: Path, seed: int, dtype: torch.dtype) -> nn.Module:
    model = small_pipeline(networks).model
    move_zero_convolutions(model.detail_extractor)
    made = small_objective(model, seed=seed)
    made.model.to(dtype)
    return made


def trained(
    made: nn.Module, folder: Path | None = None, settings: FitSettings = SETTINGS
) -> tuple[TrainingState, list[float]]:
    state = start(made, settings, Accelerator(cpu=True))
    found = folder and newest_checkpoint(folder)
    if found:
        state.restore(found)
    losses = [p.metrics["loss"] for p in fit(state, RandomSamples(), settings, folder, {})]
    return state, losses


def kept(state: TrainingState) -> dict[str, Any]:
    return {n: t.detach().clone() for n, t in state.trained.items()}


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_bf16_with_copies_learns_what_fp32_learns(networks: Path, seed: int) -> None:
    _, full = trained(objective(networks, seed, torch.float32))
    _, half = trained(objective(networks, seed, torch.bfloat16))
    assert np.abs(np.array(full) / np.array(half) - 1).max() < 0.02


def test_weights_compute_in_bf16_and_are_kept_averaged_and_saved_in_fp32(
    networks: Path, tmp_path: Path
) -> None:
    state, _ = trained(objective(networks, 0, torch.bfloat16), tmp_path)
    assert {p.dtype for p in state.objective.parameters()} == {torch.bfloat16}
    for name, tensor in state.trained.items():
        assert tensor.dtype == torch.float32
        assert torch.equal(tensor.bfloat16(), state.live[name])
    found = newest_checkpoint(tmp_path)
    assert found is not None
    for group in ("weights", "ema"):
        assert {t.dtype for t in found.tensors[group].values()} == {torch.float32}
    with state.averaged():
        for name, tensor in state.averaged_tensors().items():
            assert torch.equal(tensor.bfloat16(), state.live[name])
    moved = [n for n, t in state.trained.items() if not torch.equal(t, t.bfloat16().float())]
    assert moved  # there is more in the copies than bf16 holds


def test_a_resumed_run_ends_as_the_straight_one_bit_for_bit(networks: Path, tmp_path: Path) -> None:
    straight, _ = trained(objective(networks, 0, torch.bfloat16))
    short = FitSettings(**{**{f: getattr(SETTINGS, f) for f in SETTINGS.__slots__}, "steps": 4})
    trained(objective(networks, 0, torch.bfloat16), tmp_path, short)
    resumed, _ = trained(objective(networks, 0, torch.bfloat16), tmp_path)
    assert resumed.step == 8
    for name, tensor in kept(straight).items():
        assert torch.equal(tensor, resumed.trained[name])
    for name, tensor in straight.averaged_tensors().items():
        assert torch.equal(tensor, resumed.averaged_tensors()[name])


@pytest.mark.parametrize(
    ("first", "second"), [(torch.float32, torch.bfloat16), (torch.bfloat16, torch.float32)]
)
def test_a_checkpoint_loads_into_either(
    networks: Path, tmp_path: Path, first: torch.dtype, second: torch.dtype
) -> None:
    before, _ = trained(objective(networks, 0, first), tmp_path)
    state = start(objective(networks, 0, second), SETTINGS, Accelerator(cpu=True))
    found = newest_checkpoint(tmp_path)
    assert found is not None
    state.restore(found)
    for name, tensor in kept(before).items():
        assert torch.equal(tensor, state.trained[name])
        assert torch.equal(tensor.to(second), state.live[name])


def test_small_updates_add_up_in_the_copies() -> None:
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    masters = Masters([weight])
    optimizer = torch.optim.SGD(masters.weights, lr=1e-3)
    for _ in range(8):
        weight.grad = torch.ones_like(weight)
        masters.gather()
        optimizer.step()
        optimizer.zero_grad()
        masters.hand_down()
    assert weight.item() == pytest.approx(0.992, abs=0.004)  # in bf16 alone it stays at 1


def test_gradients_of_several_parts_of_a_batch_add_up_in_fp32() -> None:
    weight = nn.Parameter(torch.ones(1, dtype=torch.bfloat16))
    masters = Masters([weight])
    for part in (1.0, 2**-9):  # their sum is no bf16 number
        weight.grad = torch.full_like(weight, part)
        masters.gather()
    assert masters.weights[0].grad is not None
    assert masters.weights[0].grad.item() == 1 + 2**-9 and weight.grad is None
