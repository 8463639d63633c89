"""How long a training waits for its first batch on a large index, and what its workers hold."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np

WORKERS, RLE_BYTES, FRAMES, SIDE = 2, 200, 20, 480


def measured_start(folder: Path, rows: int) -> list[str]:
    """The lines of a report about a generated index, measured in a process of its own."""
    write_large_index(folder, rows)
    call = [sys.executable, str(Path(__file__).resolve()), str(folder)]
    said = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    return [f"An index of {rows:,} rows (generated):", "", *said.splitlines()]


def write_large_index(folder: Path, rows: int) -> None:
    """An index whose views all show one picture."""
    import pyarrow as pa
    import pyarrow.parquet as pq
    from rlemasklib import RLEMask

    from anydoor_lab.data.index.merge import write_index
    from anydoor_lab.data.index.schema import schema

    (folder / "parts").mkdir(parents=True)
    image = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE, 3), np.uint8)
    cv2.imwrite(str(folder / "one.jpg"), image)
    mask = np.zeros((SIDE, SIDE), np.uint8)
    cv2.ellipse(mask, (240, 240), (100, 80), 30, 0, 360, 1, -1)
    rle = bytes(RLEMask.from_array(mask).to_dict()["counts"])
    numbers = np.arange(rows)
    same = {
        "set": "large", "split": "train", "kind": "palette_video", "category": "thing",
        "image": "one.jpg", "height": SIDE, "width": SIDE, "y1": 140, "y2": 340, "x1": 140,
        "x2": 340, "area": 0.11, "component": 1.0, "rle": rle, "role": "both", "licence": "none",
        "frames": FRAMES,
    }  # fmt: skip
    columns: dict[str, object] = {name: [value] * rows for name, value in same.items()}
    columns["group"] = [f"{n:07d}" for n in numbers // FRAMES]
    columns["object"], columns["frame"] = ["1"] * rows, numbers % FRAMES
    empty = [None] * rows
    filled = {
        field.name: pa.array(columns.get(field.name, empty), field.type) for field in schema()
    }
    table = pa.table(filled, schema=schema().with_metadata({"sources": "generated"}))
    pq.write_table(table, folder / "parts/one.parquet", compression="zstd")
    write_index(folder, [folder / "parts/one.parquet"])


def private_mb(pid: int | str) -> float:
    """Memory that a process shares with no other, MB."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return sum(int(n) for n in re.findall(r"Private_\w+:\s+(\d+) kB", text)) / 1024


def main(folder: Path) -> None:
    """Print what a training on the index in `folder` waits for."""
    from torch.utils.data import DataLoader

    from anydoor_lab.conditioning.conditioner import Conditioner
    from anydoor_lab.data.pairs import IndexedPairs
    from anydoor_lab.training.batches import FitSettings, Plan
    from anydoor_lab.training.samples import PairStream

    before, begun, own = private_mb("self"), time.perf_counter(), time.process_time()
    source = IndexedPairs("large", folder, index=folder)
    opened, taken = time.perf_counter() - begun, private_mb("self") - before
    own = time.process_time() - own
    stream = PairStream(source, Conditioner(resolution=512, as_bytes=True))
    plan = Plan(FitSettings(steps=40, batch_size=4), 0, 0, 1)
    loader = iter(DataLoader(stream, batch_sampler=plan, num_workers=WORKERS,
                             multiprocessing_context="fork"))  # fmt: skip
    next(loader)
    first = time.perf_counter() - begun
    for _ in range(8):
        next(loader)
    held = [private_mb(worker.pid) for worker in loader._workers]
    print(
        f"- {len(source):,} entries; opened in {opened:.2f} s ({own:.2f} s of the process's own "
        f"time), first batch of 4 after {first:.2f} s"
    )
    print(f"- opening it takes {taken:.0f} MB")
    print(f"- each worker holds {max(held):.0f} MB of its own")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
