"""The page of a sweep: what it says is what the runs' folders say, and it needs no network."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pytest

import inside
from anydoor_lab.report.dashboard import PAGE, differences, losses_of, write_dashboard
from anydoor_lab.report.scored import read_runs
from anydoor_lab.report.wandb_workspace import save_workspace, workspace
from anydoor_lab.runs.folder import FACTS, SCORES, read_scores
from anydoor_lab.runs.settings import CONFIG
from anydoor_lab.structures.files import write_sealed
from browser import lacking, page
from networks import model_overrides

QUICK = ["train.steps=4", "train.batch_size=2", "train.workers=0", "model.num_inference_steps=1",
         "train.log_every=1", "logger=local", "eval=fast", "eval.num_pairs=2", "eval.num_diverse=1",
         "eval.num_shown=2", "metrics=[clip,dino]", "init=base"]  # fmt: skip


@pytest.fixture(scope="module")
def sweep(tmp_path_factory: pytest.TempPathFactory, networks: Path) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("dashboard") / "a <b> sweep"
    place = [f"hydra.sweep.dir={folder}", "hydra.sweep.subdir=${hydra:runtime.choices.idx}"]
    ended = inside.run(
        "train", "-m", "idx=clip,dinov2", *QUICK, *model_overrides(networks), *place,
        cwd=folder.parent,
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert f"page     {folder / PAGE}" in ended.out
    yield folder


def facts_of(text: str) -> dict[str, Any]:
    found = re.search(r'<script id="facts" type="application/json">(.*?)</script>', text, re.DOTALL)
    assert found
    facts: dict[str, Any] = json.loads(found[1])
    return facts


def test_the_page_holds_the_scores_of_the_folders_and_the_frame(sweep: Path) -> None:
    facts = facts_of((sweep / PAGE).read_text())
    (data,) = facts["data"]
    rows = {row["variant"]: row for row in data["rows"]}
    for name in ("clip", "dinov2"):
        scores = read_scores(sweep / name)
        true = scores["rows"][scores["model_row"]]
        ends = [true["dino"], true["dino_low"], true["dino_high"]]
        assert rows[f"idx={name}"]["scores"]["dino"] == ends
    frame = {name for name, row in rows.items() if row["frame"]}
    assert frame == {"ground truth", "copy-paste", "another object", "empty"}
    assert facts["title"] == "a <b> sweep"
    assert [link for _, link in facts["folders"]] == ["clip/", "dinov2/"]


def test_an_experiments_page_sets_the_papers_numbers_and_order_beside_ours(sweep: Path) -> None:
    text = write_dashboard(sweep, "table3_id_extractors").read_text()
    (data,) = facts_of(text)["data"]
    rows = {row["variant"]: row for row in data["rows"]}
    assert rows["idx=dinov2"]["paper"]["dino"] == 67.8
    assert any("Kendall's tau" in line for line in data["agreement"])
    write_dashboard(sweep)


def test_a_figure_of_another_ones_runs_shows_their_sweep(sweep: Path, tmp_path: Path) -> None:
    (tmp_path / "runs").mkdir()
    shutil.copytree(sweep, tmp_path / "runs" / "table3_id_extractors")
    ended = inside.run("dashboard", "experiment=fig8_id_extractors", cwd=tmp_path)
    assert f"page     runs/table3_id_extractors/{PAGE}" in ended.out, ended.err
    facts = facts_of((tmp_path / "runs" / "table3_id_extractors" / PAGE).read_text())
    assert facts["data"][0]["rows"][1]["paper"]["dino"] == 67.8


def test_ways_of_sampling_have_a_page_though_they_keep_no_settings(
    sweep: Path, tmp_path: Path
) -> None:
    place = tmp_path / "runs" / "guidance_steps" / "things"
    for name in ("steps=10", "steps=5", "copy_paste"):
        shutil.copytree(sweep / "clip", place / name)
        scores = {k: v for k, v in read_scores(place / name).items() if k != "sha256"}
        scores["rows"][scores["model_row"]]["run"] = name
        write_sealed(place / name / SCORES, scores)
        for gone in (CONFIG, FACTS, "metrics.jsonl"):
            (place / name / gone).unlink()
    ended = inside.run("dashboard", "experiment=guidance_steps", cwd=tmp_path)
    assert f"page     runs/guidance_steps/{PAGE}" in ended.out, ended.err
    facts = facts_of((place.parent / PAGE).read_text())
    rows = facts["data"][0]["rows"]
    names = ["copy_paste", "steps=5", "steps=10"]
    assert facts["data"][0]["name"] == "things"
    assert [row["variant"] for row in rows if not row["frame"]] == names
    assert [link for _, link in facts["folders"]] == [f"things/{quote(n)}/" for n in names]
    assert facts["differs"]["rows"] == facts["losses"]["rows"] == []


def test_losses_are_means_of_the_last_records_by_timestep(sweep: Path) -> None:
    runs = {run.variant: run for run in read_runs(sweep, "")}
    found = losses_of(runs)
    records = [json.loads(x) for x in (sweep / "clip" / "metrics.jsonl").read_text().splitlines()]
    last = {key: value for key, value in records[-1].items() if key.startswith("loss/t_")}
    row = dict(zip(found["heads"], found["rows"][0], strict=True))
    shown = {f"loss/t_{k.replace(' to ', '_')}": v for k, v in row.items() if k != "run"}
    assert {key: shown[key] for key in last} == last


def test_only_what_differs_in_the_settings_is_listed() -> None:
    found = differences({"a": {"x": 1, "y": {"z": 2}}, "b": {"x": 1, "y": {"z": 3, "w": None}}})
    assert found["heads"] == ["setting", "a", "b"]
    assert found["rows"] == [["y.w", "–", "None"], ["y.z", "2", "3"]]


def test_a_folder_without_finished_runs_is_one_sentence(tmp_path: Path) -> None:
    ended = inside.run("dashboard", f"runs={tmp_path}", cwd=tmp_path)
    ended.refused("holds no finished run")
    nowhere = inside.run("dashboard", "experiment=preset_costs", cwd=tmp_path)
    nowhere.refused("runs/preset_costs is no folder: nothing of it was run here; run")
    never = inside.run("dashboard", "experiment=fig3_focus", cwd=tmp_path)
    never.refused("fig3_focus scores no runs")
    both = inside.run("dashboard", f"runs={tmp_path}", "experiment=x", cwd=tmp_path)
    both.refused("either experiment=<id> or runs=")


def test_wandbs_workspace_shows_scores_results_and_losses(
    sweep: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pytest.importorskip("wandb_workspaces")
    made = workspace(sweep, "my group", "a project", "me")
    panels = [panel for section in made.sections for panel in section.panels]
    bars = [panel.metrics for panel in panels if type(panel).__name__ == "BarPlot"]
    assert ["final/dino", "final/dino_low", "final/dino_high"] in [list(map(str, b)) for b in bars]
    assert [section.name for section in made.sections] == ["Scores", "Results", "Losses"]
    assert "my group" in str(made._to_model().spec.section.run_sets[0].filters)
    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "none"))
    with pytest.raises(ValueError, match="wandb login"):
        save_workspace(sweep, "my group", "a project")


@pytest.mark.skipif(bool(lacking()), reason=lacking())
@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_opens_in_chromium_without_a_network_or_an_error(
    sweep: Path, width: int, tmp_path: Path
) -> None:
    moved = tmp_path / "alone.html"  # away from its pictures' files: nothing is fetched
    shutil.copy(sweep / PAGE, moved)
    said: list[str] = []
    with page(width) as opened:
        opened.on("console", lambda message: said.append(message.text))
        opened.goto(moved.as_uri())
        assert opened.locator("h1").inner_text() == "a <b> sweep"
        assert opened.locator("tbody tr").count() > 8
        views = opened.locator(".view img")
        sizes = views.evaluate_all("images => images.map(image => image.naturalWidth)")
        assert len(sizes) == 2 * 5 and min(sizes) > 0
        opened.locator(".view").nth(3).hover()
        opened.mouse.wheel(0, -200)
        moved_by = views.evaluate_all("images => images.map(image => image.style.transform)")
        assert len(set(moved_by)) == 1 and "scale(1.25)" in moved_by[0]
        wide = opened.evaluate("document.documentElement.scrollWidth")
        assert wide <= width
    assert said == []
    assert np.isfinite(sizes).all()
