"""Trackers: plain files are the record that counts, W&B stands beside them."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from anydoor_lab.runs.tracking import (
    LocalTracker,
    RunFacts,
    SilentTracker,
    WandbTracker,
    has_key,
    known_id,
    read_metrics,
)
from anydoor_lab.structures.images import read_image

ROOT = Path(__file__).resolve().parents[1]
PICTURE = np.arange(8 * 6 * 3, dtype=np.uint8).reshape(8, 6, 3)


def test_numbers_and_pictures_are_plain_files(tmp_path: Path) -> None:
    tracker = LocalTracker(RunFacts(tmp_path))
    tracker.log(10, {"loss": 0.5, "loss/video": 0.25})
    tracker.log(20, {"loss": 0.125})
    path = tracker.show(20, "sheet", PICTURE, "a caption")
    tracker.finish({"clip": 0.75})
    lines = (tmp_path / "metrics.jsonl").read_text().splitlines()
    plain = [json.loads(line) for line in lines]
    assert [len(record.pop("sha256")) for record in plain] == [16, 16]
    assert plain == read_metrics(tmp_path)
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


def test_a_resumed_record_has_every_step_once_and_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text("".join(f'{{"step": {step}, "loss": 1.0}}\n' for step in (10, 20, 10, 30)))
    LocalTracker(RunFacts(tmp_path, first_step=20)).log(30, {"loss": 2.0})
    assert [record["step"] for record in read_metrics(tmp_path)] == [10, 20, 30]


def test_a_changed_line_is_left_out_loudly_and_the_others_stay(tmp_path: Path) -> None:
    tracker = LocalTracker(RunFacts(tmp_path))
    for step in (10, 20, 30):
        tracker.log(step, {"loss": 0.5})
    path = tmp_path / "metrics.jsonl"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([lines[0], lines[1].replace("0.5", "0.7"), lines[2], ""]))
    with pytest.warns(UserWarning, match=r"metrics.jsonl, line 2 is damaged"):
        assert [record["step"] for record in read_metrics(tmp_path)] == [10, 30]


@pytest.mark.parametrize("line", ["[]", "7", "{}", '{"step": NaN}', "[" * 20_000, "\udcff"])
def test_a_line_that_is_no_record_is_left_out_loudly(tmp_path: Path, line: str) -> None:
    text = f'{line}\n{{"step": 1, "loss": 1.0}}\n'
    (tmp_path / "metrics.jsonl").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.warns(UserWarning, match="line 1"):
        assert read_metrics(tmp_path) == [{"step": 1, "loss": 1.0}]


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


@pytest.fixture
def logged_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody's key is found, so W&B stays offline."""
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))


