"""Build the pictures of `anydoor_lab/data/things/assets` out of unpacked packages.

python experiments/things_assets/build.py --source FOLDER [--out FOLDER]
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from families import is_toned, plain_code, table
from PIL import Image
from scenes import HELD_OUT, SIDE_PX, crops, photos

CELL_PX, MARGIN_PX, PER_ROW = 128, 2, 16
OBJECTS, CLIPS = "@lobehub/fluent-emoji-3d", "@lobehub/fluent-emoji-anim-1 to -4"
CLIP_FRAMES, CLIPS_OF_PEOPLE, CLIPS_OF_FACES = 6, 40, 25
MOTION, LARGEST_CHANGE = (0.07, 0.34), 0.3
QUALITY = {"objects": 82, "clips": 76, "scenes": 80}
PACKAGES: dict[str, dict[str, str]] = {
    OBJECTS: {"version": "1.1.0", "licence": "MIT", "author": "LobeHub; Microsoft (Fluent Emoji)"},
    CLIPS: {"version": "1.0.0", "licence": "MIT", "author": "LobeHub; Microsoft (Fluent Emoji)"},
    "emojibase-data": {"version": "17.0.0", "licence": "MIT", "author": "Miles Johnson; Unicode"},
    "@pmndrs/assets": {"version": "1.7.0", "licence": "CC0-1.0", "author": "Antoine Bernier"},
    "blender-data": {"version": "3.4.1+dfsg-2", "licence": "CC0-1.0", "author": "Greg Zaal"},
    "lomiri-wallpapers-16.04": {
        "version": "20.04.0-2",
        "licence": "per file",
        "author": "per file",
    },
    "scikit-image": {"version": "0.26", "licence": "per file", "author": "per file"},
    "scikit-learn": {"version": "1.9.1", "licence": "per file", "author": "per file"},
}
"""Licences are those the packages' own files state: `license` of package.json, the copyright
file of a Debian package, the docstrings and README of the two wheels."""


def main() -> None:
    """Write the sheets and the index."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--out", type=Path, default=Path("anydoor_lab/data/things/assets"))
    chosen = parser.parse_args()
    facts = table(chosen.source / "emojibase-data")
    chosen.out.mkdir(parents=True, exist_ok=True)
    for old in chosen.out.glob("*.webp"):
        old.unlink()
    index: dict[str, Any] = {"packages": PACKAGES}
    index["objects"], cells = still_objects(chosen.source, facts)
    write_sheets(chosen.out, "objects", cells)
    index["clips"], cells = clips(chosen.source, facts)
    write_sheets(chosen.out, "clips", cells)
    index["photos"], index["scenes"], cells = scenes(chosen.source)
    write_sheets(chosen.out, "scenes", cells)
    (chosen.out / "index.json").write_text(dumped(index), "utf-8")
    size = sum(path.stat().st_size for path in chosen.out.iterdir())
    print({name: len(value) for name, value in index.items()}, f"{size / 2**20:.2f} MiB")


def still_objects(source: Path, facts: dict[str, Any]) -> tuple[list[Any], list[np.ndarray]]:
    """Entries and (128, 128, 4) uint8 cells of all renderings without flags and skin tones."""
    entries, cells = [], []
    for path in sorted((source / "lobehub-fluent-emoji-3d" / "assets").glob("*.webp")):
        known = facts.get(plain_code(path.stem))
        if known is None or is_toned(path.stem):
            continue
        rgba = np.array(Image.open(path).convert("RGBA"))
        entries.append({"code": path.stem, **known, "package": OBJECTS})
        cells.append(cell(rgba, around([rgba])))
    return entries, cells


def clips(source: Path, facts: dict[str, Any]) -> tuple[list[Any], list[np.ndarray]]:
    """Entries and cells of the moving ones, `CLIP_FRAMES` cells each, evenly over the loop."""
    measured = []
    for path in sorted(source.glob("lobehub-fluent-emoji-anim-?/assets/*.webp")):
        known = facts.get(plain_code(path.stem))
        if known is not None and not is_toned(path.stem):
            frames = moving(path)
            if frames is not None:
                measured.append((path.stem, known, frames))
    entries, cells = [], []
    for code, known, frames in thinned(measured):
        box = around(frames)
        entries.append({"code": code, **known, "frames": len(frames), "package": CLIPS})
        cells += [cell(frame, box) for frame in frames]
    return entries, cells


