"""The long format: what is written is read again, from runs of today and of before."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from anydoor_lab.metrics.score import Score
from anydoor_lab.report.rows import (
    COLUMNS,
    long_rows,
    read_rows,
    rows_frame,
    rows_of_run,
    rows_of_scores,
    scores_of,
    write_rows,
)
from anydoor_lab.runs.folder import SCORES
from anydoor_lab.structures.files import write_sealed

BEFORE: dict[str, Any] = {  # as version 0.1 wrote it
    "scale": "tiny", "protocol": "crop=box", "seed": 1000, "commit": "abc", "n": 4,
    "model_row": 0,
    "rows": [
        {"run": "after training", "n": 4, "clip": 71.0, "clip_low": 70.0, "clip_high": 72.0,
         "clip_each": [70.0, 72.0, 71.0, 71.0], "diversity": None},
        {"run": "empty", "anchor": True, "n": 4, "clip": 20.0, "clip_low": math.nan,
         "clip_high": math.nan},
    ],
}  # fmt: skip


def a_score(**changed: Any) -> Score:
    known = {"value": 71.0, "metric": "clip", "protocol": "crop=box", "n": 4,
             "ci95": (70.0, 72.0), "seed": 1000, "scale": "tiny"}  # fmt: skip
    return Score(**{**known, **changed})


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_rows_are_read_as_they_were_written(suffix: str, tmp_path: Path) -> None:
    none = (math.nan, math.nan)
    scores = [a_score(), a_score(value=0.1 + 0.2, metric="dino", n=1, ci95=none, seed=None)]
    rows = long_rows("NA", scores, data="world", commit="", config="0123")
    written = write_rows(rows, tmp_path)
    again = read_rows(written[suffix])
    assert tuple(again.columns) == COLUMNS
    pd.testing.assert_frame_equal(again, rows_frame(rows))
    assert again["value"][1] == 0.1 + 0.2
    assert again["config"][0] == "0123", "a hash of digits stays text"
    assert again["commit"][0] == ""


def test_no_row_is_a_table_of_no_row(tmp_path: Path) -> None:
    written = write_rows([], tmp_path)
    for path in written.values():
        assert read_rows(path).empty and tuple(read_rows(path).columns) == COLUMNS


def test_scores_of_an_older_run_become_rows(tmp_path: Path) -> None:
    write_sealed(tmp_path / SCORES, BEFORE)
    rows = rows_of_run(tmp_path)
    assert [(row["variant"], row["metric"]) for row in rows] == [
        ("after training", "clip"), ("empty", "clip"),
    ]  # fmt: skip
    assert rows[0]["commit"] == "abc" and rows[0]["seed"] == 1000
    assert scores_of(BEFORE, BEFORE["rows"][0]) == [a_score()]


def test_the_seed_of_a_training_is_the_models_and_not_the_anchors() -> None:
    rows = rows_of_scores(BEFORE, seed=3, data="world")
    assert [row["seed"] for row in rows] == [3, 1000]
    assert {row["data"] for row in rows} == {"world"}


def test_other_columns_and_other_files_are_refused_in_a_sentence(tmp_path: Path) -> None:
    row = long_rows("a", [a_score()])[0]
    with pytest.raises(ValueError, match="the columns low, spread; expected"):
        rows_frame([{**{k: v for k, v in row.items() if k != "low"}, "spread": 1}])
    with pytest.raises(ValueError, match="another kind"):
        rows_frame([{**row, "n": "many"}])
    with pytest.raises(ValueError, match="does not exist"):
        read_rows(tmp_path / "rows.csv")
    for name in ("rows.parquet", "rows.csv"):
        (tmp_path / name).write_bytes(b"\x00PAR1 nothing\n")
        with pytest.raises(ValueError, match="damaged|columns"):
            read_rows(tmp_path / name)


def test_a_score_says_all_that_it_depends_on_and_refuses_a_turned_interval() -> None:
    assert str(a_score()) == "clip 71.0 [70.0, 72.0] (n = 4), tiny; crop=box; seed 1000"
    with pytest.raises(ValueError, match="lower end first"):
        a_score(ci95=(72.0, 70.0))
    assert not a_score(value=math.nan, n=0, ci95=(math.nan, math.nan)).known
