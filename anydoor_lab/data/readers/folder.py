"""The user's own pictures: cut-outs with alpha, or photos with a mask file of the same name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path, PurePath

import numpy as np

from anydoor_lab.data.readers.cutout import placed, share_range
from anydoor_lab.data.source import Counts, Split
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_header, read_image, read_mask, read_rgba
from anydoor_lab.structures.opening import Header
from anydoor_lab.structures.originals import TooLargeError, over_white
from anydoor_lab.structures.pair import Pair

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})
SMALLEST_SPLIT = 5
"""With fewer entries than this nothing is held out: both splits hold all of them."""


@dataclass(frozen=True, slots=True)
class _Entry:
    name: str  # path relative to the root, for reports and the split
    picture: Path
    mask: Path | None  # None: the picture's own alpha


class Folder:
    """A `PairSource` over a folder of pictures; every entry gives a `still` pair.

    What counts as an entry (any sizes, mixed; `cup` stands for any name):
        - `cup.png`, `cup.webp` ... with alpha: alpha above 128 is the object;
        - `cup.jpg` with `cup_mask.png`, `masks/cup.png`, or `images/cup.jpg` with
          `masks/cup.png`: the object is what the mask marks by the rule of `mask_of`.

    A photo with a mask file is both reference and scene, at its original size. A cut-out has no
    meaningful pixels around it, so its reference is the cut-out on white, and its scene is the
    cut-out set at a drawn size and place onto a drawn backdrop: a picture of `scenes`, else one
    of the folder's own opaque pictures (real photos, because in use the scene is one), else a
    smooth field of colours (not white: the border of the region would then be invisible).

    Construction reads headers and masks (of a cut-out: the file), never the photos. Hidden
    files and folders are ignored, links to folders inside the root are not followed.

    Args:
        root: the folder.
        split: which part to give, "train" or "held_out".
        seed: decides which entries are held out.
        held_out: share of the entries held out, in [0, 1). With fewer than `SMALLEST_SPLIT`
            entries (or 0) both splits hold everything, and `note` says so.
        min_mask_area: smallest share of the scene's area the object may cover.
        max_mask_area: largest share of it.
        scenes: folder of backdrops for cut-outs.
        recursive: whether to look into sub-folders (`images` and `masks` are always seen).

    Attributes:
        counts: entries of this split, and what of the folder was refused for which reason.
        note: a sentence about the split where something is unusual, else "".

    Raises:
        ValueError: the root is missing or no folder, holds no usable picture (with the counts
            by reason), a link leaves it, or an argument is out of range.
    """

    def __init__(
        self,
        root: str | Path,
        *,
        split: Split = "train",
        seed: int = 0,
        held_out: float = 0.2,
        min_mask_area: float = 0.01,
        max_mask_area: float = 0.64,
        scenes: str | Path | None = None,
        recursive: bool = True,
    ) -> None:
        if not 0 < min_mask_area < max_mask_area <= 1:
            seen = f"min_mask_area={min_mask_area} and max_mask_area={max_mask_area}"
            raise InputError(f"{seen}; expected 0 < min_mask_area < max_mask_area <= 1")
        self.root, self.split, self.note = Path(root), split, ""
        self._areas = (min_mask_area, max_mask_area)
        pictures, masks = _sorted_out(self.root, list(_pictures(self.root, recursive)))
        usable, self._opaque, rejected = _checked(self.root, pictures, masks, self._areas)
        if scenes is not None:
            self._opaque = _backdrops(Path(scenes))
        if not usable:
            raise InputError(
                f"{self.root} holds no usable picture: {Counts(0, rejected)}; give pictures with "
                "alpha, or with a mask file of the same name (cup.jpg and cup_mask.png)"
            )
        names = split_names([entry.name for entry in usable], split, seed, held_out)
        self._entries = [entry for entry in usable if entry.name in names]
        self.counts = Counts(len(self._entries), rejected)
        if len(usable) < SMALLEST_SPLIT or held_out == 0:
            self.note = f"nothing is held out of {len(usable)}: train and held_out are the same"

    def __len__(self) -> int:
        """Number of entries in this split."""
        return len(self._entries)

    def report(self) -> str:
        """One line: the folder, the split, what is used and what was refused why."""
        line = f"{self.root} ({self.split}): {self.counts}"
        return f"{line}; {self.note}" if self.note else line

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The still pair of entry `index`; for a cut-out, its scene is drawn from `rng`.

        Raises:
            UnusablePair: the picture or the backdrop cannot be read to its end.
        """
        entry = self._entries[index]
        try:
            if entry.mask is None:
                return self._cutout(entry, rng)
            image, mask = read_image(entry.picture), read_mask(entry.mask)
        except UnusablePair:
            raise
        except (ValueError, FileNotFoundError) as error:
            raise UnusablePair("unreadable picture", str(error)) from error
        return Pair(image, mask, image, mask, "still", origin=entry.name)

    def _cutout(self, entry: _Entry, rng: np.random.Generator) -> Pair:
        rgba = read_rgba(entry.picture)
        backdrop = None
        if self._opaque:
            backdrop = read_image(self._opaque[int(rng.integers(len(self._opaque)))])
        scene, scene_mask = placed(rgba, backdrop, self._areas, rng)
        mask = rgba[..., 3] > 128
        return Pair(over_white(rgba), mask, scene, scene_mask, "still", origin=entry.name)


