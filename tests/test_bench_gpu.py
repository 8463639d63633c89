"""The timing script runs where there is no GPU, on the tiny networks, and says so."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_it_runs_the_tiny_scale_without_a_gpu(tmp_path: Path) -> None:
    call = [sys.executable, str(ROOT / "experiments" / "bench_gpu" / "run.py"), "--fast"]
    result = subprocess.run(
        [*call, "--out", str(tmp_path / "bench.json")],
        env=os.environ | {"PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr[-2000:]
    facts = json.loads((tmp_path / "bench.json").read_text())
    assert "no GPU here" in result.stdout and facts["scale"] == "tiny"
    assert {row["what"] for row in facts["rows"]} == {
        "train cached", "train uncached", "place exact", "place fast", "place draft",
    }  # fmt: skip
    assert all(row["images_per_s"] > 0 for row in facts["rows"])
