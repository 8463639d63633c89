"""Trackers: plain files are the record that counts, W&B stands beside them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anydoor_lab.runs.tracking import (
    LocalTracker,
    RunFacts,
    SilentTracker,
    WandbTracker,
    has_key,
    read_metrics,
)
from anydoor_lab.structures.images import read_image

PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def test_numbers_and_pictures_are_plain_files(tmp_path: Path) -> None:
    tracker = LocalTracker(RunFacts(tmp_path))
    tracker.log(10, {"loss": 0.5, "loss/video": 0.25})
    tracker.log(20, {"loss": 0.125})
    path = tracker.show(20, "sheet", PICTURE, "a caption")
    tracker.finish({"clip": 0.75})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == read_metrics(tmp_path)
    assert read_metrics(tmp_path) == [
        {"step": 10, "loss": 0.5, "loss/video": 0.25},
        {"step": 20, "loss": 0.125},
    ]
    assert path == tmp_path / "samples" / "sheet_00000020.png"
    assert np.array_equal(read_image(path), PICTURE)


def test_records_after_the_resumed_step_are_dropped(tmp_path: Path) -> None:
    tracker = LocalTracker(RunFacts(tmp_path))
    for step in (10, 20, 30):
        tracker.log(step, {"loss": 1.0})
    resumed = LocalTracker(RunFacts(tmp_path, first_step=20))
    resumed.log(30, {"loss": 2.0})
    records = [(record["step"], record["loss"]) for record in read_metrics(tmp_path)]
    assert records == [(10, 1.0), (20, 1.0), (30, 2.0)]


def test_a_fresh_run_in_the_same_folder_starts_an_empty_record(tmp_path: Path) -> None:
    LocalTracker(RunFacts(tmp_path)).log(10, {"loss": 1.0})
    LocalTracker(RunFacts(tmp_path))
    assert read_metrics(tmp_path) == []


def test_a_torn_last_line_is_left_out_and_repaired_on_resuming(tmp_path: Path) -> None:
    tracker = LocalTracker(RunFacts(tmp_path))
    tracker.log(10, {"loss": 1.0})
    tracker.log(20, {"loss": 1.0})
    path = tmp_path / "metrics.jsonl"
    path.write_text(path.read_text()[:-8])
    assert [record["step"] for record in read_metrics(tmp_path)] == [10]
    LocalTracker(RunFacts(tmp_path, first_step=20)).log(30, {"loss": 3.0})
    assert [record["step"] for record in read_metrics(tmp_path)] == [10, 30]


def test_there_are_no_metrics_where_there_is_no_run(tmp_path: Path) -> None:
    assert read_metrics(tmp_path / "absent") == []


def test_the_silent_tracker_keeps_nothing(tmp_path: Path) -> None:
    tracker = SilentTracker(RunFacts(tmp_path))
    tracker.log(1, {"loss": 1.0})
    assert tracker.show(1, "sheet", PICTURE) is None
    tracker.finish({"clip": 1.0})
    assert list(tmp_path.iterdir()) == []


def test_a_key_is_looked_for_in_the_environment_and_the_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not has_key()
    netrc.write_text("machine api.wandb.ai login user password x\n")
    assert has_key()
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "x")
    assert has_key()


def test_wandb_offline_holds_all_that_was_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    facts = RunFacts(tmp_path, "run 1", "table3", ("idx=clip", "tiny"), {"train": {"steps": 2}})
    tracker = WandbTracker(facts)
    tracker.log(1, {"loss": 0.5, "loss/video": 0.25})
    path = tracker.show(1, "sheet", PICTURE, "a caption")
    tracker.finish({"clip": 0.75})

    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    printed = capsys.readouterr().out.split("wandb sync ")[1].strip()
    assert Path(printed).resolve() == folder.resolve()
    records = inspect(folder)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["run_group"], run["tags"]) == ("table3", ["idx=clip", "tiny"])
    assert run["display_name"] == "run 1" and run["config"]["update"]["train"] == {"steps": 2}
    assert (tmp_path / "wandb_id.txt").read_text() == run["run_id"]
    first, second = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert (first["step"], first["loss"], first["loss/video"]) == (1, 0.5, 0.25)
    assert second["samples/sheet.caption"] == "a caption"
    shown = folder / "files" / second["samples/sheet.path"]
    assert path is not None and np.array_equal(read_image(shown), read_image(path))
    summary = [r["summary"]["update"] for r in records if r["type"] == "summary"]
    assert {"clip": 0.75} in summary
    assert read_metrics(tmp_path) == [{"step": 1, "loss": 0.5, "loss/video": 0.25}]


def inspect(folder: Path) -> list[dict[str, object]]:
    """The records of an offline run, by W&B's own reader."""
    command = shutil.which("wandb", path=str(Path(sys.executable).parent)) or "wandb"
    read = subprocess.run(
        [command, "leet", "inspect", "--json", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in read.stdout.splitlines()]