def split_names(names: Iterable[str], split: Split, seed: int, held_out: float) -> frozenset[str]:
    """The names that belong to a split, ranked by a hash of (seed, name).

    Adding a picture moves few others. Fewer than `SMALLEST_SPLIT` names, or a share of 0, give
    all of them in both splits; otherwise each split has at least one.

    Raises:
        ValueError: `split` or `held_out` is not what is expected.
    """
    if split not in ("train", "held_out"):
        raise InputError(f"split is {split!r}; expected 'train' or 'held_out'")
    if not 0 <= held_out < 1:
        raise InputError(f"held_out is {held_out}; expected a share in [0, 1)")
    ranked = sorted(set(names), key=lambda name: sha256(os.fsencode(f"{seed}/{name}")).digest())
    if len(ranked) < SMALLEST_SPLIT or held_out == 0:
        return frozenset(ranked)
    number = min(max(round(held_out * len(ranked)), 1), len(ranked) - 1)
    return frozenset(ranked[:number] if split == "held_out" else ranked[number:])


def _pictures(root: Path, recursive: bool) -> Iterator[Path]:
    if not root.is_dir():
        seen = "is not a folder" if root.exists() else "does not exist"
        raise InputError(f"{root} {seen}; give the folder that holds your pictures")
    home = root.resolve()
    for folder, names, files in os.walk(root, onerror=_refuse):
        for path in (Path(folder) / name for name in names + files if name[0] != "."):
            if not Path(os.path.realpath(path)).is_relative_to(home):
                raise InputError(f"{path} leads out of {root}; copy the file inside instead")
        wanted = recursive or Path(folder) == root
        names[:] = sorted(n for n in names if n[0] != "." and (wanted and _descends(n, recursive)))
        yield from (
            Path(folder) / name
            for name in sorted(files)
            if name[0] != "." and Path(name).suffix.lower() in SUFFIXES
        )


def _refuse(error: OSError) -> None:
    raise InputError(f"{error.filename} cannot be listed ({error.strerror}); allow reading it")


def _descends(name: str, recursive: bool) -> bool:
    return recursive or name.lower() in {"images", "masks"}


def _key(path: PurePath) -> tuple[bool, str]:
    """Whether a file (relative to the root) is a mask, and the name it shares with its picture."""
    folders = [part for part in path.parts[:-1] if part.lower() not in {"images", "masks"}]
    in_masks = any(part.lower() == "masks" for part in path.parts[:-1])
    stem = path.stem
    marked = stem.lower().endswith(("_mask", "-mask"))
    stem = stem[:-5] if marked else stem
    return in_masks or marked, "/".join([*folders, stem])


