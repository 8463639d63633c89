"""Every subject in every scene: the paper's benchmark of 30 concepts and 80 scenes (Sec. 4.1).

The authors' list of scenes is not published; `chosen_scenes` writes one down by a rule.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anydoor_lab.data.readers.coco import file_name
from anydoor_lab.data.readers.places import (
    folders,
    hashable,
    inside,
    listed,
    photos,
    read_json,
)
from anydoor_lab.data.readers.subjects import cut
from anydoor_lab.data.source import Counts, Split
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import read_header, read_image, read_mask, read_rgba
from anydoor_lab.structures.pair import Pair

COLUMNS = ("scene", "y1", "x1", "y2", "x2")
"""Of a manifest: a scene's file name below the scenes' folder, and the box, pixels, half-open."""
AREA = (0.05, 0.25)
ASPECT = 2.0
RIM = 0.05
SMALLEST_PX = 400


class CrossedPairs:
    """A `PairSource` for scoring alone: the first photo of each subject in each scene of a list.

    Scenes do not show the subject, so there is no true second view.

    Args:
        references: a folder with one folder of photos for each subject (DreamBooth's `dataset`);
            the object is marked by alpha or by a mask beside the photo, else cut by GrabCut.
        scenes: the folder the scenes' names begin in (COCO's `val2017`).
        manifest: a CSV with `COLUMNS`; where it is missing it is written by `chosen_scenes`.
        instances: COCO's `instances_val2017.json`, for that.
        num_scenes: how many scenes are chosen.
        split, seed: every source takes them; nothing is trained on, so they change nothing.

    Attributes:
        counts: pairs.
        truth: False, a scene shows another object.

    Raises:
        ValueError: no subject, no manifest and nothing to make it from, a manifest with an unknown
            column, a missing picture, or a box outside its picture.
    """

    truth = False

    def __init__(
        self,
        references: str | Path,
        scenes: str | Path,
        manifest: str | Path,
        *,
        instances: str | Path | None = None,
        num_scenes: int = 80,
        split: Split = "held_out",
        seed: int = 0,
    ) -> None:
        del split, seed
        self.folder = Path(scenes)
        self.subjects = [(f.name, found) for f in folders(Path(references)) if (found := photos(f))]
        if not self.subjects:
            raise InputError(f"{references} has no folder of photos; give DreamBooth's dataset/")
        if not Path(manifest).is_file():
            if instances is None:
                wanted = "give data.instances=.../instances_val2017.json and it is written"
                raise InputError(f"{manifest} is not there; {wanted}, or give your own list")
            table = chosen_scenes(Path(instances), num_scenes)
            write_whole(manifest, table.to_csv(index=False, lineterminator="\n"))
        self.places = list(_listed(Path(manifest), self.folder))
        self.counts = Counts(len(self))

    def __len__(self) -> int:
        """Subjects times scenes."""
        return len(self.subjects) * len(self.places)

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The subject and scene of entry `index`; subjects follow each other, nothing is drawn."""
        del rng
        name, (photo, *_) = self.subjects[index % len(self.subjects)]
        scene, box = self.places[index // len(self.subjects)]
        reference, mask = _subject(photo)
        picture = _scene(scene)
        region = box.mask(*picture.shape[:2])
        origin = f"{name} in {scene.name}"
        return Pair(reference, mask, picture, region, "multiview", "high", origin, name)

    def photos_of(self, pair: Pair) -> list[Pair]:
        """A pair of this source with each photo of its subject as the reference (`reference=all`:
        DreamBooth's mean over pairs of generated and real images)."""
        views = [_subject(photo) for photo in dict(self.subjects)[pair.subject]]
        return [replace(pair, reference=image, reference_mask=mask) for image, mask in views]


def chosen_scenes(instances: Path, number: int = 80) -> pd.DataFrame:
    """A manifest of `number` scenes and boxes, the same for everybody who has the same JSON.

    Of each picture of at least 400 px a side the largest object that is no crowd, covers 5 to 25 %
    of the picture by its box, is at most twice as long as it is wide (or the other way round) and
    keeps 5 % of the side away from each rim. Of these pictures those come first whose SHA-256 of
    "dreambooth_coco <image id>" is smallest.

    Raises:
        ValueError: the JSON is not whole, or has too few such pictures.
    """
    table = read_json(instances)
    pictures = {hashable(one.get("id")): one for one in listed(table, "images", instances)}
    best: dict[Any, tuple[float, Box]] = {}
    for item in listed(table, "annotations", instances):
        key = hashable(item.get("image_id"))
        box = _placeable(item, pictures.get(key))
        if box is not None and box.height * box.width > best.get(key, (0.0,))[0]:
            best[key] = (box.height * box.width, box)
    if len(best) < number:
        raise InputError(
            f"{instances} has {len(best)} pictures fit for a scene; asked for {number}"
        )
    rows = [
        (file_name(pictures[key]), box.y1, box.x1, box.y2, box.x2)
        for key, (_, box) in sorted(best.items(), key=lambda entry: _order(entry[0]))[:number]
    ]
    return pd.DataFrame(rows, columns=list(COLUMNS))


def _order(key: Any) -> str:
    return hashlib.sha256(f"dreambooth_coco {key}".encode()).hexdigest()


def _placeable(item: dict[str, Any], picture: dict[str, Any] | None) -> Box | None:
    """The box of an annotation that makes a place; None for another one."""
    sides = item.get("bbox")
    if picture is None or item.get("iscrowd") or not isinstance(sides, Sequence) or len(sides) != 4:
        return None
    height, width = int(picture.get("height") or 0), int(picture.get("width") or 0)
    x, y, wide, high = (float(side) for side in sides)
    if min(height, width) < SMALLEST_PX or wide < 1 or high < 1:
        return None
    share = wide * high / (width * height)
    near = min(x / width, 1 - (x + wide) / width, y / height, 1 - (y + high) / height)
    if not AREA[0] <= share <= AREA[1] or not 1 / ASPECT <= wide / high <= ASPECT or near < RIM:
        return None
    return Box(y1=round(y), y2=round(y + high), x1=round(x), x2=round(x + wide))


def manifest_rows(manifest: Path, columns: Sequence[str]) -> list[dict[Any, Any]]:
    """The rows of a CSV that has these columns.

    Raises:
        ValueError: it cannot be read, lacks a column, or has no row.
    """
    try:
        table = pd.read_csv(manifest)
    except (OSError, ValueError) as error:
        raise InputError(f"{manifest} cannot be read as CSV ({error})") from error
    lacking = [column for column in columns if column not in table]
    if lacking or table.empty:
        seen = f"has no column {lacking[0]}" if lacking else "has no row"
        raise InputError(f"{manifest} {seen}; expected {', '.join(columns)}")
    return table.to_dict("records")


def _listed(manifest: Path, scenes: Path) -> Iterator[tuple[Path, Box]]:
    """The scenes and boxes of a manifest, each box checked against its picture."""
    for line, row in enumerate(manifest_rows(manifest, COLUMNS), 2):
        where = f"{manifest} line {line}"
        path = inside(scenes, row["scene"], where)
        if not path.is_file():
            raise InputError(f"{where}: {path} is not there")
        try:
            y1, x1, y2, x2 = (int(row[side]) for side in COLUMNS[1:])
            box = Box(y1=y1, y2=y2, x1=x1, x2=x2)
        except ValueError as error:
            raise InputError(f"{where}: {error}") from error
        header = read_header(path)
        if min(y1, x1) < 0 or y2 > header.height or x2 > header.width:
            seen = f"the box [{y1}, {x1}, {y2}, {x2}] is not inside {path.name}"
            raise InputError(f"{where}: {seen} of {header.height}x{header.width}")
        yield path, box


@lru_cache(maxsize=100)
def _scene(path: Path) -> np.ndarray:
    """The picture, which all subjects share."""
    return read_image(path)


@lru_cache(maxsize=256)
def _subject(photo: Path) -> tuple[np.ndarray, np.ndarray]:
    """(H, W, 3) uint8 and where the object is in it, (H, W) bool."""
    name = photo.stem
    beside = [photo.with_name(f"{name}_mask.png"), photo.parent / "masks" / f"{name}.png"]
    mask = next((path for path in beside if path.is_file()), None)
    if mask is not None:
        return read_image(photo), read_mask(mask)
    if read_header(photo).alpha:
        rgba = read_rgba(photo)
        return rgba[..., :3].copy(), rgba[..., 3] > 128
    return read_image(photo), cut(photo)
