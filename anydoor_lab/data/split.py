"""What is held out: objects, never single pictures of one."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping
from hashlib import sha256

from anydoor_lab.data.source import Split
from anydoor_lab.structures.errors import InputError

SMALLEST_SPLIT = 5
"""With fewer entries than this nothing is held out: both splits hold all of them."""


def split_names(names: Iterable[str], split: Split, seed: int, held_out: float) -> frozenset[str]:
    """The names that belong to a split, each an object of its own; see `split_objects`."""
    return split_objects({name: name for name in names}, split, seed, held_out)


def split_objects(
    objects: Mapping[str, str], split: Split, seed: int, held_out: float
) -> frozenset[str]:
    """The names that belong to a split; all names of one object fall into the same one.

    Objects are ranked by a hash of (seed, object) and held out until the share of names is met as
    nearly as they allow, so adding a picture moves few others. Where `nothing_held_out` has a
    reason, both splits hold everything; otherwise each has at least one object.

    Args:
        objects: the object of each name.
        split: which part to give.
        seed: decides which objects are held out.
        held_out: share of the names held out, in [0, 1).

    Raises:
        ValueError: `split` or `held_out` is not what is expected.
    """
    if split not in ("train", "held_out"):
        raise InputError(f"split is {split!r}; expected 'train' or 'held_out'")
    if not 0 <= held_out < 1:
        raise InputError(f"held_out is {held_out}; expected a share in [0, 1)")
    if nothing_held_out(objects, held_out):
        return frozenset(objects)
    sizes = Counter(objects.values())
    ranked = sorted(sizes, key=lambda name: _rank(seed, name))
    wanted, number = max(round(held_out * len(objects)), 1), 0
    chosen: set[str] = set()
    for name in ranked:
        nearer = abs(number + sizes[name] - wanted) < abs(number - wanted)
        if nearer and len(chosen) < len(ranked) - 1:
            chosen.add(name)
            number += sizes[name]
    chosen = chosen or {min(ranked, key=lambda name: sizes[name])}
    inside = split == "held_out"
    return frozenset(name for name, own in objects.items() if (own in chosen) == inside)


def nothing_held_out(objects: Mapping[str, str], held_out: float) -> str:
    """Why training and scoring are given the same pictures, as a sentence; empty if they are not.

    Args:
        objects, held_out: as for `split_objects`.
    """
    number, different = len(objects), len(set(objects.values()))
    if held_out and number >= SMALLEST_SPLIT and different > 1:
        return ""
    why = f"of {number}"
    if held_out and number >= SMALLEST_SPLIT:
        why = f"of {number}, which all show one object"
    return f"nothing is held out {why}: train and held_out are the same"


def _rank(seed: int, name: str) -> bytes:
    return sha256(os.fsencode(f"{seed}/{unicodedata.normalize('NFC', name)}")).digest()
