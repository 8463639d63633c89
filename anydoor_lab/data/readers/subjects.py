"""DreamBooth: a folder of photos for each subject, released without masks.

A photo's mask is its own alpha (`00.png`, as the released code's references), else a file
(`00_mask.png`, `masks/00.png`), else cut out by GrabCut from the middle of the photo.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from anydoor_lab.data.index.views import Part, View, with_mask, without_mask
from anydoor_lab.data.readers.places import below, by_stem, files, folders
from anydoor_lab.data.readers.side_by_side import mask_view
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_header, read_image, resized, resized_mask

REQUIRED = ("images",)
_SIDE_PX = 400  # of the picture that GrabCut is shown
_RIM = 0.04  # of each side, taken for background


def parts(root: Path, *, images: str) -> Iterator[Part]:
    """One part for each subject.

    Args:
        root: the set's folder.
        images: the folder with a sub-folder for each subject.

    Raises:
        ValueError: a folder cannot be listed.
    """
    for folder in folders(root / images):
        photos = [path for path in files(folder) if not path.stem.endswith("_mask")]
        known = by_stem(files(folder / "masks") if (folder / "masks").is_dir() else [])
        known |= {
            path.stem.removesuffix("_mask"): path
            for path in files(folder)
            if path.stem.endswith("_mask")
        }
        pairs = [
            (below(root, photo), below(root, known[photo.stem]) if photo.stem in known else "")
            for photo in photos
        ]
        sources = [name for pair in pairs for name in pair if name]
        yield Part(folder.name, tuple(sources), {"pairs": pairs})


def views(root: Path, part: Part) -> Iterator[View]:
    """The subject in every photo."""
    pairs = part.content["pairs"]
    for place, (image, mask) in enumerate(pairs):
        view = View(part.name, "subject", image, place, len(pairs), category=part.name)
        if mask:
            yield mask_view(view, root / mask)
            continue
        try:
            alpha = read_header(root / image).alpha
            yield mask_view(view, root / image) if alpha else with_mask(view, cut(root / image))
        except (InputError, FileNotFoundError) as error:
            yield without_mask(view, UnusablePair("unreadable picture", str(error)))


def cut(path: Path) -> np.ndarray:
    """(H, W) bool: what GrabCut (Rother et al., 2004) takes for the object in a photo's middle."""
    image = read_image(path)
    height, width = image.shape[:2]
    scale = min(1.0, _SIDE_PX / max(height, width))
    small = resized(image, max(8, round(height * scale)), max(8, round(width * scale)))
    down, across = small.shape[0], small.shape[1]
    rim = max(1, round(_RIM * down)), max(1, round(_RIM * across))
    middle = Box(rim[0], down - rim[0], rim[1], across - rim[1])
    marks = np.zeros(small.shape[:2], np.uint8)
    cv2.setRNGSeed(0)
    frame = (middle.x1, middle.y1, middle.width, middle.height)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    cv2.grabCut(small, marks, frame, *models, 4, cv2.GC_INIT_WITH_RECT)
    number, labels, facts, _ = cv2.connectedComponentsWithStats((marks % 2).astype(np.uint8))
    if number < 2:
        return np.zeros((height, width), np.bool_)
    largest = 1 + int(facts[1:, cv2.CC_STAT_AREA].argmax())
    return resized_mask(labels == largest, height, width)
