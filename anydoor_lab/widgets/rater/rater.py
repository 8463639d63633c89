"""Rater: blinded, shuffled pictures, rated from 1 to 4, on the disk after each rating (Table 2)."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import traitlets
from matplotlib.figure import Figure
from traitlets import Bool, Int, List, Unicode

from anydoor_lab.metrics.ratings import (
    CRITERIA,
    SCORES,
    aggregate,
    agreement,
    read_key,
    read_ratings,
)
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import resized
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.rater.sheet import Sheet
from anydoor_lab.widgets.rater.study import Pictures, Shown, Study, named_sets
from anydoor_lab.widgets.view import View, empty_figure, original_from, png

SHOWN_PX = 640
QUESTIONS = {
    "fidelity": "Is it the same object as the target?",
    "quality": "Does the picture look real, whatever the object is?",
    "diversity": "How much do the pictures of a set differ?",
}


class Rater(View):
    """Pictures of several methods side by side, no name on them; keys 1 to 4 rate.

    The sheet is `ratings_<rater>.csv` with `rater,item,method_code,criterion,score`. The key, which
    says which code is which method, is a file of its own outside the raters' folder.

    Args:
        methods: for each method a folder, a list, or a mapping by item; an item has one picture or
            a set of several (a folder within the folder, a list within the list).
        rater: whose ratings these are.
        targets, scenes: for each item the object, and the scene, shown beside; folder, list or
            mapping.
        criteria: what is rated; default fidelity and quality, and diversity where there are sets.
        folder: of the sheets of all raters.
        key: file of the key; default beside the folder.
        seed: of codes and orders; the same for all raters of a study.
        results: also show what all sheets in the folder come to so far, by code.

    Raises:
        InputError: pictures that do not belong together, an unknown criterion or rater's name, or
            a sheet or key of another study or rater.
    """

    _esm = bundled(__file__, ".js")
    _css = bundled(__file__, ".css")
    rater = Unicode("").tag(sync=True)
    item = Int(0).tag(sync=True)
    """The item that is shown, in this rater's order."""
    rated = Int(0).tag(sync=True)
    """Counts the ratings in the sheet."""
    total = Int(0).tag(sync=True)
    num_items = Int(0).tag(sync=True)
    num_places = Int(0).tag(sync=True)
    criteria = List(Unicode()).tag(sync=True)
    finished = Bool(False).tag(sync=True)
    results = Bool(False).tag(sync=True)
    _questions = List(Unicode()).tag(sync=True)
    _scores = List(List(Int())).tag(sync=True)
    _summary = List(List(Unicode())).tag(sync=True)

    def __init__(
        self,
        methods: Mapping[str, Pictures],
        rater: str,
        *,
        targets: Pictures | None = None,
        scenes: Pictures | None = None,
        criteria: Sequence[str] | None = None,
        folder: str | Path = "outputs/study",
        key: str | Path | None = None,
        seed: int = 0,
        results: bool = False,
    ) -> None:
        if not re.fullmatch(r"[\w.-]+", rater):
            raise InputError(f"rater is {rater!r}; expected letters, digits, '-', '.' and '_'")
        self.study = Study.of(methods, seed)
        asked = list(criteria or CRITERIA[: 3 if self.study.several() else 2])
        self.folder = Path(folder)
        self.key = Path(key) if key else self.folder.with_name(f"{self.folder.name}_key.csv")
        self._beside = [
            (name, named_sets(name, given))
            for name, given in (("target", targets), ("scene", scenes))
            if given is not None
        ]
        self._check(asked)
        self._codes = self.study.codes
        self._keep_key()
        path = self.folder / f"ratings_{rater}.csv"
        self._sheet = Sheet(path, rater, self.study.items, self._codes.values(), asked)
        self._order = self.study.order(rater)
        size = len(methods) * len(asked)
        super().__init__(
            rater=rater,
            criteria=asked,
            _questions=[QUESTIONS.get(name, "") for name in asked],
            num_items=len(self._order),
            num_places=len(methods),
            total=size * len(self._order),
            results=results,
        )
        self.item = self._first_open()
        self.observe(self._turn, "item")
        self.on_msg(self._hear)
        self._turn()

    @property
    def sheet(self) -> Path:
        """The CSV file with this rater's ratings."""
        return self._sheet.path

    @property
    def ratings(self) -> pd.DataFrame:
        """This rater's ratings: `rater,item,method_code,criterion,score`."""
        return self._sheet.frame()

    def rate(self, place: int, criterion: str, score: int, item: int | None = None) -> bool:
        """Rate what stands at a place of an item and write the sheet; False (and a message) where
        that is not possible.

        Args:
            place: 0 is the first from the left, as the rater sees them.
            criterion: one of `criteria`.
            score: 1 (worst) to 4 (best).
            item: number in this rater's order; default the one that is shown.
        """
        with self.telling():
            number = self.item if item is None else item
            if score not in SCORES or criterion not in self.criteria:
                raise InputError(f"{criterion} {score}: expected 1 to 4 of one of {self.criteria}")
            if not 0 <= place < self.num_places or not 0 <= number < self.num_items:
                raise InputError(f"there is nothing at place {place} of item {number}")
            name = self._order[number]
            method = self.study.places(self.rater, name)[place]
            self._sheet.rate((name, self._codes[method], criterion), int(score))
            self.message = ""
            self._tell()
            return True
        return False

    def aggregate(self, reveal: bool = False) -> pd.DataFrame:
        """What all sheets in the folder come to so far: means with 95 % intervals by code, and a
        last row with the raters' agreement (Krippendorff's alpha).

        Args:
            reveal: by the methods' names instead; a rater who asks is no longer blind.

        Raises:
            InputError: there is no sheet, or a bad one.
        """
        key = {code: name for name, code in self._codes.items()}
        sheets = sorted(self.folder.glob("ratings_*.csv"))
        ratings = read_ratings(sheets, key, complete=False)
        rows = aggregate(ratings, key if reveal else None)
        alphas = {"method": "agreement (alpha)", **agreement(ratings)}
        return pd.DataFrame([*rows, alphas])

    def export(self, path: str | Path) -> Path:
        """Write this rater's ratings, all of them, as one CSV file; its path.

        Raises:
            InputError: a rating is missing.
        """
        if self.rated < self.total:
            missing = self.total - self.rated
            raise InputError(f"{missing} of {self.total} ratings are missing; rate them first")
        return write_whole(path, self.ratings.to_csv(index=False, lineterminator="\n"))

    def figure(self) -> Figure:
        """The item that is shown, as a matplotlib figure."""
        pictures = self._pictures()
        figure, panels = empty_figure(len(pictures), [title for title, _ in pictures])
        for axes, (_, several) in zip(panels, pictures, strict=True):
            axes.imshow(_beside(several))
        figure.supxlabel(f"item {self.item + 1} of {self.num_items}, {self.rated} ratings of "
                         f"{self.total}", fontsize=9, color="#444444")  # fmt: skip
        return figure

    @traitlets.validate("item")
    def _check_item(self, proposal: dict[str, Any]) -> int:
        return min(max(int(proposal["value"]), 0), max(self.num_items - 1, 0))

    def _check(self, criteria: list[str]) -> None:
        if len(set(criteria)) < len(criteria):
            raise InputError(f"criteria are {criteria}; give each once")
        if "diversity" in criteria and not self.study.several():
            raise InputError("diversity needs sets: give several pictures of each item")
        for name, sets in self._beside:
            lacking = [item for item in self.study.items if item not in sets]
            if lacking:
                raise InputError(f"there is no {name} for the item {lacking[0]}; give one for each")

    def _keep_key(self) -> None:
        """Write the key, or see that the one that is there is this study's."""
        ours = {code: name for name, code in self._codes.items()}
        if self.key.is_file():
            if read_key(self.key) != ours:
                raise InputError(
                    f"{self.key} is the key of another study; give another folder or key"
                )
            return
        frame = pd.DataFrame(sorted(ours.items()), columns=["method_code", "method"])
        write_whole(self.key, frame.to_csv(index=False, lineterminator="\n"))

    def _first_open(self) -> int:
        """The first item that is not rated whole; the last one where all are."""
        size = self.num_places * len(self.criteria)
        done = [sum(key[0] == name for key in self._sheet.scores) for name in self._order]
        return next((k for k, number in enumerate(done) if number < size), len(done) - 1)

    def _tell(self) -> None:
        """The scores of the item that is shown, and how far the rater is."""
        name = self._order[self.item]
        codes = [self._codes[method] for method in self.study.places(self.rater, name)]
        scores = self._sheet.scores
        with self.hold_sync():
            self._scores = [[scores.get((name, code, c), 0) for c in self.criteria]
                            for code in codes]  # fmt: skip
            self.rated = len(scores)
            self.finished = self.rated == self.total
            if self.results and scores:
                self._summary = _lines(self.aggregate(), self.criteria)

    def _turn(self, _: Any = None) -> None:
        self._tell()
        self._show()
        self.keep_last_state()

    def pictures(self) -> list[np.ndarray]:
        """The pictures of the item that is shown, as they stand beside each other."""
        return [_beside(several) for _, several in self._pictures()]

    def _pictures(self) -> list[tuple[str, list[np.ndarray]]]:
        """(title, pictures) of what stands beside each other now: no title names a method."""
        name = self._order[self.item]
        beside: list[tuple[str, Sequence[Shown]]] = [(title, sets[name])
                                                     for title, sets in self._beside]  # fmt: skip
        places = self.study.places(self.rater, name)
        beside += [(str(k + 1), self.study.sets[m][name]) for k, m in enumerate(places)]
        return [(title, [original_from(one).rgb for one in several]) for title, several in beside]

    def _show(self) -> None:
        """The pictures of the item to all views."""
        with self.telling():
            pictures = self._pictures()
            sizes = [[title, len(several)] for title, several in pictures]
            flat = [png(one, SHOWN_PX) for _, several in pictures for one in several]
            self.send({"item": self.item, "sets": sizes}, flat)

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        del buffers
        if content.get("do") == "want":
            self._show()
        if content.get("do") == "rate":
            self.rate(*(content[name] for name in ("place", "criterion", "score", "item")))


def _beside(pictures: Sequence[np.ndarray]) -> np.ndarray:
    """Pictures in two columns (one alone as it is), all as large as the first."""
    first = pictures[0]
    alike = [resized(one, *first.shape[:2]) for one in pictures]
    if len(alike) == 1:
        return first
    alike += [np.full_like(first, 255)] * (len(alike) % 2)
    rows = [np.concatenate(alike[k : k + 2], axis=1) for k in range(0, len(alike), 2)]
    return np.concatenate(rows)


def _lines(frame: pd.DataFrame, criteria: Sequence[str]) -> list[list[str]]:
    """The aggregate as text, its header first."""
    known = [c for c in criteria if c in frame]
    lines = [["code", *known]]
    for row in frame.to_dict("records"):
        cells = [str(row["method"])]
        for name in known:
            low, high = row.get(f"{name}_low", np.nan), row.get(f"{name}_high", np.nan)
            ends = "" if pd.isna(low) or pd.isna(high) else f" [{low:.2f}, {high:.2f}]"
            cells.append("–" if pd.isna(row[name]) else f"{row[name]:.2f}{ends}")
        lines.append(cells)
    return lines
