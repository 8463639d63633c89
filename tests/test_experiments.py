"""experiments/<id>/: every id runs, says what the paper says, and survives being killed."""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path

import pandas as pd
import pytest
import yaml

import commands
from anydoor_lab.models.effnet import PACKAGE
from anydoor_lab.report.printed import paper_csv, read_paper
from networks import model_overrides
from test_ledger import QUICK

ROOT = Path(__file__).resolve().parents[1]
PAPER = (
    "table1_datasets", "table2_user_study", "table3_id_extractors", "table4_collages",
    "fig3_focus", "fig5_reference_based", "fig6_multi_subject", "fig7_core_components",
    "fig8_id_extractors", "fig9_collages", "fig10_try_on", "fig11_applications",
)  # fmt: skip
BEYOND = ("several_references", "guidance_steps", "preset_costs")
WAITING = ("fig10_try_on", "fig11_applications")
WRITES = {
    "table1_datasets": {"rows.csv", "table.md", "table.tex"},
    "table2_user_study": {"sheet.html", "key.csv", "questions.json"},
    "fig3_focus": {"rows.csv", "figure_world.png", "figure_world.pdf", "details_world.png"},
    "fig8_id_extractors": {"pictures_world.png", "pictures_world.pdf"},
    "fig9_collages": {"pictures_world.png", "pictures_world.pdf"},
    "preset_costs": {"costs_world.md", "rows.csv"},
}
USUAL = {"rows.csv", "table_world.md", "table_world.tex", "figure_world.png", "figure_world.pdf",
         "pictures_world.png"}  # fmt: skip
COLUMNS = ["variant", "metric", "value", "low", "high", "n", "protocol", "seed", "scale", "data",
           "commit", "config"]  # fmt: skip


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which the experiments run one after the other, as a user's checkout is."""
    folder = tmp_path_factory.mktemp("experiments")
    shutil.copytree(ROOT / "experiments", folder / "experiments")
    return folder


@pytest.mark.parametrize("name", [*PAPER, *BEYOND])
def test_every_id_runs_quickly_and_writes_what_it_promises(name: str, here: Path) -> None:
    call = ["run", "--fast", "--device", "cpu"]
    search = str(here / "experiments" / name)
    own = {"PYTHONPATH": search, "CUDA_VISIBLE_DEVICES": ""}
    ended = commands.module(call, here, own, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    out = here / "runs" / "fast" / name
    if name in WAITING:
        assert f"{name} is not run: " in ended.stdout and not out.exists()
        return
    assert {path.name for path in out.iterdir()} >= WRITES.get(name, USUAL)
    for path in out.glob("rows.csv"):
        rows = pd.read_csv(path)
        if name != "table1_datasets":
            assert list(rows.columns) == COLUMNS and set(rows["scale"]) == {"tiny"}
    for path in out.glob("table_*.md"):
        assert "tiny scale, not comparable with the paper" in path.read_text()
    committed = {path.name for path in (ROOT / "experiments" / name).iterdir()}
    assert {path.name for path in (here / "experiments" / name).iterdir()} <= {
        *committed, "__pycache__",
    }  # fmt: skip


@pytest.mark.parametrize("name", [*PAPER, *BEYOND])
def test_every_id_says_what_it_is_in_few_lines(name: str) -> None:
    folder = ROOT / "experiments" / name
    readme = (folder / "README.md").read_text()
    for head in ("## The paper", "## What is run", "## Where it differs"):
        assert head in readme
    assert f"python experiments/{name}/run.py" in readme
    assert len((folder / "run.py").read_text().splitlines()) <= 60


@pytest.mark.parametrize("name", sorted(p.parent.name for p in ROOT.glob("experiments/*/run.py")))
def test_every_run_imports_what_is_there_and_says_how_it_is_called(name: str) -> None:
    search = {"PYTHONPATH": str(ROOT / "experiments" / name), "CUDA_VISIBLE_DEVICES": ""}
    ended = commands.module(["run", "--help"], ROOT, search, timeout=120)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert ended.stdout.startswith("usage:")


@pytest.mark.skipif(find_spec(PACKAGE) is None, reason=f"{PACKAGE} is not installed")
@pytest.mark.parametrize(
    ("name", "written"),
    [
        ("things_retrieval", {"rows.csv", "table.md"}),
        ("things_identity", {"things.csv", "things.md", "things.png"}),
    ],
)
def test_what_is_asked_of_things_runs_quickly(name: str, written: set[str], here: Path) -> None:
    search = {"PYTHONPATH": str(here / "experiments" / name), "CUDA_VISIBLE_DEVICES": ""}
    ended = commands.module(["run", "--fast"], here, search, timeout=600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    out = here / "runs" / "fast" / name
    assert {path.name for path in out.iterdir()} == written
    for path in out.glob("*.csv"):
        rows = pd.read_csv(path)
        assert list(rows.columns) == COLUMNS and set(rows["scale"]) == {"tiny"}
        assert (rows["low"] <= rows["value"]).all() and (rows["value"] <= rows["high"]).all()
    for path in out.glob("*.md"):
        assert "tiny scale, not comparable with the paper" in path.read_text()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (["things_retrieval", "--objects", "1"], "--objects is 1; expected at least 2"),
        (["things_retrieval", "--parts", "nowhere"], "nowhere is no folder"),
        (["things_identity", "--objects", "nowhere"], "nowhere is no folder"),
        (["things_identity", "--objects", ".", "--run", ""], "has no picture with alpha"),
    ],
)
def test_what_cannot_be_asked_of_things_is_one_sentence(
    call: list[str], said: str, here: Path
) -> None:
    search = {"PYTHONPATH": str(here / "experiments" / call[0]), "CUDA_VISIBLE_DEVICES": ""}
    ended = commands.module(["run", *call[1:]], here, search)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: ") and said in ended.stderr


