"""The one long format of numbers: a row for each score, as CSV and as Parquet.

Experiments, tables and dashboards read it; `scores.json` stays what a run writes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from anydoor_lab.metrics.score import Score
from anydoor_lab.runs.folder import read_facts, read_scores
from anydoor_lab.runs.settings import CONFIG, read_config
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole

TYPES = {
    "variant": "string",  # a run, a method, or one of the anchors that frame them
    "metric": "string",
    "value": "float64",
    "low": "float64",  # ends of the 95 % interval
    "high": "float64",
    "n": "int64",  # single scores that the value is the mean of
    "protocol": "string",
    "seed": "Int64",  # of the training; of the pairs and the noise where nothing was trained
    "scale": "string",
    "data": "string",
    "commit": "string",
    "config": "string",  # hash of the settings, as in run.json
}
"""The columns, in this order, and what they hold."""
COLUMNS = tuple(TYPES)
SINGLES = {"variant": "string", "metric": "string", "pair": "int64", "origin": "string",
           "value": "float64"}  # fmt: skip
"""The columns of single scores."""


def long_rows(
    variant: str,
    scores: Iterable[Score],
    *,
    seed: int | None = None,
    data: str = "",
    commit: str = "",
    config: str = "",
) -> list[dict[str, Any]]:
    """One row for each score that is known.

    Args:
        variant: what was scored.
        scores: its numbers.
        seed: of the training; None takes the scores' own.
        data: what the pairs are of.
        commit: of the code.
        config: hash of the settings.
    """
    where = {"data": data, "commit": commit, "config": config}
    return [
        {
            "variant": variant,
            "metric": score.metric,
            "value": score.value,
            **dict(zip(("low", "high"), score.ci95, strict=True)),
            "n": score.n,
            "protocol": score.protocol,
            "seed": score.seed if seed is None else seed,
            "scale": score.scale,
            **where,
        }
        for score in scores
        if score.known
    ]


def scores_of(scores: Mapping[str, Any], row: Mapping[str, Any]) -> list[Score]:
    """The numbers of one row of a `scores.json`, also of one that was written before."""
    return [
        Score(
            value=row[metric],
            metric=metric,
            protocol=scores["protocol"],
            n=row.get(f"{metric}_n", row.get("n", scores["n"])),
            ci95=(_number(row[f"{metric}_low"]), _number(row[f"{metric}_high"])),
            seed=scores["seed"],
            scale=scores["scale"],
        )
        for metric in row
        if f"{metric}_low" in row and row[metric] is not None
    ]


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def rows_of_scores(scores: Mapping[str, Any], **known: Any) -> list[dict[str, Any]]:
    """All rows of a `scores.json`, the anchors' too, in the long format.

    Args:
        scores: as `read_scores` gives it.
        known: `seed`, `data` and `config` where the file does not say them.
    """
    said = {key: scores[key] for key in ("data", "commit", "config") if scores.get(key)}
    rows = []
    for row in scores["rows"]:
        own = {**known, "seed": None} if row.get("anchor") else known
        rows += long_rows(str(row["run"]), scores_of(scores, row), **{**own, **said})
    return rows


def single_rows(scores: Mapping[str, Any]) -> pd.DataFrame:
    """The single scores of a `scores.json`, a row for each variant, metric and pair that has one:
    `variant`, `metric`, `pair` (its number), `origin`, `value` (three digits)."""
    origins = [str(pair.get("origin", "")) for pair in scores.get("pairs", ())]
    found = []
    for row in scores["rows"]:
        for metric in [key.removesuffix("_low") for key in row if key.endswith("_low")]:
            known = row.get(f"{metric}_known_each") or dict(
                enumerate(row.get(f"{metric}_each", ()))
            )
            for number, value in sorted((int(i), value) for i, value in known.items()):
                origin = origins[number] if number < len(origins) else ""
                found.append((str(row["run"]), metric, number, origin, value))
    frame = pd.DataFrame(found, columns=list(SINGLES))
    return frame.astype(SINGLES)


def write_singles(scores: Mapping[str, Any], folder: Path) -> Path:
    """Write `single_rows` as `scores.parquet`; the path.

    Raises:
        FileError: it cannot be written.
    """
    packed = io.BytesIO()
    single_rows(scores).to_parquet(packed, index=False)
    return write_whole(folder / "scores.parquet", packed.getvalue())


def rows_of_run(folder: Path) -> list[dict[str, Any]]:
    """The rows of a finished run's folder; what older runs did not write down is left empty.

    Raises:
        ValueError: there are no scores, or a file is damaged.
    """
    scores, facts = read_scores(folder), read_facts(folder)
    known: dict[str, Any] = {"seed": facts.get("seed"), "config": facts.get("config_hash", "")}
    if (folder / CONFIG).is_file():
        known["data"] = data_name(read_config(folder))
    return rows_of_scores(scores, **known)


def data_name(config: Mapping[str, Any]) -> str:
    """What the pairs of a config are of: the last word of its source, "World" as "world"."""
    return str(config["data"]["_target_"]).rsplit(".", 1)[-1].lower()


def rows_frame(rows: pd.DataFrame | Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Rows as a frame of exactly `COLUMNS`, in this order and of these types.

    Raises:
        ValueError: a column is missing or there is one too many, or a value is of another kind.
    """
    frame = rows if isinstance(rows, pd.DataFrame) else pd.DataFrame(list(rows))
    if not len(frame.columns):
        frame = frame.reindex(columns=list(COLUMNS))
    if set(frame.columns) != set(COLUMNS):
        wrong = sorted(map(str, set(frame.columns) ^ set(COLUMNS)))
        raise InputError(f"rows differ in the columns {', '.join(wrong)}; expected {COLUMNS}")
    try:
        return frame[list(COLUMNS)].astype(TYPES)
    except (TypeError, ValueError) as error:
        raise InputError(f"rows hold a value of another kind: {error}") from error


def write_rows(
    rows: pd.DataFrame | Sequence[Mapping[str, Any]], folder: str | Path, name: str = "rows"
) -> dict[str, Path]:
    """Write `name.csv` and `name.parquet`, the same rows in both; suffix to path.

    Raises:
        ValueError: as `rows_frame`.
        FileError: they cannot be written.
    """
    frame = rows_frame(rows)
    packed = io.BytesIO()
    frame.to_parquet(packed, index=False)
    contents: dict[str, str | bytes] = {
        "csv": frame.to_csv(index=False, lineterminator="\n"),
        "parquet": packed.getvalue(),
    }
    return {
        suffix: write_whole(Path(folder) / f"{name}.{suffix}", content)
        for suffix, content in contents.items()
    }


def read_rows(path: str | Path) -> pd.DataFrame:
    """The rows of a CSV or Parquet file, equal from either.

    Raises:
        ValueError: the file is not there, cannot be read, or holds other columns.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path} does not exist; give rows.csv or rows.parquet")
    try:
        if path.suffix == ".parquet":
            return rows_frame(pd.read_parquet(path))
        texts = {name: kind for name, kind in TYPES.items() if kind == "string"}
        gaps = {name: [""] for name in TYPES if name not in texts}  # a variant may be called "NA"
        frame = pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=gaps)
    except (ValueError, OSError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())})") from error
    return rows_frame(frame)
