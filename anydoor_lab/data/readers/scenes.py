"""COCOEE: scenes with the box to be filled, and the picture of an object for each.

`%012d_GT.png`, `%012d_mask.png` (white inside the box), `%012d_ref.png`, each kind in a folder of
its own, or, as the released code kept its scenes, all in one.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anydoor_lab.data.index.views import Part, Role, View, with_mask, without_mask
from anydoor_lab.data.readers.places import below, chunks, files
from anydoor_lab.data.readers.side_by_side import mask_view
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_header

REQUIRED = ("scenes", "masks")
SCENES = 500
"""Scenes a part."""


def parts(root: Path, *, scenes: str, masks: str, references: str | None = None) -> Iterator[Part]:
    """One part for every `SCENES` scenes.

    Args:
        root: the set's folder.
        scenes, masks, references: their folders; without references a scene's own object is one.

    Raises:
        ValueError: a folder cannot be listed.
    """
    kinds = {"scene": (scenes, "_GT"), "mask": (masks, "_mask"), "reference": (references, "_ref")}
    found = {
        kind: {
            path.stem.removesuffix(end): below(root, path)
            for path in files(root / folder)
            if path.stem.endswith(end)
        }
        for kind, (folder, end) in kinds.items()
        if folder is not None and (root / folder).is_dir()
    }
    for number, some in chunks(list(found["scene"]), SCENES):
        own = {name: {kind: names.get(name, "") for kind, names in found.items()} for name in some}
        sources = [place for places in own.values() for place in places.values() if place]
        yield Part(f"{scenes}.{number:05}", tuple(sources), {"scenes": own})


def views(root: Path, part: Part) -> Iterator[View]:
    """The object's picture as a reference, all of it but its rim; the scene with its box."""
    for name, places in part.content["scenes"].items():
        apart = "reference" in places
        if apart:
            yield _whole(root, View(name, "object", places["reference"] or name, 0, 2,
                                    role="reference"))  # fmt: skip
        role: Role = "scene" if apart else "both"
        scene = View(name, "object", places["scene"], int(apart), 1 + apart, role=role)
        if places.get("mask"):
            yield mask_view(scene, root / places["mask"])
        else:
            yield without_mask(scene, UnusablePair("no mask"))


def _whole(root: Path, view: View) -> View:
    """The view with all of its picture marked but the outermost pixels: it has no other mask."""
    try:
        header = read_header(root / view.image)
    except (InputError, FileNotFoundError) as error:
        return without_mask(view, UnusablePair("unreadable picture", str(error)))
    mask = np.zeros((header.height, header.width), np.bool_)
    mask[1:-1, 1:-1] = True
    return with_mask(view, mask)
