"""What a saved notebook keeps of widgets: a picture of how they were last, brought up to date."""

from __future__ import annotations

import base64
import io
import os
import re
from pathlib import Path

import nbformat
import numpy as np
from nbclient import NotebookClient
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
BOARD = """
from anydoor_lab import World, load_pipeline
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets import AblationBoard, Rater
pair = World(split="held_out", size_px=96).pair(3, rng_for(0, 3, "pair"))
own = pair.reference, pair.scene, pair.reference_mask, [20, 24, 60, 66]
board = AblationBoard(
    load_pipeline("embedded:anydoor"), *own, steps=2,
    rows={"seed": [0]}, columns={"guidance": [1.0, 2.0, 3.0]},
)
board
"""
FILLED = "board.generate(); board.wait()"
RATER = """
import numpy as np
sets = {name: [np.full((48, 64, 3), 60 * k + 20 * i, np.uint8) for i in range(2)]
        for k, name in enumerate(("ours", "theirs"))}
rater = Rater(sets, "ann", folder="study")
rater
"""
TURNED = "rater.item = 1"


def kept(cell: nbformat.NotebookNode) -> list[np.ndarray]:
    """The pictures that a cell's outputs keep of a widget."""
    pages = [output["data"].get("text/html", "") for output in cell.outputs if "data" in output]
    found = [re.search(r"base64,([^\"]+)", page) for page in pages if "ad-last-state" in page]
    return [
        np.array(Image.open(io.BytesIO(base64.b64decode(one.group(1))))) for one in found if one
    ]


def test_a_notebook_keeps_a_picture_of_a_filled_board_and_of_the_item_last_rated(
    tmp_path: Path,
) -> None:
    cells = [nbformat.v4.new_code_cell(source) for source in (BOARD, FILLED, RATER, TURNED)]
    notebook = nbformat.v4.new_notebook(cells=cells)
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    client = NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": tmp_path}}
    )
    with client.setup_kernel(
        env={**os.environ, "PYTHONPATH": paths, "IPYTHONDIR": str(tmp_path / "ipython")}
    ):
        client.execute_cell(notebook.cells[0], 0)
        assert kept(notebook.cells[0]) == []  # an empty board is nothing to see
        client.execute_cell(notebook.cells[1], 1)
        (board,) = kept(notebook.cells[0])
        assert board.shape[1] > 1.2 * board.shape[0]  # three cells beside each other
        client.execute_cell(notebook.cells[2], 2)
        (first,) = kept(notebook.cells[2])
        client.execute_cell(notebook.cells[3], 3)
        (second,) = kept(notebook.cells[2])
    assert first.shape == second.shape and not np.array_equal(first, second)
