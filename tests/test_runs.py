"""A run's folder: whatever is deleted, damaged or asked for, never a silent mixture."""

from __future__ import annotations

import copy
import json
import os
import random
import shutil
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from anydoor_lab.config.resume import find_checkpoint, readable
from anydoor_lab.runs.folder import Run, read_facts, read_scores
from anydoor_lab.runs.lock import held
from anydoor_lab.runs.settings import SETTINGS, check_config, read_config
from anydoor_lab.runs.tracking import LocalTracker, RunFacts, read_metrics
from anydoor_lab.structures.files import write_sealed
from anydoor_lab.training.checkpoint import hash_tensors, save_checkpoint

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "tests" / "before_the_move" / "run"
CONFIG: dict[str, Any] = {
    "init": "base", "seed": 0, "overwrite": False,
    "model": {"name": "tiny", "base": "here", "zoom": 1.5, "stem": [4, 4]},
    "train": {"steps": 30, "learning_rate": 0.01, "resume": "auto", "log_every": 10},
    "ats": {"_target_": "anydoor_lab.adaptive_timesteps", "mass": 0.75},
}  # fmt: skip
SCORES = {"scale": "tiny", "protocol": "clip", "seed": 0, "commit": "", "n": 1, "model_row": 0,
          "rows": [{"run": "after", "clip": 71.25}]}  # fmt: skip


def changed(**train: Any) -> dict[str, Any]:
    config = copy.deepcopy(CONFIG)
    config["train"] |= train
    return config


def tensors_at(step: int) -> dict[str, dict[str, torch.Tensor]]:
    groups = ("weights", "ema", "optimizer")
    return {group: {"a": torch.arange(6.0) + step * (n + 1)} for n, group in enumerate(groups)}


def make_run(folder: Path, *, say_settings: bool = True) -> Run:
    """What a run stopped after step 20 of 30 leaves."""
    run = Run(folder, CONFIG)
    run.claim(fresh=False, overwrite=False)
    run.note(overrides=["train.steps=30"], seed=0)
    write_sealed(folder / "before.json", {"run": "before", "clip": 70.5})
    tracker = LocalTracker(RunFacts(folder))
    for step in (10, 20):
        tracker.log(step, {"loss": 1 / step})
        facts = {SETTINGS: run.settings} if say_settings else {}
        save_checkpoint(run.checkpoints, step, tensors_at(step), facts)
    return run


def gone_on(folder: Path, config: dict[str, Any]) -> dict[str, Any]:
    """All that the next step of a run would be computed from, and what is kept of its past."""
    run = Run(folder, config)
    checkpoint = find_checkpoint("auto", run)
    run.claim(fresh=False, overwrite=False)
    step = checkpoint.step if checkpoint else 0
    LocalTracker(RunFacts(folder, first_step=step))
    tensors = checkpoint.tensors if checkpoint else {}
    return {
        "step": step,
        "weights": {group: hash_tensors(named) for group, named in tensors.items()},
        "before": readable(folder / "before.json"),
        "metrics": read_metrics(folder),
        "config": read_config(folder),
    }


def check_gone_on(found: dict[str, Any]) -> None:
    """It is right, or misses what can be made again; nothing in it is of anything else."""
    step = found["step"]
    assert step in (0, 10, 20)
    expected = {g: hash_tensors(named) for g, named in tensors_at(step).items()} if step else {}
    assert found["weights"] == expected
    assert found["before"] in (None, {"run": "before", "clip": 70.5})
    assert all(r == {"step": r["step"], "loss": 1 / r["step"]} for r in found["metrics"])
    assert [r["step"] for r in found["metrics"]] == sorted({r["step"] for r in found["metrics"]})
    assert found["config"] == CONFIG


def files_of(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("stopped")).folder


@pytest.fixture
def folder(stopped: Path, tmp_path: Path) -> Path:
    """A copy of the stopped run, to damage."""
    return Path(shutil.copytree(stopped, tmp_path / "run"))


def test_an_undamaged_run_goes_on(folder: Path) -> None:
    found = gone_on(folder, CONFIG)
    check_gone_on(found)
    assert found["step"] == 20 and [r["step"] for r in found["metrics"]] == [10, 20]


