"""A board's cells: which component is which value in each row and column."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

COMPONENTS = ("run", "method", "idx", "collage", "guidance", "steps", "preset", "seed", "pair")
"""What a row or a column can change."""
MAX_CELLS = 200
Settings = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Grid:
    """The settings of each row and of each column; a cell has its row's and its column's.

    Args:
        rows, columns: settings by component.
        fixed: settings of the cells that neither changes.
    """

    rows: tuple[Settings, ...]
    columns: tuple[Settings, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(
        cls,
        rows: Mapping[str, Sequence[Any]],
        columns: Mapping[str, Sequence[Any]],
        fixed: Mapping[str, Any],
    ) -> Grid:
        """From the values of each component; of several components all combinations.

        Raises:
            InputError: an unknown component, one without values, or one given twice.
        """
        for name in (*rows, *columns):
            check_choice("a component of the board", name, COMPONENTS)
        both = sorted(set(rows) & set(columns))
        if both:
            raise InputError(f"{both[0]} stands in the rows and in the columns; choose one")
        return cls(_combined("row", rows), _combined("column", columns), dict(fixed))

    def __len__(self) -> int:
        return len(self.rows) * len(self.columns)

    def place(self, number: int) -> tuple[int, int]:
        """Row and column of a cell."""
        return divmod(number, len(self.columns))

    def settings(self, number: int) -> Settings:
        """All settings of a cell."""
        row, column = self.place(number)
        return {**self.fixed, **self.rows[row], **self.columns[column]}

    @property
    def varied(self) -> tuple[str, ...]:
        """The components that rows or columns change."""
        return (*self.rows[0], *self.columns[0])

    def same_pair(self, number: int, baseline: int) -> int:
        """The baseline's cell of the pair that this cell shows."""
        if "pair" not in self.varied:
            return baseline
        wanted = {**self.settings(baseline), "pair": self.settings(number)["pair"]}
        return next(k for k in range(len(self)) if self.settings(k) == wanted)


def label(settings: Settings) -> str:
    """How a row or a column is headed."""
    said = {"pair": lambda value: value + 1}
    return ", ".join(f"{name} {said.get(name, str)(value)}" for name, value in settings.items())


def combinations(values: Mapping[str, Sequence[Any]]) -> int:
    """How many rows, or columns, these values make.

    Raises:
        InputError: a component has no list of values, an empty one, or a value twice.
    """
    for name, several in values.items():
        if isinstance(several, str) or not isinstance(several, Sequence) or not len(several):
            raise InputError(f"{name} is {several!r}; expected a list of values")
        if len(set(map(str, several))) < len(several):
            raise InputError(f"{name} has a value twice: {list(several)}; give each once")
    return math.prod(len(several) for several in values.values())


def _combined(kind: str, values: Mapping[str, Sequence[Any]]) -> tuple[Settings, ...]:
    combinations(values)
    made = tuple(dict(zip(values, one, strict=True)) for one in itertools.product(*values.values()))
    if not values:
        raise InputError(
            f"the board has no {kind}; give e.g. {kind}s={{'collage': ['hf', 'none']}}"
        )
    return made
