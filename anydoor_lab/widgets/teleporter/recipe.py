"""A picture's recipe: everything needed to make it again, inside its PNG and as a JSON file."""

from __future__ import annotations

import base64
import io
import json
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anydoor_lab.runs.provenance import commit, picture_facts, versions
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import encoded
from anydoor_lab.structures.masks import mask_of
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import Original, upright
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.view import png

FORMAT = "anydoor_lab recipe 1"
CHUNK = b"adRc"
"""The kind of the chunk in which a PNG file carries its recipe, packed by zlib."""
PNG_START = b"\x89PNG\r\n\x1a\n"
MAX_RECIPE = 2**30
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


def with_recipe(picture: Image.Image, recipe: Mapping[str, Any]) -> bytes:
    """A PNG file that carries its recipe: for `read_recipe` whole, for `read_facts` in words."""
    short = {**recipe, "weights": Path(recipe["weights"]).name, "pictures": list(PICTURES)}
    seed = recipe["settings"]["seed"] + recipe.get("chosen", 0)
    png_file = encoded(picture, ".png", facts=picture_facts(seed, short))
    content = zlib.compress(json.dumps(recipe).encode(), 1)
    chunk = struct.pack(">I", len(content)) + CHUNK + content
    end = png_file[-12:]
    return png_file[:-12] + chunk + struct.pack(">I", zlib.crc32(CHUNK + content)) + end


def save_recipe(picture: Image.Image, recipe: Mapping[str, Any], folder: Path) -> Path:
    """Write a picture with its recipe as `placed_<n>.png` and the recipe as `.json`; the
    picture's path."""
    folder.mkdir(parents=True, exist_ok=True)
    numbers = [path.stem.removeprefix("placed_") for path in folder.glob("placed_*.*")]
    number = 1 + max([int(n) for n in numbers if n.isdigit()], default=0)
    path = folder / f"placed_{number:04d}.png"
    write_whole(path.with_suffix(".json"), json.dumps(recipe, indent=1))
    write_whole(path, with_recipe(picture, recipe))
    return path


def read_recipe(content: str | bytes) -> tuple[dict[str, Any], dict[str, Any]]:
    """The facts of a recipe, and its four pictures: PIL's, the masks (H, W) bool.

    Args:
        content: of the recipe's JSON file, or of a PNG file that carries it.

    Raises:
        ValueError: it is no recipe, or a damaged one.
    """
    try:
        if isinstance(content, bytes) and content.startswith(PNG_START):
            content = _carried(content)
        facts = json.loads(content)
        if facts["format"] != FORMAT:
            raise InputError(f"its format is {facts['format']}; expected {FORMAT}")
        decoded = {name: _decoded(facts["pictures"][name]) for name in PICTURES}
        dict(facts["settings"])
    except (ValueError, KeyError, TypeError, OSError, struct.error, zlib.error) as error:
        raise InputError(
            f"this is no recipe of a Teleporter, or a damaged one ({error})"
        ) from error
    return facts, {n: mask_of(im) if n.endswith("mask") else im for n, im in decoded.items()}


def _carried(png_file: bytes) -> bytes:
    """The recipe that a PNG file carries, as JSON."""
    place = len(PNG_START)
    while place + 8 <= len(png_file):
        length, kind = struct.unpack_from(">I4s", png_file, place)
        if kind == CHUNK:
            whole = zlib.decompressobj()
            found = whole.decompress(png_file[place + 8 : place + 8 + length], MAX_RECIPE)
            if whole.eof:
                return found
            raise InputError("its recipe is damaged, or too long")
        place += length + 12
    raise InputError("the picture carries no recipe; a program that wrote it anew has dropped it")


def _decoded(text: str) -> Image.Image:
    return upright(opened(io.BytesIO(base64.b64decode(text))))
