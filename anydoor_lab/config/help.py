"""`--help` of every command, from its YAML: what it is for, its groups, one sentence a key."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import dropwhile
from pathlib import Path
from textwrap import shorten
from typing import Any

import yaml

from anydoor_lab.structures.names import conf_dir, conf_folders

KEY = re.compile(r"^(?P<name>\w+):\s*(?P<value>.*?)\s*(?:(?<=\s)#\s*(?P<said>.*))?$")
GROUP = re.compile(r"^  - (?P<name>[\w/]+):\s*(?P<value>.*?)\s*(?:(?<=\s)#.*)?$")
HIDDEN = ("defaults", "hydra")


@dataclass(frozen=True, slots=True)
class Setting:
    """A key of a YAML file, its value as text, and the comment that explains it."""

    name: str
    value: str
    said: str


def asks_for_help(arguments: Sequence[str]) -> bool:
    """Whether a command line asks for help."""
    return any(text in ("--help", "-h") for text in arguments)


def help_text(command: str, arguments: Sequence[str] = ()) -> str:
    """What `--help` prints for the command of `conf/<command>.yaml`; of the groups chosen in
    `arguments` (`data=folder`) the settings of these choices."""
    path = conf_dir() / f"{command}.yaml"
    asked = dict(text.split("=", 1) for text in arguments if "=" in text)
    groups = [(name, asked.get(name, own)) for name, own in groups_of(path)]
    parts = [purpose(path), "", "Settings, each given as key=value:", *_rows(settings_of(path))]
    if groups:
        parts += ["", "Choices, each given as group=name:"]
        parts += [f"  {name:<11} {names(name)}" for name, _ in groups]
    for name, value in groups:
        chosen = _file_of(name, value)
        if chosen and (known := list(settings_of(chosen))):
            parts += ["", f"{name}={value}: {purpose(chosen)}", *_rows(known, f"{name}.")]
    if _has_folder(path):
        parts += ["", "hydra.run.dir=<folder> says where the files go."]
    return "\n".join(parts)


def _file_of(group: str, choice: str) -> Path | None:
    places = [folder / group / f"{choice}.yaml" for folder in (conf_dir(), *conf_folders())]
    return next((path for path in places if path.is_file()), None)


def purpose(path: Path) -> str:
    """The comment at the top of a YAML file."""
    lines = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if not line.startswith("#"):
            break
        if not line.startswith("# @package"):
            lines.append(line.removeprefix("#").strip())
    return " ".join(lines)


def settings_of(path: Path) -> Iterator[Setting]:
    """The keys at the top of a YAML file with what their comments say: behind them, or before."""
    before: list[str] = []
    lines = path.read_text(encoding="utf-8").splitlines()
    for line in dropwhile(lambda line: line.startswith("#"), lines):  # the purpose of the file
        found = KEY.match(line)
        if found and found["name"] not in HIDDEN and not found["name"].startswith("_"):
            said = found["said"] or " ".join(before)
            yield Setting(found["name"], found["value"], said)
        before = [*before, line[1:].strip()] if line.startswith("#") else []


def groups_of(path: Path) -> Iterator[tuple[str, str]]:
    """(group, the file's own choice) of a command's defaults."""
    model = "tiny"
    for line in path.read_text(encoding="utf-8").splitlines():
        if found := GROUP.match(line):
            value = found["value"].strip("'\"")
            model = value if found["name"] == "model" else model
            yield found["name"], model if value == "${model}" else value


def names(group: str) -> str:
    """The choices of a group, the user's own included."""
    files = [p for folder in (conf_dir(), *conf_folders()) for p in (folder / group).glob("*.yaml")]
    return ", ".join(sorted({path.stem for path in files}))


def _has_folder(path: Path) -> bool:
    node: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    return str(node["hydra"]["run"]["dir"]) != "."


def _rows(settings: Iterator[Setting] | Sequence[Setting], prefix: str = "") -> list[str]:
    rows = [(shorten(f"{prefix}{one.name}={one.value}", 48), one.said) for one in settings]
    width = max((len(left) for left, _ in rows), default=0)
    return [f"  {left:<{width}}  {said}".rstrip() for left, said in rows]