@pytest.mark.filterwarnings("ignore:passing over", "ignore:a record is left out")
@pytest.mark.parametrize("config", [CONFIG, changed(steps=31)], ids=["same", "other"])
def test_any_file_may_be_deleted(folder: Path, tmp_path: Path, config: dict[str, Any]) -> None:
    for number, path in enumerate(files_of(folder)):
        damaged = Path(shutil.copytree(folder, tmp_path / str(number)))
        (damaged / path.relative_to(folder)).unlink()
        if config is CONFIG:
            check_gone_on(gone_on(damaged, config))
            continue
        with pytest.raises(ValueError, match="train.steps is 30 there, 31 here"):
            gone_on(damaged, config)


@pytest.mark.filterwarnings("ignore:passing over", "ignore:a record is left out")
def test_any_bit_may_flip(stopped: Path, tmp_path: Path) -> None:
    rng = random.Random(0)
    names, refused = [path.relative_to(stopped) for path in files_of(stopped)], 0
    for _ in range(200):
        damaged = Path(shutil.copytree(stopped, tmp_path / "flipped", copy_function=os.link))
        path = damaged / rng.choice(names)
        content = bytearray(path.read_bytes())
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        path.unlink()
        path.write_bytes(content)
        try:
            check_gone_on(gone_on(damaged, CONFIG))
        except ValueError as error:
            assert str(damaged) in str(error)
            refused += 1
        shutil.rmtree(damaged)
    assert refused < 20  # one flip seldom leaves no way on


@pytest.mark.parametrize("lost", ["deleted", "damaged", "other"])
def test_other_settings_do_not_go_on_whatever_config_yaml_says(folder: Path, lost: str) -> None:
    path = folder / "config.yaml"
    if lost == "deleted":
        path.unlink()
    else:
        path.write_text("{" if lost == "damaged" else yaml.safe_dump(changed(learning_rate=1.0)))
    with pytest.raises(ValueError, match="train.learning_rate is 0.01 there, 1.0 here"):
        gone_on(folder, changed(learning_rate=1.0))
    assert gone_on(folder, CONFIG)["step"] == 20
    assert read_config(folder) == CONFIG


def test_a_checkpoint_that_does_not_know_its_settings_needs_config_yaml(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "old", say_settings=False).folder
    assert gone_on(folder, CONFIG)["step"] == 20
    with pytest.raises(ValueError, match="train.steps is 30 there, 31 here"):
        gone_on(folder, changed(steps=31))
    (folder / "config.yaml").unlink()
    with pytest.raises(ValueError, match="nothing says of which settings: config.yaml is gone"):
        gone_on(folder, CONFIG)


def test_a_score_of_unknown_settings_is_not_gone_on_with(tmp_path: Path) -> None:
    write_sealed(tmp_path / "before.json", {"run": "before", "clip": 1.0})
    assert gone_on(tmp_path, CONFIG)["before"] is None


def test_a_run_of_version_0_1_is_still_gone_on_with(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(STORED, tmp_path / "run"))
    config = read_config(folder)
    found = gone_on(folder, config)
    assert found["step"] == 2 and len(found["metrics"]) == 2
    with pytest.raises(ValueError, match="seed is 0 there, 1 here"):
        gone_on(folder, {**config, "seed": 1})


def test_a_replaced_run_is_gone_at_once_and_the_users_files_stay(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "notes.txt").write_text("mine")
    with monkeypatch.context() as patch:  # a kill right after the renaming
        patch.setattr(Path, "mkdir", stopped_by_a_kill)
        with pytest.raises(KeyboardInterrupt):
            Run(folder, changed(steps=7)).claim(fresh=True, overwrite=True)
    assert not folder.exists()
    Run(folder, changed(steps=7)).claim(fresh=True, overwrite=True)
    assert sorted(path.name for path in folder.iterdir()) == ["config.yaml", "notes.txt"]
    assert [path.name for path in folder.parent.iterdir()] == ["run"]
    assert gone_on(folder, changed(steps=7))["step"] == 0


