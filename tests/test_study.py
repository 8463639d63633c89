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
from anydoor_lab.config import studies
from anydoor_lab.metrics.ratings import read_key, read_ratings
from anydoor_lab.report.scored import Scored
from anydoor_lab.report.study import people_and_scores, write_sheet
from anydoor_lab.structures.images import read_image, write_image


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
    (folder,) = tmp_path.glob("runs/fast/table2/methods/world/poisson/results")
    write_image(folder / "00_reference.png", np.zeros((8, 8, 3), np.uint8))
    (out / "table.md").unlink()
    with pytest.raises(SystemExit):
        run_experiment(str(tmp_path / "table2" / "run.py"), study, given)
    said = capsys.readouterr()
    assert "shows other pictures of poisson than were made now" in said.err
    assert (out / "table.md").is_file(), "what was rated is told all the same"


def test_pictures_of_other_data_or_settings_are_never_mixed_into_a_study(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    def begun(out: str, *more: str, methods: tuple[str, ...] = ("copy_paste", "poisson")) -> int:
        capsys.readouterr()
        call = ["--fast", "--device", "auto", "--out", out, *more]
        try:
            run_experiment(
                str(tmp_path / "t2" / "run.py"), partial(user_study, methods=methods), call
            )
        except SystemExit as ended:
            return int(ended.code or 0)
        return 0

    def is_pasted_once(data: str) -> None:
        folder = tmp_path / "runs" / "fast" / "t2" / "methods" / data / "copy_paste" / "results"
        for path in folder.glob("*_result_*.png"):  # all proposals of copy-paste are the same
            first = folder / f"{path.name[:2]}_result.png"
            assert np.array_equal(read_image(path), read_image(first)), path

    assert begun("a", "--data", "things") == 0
    assert begun("b", "--data", "world") == 0
    is_pasted_once("world")
    first, second = (study_of(tmp_path / out / "sheet.html") for out in "ab")
    assert first["items"][0]["scene"] != second["items"][0]["scene"]
    held = {path: path.read_bytes() for path in (tmp_path / "a").rglob("*") if path.is_file()}
    assert begun("a", "--data", "world") == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "sheet.html shows other pictures of copy_paste, poisson than were made now" in line
    assert {path: path.read_bytes() for path in held} == held
    assert begun("a", "--data", "things", methods=("copy_paste", "harmonised_paste")) == 0
    assert "left out harmonised_paste" in capsys.readouterr().out
    monkeypatch.setattr(studies, "QUICK", (*studies.QUICK, "eval.seed=7"))
    assert begun("b", "--data", "world") == 2
    is_pasted_once("world")
    assert begun("c", "--data", "world") == 0
    (tmp_path / "c" / "questions.json").unlink()
    assert begun("c", "--data", "world") == 2
    assert "has a key.csv but no questions.json" in capsys.readouterr().err
