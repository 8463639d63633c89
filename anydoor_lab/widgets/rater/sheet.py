"""One rater's sheet: a CSV file that is whole after each rating."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import pandas as pd

from anydoor_lab.metrics.ratings import COLUMNS, read_sheet
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole

Rated = tuple[str, str, str]
"""Item, code of the method, criterion."""


class Sheet:
    """The ratings of one rater, on the disk after each.

    Args:
        path: of the CSV file; what it holds already is gone on with.
        rater: whose it is.
        items, codes, criteria: what there is to rate.

    Raises:
        InputError: the file is no sheet, another rater's, or of another study.
    """

    def __init__(
        self,
        path: Path,
        rater: str,
        items: Collection[str],
        codes: Collection[str],
        criteria: Collection[str],
    ) -> None:
        self.path, self.rater = path, rater
        self.scores: dict[Rated, int] = {}
        self._content = b""
        if not path.is_file():
            return
        ratings = read_sheet(path)
        self._content = path.read_bytes()
        for row in ratings.to_dict("records"):
            if row["rater"] != rater:
                raise InputError(
                    f"{path} is the sheet of {row['rater']}, not of {rater}; give each rater an "
                    "own file"
                )
            known = {"item": items, "method_code": codes, "criterion": criteria}
            for name, values in known.items():
                if row[name] not in values:
                    raise InputError(
                        f"{path} rates the {name} {row[name]}, which this study does not have; "
                        "take the study's own pictures and seed, or another file"
                    )
            self.scores[row["item"], row["method_code"], row["criterion"]] = int(row["score"])

    def rate(self, rated: Rated, score: int) -> None:
        """Keep one score and write the sheet; what was kept before stays where it fails.

        Raises:
            InputError: another window has written the file since: nothing of either is lost.
            FileError: it cannot be written.
        """
        present = self.path.read_bytes() if self.path.is_file() else b""
        if present != self._content:
            raise InputError(
                f"{self.path.name} was changed by another window, so this rating was not saved; "
                "close one of the two and run this cell again to go on with the file"
            )
        scores = {**self.scores, rated: score}
        content = self.frame(scores).to_csv(index=False, lineterminator="\n").encode()
        write_whole(self.path, content)
        self.scores, self._content = scores, content

    def frame(self, scores: dict[Rated, int] | None = None) -> pd.DataFrame:
        """The ratings with `COLUMNS`, in the order of rating."""
        kept = self.scores if scores is None else scores
        return pd.DataFrame([(self.rater, *key, kept[key]) for key in kept], columns=list(COLUMNS))
