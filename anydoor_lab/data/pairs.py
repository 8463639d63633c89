"""Pairs from an index: which views of an object may stand together, and their pictures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

import numpy as np

from anydoor_lab.data.index.shards import Shards
from anydoor_lab.data.index.store import Index, index_folder
from anydoor_lab.data.limits import Limits
from anydoor_lab.data.source import Cache, Counts, Split, check_cache, reasons
from anydoor_lab.data.split import SMALLEST_SPLIT
from anydoor_lab.structures.checks import UnusablePair, check_choice, of_settings
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import resized_mask
from anydoor_lab.structures.pair import Pair, Quality, Variation
from anydoor_lab.structures.reduced import FACTORS, Member, read_reduced

_ZOOM = 2.0  # what is shown is so many times as long as an object in it


class IndexedPairs:
    """A `PairSource` over a data set that has been indexed (`python -m anydoor_lab.index`).

    An entry is an object of a video or of several views, or of stills one view. Which two views
    make a pair is drawn evenly: a reference that has a scene far enough away, then such a scene.
    Nothing is drawn twice. Pictures far larger than what the model is shown are decoded reduced.

    Args:
        name: the set's.
        root: its folder; None where its pictures are in shards.
        release: what `Release` takes: how it lies on the disk. Only indexing reads it.
        index: the index's folder; None: the shards', or in the user's cache folder.
        shards: folder or URL of its shards (`python -m anydoor_lab.index do=shard`).
        variation, quality: of its pairs (Table 1).
        min_interval: smallest distance of the two frames, as a share of the video's; at least 1.
        cache: what a training keeps of what its frozen networks make of the pictures: "latents",
            "tokens" or "both"; None: nothing.
        needed_px: longer side of the object's crop that the model is shown; None decodes all
            pictures at full size.
        limits: what `Limits` takes.
        truth: whether scenes show their reference's object, as a still's always does, or another.
        split: "train" or "held_out".
        seed: decides which groups (videos, instances, pictures) are held out.
        held_out: share of the groups held out, in [0, 1).

    Attributes:
        counts: entries of this split; refused views, and objects without a pair, by reason.
        note: a sentence where nothing is held out, else "".

    Raises:
        ValueError: there is no index, nothing of it is usable (with the counts by reason), or an
            argument is out of range.
    """

    def __init__(
        self,
        name: str,
        root: str | Path | None,
        *,
        release: Mapping[str, Any] | None = None,
        index: str | Path | None = None,
        shards: str | Path | None = None,
        cache: Cache | None = None,
        variation: Variation = "video",
        quality: Quality = "low",
        min_interval: float = 0.1,
        needed_px: int | None = 512,
        limits: Mapping[str, Any] | None = None,
        truth: bool = True,
        split: Split = "train",
        seed: int = 0,
        held_out: float = 0.02,
    ) -> None:
        check_choice("variation", variation, get_args(Variation))
        check_choice("quality", quality, get_args(Quality))
        check_choice("split", split, get_args(Split))
        check_cache(cache)
        for setting, value in (("min_interval", min_interval), ("held_out", held_out)):
            if not 0 <= value < 1:
                raise InputError(f"{setting} is {value}; expected a share in [0, 1)")
        self.name, self.root, self.release = name, None if root is None else Path(root), release
        self.variation, self.quality, self.needed_px = variation, quality, needed_px
        self.cache, self.truth = cache, truth or variation == "still"
        splits = (release or {}).get("splits", ())
        self.shards = None if shards is None else Shards(shards)
        self.index = _opened(name, self.root, _folder(name, self.root, index, self.shards, splits))
        _check_place(name, self.index, self.root, self.shards)
        references, scenes, rejected = of_settings(Limits, limits or {}, "limits").judged(
            self.index
        )
        self._references, self._scenes = references, scenes
        self._frames = self.index.numbers("frame")
        starts = _starts(self.index, variation)
        shares = min_interval * self.index.numbers("frames")
        intervals = np.maximum(np.ceil(shares - 1e-6), 1)  # 0.1 x 30 is a hair above 3
        if variation == "still":
            usable = references & scenes
        else:
            usable = self._paired(starts, intervals)
            rejected["no second view far enough"] = int(np.count_nonzero(~usable))
        entries = np.flatnonzero(usable)
        rejected = +(self.index.rejected + rejected)
        if not len(entries):
            raise InputError(
                f"{self.root} ({name}) has no usable pair: {reasons(rejected) or 'no views'}; "
                f"python -m anydoor_lab.index data={name} data.root={self.root} do=check says more"
            )
        keys = self.index.numbers("key")[starts[entries]]
        chosen, self.note = held_out_entries(keys, split, seed, held_out)
        self._begin, self._end = starts[entries][chosen], starts[entries + 1][chosen]
        self._interval = intervals[self._begin].astype(np.int64)
        self.counts = Counts(len(self._begin), rejected)

    def __len__(self) -> int:
        """Number of entries in this split."""
        return len(self._begin)

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The pair of entry `index`; which views it shows is drawn from `rng`.

        Raises:
            UnusablePair: a picture cannot be read to its end, or changed since it was indexed.
        """
        first, second = self.rows(index, rng)
        return self.pair_of_rows(first, second)

    def rows(self, index: int, rng: np.random.Generator) -> tuple[int, int]:
        """The rows of the index whose views entry `index` shows: reference, scene."""
        begin, end = int(self._begin[index]), int(self._end[index])
        if self.variation == "still":
            return begin, begin
        own, least = slice(begin, end), self._interval[index]
        frames = self._frames[own].astype(np.int64)
        places = np.flatnonzero(self._scenes[own])
        last, first = frames[places].max(), frames[places].min()
        far = (last - frames >= least) | (frames - first >= least)
        chosen = int(rng.choice(np.flatnonzero(self._references[own] & far)))
        partners = places[np.abs(frames[places] - frames[chosen]) >= least]
        return begin + chosen, begin + int(rng.choice(partners))

    def views(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The rows of the index that this split's pairs may show, (N,) int, and of each whether it
        may be the reference and whether the scene, (N,) bool."""
        change = np.zeros(self.index.usable + 1, np.int8)
        change[self._begin] += 1
        change[self._end] -= 1
        inside = np.cumsum(change[:-1], dtype=np.int8) > 0
        rows = np.flatnonzero(inside & (self._references | self._scenes))
        return rows, self._references[rows], self._scenes[rows]

    def pair_of_rows(self, first: int, second: int) -> Pair:
        """The pair of two rows of the index.

        Raises: as `pair`.
        """
        reference, scene = self.index.row(first), self.index.row(second)
        factors = self._factor(reference), self._factor(scene)
        if first == second:
            shown = self._read(reference, min(factors))
            views = (*shown, *shown)
        else:
            views = (*self._read(reference, factors[0]), *self._read(scene, factors[1]))
        frames = "" if first == second else f" {reference['frame']}-{scene['frame']}"
        subject = f"{self.name}: {reference['group']} #{reference['object']}"
        return Pair(*views, self.variation, self.quality, f"{subject}{frames}", subject)

    def _paired(self, starts: np.ndarray, intervals: np.ndarray) -> np.ndarray:
        """Which entries (N,) bool have a reference and a scene that are far enough apart."""
        if len(starts) < 2:
            return np.zeros(0, np.bool_)
        frames, begin = self._frames.astype(np.int64), starts[:-1]
        most = np.iinfo(np.int32).max
        ends = []
        for marked in (self._references, self._scenes):
            first = np.minimum.reduceat(np.where(marked, frames, most), begin)
            last = np.maximum.reduceat(np.where(marked, frames, -most), begin)
            ends.append((first, last))
        (first_ref, last_ref), (first_scene, last_scene) = ends
        apart = np.maximum(last_scene - first_ref, last_ref - first_scene)
        return apart >= intervals[begin]

    def _factor(self, row: Mapping[str, Any]) -> int:
        """By how much a picture may be reduced so that its crop keeps `needed_px`."""
        if not self.needed_px:
            return 1
        longer = max(row["y2"] - row["y1"], row["x2"] - row["x1"])
        side = min(_ZOOM * longer, max(row["height"], row["width"]))
        return max(factor for factor in FACTORS if factor == 1 or side / factor >= self.needed_px)

    def _file(self, row: Mapping[str, Any]) -> Path | Member:
        if self.shards:
            return self.shards.member(row)
        assert self.root is not None  # as was checked
        return self.root / row["image"]

    def _read(self, row: Mapping[str, Any], factor: int) -> tuple[np.ndarray, np.ndarray]:
        """Picture (h, w, 3) uint8 and mask (h, w) bool of a row."""
        from rlemasklib import RLEMask

        try:
            image = read_reduced(self._file(row), factor)
        except UnusablePair:
            raise
        except (InputError, FileNotFoundError) as error:
            raise UnusablePair("unreadable picture", str(error)) from error
        height, width = row["height"], row["width"]
        expected = (-(-height // factor), -(-width // factor))
        if image.shape[:2] != expected:
            seen = f"{row['image']} is no longer {height}x{width}; index the set again"
            raise UnusablePair("picture changed since it was indexed", seen)
        mask = RLEMask.from_dict({"size": [height, width], "counts": row["rle"]})
        dense = mask.to_array().astype(np.bool_)
        return image, dense if factor == 1 else resized_mask(dense, *expected)


def held_out_entries(
    keys: np.ndarray, split: Split, seed: int, held_out: float
) -> tuple[np.ndarray, str]:
    """Which entries (N,) bool belong to a split, and a sentence where nothing is held out.

    A group is held out by a hash of (seed, group): what else is in the set does not matter.

    Args:
        keys: (N,) uint64, the group of each entry.
        split, seed, held_out: as for `split_objects`.
    """
    ranks = _mixed(keys ^ _mixed(np.array([seed], np.uint64)))
    outside = ranks < np.uint64(min(held_out * 2.0**64, 2.0**64 - 2**12))
    if not held_out or len(keys) < SMALLEST_SPLIT or outside.all() or not outside.any():
        note = f"nothing is held out of {len(keys)}: train and held_out are the same"
        return np.ones(len(keys), np.bool_), note
    return outside == (split == "held_out"), ""


def _mixed(numbers: np.ndarray) -> np.ndarray:
    """Evenly spread bits (the finaliser of splitmix64)."""
    numbers = numbers + np.uint64(0x9E3779B97F4A7C15)
    numbers = (numbers ^ (numbers >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    numbers = (numbers ^ (numbers >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(numbers ^ (numbers >> np.uint64(31)))


def _starts(index: Index, variation: Variation) -> np.ndarray:
    """(N + 1,) first row of each entry, and the number of rows."""
    rows = index.usable
    if variation == "still":
        return np.arange(rows + 1)
    changed = np.ones(rows, np.bool_)
    if rows:
        columns = [index.numbers(name) for name in ("split", "key", "object")]
        changed[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.append(np.flatnonzero(changed), rows)


def _folder(
    name: str,
    root: Path | None,
    index: str | Path | None,
    shards: Shards | None,
    splits: Sequence[str],
) -> Path:
    """Where the index is kept."""
    if index:
        return Path(index)
    if shards and shards.is_local:
        return Path(shards.place)
    if shards or root is None:
        raise InputError(
            f"{name}: data.shards={shards.place if shards else None} is no folder here; copy its "
            "index.arrow to this machine and give that folder as data.index"
        )
    return index_folder(name, root, splits)


def _check_place(name: str, index: Index, root: Path | None, shards: Shards | None) -> None:
    """Raise ValueError unless the pictures lie where the index says: in files or in shards."""
    packed = index.usable and index.row(0, ("shard",))["shard"] is not None
    if packed and shards is None:
        raise InputError(
            f"{name}: {index.folder} is an index of shards; give data.shards={index.folder}"
        )
    if not packed and shards and index.usable:
        raise InputError(
            f"{name}: {index.folder} is an index of files; make shards with "
            f"python -m anydoor_lab.index data={name} do=shard, or leave data.shards out"
        )
    if not packed and root is None:
        raise InputError(f"{name}: data.root is null; give the folder that holds {name}")


def _opened(name: str, root: Path | None, folder: Path) -> Index:
    try:
        return Index(folder)
    except InputError as error:
        call = f"python -m anydoor_lab.index data={name} data.root={root}"
        raise InputError(f"{error}: {call} (with the same data. settings)") from error
