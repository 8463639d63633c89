"""The table and the picture of one scored run, and the comparison of several."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from anydoor_lab.pipeline.results import Result
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.differences import difference_rows, differences
from anydoor_lab.report.figures import compare_runs, save
from anydoor_lab.report.rows import rows_of_scores, write_rows
from anydoor_lab.report.sheets import Cell, grid
from anydoor_lab.report.tables import Column, Table
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import as_picture
from anydoor_lab.structures.pair import Pair

HEADERS = ("reference", "scene + region", "collage", "result", "true scene")
COLUMNS = (
    Column("clip", "CLIP score", better="higher"),
    Column("dino", "DINO score", better="higher"),
    Column("attribute_accuracy", "attribute accuracy", "%", better="higher"),
    Column("attribute_accuracy_shape", "shape", "%"),
    Column("attribute_accuracy_colour", "colour", "%"),
    Column("attribute_accuracy_second_colour", "2nd colour", "%"),
    Column("attribute_accuracy_pattern", "pattern", "%"),
    Column("attribute_accuracy_letter", "letter", "%"),
    Column("background_psnr", "background PSNR", "dB", better="higher"),
    Column("background_ssim", "background SSIM", digits=3, better="higher"),
    Column("diversity", "diversity"),
    Column("lab_difference", "colour difference", "ΔE", better="lower"),
    Column("placement", "placement IoU", "%", better="higher"),
    Column("unchanged", "rest unchanged", "%", better="higher"),
    Column("copy_paste_index", "copy-paste index", better="lower"),
    Column("lpips", "LPIPS", digits=3, better="lower"),
    Column("text", "text", "%", better="higher"),
    Column("retrieval_recall_1", "R@1, DINO", "%", better="higher"),
    Column("retrieval_mean_precision", "mAP, DINO", "%", better="higher"),
    Column("retrieval_clip_recall_1", "R@1, CLIP", "%", better="higher"),
    Column("retrieval_clip_mean_precision", "mAP, CLIP", "%", better="higher"),
    Column("retrieval_effnet_recall_1", "R@1, EfficientNet", "%", better="higher"),
    Column("retrieval_effnet_mean_precision", "mAP, EfficientNet", "%", better="higher"),
)
"""The metrics in the order of every table: the paper's first."""
FRONT = ("clip", "dino", "diversity")
"""What a figure shows, where the rows hold any of them."""
MOST_PANELS = 4


def caption_of(scores: Mapping[str, Any], title: str) -> Caption:
    """What stands under a run's numbers, from its `scores.json`."""
    missing = [f"{name} not run: {why}" for name, why in scores.get("not_run", {}).items()]
    return Caption(
        title=title,
        scale=scores["scale"],
        protocol=scores["protocol"],
        seed=scores["seed"],
        commit=scores["commit"],
        n=scores["n"],
        note="; ".join([*filter(None, [scores.get("note", "")]), *missing]),
    )


def pairs_called(scores: Mapping[str, Any]) -> str:
    """What the pairs of a `scores.json` may be called: held out only where they are."""
    return "pairs that are not held out" if scores.get("note") else "held-out pairs"


def score_table(scores: Mapping[str, Any], title: str = "") -> Table:
    """One row per model and anchor; without a title it says on which pairs."""
    title = title or f"Scores on {pairs_called(scores)}"
    rows = [without_singles(row) for row in scores["rows"]]
    columns = [Column("run"), *metric_columns(rows), Column("note")]
    if not any(row.get("note") for row in rows):
        columns.pop()
    return Table(rows, columns, caption_of(scores, title))


def metric_columns(rows: Iterable[Mapping[str, Any]]) -> list[Column]:
    """The metrics that any row holds: in the order of `COLUMNS`, then others by their keys."""
    held = {key: f"{key}_low" in row for row in rows for key in row if row[key] is not None}
    known = {column.key for column in COLUMNS}
    own = [Column(key) for key, scored in held.items() if scored and key not in known]
    return [*(column for column in COLUMNS if column.key in held), *own]


