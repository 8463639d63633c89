"""Memory: frozen parts in 16 bits, activations computed again, the plan before training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from anydoor_lab.training.checkpoint import hash_tensors
from anydoor_lab.training.fit import optimizer_class
from anydoor_lab.training.footprint import Footprint, measure_footprint
from anydoor_lab.training.precision import (
    frozen_layers,
    recompute_activations,
    round_frozen,
    store_frozen,
)
from small import batch_of, move_zero_convolutions, small_objective, small_pipeline


def tensors(model: torch.nn.Module, trained: bool) -> dict[str, torch.Tensor]:
    named = model.named_parameters()
    return {n: p.detach().clone() for n, p in named if p.requires_grad == trained}


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_frozen_parts_stay_bit_identical_and_only_trained_parts_are_fp32(
    networks: Path, precision: str
) -> None:
    objective = small_objective(small_pipeline(networks).model)
    store_frozen(objective.model, precision)
    before, start = tensors(objective, trained=False), tensors(objective, trained=True)
    learner = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=1e-2)
    for step in range(3):
        objective(batch_of(range(4 * step, 4 * step + 4)))["loss"].backward()
        learner.step()
        learner.zero_grad()
    assert hash_tensors(tensors(objective, trained=False)) == hash_tensors(before)
    after = tensors(objective, trained=True)
    assert {t.dtype for t in after.values()} == {torch.float32}
    assert any(not torch.equal(after[name], start[name]) for name in start)
    stored = {p.dtype for layer in frozen_layers(objective) for p in layer.parameters()}
    assert stored == {{"fp32": torch.float32, "bf16": torch.bfloat16}.get(precision, torch.float16)}


def test_stored_and_rounded_weights_give_the_same_loss(networks: Path) -> None:
    losses = []
    for prepare in (store_frozen, round_frozen):
        objective = small_objective(small_pipeline(networks).model)
        prepare(objective.model, "bf16")
        losses.append(objective(batch_of(range(4)))["loss"])
    assert torch.equal(*losses)


def test_activations_computed_again_give_the_same_gradient_from_less_memory(networks: Path) -> None:
    gradients, kept = [], []
    for again in (False, True):
        pipeline = small_pipeline(networks)
        move_zero_convolutions(pipeline.detail_extractor)
        objective, sizes = small_objective(pipeline.model), []
        if again:
            recompute_activations(objective.model)

        def keep(tensor: torch.Tensor, sizes: list[int] = sizes) -> torch.Tensor:
            sizes.append(tensor.nbytes)
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
            loss = objective(batch_of(range(4)))["loss"]
            kept.append(sum(sizes))
        loss.backward()
        named = objective.named_parameters()
        gradients.append({n: p.grad for n, p in named if p.grad is not None})
    for name, gradient in gradients[0].items():
        assert torch.allclose(gradient, gradients[1][name], atol=1e-6), name
    assert kept[1] < 0.8 * kept[0]  # weights and frozen inputs are in both


def test_an_unknown_precision_or_optimizer_is_refused(networks: Path) -> None:
    with pytest.raises(ValueError, match="expected one of fp32, bf16, fp16"):
        store_frozen(torch.nn.Linear(2, 2), "int3")
    with pytest.raises(ValueError, match="expected adamw or adamw8bit"):
        optimizer_class("sgd")


def test_8_bit_adam_is_asked_for_by_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "bitsandbytes", None)
    with pytest.raises(ValueError, match=r"needs bitsandbytes, .*pip install"):
        optimizer_class("adamw8bit")


def test_the_plan_says_whether_it_fits_and_what_to_do() -> None:
    needed = Footprint(weights=10**9, state=3 * 10**9, per_image=10**9)
    assert "8.00 GB; fits cuda (9.0 GB free)" in needed.plan(4, 1, 9 * 10**9, "cuda")
    assert needed.plan(4, 1, 7 * 10**9, "cuda").endswith("use train.micro_batches=2")
    assert "train.optimizer=adamw8bit" in needed.plan(4, 1, 2 * 10**9, "cuda")


class Computed(TorchDispatchMode):
    """Counts the bytes of all that is computed, but for tensors without memory."""

    bytes = 0

    def __torch_dispatch__(self, call: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = call(*args, **(kwargs or {}))
        for value in result if isinstance(result, tuple | list) else (result,):
            if isinstance(value, torch.Tensor) and value.device.type != "meta":
                self.bytes += value.nbytes
        return result


def test_the_plan_is_made_without_computing_anything(networks: Path) -> None:
    model = small_pipeline(networks).model.freeze()
    with Computed() as computed:
        needed = measure_footprint(model, 64, sixteen_bit=False, state=16)
    assert computed.bytes < 0.05 * needed.weights
    assert needed.weights == sum(p.nbytes for p in model.parameters())
    # four times as many pixels need more than three times as much; more bits need more
    larger = measure_footprint(model, 128, sixteen_bit=False, state=16)
    shorter = measure_footprint(model, 64, sixteen_bit=True, state=16)
    assert larger.per_image > 3 * needed.per_image
    assert shorter.per_image < 0.6 * needed.per_image
    with Computed() as computed:
        torch.ones(100)
    assert computed.bytes == 400
