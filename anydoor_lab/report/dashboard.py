"""One self-contained page of the runs in a folder: what W&B shows, without a network."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np

from anydoor_lab.report.experiment import agreement_rows, caption_of_runs, table_rows
from anydoor_lab.report.pictures import PICTURES
from anydoor_lab.report.printed import read_paper
from anydoor_lab.report.scored import Scored, pictures_of, read_runs
from anydoor_lab.report.scores import metric_columns
from anydoor_lab.runs.settings import CONFIG, read_config
from anydoor_lab.runs.tracking import read_metrics
from anydoor_lab.structures.files import write_whole

PAGE = "dashboard.html"
MOST_PAIRS = 8
"""Rows of a page's pictures."""
_LAST = 0.2
_ABSENT = "no picture"


def write_dashboard(sweep: Path, experiment: str = "") -> Path:
    """Write `dashboard.html` of the finished runs of a sweep, or of an experiment that trains
    nothing, into their folder; its path.

    It holds the scores with intervals beside the paper's and what frames them, the first results
    by variant and pair, the loss by timestep bin and what differs in the settings, where the runs
    have them, and links to the runs' folders. It asks for nothing over a network.

    Args:
        sweep: folder of the runs.
        experiment: its id, or empty.

    Raises:
        ValueError: there is no finished run, or they were not scored alike.
    """
    runs = read_runs(sweep, experiment)
    names = names_of(runs)
    configs = {n: read_config(r.folder) for n, r in names.items() if (r.folder / CONFIG).is_file()}
    folders = {name: run.folder.relative_to(sweep).as_posix() for name, run in names.items()}
    facts = {
        "title": experiment or sweep.name,
        "caption": f"{len(runs)} finished runs; every number is of the {runs[0].scores['scale']} "
        "scale, on one protocol",
        "data": [scores_on(data, runs, experiment) for data in sorted({run.data for run in runs})],
        "grids": [g for data in sorted({run.data for run in runs}) if (g := grid_on(data, runs))],
        "losses": losses_of(names),
        "differs": differences(configs),
        "folders": [[name, f"{quote(place)}/"] for name, place in folders.items()],
    }
    page = resources.files("anydoor_lab.report").joinpath("dashboard.html").read_text("utf-8")
    return write_whole(sweep / PAGE, page.replace(_EMPTY, _FACTS % _inside_html(facts)))


_FACTS = '<script id="facts" type="application/json">%s</script>'
_EMPTY = _FACTS % "{}"


def _inside_html(facts: Mapping[str, Any]) -> str:
    """JSON that no name in it can end the script element with."""
    return json.dumps(facts, allow_nan=False).replace("<", "\\u003c")


def names_of(runs: Sequence[Scored]) -> dict[str, Scored]:
    """The runs by a name of their own: the variant, and data and seed where they are repeated."""
    several = {key: len({getattr(run, key) for run in runs}) > 1 for key in ("data", "seed")}
    names = {}
    for run in runs:
        repeated = [f"{key}={getattr(run, key)}" for key, varies in several.items() if varies]
        name = " ".join([run.variant, *repeated])
        names[name if name not in names else run.folder.name] = run
    return names


def scores_on(data: str, runs: Sequence[Scored], experiment: str) -> dict[str, Any]:
    """The table of the runs on one data set, in the page's form."""
    chosen = [run for run in runs if run.data == data]
    paper = read_paper(experiment)
    ours = table_rows(chosen, paper)
    anchors = chosen[0].anchors
    metrics = metric_columns([*ours, *anchors])
    keys = [column.key for column in metrics]
    rows = [_page_row(row["variant"], row, keys, frame=False) for row in ours]
    rows += [_page_row(row["run"], row, keys, frame=True) for row in anchors]
    return {
        "name": data,
        "caption": str(caption_of_runs(chosen, f"{len(chosen)} runs")),
        "metrics": [{"key": column.key, "label": column.header} for column in metrics],
        "rows": rows,
        "agreement": [
            f"Order of the variants by {row['metric']} against the paper's: Kendall's tau "
            f"{row['tau']:.2f} [{row['low']:.2f}, {row['high']:.2f}], {row['variants']} variants"
            for row in agreement_rows(chosen, paper)
        ],
    }


