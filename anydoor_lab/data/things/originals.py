"""Objects from a folder: the unpacked original sets at full size, or any pictures with alpha."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from anydoor_lab.data.things import catalogue, sheets
from anydoor_lab.data.things.catalogue import Thing
from anydoor_lab.data.world.objects import MARGIN_PX
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_rgba

STILLS, CLIPS = "fluent-emoji-3d", "fluent-emoji-anim-"
SIDE_PX = 256
"""Side of a sprite read from a folder, larger pictures are shrunk to it."""
NUM_FRAMES = 8
"""Frames kept of a clip, evenly over it."""
_ENDINGS = (".png", ".webp", ".gif", ".apng")
_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame of a file; still pictures have frame 0."""

    path: Path
    number: int = 0


def things_of(root: str | Path | None) -> tuple[list[Thing], Counter[str]]:
    """The package's things, or those of a folder; and what was refused there, by reason.

    Raises:
        ValueError: the folder is missing, or nothing in it can be used.
    """
    if root is None:
        return catalogue.packaged_things(), Counter()
    folder = Path(root)
    if not folder.is_dir():
        advice = "give a folder of pictures with alpha, or get the set by `npm pack @lobehub/"
        raise InputError(f"{folder} is no folder; {advice}{STILLS}` and unpack it there")
    rejected: Counter[str] = Counter()
    things = list(_originals(folder, rejected)) or list(_own(folder, rejected))
    if not things:
        reasons = ", ".join(f"{number} {why}" for why, number in rejected.items()) or "no picture"
        expected = (
            "expected <set>/assets/*.webp of the unpacked `npm pack` files, "
            "or PNG, WebP or GIF pictures with alpha in it or its subfolders"
        )
        raise InputError(f"{folder} has nothing to use ({reasons}); {expected}")
    return things, rejected


def sprite(where: sheets.Cell | Frame) -> np.ndarray:
    """(P, P, 4) uint8 premultiplied RGBA of a cell of the package or a frame of a file.

    Raises:
        ValueError: the file is damaged or has no visible pixel.
    """
    return _read(where) if isinstance(where, Frame) else sheets.sprite(where)


def _originals(root: Path, rejected: Counter[str]) -> Iterator[Thing]:
    """The things of the package, read from the original sets found under `root`."""
    found = {path.stem: path for path in _assets(root, STILLS)}
    clips = {path.stem: path for path in _assets(root, CLIPS)}
    for thing in catalogue.packaged_things():
        frames: tuple[Frame, ...] = ()
        if thing.code in clips:
            frames = _frames(clips[thing.code], rejected)
        if thing.code in found:
            yield replace(thing, still=Frame(found[thing.code]), frames=frames)
        elif frames:
            yield replace(thing, still=None, frames=frames)
        elif found:
            rejected["no file of this code in the set"] += 1


def _assets(root: Path, kind: str) -> Iterator[Path]:
    for folder in sorted(root.glob(f"*{kind}*/**/assets")) + [root / "assets"]:
        if folder.is_dir() and (folder != root / "assets" or kind in root.name):
            yield from sorted(folder.glob("*.webp"))


def _own(root: Path, rejected: Counter[str]) -> Iterator[Thing]:
    """One thing a picture: named by its file, its group the folder it lies in."""
    for path in sorted(root.rglob("*")):
        if path.suffix.lower() not in _ENDINGS:
            continue
        name = path.stem.replace("_", " ").replace("-", " ").strip()
        group = path.parent.name if path.parent != root else "objects"
        family = name.rstrip("0123456789 ") or name
        try:
            with Image.open(path) as opened:
                moving = getattr(opened, "n_frames", 1) > 1
            _read(Frame(path))
        except (OSError, ValueError) as error:
            rejected[_reason(error)] += 1
            continue
        frames = _frames(path, rejected) if moving else ()
        yield Thing(name, group, group, family, path.name, Frame(path), frames)


def _reason(error: Exception) -> str:
    text = str(error)
    return next(
        (why for why in ("without alpha", "wholly transparent") if why in text), "unreadable"
    )


def _frames(path: Path, rejected: Counter[str]) -> tuple[Frame, ...]:
    """Evenly spaced frames of a clip; none, and counted, where it has only one."""
    with Image.open(path) as opened:
        total = getattr(opened, "n_frames", 1)
    if total < 2:
        rejected["clip of one frame"] += 1
        return ()
    count = min(NUM_FRAMES, total)
    return tuple(Frame(path, number * total // count) for number in range(count))


@lru_cache(maxsize=_CACHED)
def _read(frame: Frame) -> np.ndarray:
    rgba = _pixels(frame)
    alpha = rgba[..., 3]
    if alpha.min() == 255:
        raise InputError(f"{frame.path} is without alpha; give cut-outs, the rest transparent")
    if alpha.max() < 128:
        raise InputError(f"{frame.path} is wholly transparent; leave it out")
    side, inner = max(rgba.shape[:2]), SIDE_PX - 2 * MARGIN_PX
    shrink = min(1.0, inner / side)
    height, width = (max(1, round(length * shrink)) for length in rgba.shape[:2])
    small = cv2.resize(sheets.premultiplied(rgba), (width, height), interpolation=cv2.INTER_AREA)
    room = max(height, width) + 2 * MARGIN_PX
    canvas = np.zeros((room, room, 4), np.uint8)
    y, x = (room - height) // 2, (room - width) // 2
    canvas[y : y + height, x : x + width] = small
    canvas.setflags(write=False)
    return canvas


def _pixels(frame: Frame) -> np.ndarray:
    if frame.number == 0:
        return read_rgba(frame.path)
    with Image.open(frame.path) as opened:
        opened.seek(frame.number)
        return np.array(opened.convert("RGBA"))
