"""A user study's ratings (Table 2): sheets read and checked, means with intervals, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anydoor_lab.metrics.interval import student_interval
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_sealed, write_sealed

COLUMNS = ("rater", "item", "method_code", "criterion", "score")
"""A sheet's columns: one rating a row."""
KEY_COLUMNS = ("method_code", "method")
CRITERIA = ("fidelity", "quality", "diversity")
SCORES = (1, 2, 3, 4)
"""1 is worst, 4 is best."""
LEVELS = ("nominal", "ordinal", "interval")


@dataclass(frozen=True, slots=True)
class Questions:
    """What a study asks of each rater: a score of every item, method and criterion.

    Args:
        items: names of the groups of pictures.
        codes: of the methods.
        criteria: what is rated.
        pictures: a hash of what is shown of each method, by its name.
    """

    items: tuple[str, ...]
    codes: tuple[str, ...]
    criteria: tuple[str, ...]
    pictures: Mapping[str, str]

    def write(self, path: Path) -> Path:
        """Write them as a small file with a checksum; the path.

        Raises:
            FileError: it cannot be written.
        """
        return write_sealed(path, asdict(self))

    @classmethod
    def read(cls, path: Path) -> Questions:
        """The questions that `write` wrote.

        Raises:
            InputError: the file is not there, or damaged.
        """
        held = read_sealed(path)
        try:
            lists = {name: tuple(map(str, held[name])) for name in ("items", "codes", "criteria")}
            return cls(**lists, pictures=dict(held["pictures"]))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{path} is damaged ({error}); take the one of the study") from error


def read_sheet(path: str | Path) -> pd.DataFrame:
    """The ratings of one CSV file, checked row by row; codes, items and raters stay text.

    Raises:
        InputError: it cannot be read, lacks a column, or holds a score that is none of 1 to 4, an
            empty name, or the same rating twice.
    """
    frame = _read(Path(path), COLUMNS)
    for number, row in enumerate(frame.to_dict("records"), 2):
        if not all(str(row[name]).strip() for name in COLUMNS[:4]):
            raise InputError(f"{path}, line {number}: a name is empty; expected {COLUMNS[:4]}")
        if str(row["score"]) not in map(str, SCORES):
            seen = f"{path}, line {number}: the score is {row['score']!r}"
            raise InputError(f"{seen}; expected a whole number from 1 (worst) to 4 (best)")
    twice = _repeated(frame)
    if twice:
        raise InputError(
            f"{path} rates {', '.join(twice[0])} twice, the first of {len(twice)}; keep one row of "
            "each"
        )
    return frame.assign(score=frame["score"].astype(int))


def read_ratings(
    sheets: Sequence[str | Path],
    key: Mapping[str, str] | None = None,
    complete: bool = True,
    questions: Questions | None = None,
) -> pd.DataFrame:
    """The ratings of several raters' sheets as one frame of `COLUMNS`.

    Args:
        sheets: CSV files, one or more of each rater.
        key: method by code, from `read_key`; a code that it does not have is refused.
        complete: refuse ratings with gaps: every rater rates every item of every method.
        questions: of the study; without them what is asked is taken from the key and from what
            anybody rated, and what nobody rated is not missed.

    Raises:
        InputError: there is no sheet or an empty one, as `read_sheet`, two sheets hold the same
            rating, a code, an item or a criterion is unknown, or a rating is missing.
    """
    if not sheets:
        raise InputError("there is no sheet of ratings; give the CSV files of the raters")
    by_sheet = [read_sheet(path) for path in sheets]
    empty = [path for path, frame in zip(sheets, by_sheet, strict=True) if frame.empty]
    if empty:
        raise InputError(f"{empty[0]} holds no rating; let the rater finish, or take it out")
    ratings = pd.concat(by_sheet, ignore_index=True)
    twice = _repeated(ratings)
    if twice:
        raise InputError(
            f"two sheets hold the rating {', '.join(twice[0])}, the first of {len(twice)}; give "
            "each rater's sheet once"
        )
    known = {"method_code": tuple(key)} if key is not None else {}
    if questions:
        _check_key(known, questions)
        known = {"item": questions.items, "method_code": questions.codes}
        known["criterion"] = questions.criteria
    _check_known(ratings, known)
    missing = gaps(ratings, known) if complete else []
    if missing:
        raise InputError(
            f"{len(missing)} ratings are missing (the first: {', '.join(missing[0])}); let the "
            "rater finish, or read with complete=False"
        )
    return ratings


def gaps(
    ratings: pd.DataFrame, asked: Mapping[str, Sequence[str]] | None = None
) -> list[tuple[str, str, str, str]]:
    """(rater, item, method_code, criterion) of every rating that is missing.

    Args:
        ratings: with `COLUMNS`.
        asked: by column what there is to rate; of other columns it is what anybody rated.
    """
    rated = {name: ratings[name].unique() for name in COLUMNS[:4]}
    whole = pd.MultiIndex.from_product([sorted(p) for p in {**rated, **(asked or {})}.values()])
    known = pd.MultiIndex.from_frame(ratings[list(COLUMNS[:4])])
    found: list[tuple[str, str, str, str]] = whole.difference(known).tolist()
    return found


def _repeated(ratings: pd.DataFrame) -> list[list[str]]:
    """What is rated more than once, each once."""
    names = list(COLUMNS[:4])
    found = ratings[ratings.duplicated(names)].drop_duplicates(names)
    return [[str(cell) for cell in row] for row in found[names].to_numpy()]


