"""Checkpoints in the background: the state of their own step, whole or not there, errors told."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from anydoor_lab.training import fit as fitting
from anydoor_lab.training.checkpoint import load_checkpoint, newest_checkpoint, save_checkpoint
from anydoor_lab.training.writing import Writing, copied
from test_training import SHORT, Line, Points, state_of


def test_a_checkpoint_holds_its_own_step_however_late_it_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    may_write = threading.Event()

    def late(*given: object, **settings: object) -> Path:
        assert may_write.wait(10)
        return save_checkpoint(*given, **settings)  # type: ignore[arg-type]

    monkeypatch.setattr(fitting, "save_checkpoint", late)
    state = state_of(Line())
    steps = fitting.fit(state, Points(), SHORT, tmp_path)
    next(steps)
    first = {name: tensor.detach().clone() for name, tensor in state.trained.items()}
    next(steps)  # the first checkpoint is begun, the weights move on
    assert newest_checkpoint(tmp_path) is None
    moved = dict(state.trained)
    assert any(not torch.equal(first[name], moved[name]) for name in first)
    may_write.set()
    list(steps)
    found = load_checkpoint(tmp_path / "step_00000001")
    assert all(torch.equal(found.tensors["weights"][name], first[name]) for name in first)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.step == SHORT.steps


def test_a_failed_write_is_told_at_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*given: object, **settings: object) -> Path:
        raise OSError("no space left on device")

    monkeypatch.setattr(fitting, "save_checkpoint", full)
    taken = []
    with pytest.raises(OSError, match="no space left"):
        for progress in fitting.fit(state_of(Line()), Points(), SHORT, tmp_path):
            taken.append(progress.step)
    assert taken[0] == 1 and len(taken) <= 3


def test_only_one_is_written_at_a_time() -> None:
    busy, most = [], []

    def write() -> None:
        busy.append(1)
        most.append(len(busy))
        threading.Event().wait(0.02)
        busy.pop()

    writing = Writing()
    for _ in range(4):
        writing.begin(write)
    writing.finish()
    assert most == [1, 1, 1, 1]


def test_a_consumer_that_leaves_early_finds_the_checkpoint_whole(tmp_path: Path) -> None:
    steps = fitting.fit(state_of(Line()), Points(), SHORT, tmp_path)
    next(steps), next(steps)
    steps.close()  # type: ignore[attr-defined]
    found = newest_checkpoint(tmp_path)
    assert found is not None and found.step == 1


def test_copies_do_not_follow_their_tensors() -> None:
    tensor = torch.zeros(3)
    taken = copied({"weights": {"a": tensor}})
    tensor += 1
    assert taken["weights"]["a"].tolist() == [0, 0, 0]


def test_milestones_are_averaged_weights_that_stay(tmp_path: Path) -> None:
    settings = replace(SHORT, steps=6, keep_checkpoints=1, milestone_every=2)
    state = state_of(Line())
    list(fitting.fit(state, Points(), settings, tmp_path, {"frozen": "f"}))
    kept = sorted(path.name for path in tmp_path.iterdir())
    names = [f"milestone_{step:08d}" for step in (2, 4, 6)]
    assert kept == [*names, "step_00000006"]
    found = load_checkpoint(tmp_path / names[-1])
    assert set(found.tensors) == {"ema"} and found.facts["frozen"] == "f" and found.step == 6
    for name, tensor in state.averaged_tensors().items():
        assert torch.equal(found.tensors["ema"][name], tensor)
    newest = newest_checkpoint(tmp_path)
    assert newest is not None and newest.path.name == "step_00000006"
    with pytest.raises(ValueError, match="is a milestone, without the optimizer's state"):
        state_of(Line()).restore(found)


def test_a_milestone_that_no_checkpoint_is_written_with_is_refused() -> None:
    with pytest.raises(ValueError, match=r"milestone_every is 3; expected 0, or a multiple of"):
        replace(SHORT, checkpoint_every=2, milestone_every=3)
