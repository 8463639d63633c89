"""A run's folder: what stands in it and how other commands read it again.

`config.yaml`, `run.json`, `metrics.jsonl`, `checkpoints/`, `samples/`, `scores.json`, `grid.png`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.names import PARTS, may_be_named, present
from anydoor_lab.runs.provenance import commit, config_hash, versions

CONFIG, FACTS, SCORES, GRID = "config.yaml", "run.json", "scores.json", "grid.png"
BEFORE = "before.json"
WRITTEN = (CONFIG, FACTS, SCORES, GRID, BEFORE, "metrics.jsonl", "wandb_id.txt", "loss.png",
           "scores.md", "scores.csv", "scores.tex")  # fmt: skip
WRITTEN_FOLDERS = ("checkpoints", "samples", "wandb")
IDLE_KEYS = ("train.resume", "overwrite", "logger", "train.workers", "train.log_every",
             "train.sample_every", "train.checkpoint_every", "train.keep_checkpoints")  # fmt: skip
"""Settings, or groups of them, that do not change what a run computes."""


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

    def claim(self, fresh: bool, overwrite: bool) -> None:
        """Take the folder for this run, or refuse it.

        Args:
            fresh: begin anew instead of going on with what is there.
            overwrite: a fresh run may replace what is there.

        Raises:
            FileExistsError: it holds a run and `fresh` is asked for without `overwrite`.
            ValueError: it holds a run of other settings.
        """
        held = self.folder / CONFIG
        if held.is_file() and fresh:
            if not overwrite:
                raise FileExistsError(
                    f"{self.folder} holds a run already; go on with train.resume=auto, replace it "
                    "with overwrite=true, or choose another hydra.run.dir"
                )
            self.clear()
        if held.is_file():
            difference = first_difference(relevant(read_config(self.folder)), relevant(self.config))
            if difference:
                raise InputError(
                    f"{self.folder} holds a run of other settings ({difference}); choose another "
                    "hydra.run.dir or replace it with train.resume=never overwrite=true"
                )
        self.folder.mkdir(parents=True, exist_ok=True)
        write_whole(held, yaml.safe_dump(dict(self.config), sort_keys=False))

    def clear(self) -> None:
        """Remove what runs write, and nothing else."""
        for name in WRITTEN:
            (self.folder / name).unlink(missing_ok=True)
        for name in WRITTEN_FOLDERS:
            shutil.rmtree(self.folder / name, ignore_errors=True)

    def note(self, **facts: Any) -> None:
        """Write `run.json`: code, libraries, settings' hash and `facts`."""
        known = {"commit": commit(), "versions": versions(), "config_hash": self.hash} | facts
        write_whole(self.folder / FACTS, json.dumps(known, indent=1))

    @property
    def hash(self) -> str:
        """Equal where the settings that matter are equal."""
        return config_hash(relevant(self.config))


def relevant(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings without those that do not change what a run computes."""
    idle = tuple(f"{key}." for key in IDLE_KEYS)
    return {k: v for k, v in flat(config) if k not in IDLE_KEYS and not k.startswith(idle)}


def flat(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """(dotted key, value) of every leaf."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def first_difference(held: Mapping[str, Any], asked: Mapping[str, Any]) -> str:
    """The first key that differs, as "train.steps is 10 there, 20 here"; empty if none does.

    A whole group that the held settings do not know yet (they are of an older version) is passed.
    """
    groups = {key.split(".")[0] for key in held}
    for key in sorted({*held, *(key for key in asked if key.split(".")[0] in groups)}):
        if held.get(key) != asked.get(key):
            return f"{key} is {held.get(key)} there, {asked.get(key)} here"
    return ""


def read_config(folder: Path) -> dict[str, Any]:
    """A run's settings.

    Raises:
        ValueError: the folder is no run's.
    """
    path = folder / CONFIG
    if not path.is_file():
        raise InputError(
            f"{folder} is no run's folder: it has no {CONFIG}; give one that train made"
        )
    try:
        config = yaml.safe_load(path.read_text())
    except yaml.YAMLError as error:
        raise InputError(f"{path} is damaged ({error})") from error
    if not isinstance(config, dict):
        raise InputError(f"{path} is damaged: expected settings by name")
    return with_present_names(config)


def with_present_names(config: dict[str, Any]) -> dict[str, Any]:
    """Settings in which parts that have moved are named as today.

    Raises:
        ValueError: a `_target_` is no part that may be named.
    """
    renamed: dict[str, Any] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            renamed[key] = with_present_names(value)
        elif key == "_target_":
            if not may_be_named(value):
                raise InputError(
                    f"a run's settings name {value!r}, which is no public name of anydoor_lab; "
                    f"list its module in {PARTS} if the part is yours"
                )
            renamed[key] = present(value)
        else:
            renamed[key] = value
    return renamed


def read_facts(folder: Path) -> dict[str, Any]:
    """What `Run.note` wrote; empty where there is none."""
    path = folder / FACTS
    return json.loads(path.read_text()) if path.is_file() else {}


def read_scores(folder: Path) -> dict[str, Any]:
    """What `write_scores` wrote.

    Raises:
        ValueError: there are no scores, or they cannot be read.
    """
    path = folder / SCORES
    try:
        scores = json.loads(path.read_text())
    except (OSError, json.JSONDecodeError) as error:
        raise InputError(f"{folder} has no readable {SCORES} ({error})") from error
    if not isinstance(scores, dict) or "rows" not in scores:
        raise InputError(f"{path} is damaged: expected rows of scores")
    return scores
