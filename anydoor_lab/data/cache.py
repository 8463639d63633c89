"""Pairs drawn once and kept in memory-mapped files, for training that asks for more than is drawn.

One core draws some hundred pairs a second; a GPU at the tiny scale trains on thousands.
"""

from __future__ import annotations

import io
import json
import os
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import get_args

import numpy as np

from anydoor_lab.data.rows import RowFile
from anydoor_lab.data.source import Counts, PairSource
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.files import write_unflushed
from anydoor_lab.structures.pair import Pair, Quality, Variation
from anydoor_lab.structures.rng import rng_for


def cache_folder() -> Path:
    """Where pools are kept between runs: `$XDG_CACHE_HOME/anydoor_lab`, else in ~/.cache."""
    root = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    return Path(root).expanduser() / "anydoor_lab"


class PairPool:
    """`size` pairs of a source as a source of its own; entry i is always the same pair.

    What is drawn for an entry depends on nothing but its index, so several processes that fill the
    same file write the same bytes, and an interrupted filling goes on.

    Args:
        source: its pairs must all be pictures of one size (as the drawn world's are).
        size: how many pairs; more than the source's entries draw further pairs of the same.
        path: the file, a `RowFile`; its name should say what is in it.
        seed: decides what is drawn.
    """

    def __init__(self, source: PairSource, size: int, path: Path, seed: int = 0) -> None:
        if size < 1:
            raise InputError(f"a pool of {size} pairs; expected at least 1")
        self.source, self.size, self.path, self.seed = source, size, path, seed
        self.counts = Counts(used=size)
        self._file: RowFile | None = None

    def __len__(self) -> int:
        return self.size

    def fill(self) -> Iterator[int]:
        """Draw what the file lacks, yielding after each pair.

        Raises:
            ValueError: the file is another pool, cut short or damaged.
            RuntimeError: the disk has no room for it.
        """
        file = self._rows_file()
        for block in file.missing():
            drawn = np.empty((len(block), *file.shape), np.uint8)
            for place, index in enumerate(block):
                drawn[place] = _row(self._drawn(index))
                yield index
            file.write(block, drawn)

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """Entry `index`; nothing is drawn.

        Raises:
            RuntimeError: the pool is not filled.
            ValueError: as `fill`.
        """
        del rng
        return self.kept(index)

    def kept(self, index: int) -> Pair:
        """As `pair`, which asks for draws only because every source does."""
        rows = self._rows_file().rows()
        if rows is None:
            raise RunError(f"{self.path} is not filled; run fill() to its end first")
        side = round(((len(rows[index]) - 2) / 8) ** 0.5)
        variation, quality = rows[index, -2:].tolist()
        reference, scene = (parted(view) for view in rows[index, :-2].reshape(2, side, side, 4))
        return Pair(
            *reference, *scene,
            variation=get_args(Variation)[variation], quality=get_args(Quality)[quality],
            origin=f"{self.path.stem}:{index}",
        )  # fmt: skip

    def _rows_file(self) -> RowFile:
        if self._file is None:
            length = len(_row(self._drawn(0)))
            self._file = RowFile(self.path, self.size, (length,), np.uint8)
        return self._file

    def _drawn(self, index: int) -> Pair:
        return self.source.pair(index % len(self.source), rng_for(self.seed, index, "pool"))


class KeptPairs:
    """Drawn pairs by their sample index, for all runs that draw the same ones.

    A file for each pair, written whole, so that any number of processes may share the folder. A
    damaged one counts as not there: its pair is drawn and written again.

    Args:
        folder: its name should say what the pairs depend on.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def get(self, index: int) -> tuple[Pair, list[str]] | None:
        """The pair and the reasons for which entries were passed over for it; None where it is not
        kept."""
        try:
            content = zlib.decompress(self._path(index).read_bytes())  # it carries a checksum
            with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
                facts = json.loads(str(arrays["facts"]))
                pictures = {name: arrays[name] for name in _PICTURES}
        except (OSError, zlib.error, ValueError, KeyError):
            return None
        refused = facts.pop("refused")
        return Pair(**pictures, **facts), refused

    def put(self, index: int, pair: Pair, refused: Sequence[str]) -> None:
        """Keep a pair.

        Raises:
            FileError: it cannot be written.
        """
        facts = {name: getattr(pair, name) for name in _FACTS}
        said = np.array(json.dumps({**facts, "refused": list(refused)}))
        buffer = io.BytesIO()
        np.savez(buffer, facts=said, **{name: getattr(pair, name) for name in _PICTURES})
        write_unflushed(self._path(index), zlib.compress(buffer.getvalue(), 1))

    def _path(self, index: int) -> Path:
        return self.folder / f"{index // 1000:06d}" / f"{index:09d}.pair"


_PICTURES = ("reference", "reference_mask", "scene", "scene_mask")
_FACTS = ("variation", "quality", "origin", "subject")


def _row(pair: Pair) -> np.ndarray:
    """A pair's two pictures with their masks and the places of its variation and quality among
    all, as bytes."""
    views = (stacked(pair.reference, pair.reference_mask), stacked(pair.scene, pair.scene_mask))
    kinds = [get_args(Variation).index(pair.variation), get_args(Quality).index(pair.quality)]
    return np.concatenate([*(view.ravel() for view in views), np.array(kinds, np.uint8)])


def stacked(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Picture (S, S, 3) uint8 and mask (S, S) bool as one (S, S, 4) uint8."""
    return np.dstack([image, mask.astype(np.uint8)])


def parted(view: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The picture and mask that `stacked` joined."""
    return np.ascontiguousarray(view[..., :3]), view[..., 3] > 0
