"""Encoders alone, as tables: how often an object is found by another picture of it (Sec. 3.1)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from anydoor_lab.analysis.features import Compared
from anydoor_lab.metrics.interval import Interval, paired_difference, wilson_interval
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.rng import rng_for

WAYS: Mapping[Compared, str] = {"global": "G", "pooled": "G + mean P", "tokens": "G+P"}
"""How two objects are compared, in the words of Table 3."""


@dataclass(frozen=True, slots=True)
class Look:
    """An encoder, how its tokens are compared, and whether the background is removed (Seg)."""

    encoder: str
    compared: Compared
    seg: bool

    def __str__(self) -> str:
        return f"{self.encoder} ({WAYS[self.compared]})" + " + Seg" * self.seg


Hits = Mapping[Look, np.ndarray]
"""For each way of looking (N,) bool, whether each object was found; the objects are the same."""


def retrieval_table(hits: Hits, caption: Caption) -> Table:
    """R@1 in % with Wilson's 95 % interval: a row an encoder and Seg, a column a way."""
    rows: dict[tuple[str, bool], dict[str, Any]] = {}
    for look, right in hits.items():
        row = rows.setdefault((look.encoder, look.seg), {"encoder": look.encoder})
        row |= {"seg": "yes" if look.seg else "no"}
        row |= _cell(look.compared, wilson_interval(right, 100.0))
    columns = [Column("encoder"), Column("seg", "Seg")]
    columns += [Column(way, f"R@1, {label}", "%", better="higher") for way, label in WAYS.items()]
    return Table(list(rows.values()), columns, caption)


def difference_table(hits: Hits, caption: Caption) -> Table:
    """Differences of R@1 over the same objects, in points, with bootstrapped 95 % intervals."""
    rows = [
        {"difference": said, **_cell("points", _difference(hits[one], hits[other]))}
        for said, one, other in _compared(hits)
    ]
    return Table(rows, [Column("difference"), Column("points", "R@1", "points")], caption)


def retrieval_rows(hits: Hits, caption: Caption, **known: Any) -> list[dict[str, Any]]:
    """R@1 and the paired differences in the long format of `report.rows`.

    Args:
        hits: see `Hits`.
        caption: of the tables; its seed, scale and commit are the rows'.
        known: `data` and `config`.
    """
    known |= {"scale": caption.scale, "seed": caption.seed, "commit": caption.commit}
    known |= {"protocol": caption.protocol}
    found = [(str(look), "R@1", wilson_interval(right, 100.0)) for look, right in hits.items()]
    found += [
        (said, "R@1, paired difference", _difference(hits[one], hits[other]))
        for said, one, other in _compared(hits)
    ]
    return [
        {"variant": variant, "metric": metric, "value": interval.mean, "low": interval.low,
         "high": interval.high, "n": interval.n, **known}
        for variant, metric, interval in found
    ]  # fmt: skip


def _compared(hits: Hits) -> Iterator[tuple[str, Look, Look]]:
    """What is worth comparing: the tokens, Seg, and the encoders as the paper uses them."""
    encoders = list(dict.fromkeys(look.encoder for look in hits))
    for name in encoders:
        whole, cut = Look(name, "tokens", True), Look(name, "global", True)
        yield f"{name}: G+P less G, with Seg", whole, cut
        yield f"{name}: Seg less none, G+P", whole, Look(name, "tokens", False)
        yield f"{name}: Seg less none, G", cut, Look(name, "global", False)
    for place, name in enumerate(encoders):
        for other in encoders[place + 1 :]:
            ends = Look(name, "tokens", True), Look(other, "tokens", True)
            yield f"{name} less {other}, G+P with Seg", *ends


def _difference(one: np.ndarray, other: np.ndarray) -> Interval:
    rng = rng_for(0, 0, "paired difference")
    return paired_difference(100.0 * one, 100.0 * other, rng, bounds=(0.0, 100.0))


def _cell(key: str, interval: Interval) -> dict[str, float]:
    return {key: interval.mean, f"{key}_low": interval.low, f"{key}_high": interval.high}
