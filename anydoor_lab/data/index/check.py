"""What of a set is there, what is missing, and what is broken: in lines for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from anydoor_lab.data.index.layouts import Release, check_root, layout_of
from anydoor_lab.data.index.store import Index
from anydoor_lab.data.index.views import LEFT_OUT
from anydoor_lab.data.source import reasons
from anydoor_lab.structures.errors import InputError

SHOWN = 5
"""Broken files that are named, of each reason."""


def summary(name: str, index: Index) -> Iterator[str]:
    """Lines on what an index holds: by split what is usable, by reason what is not."""
    for split, (groups, objects, views) in sizes(index).items():
        refused = index.by_split.get(split)
        why = f"; refused {reasons(refused)}" if refused else ""
        where = f"{name} {split}".strip()
        yield f"{where}: {groups:,} groups, {objects:,} objects, {views:,} usable views{why}"
    examples = index.refused.select(["reason", "image", "detail"]).to_pylist()
    for reason in index.rejected:
        named = [row for row in examples if row["reason"] == reason]
        for row in named[:SHOWN] if reason not in LEFT_OUT else ():
            yield f"  {reason}: {row['image']}{' (' + row['detail'] + ')' if row['detail'] else ''}"


def sizes(index: Index) -> dict[str, tuple[int, int, int]]:
    """(groups, objects, usable views) by split."""
    names = index.words("split")
    splits, keys = index.numbers("split"), index.numbers("key")
    objects = index.numbers("object")
    found = {}
    for code, split in enumerate(names):
        own = splits == code
        tracks = np.stack([keys[own], objects[own].astype(np.uint64)], axis=1)
        found[split] = (
            len(np.unique(keys[own])), len(np.unique(tracks, axis=0)), int(own.sum())
        )  # fmt: skip
    return found


def check(name: str, root: Path, release: Release, folder: Path) -> Iterator[str]:
    """Lines on which splits are found, partly found or missing, what to get, and the licence;
    where the set is indexed, its counts beside the published ones.

    Raises:
        ValueError: the root is no folder, or a layout is wrong.
    """
    check_root(root, name)
    states = Counter[str]()
    for split in release.splits:
        layout = layout_of(root, release, split)
        states[layout.state] += 1
        missing = f"; not there: {', '.join(layout.absent)}" if layout.absent else ""
        yield f"{name} {split}".strip() + f": {layout.state} ({layout.reader}){missing}"
    if states["found"] < len(release.splits):
        yield f"to get: {', '.join(release.get)}"
    yield f"licence: {release.licence}"
    try:
        index = Index(folder)
    except InputError:
        yield f"not indexed yet: python -m anydoor_lab.index data={name} data.root={root}"
        return
    yield from _counts(index, release)
    yield from summary(name, index)


def _counts(index: Index, release: Release) -> Iterator[str]:
    found = {split: groups for split, (groups, _, _) in sizes(index).items()}
    for split, expected in release.expected.items():
        number = found.get(split, 0)
        share = f" ({number / expected:.1%})" if expected else ""
        yield f"{split or 'all'}: {number:,} of {expected:,} published groups are usable{share}"
    if release.table1:
        total = sum(found.values())
        yield f"all splits here: {total:,}; Table 1 of the paper counts {release.table1:,}"
