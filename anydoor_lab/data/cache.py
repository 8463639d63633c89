"""Pairs drawn once and kept in memory-mapped files, for training that asks for more than is drawn.

One core draws some hundred pairs a second; a GPU at the tiny scale trains on thousands.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np

from anydoor_lab.data.source import Counts, PairSource
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.pair import Pair, Quality, Variation
from anydoor_lab.structures.rng import rng_for

BLOCK = 100
"""An interrupted filling goes on behind the last whole block of this many pairs."""


def cache_folder() -> Path:
    """Where pools are kept between runs: `$XDG_CACHE_HOME/anydoor_lab`, else in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "anydoor_lab"


class PairPool:
    """`size` pairs of a source as a source of its own; entry i is always the same pair.

    The file holds a mark of two bytes for each pair, its variation and quality counted from 1 or
    zeros where it was not drawn yet, and then all pictures. What is drawn for an entry depends
    on nothing but its index, so several processes that fill the same file write the same bytes,
    and an interrupted filling goes on.

    Args:
        source: its pairs must all be pictures of one size (as the drawn world's are).
        size: how many pairs; more than the source's entries draw further pairs of the same.
        path: the file; its name should say what is in it.
        seed: decides what is drawn.
    """

    def __init__(self, source: PairSource, size: int, path: Path, seed: int = 0) -> None:
        if size < 1:
            raise InputError(f"a pool of {size} pairs; expected at least 1")
        self.source, self.size, self.path, self.seed = source, size, path, seed
        self.counts = Counts(used=size)
        self._filled: tuple[np.memmap, np.memmap] | None = None

    def __len__(self) -> int:
        return self.size

    def fill(self) -> Iterator[int]:
        """Draw what the file lacks, yielding after each pair.

        Raises:
            ValueError: the file is another pool.
        """
        if self._found() is not None:
            return
        marks, views = self._mapped("r+")
        missing = np.flatnonzero(marks[:, 0] == 0)
        for block in np.split(missing, range(BLOCK, len(missing), BLOCK)):
            drawn = np.zeros((len(block), 2), np.uint8)
            for place, index in enumerate(block.tolist()):
                pair = self._drawn(index)
                views[index, 0] = stacked(pair.reference, pair.reference_mask)
                views[index, 1] = stacked(pair.scene, pair.scene_mask)
                drawn[place] = _mark(pair)
                yield index
            views.flush()  # a mark promises that its pictures are on the disk
            marks[block] = drawn
            marks.flush()

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """Entry `index`; nothing is drawn.

        Raises:
            RuntimeError: the pool is not filled.
        """
        del rng
        return self.kept(index)

    def kept(self, index: int) -> Pair:
        """As `pair`, which asks for draws only because every source does."""
        found = self._found()
        if found is None:
            raise RunError(f"{self.path} is not filled; run fill() to its end first")
        marks, views = found
        reference, scene = (parted(view) for view in views[index])
        variation, quality = (int(number) - 1 for number in marks[index])
        return Pair(
            *reference, *scene,
            variation=get_args(Variation)[variation], quality=get_args(Quality)[quality],
            origin=f"{self.path.stem}:{index}",
        )  # fmt: skip

    def _found(self) -> tuple[np.memmap, np.memmap] | None:
        """The marks and the views of the filled file, or None where there is none."""
        if self._filled is None and self.path.is_file() and self.path.stat().st_size > 0:
            mapped = self._mapped("r")
            self._filled = mapped if mapped[0].all() else None
        return self._filled

    def _mapped(self, mode: Literal["r", "r+"]) -> tuple[np.memmap, np.memmap]:
        """The marks (size, 2) and the views (size, 2, S, S, 4) of the file, made if to be written.

        Making it twice changes nothing.
        """
        shape = (self.size, 2, *self._drawn(0).scene.shape[:2], 4)
        expected = 2 * self.size + int(np.prod(shape))
        if mode == "r+":
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.path.touch()
        found = self.path.stat().st_size
        if found not in (0, expected):
            seen = f"{self.path} has {found:,} bytes and this pool {expected:,}"
            raise InputError(f"{seen}; remove that file or choose another")
        if mode == "r+":
            os.truncate(self.path, expected)
        marks = np.memmap(self.path, np.uint8, mode, shape=(self.size, 2))
        return marks, np.memmap(self.path, np.uint8, mode, 2 * self.size, shape)

    def _drawn(self, index: int) -> Pair:
        return self.source.pair(index % len(self.source), rng_for(self.seed, index, "pool"))


def _mark(pair: Pair) -> tuple[int, int]:
    """The places of a pair's variation and quality among all, from 1."""
    variations, qualities = get_args(Variation), get_args(Quality)
    return variations.index(pair.variation) + 1, qualities.index(pair.quality) + 1


def stacked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Picture (S, S, 3) uint8 and mask (S, S) bool as one (S, S, 4) uint8."""
    return np.dstack([image, mask.astype(np.uint8)])


def parted(view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture and mask that `stacked` joined."""
    return np.ascontiguousarray(view[..., :3]), view[..., 3] > 0
