"""AblationBoard: a photo, or held-out pairs, through a grid of components, seen side by side."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import ipywidgets
import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image
from anydoor_lab.widgets.board.cells import LARGE_PX, THUMB_PX, Cells
from anydoor_lab.widgets.board.grid import Grid, label
from anydoor_lab.widgets.board.pictures import Filled
from anydoor_lab.widgets.board.placing import Stopped
from anydoor_lab.widgets.board.rows import frame_of, notes_of
from anydoor_lab.widgets.board.saving import board_figure, save_board
from anydoor_lab.widgets.last_state import LastState
from anydoor_lab.widgets.view import BAD_INPUT, png


class Filler(Protocol):
    """What fills a board's cells."""

    grid: Grid

    def fill(self, numbers: Sequence[int], stopped: Stopped) -> Iterator[Filled]:
        """Yield these cells as they are finished; end early where `stopped()`."""


class Board(LastState, ipywidgets.VBox):
    """Cells that are filled in the background, and what they come to.

    The trait `opened` holds the settings of the cell that was last opened; observe it to follow.

    Args:
        filler: fills them.
        title: above the board and on what is saved.
        scenes: for each pair the picture before; none where there is no such thing.
        windows: for each pair what is looked at unless the whole picture is asked for.
        folder: where `save` writes unless told otherwise.
        facts: what stands in every row: protocol, weights, commit.
    """

    opened = traitlets.Dict()
    _last_state_px = None

    def __init__(
        self,
        filler: Filler,
        title: str,
        scenes: Sequence[np.ndarray] = (),
        windows: Sequence[Box] = (),
        folder: str | Path = "outputs/board",
        facts: Mapping[str, str] | None = None,
    ) -> None:
        self.filler, self.scenes, self.windows = filler, scenes, windows
        self.folder, self.facts = Path(folder), dict(facts or {})
        self.filled: dict[int, Filled] = {}
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        grid = filler.grid
        shown = 1 if "pair" in grid.varied else max(1, len(scenes))
        acts = ["save", "baseline", *self._more_acts()]
        self.view = Cells(
            title=title,
            rows=[label(row) for row in grid.rows],
            columns=[label(column) for column in grid.columns],
            num_pairs=shown,
            acts=acts + (["whole", "before"] if len(scenes) else []),
        )
        self.view.on_msg(self._hear)
        self.view.observe(self._tell, "baseline")
        self.view.observe(self._show_all, ["whole", "pair"])
        self.view.observe(self._tell, "pair")
        self.view.observe(lambda _: self.keep_last_state(), ["baseline", "whole", "pair"])
        self._tell()
        super().__init__([self.view])

    def _more_acts(self) -> list[str]:
        return []

    @property
    def running(self) -> bool:
        """Whether cells are being filled."""
        return self.view.busy

    def generate(self) -> bool:
        """Fill the cells that are empty, in the background; False (and a message) while one runs.

        Cells that are filled stay, also those of a run that was cancelled.
        """
        if self.running:
            self.view.message = "Still filling the board; Cancel stops it."
            return False
        waiting = [
            k for k in range(len(self.filler.grid)) if k not in self.filled or self.filled[k].error
        ]
        self._cancelled.clear()
        with self.view.hold_sync():
            self.view.busy, self.view.message = True, ""
            self.view.status = f"Preparing {len(waiting)} cells"
        self._thread = threading.Thread(target=self._run, args=(waiting,), daemon=True)
        self._thread.start()
        return True

    def cancel(self) -> None:
        """Stop after the step that is being computed; what is filled stays."""
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the cells; whether all are done. An interrupt cancels, as `cancel` does."""
        try:
            if self._thread is not None:
                self._thread.join(seconds)
        except KeyboardInterrupt:
            self.cancel()
            if self._thread is not None:
                self._thread.join()
        return not self.running

    @property
    def baseline(self) -> int:
        """The cell that the others are compared with, by number, row by row from 0."""
        return self.view.baseline

    @baseline.setter
    def baseline(self, number: int) -> None:
        self.view.baseline = number

    @property
    def rows(self) -> pd.DataFrame:
        """A row for each cell: its settings, scores (`clip`, `clip_low` ... over several pairs),
        their difference to the baseline (`clip_difference`), the colour difference to its picture
        (`colour_difference`, CIELAB), seconds and error; the board's facts."""
        return frame_of(self.filler.grid, self.filled, self.baseline, self.windows, self.facts)

    @property
    def selection(self) -> dict[str, Any]:
        """The chosen cell's row of `rows` as a dictionary; empty where none is chosen."""
        chosen = self.view.selected
        row = self.rows.to_dict("records")[chosen] if chosen >= 0 else {}
        return {str(name): value for name, value in row.items()}

    def picture(self, number: int, pair: int = 0) -> np.ndarray:
        """The whole picture of a cell, (H, W, 3) uint8.

        Raises:
            InputError: the cell is empty.
        """
        filled = self.filled.get(number)
        if filled is None or filled.error or not 0 <= pair < len(filled.pictures):
            why = f": {filled.error}" if filled and filled.error else "; generate() fills it"
            raise InputError(f"cell {number} has no picture{why}")
        return filled.pictures[pair].whole

    def looked_at(self, number: int) -> np.ndarray:
        """What the view shows of a cell: about the region, or the whole picture."""
        return self.part(self.picture(number, self.view.pair), self._pair_of(number))

    def save(self, folder: str | Path | None = None) -> dict[str, Path]:
        """Write `board.png`, `board.html` (a page that needs no network) and `rows.csv`.

        Args:
            folder: default the board's own.

        Raises:
            InputError: no cell is filled, or the folder cannot be written to.
        """
        if not any(not filled.error for filled in self.filled.values()):
            raise InputError("the board is empty; fill it with generate() and wait() first")
        written = save_board(self, Path(folder or self.folder))
        self.view.status = f"Saved {', '.join(map(str, written.values()))}"
        return written

    def figure(self) -> Figure:
        """The board as it is now, as a matplotlib figure."""
        return board_figure(self)

    def _repr_png_(self) -> bytes | None:
        """The figure where no front end shows the widget; nothing of an empty board."""
        if not self.filled:
            return None
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", facecolor="white")
        return buffer.getvalue()

    def pictures(self) -> list[np.ndarray]:
        """What a saved notebook shows: the board's figure; nothing of an empty board."""
        drawn = self._repr_png_()
        return [] if drawn is None else [read_image(io.BytesIO(drawn))]

    def _run(self, waiting: list[int]) -> None:
        """Fill cells in a thread of its own: the kernel stays free."""
        began, total = time.perf_counter(), len(self.filler.grid)
        try:
            for filled in self.filler.fill(waiting, self._cancelled.is_set):
                self.filled[filled.number] = filled
                done = sum(k in self.filled for k in waiting)
                took = time.perf_counter() - began
                left = took / done * (len(waiting) - done)
                self._show([filled.number])
                with self.view.hold_sync():
                    self._tell()
                    self.view.progress = done / len(waiting)
                    self.view.finished = len(self.filled)
                    self.view.status = f"{len(self.filled)} of {total} cells, {left:.0f} s left"
            seconds = time.perf_counter() - began
            ended = "Cancelled; what is filled stays" if self._cancelled.is_set() else "Done"
            self.view.status = f"{ended}: {len(self.filled)} of {total} cells, {seconds:.1f} s"
        except BAD_INPUT as error:
            self.view.message, self.view.status = f"The board stopped: {error}", ""
        finally:
            self.view.busy = False
            self.keep_last_state()

    def _pair_of(self, number: int) -> int:
        own = self.filler.grid.settings(number).get("pair")
        return self.view.pair if own is None else own

    def part(self, picture: np.ndarray, pair: int) -> np.ndarray:
        """What is looked at of a picture of this pair."""
        whole = self.view.whole or pair >= len(self.windows)
        return picture if whole else picture[self.windows[pair].slices]

    def _tell(self, _: Any = None) -> None:
        """Words and numbers of all cells."""
        grid = self.filler.grid
        self.view._notes = notes_of(grid, self.filled, self.baseline, self._pair_of)

    def _show(self, numbers: Sequence[int], large: bool = False) -> None:
        """Pictures of cells to all views."""
        for number in numbers:
            filled = self.filled.get(number)
            if filled is None or filled.error:
                continue
            key = f"{'large' if large else 'cell'}:{number}"
            picture = png(self.looked_at(number), LARGE_PX if large else THUMB_PX)
            self.view.send({"key": key}, [picture])

    def _show_all(self, _: Any = None) -> None:
        for pair, scene in enumerate(self.scenes):
            picture = png(self.part(scene, pair), LARGE_PX if self.view.num_pairs == 1 else 400)
            self.view.send({"key": f"before:{pair}"}, [picture])
        self._show(list(self.filled))

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        del buffers
        acts: dict[str, Callable[[], Any]] = {
            "generate": self.generate,
            "cancel": self.cancel,
            "save": self.save,
        }
        with self.view.telling():
            if content.get("do") in acts:
                acts[content["do"]]()
            elif content.get("do") == "want":
                if content.get("cells") is None:
                    self._show_all()
                else:
                    self._show([int(k) for k in content["cells"]], large=True)
            elif content.get("do") == "open":
                self._open(int(content["cell"]))

    def _open(self, number: int) -> None:
        del number
        self.view.message = "These cells are finished pictures; a Teleporter cannot open them."
