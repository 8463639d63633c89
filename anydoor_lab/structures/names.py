"""Names: what a config, a run's folder or a saved pipeline may name, and nothing else.

A `_target_` is data. It is looked up among the public names of this package and of the modules the
user has registered in `ANYDOOR_PARTS`; no attribute of anything else can be reached by it.
"""

from __future__ import annotations

import os
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import anydoor_lab
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.former import former_targets

PARTS = "ANYDOOR_PARTS"
"""Environment variable: modules of the user's own parts, separated by commas."""
LIBRARY_NAMES = ("diffusers.AutoencoderKL", "diffusers.UNet2DConditionModel")
"""Classes of libraries that configs name: the networks of conf/part."""
FORMER = former_targets()
"""Public names by what version 0.1 called them in configs."""


def conf_dir() -> Path:
    """The absolute folder of the YAML files: the checkout's `conf/`, else the installed copy.

    Raises:
        ValueError: there is neither.
    """
    return conf_beside(Path(anydoor_lab.__file__).resolve().parent)


def conf_beside(package: Path) -> Path:
    """The folder of YAML files of a package's folder, as `conf_dir` finds it."""
    checkout, installed = package.parent / "conf", package / "conf"
    # a `conf` beside an installed package may be anybody's: only a checkout has a pyproject.toml
    if checkout.is_dir() and (package.parent / "pyproject.toml").is_file():
        return checkout
    if installed.is_dir():
        return installed
    raise InputError(
        f"no conf folder: neither {checkout} (a checkout) nor {installed} (an installed wheel) "
        "exists; install the package again or run from a complete checkout"
    )


def registered_modules() -> tuple[str, ...]:
    """The modules named in `ANYDOOR_PARTS`."""
    return tuple(name.strip() for name in os.environ.get(PARTS, "").split(",") if name.strip())


def conf_folders() -> list[Path]:
    """The `conf` folders beside the registered modules, where they have one.

    Raises:
        ValueError: a registered module is not there.
    """
    return [path for name in registered_modules() if (path := _folder(name) / "conf").is_dir()]


def _folder(module: str) -> Path:
    try:
        found = find_spec(module)
    except (ImportError, ValueError):
        found = None
    if found is None or not found.origin:
        raise InputError(
            f"{PARTS} names {module!r}, which cannot be imported; install it or add its folder to "
            "PYTHONPATH"
        )
    return Path(found.origin).parent


def present(target: str) -> str:
    """`target` by its present name, where it is one of the `FORMER` ones."""
    return f"anydoor_lab.{FORMER[target]}" if target in FORMER else target


def may_be_named(target: str) -> bool:
    """Whether `named` would look `target` up at all; nothing is imported."""
    module, _, name = present(str(target)).rpartition(".")
    public = module == "anydoor_lab" and name in anydoor_lab.__all__
    return public or target in LIBRARY_NAMES or _is_registered(module)


def named(target: str) -> Any:
    """The class or function that `target` ("anydoor_lab.World", "my_lab.Edges") names.

    Raises:
        ValueError: it is no public name of this package nor of a registered module.
    """
    module, _, name = present(str(target)).rpartition(".")
    if may_be_named(target):
        found = getattr(anydoor_lab, name) if module == "anydoor_lab" else _own(module, name)
        if found is not None:
            return found
    raise InputError(
        f"{target!r} is no part that may be named: expected a public name of anydoor_lab, or of a "
        f"module listed in the environment variable {PARTS} (now: {os.environ.get(PARTS, '')!r})"
    )


def _is_registered(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in registered_modules())


def _own(module: str, name: str) -> Any:
    """What `module` itself defines under `name`; None for what it has only imported."""
    try:
        found = getattr(import_module(module), name, None)
    except ModuleNotFoundError:
        return None
    origin = getattr(found, "__module__", None) or ""
    return found if origin.split(".")[0] == module.split(".")[0] else None


def name_of(part: Any) -> str:
    """The name under which `named` finds a class or function again.

    Raises:
        ValueError: there is none.
    """
    own = f"{part.__module__}.{part.__qualname__}"
    public = next((n for n, home in anydoor_lab.HOMES.items() if _is_home(home, own)), None)
    name = own if public is None else f"anydoor_lab.{public}"
    named(name)
    return name


def _is_home(home: str, own: str) -> bool:
    return f"anydoor_lab.{home.replace(':', '.')}" == own
