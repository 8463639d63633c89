"""A data set to be looked at: its pairs as the model is shown them, and its figures' spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import NullFormatter

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.data.pairs import IndexedPairs
from anydoor_lab.data.source import MAX_TRIES, PairSource, pair_of, reasons
from anydoor_lab.report.caption import Caption, wrapped
from anydoor_lab.report.figures import OKABE_ITO
from anydoor_lab.report.sheets import DPI, Cell, grid
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

HEADERS = ("reference", "scene", "ID image", "collage", "shape mask")
DRAWN = 2000
"""Pairs that the statistics draw of each set; their pictures stay unread."""


def looked_at(source: PairSource, number: int, seed: int, rejected: Counter[str]) -> Iterator[Pair]:
    """Up to `number` pairs from all over a source; what is refused is counted in `rejected`.

    Raises:
        ValueError: `MAX_TRIES` pairs in a row are unusable, with the counts.
    """
    given, in_a_row = 0, 0
    order = rng_for(seed, 0, "look").permutation(len(source))
    for place in range(max(number + 10 * MAX_TRIES, len(order))):
        entry, rng = int(order[place % len(order)]), rng_for(seed, place, "pair.0")
        try:
            yield pair_of(source, entry, rng)
        except UnusablePair as error:
            rejected[error.reason] += 1
            in_a_row += 1
            if in_a_row == MAX_TRIES:
                seen = f"{MAX_TRIES} pairs in a row are unusable ({reasons(rejected)})"
                raise InputError(f"{seen}; check the pictures, then index again") from error
            continue
        given, in_a_row = given + 1, 0
        if given == number:
            return


def pairs_sheet(
    pairs: Sequence[Pair], conditioner: Conditioner, seed: int, caption: Caption
) -> Figure:
    """A row for each pair: both photos with the object outlined, and what training makes of them.

    Args:
        pairs: at least one.
        conditioner: how they are shown to the model.
        seed: of what the conditioner draws.
        caption: stands below.
    """
    rows: list[list[np.ndarray | Cell]] = []
    for place, pair in enumerate(pairs):
        shown = conditioner.condition_for_training(pair, rng_for(seed, place, "conditioning"))
        inputs = (shown.id_image, 0.0), (shown.collage, -1.0), (shown.shape_mask, -1.0)
        rows.append([
            Cell(pair.reference, pair.reference_mask), Cell(pair.scene, pair.scene_mask),
            *(as_picture(channels, low) for channels, low in inputs),
        ])  # fmt: skip
    captions = [wrapped(pair.origin, 28) for pair in pairs]
    return grid(rows, HEADERS, captions, str(caption))


def statistics(sources: Mapping[str, IndexedPairs], caption: Caption, seed: int = 0) -> Figure:
    """How large the objects of sets are, of which shape, how far apart the two frames of a pair,
    and how many pairs there are of which variation and quality.

    Args:
        sources: the sets by name.
        caption: stands above and below.
        seed: of the pairs that are drawn.
    """
    figure = Figure(figsize=(12.5, 3.4 + 0.18 * len(sources)), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    area, shape, apart, kinds = figure.subplots(1, 4)
    counted: Counter[str] = Counter()
    for place, (name, source) in enumerate(sources.items()):
        colour = OKABE_ITO[place % len(OKABE_ITO)]
        drawn = _drawn(source, seed)
        index, rows = source.index, drawn[:, 1]
        shares = index.numbers("area")[rows]
        tall = (index.numbers("y2") - index.numbers("y1"))[rows]
        wide = (index.numbers("x2") - index.numbers("x1"))[rows]
        how = {"histtype": "step", "color": colour, "linewidth": 1.4, "label": name}
        weights = np.full(len(rows), 1 / len(rows))
        area.hist(shares, bins=np.geomspace(0.005, 1, 30), weights=weights, **how)
        shape.hist(wide / tall, bins=np.geomspace(1 / 8, 8, 30), weights=weights, **how)
        if source.variation != "still":
            frames = index.numbers("frame").astype(np.int64)
            total = index.numbers("frames")[rows]
            distance = np.abs(frames[drawn[:, 0]] - frames[rows]) / total
            apart.hist(distance, bins=np.linspace(0, 1, 31), weights=weights, **how)
        counted[f"{source.variation}, {source.quality} quality"] += len(source)
    if all(source.variation == "still" for source in sources.values()):
        apart.text(0.5, 0.5, "stills: one frame", ha="center", va="center", fontsize=9)
    area.set(xlabel="object's area / picture's", ylabel="share of the pairs")
    shape.set(xlabel="object's width / height")
    apart.set(xlabel="distance of the two frames / frames", xlim=(0, 1))
    for axes, ticks in ((area, (0.01, 0.1, 1)), (shape, (0.125, 0.25, 0.5, 1, 2, 4, 8))):
        axes.set_xscale("log")
        axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=9)
        axes.xaxis.set_minor_formatter(NullFormatter())
    kinds.barh(list(counted), list(counted.values()), height=0.4, color=OKABE_ITO[0])
    kinds.set(xlabel="objects", ylim=(-0.6, max(len(counted), 3) - 0.4))
    kinds.bar_label(kinds.containers[0], fmt="{:,.0f}", padding=2, fontsize=8)
    kinds.margins(x=0.25)
    handles, labels = area.get_legend_handles_labels()
    figure.legend(
        handles, labels, loc="outside upper center", ncols=5, frameon=False, fontsize=8,
        title=caption.heading, title_fontproperties={"size": 11, "weight": "bold"},
    )  # fmt: skip
    figure.supxlabel(wrapped(caption.details, 130), fontsize=8, color="#444444")
    return figure


def _drawn(source: IndexedPairs, seed: int) -> np.ndarray:
    """(N, 2) rows of the index that pairs show, drawn from all over a set."""
    chosen = rng_for(seed, 0, "statistics").integers(len(source), size=DRAWN)
    return np.array(
        [
            source.rows(int(entry), rng_for(seed, place, "pair.0"))
            for place, entry in enumerate(chosen)
        ]
    )
