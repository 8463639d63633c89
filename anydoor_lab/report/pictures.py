"""Pictures of results one by one, and grids of them by variant and pair (Figures 5 to 9)."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from anydoor_lab.pipeline.results import Result
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.scores import result_row
from anydoor_lab.report.sheets import Cell, grid, outlined
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image, resized, write_image
from anydoor_lab.structures.pair import Pair

PICTURES = "results"
"""Where a run's folder has the pictures of its first results."""
PARTS = ("reference", "scene", "collage", "result", "truth")
"""What is kept of each: as the columns of a run's grid."""
WIDEST, STANDING_PAIRS = 12, 2
"""More variants than these stand below each other, with so many pairs beside each other."""


def save_pictures(results: Sequence[Result], folder: Path) -> Path:
    """Write `<number>_<part>.png` of each result into `folder`; the folder.

    Result and truth are cut out of the finished scenes alike, whichever method made them.

    Raises:
        FileError: it cannot be written.
    """
    for number, result in enumerate(results):
        reference, scene, collage, *_ = result_row(result)
        cuts = [cut_out(picture, result.pair) for picture in (result.scene, result.pair.scene)]
        for part, shown in zip(PARTS, (reference, scene, collage, *cuts), strict=True):
            write_image(folder / f"{number:02d}_{part}.png", _plain(shown))
    return folder


def cut_out(scene: np.ndarray, pair: Pair) -> np.ndarray:
    """The part of a scene (H, W, 3) around the place that the pair asks for, square where the scene
    has room."""
    height, width = scene.shape[:2]
    box = Box.around(pair.scene_mask).grown(1.5, height, width).squared(height, width)
    return np.ascontiguousarray(scene[box.slices])


def picture_rows(run: Path, variant: str) -> list[dict[str, Any]]:
    """The kept results of a run as rows: variant, pair, and a picture (H, W, 3) for each part."""
    folder = run / PICTURES
    numbers = sorted(path.name.split("_")[0] for path in folder.glob("*_result.png"))
    return [
        {"variant": variant, "pair": int(number)}
        | {part: read_image(folder / f"{number}_{part}.png") for part in PARTS}
        for number in numbers
    ]


def _plain(shown: np.ndarray | Cell) -> np.ndarray:
    if not isinstance(shown, Cell):
        return shown
    return shown.image if shown.mask is None else outlined(shown.image, shown.mask)


def picture_grid(
    runs: Mapping[str, Path],
    caption: Caption,
    absent: Collection[str] = (),
    most: int = 6,
    side_px: int = 128,
) -> Figure:
    """A row for each pair: reference, scene with region, each variant's result, the true scene; of
    more variants than `WIDEST` a column for each pair.

    Args:
        runs: a variant's name to the folder of its run.
        caption: stands below.
        absent: variants without a run, named there.
        most: pairs.
        side_px: of a picture.

    Raises:
        ValueError: no variant has pictures.
    """
    folders = [place / PICTURES for place in runs.values()]
    numbers = sorted({int(path.name[:2]) for f in folders for path in f.glob("*_result.png")})
    if not numbers:
        raise InputError(
            "none of the runs has pictures of its results; run them with eval.num_shown"
        )
    first = next(folder for folder in folders if any(folder.glob("*_result.png")))
    stands = len(runs) > WIDEST
    rows = []
    for number in numbers[: STANDING_PAIRS if stands else most]:
        shown = (first / f"{number:02d}_{part}.png" for part in ("reference", "scene"))
        row = [_fitted(path, side_px) for path in shown]
        row += [_result(folder, number, side_px) for folder in folders]
        rows.append([*row, _fitted(first / f"{number:02d}_truth.png", side_px)])
    lacking = f" Without results: {', '.join(absent)}; the table says why." if absent else ""
    title, names = f"{caption}{lacking}", ["reference", "scene + region", *runs, "true scene"]
    if stands:
        return grid(list(zip(*rows, strict=True)), captions=names, title=title, side_px=side_px)
    headers = [re.sub("[ =]", "\n", name) if name in runs else name for name in names]
    return grid(rows, headers, title=title, side_px=side_px)


def _result(folder: Path, number: int, side_px: int) -> np.ndarray:
    """A run's picture of a pair; grey where it has none."""
    path = folder / f"{number:02d}_result.png"
    return _fitted(path, side_px) if path.is_file() else np.full((side_px, side_px, 3), 235, "u1")


def _fitted(path: Path, side_px: int) -> np.ndarray:
    image = read_image(path)
    factor = side_px / max(image.shape[:2])
    if factor == round(factor):
        return image  # the sheet enlarges it pixel by pixel
    height, width = (max(1, round(side * factor)) for side in image.shape[:2])
    return resized(image, height, width)
