"""A run's folder: what stands in it and how other commands read it again.

`config.yaml`, `run.json`, `metrics.jsonl`, `checkpoints/`, `samples/`, `scores.json`, `grid.png`.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anydoor_lab.runs.lock import LOCK
from anydoor_lab.runs.provenance import commit, config_hash, versions
from anydoor_lab.runs.settings import (
    CONFIG,
    SETTINGS,
    PlainDumper,
    first_difference,
    read_config,
    relevant,
    with_present_targets,
)
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import ASIDE, read_sealed, write_sealed, write_whole, writing

FACTS, SCORES, GRID = "run.json", "scores.json", "grid.png"
BEFORE, SKIPPED, FAILURE = "before.json", "skipped.jsonl", "failure.json"
BEFORE_CROPS = "before"
ABSENCE = "not_run.json"
WRITTEN = (CONFIG, FACTS, SCORES, GRID, BEFORE, SKIPPED, FAILURE, ABSENCE,
           "metrics.jsonl", "wandb_id.txt",
           "loss.png", "scores.md", "scores.csv", "scores.tex", "scores.parquet",
           "rows.csv", "rows.parquet",
           "checkpoints", "samples", BEFORE_CROPS, "results", "generated", "wandb",
           LOCK)  # fmt: skip
"""What runs write; everything else in a run's folder is the user's."""

SCORES_KEYS = ("scale", "protocol", "seed", "commit", "n", "model_row", "rows")


@dataclass(frozen=True, slots=True)
class Run:
    """A run's folder and the settings it is for."""

    folder: Path
    config: Mapping[str, Any]

    @property
    def checkpoints(self) -> Path:
        """Where its checkpoints stand."""
        return self.folder / "checkpoints"

    @property
    def finished(self) -> bool:
        """Whether its scores are there."""
        return (self.folder / SCORES).is_file()

    @property
    def begun(self) -> bool:
        """Whether a run was begun in the folder."""
        published = any(self.checkpoints.glob("step_*"))
        return published or self.finished or (self.folder / CONFIG).is_file()

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that matter by dotted name; every checkpoint keeps them as `SETTINGS`."""
        return relevant(self.config)

    def check(self, facts: Mapping[str, Any] | None) -> None:
        """Refuse to go on with a run of other settings.

        Args:
            facts: of the folder's newest checkpoint, None where there is none. What it says counts;
                where it says nothing (it was made by version 0.1), `config.yaml` does.

        Raises:
            ValueError: the settings differ, or nothing says which they were.
        """
        held = self.folder / CONFIG
        if facts and SETTINGS in facts:
            known = with_present_targets(facts[SETTINGS])
        elif held.is_file():
            known = relevant(read_config(self.folder))
        elif facts or self.finished:
            raise InputError(
                f"{self.folder} holds a run, and nothing says of which settings: {CONFIG} is gone "
                "and the checkpoint does not know them; put the file back, or replace the run with "
                "train.resume=never overwrite=true"
            )
        else:
            return
        difference = first_difference(known, self.settings)
        if difference:
            raise InputError(
                f"{self.folder} holds a run of other settings ({difference}); choose another "
                "hydra.run.dir or replace it with train.resume=never overwrite=true"
            )

    def claim(self, fresh: bool, overwrite: bool) -> None:
        """Take the folder for this run, whose settings are to be checked before, or refuse it.

        Args:
            fresh: begin anew instead of going on with what is there.
            overwrite: a fresh run may replace what is there.

        Raises:
            FileExistsError: it holds a run and `fresh` is asked for without `overwrite`.
        """
        self._bring_back()
        if fresh and self.begun:
            if not overwrite:
                raise FileExistsError(
                    f"{self.folder} holds a run already; go on with train.resume=auto, replace it "
                    "with overwrite=true, or choose another hydra.run.dir"
                )
            self.replace()
        if not self.begun:  # nothing says of which settings a score left here is
            (self.folder / BEFORE).unlink(missing_ok=True)
        self.write_config()

    def write_config(self) -> None:
        """Write its settings into its folder."""
        text = yaml.dump(dict(self.config), Dumper=PlainDumper, sort_keys=False)
        write_whole(self.folder / CONFIG, text)

    def replace(self) -> None:
        """Remove what runs write, and nothing else: it is all gone with one renaming."""
        folder, aside = self.folder.resolve(), self._aside
        with writing(folder):
            folder.rename(aside)  # with this, the run is gone
            folder.mkdir()
            if (aside / LOCK).exists():  # it is held
                (aside / LOCK).rename(folder / LOCK)
        self._bring_back()

    def _bring_back(self) -> None:
        """From a replaced run's folder, take the user's own files and remove the rest."""
        if not self._aside.is_dir():
            return
        with writing(self.folder):
            self.folder.mkdir(exist_ok=True)
            for path in [p for p in self._aside.iterdir() if p.name not in WRITTEN]:
                if not (self.folder / path.name).exists():
                    path.rename(self.folder / path.name)
        shutil.rmtree(self._aside, ignore_errors=True)

    @property
    def _aside(self) -> Path:
        folder = self.folder.resolve()
        return folder.with_name(f".{folder.name}{ASIDE}")

    def note(self, **facts: Any) -> None:
        """Write `run.json`: code, libraries, settings' hash and `facts`."""
        known = {"commit": commit(), "versions": versions(), "config_hash": self.hash} | facts
        write_sealed(self.folder / FACTS, known)

    @property
    def hash(self) -> str:
        """Equal where the settings that matter are equal."""
        return config_hash(self.settings)


def read_facts(folder: Path) -> dict[str, Any]:
    """What `Run.note` wrote; empty where there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / FACTS
    return read_sealed(path) if path.is_file() else {}


def read_scores(folder: Path) -> dict[str, Any]:
    """What `write_scores` wrote.

    Raises:
        ValueError: there are no scores, or they cannot be read.
    """
    path = folder / SCORES
    scores = read_sealed(path)
    missing = [key for key in SCORES_KEYS if key not in scores]
    if missing:
        raise InputError(f"{path} is damaged: it has no {missing[0]}")
    rows = scores["rows"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise InputError(f"{path} is damaged: expected rows of scores")
    return scores
