"""What is there, as the doctor sees it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from anydoor_lab import doctor

ROOT = Path(__file__).resolve().parents[1]


def run(cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {"PYTHONPATH": str(ROOT), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd / "hub")}
    call = [sys.executable, "-X", "importtime", "-m", "anydoor_lab.doctor", *arguments]
    return subprocess.run(
        call, cwd=cwd, env=os.environ | environment, capture_output=True, text=True, timeout=120
    )


def test_it_names_what_is_there_and_what_is_blocked(tmp_path: Path) -> None:
    result = run(tmp_path)
    assert result.returncode == 0, result.stderr[-2000:]
    lines = result.stdout.splitlines()
    (giant,) = [line for line in lines if line.startswith("sd21 dinov2")]
    assert "missing: not in the hub's cache" in giant
    assert "train model=sd21 idx=dinov2,dinov2_global,dinov2_patch_noseg" in giant
    assert any(line.startswith("tiny vae") and "embedded" in line for line in lines)
    assert "disk free" in result.stdout and "memory free" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_help_comes_without_torch(tmp_path: Path) -> None:
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    assert "doctor" in result.stdout
    assert not [
        line for line in result.stderr.splitlines() if line.split("|")[-1].strip() == "torch"
    ]


def test_only_the_tiny_scale_must_be_complete() -> None:
    assert doctor.blocks_all(("tiny vae", "embedded:vae", "missing: no such part", "train"))
    assert not doctor.blocks_all(("sd21 vae", "owner/name", "missing: offline", "train"))
