"""AblationBoard: one's own photo, or held-out pairs, through a grid of components."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anydoor_lab.conditioning.collage import offered_collages
from anydoor_lab.diffusion.presets import PRESETS
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.methods.anydoor import Method
from anydoor_lab.methods.choices import method_names
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.runs.provenance import commit
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import check_choice, is_whole
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import Picture
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.board.board import Board
from anydoor_lab.widgets.board.finished import FinishedRuns
from anydoor_lab.widgets.board.grid import MAX_CELLS, Grid, combinations
from anydoor_lab.widgets.board.pictures import window_of
from anydoor_lab.widgets.board.placing import ANYDOOR, OWN, Placing, offered_by, tiny_judges
from anydoor_lab.widgets.teleporter.teleporter import Teleporter

TINY = "tiny scale, not comparable with the paper"


class AblationBoard(Board):
    """A grid of results, a component changed from row to row and from column to column.

    `rows={"idx": ["vgg", "dinov2"]}, columns={"collage": ["none", "hf"]}` is Table 3 against
    Table 4 on one picture. Press Fill the board, or call `generate` and `wait`.

    Args:
        pipeline: trained networks.
        reference, scene, reference_mask: one's own pictures, as of the pipeline.
        region: (H, W) bool, or [y1, x1, y2, x2], where it goes.
        rows, columns: values by component, all combinations of several: `run`, `method`, `idx`,
            `collage`, `guidance`, `steps`, `preset`, `seed`, `pair`.
        pairs: instead of one's own pictures, e.g. from `held_out_pairs`; a cell's scores are their
            means, unless `pair` is a component.
        runs: trained pipelines, or runs' folders, by the names in `run`; `own` is `pipeline`, and
            another name is a folder itself.
        methods: by the names in `method`; `anydoor` is the pipeline, and another name is one of
            conf/method.
        judges: of the scores; default the embedded ones for CLIP and DINO score.
        baseline: the cell that the others are compared with, row by row from 0.
        title: above the board.
        folder: where `save` writes.
        settings: of all cells: the components, `shape` and `blend`.

    Attributes:
        teleporter: the one that was opened from a cell.

    Raises:
        InputError: a component or value that there is not, or more than `MAX_CELLS` cells: the
            sentence says how long they would take.
    """

    def __init__(
        self,
        pipeline: AnyDoorPipeline,
        reference: Picture | str | Path | None = None,
        scene: Picture | str | Path | None = None,
        reference_mask: Picture | str | Path | None = None,
        region: np.ndarray | Box | Sequence[int] | None = None,
        *,
        rows: Mapping[str, Sequence[Any]],
        columns: Mapping[str, Sequence[Any]],
        pairs: Sequence[Pair] | None = None,
        runs: Mapping[str, AnyDoorPipeline | str | Path] | None = None,
        methods: Mapping[str, Method] | None = None,
        judges: Judges | None = None,
        baseline: int = 0,
        title: str = "Ablation board",
        folder: str | Path = "outputs/board",
        **settings: Any,
    ) -> None:
        own = _own_pair(reference, scene, reference_mask, region)
        if (own is None) == (not pairs):
            raise InputError("give either a reference, a scene and a region, or pairs")
        self.pairs = [own] if own is not None else list(pairs or ())
        varied = {*rows, *columns}
        fixed = _fixed(pipeline, varied) | settings
        cells = combinations(rows) * combinations(columns)
        few = cells <= MAX_CELLS
        grid = Grid.of(rows if few else _first(rows), columns if few else _first(columns), fixed)
        judged = judges or tiny_judges()
        placing = Placing(pipeline, self.pairs, grid, judged, runs, methods)
        _check(grid, len(self.pairs), pipeline, runs or {}, methods or {})
        if cells > MAX_CELLS:
            _refuse(cells, placing)
        self.teleporter: Teleporter | None = None
        self._placing = placing
        facts = {
            "weights": f"{Path(str(pipeline.name_or_path)).name}, {pipeline.config.resolution} px",
            "protocol": str(judged.protocol),
            "commit": commit(),
        }
        super().__init__(
            placing,
            title if judges else f"{title} ({TINY})",
            [pair.scene for pair in self.pairs],
            [window_of(pair) for pair in self.pairs],
            folder,
            facts,
        )
        self.baseline = baseline

    @classmethod
    def from_runs(
        cls,
        folders: Sequence[str | Path],
        title: str = "Finished runs",
        folder: str | Path = "outputs/board",
    ) -> Board:
        """The pictures and scores of finished runs, a row for each; nothing is computed.

        Args:
            folders: run folders, or W&B's own local folders (`wandb/offline-run-...`).
            title: above the board.
            folder: where `save` writes.

        Raises:
            InputError: one of them is no run's folder.
        """
        board = Board(FinishedRuns(folders), title, folder=folder)
        board.generate()
        board.wait()
        return board

    def open_cell(self, number: int | None = None) -> Teleporter:
        """A Teleporter with the pictures and settings of a cell, below the board; `opened` tells.

        Args:
            number: the cell; default the chosen one.

        Raises:
            InputError: no cell is chosen, or it is of another method.
        """
        number = self.view.selected if number is None else number
        if not 0 <= number < len(self._placing.grid):
            raise InputError("no cell is chosen; click one first")
        settings = self._placing.grid.settings(number)
        if settings["method"] != ANYDOOR:
            raise InputError(
                f"{settings['method']} has no settings to try; choose a cell of {ANYDOOR}"
            )
        place = self._pair_of(number)
        pair, source = self.pairs[place], self._placing.source(settings)
        asked = self._placing.asked(settings, place)
        own = (pair.reference, pair.scene, pair.reference_mask, pair.scene_mask)
        self.teleporter = Teleporter(source, *own, folder=self.folder, proposals=1, **asked)
        if settings["preset"] != "exact":
            self.teleporter.panel.message = "A Teleporter places exactly; the preset is left out."
        self.children = [self.view, self.teleporter]
        self.opened = {"cell": number, **settings}
        self.view.status = f"Opened cell {number + 1} below"
        return self.teleporter

    def _more_acts(self) -> list[str]:
        return ["generate", "open"]

    def _open(self, number: int) -> None:
        self.open_cell(number)
        self.view.send({"opened": True})


def _own_pair(reference: Any, scene: Any, reference_mask: Any, region: Any) -> Pair | None:
    if reference is None and scene is None and region is None:
        return None
    if reference is None or scene is None or region is None:
        raise InputError("give a reference, a scene and a region, all three")
    masked = isinstance(region, np.ndarray) and region.ndim == 2
    where = {"scene_mask": region} if masked else {"box": region}
    return make_pair(reference, scene, reference_mask, **where)


def _fixed(pipeline: AnyDoorPipeline, varied: set[str]) -> dict[str, Any]:
    """What cells have where nothing else is asked for: of several runs each has its own idx and
    collage, as it was trained."""
    several = "run" in varied
    return {
        "run": OWN,
        "method": ANYDOOR,
        "idx": OWN if several else offered_by(pipeline)[0],
        "collage": OWN if several else pipeline.config.collage,
        "guidance": pipeline.config.guidance_scale,
        "steps": pipeline.config.num_inference_steps,
        "preset": "exact",
        "seed": 0,
        "pair": None,
        "shape": "box",
        "blend": "box",
    }


def _check(
    grid: Grid,
    num_pairs: int,
    pipeline: AnyDoorPipeline,
    runs: Mapping[str, Any],
    methods: Mapping[str, Any],
) -> None:
    """Raise InputError for the first value that no cell can have."""
    several = [*grid.rows, *grid.columns, grid.fixed]
    known = {
        "method": [ANYDOOR, *methods, *method_names()],
        "collage": [OWN, *offered_collages()],
        "preset": list(PRESETS),
        "shape": ["box", "mask"],
        "blend": ["box", "mask", "crop"],
    }
    own_only = "run" not in grid.varied and grid.fixed["run"] == OWN
    if own_only:
        known["idx"] = [OWN, *offered_by(pipeline)]
    for settings in several:
        unknown = sorted(set(settings) - set(_fixed(pipeline, set())))
        if unknown:
            raise InputError(f"a board has no setting {unknown[0]}; it has {', '.join(grid.fixed)}")
        for name, value in settings.items():
            if name in known:
                check_choice(name, value, known[name])
            _check_number(name, value, num_pairs)
    names = [str(s["run"]) for s in several if "run" in s]
    gone = [n for n in names if n != OWN and n not in runs and not Path(n).is_dir()]
    if gone:
        raise InputError(
            f"run is {gone[0]}, neither a name in runs nor a folder; give a run's folder"
        )


def _check_number(name: str, value: Any, num_pairs: int) -> None:
    ranges = {"steps": (1, 1000), "seed": (0, 2**63), "pair": (0, num_pairs - 1)}
    if name == "guidance":
        fits = isinstance(value, int | float) and 0 <= value < math.inf
        if not fits:
            raise InputError(f"guidance is {value!r}; expected a finite number from 0")
    if name in ranges and value is not None:
        low, high = ranges[name]
        if not is_whole(value) or not low <= value <= high:
            raise InputError(f"{name} is {value!r}; expected a whole number, {low} to {high}")


def _first(axis: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    """One value of each component, to try how long it takes."""
    return {name: list(values)[:1] for name, values in axis.items()}


def _refuse(cells: int, placing: Placing) -> None:
    """Raise InputError with the time that the cells would take on this machine."""
    seconds = placing.seconds_for(cells)
    took = f"{seconds / 3600:.1f} hours" if seconds > 5400 else f"{seconds / 60:.0f} minutes"
    raise InputError(
        f"the board has {cells} cells; at most {MAX_CELLS}. They would take about {took} here: "
        "take fewer values, or a sweep from the command line (-m)"
    )
