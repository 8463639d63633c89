"""The user's own pictures: cut-outs with alpha, or photos with a mask file of the same name."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anydoor_lab.data.readers.cutout import placed, share_range
from anydoor_lab.data.readers.names import Picture, key_of, masks_by_picture, objects_of
from anydoor_lab.data.source import Counts, Split
from anydoor_lab.data.split import nothing_held_out, split_objects
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_header, read_image, read_mask, read_rgba
from anydoor_lab.structures.opening import Header
from anydoor_lab.structures.originals import TooLargeError, over_white
from anydoor_lab.structures.pair import Pair

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff"})


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
        held_out: share of the entries held out, in [0, 1): whole objects, see `objects_of`. With
            fewer than `SMALLEST_SPLIT` entries, one object or 0 both splits hold everything, and
            `note` says so.
        min_mask_area: smallest share of the scene's area the object may cover.
        max_mask_area: largest share of it.
        scenes: folder of backdrops for cut-outs.
        recursive: whether to look into sub-folders (`images` and `masks` are always seen).

    Attributes:
        counts: entries of this split, and what of the folder was refused for which reason.
        note: a sentence where nothing is held out, else "".

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
        usable, opaque, rejected = _checked(self.root, pictures, masks, self._areas)
        if not usable:
            raise InputError(
                f"{self.root} holds no usable picture: {Counts(0, rejected)}; give pictures with "
                "alpha, or with a mask file of the same name (cup.jpg and cup_mask.png); a folder "
                "of photos for each object, without masks, is data=dreambooth"
            )
        if scenes is not None:
            opaque = _backdrops(Path(scenes))
        shown, objects, self.note = _objects(self.root, usable, opaque, pictures, held_out)
        names = split_objects(objects, split, seed, held_out)
        self._entries = [entry for entry in usable if entry.name in names]
        # no backdrop may show what is trained on or scored in the other split
        elsewhere = {objects[name] for name in objects if name not in names}
        self._opaque = [path for path in opaque if shown[_name(self.root, path)] not in elsewhere]
        self.counts = Counts(len(self._entries), rejected)

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


def _sorted_out(root: Path, files: list[Path]) -> tuple[dict[Path, str], dict[Path, str]]:
    """The pictures and the masks with their keys."""
    pictures: dict[Path, str] = {}
    masks: dict[Path, str] = {}
    for path in files:
        is_mask, key = key_of(path.relative_to(root))
        (masks if is_mask else pictures)[path] = key
    if not pictures:
        raise InputError(f"{root} holds no picture (of {', '.join(sorted(SUFFIXES))}); add some")
    return pictures, masks


def _checked(
    root: Path, pictures: dict[Path, str], masks: dict[Path, str], areas: tuple[float, float]
) -> tuple[list[_Entry], list[Path], Counter[str]]:
    """The usable entries, the pictures fit as backdrops, and the reasons of all refusals."""
    own = masks_by_picture(pictures, masks)

    def check(path: Path) -> tuple[_Entry | None, bool, str]:
        opaque = False
        try:
            height, width, alpha = _header(path)
            opaque = not alpha
            mask = _mask_file(own[path], alpha)
            _check_mask(path, mask, (height, width), areas)
        except UnusablePair as error:
            return None, opaque, error.reason
        return _Entry(_name(root, path), path, mask), opaque, ""

    with ThreadPoolExecutor() as pool:  # decoding releases the interpreter's lock
        results = list(pool.map(check, pictures))
    rejected = Counter(reason for _, _, reason in results if reason)
    orphans = len(set(masks).difference(*own.values()))
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


def _name(root: Path, path: Path) -> str:
    """What a picture is called: its path below the root, the whole path where it lies elsewhere."""
    return (path.relative_to(root) if path.is_relative_to(root) else path).as_posix()


def _objects(
    root: Path,
    entries: list[_Entry],
    backdrops: list[Path],
    keys: dict[Path, str],
    held_out: float,
) -> tuple[dict[str, str], dict[str, str], str]:
    """The object that each picture and each entry shows, by its name, and a note on the split."""
    cutouts = {entry.picture for entry in entries if entry.mask is None}
    pictures = {
        _name(root, path): Picture(path, keys.get(path, path.stem), path in cutouts)
        for path in dict.fromkeys([*(entry.picture for entry in entries), *backdrops])
    }
    notes: list[str] = []
    for tie_videos in (True, False):  # where equal frames tie all videos together, folders decide
        shown = objects_of(pictures, tie_videos)
        objects = {entry.name: shown[entry.name] for entry in entries}
        notes.append(nothing_held_out(objects, held_out))
        if not notes[-1]:
            break
    again = "equal files stand in all folders of frames: what is held out is trained on too"
    return shown, objects, again if notes[0] and not notes[-1] else notes[-1]


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
            usable = not key_of(path.relative_to(folder))[0] and not _header(path)[2]
        except UnusablePair:
            continue
        backdrops.extend([path] * usable)
    if not backdrops:
        raise InputError(f"{folder} holds no opaque picture to use as a scene; add photos")
    return backdrops
