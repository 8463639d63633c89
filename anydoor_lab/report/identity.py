"""Identity in photographs, as table, rows and sheet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from anydoor_lab.evaluation.identity import Composed, Identity, cut_out_on_white
from anydoor_lab.metrics.interval import (
    Interval,
    paired_difference,
    student_interval,
    wilson_interval,
)
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.sheets import Row, outlined, sheet
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.images import padded_square
from anydoor_lab.structures.rng import rng_for

SCORES = {"first": "R@1", "precision": "mAP", "cosine": "cosine", "lab": "Lab"}
"""Fields of `Identity` and how they are printed."""
CLOSE = 1.6
"""Side of what is shown of a result, over the longer side of the object's box."""


def intervals(found: Identity) -> dict[str, Interval]:
    """Mean and 95 % interval of each score."""
    return {
        "first": wilson_interval(found.first),
        "precision": student_interval(found.precision, (0.0, 1.0)),
        "cosine": student_interval(found.cosine, (-1.0, 1.0)),
        "lab": student_interval(found.lab, (0.0, np.inf)),
    }


def identity_table(ways: Mapping[str, Identity], caption: Caption) -> Table:
    """One row a way, with intervals."""
    rows = []
    for way, found in ways.items():
        row: dict[str, Any] = {"way": way}
        for name, one in intervals(found).items():
            row |= {name: one.mean, f"{name}_low": one.low, f"{name}_high": one.high}
        rows.append(row)
    columns = [
        Column(name, label, digits=1 if name == "lab" else 3,
               better="lower" if name == "lab" else "higher")
        for name, label in SCORES.items()
    ]  # fmt: skip
    return Table(rows, [Column("way"), *columns], caption)


def identity_rows(
    ways: Mapping[str, Identity], measure: str, caption: Caption, **known: Any
) -> list[dict[str, Any]]:
    """The scores, and those of each way less the measure's over the same objects, in the long
    format of `report.rows`.

    Args:
        ways: by name.
        measure: name of the way that the others are compared with; empty for none.
        caption: of the table; its seed, scale, protocol and commit are the rows'.
        known: `data` and `config`.
    """
    known |= {"scale": caption.scale, "seed": caption.seed, "commit": caption.commit}
    known |= {"protocol": caption.protocol}
    found = [(way, SCORES[n], one) for way, f in ways.items() for n, one in intervals(f).items()]
    for way in (way for way in ways if measure and way != measure):
        for name, label in SCORES.items():
            less = differences(ways[measure], ways[way], name)
            found.append((f"{measure} less {way}", f"{label}, paired difference", less))
    return [
        {"variant": way, "metric": label, "value": one.mean, "low": one.low, "high": one.high,
         "n": one.n, **known}
        for way, label, one in found
    ]  # fmt: skip


def differences(one: Identity, other: Identity, score: str) -> Interval:
    """One way's score less another's over the same objects, with a bootstrapped interval."""
    mine, theirs = (np.asarray(getattr(found, score), np.float64) for found in (one, other))
    return paired_difference(mine, theirs, rng_for(0, 0, "paired difference"))


def identity_sheet(
    all_of: Sequence[Composed],
    results: Mapping[str, Sequence[np.ndarray]],
    number: int = 24,
    side_px: int = 128,
) -> np.ndarray:
    """The first objects, unpicked, in two blocks: on white, the place, what each way made of it.

    Args:
        all_of: the objects.
        results: by way, a whole picture for each object; shown around the object.
        number: how many objects.
        side_px: side of a picture.
    """
    cells: list[list[np.ndarray]] = []
    for place, one in enumerate(all_of[:number]):
        height, width = one.mask.shape
        marked = outlined(one.scene, one.box.mask(height, width))
        close = one.box.grown(CLOSE, height, width).squared(height, width)
        made = [each[place][close.slices] for each in results.values()]
        cells.append(
            [cut_out_on_white(one.rgba), *(padded_square(p, 255) for p in (marked, *made))]
        )
    high = -(-len(cells) // 2)
    rows: list[Row] = [
        [*left, *right]
        for left, right in zip(cells[:high], [*cells[high:], []][:high], strict=True)
    ]
    return sheet(rows, side_px, gap_px=4)
