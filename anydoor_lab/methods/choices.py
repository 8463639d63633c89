"""The methods of conf/method by name, for callers below the commands."""

from __future__ import annotations

import inspect
from typing import Any

import yaml

from anydoor_lab.methods.anydoor import Method
from anydoor_lab.structures.checks import check_choice
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir, conf_folders, named


def method_names() -> list[str]:
    """The names in conf/method, the user's own included."""
    return sorted(_files())


def named_method(name: str) -> Method:
    """A method of conf/method as its file says; what the file leaves to a command keeps the class's
    own default.

    Raises:
        InputError: there is none of that name, or it needs what only a command knows.
    """
    check_choice("method", name, tuple(method_names()))
    content = yaml.safe_load(_files()[name].read_text("utf-8"))
    kind: Any = named(content.pop("_target_"))
    settings = {key: value for key, value in content.items() if "${" not in str(value)}
    parameters = inspect.signature(kind).parameters.values()
    lacking = [p.name for p in parameters if p.default is p.empty and p.name not in settings]
    if lacking:
        raise InputError(
            f"the method {name} needs {', '.join(lacking)}; build it yourself and give it as "
            f"methods={{'{name}': ...}}"
        )
    method: Method = kind(**settings)
    return method


def _files() -> dict[str, Any]:
    folders = [conf_dir(), *conf_folders()]
    return {p.stem: p for folder in folders for p in sorted((folder / "method").glob("*.yaml"))}
