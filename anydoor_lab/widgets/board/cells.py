"""What the browser shows of a board: its state in typed traits, its pictures on demand."""

from __future__ import annotations

from typing import Any

import traitlets
from traitlets import Bool, Dict, Float, Int, List, Unicode

from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.view import View

MODES = ("result", "difference", "before")
THUMB_PX, LARGE_PX = 200, 900


class Cells(View):
    """A grid of pictures with linked zoom, differences and a keyboard."""

    _esm = bundled(__file__, ".js")
    _css = bundled(__file__, ".css")
    title = Unicode("").tag(sync=True)
    rows = List(Unicode()).tag(sync=True)
    columns = List(Unicode()).tag(sync=True)
    status = Unicode("").tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    busy = Bool(False).tag(sync=True)
    finished = Int(0).tag(sync=True)
    """Counts the cells that are finished, well or not."""
    selected = Int(-1).tag(sync=True)
    """The chosen cell, by number; -1 is none."""
    baseline = Int(0).tag(sync=True)
    mode = Unicode("result").tag(sync=True)
    pair = Int(0).tag(sync=True)
    num_pairs = Int(1).tag(sync=True)
    whole = Bool(False).tag(sync=True)
    """Whole pictures instead of what is about the region."""
    acts = List(Unicode()).tag(sync=True)
    """What the buttons offer: `generate`, `open`, `save`, `whole`, `before`."""
    _notes = List(Dict()).tag(sync=True)

    def __init__(self, **traits: Any) -> None:
        self._valid: dict[str, int] = {}
        super().__init__(**traits)

    @traitlets.validate("mode")
    def _check_mode(self, proposal: dict[str, Any]) -> str:
        return proposal["value"] if proposal["value"] in MODES else "result"

    @traitlets.validate("selected", "baseline")
    def _check_cell(self, proposal: dict[str, Any]) -> int:
        """A number of a cell, or the old one."""
        name, value = proposal["trait"].name, int(proposal["value"])
        least, most = -1 if name == "selected" else 0, len(self.rows) * len(self.columns)
        if value == least or least < value < most:
            self._valid[name] = value
            return value
        self.message = f"the cell is {value}; the board has the cells 0 to {most - 1}"
        # what the browser sends is checked after it was set: the trait itself knows no old value
        return self._valid.get(name, least)
