"""The finished runs of an experiment or a sweep, as their folders hold them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anydoor_lab.report.pictures import PICTURES
from anydoor_lab.report.rows import data_name
from anydoor_lab.runs.folder import SCORES, read_facts, read_scores
from anydoor_lab.runs.settings import CONFIG, read_config
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir

REPEATED = ("seed", "data")
"""What is swept to repeat a variant, not to make another one."""


@dataclass(frozen=True, slots=True, eq=False)
class Scored:
    """A finished run of an experiment."""

    folder: Path
    variant: str
    data: str
    seed: int
    config: str
    scores: Mapping[str, Any]

    @property
    def row(self) -> Mapping[str, Any]:
        """The scores of the trained model."""
        row: Mapping[str, Any] = self.scores["rows"][self.scores["model_row"]]
        return row

    @property
    def anchors(self) -> list[Mapping[str, Any]]:
        """The rows that frame them."""
        return [row for row in self.scores["rows"] if row.get("anchor")]


def read_runs(folder: Path, experiment: str = "") -> list[Scored]:
    """The finished runs of a sweep, or of an experiment that trains nothing.

    A sweep's runs lie in its folder and come in the order of the experiment's own choices; methods
    and ways of sampling lie below their data's name and come by theirs.

    Raises:
        ValueError: there is none, or they were not scored alike.
    """
    folders = [path.parent for path in sorted(folder.glob(f"*/{SCORES}"))]
    if not folders:
        below = [path.parent for path in folder.glob(f"*/*/{SCORES}")]
        folders = sorted(below, key=lambda place: (place.parent, natural(place.name)))
    if not folders:
        raise InputError(f"{folder} holds no finished run; give a folder of finished runs")
    asked = [dict(o.split("=", 1) for o in read_facts(f).get("overrides", [])) for f in folders]
    choices = swept_choices(experiment)
    differ = {key for one in asked for key in one if len({str(o.get(key)) for o in asked}) > 1}
    keys = [*choices, *sorted(differ - set(choices) - {"experiment"})]
    keys = [key for key in keys if key not in REPEATED]
    runs = [
        _configured(f, o, keys) if (f / CONFIG).is_file() else _unconfigured(f, folder)
        for f, o in zip(folders, asked, strict=True)
    ]
    for part in ("protocol", "scale"):
        found = sorted({str(run.scores[part]) for run in runs})
        if len(found) > 1:
            raise InputError(f"the runs in {folder} differ in {part}: {', '.join(found)}")
    first = next((key for key in choices if key not in REPEATED), "")
    order = [f"{first}={choice}" for choice in choices.get(first, [])]
    return sorted(runs, key=lambda run: (run.data, *_place(run.variant, order), run.seed))


def pictures_of(runs: Iterable[Scored]) -> dict[str, Path]:
    """The run of each variant that shows its results: of several seeds the first that has them."""
    places: dict[str, Path] = {}
    for run in runs:
        if (run.folder / PICTURES).is_dir():
            places.setdefault(run.variant, run.folder)
    return places


def swept_choices(experiment: str) -> dict[str, list[str]]:
    """What conf/experiment/<id>.yaml sweeps over, in its order."""
    path = conf_dir() / "experiment" / f"{experiment}.yaml"
    if not path.is_file():
        return {}
    params = yaml.safe_load(path.read_text("utf-8"))["hydra"]["sweeper"]["params"]
    return {key: [v.strip() for v in str(values).split(",")] for key, values in params.items()}


def natural(name: str) -> list[tuple[float, str]]:
    """By what a name is ordered so that 10 comes after 2."""
    parts = re.split(r"(\d+(?:\.\d+)?)", name)
    return [(float(part), "") if i % 2 else (0.0, part) for i, part in enumerate(parts)]


def _configured(folder: Path, asked: Mapping[str, str], keys: Iterable[str]) -> Scored:
    """A run that keeps its settings, called by those that are swept."""
    config, facts, scores = read_config(folder), read_facts(folder), read_scores(folder)
    variant = " ".join(f"{key}={asked[key]}" for key in keys if key in asked)
    data = asked.get("data") or data_name(config)
    seed, known = int(config.get("seed", scores["seed"])), str(facts.get("config_hash", ""))
    return Scored(folder, variant or folder.name, data, seed, known, scores)


def _unconfigured(folder: Path, above: Path) -> Scored:
    """A method's or a way of sampling's scores, called by their row."""
    facts, scores = read_facts(folder), read_scores(folder)
    row = scores["rows"][scores["model_row"]]
    variant = str(row["run"]).removesuffix(f", preset {row.get('preset')}")
    data = str(scores.get("data", "")) if folder.parent == above else folder.parent.name
    known = str(facts.get("config_hash", ""))
    return Scored(folder, variant, data, int(scores["seed"]), known, scores)


def _place(variant: str, order: Sequence[str]) -> tuple[int, list[tuple[float, str]]]:
    first = variant.split(" ")[0]
    return (order.index(first) if first in order else len(order), natural(variant))
