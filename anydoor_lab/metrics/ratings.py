"""A user study's ratings (Table 2): sheets read and checked, means with intervals, agreement."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anydoor_lab.metrics.interval import student_interval
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError

COLUMNS = ("rater", "item", "method_code", "criterion", "score")
"""A sheet's columns: one rating a row."""
KEY_COLUMNS = ("method_code", "method")
CRITERIA = ("fidelity", "quality", "diversity")
SCORES = (1, 2, 3, 4)
"""1 is worst, 4 is best."""
LEVELS = ("nominal", "ordinal", "interval")


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
    twice = frame[frame.duplicated(list(COLUMNS[:4]))]
    if len(twice):
        what = ", ".join(map(str, twice.iloc[0][list(COLUMNS[:4])]))
        raise InputError(f"{path} rates {what} twice; keep one of the two rows")
    return frame.assign(score=frame["score"].astype(int))


def read_ratings(
    sheets: Sequence[str | Path], key: Mapping[str, str] | None = None, complete: bool = True
) -> pd.DataFrame:
    """The ratings of several raters' sheets as one frame of `COLUMNS`.

    Args:
        sheets: CSV files, one or more of each rater.
        key: method by code, from `read_key`; a code that it does not have is refused.
        complete: refuse ratings with gaps: every rater rates every item of every method.

    Raises:
        InputError: there is no sheet, as `read_sheet`, two sheets hold the same rating, a code is
            unknown, or a rating is missing.
    """
    if not sheets:
        raise InputError("there is no sheet of ratings; give the CSV files of the raters")
    ratings = pd.concat([read_sheet(path) for path in sheets], ignore_index=True)
    twice = ratings[ratings.duplicated(list(COLUMNS[:4]))]
    if len(twice):
        what = ", ".join(map(str, twice.iloc[0][list(COLUMNS[:4])]))
        raise InputError(f"two sheets hold the rating {what}; give each rater's sheet once")
    unknown = sorted(set(ratings["method_code"]) - set(key)) if key is not None else []
    if unknown:
        raise InputError(
            f"the ratings name the method {unknown[0]}, which the key does not have; give the key "
            "of this study"
        )
    missing = gaps(ratings) if complete else []
    if missing:
        raise InputError(
            f"{len(missing)} ratings are missing (the first: {', '.join(missing[0])}); let the "
            "rater finish, or read with complete=False"
        )
    return ratings


def gaps(ratings: pd.DataFrame) -> list[tuple[str, str, str, str]]:
    """(rater, item, method_code, criterion) of every rating that is missing."""
    parts = [sorted(ratings[name].unique()) for name in COLUMNS[:4]]
    whole = pd.MultiIndex.from_product(parts)
    known = pd.MultiIndex.from_frame(ratings[list(COLUMNS[:4])])
    found: list[tuple[str, str, str, str]] = whole.difference(known).tolist()
    return found


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
