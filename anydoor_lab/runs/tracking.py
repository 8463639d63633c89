"""Where a run's numbers and pictures go: plain files, W&B on top of them, or nowhere."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anydoor_lab.runs.records import append_record, keep_records, read_records
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import read_small, unsealed, write_whole
from anydoor_lab.structures.images import write_image

METRICS, WANDB_ID = "metrics.jsonl", "wandb_id.txt"
DATA_DIR = "WANDB_DATA_DIR"
RESULTS = "results"
"""W&B's table of result pictures by variant and pair."""
PATIENCE_S = 5
"""How long W&B's server may take to answer, and then to begin a run, before it is left out."""
LAST_UPLOAD_S = 300
"""How long the end of a run waits for W&B; what is not uploaded then stays in the run's folder."""


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a tracker is told about its run.

    Args:
        folder: the run's folder.
        name, group, tags, job_type: how it is found again among others.
        config: the resolved config.
        first_step: records after this step belong to an interrupted past and are dropped.
    """

    folder: Path
    name: str = ""
    group: str = ""
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0
    job_type: str = "train"


class Tracker(Protocol):
    """Takes what a run reports."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step."""

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """A picture (H, W, 3) uint8; returns the file it was written to, if any."""

    def tabulate(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """A table of names, numbers and pictures (H, W, 3) uint8."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Final scores; nothing may be logged afterwards."""


class SilentTracker:
    """Takes everything and keeps nothing."""

    def __init__(self, run: RunFacts) -> None:
        del run

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Do nothing."""

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """Do nothing."""
        return None

    def tabulate(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Do nothing."""


class LocalTracker:
    """`metrics.jsonl` and `samples/*.png` in the run's folder: the record that counts."""

    def __init__(self, run: RunFacts) -> None:
        self._folder = run.folder
        self._metrics = run.folder / METRICS
        keep_records(self._metrics, run.first_step)
        if run.first_step and not self._metrics.exists():
            print(f"{self._metrics} is gone: the numbers up to step {run.first_step} are lost")

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        append_record(self._metrics, {"step": step, **metrics})

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """Write `samples/<name>_<step>.png`."""
        path = self._folder / "samples" / f"{name}_{step:08d}.png"
        write_image(path, image)
        return path

    def tabulate(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Nothing: its pictures are in the run's folder one by one."""

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Nothing is left open."""


class WandbTracker:
    """W&B, online where there is a key and offline otherwise, beside a `LocalTracker`.

    Args:
        run: the run.
        project: W&B project.
        mode: `auto`, `online`, `offline` or `disabled`.
    """

    def __init__(self, run: RunFacts, *, project: str = "anydoor_lab", mode: str = "auto") -> None:
        import wandb

        self._local = LocalTracker(run)
        self._wandb, self._folder = wandb, run.folder
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        if mode == "online" and not answers(wandb.setup().settings.base_url):
            print(f"W&B: no answer from {wandb.setup().settings.base_url}; going on offline")
            mode = "offline"
        try:
            self._run = self._begin(run, project, mode)
        except (wandb.errors.CommError, wandb.errors.AuthenticationError) as error:
            print(f"W&B cannot be reached ({error}); going on offline")
            self._run = self._begin(run, project, "offline")
            mode = "offline"
        if mode == "offline":
            kept = sorted(map(str, (run.folder / "wandb").glob(f"*run-*-{self._run.id}")))
            command = f"wandb sync --include-online {shlex.join(kept)}"
            print(f"W&B is offline; to upload later: {command}")

    def _begin(self, run: RunFacts, project: str, mode: str) -> Any:
        known = known_id(run.folder) if run.first_step else None
        started = self._wandb.init(
            project=project,
            dir=str(run.folder),
            name=run.name,
            group=run.group or None,
            job_type=run.job_type,
            tags=list(run.tags),
            config=dict(run.config),
            id=known,
            resume="allow",
            mode=mode,  # type: ignore[arg-type]
            settings=self._wandb.Settings(
                silent=True, console="off", init_timeout=PATIENCE_S, finish_timeout=LAST_UPLOAD_S
            ),
        )
        write_whole(run.folder / WANDB_ID, started.id)
        started.define_metric("*", step_metric="step")
        for name in ("loss", "loss/*"):  # the best and the last stand beside each other
            started.define_metric(name, step_metric="step", summary="min,last")
        if known is None:  # what it has logged elsewhere, W&B has not seen
            for record in read_metrics(run.folder):
                started.log(record, step=record["step"])
        return started

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """To both; "loss/video" becomes a panel of the group "loss"."""
        self._local.log(step, metrics)
        self._run.log({"step": step, **metrics}, step=step)

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """To both, with the caption."""
        path = self._local.show(step, name, image, caption)
        picture = self._wandb.Image(image, caption=caption)
        self._run.log({"step": step, f"samples/{name}": picture}, step=step)
        return path

    def tabulate(self, name: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """As a `wandb.Table`, so that runs are compared picture by picture."""
        columns: Any = list(rows[0]) if rows else []
        cells: Any = [[self._cell(row[column]) for column in columns] for row in rows]
        with staging(self._folder / "wandb"):
            self._run.log({name: self._wandb.Table(columns=columns, data=cells)})

    def _cell(self, value: Any) -> Any:
        return self._wandb.Image(value) if isinstance(value, np.ndarray) else value

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Scores into the summary; waits for W&B to have written everything."""
        self._run.summary.update(dict(summary))
        self._run.finish()


@contextmanager
def staging(folder: Path) -> Iterator[None]:
    """Inside, W&B keeps a table's pictures in `folder`, not in the user's home, until uploaded."""
    before = os.environ.get(DATA_DIR)
    os.environ[DATA_DIR] = before or str(folder.resolve())
    try:
        yield
    finally:
        del os.environ[DATA_DIR]
        if before is not None:
            os.environ[DATA_DIR] = before


def has_key() -> bool:
    """Whether W&B finds a key or token by its own rules: environment, netrc file, settings."""
    import wandb
    from wandb.sdk.lib import wbauth

    host = wandb.setup().settings.base_url
    try:
        return bool(
            wbauth.authenticate_session(
                host=host, source="anydoor_lab", prompt=False, update_session=False
            )
        )
    except wandb.errors.AuthenticationError as error:
        print(f"W&B: {error}")
        return False


def answers(url: str) -> bool:
    """Whether a server answers anything at all within `PATIENCE_S`."""
    try:
        urllib.request.urlopen(url, timeout=PATIENCE_S).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def known_id(folder: Path) -> str | None:
    """The W&B id a run's folder began with: as written down, and as its W&B folders are named."""
    names = sorted(path.name for path in (folder / "wandb").glob("*run-*_*-*"))
    named = [name.split("-", 3 if name.startswith("offline") else 2)[-1] for name in names]
    path = folder / WANDB_ID
    written = path.read_text(errors="replace").strip() if path.is_file() else ""
    if re.fullmatch(r"[\w-]+", written) and (not named or written in named):
        return written
    return named[-1] if named else None


def read_summary(folder: Path) -> dict[str, Any]:
    """The summary in one of W&B's own run folders (`wandb/offline-run-...`, `wandb/run-...`),
    without what W&B adds itself; empty where there is none.

    Raises:
        InputError: it is damaged, or this version of W&B cannot read it.
    """
    path = folder / "files" / "wandb-summary.json"
    if path.is_file():
        found = unsealed(read_small(path), path)
    elif any(folder.glob("*.wandb")):  # an offline run keeps records only
        records = [r.get("summary", {}).get("update", {}) for r in _inspected(folder)]
        found = {key: value for update in records for key, value in update.items()}
    else:
        return {}
    return {key: value for key, value in found.items() if not key.startswith("_")}


def _inspected(folder: Path) -> list[dict[str, Any]]:
    """The records of an offline run, by W&B's own reader."""
    command = [sys.executable, "-m", "wandb", "leet", "inspect", "--json", str(folder)]
    try:
        told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
        return [json.loads(line) for line in told.stdout.splitlines()]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InputError(
            f"{folder} cannot be read by this version of W&B ({error}); give the run's own folder"
        ) from error


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's `metrics.jsonl`; damaged lines are left out.

    Raises:
        ValueError: the file cannot be read.
    """
    return read_records(folder / METRICS)
