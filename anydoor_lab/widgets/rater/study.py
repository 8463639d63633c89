"""A user study's material: the methods' pictures by item, their codes, who sees what where."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import ENDINGS
from anydoor_lab.structures.originals import Picture
from anydoor_lab.structures.rng import rng_for

Shown = Picture | str | Path
Pictures = str | Path | Sequence[Shown | Sequence[Shown]] | Mapping[str, Shown | Sequence[Shown]]
"""A folder (a picture, or a folder of several, for each item), a list, or pictures by item."""
LETTERS = "BCDFGHJKLMNPQRSTVWXZ"


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """What is rated.

    Args:
        items: their names, in the order of the methods' pictures.
        sets: for each method and item the pictures, one or several.
        seed: of the codes and of the orders.
    """

    items: tuple[str, ...]
    sets: Mapping[str, Mapping[str, Sequence[Shown]]]
    seed: int = 0

    @classmethod
    def of(cls, methods: Mapping[str, Pictures], seed: int = 0) -> Study:
        """From each method's pictures.

        Raises:
            InputError: no method, no picture, or methods of different items or numbers of pictures.
        """
        if len(methods) < 1:
            raise InputError("there is no method to rate; give {name: folder or list of pictures}")
        sets = {name: named_sets(name, pictures) for name, pictures in methods.items()}
        first_name, first = next(iter(sets.items()))
        for name, several in sets.items():
            apart = sorted(set(first) ^ set(several))
            if apart:
                raise InputError(
                    f"{first_name} and {name} do not have the same items ({apart[0]} is only in "
                    "one of them); give a picture of each item for each method"
                )
            uneven = [item for item in first if len(first[item]) != len(several[item])]
            if uneven:
                seen = f"{len(first[uneven[0]])} and {len(several[uneven[0]])} pictures"
                raise InputError(
                    f"{first_name} and {name} have {seen} of {uneven[0]}; give as many of each"
                )
        return cls(tuple(first), sets, seed)

    @property
    def codes(self) -> dict[str, str]:
        """A code for each method, the same for all raters of a study, that says nothing of it."""
        rng = rng_for(self.seed, 0, "codes")
        codes: dict[str, str] = {}
        for name in sorted(self.sets):
            while (code := "".join(rng.choice(list(LETTERS), 3))) in codes.values():
                pass
            codes[name] = code
        return codes

    def several(self) -> bool:
        """Whether some item has more than one picture of a method: only then is there diversity."""
        return any(len(s) > 1 for of_method in self.sets.values() for s in of_method.values())

    def order(self, rater: str) -> list[str]:
        """The items as this rater meets them."""
        shuffled = self._rng(rater, 0, "items").permutation(len(self.items))
        return [self.items[k] for k in shuffled]

    def places(self, rater: str, item: str) -> list[str]:
        """The methods as they stand beside each other for this rater and item."""
        names = sorted(self.sets)
        shuffled = self._rng(rater, 1 + self.items.index(item), "places").permutation(len(names))
        return [names[k] for k in shuffled]

    def _rng(self, rater: str, index: int, purpose: str) -> np.random.Generator:
        return rng_for(self.seed, index, f"{purpose} {zlib.crc32(rater.encode())}")


def named_sets(name: str, pictures: Pictures) -> dict[str, Sequence[Shown]]:
    """Pictures by item, each item's as a list.

    Raises:
        InputError: there is none, or the folder does not exist.
    """
    if isinstance(pictures, str | Path):
        found = _folder(name, Path(pictures))
    elif isinstance(pictures, Mapping):
        found = {str(item): _several(one) for item, one in pictures.items()}
    else:
        found = {f"{k + 1:03d}": _several(one) for k, one in enumerate(pictures)}
    if not found or not all(len(one) for one in found.values()):
        raise InputError(f"{name} has no pictures; give a folder or a list of them")
    return found


def _several(one: Shown | Sequence[Shown]) -> Sequence[Shown]:
    return list(one) if isinstance(one, list | tuple) else [one]  # type: ignore[list-item]


def _folder(name: str, folder: Path) -> dict[str, Sequence[Shown]]:
    if not folder.is_dir():
        raise InputError(f"{name} is {folder}, which is no folder; give one with pictures")
    inside = {path.name: _pictures(path) for path in sorted(folder.iterdir()) if path.is_dir()}
    sets: dict[str, Sequence[Shown]] = {item: found for item, found in inside.items() if found}
    return sets or {path.stem: [path] for path in _pictures(folder)}


def _pictures(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.suffix.lower() in ENDINGS)
