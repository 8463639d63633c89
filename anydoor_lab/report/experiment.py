"""An experiment of the paper, from its runs: rows, table, figure, order of the paper."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from anydoor_lab.metrics.interval import at_an_end, student_interval
from anydoor_lab.metrics.ranks import rank_agreement
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.differences import bounds_in, difference_rows, mean_over_seeds
from anydoor_lab.report.figures import compare_runs, save
from anydoor_lab.report.pictures import picture_grid
from anydoor_lab.report.printed import read_paper
from anydoor_lab.report.rows import long_rows, rows_frame, scores_of
from anydoor_lab.report.scored import Scored, pictures_of, read_runs
from anydoor_lab.report.scores import anchor_rows, metric_columns, panels_of
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.rng import rng_for

ROWS = "rows.csv"
FIRST = ("clip", "dino", "attribute_accuracy", "attribute_accuracy_letter", "background_psnr",
         "diversity")  # fmt: skip
"""The metrics of an experiment's first table, where its runs have them."""
MOST_COLUMNS = 6
"""Metrics in a table: more are too wide to be read."""
WHOLE = ("idx=dinov2", "collage=hf", "component=full", "preset=exact", "anydoor",
         "guidance=2", "steps=20")  # fmt: skip
"""The paper's own choices, else what the embedded network is used with, as variants are called:
the others' differences are to them."""
Noted = Mapping[str, Mapping[str, str]]
"""Notes by data set and variant."""


