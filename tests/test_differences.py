"""Comparing runs: paired differences, and what cannot be compared."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anydoor_lab.report.differences import difference_rows
from anydoor_lab.report.rows import read_rows
from anydoor_lab.report.scores import write_comparison
from anydoor_lab.runs.settings import first_difference


def run(each: list[float], **changed: Any) -> dict[str, Any]:
    """A `scores.json` with one metric and, for two of its pairs, another."""
    mean = sum(each) / len(each)
    row = {"run": "after training", "n": len(each), "dino": mean, "dino_low": mean - 5,
           "dino_high": mean + 5, "dino_each": each, "diversity": 3.0, "diversity_low": 1.0,
           "diversity_high": 5.0, "diversity_n": 2,
           "diversity_known_each": {"0": each[0], "3": each[3]}}  # fmt: skip
    framing = {**row, "run": "copy-paste", "anchor": True}
    known = {"scale": "tiny", "protocol": "crop=box", "seed": 1000, "commit": "abc",
             "n": len(each), "model_row": 0, "rows": [row, framing], "data": "world",
             "bounds": {"dino": [-100, 100]},
             "pairs": [{"origin": f"world/{i}"} for i in range(len(each))]}  # fmt: skip
    return {**known, **changed}


FIRST, BETTER = run([50.0, 60.0, 70.0, 80.0]), run([52.0, 63.0, 71.0, 82.0])


def test_runs_on_the_same_pairs_are_compared_pair_by_pair(tmp_path: Path) -> None:
    _, paths = write_comparison([("vgg", FIRST), ("clip", BETTER)], tmp_path, "Two runs")
    found = read_rows(paths["differ"])
    assert list(found["variant"]) == ["clip - vgg"] * 2
    assert list(found["metric"]) == ["dino_difference", "diversity_difference"]
    assert list(found["n"]) == [4, 2], "only the pairs that both have"
    dino = found.iloc[0]
    assert dino["value"] == 2.0 and 0 < dino["low"] < 2 < dino["high"] < 4
    names = [line.split("|")[1].strip() for line in paths["md"].read_text().splitlines()[4:6]]
    assert names == ["vgg", "clip"] and "| anchor: copy-paste |" in paths["md"].read_text()
    rows = read_rows(paths["rows"])
    assert list(rows["variant"].unique()) == ["vgg", "clip", "copy-paste"]


def test_runs_on_other_pairs_have_no_paired_difference() -> None:
    others = run([1.0, 2.0, 3.0, 4.0], pairs=[{"origin": f"things/{i}"} for i in range(4)])
    assert difference_rows([("a", FIRST), ("b", others)]) == []
    old = {key: value for key, value in FIRST.items() if key not in ("pairs", "bounds", "data")}
    assert difference_rows([("a", old), ("b", old)]) == []


@pytest.mark.parametrize(("part", "value"), [("protocol", "crop=box+mask"), ("scale", "sd21")])
def test_a_mixed_or_empty_set_of_runs_is_refused_and_writes_nothing(
    part: str, value: str, tmp_path: Path
) -> None:
    mixed = [("a", FIRST), ("b", {**BETTER, part: value})]
    with pytest.raises(ValueError, match=f"the runs differ in {part}: .* and "):
        write_comparison(mixed, tmp_path / "out", "Mixed")
    with pytest.raises(ValueError, match="no finished run"):
        write_comparison([], tmp_path / "out", "None")
    assert not (tmp_path / "out").exists()


def test_a_run_of_before_the_new_metrics_goes_on_but_not_under_another_protocol() -> None:
    held = {"eval.crop": "box", "metrics.clip._target_": "a.clip"}
    now = {**held, "eval.reference": "single", "metrics.unchanged._target_": "a.Unchanged"}
    assert first_difference(held, now) == ""
    assert "eval.reference" in first_difference(held, {**now, "eval.reference": "all"})
    mine = {**now, "metrics.mine._target_": "b.Mine"}
    assert "metrics.mine" in first_difference(held, mine)
    without = {key: value for key, value in now.items() if "unchanged" not in key}
    assert "metrics.unchanged" in first_difference(now, without), "left out on purpose"