def moving(path: Path) -> list[np.ndarray] | None:
    """The frames of a file; None where nothing, or too much, moves."""
    with Image.open(path) as opened:
        if opened.n_frames < 2 * CLIP_FRAMES:
            return None
        frames = []
        for number in range(CLIP_FRAMES):
            opened.seek(number * opened.n_frames // CLIP_FRAMES)
            frames.append(np.array(opened.convert("RGBA")))
    lit = np.stack([cv2.resize(frame, (64, 64), interpolation=cv2.INTER_AREA) for frame in frames])
    shown = lit[..., :3] * (lit[..., 3:] / 255)
    areas = (lit[..., 3] > 127).mean(axis=(1, 2))
    motion = max(np.abs(frame - shown[0]).mean() for frame in shown[1:])
    motion /= 255 * lit[..., 3].max(axis=0).mean() / 255
    steady = areas.min() > 0.08 and areas.max() - areas.min() < LARGEST_CHANGE * areas.max()
    return frames if MOTION[0] < motion < MOTION[1] and steady else None


def thinned(measured: Sequence[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """Of people one clip a family and few in all, of faces few: the rest stays."""
    limits = {"people-body": CLIPS_OF_PEOPLE, "smileys-emotion": CLIPS_OF_FACES}
    order = np.random.default_rng(0).permutation(len(measured))
    families: set[str] = set()
    kept = []
    for place in order.tolist():
        _, known, _ = measured[place]
        group = known["group"]
        if group in limits:
            if limits[group] == 0 or (group == "people-body" and known["family"] in families):
                continue
            limits[group] -= 1
        families.add(known["family"])
        kept.append(place)
    return [measured[place] for place in sorted(kept)]


def scenes(source: Path) -> tuple[dict[str, Any], list[Any], list[np.ndarray]]:
    """The photographs' licences, and entries and (256, 256, 3) cells of their crops."""
    described: dict[str, Any] = {}
    entries, cells = [], []
    for number, photo in enumerate(photos(source)):
        described[photo.name] = {
            "licence": photo.licence, "author": photo.author, "package": photo.package,
            "changed": "cropped" + (", projected and tone-mapped" if photo.field else ", resized"),
        }  # fmt: skip
        split = "held_out" if photo.name in HELD_OUT else "train"
        for crop in crops(photo, np.random.default_rng(number)):
            entries.append({"photo": photo.name, "split": split})
            cells.append(crop)
    return described, entries, cells


def around(frames: Sequence[np.ndarray]) -> tuple[slice, slice]:
    """The box of all that is visible in any frame."""
    visible = np.max([frame[..., 3] for frame in frames], axis=0) > 12
    rows, columns = np.flatnonzero(visible.any(axis=1)), np.flatnonzero(visible.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def cell(rgba: np.ndarray, box: tuple[slice, slice]) -> np.ndarray:
    """(128, 128, 4) uint8: the box with its longer side over the cell but for the margin."""
    cut = Image.fromarray(rgba[box])
    factor = (CELL_PX - 2 * MARGIN_PX) / max(cut.size)
    size = tuple(max(1, round(side * factor)) for side in cut.size)
    small = cut.resize(size, Image.Resampling.BOX if factor < 0.5 else Image.Resampling.BICUBIC)
    canvas = Image.new("RGBA", (CELL_PX, CELL_PX))
    canvas.paste(small, ((CELL_PX - size[0]) // 2, (CELL_PX - size[1]) // 2))
    return np.array(canvas)


def write_sheets(out: Path, kind: str, cells: Sequence[np.ndarray]) -> None:
    """Cells as webp sheets of equal width, `kind_00.webp` and on."""
    per_row = PER_ROW if kind != "scenes" else PER_ROW * CELL_PX // SIDE_PX
    for number, first in enumerate(range(0, len(cells), per_row**2)):
        part = list(cells[first : first + per_row**2])
        part += [np.zeros_like(part[0])] * (-len(part) % per_row)
        rows = [np.concatenate(part[i : i + per_row], axis=1) for i in range(0, len(part), per_row)]
        picture = Image.fromarray(np.concatenate(rows))
        picture.save(out / f"{kind}_{number:02d}.webp", quality=QUALITY[kind], method=6,
                     alpha_quality=90)  # fmt: skip


def dumped(index: dict[str, Any]) -> str:
    """The index with one entry a line."""
    lines = []
    for name, value in index.items():
        if isinstance(value, list):
            rows = ",\n".join("  " + json.dumps(row, ensure_ascii=False) for row in value)
            lines.append(f"{json.dumps(name)}: [\n{rows}\n]")
        else:
            rows = ",\n".join(
                f"  {json.dumps(key)}: {json.dumps(row, ensure_ascii=False)}"
                for key, row in value.items()
            )
            lines.append(f"{json.dumps(name)}: {{\n{rows}\n}}")
    return "{\n" + ",\n".join(lines) + "\n}\n"


if __name__ == "__main__":
    main()
