"""Tables: rows in, Markdown, CSV, LaTeX and terminal text out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from tabulate import tabulate

from anydoor_lab.report.caption import Caption
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole

Rows = Sequence[Mapping[str, Any]] | pd.DataFrame
LATEX_SIGNS = {"↑": r"$\uparrow$", "↓": r"$\downarrow$", "–": "--", "±": r"$\pm$", "×": r"$\times$"}
MISSING = "–"


@dataclass(frozen=True, slots=True)
class Column:
    """How one key of the rows is printed.

    Args:
        key: name in the rows. Where they also have `<key>_low` and `<key>_high`, the cell shows
            the 95 % interval behind the number.
        label: the header; the key where empty.
        unit: printed in the header, e.g. `dB`, `s`, `%`.
        digits: decimals of a float.
        better: which way is good; printed as an arrow.
    """

    key: str
    label: str = ""
    unit: str = ""
    digits: int = 1
    better: Literal["higher", "lower", ""] = ""

    @property
    def header(self) -> str:
        """Label, unit and arrow."""
        unit = f"({self.unit})" if self.unit else ""
        arrow = {"higher": "↑", "lower": "↓", "": ""}[self.better]
        return " ".join(part for part in (self.label or self.key, unit, arrow) if part)

    def text(self, row: Mapping[str, Any]) -> str:
        """The cell of one row: rounded, with its interval; a dash where there is no value."""
        value = row.get(self.key)
        if value is None or pd.isna(value):
            return MISSING
        low, high = row.get(f"{self.key}_low"), row.get(f"{self.key}_high")
        if low is None or high is None or pd.isna(low) or pd.isna(high):
            return self._number(value)
        return f"{self._number(value)} [{self._number(low)}, {self._number(high)}]"

    def _number(self, value: Any) -> str:
        return f"{value:.{self.digits}f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True, slots=True, eq=False)
class Table:
    """Rows with the columns to print and the caption that goes with them everywhere.

    Args:
        rows: list of dicts, or a DataFrame; keys that no column names stay in the CSV only.
        columns: what is printed, in this order.
        caption: title and provenance.

    Raises:
        ValueError: there is no row, or a column names a key that no row has.
    """

    rows: Rows
    columns: Sequence[Column]
    caption: Caption

    def __post_init__(self) -> None:
        frame = self.frame()
        if frame.empty:
            raise InputError(f"the table {self.caption.title!r} has no row; give at least one")
        unknown = [column.key for column in self.columns if column.key not in frame]
        if unknown:
            seen = f"no row has {', '.join(unknown)}"
            raise InputError(f"{seen}; the rows have {', '.join(map(str, frame.columns))}")

    def frame(self) -> pd.DataFrame:
        """The rows as they came, nothing rounded."""
        return self.rows if isinstance(self.rows, pd.DataFrame) else pd.DataFrame(list(self.rows))

    def markdown(self) -> str:
        """GitHub's pipe table under its bold heading, the provenance below."""
        cells = [[cell.replace("|", r"\|") for cell in row] for row in self._cells()]
        body = self._tabulated("pipe", cells)
        details = f"\n\n*{self.caption.details}*" if self.caption.details else ""
        return f"**{self.caption.heading}**\n\n{body}{details}\n"

    def terminal(self) -> str:
        """The same for a terminal."""
        parts = [self.caption.heading, self._tabulated("simple", self._cells())]
        return "\n".join([*parts, self.caption.details] if self.caption.details else parts) + "\n"

    def latex(self) -> str:
        """A booktabs `table` environment (needs the package booktabs)."""
        body = self._tabulated("latex_booktabs", self._cells())
        caption = _escaped(str(self.caption))
        text = f"\\begin{{table}}\n\\centering\n\\caption{{{caption}}}\n{body}\n\\end{{table}}\n"
        for sign, command in LATEX_SIGNS.items():
            text = text.replace(sign, command)
        return text

    def csv(self) -> str:
        """All keys unrounded, with the caption's facts as columns; `pandas.read_csv` reads it."""
        frame = self.frame()
        facts = {
            name: text for name, text in self.caption.facts.items() if name not in frame.columns
        }
        return frame.assign(**facts).to_csv(index=False, lineterminator="\n")

    def write(self, folder: str | Path, name: str) -> dict[str, Path]:
        """Write `name.md`, `name.csv` and `name.tex` into `folder`; suffix to path."""
        texts = {"md": self.markdown(), "csv": self.csv(), "tex": self.latex()}
        return {
            suffix: write_whole(Path(folder) / f"{name}.{suffix}", text)
            for suffix, text in texts.items()
        }

    def _cells(self) -> list[list[str]]:
        records = self.frame().to_dict("records")
        return [
            [column.text({str(key): value for key, value in record.items()})
             for column in self.columns]
            for record in records
        ]  # fmt: skip

    def _tabulated(self, style: str, cells: list[list[str]]) -> str:
        frame = self.frame()
        numeric = [pd.api.types.is_numeric_dtype(frame[column.key]) for column in self.columns]
        return str(
            tabulate(
                cells,
                headers=[column.header for column in self.columns],
                tablefmt=style,
                disable_numparse=True,  # the cells are rounded already
                colalign=["right" if number else "left" for number in numeric],
            )
        )


def _escaped(text: str) -> str:
    return "".join(f"\\{sign}" if sign in "&%$#_{}" else sign for sign in text)
