"""The Rater without a browser: blind, saved after each rating, gone on with, refused when mixed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anydoor_lab import Rater
from anydoor_lab.metrics.ratings import read_key, read_ratings
from anydoor_lab.report.ratings import rating_table

METHODS = ("method_one", "method_two")


def pictures(seed: int, number: int = 3) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 255, (24, 32, 3)).astype(np.uint8) for _ in range(number)]


def rater(folder: Path, name: str = "ann", **settings: Any) -> Rater:
    methods = {method: pictures(k) for k, method in enumerate(METHODS)}
    return Rater(settings.pop("methods", methods), name, folder=folder / "study", **settings)


def rate_all(one: Rater, score: int = 3) -> None:
    for item in range(one.num_items):
        for place in range(one.num_places):
            for criterion in one.criteria:
                assert one.rate(place, criterion, score, item), one.message


def test_each_rating_is_in_the_file_at_once_and_is_gone_on_with(tmp_path: Path) -> None:
    one = rater(tmp_path)
    assert (one.total, one.rated, one.criteria) == (12, 0, ["fidelity", "quality"])
    assert not one.sheet.exists()
    one._handle_custom_msg(
        {"do": "rate", "place": 1, "criterion": "quality", "score": 4, "item": 0}, []
    )  # noqa: E501
    kept = pd.read_csv(one.sheet)
    assert list(kept.columns) == ["rater", "item", "method_code", "criterion", "score"]
    assert kept[["rater", "criterion", "score"]].values.tolist() == [["ann", "quality", 4]]
    assert one._scores == [[0, 0], [0, 4]]
    assert one.rate(1, "quality", 2)  # a second thought
    again = rater(tmp_path)
    assert again._scores == [[0, 0], [0, 2]]
    assert (again.rated, again.item) == (1, 0)
    rate_all(again)
    assert again.finished
    assert rater(tmp_path).finished


def test_the_first_item_with_a_gap_is_shown_first(tmp_path: Path) -> None:
    one = rater(tmp_path)
    for place in range(2):
        for criterion in one.criteria:
            one.rate(place, criterion, 1, item=0)
    assert rater(tmp_path).item == 1


def test_nothing_that_a_rater_is_sent_names_a_method(tmp_path: Path) -> None:
    one = rater(tmp_path, targets=pictures(9))
    rate_all(one)
    state = repr(one.get_state()).replace(str(one._esm), "").replace(str(one._css), "")
    titles = [title for title, _ in one._pictures()]
    sheet = one.sheet.read_text()
    for method in METHODS:
        assert method not in state
        assert method not in sheet
    assert titles == ["target", "1", "2"]
    assert one.key.parent == tmp_path  # not in the raters' folder
    assert sorted(read_key(one.key).values()) == sorted(METHODS)


def test_raters_share_codes_but_not_orders(tmp_path: Path) -> None:
    many = {method: pictures(k, 30) for k, method in enumerate(METHODS)}
    ann, bob = (rater(tmp_path, name, methods=many) for name in ("ann", "bob"))
    assert ann._codes == bob._codes
    assert ann._order != bob._order and sorted(ann._order) == sorted(bob._order)
    firsts = [ann.study.places("ann", item)[0] for item in ann.study.items]
    assert 5 < firsts.count(METHODS[0]) < 25
    assert rater(tmp_path, "ann", methods=many)._order == ann._order


def test_the_score_goes_to_the_method_that_stood_there(tmp_path: Path) -> None:
    one = rater(tmp_path)
    for item, name in enumerate(one._order):
        for place, method in enumerate(one.study.places("ann", name)):
            for criterion in one.criteria:
                one.rate(place, criterion, 4 if method == METHODS[0] else 1, item)
    means = one.aggregate(reveal=True).set_index("method")["fidelity"]
    assert means[METHODS[0]] == 4
    assert means[METHODS[1]] == 1
    assert METHODS[0] not in set(one.aggregate()["method"])


def test_two_raters_sheets_come_to_table_2(tmp_path: Path) -> None:
    ann, bob = rater(tmp_path, "ann", results=True), rater(tmp_path, "bob")
    rate_all(ann, 4)
    with pytest.raises(ValueError, match="12 of 12 ratings are missing"):
        bob.export(tmp_path / "bob.csv")
    rate_all(bob, 2)
    sheets = [one.export(tmp_path / f"{one.rater}.csv") for one in (ann, bob)]
    key = read_key(ann.key)
    table = rating_table(read_ratings(sheets, key), key)
    assert {row["method"]: row["quality"] for row in table.frame().to_dict("records")} == {
        METHODS[0]: 3.0, METHODS[1]: 3.0
    }  # fmt: skip
    assert "alpha" in str(table.caption)
    assert ann._summary[0] == ["code", "fidelity", "quality"]
    assert ann._summary[-1][0] == "agreement (alpha)"


def test_a_sheet_in_two_windows_loses_nothing_and_says_so(tmp_path: Path) -> None:
    first, second = rater(tmp_path), rater(tmp_path)
    assert first.rate(0, "fidelity", 4)
    assert not second.rate(0, "quality", 1)
    assert "ratings_ann.csv was changed by another window" in second.message
    assert second._scores == [[0, 0], [0, 0]]
    assert len(pd.read_csv(first.sheet)) == 1
    assert first.rate(1, "fidelity", 2)
    assert len(pd.read_csv(first.sheet)) == 2
    assert rater(tmp_path).rate(0, "quality", 1)


def test_a_sheet_that_vanishes_is_not_written_anew_in_silence(tmp_path: Path) -> None:
    one = rater(tmp_path)
    assert one.rate(0, "fidelity", 4)
    one.sheet.unlink()
    assert not one.rate(0, "quality", 1)
    assert "changed by another window" in one.message


HEAD = "rater,item,method_code,criterion,score\n"


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ("bob,001,{code},fidelity,2\n", "is the sheet of bob, not of ann"),
        ("ann,001,QQQ,fidelity,2\n", "rates the method_code QQQ, which this study does not have"),
        ("ann,999,{code},fidelity,2\n", "rates the item 999, which this study does not have"),
        ("ann,001,{code},beauty,2\n", "rates the criterion beauty"),
        ("ann,001,{code},fidelity,7\n", "the score is '7'; expected a whole number from 1"),
        ("ann,001,{code},fidelity,2\n" * 2, "rates ann, 001, .*, fidelity twice"),
    ],
)
def test_a_foreign_or_damaged_sheet_is_one_sentence(
    rows: str, sentence: str, tmp_path: Path
) -> None:
    code = rater(tmp_path)._codes[METHODS[0]]
    path = tmp_path / "study" / "ratings_ann.csv"
    path.parent.mkdir(exist_ok=True)
    path.write_text(HEAD + rows.format(code=code))
    before = path.read_bytes()
    with pytest.raises(ValueError, match=sentence):
        rater(tmp_path)
    assert path.read_bytes() == before


def test_material_that_does_not_belong_together_is_one_sentence(tmp_path: Path) -> None:
    uneven = {"a": pictures(0, 3), "b": pictures(1, 2)}
    with pytest.raises(ValueError, match=r"a and b do not have the same items \(003 is only in"):
        rater(tmp_path, methods=uneven)
    sets = {"a": [pictures(0, 4)], "b": [pictures(1, 3)]}
    with pytest.raises(ValueError, match="a and b have 4 and 3 pictures of 001"):
        rater(tmp_path, methods=sets)
    with pytest.raises(ValueError, match="a is .*gone, which is no folder"):
        rater(tmp_path, methods={"a": tmp_path / "gone"})
    with pytest.raises(ValueError, match="diversity needs sets"):
        rater(tmp_path, criteria=["diversity"])
    with pytest.raises(ValueError, match="there is no target for the item 003"):
        rater(tmp_path, targets=pictures(5, 2))
    with pytest.raises(ValueError, match="rater is 'a b'; expected letters"):
        rater(tmp_path, "a b")
    with pytest.raises(ValueError, match="there is no method"):
        rater(tmp_path, methods={})


def test_another_studys_key_is_not_overwritten(tmp_path: Path) -> None:
    rater(tmp_path)
    with pytest.raises(ValueError, match="study_key.csv is the key of another study"):
        rater(tmp_path, seed=8)


def test_folders_of_pictures_and_of_sets_are_read(tmp_path: Path) -> None:
    for method in METHODS:
        for item in ("cat", "dog"):
            (tmp_path / "sets" / method / item).mkdir(parents=True)
            (tmp_path / "plain" / method).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pictures(1)[0]).save(tmp_path / "plain" / method / f"{item}.png")
            for k in range(4):
                Image.fromarray(pictures(k)[0]).save(tmp_path / "sets" / method / item / f"{k}.png")
    plain = rater(tmp_path / "p", methods={m: tmp_path / "plain" / m for m in METHODS})
    assert plain.study.items == ("cat", "dog")
    assert plain.criteria == ["fidelity", "quality"]
    sets = rater(tmp_path / "s", methods={m: tmp_path / "sets" / m for m in METHODS})
    assert sets.criteria == ["fidelity", "quality", "diversity"]
    assert [len(several) for _, several in sets._pictures()] == [4, 4]
    assert sets._repr_png_().startswith(b"\x89PNG")


def test_a_rating_out_of_range_is_a_message_and_a_picture_that_is_gone_too(tmp_path: Path) -> None:
    one = rater(tmp_path)
    for wrong in ((0, "fidelity", 5), (0, "beauty", 2), (7, "fidelity", 2)):
        assert not one.rate(*wrong)
        assert one.message
    assert one.rated == 0
    one.set_state({"item": 99})  # as a browser sends it
    assert one.item == 2
    gone = rater(tmp_path / "b", methods={"a": [tmp_path / "gone.png"]})
    assert "gone.png" in gone.message
