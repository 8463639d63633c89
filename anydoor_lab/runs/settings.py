"""A run's settings: which of them matter, how they differ, how they are read again."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small
from anydoor_lab.structures.names import PARTS, may_be_named, present

CONFIG = "config.yaml"
SETTINGS = "settings"
"""The fact of a checkpoint that says with which settings that matter it was made."""
IDLE_KEYS = ("train.resume", "overwrite", "share", "data.cache", "logger", "train.workers",
             "train.log_every", "train.sample_every", "train.checkpoint_every",
             "train.keep_checkpoints")  # fmt: skip
"""Settings, or groups of them, that do not change what a run computes."""
ADDED = {"eval.reference": "single", "metrics.lab_difference": None, "metrics.placement": None,
         "metrics.unchanged": None, "train.compile": False, "train.milestone_every": 0,
         "share": False, "score_before": True, "conditioning.light_bank": 0, "collage.power": 1.0,
         "model.edge_erosion_px": None, "model.edge_threshold": None,
         "model.edge_power": None, "model.start": None}  # fmt: skip
"""Settings and groups that a later version added, with the value that is what was done before
(None: any); a run of before goes on without them."""
PLACES = ("init", "model.init", "model.start", "model.base", "model.vae", "model.encoders",
          "model.judges", "data.root")  # fmt: skip
"""Settings that say where something lies, which may have been moved."""
MOST_CONFIG_BYTES = 2**20


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
        if held.get(key) != asked.get(key) and not (key not in held and _was_added(key, asked)):
            return f"{key} is {held.get(key)} there, {asked.get(key)} here"
    return ""


def _was_added(key: str, asked: Mapping[str, Any]) -> bool:
    """Whether a run of before can be said to have this setting."""
    name = next((name for name in ADDED if f"{key}.".startswith(f"{name}.")), "")
    return bool(name) and ADDED[name] in (None, asked.get(key))


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
        config = yaml.load(read_small(path, MOST_CONFIG_BYTES), Loader=_PlainLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} is damaged ({' '.join(str(error).split())})") from error
    if not isinstance(config, dict) or not all(isinstance(key, str) for key in config):
        raise InputError(f"{path} is damaged: expected settings by name")
    return with_present_names(config)


class _PlainLoader(yaml.SafeLoader):
    """YAML in which nothing stands for anything else: a few lines cannot grow without bounds."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """One node, which is no alias."""
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias, which no run writes")
        return super().compose_node(parent, index)


class PlainDumper(yaml.SafeDumper):
    """YAML that repeats what comes twice."""

    def ignore_aliases(self, data: Any) -> bool:
        """Always: see the class."""
        return True


def check_config(folder: Path, config: Mapping[str, Any], facts: Mapping[str, Any]) -> None:
    """Refuse a `config.yaml` that is not the one its checkpoint was made with.

    Where things lie may differ. Checkpoints of version 0.1 do not know their settings.

    Raises:
        ValueError: another setting that matters differs.
    """
    if SETTINGS not in facts:
        return
    held, said = (
        {key: value for key, value in known.items() if not _is_place(key)}
        for known in (with_present_targets(facts[SETTINGS]), relevant(config))
    )
    difference = first_difference(held, said)
    if difference:
        raise InputError(
            f"{folder / CONFIG} is not the one its checkpoint was made with ({difference}); put it "
            "back as it was"
        )


def _is_place(key: str) -> bool:
    below = tuple(f"{place}." for place in PLACES)
    return key.endswith((".source", ".root")) or f"{key}.".startswith(below)


def with_present_targets(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings by dotted name in which parts that have moved are named as today."""
    return {
        key: present(value) if key.endswith("_target_") else value
        for key, value in settings.items()
    }


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
            if not isinstance(value, str) or not may_be_named(value):
                raise InputError(
                    f"a run's settings name {value!r}, which is no public name of anydoor_lab; "
                    f"list its module in {PARTS} if the part is yours"
                )
            renamed[key] = present(value)
        else:
            renamed[key] = value
    return renamed
