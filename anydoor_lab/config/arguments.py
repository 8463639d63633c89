"""The command line as a shell hands it over: pasted paths need none of Hydra's own quoting."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException, OverrideParseException

from anydoor_lab.structures.errors import InputError

PATHS = frozenset(
    {
        *("reference", "reference_mask", "scene", "mask", "out", "run", "runs", "lora", "source"),
        *("references", "scenes", "boxes", "data.references", "data.manifest", "data.instances"),
        *("init", "begin", "train.resume", "data.root", "data.scenes", "data.index"),
        "idx.extractor.source",
        *("model.base", "model.vae", "model.init", "model.start"),
        *("method.source", "method.photos", "method.adapter", "method.unet", "method.redux"),
        *("hydra.run.dir", "hydra.sweep.dir", "hydra.sweep.subdir", "shards.out"),
    }
)
"""The keys whose values are paths, or names that may be paths."""
PATH_GROUPS = ("model.encoders.", "model.judges.")
"""Beginnings of more such keys."""
URL = re.compile(r"[a-z][a-z0-9+.-]+://", re.IGNORECASE)
SWEEPS = ("-m", "--multirun")
SWEPT = re.compile(r",|^(choice|range|interval|glob|shuffle|sort|tag)\(")


def is_path(key: str) -> bool:
    """Whether the value of a key is a path."""
    return key in PATHS or key.startswith(PATH_GROUPS)


def as_pasted(arguments: Sequence[str], command: str = "") -> list[str]:
    """A command's arguments with the values of path keys taken letter for letter.

    `reference=my cup (1).png` and `run=runs/train/idx=clip` mean these files, `~/` the home folder.
    Left to Hydra are values that it reads as they stand, quoted ones, `null`, `${...}`, lists of
    networks, and in a sweep (`-m`) values with a comma.

    Raises:
        ValueError: a path is a URL.
    """
    if command == "dashboard":  # whose experiment is a name; the group would start its sweep
        arguments = [re.sub(r"^experiment=", "id=", text) for text in arguments]
    # Python's parser refuses an option between overrides
    arguments = sorted(arguments, key=lambda text: text not in SWEEPS)
    sweep = any(text in SWEEPS for text in arguments)
    return [_pasted(text, sweep) for text in arguments]


def _pasted(text: str, sweep: bool) -> str:
    key, sign, value = text.partition("=")
    name = key.lstrip("+")
    if not sign or key.startswith("-") or not is_path(name):
        return text
    if URL.match(value):
        raise InputError(f"{name} is a URL ({value}); download it first, then give the file's path")
    if value.startswith("~/"):
        value = str(Path(value).expanduser())
    swept = sweep and not name.startswith("hydra.") and SWEPT.search(value)
    if swept or _is_hydras(name, value):
        return text
    if _as_read_by_hydra(value) == value:
        return f"{key}={value}"
    return f"{key}={QuotedString(text=value, quote=Quote.single).with_quotes()}"


def _is_hydras(name: str, value: str) -> bool:
    """Whether a value is written in Hydra's own way."""
    quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "'\""
    networks = name.startswith("model.") and value.startswith("[") and value.endswith("]")
    return value in ("", "null", "???") or "${" in value or quoted or networks


def _as_read_by_hydra(value: str) -> object:
    try:
        return OverridesParser.create().parse_override(f"key={value}").value()
    except (HydraException, OverrideParseException):
        return None
