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

from anydoor_lab.runs.provenance import commit, picture_facts, versions
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import encoded, write_image
from anydoor_lab.structures.masks import mask_of
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import Original, upright
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.view import png

FORMAT = "anydoor_lab recipe 1"
PICTURES = ("reference", "reference_mask", "scene", "scene_mask")


def recipe_of(
    pair: Pair, original: Original, settings: Mapping[str, Any], weights: str
) -> dict[str, Any]:
    """Settings, code, libraries and the four pictures (PNG in base64), the scene's as it was."""
    pictures = {}
    for name in PICTURES:
        image = getattr(pair, name)
        image = image * np.uint8(255) if image.dtype == np.bool_ else image
        content = encoded(original.changed_to(image), ".png") if name == "scene" else png(image)
        pictures[name] = base64.b64encode(content).decode()
    facts = {"format": FORMAT, "weights": weights, "commit": commit(), "versions": versions()}
    return {**facts, "settings": dict(settings), "pictures": pictures}


def save_recipe(picture: Image.Image, recipe: Mapping[str, Any], folder: Path) -> Path:
    """Write a picture and its recipe as `placed_<n>.png` and `.json`; the picture's path.

    The PNG carries the recipe without its pictures as well, for `read_facts`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [path.stem.removeprefix("placed_") for path in folder.glob("placed_*.*")]
    number = 1 + max([int(n) for n in numbers if n.isdigit()], default=0)
    path = folder / f"placed_{number:04d}.png"
    write_whole(path.with_suffix(".json"), json.dumps(recipe, indent=1))
    short = {**recipe, "weights": Path(recipe["weights"]).name, "pictures": list(PICTURES)}
    seed = recipe["settings"]["seed"] + recipe.get("chosen", 0)
    write_image(path, picture, facts=picture_facts(seed, short))
    return path


def read_recipe(text: str | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of a recipe, and its four pictures: PIL's, the masks (H, W) bool.

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
    return facts, {n: mask_of(im) if n.endswith("mask") else im for n, im in decoded.items()}


def _decoded(text: str) -> Image.Image:
    return upright(opened(io.BytesIO(base64.b64decode(text))))
