"""A board on disk: one picture, one page that opens without a network, and its rows."""

from __future__ import annotations

import base64
import io
import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from anydoor_lab.structures.files import write_whole
from anydoor_lab.widgets.board.cells import LARGE_PX, THUMB_PX
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.view import png

if TYPE_CHECKING:
    from anydoor_lab.widgets.board.board import Board

CELL_IN, WORDS_IN = 1.7, 0.55
TRAITS = ("title", "rows", "columns", "status", "progress", "busy", "finished", "selected",
          "baseline", "mode", "message", "_notes")  # fmt: skip
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{title}</title>
<link rel="icon" href="data:,">
<style>body {{ margin: 12px; background: #fff; }}
{style}</style></head>
<body><div id="ad-board"></div><p style="font: 12px system-ui, sans-serif">{facts}</p>
<script type="application/json" id="ad-board-data">{data}</script>
<script type="module">
{script}</script></body></html>
"""


def save_board(board: Board, folder: Path) -> dict[str, Path]:
    """Write a `Board`'s picture, page and rows; kind to path.

    Raises:
        FileError: the folder cannot be written to.
    """
    buffer = io.BytesIO()
    board_figure(board).savefig(buffer, format="png", facecolor="white")
    rows = board.rows.to_csv(index=False, lineterminator="\n")
    return {
        "png": write_whole(folder / "board.png", buffer.getvalue()),
        "html": write_whole(folder / "board.html", page_of(board)),
        "csv": write_whole(folder / "rows.csv", rows),
    }


def page_of(board: Board) -> str:
    """The board as one HTML text: its view, its words and its pictures as they are now."""
    view = board.view
    traits: dict[str, object] = {name: getattr(view, name) for name in TRAITS}
    before = ["before"] if len(board.scenes) else []
    traits |= {"acts": before, "num_pairs": 1, "pair": 0, "whole": False, "busy": False}
    traits |= {"status": f"{len(board.filled)} of {len(board.filler.grid)} cells"}
    pictures = {}
    for number, filled in board.filled.items():
        if not filled.error:
            part = board.looked_at(number)
            pictures[f"cell:{number}"] = _text(png(part, THUMB_PX))
            pictures[f"large:{number}"] = _text(png(part, LARGE_PX))
    for pair, scene in enumerate(board.scenes):
        pictures[f"before:{pair}"] = _text(png(board.part(scene, pair), LARGE_PX))
    data = json.dumps({"traits": traits, "pictures": pictures}).replace("<", "\\u003c")
    python_file = Path(__file__).with_name("page.py")
    return PAGE.format(
        title=escape(view.title),
        style=str(bundled(python_file.with_name("cells.py"), ".css")),
        facts=escape("; ".join(f"{name} {value}" for name, value in board.facts.items())),
        data=data,
        script=bundled(python_file, ".js").replace("</script", "<\\/script"),
    )


def _text(content: bytes) -> str:
    return base64.b64encode(content).decode()


def board_figure(board: Board) -> Figure:
    """The cells with their scores, row and column headed, the facts below."""
    view, rows, columns = board.view, board.view.rows, board.view.columns
    head, width = head_in(board), head_in(board) + CELL_IN * len(columns)
    height = 0.9 + (CELL_IN + WORDS_IN) * len(rows) + 0.3
    figure = Figure(figsize=(max(width, 5.0), height), dpi=120)
    FigureCanvasAgg(figure)
    figure.text(0.5, 1 - 0.08 / height, view.title, ha="center", va="top", fontsize=10, wrap=True)
    for c, text in enumerate(columns):
        x = (head + CELL_IN * (c + 0.5)) / figure.get_figwidth()
        figure.text(x, 1 - 0.62 / height, text, ha="center", va="center", fontsize=9)
    for number in range(len(board.filler.grid)):
        _draw_cell(figure, board, number)
    several = f"shown pair {view.pair + 1} of {view.num_pairs}; " if view.num_pairs > 1 else ""
    facts = several + "; ".join(f"{name} {value}" for name, value in board.facts.items())
    figure.text(
        0.5, 0.06 / height, facts, ha="center", va="bottom", fontsize=8, color="#444444", wrap=True
    )
    return figure


def head_in(board: Board) -> float:
    """Inches that the rows' heads take."""
    longest = max((len(part) for text in board.view.rows for part in text.split(" ", 1)), default=0)
    return max(0.7, 0.3 + 0.078 * longest)


def _draw_cell(figure: Figure, board: Board, number: int) -> None:
    width, height = figure.get_size_inches()
    row, column = board.filler.grid.place(number)
    left = head_in(board) + CELL_IN * column
    bottom = height - 0.85 - (CELL_IN + WORDS_IN) * (row + 1) + WORDS_IN
    sides = (left / width, bottom / height, (CELL_IN - 0.1) / width, (CELL_IN - 0.05) / height)
    axes = figure.add_axes(sides)
    axes.set_axis_off()
    filled, note = board.filled.get(number), board.view._notes[number]
    if filled is not None and not filled.error:
        axes.imshow(board.looked_at(number))
    else:
        axes.text(0.5, 0.5, note["word"], ha="center", va="center", fontsize=7, wrap=True)
    said = "\n".join(
        f"{name} {value}" + (f" ({delta})" if delta else "")
        for name, value, delta, _ in note["scores"][:2]
    )
    words = "baseline" if number == board.baseline else ""
    axes.text(0.5, -0.03, "\n".join(filter(None, [said, words])), ha="center", va="top",
              fontsize=7.5, transform=axes.transAxes)  # fmt: skip
    if column == 0:
        text = board.view.rows[row].replace(" ", "\n", 1)
        figure.text(0.08 / width, (bottom + CELL_IN / 2) / height, text, va="center", fontsize=9)
