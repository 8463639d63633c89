"""The built wheel carries everything and runs away from the checkout."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
DATA_ENDINGS = {".yaml", ".json", ".safetensors", ".js", ".css", ".npz", ".png", ".jpg", ".ipynb",
                ".html", ".j2"}  # fmt: skip


def call(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    env = {**os.environ, **environment}
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=120)


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    # without isolation: the test extra brought hatchling, so nothing is fetched
    build = ("-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT))
    done = call(*build, cwd=folder)
    assert done.returncode == 0, done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip = ("-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--target", str(folder))
    done = call(*pip, str(wheel), cwd=folder)
    assert done.returncode == 0, done.stderr
    return folder


def data_files(folder: str) -> set[str]:
    files = (ROOT / folder).rglob("*")
    return {f.relative_to(ROOT).as_posix() for f in files if f.suffix in DATA_ENDINGS}


def test_the_wheel_holds_conf_inside_the_package(wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    conf = {f"anydoor_lab/{name}" for name in data_files("conf")}
    assert "anydoor_lab/conf/train.yaml" in conf
    assert conf <= names
    assert not any(name.startswith(("conf/", "tests/", ".venv/")) for name in names)


def test_the_wheel_holds_the_embedded_weights_and_scripts(wheel: Path) -> None:
    assert data_files("anydoor_lab") <= set(zipfile.ZipFile(wheel).namelist())


def test_an_installed_wheel_finds_its_own_conf(site: Path, tmp_path: Path) -> None:
    code = "from anydoor_lab.structures.names import conf_dir; print(conf_dir())"
    done = call("-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert done.stdout.strip() == str(site / "anydoor_lab" / "conf")


def test_an_installed_wheel_knows_the_papers_numbers(site: Path, tmp_path: Path) -> None:
    code = (
        "from anydoor_lab.report.printed import read_paper as r; print(len(r('table4_collages')))"
    )
    done = call("-c", code, cwd=tmp_path, PYTHONPATH=str(site))
    assert done.stdout.strip() == "10", done.stderr


def test_a_door_of_the_installed_wheel_answers_in_another_folder(
    site: Path, tmp_path: Path
) -> None:
    done = call("-m", "anydoor_lab.train", "--help", cwd=tmp_path, PYTHONPATH=str(site))
    assert done.returncode == 0, done.stderr
    assert "Choices, each given as group=name:" in done.stdout
    assert "  model       sd21, tiny" in done.stdout
