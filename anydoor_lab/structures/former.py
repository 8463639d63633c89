"""Where things stood in version 0.1, for folders on a disk and scripts that still say so."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

import anydoor_lab

MOVED: dict[str, tuple[str, ...]] = {
    "assemble": ("config.assemble",),
    "boxes": ("structures.boxes",),
    "checkpoint": ("training.checkpoint",),
    "configs": ("config.compose", "config.door", "structures.names"),
    "data.cutout": ("data.readers.cutout",),
    "data.folder": ("data.readers.folder",),
    "data.photos": ("data.readers.photos",),
    "data.pool": ("data.cache",),
    "draws": ("structures.rng",),
    "files": ("structures.files",),
    "images": ("structures.images",),
    "loading": ("config.pipelines",),
    "models.footprint": ("training.footprint",),
    "models.precision": ("training.precision",),
    "pair": ("structures.pair", "structures.checks", "data.source", "pipeline.inputs"),
    "plan": ("training.batches",),
    "provenance": ("runs.provenance",),
    "scoring": ("report.bench",),
    "stream": ("training.samples",),
    "tracking": ("runs.tracking",),
}
"""Modules below `anydoor_lab` by their former names. (`pipeline`, `runs` and `training` are rooms
of the same name now.)"""
RENAMED = {"generator": "rng_for", "Placed": "AnyDoorPipelineOutput"}


def former_targets() -> dict[str, str]:
    """The public name of everything that configs of version 0.1 call by its module."""
    places = {new: [old for old, news in MOVED.items() if new in news] for new in _modules()}
    found = {}
    for public, home in anydoor_lab.HOMES.items():
        module, name = home.split(":")
        for place in [module, *places[module], module.rpartition(".")[0]]:
            found[f"anydoor_lab.{place}.{name}"] = public
            found[f"anydoor_lab.{place}.{name}.from_encoder"] = public
    return found


def _modules() -> set[str]:
    return {home.split(":")[0] for home in anydoor_lab.HOMES.values()}


class FormerModules(MetaPathFinder, Loader):
    """Imports a module by its former name, with a warning that says the present one."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The module, if it stood under this name."""
        del path, target
        known = fullname.removeprefix("anydoor_lab.") in MOVED
        return ModuleSpec(fullname, self) if known else None

    def exec_module(self, module: ModuleType) -> None:
        """Make `module` answer with what stands in its successors."""
        present = MOVED[module.__name__.removeprefix("anydoor_lab.")]
        names = " and ".join(f"anydoor_lab.{name}" for name in present)
        warnings.warn(
            f"{module.__name__} has moved: import from {names}", FutureWarning, stacklevel=2
        )

        def find(name: str) -> Any:
            for place in present:
                found = import_module(f"anydoor_lab.{place}")
                if hasattr(found, RENAMED.get(name, name)):
                    return getattr(found, RENAMED.get(name, name))
            raise AttributeError(f"{names} has no {name!r}")

        module.__getattr__ = find  # type: ignore[method-assign]


def know_former_modules() -> None:
    """Let the modules be imported by their former names."""
    if not any(isinstance(finder, FormerModules) for finder in sys.meta_path):
        sys.meta_path.append(FormerModules())
