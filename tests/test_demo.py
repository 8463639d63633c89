"""The demo's door: what it says, that it serves this machine only, and that its notebook runs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from anydoor_lab.demo import NOTEBOOK, command

ROOT = Path(__file__).resolve().parents[1]


def test_help_explains() -> None:
    call = [sys.executable, "-m", "anydoor_lab.demo", "--help"]
    done = subprocess.run(call, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0
    assert "127.0.0.1" in done.stdout


def test_only_this_machine_is_served() -> None:
    assert "--Voila.ip=127.0.0.1" in command(8000, browser=False)
    assert "--no-browser" not in command(8000, browser=True)


@pytest.mark.parametrize("path", [NOTEBOOK, ROOT / "notebooks" / "01_place_an_object.ipynb"])
def test_a_notebook_with_a_teleporter_runs(path: Path, tmp_path: Path) -> None:
    import nbformat
    from nbclient import NotebookClient

    read = nbformat.read(path, as_version=4)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    client = NotebookClient(read, timeout=60, resources={"metadata": {"path": str(tmp_path)}})
    client.execute(env=environment)
    assert all(not cell.get("outputs") or cell.execution_count for cell in read.cells)
