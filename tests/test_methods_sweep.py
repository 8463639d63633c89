"""Methods beside each other: one table, one picture of all results, and nothing scored twice."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from anydoor_lab.structures.images import read_image
from inside import run

QUICK = ["eval.num_pairs=2", "eval.num_diverse=0", "eval.num_shown=2", "metrics=[dino]"]


@pytest.mark.parametrize("benchmark", ["things", "world", "folder"])
def test_a_sweep_over_methods_ends_in_a_table_and_a_grid(
    tmp_path: Path, cutouts: Path, benchmark: str
) -> None:
    own = [f"data.root={cutouts}"] if benchmark == "folder" else []
    place = [f"hydra.sweep.dir={tmp_path / 'scored'}", *own]
    asked = [f"eval={benchmark}", "method=copy_paste,poisson", *QUICK, *place, "-m"]
    ended = run("evaluate", *asked, cwd=tmp_path)
    assert ended.code == 0, ended.err
    table = pd.read_csv(tmp_path / "scored" / "comparison.csv")
    assert sorted(table["run"]) == ["method=copy_paste", "method=poisson"]
    picture = read_image(tmp_path / "scored" / "results.png")
    assert picture.shape[1] > 4 * 128  # reference, scene, two methods and the truth side by side
    first = sorted((tmp_path / "scored").glob("*/scores.json"))
    stamps = [path.stat().st_mtime_ns for path in first]
    again = run("evaluate", *asked, cwd=tmp_path)
    assert again.code == 0 and again.out.count("are there already") == 2
    assert [path.stat().st_mtime_ns for path in first] == stamps
