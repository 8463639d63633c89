"""Ratings of a user study: sheets read and refused, Table 2's form, agreement."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from anydoor_lab.metrics.ratings import (
    Questions,
    aggregate,
    agreement,
    gaps,
    krippendorff_alpha,
    read_key,
    read_ratings,
)
from anydoor_lab.report.ratings import rating_table

HEAD = "rater,item,method_code,criterion,score\n"
KEY = {"K1": "AnyDoor", "K2": "copy and paste"}


def sheet(path: Path, *rows: str) -> Path:
    path.write_text(HEAD + "".join(f"{row}\n" for row in rows))
    return path


def full(path: Path, rater: str, scores: str) -> Path:
    """Two items, two methods and two criteria, a digit for each rating."""
    names = [f"{rater},{item},{code},{criterion}" for item in ("a", "b") for code in KEY
             for criterion in ("fidelity", "quality")]  # fmt: skip
    return sheet(path, *(f"{n},{s}" for n, s in zip(names, scores, strict=True)))


def krippendorffs_example() -> np.ndarray:
    """The data of section D of "Computing Krippendorff's alpha-reliability" (2011)."""
    rows = (
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    )
    return np.array([[float("nan" if v == "." else v) for v in row.split()] for row in rows])


@pytest.mark.parametrize(
    ("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)]
)
def test_alpha_is_krippendorffs_own_of_his_example(level: str, alpha: float) -> None:
    assert krippendorff_alpha(krippendorffs_example(), level) == pytest.approx(alpha, abs=5e-4)


def test_alpha_is_one_for_perfect_agreement_and_unknown_for_one_rater() -> None:
    scores = np.array([[1.0, 2, 3, 4]])
    assert krippendorff_alpha(np.repeat(scores, 3, axis=0)) == 1
    assert np.isnan(krippendorff_alpha(scores))
    assert np.isnan(krippendorff_alpha(np.full((2, 4), 3.0)))  # nothing could have differed
    with pytest.raises(ValueError, match="level is 'ratio'; expected one of nominal"):
        krippendorff_alpha(scores, "ratio")


def test_two_raters_sheets_aggregate_to_table_2(tmp_path: Path) -> None:
    sheets = [
        full(tmp_path / "ann.csv", "ann", "43214321"),
        full(tmp_path / "bob.csv", "bob", "33223422"),
    ]  # noqa: E501
    ratings = read_ratings(sheets, KEY)
    first, second = aggregate(ratings, KEY)
    assert (first["method"], second["method"]) == ("AnyDoor", "copy and paste")
    assert first["fidelity"] == 3.5 and first["quality"] == pytest.approx(3.25)
    assert first["n"] == 2  # items, not ratings: two raters of one item are no two items
    assert 1 <= second["quality_low"] <= second["quality"] <= second["quality_high"] <= 4
    text = rating_table(ratings, KEY).markdown()
    assert "| method " in text and "fidelity ↑" in text and "2 raters" in text
    assert set(agreement(ratings)) == {"fidelity", "quality"}


def test_a_sheet_with_gaps_is_refused_and_says_which(tmp_path: Path) -> None:
    whole = full(tmp_path / "ann.csv", "ann", "43214321")
    lines = whole.read_text().splitlines()
    whole.write_text("\n".join(lines[:-1]) + "\n")
    with pytest.raises(ValueError, match=r"1 ratings are missing \(the first: ann, b, K2, quality"):
        read_ratings([whole])
    assert gaps(read_ratings([whole], complete=False)) == [("ann", "b", "K2", "quality")]


def test_what_nobody_rated_is_missed_by_the_key_and_by_the_questions(tmp_path: Path) -> None:
    whole = full(tmp_path / "ann.csv", "ann", "43214321")
    with pytest.raises(ValueError, match=r"4 ratings are missing .the first: ann, a, K3, fidelity"):
        read_ratings([whole], {**KEY, "K3": "never rated"})
    asked = Questions(("a", "b", "c"), ("K1", "K2"), ("fidelity", "quality"), {"AnyDoor": "f0"})
    asked = Questions.read(asked.write(tmp_path / "questions.json"))
    with pytest.raises(ValueError, match=r"4 ratings are missing .the first: ann, c, K1, fidelity"):
        read_ratings([whole], KEY, questions=asked)
    read_ratings([whole], KEY, questions=replace(asked, items=("a", "b")))
    with pytest.raises(ValueError, match="the key has the codes K9, the study K1, K2"):
        read_ratings([whole], {"K9": "AnyDoor"}, questions=asked)
    (tmp_path / "questions.json").write_text("{}")
    with pytest.raises(ValueError, match="questions.json is damaged"):
        Questions.read(tmp_path / "questions.json")


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        (["ann,a,K1,fidelity,5"], "line 2: the score is '5'; expected a whole number from 1"),
        (["ann,a,K1,fidelity,"], "the score is ''"),
        (["ann,a,K1,fidelity,2.5"], "the score is '2.5'"),
        (["ann,,K1,fidelity,2"], "a name is empty"),
        (["ann,a,K1,fidelity,2", "ann,a,K1,fidelity,3"], "rates ann, a, K1, fidelity twice"),
        (["ann,a,K9,fidelity,2"], "1 ratings are of the method_code K9, which the study does not"),
    ],
)
def test_a_bad_sheet_is_one_sentence(rows: list[str], sentence: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=sentence):
        read_ratings([sheet(tmp_path / "ann.csv", *rows)], KEY)


def test_the_same_sheet_twice_and_no_sheet_are_refused(tmp_path: Path) -> None:
    one = full(tmp_path / "ann.csv", "ann", "43214321")
    with pytest.raises(ValueError, match="two sheets hold the rating ann, a, K1, fidelity"):
        read_ratings([one, one])
    with pytest.raises(ValueError, match="there is no sheet"):
        read_ratings([])


def test_a_file_that_is_no_sheet_or_no_key_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.csv"
    other.write_text("a,b\n1,2\n")
    with pytest.raises(ValueError, match="other.csv has no column rater"):
        read_ratings([other])
    with pytest.raises(ValueError, match="other.csv has no column method_code"):
        read_key(other)
    other.write_bytes(b"\x89PNG\r\n\x1a\n\xff\xfe")
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_ratings([other])
    with pytest.raises(ValueError, match="cannot be read as CSV"):
        read_key(tmp_path / "gone.csv")
