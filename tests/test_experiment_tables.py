"""The tables of an experiment: every metric, what frames it, and the paired differences."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from anydoor_lab.report.caption import Caption
from anydoor_lab.report.experiment import (
    base_of,
    mean_row,
    paired_rows,
    rows_of_runs,
    tables_of,
    write_results,
)
from anydoor_lab.report.rows import read_rows
from anydoor_lab.report.scored import Scored
from anydoor_lab.report.scores import panels_of

MEANS = {"clip": 80.0, "dino": 70.0, "unchanged": 100.0, "lpips": 0.2, "own": 3.0}


def scored(row: dict[str, Any], variant: str, seed: int = 0) -> Scored:
    """A finished run whose model has these scores of its pairs."""
    known: dict[str, Any] = {"run": "after training", "n": 4}
    for key, value in row.items():
        each = value if isinstance(value, list) else [value] * 4
        mean = sum(each) / len(each)
        known |= {key: mean, f"{key}_low": mean - 1, f"{key}_high": mean, f"{key}_each": each}
    frame = [{**known, "run": name, "anchor": True} for name in ("ground truth", "copy-paste")]
    scores = {"scale": "tiny", "protocol": "crop=box", "seed": 1000, "commit": "abc", "n": 4,
              "model_row": 0, "rows": [known, *frame], "data": "things",
              "bounds": {"unchanged": [0.0, 100.0], "clip": [-100.0, 100.0]},
              "pairs": [{"origin": f"things/{i}"} for i in range(4)]}  # fmt: skip
    return Scored(Path(f"{variant}-{seed}"), variant, "things", seed, "hash", scores)


def test_a_table_has_every_metric_of_its_runs_and_the_papers_come_first() -> None:
    first, further = tables_of([mean_row([scored(MEANS, "a")])], Caption("Runs", "tiny"))
    assert [column.key for column in first.columns] == ["variant", "seeds", "clip", "dino"]
    assert [column.key for column in further.columns] == ["variant", "unchanged", "lpips", "own"]
    assert further.caption.title == "Runs: further scores" and "0.200" in further.markdown()


def test_a_table_without_the_papers_metrics_is_one_of_those_that_are_there() -> None:
    rows = [mean_row([scored({"lpips": 0.2}, "a")]), {"variant": "b", "note": "not run"}]
    (table,) = tables_of(rows, Caption("Runs"))
    assert [column.key for column in table.columns] == ["variant", "seeds", "lpips", "note"]
    (bare,) = tables_of(rows[1:], Caption("Runs"))
    assert [column.key for column in bare.columns] == ["variant", "note"]


def test_the_interval_over_seeds_ends_where_the_metric_does() -> None:
    runs = [scored({**MEANS, "clip": clip}, "a", seed) for seed, clip in enumerate((99, 70, 99))]
    row = mean_row(runs)
    assert row["clip_high"] == 100.0 and row["seeds"] == "3"
    assert row["unchanged_low"] == 99.0, "all at one end: a run's own interval over its pairs"


def test_a_figure_shows_clip_and_dino_else_what_there_is() -> None:
    row = mean_row([scored(MEANS, "a")])
    assert list(panels_of([row])) == ["clip", "dino"]
    assert list(panels_of([{"lpips": 0.2, "lpips_low": 0.1}])) == ["lpips"]
    with pytest.raises(ValueError, match="no run has a score"):
        panels_of([{"run": "a", "clip": None}])


def test_what_frames_the_scores_stands_in_every_table_after_the_variants(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [scored(MEANS, "idx=vgg"), scored({**MEANS, "dino": 60.0}, "idx=dinov2")]
    write_results(runs, tmp_path, "mine", {"things": {"idx=clip": "not run: no weights"}})
    text, tex = ((tmp_path / f"table_things.{e}").read_text() for e in ("md", "tex"))
    scores, further, differing = text.split("\n**mine on things: ")
    for part in (scores, further):
        names = [line.split("|")[1].strip() for line in part.splitlines() if line.startswith("| ")]
        assert names[-2:] == ["anchor: ground truth", "anchor: copy-paste"]
    assert "not run: no weights" in scores and "anchor" not in differing
    for shown in (tex, capsys.readouterr().out):
        assert shown.count("anchor: copy-paste") == 2
    rows = read_rows(tmp_path / "rows.csv")
    found = rows[rows["variant"] == "idx=vgg - idx=dinov2"].set_index("metric")
    assert found.loc["dino_difference", "value"] == 10.0
    assert "idx=vgg - idx=dinov2" in differing and "10.00" in differing


def test_differences_are_of_each_pairs_mean_over_the_seeds_that_both_have() -> None:
    base = [[50.0, 60.0, 70.0, 80.0], [54.0, 60.0, 70.0, 80.0], [0.0, 0.0, 0.0, 0.0]]
    other = [[53.0, 64.0, 71.0, 84.0], [55.0, 66.0, 75.0, 82.0]]
    runs = [scored({"dino": each}, "a", seed) for seed, each in enumerate(base)]
    runs += [scored({"dino": each}, "b", seed) for seed, each in enumerate(other)]
    rows = rows_of_runs(runs, paired_rows(runs)).set_index("variant")
    found = rows.loc["b - a"]
    assert found["value"] == (2 + 5 + 3 + 3) / 4 and found["n"] == 4
    assert 0 < found["low"] < found["value"] < found["high"]
    alone = [scored({"dino": 1.0}, "a", 0), scored({"dino": 1.0}, "b", 1)]
    assert not paired_rows(alone)


def test_differences_are_to_the_papers_own_choice_else_to_the_first() -> None:
    assert base_of(["idx=vgg", "idx=dinov2"]) == "idx=dinov2"
    swept = ["collage=hf idx=vgg", "collage=hf idx=dinov2"]
    assert base_of(swept) == swept[1]
    assert base_of(["preset=draft", "preset=exact"]) == "preset=exact"
    assert base_of(["references=1", "references=2"]) == "references=1"
