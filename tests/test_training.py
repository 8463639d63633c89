"""Training: the same numbers however the work is interrupted, divided or repeated."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from safetensors.torch import load_file
from torch import nn

from anydoor_lab.training.checkpoint import hash_tensors, load_checkpoint, newest_checkpoint
from anydoor_lab.training.fit import FitSettings, Plan, TrainingState, fit, learning_rate, start
from small import RandomSamples, small_objective, small_pipeline

ROOT = Path(__file__).resolve().parents[1]
SHORT = FitSettings(
    steps=4,
    batch_size=4,
    learning_rate=1e-3,
    warmup_steps=2,
    decay_share=0.5,
    log_every=1,
    checkpoint_every=1,
    keep_checkpoints=9,
)


class Line(nn.Module):
    """A regression that trains in no time; its gradient is not finite at the chosen samples."""

    def __init__(self, broken: tuple[int, ...] = ()) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.layer = nn.Linear(3, 1)
        self.frozen = nn.Linear(3, 1).requires_grad_(False)
        self.broken = broken

    def forward(self, batch: dict[str, Any]) -> dict[str, Any]:
        error = self.layer(batch["x"]) - batch["y"]
        per_sample = error.square().mean(1)
        if set(batch["index"].tolist()) & set(self.broken):
            per_sample = per_sample * math.inf
        return {"loss": per_sample.mean(), "per_sample": per_sample, "groups": {}}


class Points:
    """Points of a plane; sample i is a pure function of i."""

    def __getitem__(self, index: int) -> dict[str, Any]:
        x = torch.sin(torch.arange(3) + index)
        return {"index": index, "x": x, "y": x.sum(0, keepdim=True)}


def state_of(objective: nn.Module, settings: FitSettings = SHORT) -> TrainingState:
    return start(objective, settings, Accelerator(cpu=True))


def train(
    objective: nn.Module, settings: FitSettings = SHORT, samples: Any = None, **where: Any
) -> tuple[TrainingState, list[float]]:
    """The state after training and the loss of every step."""
    state = state_of(objective, settings)
    done = fit(state, samples or Points(), settings, **where)
    return state, [p.metrics["loss"] for p in done if p.metrics]


def fingerprint(state: TrainingState) -> dict[str, Any]:
    """Hashes of everything that goes on from one step to the next."""
    entries = state.optimizer.state_dict()["state"]
    flat = {f"{i}.{k}": v for i, entry in entries.items() for k, v in entry.items()}
    return {
        "weights": hash_tensors(dict(state.objective.state_dict())),
        "ema": hash_tensors(state.averaged_tensors()),
        "optimizer": hash_tensors(flat),
        "steps": (state.step, state.ema.optimization_step),
    }


@pytest.fixture(scope="module")
def straight(
    networks: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, dict[str, Any], list[float]]:
    """Checkpoints of an uninterrupted run of the small networks, its end and its losses."""
    folder = tmp_path_factory.mktemp("straight")
    objective = small_objective(small_pipeline(networks).model, cond_drop_prob=0.2)
    state, losses = train(objective, samples=RandomSamples(), folder=folder)
    return folder, fingerprint(state), losses


def test_the_same_seed_gives_the_same_loss(
    networks: Path, straight: tuple[Path, dict[str, Any], list[float]]
) -> None:
    objective = small_objective(small_pipeline(networks).model, cond_drop_prob=0.2)
    torch.manual_seed(99)  # the global random state plays no part
    state, losses = train(objective, samples=RandomSamples())
    assert losses == straight[2]
    assert fingerprint(state) == straight[1]


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (2, 0), (3, 0), (1, 2)])
def test_a_run_resumed_at_any_step_ends_as_the_straight_one(
    networks: Path,
    straight: tuple[Path, dict[str, Any], list[float]],
    step: int,
    workers: int,
) -> None:
    folder, expected, losses = straight
    objective = small_objective(small_pipeline(networks).model, cond_drop_prob=0.2)
    settings = replace(SHORT, workers=workers)
    state = state_of(objective, settings)
    state.restore(load_checkpoint(folder / f"step_{step:08d}"))
    done = list(fit(state, RandomSamples(), settings))
    assert [p.step for p in done] == list(range(step + 1, 5))
    assert [p.metrics["loss"] for p in done] == losses[step:]
    assert fingerprint(state) == expected


def test_a_run_resumed_after_a_skipped_step_ends_as_the_straight_one(tmp_path: Path) -> None:
    straight, _ = train(Line(broken=(5,)), folder=tmp_path)
    resumed = state_of(Line(broken=(5,)))
    resumed.restore(load_checkpoint(tmp_path / "step_00000003"))
    list(fit(resumed, Points(), SHORT))
    assert fingerprint(resumed) == fingerprint(straight)


def test_training_lowers_the_loss_and_the_averages_lag_behind() -> None:
    state, losses = train(Line(), replace(SHORT, steps=60, learning_rate=0.05))
    assert losses[-1] < 0.2 * losses[0]
    weights = hash_tensors(dict(state.objective.state_dict()))
    with state.averaged() as objective:
        assert hash_tensors(dict(objective.state_dict())) != weights and not objective.training
    assert hash_tensors(dict(state.objective.state_dict())) == weights and objective.training


@pytest.mark.parametrize("micro_batches", [2, 4])
def test_micro_batches_change_nothing_but_rounding(micro_batches: int) -> None:
    whole, losses = train(Line())
    parts, others = train(Line(), replace(SHORT, micro_batches=micro_batches))
    assert losses == pytest.approx(others, abs=1e-6)
    for name, tensor in whole.trained.items():
        torch.testing.assert_close(parts.trained[name], tensor, rtol=0, atol=1e-6)


def test_micro_batches_of_the_real_objective_agree_too(networks: Path) -> None:
    ends = []
    for micro_batches in (1, 2):
        settings = replace(SHORT, steps=1, micro_batches=micro_batches, learning_rate=1e-4)
        objective = small_objective(small_pipeline(networks).model)
        ends.append(train(objective, settings, RandomSamples()))
    assert ends[0][1] == pytest.approx(ends[1][1], abs=1e-5)


@pytest.mark.parametrize(("world", "micro_batches"), [(1, 1), (2, 1), (1, 3), (2, 3)])
def test_every_sample_is_seen_once_however_the_work_is_divided(
    world: int, micro_batches: int
) -> None:
    settings = FitSettings(steps=5, batch_size=12, micro_batches=micro_batches)
    plans = [Plan(settings, 2, rank, world) for rank in range(world)]
    batches = [list(plan) for plan in plans]
    assert all(len(plan) == len(b) for plan, b in zip(plans, batches, strict=True))
    seen = sorted(index for b in batches for micro in b for index in micro)
    assert seen == list(range(24, 60))


def test_the_learning_rate_warms_up_holds_and_falls_to_zero() -> None:
    settings = FitSettings(steps=100, learning_rate=2.0, warmup_steps=10, decay_share=0.2)
    rates = [learning_rate(step, settings) for step in range(101)]
    assert rates[:10] == pytest.approx([0.2 * (step + 1) for step in range(10)])
    assert rates[10:81] == [2.0] * 71
    assert rates[90] == pytest.approx(1.0)
    assert all(a > b for a, b in zip(rates[80:], rates[81:], strict=False))
    assert rates[100] == pytest.approx(0)


def test_without_warmup_and_decay_the_learning_rate_is_constant() -> None:
    settings = FitSettings(steps=10, learning_rate=3e-4)
    assert {learning_rate(step, settings) for step in range(10)} == {3e-4}


def test_a_gradient_that_is_not_finite_changes_nothing() -> None:
    state = state_of(Line(broken=(4,)))
    steps = fit(state, Points(), SHORT)
    next(steps)
    before = fingerprint(state)
    progress = next(steps)
    after = fingerprint(state)
    assert progress.metrics["skipped_steps"] == 1
    assert {k: v for k, v in before.items() if k != "steps"} == {
        k: v for k, v in after.items() if k != "steps"
    }
    next(steps)
    assert fingerprint(state)["weights"] != before["weights"]


def test_ten_gradients_in_a_row_that_are_not_finite_stop_the_run() -> None:
    settings = replace(SHORT, steps=40)
    state = state_of(Line(broken=tuple(range(20, 200))), settings)
    with pytest.raises(RuntimeError, match="10 steps in a row up to step 15; lower train.learning"):
        list(fit(state, Points(), settings))
    assert all(torch.isfinite(p).all() for p in state.trained.values())


@pytest.mark.parametrize("every", [1, 4, 100])
def test_a_repeated_run_does_not_walk_past_gradients_that_are_not_finite(
    tmp_path: Path, every: int
) -> None:
    settings = replace(SHORT, steps=16, checkpoint_every=every)
    for _ in range(3):
        state = state_of(Line(broken=tuple(range(12, 200))), settings)
        found = newest_checkpoint(tmp_path)
        if found:
            state.restore(found)
        with pytest.raises(RuntimeError, match="10 steps in a row up to step 13"):
            list(fit(state, Points(), settings, tmp_path))
    assert not (tmp_path / "step_00000016").exists()


def test_a_run_saved_at_its_last_allowed_skip_does_not_go_on(tmp_path: Path) -> None:
    settings = replace(SHORT, steps=40, checkpoint_every=100)
    state = state_of(Line(broken=tuple(range(40))), settings)
    for progress in fit(state, Points(), settings):
        assert progress.skipped
        if progress.step == 10:
            state.save(tmp_path, {}, 1)  # as a signal does
            break
    again = state_of(Line(), settings)
    again.restore(load_checkpoint(tmp_path / "step_00000010"))
    with pytest.raises(RuntimeError, match="10 steps in a row up to step 10"):
        next(fit(again, Points(), settings))


def test_skipped_steps_are_counted_over_a_resume(tmp_path: Path) -> None:
    state = state_of(Line(broken=(1, 5)))
    steps = fit(state, Points(), SHORT, tmp_path)
    assert [next(steps).skipped for _ in range(3)] == [True, True, False]
    state.writing.finish()
    resumed = state_of(Line(broken=(13,)))
    resumed.restore(load_checkpoint(tmp_path / "step_00000002"))
    list(fit(resumed, Points(), SHORT))
    assert resumed.skipped == (3, 1)


def test_a_step_is_shown_to_its_consumer_before_it_can_be_gone_on_from(tmp_path: Path) -> None:
    for progress in fit(state_of(Line()), Points(), SHORT, tmp_path):
        assert not (tmp_path / f"step_{progress.step:08d}").exists()
    assert (tmp_path / "step_00000004").is_dir()


def test_nine_in_a_row_do_not_stop_it() -> None:
    broken = tuple(range(20, 56)) + tuple(range(60, 96))
    state, _ = train(Line(broken), replace(SHORT, steps=26))
    assert state.step == 26 and state.ema.optimization_step == 26 - 18


def test_gradients_are_clipped_to_the_norm_asked_for() -> None:
    class Recorder(torch.optim.SGD):
        norms: list[float] = []

        def step(self, closure: Any = None) -> None:
            grads = [p.grad for g in self.param_groups for p in g["params"]]
            self.norms.append(float(torch.cat([g.reshape(-1) for g in grads]).norm()))

    state = state_of(Line())
    state.optimizer = Recorder(list(state.trained.values()), lr=1.0)
    settings = replace(SHORT, gradient_clip=0.01)
    done = list(fit(state, Points(), settings))
    assert all(p.metrics["gradient_norm"] > 0.01 for p in done)
    assert Recorder.norms == pytest.approx([0.01] * 4, rel=1e-3)


def test_frozen_parameters_are_neither_changed_nor_saved(tmp_path: Path) -> None:
    objective = Line()
    before = hash_tensors(objective.frozen.state_dict())
    train(objective, folder=tmp_path)
    saved = newest_checkpoint(tmp_path)
    assert saved is not None and set(saved.tensors["weights"]) == {"layer.weight", "layer.bias"}
    assert hash_tensors(objective.frozen.state_dict()) == before


def test_checkpoints_are_written_on_time_and_at_the_end(tmp_path: Path) -> None:
    settings = replace(SHORT, steps=7, checkpoint_every=3, log_every=2)
    state = state_of(Line(), settings)
    done = list(fit(state, Points(), settings, tmp_path, {"commit": "abc"}))
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"step_0000000{k}" for k in (3, 6, 7)]
    assert load_checkpoint(tmp_path / "step_00000006").facts["commit"] == "abc"
    assert [p.step for p in done if p.metrics] == [2, 4, 6, 7]
    assert [p.samples for p in done] == [4 * k for k in range(1, 8)]


def test_groups_are_averaged_over_the_samples_that_belong_to_them(
    networks: Path,
) -> None:
    settings = replace(SHORT, steps=2, log_every=2)
    objective = small_objective(small_pipeline(networks).model)
    state = state_of(objective, settings)
    metrics = list(fit(state, RandomSamples(), settings))[-1].metrics
    # of samples 0 to 7, three are still, three video, two multiview
    means = [metrics[f"loss/{name}"] for name in ("still", "video", "multiview")]
    assert (3 * means[0] + 3 * means[1] + 2 * means[2]) / 8 == pytest.approx(metrics["loss"])


def test_nothing_to_train_and_uneven_batches_are_refused() -> None:
    with pytest.raises(ValueError, match="no parameter requires a gradient"):
        state_of(Line().requires_grad_(False))
    with pytest.raises(ValueError, match="batch_size 4 cannot be split .* a multiple of 3"):
        state_of(Line(), replace(SHORT, micro_batches=3))


def test_a_checkpoint_of_another_architecture_is_refused(tmp_path: Path) -> None:
    train(Line(), folder=tmp_path)
    wider = Line()
    wider.layer = nn.Linear(5, 1)
    with pytest.raises(ValueError, match=r"layer.weight is \[1, 3\], the model has \[1, 5\]"):
        state_of(wider).restore(load_checkpoint(tmp_path / "step_00000004"))


TWO = """
import sys
from pathlib import Path
from accelerate import Accelerator
from small import RandomSamples, small_objective, small_pipeline
from anydoor_lab.training.fit import FitSettings, fit, start
settings = FitSettings(steps=2, batch_size=4, learning_rate=1e-5, checkpoint_every=2)
accelerator = Accelerator(cpu=True)
assert accelerator.num_processes == 2
state = start(small_objective(small_pipeline(Path(sys.argv[1])).model), settings, accelerator)
list(fit(state, RandomSamples(), settings, Path(sys.argv[2])))
"""


def test_two_processes_end_with_the_weights_of_one(networks: Path, tmp_path: Path) -> None:
    script, folder = tmp_path / "two.py", tmp_path / "run"
    script.write_text(TWO)
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    search = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    env = os.environ | {"PYTHONPATH": search, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    command = [*launch, str(script), str(networks), str(folder)]
    result = subprocess.run(command, env=env, capture_output=True, text=True, timeout=180)
    assert result.returncode == 0, result.stderr[-2000:]

    settings = replace(SHORT, steps=2, learning_rate=1e-5, warmup_steps=0, decay_share=0)
    alone, _ = train(small_objective(small_pipeline(networks).model), settings, RandomSamples())
    untrained = small_objective(small_pipeline(networks).model).state_dict()
    together = load_file(folder / "step_00000002" / "weights.safetensors")
    moved = {}
    for name, tensor in alone.trained.items():
        torch.testing.assert_close(together[name], tensor.detach(), rtol=0, atol=1e-6)
        moved[name] = float((tensor.detach() - untrained[name]).abs().max())
    # far more than the tolerance: Adam moves a weight by some 1e-5 a step
    assert moved["model.unet.conv_out.weight"] > 5e-6
    assert moved["model.id_extractor.projector.weight"] > 5e-6
