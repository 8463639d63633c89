"""The train command in this process: stopped, damaged and repeated, it ends as the straight one."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.runs.folder import read_scores
from anydoor_lab.runs.records import read_records
from anydoor_lab.runs.tracking import read_metrics
from anydoor_lab.training.checkpoint import hash_tensors, load_checkpoint
from test_doors import Train, quick_train

__all__ = ["quick_train"]


def hashes_of(folder: Path, step: int) -> dict[str, str]:
    checkpoint = load_checkpoint(folder / "checkpoints" / f"step_{step:08d}")
    return {group: hash_tensors(named) for group, named in checkpoint.tensors.items()}


def test_a_signal_stops_a_run_which_then_goes_on_to_the_same_weights(
    quick_train: Train, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = ("train.steps=6", "train.log_every=1")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    quick_train(*settings, folder=straight)
    begun = threading.Thread(target=signal_after_first_record, args=(stopped,))
    begun.start()
    with pytest.raises(SystemExit) as end:
        quick_train(*settings, folder=stopped)
    begun.join()
    assert end.value.code == 143
    (saved,) = (stopped / "checkpoints").iterdir()
    assert f"the same command goes on from {saved}" in capsys.readouterr().err
    quick_train(*settings, folder=stopped)
    assert hashes_of(straight, 6) == hashes_of(stopped, 6)
    records = [read_metrics(folder) for folder in (straight, stopped)]
    losses = [[(record["step"], record["loss"]) for record in found] for found in records]
    assert losses[0] == losses[1]


def signal_after_first_record(folder: Path) -> None:
    deadline = time.monotonic() + 60
    while not read_metrics(folder) and time.monotonic() < deadline:
        time.sleep(0.005)
    os.kill(os.getpid(), signal.SIGTERM)


def timeless(scores: dict[str, Any]) -> str:
    """The scores without how long they took; as text, in which NaN equals NaN."""
    rows = [{k: v for k, v in row.items() if "second" not in k} for row in scores["rows"]]
    return json.dumps(rows)


def test_what_is_lost_of_a_finished_run_is_made_again(quick_train: Train, tmp_path: Path) -> None:
    folder = quick_train("train.log_every=1")
    weights, scores = hashes_of(folder, 2), read_scores(folder)
    for name in ("config.yaml", "before.json", "run.json", "scores.json"):
        path = folder / name
        path.write_bytes(path.read_bytes().replace(b"0", b"1", 1))
    with pytest.raises(ValueError, match="seed is 0 there, 1 here"):
        quick_train("train.log_every=1", "seed=1")
    quick_train("train.log_every=1")
    assert hashes_of(folder, 2) == weights
    assert timeless(read_scores(folder)) == timeless(scores)


def test_weights_are_not_loaded_with_changed_settings(quick_train: Train) -> None:
    path = quick_train() / "config.yaml"
    path.write_text(path.read_text().replace("zoom: 1.5", "zoom: 2.5"))
    with pytest.raises(ValueError, match=r"config.yaml is not the one .*model.zoom is 1.5 there"):
        load_pipeline(path.parent)


def test_steps_without_a_finite_gradient_are_listed_with_their_samples(
    quick_train: Train, tmp_path: Path
) -> None:
    settings = ("train.steps=12", "train.learning_rate=1e30", "train.gradient_clip=1e30")
    for _ in range(2):  # repeating the command does not walk past
        with pytest.raises(RuntimeError, match="10 steps in a row up to step 1[12]"):
            quick_train(*settings, "train.checkpoint_every=5")
    skipped = read_records(tmp_path / "run" / "skipped.jsonl")
    assert [record["step"] for record in skipped][-10:] == list(range(skipped[-1]["step"] - 9, 13))[
        :10
    ]
    assert all(r["samples"] == list(range(4 * r["step"] - 4, 4 * r["step"])) for r in skipped)
