"""A saved pipeline's folder, judged before anything that it names is imported."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

from anydoor_lab.models.sources import INDEX, lacking
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import PARTS, may_be_named

OWN = "AnyDoorPipeline"
COMPONENTS = ("unet", "vae", "detail_extractor", "id_extractor", "scheduler")
LIBRARIES = ("diffusers", "transformers")


def check_saved(folder: Path, given: Collection[str] = ()) -> None:
    """Refuse a folder that `AnyDoorPipeline.from_pretrained` could not, or should not, load.

    A folder is data: the classes it names are public ones of diffusers, transformers and
    anydoor_lab, or of modules that the user has registered.

    Args:
        folder: with `model_index.json`.
        given: components that the folder need not have.

    Raises:
        ValueError: the index is damaged, is another pipeline's or names anything else, or a
            component's file is missing or damaged.
    """
    index = _index(folder / INDEX)
    kind = index.get("_class_name")
    if kind != OWN:
        raise InputError(
            f"{folder / INDEX} is of another pipeline, {kind}; expected AnyDoorPipeline: give a "
            "folder that train, export or convert made"
        )
    named = {key: value for key, value in index.items() if isinstance(value, list)}
    for name, parts in named.items():
        if name in COMPONENTS or len(parts) == 2:
            _check_named(folder / INDEX, name, parts)
    for name in COMPONENTS:
        fault = "" if name in given else lacking(folder, (name,))
        if fault or name not in named:
            fault = fault or f"{INDEX} names no {name}"
            raise InputError(f"{folder} is no whole pipeline: {fault}; copy or download it again")


def is_own(path: Path) -> bool:
    """Whether a `model_index.json` is there, and is of a pipeline of this package."""
    return path.is_file() and _index(path).get("_class_name") == OWN


def _index(path: Path) -> dict[str, Any]:
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path} is damaged ({error}); copy or download it again") from error
    if not isinstance(index, dict):
        raise InputError(f"{path} is damaged: expected components by name")
    return index


def _check_named(path: Path, name: str, parts: list[Any]) -> None:
    """Raise ValueError unless a component's library and class may be named."""
    library, kind = parts if len(parts) == 2 else ("", "")
    public = library in LIBRARIES and isinstance(kind, str) and kind.isidentifier()
    if name not in COMPONENTS or not (public or may_be_named(f"{library}.{kind}")):
        raise InputError(
            f"{path} names {library}.{kind} as its {name}; only classes of diffusers, transformers "
            f"and anydoor_lab are loaded, and of modules listed in the environment variable {PARTS}"
        )
