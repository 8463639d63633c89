"""The numbers that the paper prints: experiments/<id>/paper.csv, or their copy in the wheel."""

from __future__ import annotations

import io
from pathlib import Path

import pandas as pd

import anydoor_lab
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small

PRINTED_COLUMNS = ("variant", "printed", "metric", "value")


def paper_csv(experiment: str) -> Path | None:
    """Where the printed numbers of an experiment are; None where the paper prints none."""
    package = Path(anydoor_lab.__file__).resolve().parent
    places = [
        package.parent / "experiments" / experiment / "paper.csv",
        package / "report" / "paper" / f"{experiment}.csv",
    ]
    return next((path for path in places if path.is_file()), None)


def read_paper(experiment: str) -> pd.DataFrame:
    """The printed numbers: `variant` (as ours is called), `printed` (as the paper calls it),
    `metric`, `value`; no row where the paper prints none.

    Raises:
        ValueError: the file is damaged.
    """
    path = paper_csv(experiment)
    if path is None:
        return pd.DataFrame(columns=list(PRINTED_COLUMNS))
    table = pd.read_csv(io.StringIO(read_small(path)))
    if list(table.columns) != list(PRINTED_COLUMNS):
        seen = ", ".join(map(str, table.columns))
        raise InputError(f"{path} has the columns {seen}; expected {', '.join(PRINTED_COLUMNS)}")
    return table