def _sorted_out(root: Path, files: list[Path]) -> tuple[list[Path], dict[str, list[Path]]]:
    pictures: list[Path] = []
    masks: dict[str, list[Path]] = {}
    for path in files:
        is_mask, key = _key(path.relative_to(root))
        if is_mask:
            masks.setdefault(key, []).append(path)
        else:
            pictures.append(path)
    if not pictures:
        raise InputError(f"{root} holds no picture (of {', '.join(sorted(SUFFIXES))}); add some")
    return pictures, masks


def _checked(
    root: Path, pictures: list[Path], masks: dict[str, list[Path]], areas: tuple[float, float]
) -> tuple[list[_Entry], list[Path], Counter[str]]:
    """The usable entries, the pictures fit as backdrops, and the reasons of all refusals."""
    keys = [_key(path.relative_to(root))[1] for path in pictures]

    def check(path: Path, key: str) -> tuple[_Entry | None, bool, str]:
        opaque = False
        try:
            height, width, alpha = _header(path)
            opaque = not alpha
            mask = _mask_file(masks.get(key, []), alpha)
            _check_mask(path, mask, (height, width), areas)
        except UnusablePair as error:
            return None, opaque, error.reason
        return _Entry(path.relative_to(root).as_posix(), path, mask), opaque, ""

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        results = list(pool.map(check, pictures, keys))
    rejected = Counter(reason for _, _, reason in results if reason)
    orphans = sum(len(paths) for key, paths in masks.items() if key not in set(keys))
    if orphans:
        rejected["mask without its picture"] = orphans
    backdrops = [path for path, (_, opaque, _) in zip(pictures, results, strict=True) if opaque]
    return [entry for entry, _, _ in results if entry], backdrops, rejected


def _header(path: Path) -> Header:
    try:
        return read_header(path)
    except TooLargeError as error:
        raise UnusablePair("gigantic picture", str(error)) from error
    except (ValueError, FileNotFoundError) as error:
        raise UnusablePair("unreadable picture", str(error)) from error


def _mask_file(candidates: list[Path], alpha: bool) -> Path | None:
    if len(candidates) > 1:
        raise UnusablePair("more than one mask", ", ".join(map(str, candidates)))
    if not candidates and not alpha:
        raise UnusablePair("no mask")
    return candidates[0] if candidates else None


def _check_mask(
    path: Path, mask_path: Path | None, shape: tuple[int, int], areas: tuple[float, float]
) -> None:
    try:
        mask = read_rgba(path)[..., 3] > 128 if mask_path is None else read_mask(mask_path)
    except UnusablePair:
        raise
    except (ValueError, FileNotFoundError) as error:
        which = "unreadable mask" if mask_path else "unreadable picture"
        raise UnusablePair(which, str(error)) from error
    if mask_path and mask.shape != shape:
        raise UnusablePair("mask of another size than its photo", str(mask_path))
    if not mask.any():
        raise UnusablePair("empty mask")
    if mask.all():  # an alpha channel without a transparent pixel marks nothing
        raise UnusablePair("mask covering everything" if mask_path else "no mask")
    if mask_path is None:
        share_range(mask, areas)
    elif not areas[0] <= mask.mean() <= areas[1]:
        raise UnusablePair("mask too small" if mask.mean() < areas[0] else "mask too large")


def _backdrops(folder: Path) -> list[Path]:
    backdrops: list[Path] = []
    for path in _pictures(folder, recursive=True):
        try:
            usable = not _key(path.relative_to(folder))[0] and not _header(path)[2]
        except UnusablePair:
            continue
        backdrops.extend([path] * usable)
    if not backdrops:
        raise InputError(f"{folder} holds no opaque picture to use as a scene; add photos")
    return backdrops
