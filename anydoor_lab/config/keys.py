"""Keys that nothing reads: named at once, with the known key that is nearest."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from anydoor_lab.config.compose import compose_config
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir

OPEN = frozenset({"model.encoders", "model.judges", "model.expects", "metrics"})
"""Nodes that take names of the user's own."""
JUDGED = ("model", "train", "eval", "experiment")
"""Groups whose files may only have keys that the package's own files have."""


def check_keys(cfg: DictConfig, command: str) -> None:
    """Refuse a key that nothing reads, whether it came with `+` or in a file of the user's.

    Nodes with a `_target_` are left to `compose.leaf`, which knows their parameters.

    Raises:
        ValueError: the first such key.
    """
    hydra = HydraConfig.get()
    choices = {str(k): v for k, v in hydra.runtime.choices.items() if isinstance(v, str)}
    added = any(text.startswith("+") for text in hydra.overrides.task)
    if not added and not any(_is_foreign(group, choices.get(group)) for group in JUDGED):
        return
    reference = _reference(command, choices)
    known = set(keys(reference))
    for key in keys(OmegaConf.to_container(cfg, resolve=False)):
        if key not in known:
            raise InputError(unread(key, known, command))


def keys(node: Any, prefix: str = "") -> Iterator[str]:
    """The dotted names of all settings below a node; one with a `_target_`, or with names of the
    user's own, counts as one setting."""
    if isinstance(node, Mapping) and "_target_" not in node and prefix[:-1] not in OPEN and node:
        for name, value in node.items():
            yield from keys(value, f"{prefix}{name}.")
    else:
        yield prefix[:-1]


def unread(key: str, known: Iterable[str], command: str) -> str:
    """The sentence about a key that a command does not have."""
    near = nearest(key, known)
    help_ = f"python -m anydoor_lab.{command} --help lists the settings"
    return f"{command} has no setting {key}{f'; did you mean {near}?' if near else ';'} {help_}"


def nearest(key: str, known: Iterable[str]) -> str:
    """The known key that is written nearly like `key`; empty where none is."""
    known = sorted(known)
    found = difflib.get_close_matches(key, known, 1, 0.7)
    if not found:  # the right name in another group, or without its group
        last = {name.rpartition(".")[2]: name for name in known}
        found = difflib.get_close_matches(key.rpartition(".")[2], list(last), 1, 0.75)
        found = [last[name] for name in found]
    return found[0] if found else ""


def override_sentence(error: BaseException, command: str) -> str:
    """What to say where Hydra refuses an override; empty where it is about something else."""
    found = re.search(r"Could not override '([^']+)'", str(error))
    if not found:
        return ""
    key = found[1].split("@")[0]
    if (conf_dir() / key).is_dir():
        return _group_sentence(key, command)
    return unread(key, keys(_reference(command, {})), command)


def _group_sentence(group: str, command: str) -> str:
    if group == "model":
        return (
            f"{command} takes no model=: weights bring their scale with them; give run=<folder> of "
            "a run (train model=sd21) or of a pipeline (convert makes one of a checkpoint file)"
        )
    return (
        f"{command} takes no {group}=; python -m anydoor_lab.{command} --help lists what it takes"
    )


def _is_foreign(group: str, choice: str | None) -> bool:
    """Whether a group's chosen file is not the package's own."""
    return bool(choice) and not (conf_dir() / group / f"{choice}.yaml").is_file()


def _reference(command: str, choices: Mapping[str, str]) -> Any:
    """The command's settings with these choices, nothing added, as plain values.

    Raises:
        ValueError: the command has no such group.
    """
    groups = [f"{k}={v}" for k, v in choices.items() if not k.startswith("hydra/")]
    overrides = [text for text in groups if text.split("=")[0] not in JUDGED]
    GlobalHydra.instance().clear()
    try:
        cfg = compose_config(command, *overrides)
    except (HydraException, OmegaConfBaseException) as error:
        sentence = override_sentence(error, command) if overrides else ""
        if not sentence:
            raise
        raise InputError(sentence) from error
    return OmegaConf.to_container(cfg, resolve=False)
