"""Where a run's numbers and pictures go: plain files, W&B on top of them, or nowhere."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import write_image


@dataclass(frozen=True, slots=True)
class RunFacts:
    """What a tracker is told about its run.

    Args:
        folder: the run's folder.
        name, group, tags: how it is found again among others.
        config: the resolved config.
        first_step: records after this step belong to an interrupted past and are dropped.
    """

    folder: Path
    name: str = ""
    group: str = ""
    tags: Sequence[str] = ()
    config: Mapping[str, Any] = field(default_factory=dict)
    first_step: int = 0


class Tracker(Protocol):
    """Takes what a run reports."""

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Numbers of one step."""

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """A picture (H, W, 3) uint8; returns the file it was written to, if any."""

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

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Do nothing."""


class LocalTracker:
    """`metrics.jsonl` and `samples/*.png` in the run's folder: the record that counts."""

    def __init__(self, run: RunFacts) -> None:
        self._folder = run.folder
        self._metrics = run.folder / "metrics.jsonl"
        kept = [r for r in read_metrics(run.folder) if r["step"] <= run.first_step]
        write_whole(self._metrics, "".join(json.dumps(record) + "\n" for record in kept))

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """Append one line."""
        with self._metrics.open("a") as file:
            file.write(json.dumps({"step": step, **metrics}) + "\n")

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """Write `samples/<name>_<step>.png`."""
        path = self._folder / "samples" / f"{name}_{step:08d}.png"
        write_image(path, image)
        return path

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
        self._wandb = wandb
        if mode == "auto":
            mode = os.environ.get("WANDB_MODE") or ("online" if has_key() else "offline")
        try:
            self._run = self._begin(run, project, mode)
        except (wandb.errors.CommError, wandb.errors.AuthenticationError) as error:
            print(f"W&B cannot be reached ({error}); going on offline")
            self._run = self._begin(run, project, "offline")
            mode = "offline"
        if mode == "offline":
            print(f"W&B is offline; to upload later: wandb sync {self._run.dir}/..")

    def _begin(self, run: RunFacts, project: str, mode: str) -> Any:
        identity = run.folder / "wandb_id.txt"
        known = identity.read_text().strip() if identity.is_file() and run.first_step else None
        started = self._wandb.init(
            project=project,
            dir=str(run.folder),
            name=run.name,
            group=run.group or None,
            tags=list(run.tags),
            config=dict(run.config),
            id=known,
            resume="allow" if mode == "online" else None,
            mode=mode,  # type: ignore[arg-type]
            settings=self._wandb.Settings(silent=True, console="off"),
        )
        identity.write_text(started.id)
        started.define_metric("*", step_metric="step")
        return started

    def log(self, step: int, metrics: Mapping[str, float]) -> None:
        """To both; "loss/video" becomes a panel of the group "loss"."""
        self._local.log(step, metrics)
        self._run.log({"step": step, **metrics})

    def show(self, step: int, name: str, image: np.ndarray, caption: str = "") -> Path | None:
        """To both, with the caption."""
        path = self._local.show(step, name, image, caption)
        self._run.log({"step": step, f"samples/{name}": self._wandb.Image(image, caption=caption)})
        return path

    def finish(self, summary: Mapping[str, Any]) -> None:
        """Scores into the summary; waits for W&B to have written everything."""
        self._run.summary.update(dict(summary))
        self._run.finish()


def has_key() -> bool:
    """Whether a W&B key is in the environment or in the netrc file."""
    if os.environ.get("WANDB_API_KEY"):
        return True
    netrc = Path(os.environ.get("NETRC", "~/.netrc")).expanduser()
    return netrc.is_file() and "wandb" in netrc.read_text(errors="replace")


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The records of a run's `metrics.jsonl`; a torn last line is left out."""
    path = folder / "metrics.jsonl"
    records = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            records.append(json.loads(line))
        except json.JSONDecodeError:
            break
    return records
