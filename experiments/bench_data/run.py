"""What reading data costs: samples a second and core, and the start on an index of 1,000,000 rows.

A video set of photographs with drawn masks is written in the layout of MOSE and indexed. Ours is
what training runs; beside it what the released code does for the same two views, at the pictures'
own size (straightforward.py): python experiments/bench_data/run.py
"""

from __future__ import annotations

import argparse
import cProfile
import pstats
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
from PIL import Image
from start import measured_start
from straightforward import Straightforward
from tabulate import tabulate

from anydoor_lab import Conditioner, IndexedPairs, compose_config
from anydoor_lab.config.compose import plain
from anydoor_lab.data.index.build import index_part
from anydoor_lab.data.index.layouts import Release, specs_of
from anydoor_lab.data.index.merge import write_index
from anydoor_lab.structures.files import write_whole
from anydoor_lab.training.samples import PairStream

SIZES = ((480, 640), (720, 1280), (1080, 1920))
RESOLUTION, VIDEOS, FRAMES = 512, 16, 4
PHOTOS = ("astronaut", "chelsea", "coffee", "rocket")
GPU_NEEDS, WORKERS = 120, 8
RADII = (0.05, 0.4)
"""Of the objects, as shares of the picture's height: as the released code's filters allow."""


def main() -> None:
    """Print the tables and write them beside this file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--fast", action="store_true", help="few samples, an index of 20,000 rows")
    parser.add_argument("--profile", action="store_true", help="where our time goes, at 720x1280")
    parser.add_argument("--out", type=Path, default=Path(__file__).with_name("table.md"))
    asked = parser.parse_args()
    cv2.setNumThreads(0)
    with tempfile.TemporaryDirectory() as folder:
        if asked.profile:
            profile(Path(folder))
            return
        rows = [speed(Path(folder) / f"{h}", (h, w), asked.fast) for h, w in SIZES]
        start = measured_start(Path(folder) / "large", 20_000 if asked.fast else 1_000_000)
    heads = ("picture", "ours", "full size", "ratio", "full size, masks unperturbed", "ratio ")
    shown = tabulate(
        rows, heads, tablefmt="github", floatfmt=(".0f", ".1f", ".2f", ".1f", ".2f", ".1f")
    )
    lines = [f"Samples a second of one core's time, at {RESOLUTION} px:", "", shown, ""]
    rate = rows[1][1] * WORKERS
    lines += [f"{WORKERS} workers at 720x1280, calculated: {rate:.0f} pairs/s (of {GPU_NEEDS})", ""]
    table = "\n".join([*lines, *start])
    print(table)
    print(f"table    {write_whole(asked.out, table + chr(10))}")


def speed(folder: Path, size: tuple[int, int], fast: bool) -> tuple[str, *tuple[float, ...]]:
    """Name of a size, samples a second and core of ours and of the other two, and the ratios."""
    source = video_set(folder, size)
    stream = PairStream(source, Conditioner(resolution=RESOLUTION, as_bytes=True))
    released, still = Straightforward(source, RESOLUTION), Straightforward(source, RESOLUTION, 0)
    works: dict[str, Callable[[int], object]] = {
        "ours": stream.__getitem__, "released": released.sample, "still": still.sample,
    }  # fmt: skip
    seconds = dict.fromkeys(works, 0.0)
    done = dict.fromkeys(works, 0)
    stream[0]
    for turn in range(2 if fast else 8):  # by turns: what else the machine does hits all alike
        for name, work in works.items():
            first, number = turn * 10, 10 if name == "ours" else 2 if fast else 4
            begun = time.process_time()
            for index in range(first, first + number):
                work(index)
            seconds[name] += time.process_time() - begun
            done[name] += number
    ours, full, unmoved = (done[name] / seconds[name] for name in works)
    return f"{size[0]}x{size[1]}", ours, full, ours / full, unmoved, ours / unmoved


def video_set(root: Path, size: tuple[int, int]) -> IndexedPairs:
    """Photographs tiled to a size, moving, with ellipses as objects; written and indexed."""
    from skimage import data

    height, width = size
    photos = [getattr(data, name)()[..., :3] for name in PHOTOS]
    rng = np.random.default_rng(0)
    for video in range(VIDEOS):
        photo = photos[video % len(photos)]
        tiled = np.tile(photo, (2 + height // photo.shape[0], 2 + width // photo.shape[1], 1))
        radii = rng.uniform(*RADII) * height * rng.uniform(0.8, 1.25, 2)
        centre = rng.uniform(0.4, 0.6, 2) * (width, height)
        for frame in range(FRAMES):
            shift = 12 * frame
            image = np.ascontiguousarray(tiled[shift : shift + height, shift : shift + width])
            mask = np.zeros(size, np.uint8)
            place = tuple(int(c) + shift for c in centre)
            cv2.ellipse(mask, place, tuple(int(r) for r in radii), 10 * frame, 0, 360, 1, -1)
            kinds = {"JPEGImages": "jpg", "Annotations": "png"}
            names = [root / f"train/{k}/{video:03d}/{frame:05d}.{e}" for k, e in kinds.items()]
            for path in names:
                path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(names[0], quality=90)
            Image.fromarray(mask, "L").save(names[1])
    cfg = plain(compose_config("index", "data=mose", f"data.root={root}").data)
    folder = root / "index"
    parts = [index_part(s) for s in specs_of("mose", root, Release(**cfg["release"]), folder)]
    write_index(folder, parts)
    return IndexedPairs("mose", root, index=folder, held_out=0.0, needed_px=RESOLUTION,
                        limits={"max_scene_box": 1.0})  # fmt: skip


def profile(folder: Path) -> None:
    """Print the dearest functions of 60 samples."""
    source = video_set(folder, SIZES[1])
    stream = PairStream(source, Conditioner(resolution=RESOLUTION, as_bytes=True))
    stream[0]
    with cProfile.Profile(time.process_time) as seen:
        for index in range(60):
            stream[index]
    pstats.Stats(seen).sort_stats("tottime").print_stats(28)


if __name__ == "__main__":
    main()
