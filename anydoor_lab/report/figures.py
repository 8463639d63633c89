"""Figures of numbers: arrays and rows in, matplotlib `Figure` out (never pyplot's state)."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter, LogLocator, NullFormatter

from anydoor_lab.metrics.interval import interval_from_sums
from anydoor_lab.report.caption import Caption, wrapped
from anydoor_lab.report.sheets import DPI, READ_AT_PX, TEXT_PX
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole

OKABE_ITO = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
"""Colours that colour-blind readers can tell apart (Okabe and Ito, 2008)."""
LINES: tuple[Any, ...] = ("--", ":", "-.", (0, (1, 1)), (0, (5, 1, 1, 1, 1, 1)))
WIDTH_IN = 9.0
TEXT_PT = round(TEXT_PX * WIDTH_IN * 72 / READ_AT_PX)
"""Size of all text in a figure of numbers (matplotlib's own, too), as in a grid of pictures."""
SET = "loss/set/"
"""How the losses of a mixture's sets are called."""
SCORES = {"clip": "CLIP score ↑", "dino": "DINO score ↑"}


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure by the path's suffix (.png, .pdf, .svg), tightly cut, whole or not at all."""
    buffer = io.BytesIO()
    suffix = Path(path).suffix.lstrip(".") or "png"
    # no creation date: the same figure gives the same file
    undated = {"png": {}, "pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(suffix, {})
    figure.savefig(
        buffer, format=suffix, dpi=figure.dpi, bbox_inches="tight", pad_inches=0.08,
        facecolor="white", metadata=undated,
    )  # fmt: skip
    return write_whole(path, buffer.getvalue())


def compare_runs(
    rows: Sequence[Mapping[str, Any]],
    caption: Caption,
    anchors: Mapping[str, Mapping[str, float]] | None = None,
    scores: Mapping[str, str] = SCORES,
) -> Figure:
    """One panel per score, one line per run: its mean with the 95 % interval.

    Args:
        rows: `run` (name) and for each score `<key>`, optionally `<key>_low`, `<key>_high`.
        caption: stands above (heading) and below (what the numbers depend on).
        anchors: what frames the scale, name to scores: copy-paste, true second view, another
            object.
        scores: key in the rows to axis label.

    Raises:
        ValueError: there is no row, or no score in any.
    """
    held = {key for row in rows for key, value in row.items() if value is not None}
    shown = {key: label for key, label in scores.items() if key in held}
    if not shown:
        raise InputError(f"{len(rows)} rows hold none of {', '.join(scores)}; give rows with them")
    figure, panels = _panels(len(shown), 1.5 + 0.36 * len(rows), sharey=True)
    for axes, (key, label) in zip(panels, shown.items(), strict=True):
        _draw_runs(axes, rows, key)
        _draw_anchors(axes, anchors or {}, key)
        axes.set_xlabel(label)
        axes.margins(x=0.1)  # room for the numbers
        axes.grid(axis="x", color="#dddddd", linewidth=0.6)
        axes.tick_params(axis="y", length=0)
    panels[0].set_yticks(range(len(rows)), [str(row["run"]) for row in rows])
    panels[0].set_ylim(len(rows) - 0.5, -0.5)
    handles, labels = panels[0].get_legend_handles_labels()
    named = [(h, name) for h, name in zip(handles, labels, strict=True) if name in (anchors or {})]
    _caption(figure, caption, named)
    return figure


def loss_curves(rows: Sequence[Mapping[str, Any]], caption: Caption, smooth: int = 15) -> Figure:
    """Training loss over samples seen: in all, by timestep, by the pairs' variation and, of a
    mixture, by its sets.

    Args:
        rows: the lines of `metrics.jsonl`: `samples`, `loss`, `loss/t_<from>_<to>`,
            `loss/<variation>` and `loss/set/<name>`; a panel without a key is left out.
        caption: as in `compare_runs`.
        smooth: rows of the running median drawn over the pale raw values.

    Raises:
        ValueError: no row has `samples` and `loss`.
    """
    frame = pd.DataFrame(list(rows))
    if not {"samples", "loss"} <= set(frame.columns):
        seen = ", ".join(map(str, frame.columns)) or "nothing"
        raise InputError(f"the rows hold {seen}; expected samples and loss, give metrics.jsonl")
    groups = [str(name) for name in frame.columns if str(name).startswith("loss/")]
    by_time = sorted((g for g in groups if g.startswith("loss/t_")), key=_first_timestep)
    by_set = sorted(group for group in groups if group.startswith(SET))
    by_variation = [group for group in groups if group not in by_time + by_set]
    parts = {"all samples": ["loss"], "by timestep": by_time, "by variation": by_variation}
    parts |= {"by set": by_set}
    parts = {name: keys for name, keys in parts.items() if keys}
    tall = max(0, len(by_set) - 4) * 0.11  # inches for the rows of a long legend
    figure, panels = _panels(len(parts), 3.4 + tall, sharey=False)
    for axes, (name, keys) in zip(panels, parts.items(), strict=True):
        for number, key in enumerate(keys):
            _draw_curve(axes, frame[["samples", key]].dropna(), key, number, smooth)
        axes.set(xlabel="samples seen", yscale="log")
        axes.set_title(name, fontsize=TEXT_PT)
        _number_axes(axes)
        if len(keys) > 1:  # below the axes: no curve runs there
            axes.legend(
                loc="upper center", bbox_to_anchor=(0.5, -0.28), frameon=False, ncols=2,
                columnspacing=1.0, handlelength=1.6,
            )  # fmt: skip
    panels[0].set_ylabel("loss")
    _caption(figure, caption)
    return figure


def timestep_curves(
    t: np.ndarray,
    panels: Mapping[str, Mapping[str, np.ndarray]],
    caption: Caption,
    ylabel: str,
    stepped: bool = False,
) -> Figure:
    """Curves over the timesteps, in the order of denoising: noise on the left, picture right.

    Args:
        t: (T,) timesteps.
        panels: a panel's title to its lines, name to (T,) values, or to (T, N) of N pictures: their
            mean with a band, its 95 % interval. All panels share the value axis and the names,
            which stand in one legend.
        caption: as in `compare_runs`.
        ylabel: of the values.
        stepped: draw steps, as of a histogram whose bins have their centres at `t`.

    Raises:
        ValueError: there is no panel.
    """
    if not panels:
        raise InputError("there is no panel to draw; give at least one")
    figure, drawn = _panels(len(panels), 3.4, sharey=True)
    for axes, (name, lines) in zip(drawn, panels.items(), strict=True):
        for number, (line, values) in enumerate(lines.items()):
            style = {"color": _colours(number + 1)[-1], "linestyle": ("-", *LINES)[number % 6]}
            draw = "steps-mid" if stepped else "default"
            shown = _banded(axes, t, values, style["color"]) if np.ndim(values) > 1 else values
            axes.plot(t, shown, label=line, linewidth=1.6, drawstyle=draw, **style)
        axes.set_xlabel("timestep t (early → late)")
        axes.set_title(name, fontsize=TEXT_PT)
        axes.invert_xaxis()
        axes.grid(color="#dddddd", linewidth=0.6)
    drawn[0].set_ylabel(ylabel)
    drawn[0].set_ylim(bottom=0)
    _caption(figure, caption, list(zip(*drawn[0].get_legend_handles_labels(), strict=True)))
    return figure


def _banded(axes: Axes, t: np.ndarray, values: np.ndarray, colour: str) -> np.ndarray:
    """The means (T,) of (T, N) values, their interval drawn as a band."""
    totals, squares = values.sum(axis=1), (values**2).sum(axis=1)
    found = [
        interval_from_sums(*sums, values.shape[1]) for sums in zip(totals, squares, strict=True)
    ]
    low, high = np.array([one.low for one in found]), np.array([one.high for one in found])
    axes.fill_between(t, low, high, color=colour, alpha=0.15, linewidth=0)
    return np.array([one.mean for one in found])


def _panels(number: int, height_in: float, sharey: bool) -> tuple[Figure, Sequence[Axes]]:
    rows = 1 if number < 4 else 2  # a fourth would leave no room for their numbers
    figure = Figure(figsize=(WIDTH_IN, rows * height_in), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(rows, -(-number // rows), sharey=sharey, squeeze=False).flat)
    for axes in panels:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, panels


def _draw_runs(axes: Axes, rows: Sequence[Mapping[str, Any]], key: str) -> None:
    means = np.array([row.get(key, np.nan) for row in rows], float)
    bounds = [[row.get(f"{key}_{end}", np.nan) for row in rows] for end in ("low", "high")]
    low, high = (np.array(bound, float) for bound in bounds)
    errors = np.nan_to_num(np.stack([means - low, high - means]))
    places = np.arange(len(rows))
    digits = 1 if (np.abs(means) > 1).any() else 3
    axes.errorbar(
        means, places, xerr=errors, fmt="o", color=OKABE_ITO[0], markersize=6, capsize=3.5,
        linewidth=1.6, zorder=3,
    )  # fmt: skip
    for mean, place in zip(means, places, strict=True):
        if np.isfinite(mean):
            axes.annotate(
                f"{mean:.{digits}f}", (mean, place), (0, 5), textcoords="offset points",
                ha="center", va="bottom", fontsize=TEXT_PT, zorder=4,
            )  # fmt: skip


def _draw_anchors(axes: Axes, anchors: Mapping[str, Mapping[str, float]], key: str) -> None:
    for number, (name, values) in enumerate(anchors.items()):
        style = {"color": OKABE_ITO[1 + number % 5], "linestyle": LINES[number % len(LINES)]}
        # an anchor without this score keeps its place in the legend
        value = values.get(key)
        axes.axvline(
            np.nan if value is None else value, label=name, linewidth=1.4, zorder=2, **style
        )


def _draw_curve(axes: Axes, frame: pd.DataFrame, key: str, number: int, smooth: int) -> None:
    colour, line = _colours(number + 1)[-1], ("-", *LINES)[number % 6]
    window = min(smooth, 1 + len(frame) // 5)  # a short run keeps its shape
    median = frame[key].rolling(window, min_periods=1, center=True).median()
    axes.plot(frame["samples"], frame[key], color=colour, alpha=0.25, linewidth=0.7)
    label = key.removeprefix(SET).removeprefix("loss/")
    label = re.sub("^t_", "t ", label).replace("_", "–")
    marker = "o" if len(frame) < 3 else ""  # a line of one point cannot be seen
    axes.plot(
        frame["samples"], median, color=colour, linewidth=1.6, linestyle=line, label=label,
        marker=marker, markersize=4,
    )  # fmt: skip


def _number_axes(axes: Axes) -> None:
    """100k instead of 100000, 0.02 instead of 2 x 10^-2, and a pale grid."""
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:g}")
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.tick_params(axis="both", which="both", labelsize=TEXT_PT)
    axes.grid(color="#dddddd", linewidth=0.6)


def _first_timestep(key: str) -> int:
    return int(key.split("_")[1])


def _colours(number: int) -> list[str]:
    return [OKABE_ITO[index % len(OKABE_ITO)] for index in range(number)]


def _caption(figure: Figure, caption: Caption, legend: Sequence[tuple[Any, str]] = ()) -> None:
    """Heading above, facts below; a legend carries the heading itself, else the two collide."""
    if legend:
        handles, names = zip(*legend, strict=True)
        figure.legend(
            handles, names, loc="outside upper center", ncols=4, frameon=False, fontsize=TEXT_PT,
            title=caption.heading, title_fontproperties={"size": TEXT_PT, "weight": "bold"},
        )  # fmt: skip
    else:
        figure.suptitle(caption.heading, fontsize=TEXT_PT, fontweight="bold")
    if caption.details:
        text = wrapped(caption.details, 110)
        figure.supxlabel(text, fontsize=TEXT_PT, color="#444444")
