"""A board's numbers: one row per cell for code, a few short lines per cell for the eye."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pandas as pd

from anydoor_lab.structures.boxes import Box
from anydoor_lab.widgets.board.grid import Grid, label
from anydoor_lab.widgets.board.pictures import Filled, colour_difference

NAMES = {"clip": "CLIP", "dino": "DINO", "attribute_accuracy": "attributes",
         "background_psnr": "backgr. PSNR", "background_ssim": "backgr. SSIM"}  # fmt: skip
LOWER = ("loss", "lab", "lpips")
"""Scores of which less is better."""
LINES = 3
"""Scores that are shown under a cell; the table has all of them."""


def frame_of(
    grid: Grid,
    filled: Mapping[int, Filled],
    baseline: int,
    windows: Sequence[Box],
    facts: Mapping[str, str],
) -> pd.DataFrame:
    """One row per cell, as `Board.rows`."""
    records = []
    for number in range(len(grid)):
        row, column = grid.place(number)
        settings = {k: v for k, v in grid.settings(number).items() if v is not None}
        record: dict[str, Any] = {"row": row, "column": column, **settings}
        done = filled.get(number)
        if done is not None:
            record |= {**done.scores, "seconds": round(done.seconds, 3), "error": done.error}
            against = filled.get(grid.same_pair(number, baseline))
            for name, value in differences(done, against).items():
                record[f"{name}_difference"] = value
            record["colour_difference"] = colours(done, against, windows, settings.get("pair"))
        records.append({**record, **facts})
    return pd.DataFrame(records)


def differences(done: Filled, against: Filled | None) -> dict[str, float]:
    """How much more each score is than the baseline's."""
    if against is None or against is done:
        return {}
    return {
        name: value - against.scores[name]
        for name, value in done.scores.items()
        if name != "n" and not name.endswith(("_low", "_high")) and known(value)
        and known(against.scores.get(name))
    }  # fmt: skip


def known(value: Any) -> bool:
    """Whether there is a number."""
    return isinstance(value, int | float) and math.isfinite(value)


def colours(
    done: Filled, against: Filled | None, windows: Sequence[Box], pair: int | None
) -> float:
    """The mean colour difference to the baseline's pictures, of what is looked at."""
    if against is None or done.error or against.error:
        return float("nan")
    found = []
    for k, (one, other) in enumerate(zip(done.pictures, against.pictures, strict=False)):
        place = k if pair is None else pair
        part = windows[place].slices if place < len(windows) else slice(None)
        found.append(colour_difference(one.whole[part], other.whole[part]))
    return sum(found) / len(found) if found else float("nan")


def notes_of(
    grid: Grid,
    filled: Mapping[int, Filled],
    baseline: int,
    pair_of: Callable[[int], int],
) -> list[dict[str, Any]]:
    """For each cell what the browser says of it: state, word, scores, the pair that it shows, the
    cell it is compared with, and all of its settings."""
    notes = []
    for number in range(len(grid)):
        done, base = filled.get(number), grid.same_pair(number, baseline)
        state = "waiting" if done is None else "failed" if done.error else "done"
        settings = {k: v for k, v in grid.settings(number).items() if v is not None}
        notes.append(
            {
                "state": state,
                "word": {"waiting": "waiting", "failed": done.error if done else ""}.get(state, ""),
                "scores": lines_of(done, filled.get(base)),
                "pair": pair_of(number),
                "against": base,
                "about": f"{label(settings)}" + (f"; {done.seconds:.1f} s" if done else ""),
            }
        )
    return notes


def lines_of(done: Filled | None, against: Filled | None) -> list[list[Any]]:
    """[name, value, difference to the baseline, 1 better / -1 worse / 0 neither] of the first
    scores."""
    if done is None:
        return []
    apart = differences(done, against)
    names = [n for n in done.scores if n != "n" and not n.endswith(("_low", "_high"))]
    lines: list[list[Any]] = []
    for name in [n for n in names if known(done.scores[n])][:LINES]:
        delta = apart.get(name)
        text = "" if delta is None else f"{delta:+.1f}"
        sign = 0 if delta is None or abs(delta) < 0.05 else 1 if delta > 0 else -1
        sign = -sign if name in LOWER else sign
        lines.append([NAMES.get(name, name), f"{done.scores[name]:.1f}", text, sign])
    return lines
