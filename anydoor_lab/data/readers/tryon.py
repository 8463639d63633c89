"""VITON-HD: a garment as it lies flat, and a person who wears it; both under one name."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from anydoor_lab.data.index.views import Part, View, with_mask, without_mask
from anydoor_lab.data.readers.palette_video import read_numbers
from anydoor_lab.data.readers.places import below, by_stem, chunks, composed, files, inside
from anydoor_lab.data.readers.side_by_side import mask_view
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small

REQUIRED = ("people", "garments", "garment_masks", "parses")
PAIRS = 500
"""Pairs a part."""
UPPER, DRESS, COAT = 5, 6, 7
"""What the released parses call what is worn above (the numbers of LIP)."""


def parts(
    root: Path,
    *,
    people: str,
    garments: str,
    garment_masks: str,
    parses: str,
    pairs: str | None = None,
    worn: Sequence[int] = (UPPER, DRESS, COAT),
) -> Iterator[Part]:
    """One part for every `PAIRS` people.

    Args:
        root: the set's folder.
        people, garments, garment_masks, parses: their folders.
        pairs: a text file whose lines begin with a person's file; null: every person there is.
        worn: numbers of the parse that are the garment.

    Raises:
        ValueError: a folder or the list cannot be read.
    """
    found = {
        "people": by_stem(files(root / people)),
        "garments": by_stem(files(root / garments)),
        "garment_masks": by_stem(files(root / garment_masks)),
        "parses": by_stem(files(root / parses)),
    }
    told = _listed(root, people, pairs) if pairs and (root / pairs).is_file() else None
    names = told if told is not None else list(found["people"])
    content = {"worn": [int(number) for number in worn]}
    for number, some in chunks(names, PAIRS):
        own = {
            name: {kind: below(root, paths[name]) for kind, paths in found.items() if name in paths}
            for name in some
        }
        sources = [place for places in own.values() for place in places.values()]
        yield Part(f"{people}.{number:05}", tuple(sources), {**content, "pairs": own})


def _listed(root: Path, people: str, pairs: str) -> list[str]:
    """The people a list names, by their names without ending."""
    names = []
    for line in read_small(root / pairs).splitlines():
        if line.split():
            first = line.split()[0]
            try:
                inside(root / people, first, pairs)
            except UnusablePair as error:
                raise InputError(str(error)) from error
            names.append(composed(Path(first).stem))
    return list(dict.fromkeys(names))


def views(root: Path, part: Part) -> Iterator[View]:
    """The garment as a reference, the person who wears it as a scene."""
    for name, places in part.content["pairs"].items():
        flat = View(name, "garment", places.get("garments", name), 0, 2, role="reference")
        worn = View(name, "garment", places.get("people", name), 1, 2, role="scene")
        for view, picture, mask in (
            (flat, "garments", "garment_masks"),
            (worn, "people", "parses"),
        ):
            if picture not in places:
                yield without_mask(view, UnusablePair("missing picture", picture))
            elif mask not in places:
                yield without_mask(view, UnusablePair("no mask", mask))
            elif view is flat:
                yield mask_view(view, root / places[mask])
            else:
                yield _worn(view, root / places[mask], part.content["worn"])


def _worn(view: View, path: Path, numbers: Sequence[int]) -> View:
    try:
        mask = np.isin(read_numbers(path), numbers)
        if not mask.any():
            seen = f"none of the numbers {', '.join(map(str, numbers))} in {path.name}"
            raise UnusablePair("nothing worn above", seen)
        return with_mask(view, mask)
    except UnusablePair as error:
        return without_mask(view, error)
