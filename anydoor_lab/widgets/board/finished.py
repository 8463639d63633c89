"""What fills a board of finished runs: the pictures and scores in their folders."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from anydoor_lab.runs.folder import GRID, SCORES, read_facts, read_scores
from anydoor_lab.runs.settings import CONFIG
from anydoor_lab.runs.tracking import read_metrics, read_summary
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image
from anydoor_lab.widgets.board.grid import Grid
from anydoor_lab.widgets.board.pictures import Filled, Patch
from anydoor_lab.widgets.board.placing import Stopped
from anydoor_lab.widgets.view import BAD_INPUT

RESULTS, FIRST, LAST = "results", "first samples", "last samples"
WANDB_SUMMARY, WANDB_MEDIA = "files/wandb-summary.json", "files/media/images"


class FinishedRuns:
    """Cells of runs' folders: a row for each run, a column for each kind of picture.

    Args:
        folders: run folders, or W&B's own (`wandb/offline-run-...`, `wandb/run-...`); of one inside
            a run's folder that folder is read.

    Raises:
        InputError: one of them is no run's folder.
    """

    def __init__(self, folders: Sequence[str | Path]) -> None:
        if not folders:
            raise InputError("there is no run; give the folders of finished ones")
        self.folders = [_run_folder(Path(folder)) for folder in folders]
        self._scores: dict[Path, dict[str, Any]] = {}
        names = _names(self.folders)
        columns = [c for c in (FIRST, LAST, RESULTS) if any(_picture(f, c) for f in self.folders)]
        rows = tuple({"run": name} for name in names)
        self.grid = Grid(rows, tuple({"picture": c} for c in columns or [RESULTS]), {})

    def fill(self, numbers: Sequence[int], stopped: Stopped) -> Iterator[Filled]:
        """Yield these cells; one without its picture says so."""
        for number in numbers:
            if stopped():
                return
            folder = self.folders[self.grid.place(number)[0]]
            try:
                path = _picture(folder, self.grid.settings(number)["picture"])
                if folder not in self._scores:
                    self._scores[folder] = scores_of(folder)
                scores = self._scores[folder]
                if path is None:
                    yield Filled(number, scores=scores, error="this run has no such picture")
                    continue
                pixels = read_image(path)
            except BAD_INPUT as error:
                yield Filled(number, error=str(error))
                continue
            whole = Box(0, pixels.shape[0], 0, pixels.shape[1])
            yield Filled(number, [Patch(pixels, whole, pixels)], scores)


def scores_of(folder: Path) -> dict[str, Any]:
    """The scores of a run: `scores.json`, else W&B's summary, else the last loss.

    Raises:
        InputError: a file is damaged.
    """
    if (folder / SCORES).is_file():
        scores = read_scores(folder)
        row = scores["rows"][scores["model_row"]]
    else:
        last = (read_metrics(folder) or [{}])[-1]
        row = read_summary(folder) or {k: v for k, v in last.items() if k == "loss"}
    return {k: v for k, v in row.items() if isinstance(v, int | float) and k not in ("n", "step")}


def _picture(folder: Path, kind: str) -> Path | None:
    if kind == RESULTS:
        return folder / GRID if (folder / GRID).is_file() else None
    sheets = [*(folder / "samples").glob("held_out_*.png"),
              *(folder / WANDB_MEDIA).rglob("held_out_*.png")]  # fmt: skip
    sheets.sort(key=_step)
    if kind == FIRST:
        return sheets[0] if len(sheets) > 1 else None
    return sheets[-1] if sheets else None


def _step(path: Path) -> int:
    """`held_out_00000120.png`, or W&B's `held_out_120_<digest>.png`."""
    digits = path.stem.removeprefix("held_out_").split("_")[0]
    return int(digits) if digits.isdigit() else -1


def _run_folder(folder: Path) -> Path:
    outer = folder.parent.parent
    inside = folder.parent.name == "wandb" and (outer / CONFIG).is_file()
    found = outer if inside else folder
    if (
        not any((found / name).is_file() for name in (CONFIG, SCORES, WANDB_SUMMARY))
        and not (found / WANDB_MEDIA).is_dir()
    ):
        raise InputError(
            f"{folder} is no run's folder: it has neither {CONFIG} nor {SCORES}, nor is it one of "
            "W&B; give one that train made, or W&B's run folder"
        )
    return found


def _names(folders: Sequence[Path]) -> list[str]:
    """What tells the runs apart: the overrides that not all share, else the folders' names."""
    commands = [read_facts(folder).get("overrides", []) for folder in folders]
    shared = set.intersection(*map(set, commands)) if commands else set()
    names = [" ".join(o for o in command if o not in shared) for command in commands]
    if all(names) and len(set(names)) == len(names):
        return names
    plain = [folder.name for folder in folders]
    return plain if len(set(plain)) == len(plain) else [str(folder) for folder in folders]