def _page_row(
    name: str, row: Mapping[str, Any], keys: Sequence[str], frame: bool
) -> dict[str, Any]:
    """A row with (value, low, high) by metric; `frame` where no trained network made it."""
    scores = {
        key: [_finite(row.get(part)) for part in (key, f"{key}_low", f"{key}_high")]
        for key in keys
        if _finite(row.get(key)) is not None
    }
    paper = {key: row[f"paper_{key}"] for key in keys if _finite(row.get(f"paper_{key}"))}
    seeds = row.get("seeds")
    note = f"{seeds} seeds" if seeds and seeds != "1" else str(row.get("paper") or "")
    return {"variant": name, "scores": scores, "paper": paper, "frame": frame, "note": note}


def _finite(value: Any) -> float | None:
    return float(value) if value is not None and np.isfinite(value) else None


def grid_on(data: str, runs: Sequence[Scored]) -> dict[str, Any] | None:
    """The first results on one data set, a row a pair and a column a variant; None without any."""
    found = pictures_of(run for run in runs if run.data == data)
    if not found:
        return None
    places = {variant: folder / PICTURES for variant, folder in found.items()}
    first = next(iter(places.values()))
    numbers = sorted(path.name.split("_")[0] for path in first.glob("*_result.png"))[:MOST_PAIRS]
    rows = [
        [
            *(_embedded(first / f"{number}_{part}.png") for part in ("reference", "scene")),
            *(_embedded(folder / f"{number}_result.png") for folder in places.values()),
            _embedded(first / f"{number}_truth.png"),
        ]
        for number in numbers
    ]
    return {"name": data, "heads": ["reference", "scene", *places, "true scene"], "rows": rows}


def _embedded(path: Path) -> str:
    """A PNG as a data URI; words where there is none."""
    if not path.is_file():
        return _ABSENT
    return f"data:image/png;base64,{base64.b64encode(path.read_bytes()).decode()}"


def losses_of(names: Mapping[str, Scored]) -> dict[str, Any]:
    """Mean losses over the last fifth of the records: a row a run, a column a timestep bin."""
    found: dict[str, dict[str, float]] = {}
    for name, run in names.items():
        records = [record for record in read_metrics(run.folder) if "loss" in record]
        late = records[-max(1, round(_LAST * len(records))) :] if records else []
        keys = {key for record in late for key in record if key.startswith("loss/t_")}
        found[name] = {
            key: float(np.mean([record[key] for record in late if key in record])) for key in keys
        }
    bins = sorted({key for row in found.values() for key in row}, key=_first_timestep)
    heads = ["run", *(key.removeprefix("loss/t_").replace("_", " to ") for key in bins)]
    rows = [[name, *(row.get(key) for key in bins)] for name, row in found.items() if row]
    return {"heads": heads, "rows": rows}


def _first_timestep(key: str) -> int:
    return int(key.removeprefix("loss/t_").split("_")[0])


def differences(configs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """The settings that are not the same in all runs: a row a setting, a column a run."""
    flat = {name: dict(_leaves(config)) for name, config in configs.items()}
    keys = sorted({key for one in flat.values() for key in one})
    rows = [
        [key, *(str(one.get(key, "–")) for one in flat.values())]
        for key in keys
        if len({str(one.get(key, "–")) for one in flat.values()}) > 1
    ]
    return {"heads": ["setting", *flat], "rows": rows}


def _leaves(node: Any, path: str = "") -> Iterable[tuple[str, Any]]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _leaves(value, f"{path}.{key}" if path else str(key))
    else:
        yield path, node