def test_printed_numbers_are_those_of_the_paper() -> None:
    paper = ROOT.parent / "shared" / "paper" / "anydoor.md"
    if not paper.is_file():
        pytest.skip("the paper's text does not stand beside the checkout")
    text = re.sub(r"[$\\{},]|mathbf| (?=[\d.])", "", paper.read_text())
    for name in ("table1_datasets", "table2_user_study", "table3_id_extractors", "table4_collages"):
        table = read_paper(name)
        assert len(table) >= 9
        for value in table["value"]:
            assert f"{value:g}" in text or f"{value:.2f}" in text or f"{value:.1f}" in text, value


def test_paper_csv_names_the_choices_that_are_swept() -> None:
    for name in ("table3_id_extractors", "table4_collages"):
        swept = yaml.safe_load((ROOT / "conf" / "experiment" / f"{name}.yaml").read_text())
        params = swept["hydra"]["sweeper"]["params"]
        (key,) = set(params) - {"seed", "data"}
        assert set(read_paper(name)["variant"]) == {f"{key}={v}" for v in params[key].split(",")}
        assert len(str(params["seed"]).split(",")) >= 3 and params["data"] == "things,world"
    assert paper_csv("fig7_core_components") is None  # the paper prints pictures only


def test_a_gpu_that_is_not_there_is_one_sentence(here: Path) -> None:
    search = {"PYTHONPATH": str(here / "experiments" / "fig3_focus"), "CUDA_VISIBLE_DEVICES": ""}
    ended = commands.module(["run", "--fast", "--device", "cuda"], here, search)
    assert ended.returncode == 2
    assert ended.stderr.splitlines()[-1].startswith("error: --device is cuda")


def killed_when(call: list[str], cwd: Path, there: Callable[[], bool]) -> None:
    """Begin a command and end it the hard way as soon as `there`."""
    outputs = [cwd / "out.txt", cwd / "err.txt"]
    environment = {"OMP_NUM_THREADS": "1", "XDG_CACHE_HOME": str(cwd / "cache")}
    process = commands._server.Process(target=commands._run, args=(call, cwd, environment, outputs))
    process.start()
    end = time.monotonic() + 150
    while not there() and process.is_alive() and time.monotonic() < end:
        time.sleep(0.01)
    assert process.is_alive(), (cwd / "err.txt").read_text()[-3000:]
    process.kill()
    process.join()


def test_a_sweep_killed_twice_and_repeated_gives_the_rows_of_one_that_was_not(
    networks: Path, tmp_path: Path
) -> None:
    def call(folder: Path) -> list[str]:
        steps = ["train.steps=12", "train.checkpoint_every=2", "metrics=[clip,dino]"]
        settings = [*QUICK, *model_overrides(networks), *steps, f"hydra.sweep.dir={folder}"]
        chosen = ["idx=vgg,clip,dinov2_global,dinov2", "data=world", "seed=0"]
        return ["anydoor_lab.train", "experiment=table3_id_extractors", *chosen, *settings]

    # not beside each other, where the one would take over what the other trained
    straight, killed = tmp_path / "straight" / "sweep", tmp_path / "killed" / "sweep"
    for folder in (straight, killed):
        folder.mkdir(parents=True)
    ended = commands.module([*call(straight), "share=false"], tmp_path, {}, 600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    of_clip = "*idx-clip*/checkpoints/step_*"
    killed_when(call(killed), tmp_path, lambda: any(killed.glob("*/checkpoints/step_*")))
    killed_when(call(killed), tmp_path, lambda: any(killed.glob(of_clip)))
    ended = commands.module(call(killed), tmp_path, {"XDG_CACHE_HOME": f"{tmp_path}/cache"}, 600)
    assert ended.returncode == 0, ended.stderr[-3000:]
    assert "resuming" in ended.stdout and ended.stdout.count("is finished;") == 1
    for name in ("rows.csv", "agreement.csv", "table_world.md"):
        assert (killed / name).read_bytes() == (straight / name).read_bytes()
    assert set(pd.read_csv(killed / "ledger.csv")["state"]) == {"finished"}
    kept = list((tmp_path / "cache").rglob("*.pair"))
    assert len(kept) == 24  # the four variants drew each of their 12 x 2 samples once