def anchor_rows(scores: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    """What frames a run's scores, as rows of a table whose `key` says that they are anchors."""
    anchors = [row for row in scores["rows"] if row.get("anchor")]
    return [{**row, key: f"anchor: {row['run']}"} for row in anchors]


def panels_of(rows: Iterable[Mapping[str, Any]], front: Sequence[str] = FRONT) -> dict[str, str]:
    """What a figure of these rows shows, metric to label: those in `front`, where any of them is
    there, else the first that are.

    Raises:
        ValueError: no row has a score.
    """
    held = metric_columns(rows)
    if not held:
        raise InputError("no run has a score; score them by other metrics=[...]")
    chosen = [column for column in held if column.key in front] or held[:MOST_PANELS]
    return {column.key: column.header for column in chosen}


def without_singles(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row without its lists of single scores, which stay in scores.json."""
    return {key: value for key, value in row.items() if not key.endswith("_each")}


def gain_row(scores: Mapping[str, Any]) -> dict[str, Any] | None:
    """How much higher the run's model is than its first row, pair by pair, as a row of the table;
    None where there is no other row or no single score."""
    found = differences({**scores, "model_row": 0}, scores) if scores["model_row"] else []
    row: dict[str, Any] = {"run": "gain, paired"}
    for score in found:
        key = score.metric.removesuffix("_difference")
        row |= {key: score.value, f"{key}_low": score.ci95[0], f"{key}_high": score.ci95[1]}
    return row if found else None


def result_row(result: Result) -> list[np.ndarray | Cell]:
    """Reference | scene with region | collage | result | true scene.

    Of a method that shows no network a collage, the collage is blank and the two last are cut out
    of the scenes about the object's box.
    """
    pair, shown = result.pair, result.shown
    if shown is None or result.crop is None:
        around = Box.around(pair.scene_mask).grown(1.5, *pair.scene_mask.shape).slices
        blank = np.full((64, 64, 3), 255, np.uint8)
        places = [blank, result.scene[around], pair.scene[around]]
        return [pair.reference, Cell(_marked(pair, pair.scene_mask), pair.scene_mask), *places]
    place = shown.placement
    region = place.region.mask(place.scene_height, place.scene_width)
    collage, truth = as_picture(shown.collage), as_picture(shown.target)
    return [pair.reference, Cell(_marked(pair, region), region), collage, result.crop, truth]


def _marked(pair: Pair, region: np.ndarray) -> np.ndarray:
    """The scene with the region pale."""
    marked = pair.scene.copy()
    marked[region] = 255 - (255 - marked[region]) // 3
    return marked


def save_results(
    results: Sequence[Result], caption: Caption, path: Path, before: Sequence[np.ndarray] = ()
) -> Path:
    """The picture of several results, one row each; with the crops made `before`, (R, R, 3) uint8,
    beside theirs."""
    rows, headers = [result_row(result) for result in results], list(HEADERS)
    if before and len(before) == len(rows):
        rows = [[*row[:-2], crop, *row[-2:]] for row, crop in zip(rows, before, strict=True)]
        headers = [*HEADERS[:-2], "before", "after", HEADERS[-1]]
    notes = [result.pair.variation for result in results]
    return save(grid(rows, headers, notes, title=str(caption), side_px=160), path)


def write_comparison(
    runs: Sequence[tuple[str, Mapping[str, Any]]],
    folder: Path,
    title: str,
    absent: Mapping[str, str] | None = None,
) -> tuple[Table, dict[str, Path]]:
    """One table (md, csv, tex) and one figure of several runs' last rows, framed by the first
    run's anchors; all numbers in the long format, and the paired differences from the first run.

    Args:
        runs: (name, `scores.json`) of each.
        folder: where `comparison.*`, `rows.*` and `differences.*` go.
        title: above both.
        absent: runs that were not run, and why; they stand in the table.

    Raises:
        ValueError: there is no run, none has a score, or they differ in protocol or scale.
    """
    check_alike(runs)
    rows = [{**scores["rows"][scores["model_row"]], "run": name} for name, scores in runs]
    noted = next((scores["note"] for _, scores in runs if scores.get("note")), "")
    first = {**runs[0][1], "note": noted}
    lacking = [{"run": name, "note": f"not run: {why}"} for name, why in (absent or {}).items()]
    framing = anchor_rows(first, "run")
    table = score_table({**first, "rows": [*rows, *lacking, *framing]}, title)
    anchors = {row["run"]: row for row in first["rows"] if row.get("anchor")}
    figure = compare_runs(rows, table.caption, anchors, panels_of(rows, ("clip", "dino")))
    paths = table.write(folder, "comparison")
    paths["png"] = save(figure, folder / "comparison.png")
    paths["rows"] = write_rows(rows_of_comparison(runs), folder)["csv"]
    differing = difference_rows(runs)
    if differing:
        paths["differ"] = write_rows(differing, folder, "differences")["csv"]
    return table, paths


def check_alike(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> None:
    """Raise ValueError unless there are runs, all scored by one protocol and at one scale."""
    if not runs:
        raise InputError("there is no finished run to compare; give a folder of finished runs")
    for part in ("protocol", "scale"):
        found = sorted({str(scores[part]) for _, scores in runs})
        if len(found) > 1:
            seen = f"the runs differ in {part}: {' and '.join(found)}"
            raise InputError(f"{seen}; numbers compare only where it is one, move the others away")


def rows_of_comparison(runs: Sequence[tuple[str, Mapping[str, Any]]]) -> list[dict[str, Any]]:
    """The model of each run under the run's name and, once, what frames the first run's."""
    rows = []
    for name, scores in runs:
        model = {**scores["rows"][scores["model_row"]], "run": name}
        rows += rows_of_scores({**scores, "rows": [model]})
    framing = [row for row in runs[0][1]["rows"] if row.get("anchor")]
    return rows + rows_of_scores({**runs[0][1], "rows": framing})
