"""What is in the box: each object's names, where its pixels are, and under which licence."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from typing import Any

from anydoor_lab.data.source import Split
from anydoor_lab.structures.errors import InputError

HELD_OUT_CATEGORIES = ("musical-instrument", "food-sweet", "animal-marine")
"""Categories of which the train split holds nothing."""
HELD_OUT_ONE_IN = 10
"""About one family of the other categories in so many is held out as well."""
CHOSEN_ONE_IN = 4
"""About one family in so many is held out where categories are chosen: there are few."""
LICENCES = ("public domain", "CC0-1.0", "CC-BY-2.0", "CC-BY-4.0", "MIT", "Apache-2.0", "BSD", "OFL")
"""What the pictures of the package may be under; `build.py` and a test refuse anything else."""
MADE = ("filled", "drawn")
"""Groups of things that are made here and have no group of Unicode's."""
_WORDS = ("name", "group", "category", "family")


@dataclass(frozen=True, slots=True)
class Thing:
    """An object's names, and where its pictures are.

    Args:
        name: as Unicode's CLDR spells it ("red apple"), or a file's name.
        group: one of few ("food-drink").
        category: one of many ("food-fruit").
        family: what it shares with objects that are hard to tell from it ("apple").
        code: the name of its file in the original set.
        still: where its rendering is; None where there are only frames.
        frames: where the frames of its clip are; empty where it has none.
    """

    name: str
    group: str
    category: str
    family: str
    code: str = ""
    still: Any = None
    frames: tuple[Any, ...] = field(default=())

    @property
    def caption(self) -> str:
        """The name in words, with the group of what has one: "a red apple, food and drink"."""
        words = with_article(self.name)
        return words if self.group in MADE else f"{words}, {self.group.replace('-', ' and ')}"


def with_article(name: str) -> str:
    """A name with "a" or "an" before it."""
    return f"{'an' if name[:1].lower() in 'aeio' else 'a'} {name}"


def is_held_out(thing: Thing) -> bool:
    """Whether a thing belongs to the held-out split: by its category or family, nothing else."""
    if thing.category in HELD_OUT_CATEGORIES:
        return True
    return _nth_family(thing, HELD_OUT_ONE_IN)


def of_split(
    things: Iterable[Thing], split: Split, categories: Sequence[str] | None = None
) -> list[Thing]:
    """The things of one split, in their order; with `categories` only of these, split by family
    alone, also those that the embedded networks never saw.

    Raises:
        ValueError: a category that no thing has.
    """
    things = list(things)
    if categories is None:
        return [thing for thing in things if is_held_out(thing) == (split == "held_out")]
    known = {thing.category for thing in things}
    if unknown := [name for name in categories if name not in known]:
        seen = f"data.categories names {unknown[0]!r}"
        raise InputError(f"{seen}; expected some of {', '.join(sorted(known))}")
    chosen = [thing for thing in things if thing.category in categories]
    return [t for t in chosen if _nth_family(t, CHOSEN_ONE_IN) == (split == "held_out")]


def _nth_family(thing: Thing, number: int) -> bool:
    """Whether a thing is of the one family among so many that is held out."""
    return zlib.crc32(thing.family.encode()) % number == 0


@cache
def packaged_index() -> Mapping[str, Any]:
    """The checked content of the package's index.

    Raises:
        ValueError: an entry lacks a name or a licence.
    """
    text = resources.files("anydoor_lab.data.things").joinpath("assets/index.json")
    index: Mapping[str, Any] = json.loads(text.read_text("utf-8"))
    check_index(index)
    return index


def check_index(index: Mapping[str, Any]) -> None:
    """Raise ValueError where an entry lacks a word, or a picture a licence that allows its use."""
    for kind in ("objects", "clips"):
        for entry in index[kind]:
            lacking = [word for word in _WORDS if not entry.get(word)]
            if lacking:
                seen = f"the entry of {kind} with code {entry.get('code')!r} lacks {lacking[0]!r}"
                raise InputError(f"{seen}; give it one, captions and the split need it")
            _check_licence(f"{kind}: {entry['name']}", index["packages"].get(entry.get("package")))
            if kind == "clips" and not entry.get("frames", 0) > 1:
                seen = f"clip {entry['name']!r} has {entry.get('frames', 0)} frame(s)"
                raise InputError(f"{seen}; a clip needs two or more, make it an object")
    for entry in index["scenes"]:
        photo = entry.get("photo")
        _check_licence(f"scene of {photo!r}", index["photos"].get(photo))


def _check_licence(what: str, facts: Mapping[str, Any] | None) -> None:
    """Raise ValueError unless the licence of a picture's source is known and one of `LICENCES`."""
    if not facts or not facts.get("licence"):
        raise InputError(f"{what} has no licence entry; say where it comes from, or leave it out")
    if facts["licence"] not in LICENCES:
        seen = f"{what} is under {facts['licence']!r}"
        raise InputError(f"{seen}; expected one of {', '.join(LICENCES)}, leave it out")


def packaged_things() -> list[Thing]:
    """All objects of the package, each with the cells of its rendering and of its clip."""
    index = packaged_index()
    first, clips = 0, {}
    for entry in index["clips"]:
        cells = tuple(("clips", first + number) for number in range(entry["frames"]))
        clips[entry["code"]] = cells
        first += entry["frames"]
    return [
        Thing(
            **{word: entry[word] for word in _WORDS},
            code=entry["code"],
            still=("objects", cell),
            frames=clips.get(entry["code"], ()),
        )
        for cell, entry in enumerate(index["objects"])
    ]
