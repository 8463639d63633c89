"""How a set lies on this disk: which of its known layouts is there, and what of it is missing."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from anydoor_lab.data.index.build import reader_of
from anydoor_lab.data.index.schema import check_installed
from anydoor_lab.data.index.views import Spec
from anydoor_lab.structures.errors import InputError


@dataclass(frozen=True, slots=True)
class Release:
    """What is known of a set as it is released.

    Args:
        splits: the released splits that are used; "" where there are none.
        layouts: the layouts in which it is found, the most usual first; each names its `reader`
            and what that takes, `{split}` standing for the split.
        expected: number of groups (videos, instances, pictures) by split, as published.
        table1: number of them in Table 1 of the paper.
        licence: in words.
        get: names of what to get.
    """

    splits: Sequence[str]
    layouts: Sequence[Mapping[str, Any]]
    expected: Mapping[str, int]
    licence: str
    get: Sequence[str] = ()
    table1: int | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """A layout for one split, and which of its files and folders are there."""

    split: str
    reader: str
    options: Mapping[str, Any]
    present: tuple[str, ...]
    absent: tuple[str, ...]

    @property
    def state(self) -> str:
        """found, partly found or missing."""
        if not self.absent:
            return "found"
        return "partly found" if self.present else "missing"


def layout_of(root: Path, release: Release, split: str) -> Layout:
    """The first layout that is wholly there, else the one of which most is.

    Raises:
        ValueError: a layout names no reader, or has keys that its reader does not take.
    """
    found = [_looked_up(root, layout, split) for layout in release.layouts]
    if not found:
        raise InputError("release.layouts is empty; expected at least one layout")
    whole = [layout for layout in found if not layout.absent]
    return whole[0] if whole else max(found, key=lambda layout: len(layout.present))


def _looked_up(root: Path, layout: Mapping[str, Any], split: str) -> Layout:
    options = {
        name: value.replace("{split}", split) if isinstance(value, str) else value
        for name, value in layout.items()
    }
    kind = str(options.pop("reader", ""))
    reader = reader_of(kind)
    taken = set(inspect.signature(reader.parts).parameters) - {"root"}
    if unknown := sorted(set(options) - taken):
        known = ", ".join(sorted(taken))
        raise InputError(f"the layout of {kind} has no {', '.join(unknown)}; it has {known}")
    needed = [str(options.get(name, "")) for name in reader.REQUIRED]
    there = {name: (root / name).exists() for name in needed}
    present = tuple(name for name in needed if there[name])
    return Layout(split, kind, options, present, tuple(n for n in needed if not there[n]))


def check_root(root: Path, name: str) -> None:
    """Raise ValueError unless the root is a folder that can be listed."""
    if not root.is_dir():
        seen = "is no folder" if root.exists() else "does not exist"
        raise InputError(f"data.root={root} {seen}; give the folder that holds {name}")


def specs_of(name: str, root: Path, release: Release, folder: Path) -> Iterator[Spec]:
    """All parts of the splits that are there, with what indexing them needs.

    Raises:
        ValueError: none of the splits is there, with what was looked for; or a file is damaged.
    """
    check_installed()
    check_root(root, name)
    layouts = [layout_of(root, release, split) for split in release.splits]
    there = [layout for layout in layouts if not layout.absent]
    if not there:
        missing = ", ".join(sorted({name for layout in layouts for name in layout.absent}))
        raise InputError(
            f"{root} holds none of {name}'s splits: {missing} not found; "
            f"to get: {', '.join(release.get)} (do=check lists what is there)"
        )
    for layout in there:
        reader = reader_of(layout.reader)
        for part in reader.parts(root, **layout.options):
            yield Spec(
                name, layout.split, release.licence, layout.reader, layout.options,
                str(root), str(folder), part,
            )  # fmt: skip
