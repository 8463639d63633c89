"""Every notebook is kept without outputs and runs from top to bottom at the tiny scale."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
PICTURES = ROOT / "notebooks" / "pictures"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SECONDS = 240  # a cell may take, also where several tests share two cores

# what a test sets below the cell tagged `parameters`, where a reader's setting takes minutes
SHORTER = {"05_train_and_watch": "STEPS, NUM_PAIRS = 8, 8", "06_ablations": "NUM_PAIRS = 3"}


def shortened(path: Path) -> nbformat.NotebookNode:
    """The notebook with the shorter settings of this test, if it has any."""
    notebook = nbformat.read(path, as_version=4)
    if path.stem in SHORTER:
        tagged = ["parameters" in cell.metadata.get("tags", []) for cell in notebook.cells]
        cell = nbformat.v4.new_code_cell(SHORTER[path.stem])
        notebook.cells.insert(tagged.index(True) + 1, cell)
    return notebook


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_runs_from_top_to_bottom(path: Path, tmp_path: Path) -> None:
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    own = {"PYTHONPATH": paths, "IPYTHONDIR": str(tmp_path / "ipython")}
    client = NotebookClient(
        shortened(path),
        timeout=SECONDS,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute(env={**os.environ, **own})
    pictures = [
        output
        for cell in client.nb.cells
        for output in cell.get("outputs", [])
        if "image/png" in output.get("data", {})
    ]
    assert pictures, "the notebook shows no picture"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_is_kept_without_outputs(path: Path) -> None:
    command = [sys.executable, "-m", "nbstripout", "--verify", str(path)]
    told = subprocess.run(command, capture_output=True, text=True)
    assert told.returncode == 0, f"{told.stdout}{told.stderr}; strip it with nbstripout {path.name}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_changes_the_scale_in_one_line(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    code = [line for cell in notebook.cells if cell.cell_type == "code"
            for line in cell.source.splitlines()]  # fmt: skip
    tiny = [line for line in code if "model=tiny" in line]
    assert len(tiny or [line for line in code if "embedded:anydoor" in line]) == 1


def test_the_pictures_of_the_readme_are_there_and_small() -> None:
    shown = {ROOT / name for name in re.findall(r"!\[.+?\]\((.+?)\)", README.read_text())}
    assert [path for path in shown if not path.is_file()] == []
    assert len(set(PICTURES.iterdir()) & shown) == len(list(PICTURES.iterdir())) == 3
    assert [path for path in PICTURES.iterdir() if path.stat().st_size > 200_000] == []


def test_an_executed_notebook_is_found(tmp_path: Path) -> None:
    executed = nbformat.v4.new_notebook()
    output = nbformat.v4.new_output("stream", text="42")
    executed.cells = [nbformat.v4.new_code_cell("42", execution_count=1, outputs=[output])]
    nbformat.write(executed, tmp_path / "executed.ipynb")
    with pytest.raises(AssertionError, match="strip it with nbstripout executed.ipynb"):
        test_notebook_is_kept_without_outputs(tmp_path / "executed.ipynb")
