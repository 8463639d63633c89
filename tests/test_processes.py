"""Several processes: the default run, trained and scored by two, is the run of one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
ENVIRONMENT = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
LAUNCH = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
# what a user types, but for the length: every other setting is the default
DEFAULT = ["train.steps=2", "train.log_every=1", "eval=fast"]


def start(folder: Path, *overrides: str, processes: int) -> subprocess.Popen[str]:
    """`train` with the default settings, by one or two processes."""
    launch = LAUNCH if processes > 1 else []
    call = [sys.executable, *launch, "-m", "anydoor_lab.train", *DEFAULT, *overrides]
    return subprocess.Popen(
        [*call, f"hydra.run.dir={folder}"], cwd=folder.parent, env=ENVIRONMENT, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def train(folder: Path, *overrides: str, processes: int) -> str:
    """The same to its end; what it printed."""
    running = start(folder, *overrides, processes=processes)
    printed, errors = running.communicate(timeout=300)
    assert running.returncode == 0, errors[-3000:]
    return printed


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    folders = {n: tmp_path_factory.mktemp("processes") / f"by_{n}" for n in (1, 2)}
    for number, folder in folders.items():
        printed = train(folder, processes=number)
        assert printed.count("Scores on held-out pairs") == 1
    return folders


def losses(folder: Path) -> list[dict[str, float]]:
    """The logged losses, step by step."""
    lines = map(json.loads, (folder / "metrics.jsonl").read_text().splitlines())
    return [{n: v for n, v in line.items() if n.startswith("loss")} for line in lines]


def rows(folder: Path) -> list[dict[str, Any]]:
    """The rows of a run's scores."""
    return json.loads((folder / "scores.json").read_text())["rows"]


def test_two_processes_log_the_losses_of_one(runs: dict[int, Path]) -> None:
    one, two = losses(runs[1]), losses(runs[2])
    assert [set(line) for line in one] == [set(line) for line in two]
    assert len(one) == 2
    for single, several in zip(one, two, strict=True):
        assert several == pytest.approx(single, abs=1e-5)


def test_two_processes_score_as_one(runs: dict[int, Path]) -> None:
    one, two = rows(runs[1]), rows(runs[2])
    assert [row["run"] for row in one] == [row["run"] for row in two]
    assert one[0] == two[0]  # before training: the same weights, scored by two in shares
    assert two[1]["dino"] == pytest.approx(one[1]["dino"], abs=0.5)
    assert len(two[1]["dino_each"]) == 8
    assert "lab_difference" in two[0]


def test_two_processes_go_on_with_a_run(runs: dict[int, Path]) -> None:
    checkpoint = sorted((runs[1] / "checkpoints").iterdir())[-1]
    more = ("train.steps=3", f"train.resume={checkpoint}")
    printed = train(runs[2].parent / "longer", *more, processes=2)
    assert "at step 2" in printed
    assert len(losses(runs[2].parent / "longer")) == 1


def test_where_one_process_dies_the_others_end_with_a_sentence(tmp_path: Path) -> None:
    running = start(tmp_path / "run", "train.steps=100000", processes=2)
    try:
        metrics = tmp_path / "run" / "metrics.jsonl"
        while running.poll() is None and not (metrics.is_file() and metrics.stat().st_size):
            time.sleep(0.2)
        workers = children(running.pid)
        assert len(workers) == 2
        os.kill(workers[1], signal.SIGKILL)
        _, errors = running.communicate(timeout=60)
    finally:
        running.kill()
    assert running.returncode not in (0, None)
    assert "lost another one" in errors or "SIGTERM" in errors
    assert not any(alive(worker) for worker in workers)


def children(parent: int) -> list[int]:
    """The processes that a launcher started, by rank."""
    listed = subprocess.run(
        ["ps", "--ppid", str(parent), "-o", "pid=", "--sort=start_time,pid"],
        capture_output=True, text=True,
    )  # fmt: skip
    return [int(line) for line in listed.stdout.split()]


def alive(process: int) -> bool:
    """Whether a process is still there."""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
