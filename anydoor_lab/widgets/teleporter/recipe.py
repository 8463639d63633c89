"""A picture's recipe: everything needed to make it again, in one JSON file beside it."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anydoor_lab.runs.provenance import commit, versions
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import write_image
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.view import png

FORMAT = "anydoor_lab recipe 1"
PICTURES = ("reference", "reference_mask", "scene", "scene_mask")


def recipe_of(pair: Pair, settings: Mapping[str, Any], weights: str) -> dict[str, Any]:
    """Settings, code, libraries and the four pictures (PNG in base64)."""
    pictures = {}
    for name in PICTURES:
        image = getattr(pair, name)
        image = image * np.uint8(255) if image.dtype == np.bool_ else image
        pictures[name] = base64.b64encode(png(image)).decode()
    facts = {"format": FORMAT, "weights": weights, "commit": commit(), "versions": versions()}
    return {**facts, "settings": dict(settings), "pictures": pictures}


def save_recipe(image: np.ndarray, recipe: Mapping[str, Any], folder: Path) -> Path:
    """Write `image` and its recipe as `placed_<n>.png` and `.json`; the path of the picture."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [path.stem.removeprefix("placed_") for path in folder.glob("placed_*.*")]
    number = 1 + max([int(n) for n in numbers if n.isdigit()], default=0)
    path = folder / f"placed_{number:04d}.png"
    write_whole(path.with_suffix(".json"), json.dumps(recipe, indent=1))
    write_image(path, image)
    return path


def read_recipe(text: str | bytes) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The facts of a recipe, and its four pictures.

    Raises:
        ValueError: it is no recipe, or a damaged one.
    """
    try:
        facts = json.loads(text)
        if facts["format"] != FORMAT:
            raise InputError(f"its format is {facts['format']}; expected {FORMAT}")
        decoded = {name: _decoded(facts["pictures"][name]) for name in PICTURES}
        dict(facts["settings"])
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"this is no recipe of a Teleporter, or a damaged one ({error})"
        ) from error
    return facts, {n: im > 127 if n.endswith("mask") else im for n, im in decoded.items()}


def _decoded(text: str) -> np.ndarray:
    return np.array(Image.open(io.BytesIO(base64.b64decode(text))))
