"""The rating sheet of a user study: blinded, shuffled, whole without a network."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from anydoor_lab import run_experiment, user_study
from anydoor_lab.metrics.ratings import read_key, read_ratings
from anydoor_lab.report.experiment import Scored
from anydoor_lab.report.study import people_and_scores, write_sheet
from anydoor_lab.structures.images import write_image


def pictures(folder: Path, colour: int, numbers: range = range(3), proposals: int = 2) -> Path:
    image = np.full((8, 8, 3), colour, np.uint8)
    for number in numbers:
        for part in ("reference", "scene", "result", *(f"result_{k}" for k in range(1, proposals))):
            write_image(folder / "results" / f"{number:02d}_{part}.png", image + np.uint8(number))
    return folder


def study_of(sheet: Path) -> dict[str, Any]:
    text = re.search(r'<script id="study"[^>]*>(.*?)</script>', sheet.read_text(), re.DOTALL)
    assert text
    study: dict[str, Any] = json.loads(text[1])
    return study


def test_the_sheet_hides_the_methods_and_needs_no_network(tmp_path: Path) -> None:
    methods = {name: pictures(tmp_path / name, 40 * n) for n, name in enumerate(("ours", "theirs"))}
    sheet, key = write_sheet(methods, tmp_path / "out", seed=1)
    text = sheet.read_text()
    assert "ours" not in text and "theirs" not in text
    assert not re.search(r"(src|href)=.?https?:|url\(", text)
    study = study_of(sheet)
    assert study["criteria"] == ["fidelity", "quality", "diversity"]
    assert study["wanted"] == 3 * 2 * 3 and len(study["items"]) == 3
    codes = read_key(key)
    assert sorted(codes.values()) == ["ours", "theirs"]
    for item in study["items"]:
        assert {answer["code"] for answer in item["answers"]} == set(codes)
        for answer in item["answers"]:
            assert len(answer["pictures"]) == 2
    again = write_sheet(methods, tmp_path / "again", seed=1)[0]
    assert again.read_bytes() == sheet.read_bytes()
    orders = {write_sheet(methods, tmp_path / f"{s}", seed=s)[0].read_bytes() for s in range(5)}
    assert len(orders) > 1


def test_one_proposal_each_leaves_diversity_out(tmp_path: Path) -> None:
    methods = {name: pictures(tmp_path / name, 9, proposals=1) for name in ("a", "b")}
    assert study_of(write_sheet(methods, tmp_path / "out")[0])["criteria"] == [
        "fidelity",
        "quality",
    ]


def test_methods_of_other_pairs_are_refused(tmp_path: Path) -> None:
    whole, part = pictures(tmp_path / "a", 9), pictures(tmp_path / "b", 9, range(2))
    with pytest.raises(ValueError, match="expected the same pairs"):
        write_sheet({"a": whole, "b": part}, tmp_path / "out")
    with pytest.raises(ValueError, match="at least two"):
        write_sheet({"a": whole}, tmp_path / "out")


def test_scores_are_ranked_against_people(tmp_path: Path) -> None:
    lines = ["rater,item,method_code,criterion,score"]
    for code, score in (("K1", 1), ("K2", 2), ("K3", 4)):
        lines += [f"ann,{item:02d},{code},fidelity,{score}" for item in range(3)]
    (tmp_path / "ann.csv").write_text("\n".join(lines) + "\n")
    key = {"K1": "poor", "K2": "fair", "K3": "good"}
    ratings = read_ratings([tmp_path / "ann.csv"], key)

    def run(name: str, dino: float, clip: float) -> Scored:
        row = {"dino": dino, "dino_low": 0, "dino_each": [dino, dino + 1], "clip": clip,
               "clip_low": 0, "clip_each": [clip] * 2}  # fmt: skip
        scores = {"rows": [row], "model_row": 0}
        return Scored(tmp_path, name, "world", 0, "", scores)

    runs = [run("poor", 10, 90), run("fair", 20, 60), run("good", 30, 30), run("unrated", 0, 0)]
    found = {row["metric"]: row for row in people_and_scores(ratings, key, runs)}
    assert (found["dino"]["tau"], found["clip"]["tau"]) == (1, -1)
    assert found["dino"]["methods"] == 3


def test_a_flawed_sheet_ends_the_study_in_one_sentence_and_what_is_there_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    study = partial(user_study, methods=("copy_paste", "poisson"))
    given = ["--fast", "--device", "auto", "--out", str(tmp_path / "out")]
    run_experiment(str(tmp_path / "table2" / "run.py"), study, given)
    out, head = tmp_path / "out", "rater,item,method_code,criterion,score"
    (out / "ratings").mkdir()
    ratings = [f"ann,{i},{k},{what},2" for i in ("00", "01") for k in ("K1", "K2")
               for what in ("fidelity", "quality", "diversity")]  # fmt: skip
    held = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    flawed = {
        "1 ratings are missing (the first: ann, 01, K2, diversity)": ratings[:-1],
        "6 ratings are missing (the first: ann, 01, K1, diversity)": ratings[:6],
        "4 ratings are missing (the first: ann, 00, K1, diversity)": [
            row for row in ratings if "diversity" not in row
        ],
        "6 ratings are missing (the first: ann, 00, K2, diversity)": [
            row for row in ratings if "K2" not in row
        ],
        "rates ann, 00, K1, fidelity twice, the first of 2": [*ratings, *ratings[:2]],
        "2 ratings are of the method_code K9, which the study does not have": [
            *ratings,
            "ann,00,K9,quality,2",
            "ann,01,K9,quality,2",
        ],
        "2 ratings are of the item a and 1 others, which": [
            *ratings,
            "ann,a,K1,quality,2",
            "ann,b,K1,quality,2",
        ],
        "1 ratings are of the criterion beauty": [*ratings, "ann,00,K1,beauty,2"],
        "ann.csv holds no rating": [],
        "the score is '7'": [*ratings[:-1], ratings[-1][:-1] + "7"],
    }
    for words, rows in flawed.items():
        (out / "ratings" / "ann.csv").write_text("\n".join([head, *rows, ""]))
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            run_experiment(str(tmp_path / "table2" / "run.py"), study, given)
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert ended.value.code == 2 and line.startswith("error: ") and words in line
        assert {path: path.read_bytes() for path in held} == held
    (out / "ratings" / "ann.csv").write_text("\n".join([head, *ratings, ""]))
    run_experiment(str(tmp_path / "table2" / "run.py"), study, given)
    assert "table.md" in capsys.readouterr().out
