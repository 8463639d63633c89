"""What the pairs of a data set are: the page of Table 1 for the sets that are embedded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from anydoor_lab.data.source import PairSource, pair_of
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

KINDS = ("still", "video", "multiview")


def drawn_pairs(source: PairSource, number: int, rejected: Counter[str]) -> Iterable[Pair]:
    """The first usable ones of `number` pairs, spread over the source's entries."""
    for index in range(number):
        entry = index * len(source) // number
        try:
            yield pair_of(source, entry, rng_for(0, index, "table of datasets"))
        except UnusablePair as error:
            rejected[error.reason] += 1


def dataset_row(name: str, sources: Mapping[str, PairSource], number: int) -> dict[str, Any]:
    """One row of Table 1: entries to train on and held out, and what `number` drawn pairs are.

    Args:
        name: of the data set.
        sources: its `train` and `held_out` sides.
        number: pairs that are looked at.
    """
    rejected: Counter[str] = Counter()
    pairs = list(drawn_pairs(sources["train"], number, rejected))
    shares = np.array([[p.reference_mask.mean(), p.scene_mask.mean()] for p in pairs]) * 100
    kinds: Counter[str] = Counter(pair.variation for pair in pairs)
    high = np.mean([pair.quality == "high" for pair in pairs])
    height, width = pairs[0].scene.shape[:2]
    return {
        "dataset": name,
        "samples": len(sources["train"]),
        "held_out": len(sources["held_out"]),
        **{kind: 100 * kinds[kind] / len(pairs) for kind in KINDS},
        "high": 100 * float(high),
        "reference_area": float(shares[:, 0].mean()),
        "scene_area": float(shares[:, 1].mean()),
        "least_area": float(np.quantile(shares[:, 1], 0.05)),
        "most_area": float(np.quantile(shares[:, 1], 0.95)),
        "picture": f"{height} x {width}",
        "rejected": rejected.total(),
        "n": len(pairs),
    }


def dataset_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Table 1's page of these rows."""
    columns = [
        Column("dataset"), Column("samples", "# samples"), Column("held_out", "held out"),
        *(Column(kind, kind.replace("multiview", "multi-view"), "%") for kind in KINDS),
        Column("high", "high quality", "%"), Column("picture", unit="px"),
        Column("reference_area", "object in reference", "% of area"),
        Column("scene_area", "object in scene", "% of area"),
        Column("least_area", "5th percentile", "%"), Column("most_area", "95th", "%"),
        Column("rejected"),
    ]  # fmt: skip
    caption = Caption("Embedded data sets, as Table 1", seed=0, n=rows[0]["n"])
    return Table(rows, columns, caption)
