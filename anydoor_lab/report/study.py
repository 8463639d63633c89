"""A user study (Table 2): a blinded sheet for raters, and what their ratings come to."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anydoor_lab.metrics.ranks import rank_agreement
from anydoor_lab.metrics.ratings import (
    CRITERIA,
    KEY_COLUMNS,
    Questions,
    aggregate,
    criteria_of,
)
from anydoor_lab.report.pictures import PICTURES
from anydoor_lab.report.scored import Scored
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import read_image
from anydoor_lab.structures.rng import rng_for

SHEET, KEY, QUESTIONS, RATINGS = "sheet.html", "key.csv", "questions.json", "ratings"


def write_sheet(methods: Mapping[str, Path], out: Path, seed: int = 0) -> tuple[Path, Path]:
    """Write `sheet.html` for the raters and, kept apart from them, `key.csv` and
    `questions.json`, by which ratings are checked.

    The sheet is one file that needs no network. Methods stand in it as codes, the groups and the
    methods inside each are shuffled, and every rater sees the same sheet.

    Args:
        methods: name to a folder with pictures of results, as a run's: `results/NN_result.png`,
            further proposals of the same pair `NN_result_1.png` ...
        out: where to.
        seed: of codes and order.

    Raises:
        ValueError: fewer than two methods, or they have not the same pairs.
    """
    numbers = {name: _numbers(folder) for name, folder in methods.items()}
    if len(methods) < 2:
        raise InputError(f"{len(methods)} methods; a study compares at least two")
    first = next(iter(numbers))
    for name, found in numbers.items():
        if not found or found != numbers[first]:
            seen = f"{name} has the pictures {found}, {first} {numbers[first]}"
            raise InputError(f"{seen}; expected the same pairs of all methods, and at least one")
    rng = rng_for(seed, 0, "user study")
    codes = {f"K{n + 1}": sorted(methods)[m] for n, m in enumerate(rng.permutation(len(methods)))}
    items = [_item(int(n), methods, codes, rng) for n in rng.permutation(numbers[first])]
    several = all(len(answer["pictures"]) > 1 for item in items for answer in item["answers"])
    criteria = list(CRITERIA) if several else [name for name in CRITERIA if name != "diversity"]
    study: dict[str, Any] = {"criteria": criteria, "items": items}
    study["wanted"] = len(items) * len(methods) * len(criteria)
    study["id"] = hashlib.sha256(json.dumps(study).encode()).hexdigest()[:12]
    text = json.dumps(study).replace("</", "<\\/")
    template = Path(__file__).with_name("study.html").read_text("utf-8")
    slot = '<script id="study" type="application/json">'
    sheet = write_whole(out / SHEET, template.replace(f"{slot}{{}}", f"{slot}{text}"))
    shown = {name: pictures_hash(folder) for name, folder in methods.items()}
    names = sorted(str(item["item"]) for item in items)
    Questions(tuple(names), tuple(codes), tuple(criteria), shown).write(out / QUESTIONS)
    table = pd.DataFrame(codes.items(), columns=list(KEY_COLUMNS))
    return sheet, write_whole(out / KEY, table.to_csv(index=False, lineterminator="\n"))


def _numbers(folder: Path) -> list[int]:
    return sorted(int(path.name[:2]) for path in (folder / PICTURES).glob("[0-9][0-9]_result.png"))


def pictures_hash(folder: Path) -> str:
    """16 hex digits of what a sheet shows of a method's folder, equal for equal pictures."""
    found = hashlib.blake2b(digest_size=8)
    for path in sorted((folder / PICTURES).glob("[0-9][0-9]_*.png")):
        if path.stem[3:].startswith(("reference", "scene", "result")):
            image = read_image(path)
            found.update(f"{path.name} {image.shape}".encode())
            found.update(image.tobytes())
    return found.hexdigest()


def _item(
    number: int, methods: Mapping[str, Path], codes: Mapping[str, str], rng: np.random.Generator
) -> dict[str, Any]:
    shown = next(iter(methods.values())) / PICTURES
    order = rng.permutation(sorted(codes))
    answers = []
    for code in order:
        folder = methods[codes[code]] / PICTURES
        files = [
            folder / f"{number:02d}_result.png",
            *sorted(folder.glob(f"{number:02d}_result_*.png")),
        ]
        answers.append({"code": str(code), "pictures": [_embedded(path) for path in files]})
    given = {part: _embedded(shown / f"{number:02d}_{part}.png") for part in ("reference", "scene")}
    return {"item": f"{number:02d}", **given, "answers": answers}


def _embedded(path: Path) -> str:
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def people_and_scores(
    ratings: pd.DataFrame, key: Mapping[str, str], runs: Sequence[Scored]
) -> list[dict[str, Any]]:
    """Kendall's tau of each automatic score with each criterion of people, over the methods.

    Args:
        ratings: from `metrics.ratings.read_ratings`.
        key: method by code.
        runs: of the rated methods; a method without scores is left out.
    """
    people = {row["method"]: row for row in aggregate(ratings, key)}
    known = [run for run in runs if run.variant in people]
    metrics = [name for name in (known[0].row if known else ()) if f"{name}_low" in known[0].row]
    rows = []
    for metric in metrics:
        singles = [(run, run.row.get(f"{metric}_each")) for run in known]
        rated = [(run, np.array([each])) for run, each in singles if each is not None]
        if len(rated) < 2:
            continue
        for criterion in criteria_of(ratings):
            means = [people[run.variant][criterion] for run, _ in rated]
            rng = rng_for(0, 0, f"people {metric} {criterion}")
            found = rank_agreement(means, [scores for _, scores in rated], rng)
            tau = {"tau": found.mean, "low": found.low, "high": found.high}
            rows.append({"metric": metric, "criterion": criterion, **tau, "methods": found.n})
    return rows