def _check_key(known: Mapping[str, Sequence[str]], questions: Questions) -> None:
    """Refuse a key that is not the one of the questions."""
    codes = known.get("method_code", questions.codes)
    if set(codes) != set(questions.codes):
        raise InputError(
            f"the key has the codes {', '.join(codes)}, the study {', '.join(questions.codes)}; "
            "give the key of this study"
        )


def _check_known(ratings: pd.DataFrame, asked: Mapping[str, Sequence[str]]) -> None:
    """Refuse ratings of an item, a method or a criterion that was not asked for."""
    for name, known in asked.items():
        strangers = ratings[~ratings[name].isin(known)]
        if len(strangers):
            others = strangers[name].nunique() - 1
            seen = f"the {name} {strangers[name].iloc[0]}" + (
                f" and {others} others" if others else ""
            )
            raise InputError(
                f"{len(strangers)} ratings are of {seen}, which the study does not have; give the "
                "sheets and the key of one study"
            )


def read_key(path: str | Path) -> dict[str, str]:
    """Method by code: the file that is kept apart from the raters.

    Raises:
        InputError: it cannot be read, lacks a column, or has a code twice.
    """
    frame = _read(Path(path), KEY_COLUMNS)
    if frame["method_code"].duplicated().any():
        raise InputError(f"{path} has a code twice; take the key that the study wrote")
    return dict(zip(frame["method_code"], frame["method"], strict=True))


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    try:
        frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, ValueError) as error:  # pandas' ParserError and UnicodeDecodeError as well
        raise InputError(f"{path} cannot be read as CSV ({error})") from error
    missing = [name for name in columns if name not in frame.columns]
    if missing:
        raise InputError(f"{path} has no column {missing[0]}; expected {','.join(columns)}")
    return frame[list(columns)]


def aggregate(ratings: pd.DataFrame, key: Mapping[str, str] | None = None) -> list[dict[str, Any]]:
    """Table 2's rows: of each method the mean of each criterion and its 95 % interval.

    Ratings of one item by several raters are no independent evidence, so the interval is of the
    items' means over their raters.

    Args:
        ratings: from `read_ratings`.
        key: method by code; without it the codes stand for the methods.

    Returns:
        For each method `{"method", "<criterion>", "<criterion>_low", "<criterion>_high", "n"}`,
        n items.
    """
    rows = []
    for code, of_method in ratings.groupby("method_code", sort=True):
        row: dict[str, Any] = {"method": (key or {}).get(str(code), str(code))}
        for criterion in criteria_of(ratings):
            chosen = of_method[of_method["criterion"] == criterion]
            means = chosen.groupby("item")["score"].mean().to_numpy()
            if not len(means):
                continue
            found = student_interval(means, (SCORES[0], SCORES[-1]))
            row |= {criterion: found.mean, f"{criterion}_low": found.low}
            row |= {f"{criterion}_high": found.high}
        rows.append({**row, "n": int(of_method["item"].nunique())})
    return rows


def criteria_of(ratings: pd.DataFrame) -> list[str]:
    """The criteria that were rated, the paper's first and in its order."""
    known = set(ratings["criterion"])
    return [c for c in CRITERIA if c in known] + sorted(known - set(CRITERIA))


def agreement(ratings: pd.DataFrame) -> dict[str, float]:
    """Krippendorff's ordinal alpha of the raters by criterion; NaN where fewer than two rated."""
    found = {}
    for criterion in criteria_of(ratings):
        chosen = ratings[ratings["criterion"] == criterion]
        units = chosen.pivot_table(index="rater", columns=["item", "method_code"], values="score")
        found[criterion] = krippendorff_alpha(units.to_numpy(np.float64))
    return found


def krippendorff_alpha(scores: np.ndarray, level: str = "ordinal") -> float:
    """Krippendorff's alpha, 1 - observed / expected disagreement: 1 is perfect agreement, 0 chance.

    Krippendorff, "Computing Krippendorff's alpha-reliability", 2011. Units that fewer than two
    raters scored say nothing of agreement and are left out.

    Args:
        scores: (raters, units), NaN where a rater did not score a unit.
        level: how far two scores are apart: `nominal`, `ordinal` or `interval`.

    Returns:
        Alpha; NaN where no unit has two scores, or all scores are the same.

    Raises:
        InputError: an unknown level, or another shape.
    """
    check_choice("level", level, LEVELS)
    scores = np.asarray(scores, np.float64)
    if scores.ndim != 2:
        raise InputError(f"scores are {scores.shape}; expected (raters, units)")
    values = np.unique(scores[~np.isnan(scores)])
    counts = np.stack([(scores == value).sum(axis=0) for value in values], axis=1)  # (units, V)
    counts = counts[counts.sum(axis=1) > 1].astype(np.float64)
    if not len(counts):
        return float("nan")
    within = 1 / (counts.sum(axis=1) - 1)  # each unit's pairs weigh as much as its scores
    coincidences = np.einsum("u,uv,uw->vw", within, counts, counts)
    coincidences -= np.diag(within @ counts)
    totals = coincidences.sum(axis=1)
    apart = _DISTANCES[level](values, totals)
    expected = float(totals @ apart @ totals) / (totals.sum() - 1)
    return 1 - float((coincidences * apart).sum()) / expected if expected else float("nan")


def _ordinal(values: np.ndarray, totals: np.ndarray) -> np.ndarray:
    """Squared number of scores between two, half of their own counted."""
    del values
    middles = np.cumsum(totals) - totals / 2
    apart: np.ndarray = (middles[:, None] - middles[None]) ** 2
    return apart


_DISTANCES: Mapping[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "nominal": lambda values, totals: (values[:, None] != values[None]).astype(np.float64),
    "ordinal": _ordinal,
    "interval": lambda values, totals: (values[:, None] - values[None]) ** 2,
}