def stopped_by_a_kill(*arguments: Any, **settings: Any) -> None:
    raise KeyboardInterrupt


def test_a_run_is_replaced_only_when_asked_to(folder: Path) -> None:
    (folder / "config.yaml").unlink()
    with pytest.raises(FileExistsError, match="overwrite=true"):
        Run(folder, CONFIG).claim(fresh=True, overwrite=False)


HOLD = """
import sys
from pathlib import Path
from anydoor_lab.runs.lock import held
with held(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_second_process_is_refused_until_the_first_is_gone(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    call = [sys.executable, "-c", HOLD, str(folder)]
    with subprocess.Popen(
        call, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as first:
        assert first.stdout is not None and first.stdout.readline() == "held\n"
        with pytest.raises(ValueError, match=f"in use by process {first.pid} on "), held(folder):
            pass
        first.kill()
    with held(folder):
        assert (folder / ".lock").exists()
    assert not folder.exists()  # nothing else was made


def test_the_lock_goes_along_when_a_run_is_replaced(folder: Path) -> None:
    with held(folder):
        Run(folder, CONFIG).claim(fresh=True, overwrite=True)
        call = [sys.executable, "-c", HOLD, str(folder)]
        second = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, input="")
        assert "in use by process" in second.stderr
    assert not (folder / ".lock").exists()


BOMB = "a: &a [x,x,x]\nb: &b [*a,*a]\nc: [*b,*b]\n"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"\xff\xfe", "no UTF-8"),
        (b"[]", "expected settings by name"),
        (b"3: 4", "expected settings by name"),
        (b"{" * 3000, "damaged"),
        (BOMB.encode(), "alias"),
        (b"#" * 2_000_000, "2000000 bytes"),
        (b"a: \x00", "damaged"),
        (b"x: {_target_: [1]}", "no public name"),
        (b"x: 2001-99-99", "damaged"),
    ],
)
def test_broken_settings_are_one_sentence(tmp_path: Path, content: bytes, says: str) -> None:
    (tmp_path / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=says):
        read_config(tmp_path)


BROKEN = [b"", b"\xff", b"[]", b"7", b"[" * 50_000, b'{"a": ', b"{'a': NaN"]
BROKEN += [b'{"clip": 1.5, "sha256": "0123456789abcdef"}', b'{"sha256": 3}']


@pytest.mark.parametrize("content", BROKEN)
@pytest.mark.parametrize("name", ["run.json", "scores.json", "before.json"])
def test_broken_small_files_are_named(
    tmp_path: Path, content: bytes, name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(content)
    if name == "before.json":
        assert readable(tmp_path / name) is None
        assert f"made again: {tmp_path / name} is damaged" in capsys.readouterr().err
        return
    with pytest.raises(ValueError, match=f"{name} is damaged"):
        (read_facts if name == "run.json" else read_scores)(tmp_path)


def test_scores_with_and_without_a_checksum_are_read(tmp_path: Path) -> None:
    (tmp_path / "scores.json").write_text(json.dumps(SCORES))
    assert read_scores(tmp_path) == SCORES
    path = write_sealed(tmp_path / "scores.json", {**SCORES, "strange": float("inf")})
    assert read_scores(tmp_path)["rows"] == SCORES["rows"]
    path.write_text(path.read_text().replace("71.25", "71.35"))
    with pytest.raises(ValueError, match=r"scores.json is damaged \(its checksum differs\)"):
        read_scores(tmp_path)


def test_weights_are_not_placed_with_under_other_settings(tmp_path: Path) -> None:
    facts = {SETTINGS: Run(tmp_path, CONFIG).settings}
    check_config(tmp_path, CONFIG, facts)
    check_config(tmp_path, CONFIG, {})
    moved = copy.deepcopy(CONFIG)
    moved["model"]["base"] = "elsewhere"
    check_config(tmp_path, moved, facts)
    moved["model"]["zoom"] = 2.5
    with pytest.raises(ValueError, match=r"model.zoom is 1.5 there, 2.5 here"):
        check_config(tmp_path, moved, facts)


def test_nothing_is_said_about_a_sound_run(folder: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        gone_on(folder, CONFIG)
