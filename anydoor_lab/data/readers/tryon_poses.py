"""FashionTryOn: a garment, and pictures of people who wear it in several poses.

`<id>/target.jpg` with `<id>/mask.jpg`, and `<id>/<pose>.jpg` with `<id>/<pose>/segment.png`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from anydoor_lab.data.index.views import Part, View, with_mask, without_mask
from anydoor_lab.data.readers.places import below, chunks, files, folders
from anydoor_lab.data.readers.side_by_side import mask_view
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import DAMAGES

REQUIRED = ("images",)
GARMENTS = 200
"""Garments a part."""


def parts(root: Path, *, images: str, worn: int = 7, eroded: int = 3) -> Iterator[Part]:
    """One part for every `GARMENTS` garments.

    Args:
        root: the set's folder.
        images: the folder with a sub-folder for each garment.
        worn: the value of a segment picture's first channel that is the garment.
        eroded: how often its mask is eroded by 3x3, as the released code does: it is loose.

    Raises:
        ValueError: a folder cannot be listed.
    """
    for number, some in chunks(folders(root / images), GARMENTS):
        sources = []
        for folder in some:
            pictures = files(folder)
            poses = [folder / path.stem / "segment.png" for path in pictures]
            sources += [below(root, path) for path in (*pictures, *poses)]
        garments = [below(root, folder) for folder in some]
        content = {"garments": garments, "worn": worn, "eroded": eroded}
        yield Part(f"{images}.{number:05}", tuple(sources), content)


def views(root: Path, part: Part) -> Iterator[View]:
    """The garment as a reference, then its poses as scenes."""
    for name in part.content["garments"]:
        folder = root / name
        poses = [path for path in files(folder) if path.stem not in ("target", "mask")]
        frames = 1 + len(poses)
        target = View(folder.name, "garment", f"{name}/target.jpg", 0, frames, role="reference")
        yield mask_view(target, folder / "mask.jpg")
        for place, path in enumerate(poses, 1):
            view = View(folder.name, "garment", below(root, path), place, frames, role="scene")
            try:
                mask = _worn(folder / path.stem / "segment.png", part.content["worn"])
            except UnusablePair as error:
                yield without_mask(view, error)
                continue
            kernel = np.ones((3, 3), np.uint8)
            yield with_mask(
                view, cv2.erode(mask, kernel, iterations=part.content["eroded"]).astype(np.bool_)
            )


def _worn(path: Path, number: int) -> np.ndarray:
    """(H, W) uint8, 1 where the first channel of a picture is `number`."""
    try:
        with opened(path) as picture:
            values = np.asarray(picture)
    except FileNotFoundError as error:
        raise UnusablePair("no mask", str(error)) from error
    except (InputError, *DAMAGES) as error:
        raise UnusablePair("unreadable mask", f"{path}: {error}") from error
    return ((values if values.ndim == 2 else values[..., 0]) == number).astype(np.uint8)
