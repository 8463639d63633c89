"""The timing script goes its whole way without a GPU, on the tiny networks, and loses no row."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import commands

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "experiments" / "bench_gpu"
REPLAYED = "replayed without a graph"
WITHOUT = {"PYTHONPATH": str(FOLDER), "CUDA_VISIBLE_DEVICES": ""}


def test_every_row_is_measured_printed_and_written_beside_stock_diffusers(tmp_path: Path) -> None:
    shutil.copy(FOLDER / "README.md", tmp_path)
    call = ["run", "--fast", "--compare", "--model", "tiny", "--out", str(tmp_path)]
    ended = commands.module(call, tmp_path, WITHOUT, timeout=900)
    assert ended.returncode == 0, ended.stderr[-3000:]
    facts = json.loads((tmp_path / "bench.json").read_text())
    assert "no measure of the paper" in ended.stdout and facts["scale"] == "tiny"
    seen = [(row["what"], row["how"], row["batch"]) for row in facts["rows"]]
    assert seen == [
        ("place exact", REPLAYED, 1), ("place exact", "stock diffusers", 1),
        ("place exact", REPLAYED, 4), ("place exact", "stock diffusers", 4),
        ("place fast", REPLAYED, 1), ("place fast", REPLAYED, 4),
        ("place draft", REPLAYED, 1), ("place exact", "eager", 1),
        ("train cached", "bf16", 1), ("train uncached", "bf16", 1),
        ("train cached", "fp32 under autocast", 1),
        ("train cached", "stock diffusers, autocast", 1),
        ("train cached", "bf16, while a checkpoint is written", 1),
    ]  # fmt: skip
    assert all(row["seconds"] > 0 for row in facts["rows"])
    assert ended.stdout.count("seconds=") == len(seen)
    readme = (tmp_path / "README.md").read_text()
    assert "tiny, CPU" in readme and readme.count("| place exact") == 5
    assert readme.startswith("# Speed") and readme.count("<!-- table -->") == 1


def test_when_the_minutes_are_over_the_rows_say_so(tmp_path: Path) -> None:
    call = ["run", "--fast", "--minutes", "0", "--model", "tiny", "--out", str(tmp_path)]
    ended = commands.module(call, tmp_path, WITHOUT, timeout=300)
    assert ended.returncode == 0, ended.stderr[-3000:]
    facts = json.loads((tmp_path / "bench.json").read_text())
    assert {row["note"] for row in facts["rows"]} == {"not run: the minutes were over"}
    assert not (tmp_path / "README.md").exists()
