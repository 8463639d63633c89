"""Several methods scored at once: one table and one grid, and what is missing stands in both."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import inside
from anydoor_lab.runs.folder import read_scores
from anydoor_lab.runs.ledger import read_ledger
from anydoor_lab.runs.tracking import LocalTracker, RunFacts
from anydoor_lab.structures.images import read_image
from test_dashboard import facts_of

FEW = ["eval.num_pairs=2", "eval.num_diverse=0", "eval.num_shown=2", "metrics=[dino]"]
QUICK = ["data=things", "eval=fast", *FEW]
SWEEP = ["-m", "method=copy_paste,poisson,sd_inpaint", *QUICK, "hydra.sweep.dir=sweep"]


@pytest.fixture(scope="module")
def offline() -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
        yield


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory, offline: None) -> tuple[Path, inside.Ended]:
    folder = tmp_path_factory.mktemp("methods")
    return folder / "sweep", inside.run("evaluate", *SWEEP, cwd=folder)


def test_a_sweep_over_methods_ends_with_one_table(scored: tuple[Path, inside.Ended]) -> None:
    sweep, ended = scored
    assert ended.code == 0, ended.err[-3000:]
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    (singles,) = [
        read_scores(place)["rows"][0] for place in sweep.glob("*copy_paste*") if place.is_dir()
    ]
    assert table.loc["method=copy_paste", "dino"] == pytest.approx(singles["dino"], abs=0.1)
    methods = [name for name in table.index if not name.startswith("anchor: ")]
    assert methods == [f"method={name}" for name in ("copy_paste", "poisson", "sd_inpaint")]
    assert "anchor: copy-paste" in table.index and "anchor: empty" in table.index


def test_what_is_missing_stands_in_the_table_and_in_the_ledger(
    scored: tuple[Path, inside.Ended],
) -> None:
    sweep, ended = scored
    assert "not run  sd_inpaint: method.source: found neither" in ended.out
    table = pd.read_csv(sweep / "comparison.csv").set_index("run")
    assert "not run: method.source" in table.loc["method=sd_inpaint", "note"]
    states = {job.state for job in read_ledger(sweep)}
    assert states == {"finished", "not run"}
    assert "3 runs: 2 finished, 1 not run" in ended.out


def test_the_grid_has_a_row_a_pair_and_a_column_a_method_that_ran(
    scored: tuple[Path, inside.Ended],
) -> None:
    sweep, ended = scored
    assert f"picture  {sweep.name}/results.png" in ended.out
    picture = read_image(sweep / "results.png")
    height, width = picture.shape[:2]
    assert 5 * 128 < width < 6 * 128  # reference, scene, two methods, truth
    assert height > 2 * 128  # two pairs
    assert (sweep / "dashboard.html").is_file()


def test_the_same_sweep_again_scores_nothing_twice_and_tries_what_was_missing(
    scored: tuple[Path, inside.Ended],
) -> None:
    sweep, _ = scored
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("*/scores.json")}
    again = inside.run("evaluate", *SWEEP, cwd=sweep.parent)
    assert again.code == 0
    assert before == {path: path.stat().st_mtime_ns for path in sweep.glob("*/scores.json")}
    assert again.out.count("are there already; overwrite=true scores again") == 2
    assert "not run  sd_inpaint" in again.out


def test_one_method_alone_that_lacks_its_weights_is_refused(tmp_path: Path, offline: None) -> None:
    ended = inside.run("evaluate", "method=sd_inpaint", *QUICK, cwd=tmp_path)
    ended.refused("method.source", "stable-diffusion-inpainting", "not in the hub's cache")


def test_a_method_of_a_local_folder_is_scored_among_others(tmp_path: Path) -> None:
    import small_pipelines as small

    source = small.stable_diffusion(tmp_path / "sd")
    ended = inside.run(
        "evaluate", "method=sd_inpaint", f"method.source={source}", "method.resolution=32",
        "method.num_inference_steps=1", *QUICK, "hydra.run.dir=one", cwd=tmp_path,
    )  # fmt: skip
    assert ended.code == 0, ended.err[-3000:]
    row = json.loads((tmp_path / "one" / "scores.json").read_text())["rows"][0]
    assert row["run"] == "sd_inpaint" and np.isfinite(row["dino"])


@pytest.mark.parametrize("benchmark", ["things", "world", "folder"])
def test_a_sweep_over_methods_ends_in_a_table_and_a_grid(
    tmp_path: Path, cutouts: Path, benchmark: str
) -> None:
    own = [f"data.root={cutouts}"] if benchmark == "folder" else []
    place = [f"hydra.sweep.dir={tmp_path / 'scored'}", *own]
    asked = [f"eval={benchmark}", "method=copy_paste,poisson", *FEW, *place, "-m"]
    ended = inside.run("evaluate", *asked, cwd=tmp_path)
    assert ended.code == 0, ended.err
    table = pd.read_csv(tmp_path / "scored" / "comparison.csv")
    assert list(table["run"][:2]) == ["method=copy_paste", "method=poisson"]
    picture = read_image(tmp_path / "scored" / "results.png")
    assert picture.shape[1] > 4 * 128  # reference, scene, two methods and the truth side by side
    first = sorted((tmp_path / "scored").glob("*/scores.json"))
    stamps = [path.stat().st_mtime_ns for path in first]
    again = inside.run("evaluate", *asked, cwd=tmp_path)
    assert again.code == 0 and again.out.count("are there already") == 2
    assert [path.stat().st_mtime_ns for path in first] == stamps


def test_a_sweep_without_clip_and_dino_is_compared_by_the_metrics_that_it_has(
    tmp_path: Path,
) -> None:
    few = [*QUICK[:-1], "metrics=[placement,lab_difference]"]
    place = [*few, "hydra.sweep.dir=sweep", "hydra.sweep.subdir=run_${hydra:job.num}"]
    ended = inside.run("evaluate", "-m", "method=poisson,copy_paste", *place, cwd=tmp_path)
    assert ended.code == 0 and "no comparison" not in ended.err
    assert "placement IoU (%) ↑" in ended.out
    table = pd.read_csv(tmp_path / "sweep" / "comparison.csv")
    # by what the runs are called, whatever their folders are
    assert list(table["run"][:2]) == ["method=copy_paste", "method=poisson"]
    again = inside.run("compare", "runs=sweep", cwd=tmp_path)
    assert again.code == 0 and (tmp_path / "sweep" / "comparison.png").is_file(), again.err
    facts = facts_of((tmp_path / "sweep" / "dashboard.html").read_text())
    keys = ["lab_difference", "placement"]
    assert [metric["key"] for metric in facts["data"][0]["metrics"]] == keys
    assert set(facts["data"][0]["rows"][0]["scores"]) == set(keys)


def test_an_evaluation_is_logged_as_one_by_the_chosen_logger(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[Any] = []

    class Told(LocalTracker):
        def __init__(self, run: RunFacts) -> None:
            super().__init__(run)
            told.append(run)

        def finish(self, summary: Mapping[str, Any]) -> None:
            told.append(summary)

    monkeypatch.setattr("anydoor_lab.LocalTracker", Told)
    call = ["method=copy_paste", *QUICK, "logger=local", "hydra.run.dir=scored"]
    ended = inside.run("evaluate", *call, cwd=tmp_path)
    assert ended.code == 0, ended.err
    facts, summary = told
    assert (facts.job_type, facts.name) == ("evaluate", "scored")
    (row, *_) = read_scores(tmp_path / "scored")["rows"]
    assert summary["final/dino"] == row["dino"]
    assert (tmp_path / "scored" / "samples" / "final_00000000.png").is_file()
