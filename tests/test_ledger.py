"""Sweeps: the folder is the truth, no run is trained twice, and nothing that fails is hidden."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from omegaconf import OmegaConf

import commands
import inside
from anydoor_lab import train
from anydoor_lab.config.sweeps import make_start
from anydoor_lab.runs.folder import FACTS, SCORES, read_facts
from anydoor_lab.runs.ledger import counted, note_failure, plan_job, read_job, read_ledger
from anydoor_lab.runs.lock import held, holder_of
from anydoor_lab.structures.files import write_sealed
from commands import command
from networks import model_overrides

ROOT = Path(__file__).resolve().parents[1]
QUICK = ["train.steps=2", "train.batch_size=2", "train.workers=0", "model.num_inference_steps=1",
         "logger=silent", "eval=fast", "eval.num_pairs=2", "eval.num_diverse=1",
         "eval.num_seeds=1", "eval.num_shown=1", "metrics=[dino]"]  # fmt: skip
HOLD = """
import sys
from pathlib import Path
from anydoor_lab.runs.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.readline()
"""


@contextmanager
def another_worker(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A process that holds a run's folder until it is told a line, or killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder)], cwd=ROOT, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert process.stdout is not None and process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def sweep(folder: Path, networks: Path, *overrides: str) -> inside.Ended:
    places = [
        f"hydra.sweep.dir={folder}",
        "hydra.sweep.subdir=seed-${seed}-${hydra:runtime.choices.idx}",
    ]
    settings = [*QUICK, *model_overrides(networks), *places, *overrides]
    return inside.run("train", "-m", *settings, cwd=folder.parent)


def written(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "ledger.csv", keep_default_na=False).set_index("run")


def test_every_state_follows_from_the_folder_and_its_lock(tmp_path: Path) -> None:
    for name in ("waiting", "running", "broken", "failed", "finished"):
        plan_job(tmp_path / name, [f"idx={name}"])
    (tmp_path / "broken" / "checkpoints" / "step_00000012").mkdir(parents=True)
    note_failure(tmp_path / "failed", "no such folder")
    (tmp_path / "finished" / SCORES).write_text("{}")
    with another_worker(tmp_path / "running"):
        jobs = {job.run: job for job in read_ledger(tmp_path)}
        assert {name: job.state for name, job in jobs.items()} == {name: name for name in jobs}
        assert len(jobs) == 5
        assert jobs["running"].reason.startswith("process ")
    assert jobs["failed"].reason == "no such folder" and jobs["broken"].step == 12
    assert jobs["waiting"].overrides == "idx=waiting"
    assert counted(list(jobs.values())).startswith("5 runs: 1 finished, 1 failed")
    assert read_job(tmp_path / "running").state == "waiting"  # its holder is dead


def test_looking_at_a_lock_of_ones_own_does_not_let_go_of_it(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from anydoor_lab.runs.lock import holder_of;"
    code += "print(holder_of(Path(sys.argv[1])))"
    with held(tmp_path / "run"):
        assert holder_of(tmp_path / "run").startswith("process ")
        seen = subprocess.run(
            [sys.executable, "-c", code, tmp_path / "run"], cwd=ROOT, capture_output=True, text=True
        )
        assert seen.stdout.startswith("process "), seen
    assert holder_of(tmp_path / "run") == ""


def test_other_seeds_asked_for_later_join_what_is_finished(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    first = sweep(folder, networks, "seed=0")
    assert first.code == 0, first.err[-3000:]
    scores = (folder / "seed-0-dinov2" / SCORES).read_bytes()
    more = sweep(folder, networks, "seed=0,1")
    assert more.code == 0, more.err[-3000:]
    assert "2 runs: 1 finished, 1 waiting; finished ones stay as they are" in more.out
    assert "Comparison of 2 runs" in more.out and more.out.count("is finished;") == 1
    assert (folder / "seed-0-dinov2" / SCORES).read_bytes() == scores
    ledger = written(folder)
    assert list(ledger["state"]) == ["finished", "finished"]
    facts = json.loads((folder / "seed-1-dinov2" / "run.json").read_text())
    assert ledger.loc["seed-1-dinov2", "config_hash"] == facts["config_hash"]
    assert ledger["config_hash"].nunique() == 2


def test_what_another_sweep_trained_alike_is_taken_over_and_scored(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    shared = ("share=true", "score_before=false", "logger=local")
    first, second, third = (tmp_path / "runs" / name for name in ("one", "two", "three"))
    first.parent.mkdir()
    assert sweep(first, networks, "seed=0", *shared).code == 0
    ended = sweep(second, networks, "seed=0,1", *shared)
    assert ended.code == 0, ended.err[-3000:]
    assert ended.out.count("trained already") == 1
    twins = [folder / "seed-0-dinov2" for folder in (first, second)]
    tensors, metrics, rows = (
        [(twin / name).read_bytes() for twin in twins]
        for name in ("checkpoints/step_00000002/weights.safetensors", "metrics.jsonl", "rows.csv")
    )
    assert tensors[0] == tensors[1] and metrics[0] == metrics[1] and rows[0] == rows[1]
    for twin in twins:
        write_sealed(twin / FACTS, {**read_facts(twin), "commit": "other code"})
    ended = sweep(third, networks, "seed=0", *shared)
    assert ended.code == 0 and "trained already" not in ended.out
    trained = third / "seed-0-dinov2" / "checkpoints/step_00000002/weights.safetensors"
    assert trained.read_bytes() == tensors[0]


def test_a_run_that_another_worker_has_is_passed_over_and_said(
    networks: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    with another_worker(folder / "seed-0-dinov2"):
        ended = sweep(folder, networks, "seed=0,1")
        assert ended.code == 0, ended.err[-3000:]
        assert written(folder)["state"].to_dict() == {
            "seed-0-dinov2": "running",
            "seed-1-dinov2": "finished",
        }
    assert "passed over job 0 (" in ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("not finished")]
    assert "seed-0" in line and "running  process" in line


def test_a_run_whose_worker_dies_meanwhile_is_trained_at_the_end(
    networks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweep"
    with another_worker(folder / "seed-0-dinov2") as worker:
        real = train.train

        def dies_while_the_other_trains(*arguments: Any) -> None:
            worker.kill()
            worker.wait()
            real(*arguments)

        monkeypatch.setattr(train, "train", dies_while_the_other_trains)
        ended = sweep(folder, networks, "seed=0,1")
    assert ended.code == 0, ended.err[-3000:]
    assert "passed over job 0 (" in ended.err
    assert list(written(folder)["state"]) == ["finished", "finished"]
    assert "Comparison of 2 runs" in ended.out


def test_what_failed_is_listed_with_its_reason_and_tried_again(
    networks: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "sweep"
    wrong = f"model.encoders.vgg={tmp_path / 'nowhere'}"
    ended = sweep(folder, networks, "idx=vgg,dinov2", wrong)
    ended.refused("nowhere")
    ledger = written(folder)
    states = {run.endswith("dinov2"): state for run, state in ledger["state"].items()}
    assert states == {True: "finished", False: "failed"}
    (reason,) = ledger[ledger["state"] == "failed"]["reason"]
    assert "nowhere" in reason and reason in ended.err
    sweep(folder, networks, "idx=vgg,dinov2", wrong).refused("nowhere")


def test_a_misspelled_choice_leaves_no_runs_waiting(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    assert sweep(folder, networks, "seed=0", "idx=clip,dinvo2").code == 2
    assert read_ledger(folder) == [] and not (folder / "ledger.csv").exists()


def test_two_workers_on_one_folder_train_each_run_once(networks: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sweep"
    settings = [*QUICK, *model_overrides(networks), f"hydra.sweep.dir={folder}", "seed=0,1,2,3"]
    with ThreadPoolExecutor(2) as workers:
        begun = [
            workers.submit(command, "train", "-m", *settings, cwd=tmp_path, timeout=400)
            for _ in range(2)
        ]
        ended = [one.result() for one in begun]
    assert [one.returncode for one in ended] == [0, 0], ended[0].stderr[-2000:]
    assert sum(one.stdout.count("\nweights  ") for one in ended) == 4
    assert set(written(folder)["state"]) == {"finished"}
    assert any("Comparison of 4 runs" in one.stdout for one in ended)


def test_what_a_sweep_begins_with_is_trained_first_and_once(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    part = """# @package _global_
    defaults: [even, _self_]
    num_scored: 1
    part: {name: quick, fit: {steps: 1}}
    """
    (tmp_path / "my_lab" / "conf" / "part").mkdir(parents=True)
    (tmp_path / "my_lab" / "__init__.py").touch()
    (tmp_path / "my_lab" / "conf" / "part" / "quick.yaml").write_text(textwrap.dedent(part))
    own = {"PYTHONPATH": str(tmp_path), "ANYDOOR_PARTS": "my_lab"}
    start = ["model.start=parts/quick", "init=parts/quick", "hydra.sweep.dir=sweep"]
    call = ["anydoor_lab.train", "-m", "seed=0", *QUICK, *start]
    ended = commands.module(call, tmp_path, own, 300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "parts/quick is trained first" in ended.stdout
    assert (tmp_path / "parts" / "quick" / "card.json").is_file()
    assert set(written(tmp_path / "sweep")["state"]) == {"finished"}
    config = OmegaConf.create({"init": str(tmp_path / "parts" / "quick")})
    make_start(OmegaConf.merge(config, {"model": {"start": config.init}}))
    make_start(OmegaConf.create({"init": "base", "model": {"start": "base"}}))
    make_start(OmegaConf.create({"init": "elsewhere", "model": {"start": "parts/quick"}}))
    assert not "".join(capsys.readouterr())
    card = tmp_path / "parts" / "quick" / "card.json"
    facts = json.loads(card.read_text())
    card.write_text(json.dumps({**facts, "begun_from": {"weights": "of another package"}}))
    make_start(OmegaConf.merge(config, {"model": {"start": config.init}}))
    assert "began with other weights than the package's of today" in capsys.readouterr().err
