"""experiments/table1_datasets/on_disk.py counts the sets that are there beside the paper."""

from __future__ import annotations

import csv
import runpy
import sys
from pathlib import Path

import pytest

from anydoor_lab.structures.images import read_header
from released import stills, videos

RUN = Path(__file__).resolve().parents[1] / "experiments" / "table1_datasets" / "on_disk.py"


def test_sets_are_counted_and_missing_ones_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    videos.mose(tmp_path / "data/mose")
    stills.sam(tmp_path / "data/sam")
    (tmp_path / "data/duts").mkdir()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    call = [str(RUN), str(tmp_path / "data"), "--out", str(tmp_path), "--fast"]
    monkeypatch.setattr(sys, "argv", call)
    runpy.run_path(str(RUN), run_name="__main__")
    with (tmp_path / "on_disk.csv").open() as file:
        rows = {row["set"]: row for row in csv.DictReader(file)}
    assert len(rows) == 14, "one for each row of Table 1"
    assert list(rows["mose"].values())[1:] == ["multiview", "high", "1507", "6", "12", "120", "0"]
    assert list(rows["sam"].values())[1:] == ["still", "high", "100864", "8", "16", "16", "0"]
    assert rows["uvo"]["groups"] == "missing" and "DUTS-TR" in rows["duts"]["groups"]
    assert read_header(tmp_path / "on_disk.png").width > 1000