def rows_of_runs(runs: Sequence[Scored], paired: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Every number of every run, once for each data set what frames them, and the `paired_rows`,
    in the long format of `report.rows`."""
    rows: list[dict[str, Any]] = []
    for run in runs:
        rows += _long(run, run.variant, run.row, run.seed)
    for run in {run.data: run for run in reversed(runs)}.values():
        for row in run.anchors:
            rows += _long(run, str(row["run"]), row, None)
    return rows_frame([*rows, *paired])


def base_of(variants: Sequence[str]) -> str:
    """The variant that the others' differences are to: all of whose choices are the paper's own,
    else the first."""
    return next((v for v in variants if set(v.split(" ")) <= set(WHOLE)), variants[0])


def paired_rows(runs: Sequence[Scored]) -> list[dict[str, Any]]:
    """How much higher each variant on one data set is than the base, paired pair by pair, in the
    long format: of each pair's mean over the seeds that both have, bootstrapped over the pairs."""
    by_variant = by_name(runs)
    base = by_variant.pop(base_of(list(by_variant)))
    seeds, rows = {run.seed: run for run in base}, []
    for of_one in by_variant.values():
        shared = [run for run in of_one if run.seed in seeds]
        sides = [[seeds[run.seed] for run in shared], shared]
        if shared:
            means = [mean_over_seeds([run.scores for run in side]) for side in sides]
            known = {"data": shared[0].data, "config": shared[0].config}
            named = zip((base[0].variant, shared[0].variant), means, strict=True)
            rows += difference_rows([(name, {**scores, **known}) for name, scores in named])
    return rows


def by_name(runs: Sequence[Scored]) -> dict[str, list[Scored]]:
    """The runs by their variant, in the order they come in."""
    found: dict[str, list[Scored]] = {}
    for run in runs:
        found.setdefault(run.variant, []).append(run)
    return found


def _long(
    run: Scored, variant: str, row: Mapping[str, Any], seed: int | None
) -> list[dict[str, Any]]:
    known = {"data": run.data, "commit": str(run.scores["commit"]), "config": run.config}
    return long_rows(variant, scores_of(run.scores, row), seed=seed, **known)


def mean_row(runs: Sequence[Scored]) -> dict[str, Any]:
    """One variant's means over its seeds, with Student's interval over the seeds; of a single
    seed, and where all seeds stand at one end of a scale in per cent, a run's own interval, over
    the pairs."""
    row: dict[str, Any] = {"variant": runs[0].variant, "seeds": str(len(runs))}
    for metric in (column.key for column in metric_columns(run.row for run in runs)):
        scored = [run for run in runs if run.row.get(metric) is not None]
        values = np.array([run.row[metric] for run in scored])
        keys, bounds = (metric, *_ends(metric)), bounds_in(scored[0].scores, metric)
        if len(values) == 1 or at_an_end(values, bounds):
            row |= {key: scored[0].row.get(key) for key in keys}
        else:
            found = student_interval(values, bounds)
            row |= dict(zip(keys, (found.mean, found.low, found.high), strict=True))
    return row


def _ends(metric: str) -> tuple[str, str]:
    return f"{metric}_low", f"{metric}_high"


def agreement_rows(runs: Sequence[Scored], paper: pd.DataFrame) -> list[dict[str, Any]]:
    """Kendall's tau with the printed numbers, for each data set and metric that both have."""
    rows = []
    for data in sorted({run.data for run in runs}):
        for metric, printed in paper.groupby("metric", sort=False):
            known = dict(zip(printed["variant"], printed["value"], strict=True))
            chosen = [run for run in runs if run.data == data and run.variant in known]
            singles = _singles(chosen, str(metric))
            if len(singles) < 2:
                continue
            values = [known[variant] for variant in singles]
            rng = rng_for(0, 0, f"rank agreement {data} {metric}")
            found = rank_agreement(values, list(singles.values()), rng)
            tau = {"tau": found.mean, "low": found.low, "high": found.high}
            rows.append({"data": data, "metric": metric, **tau, "variants": found.n})
    return rows


def _singles(runs: Sequence[Scored], metric: str) -> dict[str, np.ndarray]:
    """(S, P) single scores of each variant; of a metric that some pairs lack, its mean alone."""
    singles: dict[str, list[Any]] = {}
    whole = all(f"{metric}_each" in run.row for run in runs)
    for run in runs:
        if run.row.get(metric) is not None:
            each = run.row[f"{metric}_each"] if whole else [run.row[metric]]
            singles.setdefault(run.variant, []).append(each)
    return {variant: np.array(values, np.float64) for variant, values in singles.items()}


def table_rows(runs: Sequence[Scored], paper: pd.DataFrame) -> list[dict[str, Any]]:
    """One row a variant: the paper's name and numbers, where it prints some, beside ours."""
    called = dict(zip(paper["variant"], paper["printed"], strict=True))
    printed = paper.pivot_table(index="variant", columns="metric", values="value", sort=False)
    rows = []
    for variant, of_one in by_name(runs).items():
        beside = printed.loc[variant].to_dict() if variant in printed.index else {}
        theirs = {f"paper_{metric}": value for metric, value in beside.items()}
        rows.append({**mean_row(of_one), "paper": called.get(variant, ""), **theirs})
    return rows


def tables_of(rows: Sequence[Mapping[str, Any]], caption: Caption) -> list[Table]:
    """The tables of `table_rows`, of rows with nothing but a `note`, and of anchors: the metrics in
    `FIRST` beside the paper's numbers, then the others, at most `MOST_COLUMNS` in each."""
    held = metric_columns(rows)
    others = [column for column in held if column.key not in FIRST]
    parts = [[column for column in held if column.key in FIRST]]
    parts += [others[i : i + MOST_COLUMNS] for i in range(0, len(others), MOST_COLUMNS)]
    first, *further = [part for part in parts if part] or [[]]
    columns = [Column("variant"), Column("paper", "in the paper"), Column("seeds")]
    for column in first:
        columns += [Column(f"paper_{column.key}", f"{column.label}, paper's"), column]
    columns.append(Column("note"))
    shown = [c for c in columns if any(row.get(c.key) not in (None, "") for row in rows)]
    tables = [Table(rows, shown, caption)]
    told = replace(caption, title=f"{caption.title}: further scores")
    for part in further:
        scored = [row for row in rows if any(row.get(c.key) is not None for c in part)]
        tables.append(Table(scored, [Column("variant"), *part], told))
    return tables


def difference_table(
    runs: Sequence[Scored], paired: Sequence[Mapping[str, Any]], caption: Caption
) -> Table | None:
    """The `paired_rows` of the metrics in `FIRST` (of others where there is none of these); None
    where there is none."""
    by_variant: dict[str, dict[str, Any]] = {}
    for row in paired:
        variant, key = row["variant"], row["metric"].removesuffix("_difference")
        ends = {f"{key}_low": row["low"], f"{key}_high": row["high"]}
        by_variant.setdefault(variant, {"variant": variant}).update({key: row["value"], **ends})
    if not by_variant:
        return None
    held = metric_columns(by_variant.values())
    shown = [column for column in held if column.key in FIRST] or held[:MOST_COLUMNS]
    columns = [replace(column, digits=column.digits + 1) for column in shown]
    of_what = " of each pair's mean over the seeds" * (len({run.seed for run in runs}) > 1)
    note = f"data {runs[0].data}; differences{of_what}, paired by the pair; intervals: bootstrap"
    told = replace(caption, title=f"{caption.title}: paired differences", note=note)
    return Table(list(by_variant.values()), [Column("variant"), *columns], told)


def caption_of_runs(runs: Sequence[Scored], title: str) -> Caption:
    """What the numbers of several runs on one data set depend on."""
    scores = runs[0].scores
    seeds = sorted({run.seed for run in runs})
    commits = sorted({str(run.scores["commit"]) for run in runs})
    over = "the seeds" if len(seeds) > 1 else "the pairs of one seed"
    note = f"data {runs[0].data}; intervals over {over}"
    note += f"; {scores['note']}" if scores.get("note") else ""
    note += "; runs of several commits" if len(commits) > 1 else ""
    return Caption(title, scores["scale"], scores["protocol"], seeds, commits[0], scores["n"], note)


def write_experiment(sweep: Path, experiment: str) -> None:
    """Write into a sweep's folder what its experiment comes to; see `write_results`.

    Raises:
        ValueError: there is no finished run, or they were not scored alike.
    """
    write_results(read_runs(sweep, experiment), sweep, experiment)


def write_results(
    runs: Sequence[Scored], folder: Path, experiment: str, lacking: Noted | None = None
) -> None:
    """Write what the runs of an experiment come to, print it, and say where it is.

    `rows.csv`; for each data set `table_<data>.md`, `.tex` (scores, what frames them, and paired
    differences), `figure_<data>.png`, `.pdf` and `pictures_<data>.png`, `.pdf`; where the paper
    prints numbers `agreement.csv`, the order of ours against theirs.

    Args:
        runs: what was scored.
        folder: where to.
        experiment: its id.
        lacking: by data set, the variants without scores, each with a note that says why.
    """
    paper = read_paper(experiment)
    sets = {data: [r for r in runs if r.data == data] for data in sorted({r.data for r in runs})}
    paired = {data: paired_rows(chosen) for data, chosen in sets.items()}
    written = rows_of_runs(runs, [row for rows in paired.values() for row in rows])
    print(f"rows     {write_whole(folder / ROWS, _csv(written))}")
    for data, chosen in sets.items():
        caption = caption_of_runs(chosen, f"{experiment} on {data}")
        rows, noted = table_rows(chosen, paper), (lacking or {}).get(data, {})
        differing = difference_table(chosen, paired[data], caption)
        write_of_data(chosen, rows, differing, folder, caption, noted)
    agreed = agreement_rows(runs, paper)
    if agreed:
        write_whole(folder / "agreement.csv", _csv(pd.DataFrame(agreed)))
    for row in agreed:
        print(
            f"order    {row['metric']} on {row['data']}: Kendall's tau {row['tau']:.2f} "
            f"[{row['low']:.2f}, {row['high']:.2f}] with the paper's, {row['variants']} variants"
        )


def write_of_data(
    runs: Sequence[Scored],
    rows: Sequence[Mapping[str, Any]],
    differing: Table | None,
    folder: Path,
    caption: Caption,
    lacking: Mapping[str, str],
) -> None:
    """The tables, the figure and the pictures of the runs on one data set."""
    data = runs[0].data
    noted = [{"variant": name, "note": why} for name, why in lacking.items()]
    framing = anchor_rows(runs[0].scores, "variant")
    tables = [*tables_of([*rows, *noted, *framing], caption), *([differing] if differing else [])]
    texts = {"md": [t.markdown() for t in tables], "tex": [t.latex() for t in tables]}
    for ending, parts in texts.items():
        write_whole(folder / f"table_{data}.{ending}", "\n".join(parts))
    anchors = {row["run"]: row for row in runs[0].anchors}
    named = [{**row, "run": row["variant"]} for row in rows]
    figures = {"figure": compare_runs(named, caption, anchors, panels_of(rows))}
    places = pictures_of(runs)
    if places:
        told = replace(caption, title=f"{caption.title}: results")
        figures["pictures"] = picture_grid(places, told, lacking)
    print("", *(table.terminal() for table in tables), sep="\n")
    print(f"table    {folder / f'table_{data}.md'}")
    for name, figure in figures.items():
        for ending in ("pdf", "png"):
            written = save(figure, folder / f"{name}_{data}.{ending}")
        print(f"{name:8s} {written}")


def _csv(table: pd.DataFrame) -> str:
    return str(table.to_csv(index=False, lineterminator="\n"))
