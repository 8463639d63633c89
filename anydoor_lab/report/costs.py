"""What ways of sampling cost: seconds a picture, and the score they lose against the first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from anydoor_lab.metrics.interval import student_interval
from anydoor_lab.report.experiment import caption_of_runs
from anydoor_lab.report.scored import Scored
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.errors import InputError


def cost_table(runs: Sequence[Scored], seconds: Mapping[tuple[str, str], float]) -> Table:
    """One row a way: seconds a picture and the paired differences of its scores to the first's.

    Args:
        runs: of the same pairs and seeds; the first is the measure.
        seconds: by (data, variant).

    Raises:
        ValueError: there is no run.
    """
    if not runs:
        raise InputError("there is no run to compare; give at least one")
    rows = [cost_row(run, runs[0], seconds[run.data, run.variant]) for run in runs]
    columns = [Column("variant"), Column("seconds", "time a picture", "s", digits=3)]
    names = {"clip": "CLIP score", "dino": "DINO score", "background_psnr": "background PSNR"}
    columns += [
        Column(f"{key}_less", f"{name}, difference", digits=2)
        for key, name in names.items()
        if all(f"{key}_less" in row for row in rows)
    ]
    caption = caption_of_runs(runs, f"What each way costs, against {runs[0].variant}")
    note = f"data {runs[0].data}; differences paired by picture, with 95 % intervals"
    return Table(rows, columns, replace(caption, note=note))


def cost_row(run: Scored, measure: Scored, seconds: float) -> dict[str, Any]:
    """One way's row: `<metric>_less` is its score less the measure's, over the same pictures."""
    row: dict[str, Any] = {"variant": run.variant, "seconds": seconds}
    for key in ("clip", "dino", "background_psnr"):
        singles = [one.row.get(f"{key}_each") for one in (run, measure)]
        if all(singles):
            found = student_interval(np.subtract(*map(np.array, singles)))
            ends = {f"{key}_less_low": found.low, f"{key}_less_high": found.high}
            row |= {f"{key}_less": found.mean, **ends}
    return row