def test_a_key_is_looked_for_in_the_environment_and_the_netrc(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    netrc = tmp_path / "netrc"
    monkeypatch.setenv("NETRC", str(netrc))
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    assert not has_key()
    netrc.write_text("machine api.wandb.ai login user password " + "x" * 40)
    assert has_key()
    netrc.unlink()
    monkeypatch.setenv("WANDB_API_KEY", "x" * 40)
    assert has_key()
    monkeypatch.setenv("WANDB_API_KEY", "no key")  # said in a sentence, and offline
    assert not has_key()


@pytest.mark.usefixtures("logged_out")
def test_wandb_offline_holds_all_that_was_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = RunFacts(tmp_path, "run 1", "table3", ("idx=clip", "tiny"), {"train": {"steps": 2}})
    tracker = WandbTracker(facts)
    tracker.log(1, {"loss": 0.5, "loss/video": 0.25})
    path = tracker.show(1, "sheet", PICTURE, "a caption")
    tracker.log(2, {"loss": 0.75})
    tracker.tabulate("results", [{"variant": "run 1", "pair": 3, "result": PICTURE}])
    tracker.finish({"clip": 0.75, "clip_low": 0.5, "clip_high": 0.875})

    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    printed = capsys.readouterr().out.split("wandb sync --include-online ")[1].strip()
    assert Path(printed).resolve() == folder.resolve()
    records = inspect(folder)
    (run,) = [record["run"] for record in records if record["type"] == "run"]
    assert (run["run_group"], run["tags"]) == ("table3", ["idx=clip", "tiny"])
    assert run["job_type"] == "train"
    assert run["display_name"] == "run 1" and run["config"]["update"]["train"] == {"steps": 2}
    assert (tmp_path / "wandb_id.txt").read_text() == run["run_id"]
    row, last = [r["history"]["item"] for r in records if r["type"] == "history"]
    assert (row["step"], row["loss"], row["loss/video"]) == (1, 0.5, 0.25)
    assert row["samples/sheet.caption"] == "a caption"
    shown = folder / "files" / row["samples/sheet.path"]
    assert path is not None and np.array_equal(read_image(shown), read_image(path))
    summary = [r["summary"]["update"] for r in records if r["type"] == "summary"]
    assert {"clip": 0.75, "clip_low": 0.5, "clip_high": 0.875} in summary
    kept = [{"step": 1, "loss": 0.5, "loss/video": 0.25}, {"step": 2, "loss": 0.75}]
    assert read_metrics(tmp_path) == kept
    table = json.loads((folder / "files" / last["results.path"]).read_text())
    assert table["columns"] == ["variant", "pair", "result"]
    assert table["data"][0][:2] == ["run 1", 3]
    (artifact,) = [r["artifact"] for r in records if r["type"] == "artifact"]
    contents = artifact["manifest"]["contents"]
    held = [Path(entry["local_path"]) for entry in contents]
    paths = {Path(e["path"]).suffix: p for e, p in zip(contents, held, strict=True)}
    assert all(path.is_relative_to(tmp_path) for path in paths.values())  # moved with the run
    assert np.array_equal(cv2.imread(str(paths[".png"]))[..., ::-1], PICTURE)
    best = [r["metric"] for r in records if r["type"] == "metric"]
    summaries = {m.get("name") or m.get("glob_name"): m.get("summary") for m in best}
    assert summaries["loss"] == {"min": True, "last": True}


@pytest.mark.usefixtures("logged_out")
def test_wandb_offline_goes_on_with_one_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a run"
    for first, last in ((0, 3), (2, 4)):
        time.sleep(1.1 * (first > 0))  # W&B names its folders by the second
        tracker = WandbTracker(RunFacts(folder, first_step=first), mode="offline")
        for step in range(first + 1, last + 1):
            tracker.log(step, {"loss": 1.0})
        tracker.finish({})
    command = capsys.readouterr().out.strip().splitlines()[-1].split("wandb sync ")[1]
    _, *folders = shlex.split(command)
    assert len(folders) == 2 and all(Path(path).is_dir() for path in folders)
    ids, steps = set(), []
    for path in folders:
        records = inspect(Path(path))
        ids |= {record["run"]["run_id"] for record in records if record["type"] == "run"}
        history = [r["history"] for r in records if r["type"] == "history"]
        steps.append([int(row["step"].get("num", 0)) for row in history])
    assert len(ids) == 1 and steps == [[1, 2, 3], [3, 4]]
    dry = subprocess.run([wandb_command(), "sync", "--dry-run", *shlex.split(command)],
                         capture_output=True, text=True, timeout=60)  # fmt: skip
    assert dry.returncode == 0, dry.stderr


@pytest.mark.usefixtures("logged_out")
def test_wandb_is_told_what_a_run_logged_without_it(tmp_path: Path) -> None:
    before = LocalTracker(RunFacts(tmp_path))
    for step in (1, 2, 3):
        before.log(step, {"loss": 1 / step})
    tracker = WandbTracker(RunFacts(tmp_path, first_step=2), mode="offline")
    tracker.log(3, {"loss": 0.25})
    tracker.finish({})
    (folder,) = (tmp_path / "wandb").glob("offline-run-*")
    rows = [r["history"]["item"] for r in inspect(folder) if r["type"] == "history"]
    assert [(row["step"], row["loss"]) for row in rows] == [(1, 1.0), (2, 0.5), (3, 0.25)]
    assert [record["step"] for record in read_metrics(tmp_path)] == [1, 2, 3]


@pytest.mark.usefixtures("logged_out")
def test_a_killed_run_goes_on_as_the_same_wandb_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    # a process of its own, with W&B's service of its own, as the commands have it
    environment = {name: value for name, value in os.environ.items() if name != "WANDB_SERVICE"}
    killed = subprocess.Popen(
        [sys.executable, "-c", KILLED, str(folder)], env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert killed.stdout is not None
    while (line := killed.stdout.readline()).strip() != "logged":
        assert line, "it ended by itself"
    killed.kill()  # SIGKILL
    assert killed.wait() == -9
    killed.stdout.close()
    time.sleep(1.1)  # W&B names its folders by the second
    facts = RunFacts(folder, "run 1", "table3", ("idx=clip",), first_step=2)
    tracker = WandbTracker(facts, mode="offline")
    tracker.log(3, {"loss": 1.0})
    tracker.tabulate("results", [{"variant": "run 1", "pair": 0, "result": PICTURE}])
    tracker.finish({"clip": 0.75, "clip_low": 0.5, "clip_high": 0.875})
    command = capsys.readouterr().out.strip().splitlines()[-1].split("wandb sync ")[1]
    _, *folders = shlex.split(command)
    runs = [r["run"] for path in folders for r in inspect(Path(path)) if r["type"] == "run"]
    assert len(folders) == 2 and len({run["run_id"] for run in runs}) == 1
    assert {run["run_group"] for run in runs} == {"table3"}
    assert all(run["tags"] == ["idx=clip"] for run in runs)
    assert [record["step"] for record in read_metrics(folder)] == [1, 2, 3]
    last = inspect(Path(folders[-1]))
    summary = [r["summary"]["update"] for r in last if r["type"] == "summary"]
    assert {"clip": 0.75, "clip_low": 0.5, "clip_high": 0.875} in summary
    assert any("results.path" in r["history"]["item"] for r in last if r["type"] == "history")


@pytest.mark.parametrize("damage", [None, "", "no id at all \xff", "abcd"])
def test_a_lost_wandb_id_is_found_in_the_names_of_its_folders(
    tmp_path: Path, damage: str | None
) -> None:
    (tmp_path / "wandb" / "offline-run-20261126_201247-ij5g-5d").mkdir(parents=True)
    if damage is not None:
        (tmp_path / "wandb_id.txt").write_text(damage)
    assert known_id(tmp_path) == "ij5g-5d"


def test_a_server_that_never_answers_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        asked = {name: value for name, value in os.environ.items() if name != "WANDB_MODE"}
        environment = asked | {
            "WANDB_BASE_URL": f"http://127.0.0.1:{server.getsockname()[1]}",
            "WANDB_API_KEY": "a" * 40, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore",
        }  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", UNANSWERED, str(tmp_path)], env=environment,
            capture_output=True, text=True, timeout=60,  # W&B's own patience is 90 s
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "going on offline" in done.stdout


UNANSWERED = """
import sys
from pathlib import Path
from anydoor_lab.runs.tracking import RunFacts, WandbTracker
tracker = WandbTracker(RunFacts(Path(sys.argv[1])))
tracker.log(1, {"loss": 1.0})
tracker.finish({})
"""


KILLED = """
import sys, time
from pathlib import Path
from anydoor_lab.runs.tracking import RunFacts, WandbTracker
facts = RunFacts(Path(sys.argv[1]), "run 1", "table3", ("idx=clip",))
tracker = WandbTracker(facts, mode="offline")
for step in (1, 2):
    tracker.log(step, {"loss": 1.0})
print("logged", flush=True)
time.sleep(600)
"""


def wandb_command() -> str:
    return shutil.which("wandb", path=str(Path(sys.executable).parent)) or "wandb"


def inspect(folder: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    read = subprocess.run(
        [wandb_command(), "leet", "inspect", "--json", str(folder)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return [json.loads(line) for line in read.stdout.splitlines()]
