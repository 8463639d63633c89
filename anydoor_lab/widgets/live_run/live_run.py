"""LiveRun: watch a training from its run's folder, or train in this kernel and watch."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure

from anydoor_lab.runs.folder import Run
from anydoor_lab.runs.tracking import LocalTracker, RunFacts, read_metrics
from anydoor_lab.structures.images import read_image
from anydoor_lab.training.batches import FitSettings, Samples
from anydoor_lab.training.fit import TrainingState, fit
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.view import BAD_INPUT, View, empty_figure, png

MAX_POINTS = 400
MAX_SHEETS = 3


class LiveRun(View):
    """Loss, loss by timestep, throughput and samples of a run's folder, as it grows.

    Args:
        folder: a run's folder, running, finished or still empty.
        every: seconds between two looks at it; 0 looks only when asked to (`refresh`).

    Attributes:
        training: whether a training in this kernel is going on.
    """

    _esm = bundled(__file__, ".js")
    _css = bundled(__file__, ".css")
    folder = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    training = traitlets.Bool(False).tag(sync=True)
    _series = traitlets.Dict().tag(sync=True)
    _sheets = traitlets.List(traitlets.Any()).tag(sync=True)

    def __init__(self, folder: str | Path, every: float = 2.0) -> None:
        self._closing, self._stopping = threading.Event(), threading.Event()
        self._ended = threading.Event()
        self._ended.set()
        self._shown: list[Path] = []
        self._saved = ""
        super().__init__(folder=str(folder))
        self.on_msg(self._hear)
        self.refresh()
        if every > 0:
            threading.Thread(target=self._look, args=(every,), daemon=True).start()

    def refresh(self) -> None:
        """Read the folder again; what cannot be read becomes the message."""
        try:
            folder = Path(self.folder)
            records = [r for r in read_metrics(folder) if isinstance(r.get("loss"), int | float)]
            with self.hold_sync():
                self._series = _series_of(records)
                self.status = self._status_of(folder, records) + self._saved
                self._show_sheets(folder)
                self.message = _note(folder, records)
        except (*BAD_INPUT, KeyError, AttributeError) as error:
            self.message = f"{self.folder} cannot be read: {error}"

    def train(
        self,
        state: TrainingState,
        samples: Samples,
        settings: FitSettings,
        facts: Mapping[str, Any] | None = None,
        picture: Callable[[int], np.ndarray | None] | None = None,
    ) -> bool:
        """Start `training.fit` in the background, into this folder; False where one runs already.

        Args:
            state, samples, settings, facts: as for `fit`; the numbers go to `metrics.jsonl`.
            picture: called with the number of each finished step, before the next; a picture it
                returns, (H, W, 3) uint8, goes to `samples/` and is shown.
        """
        if self.training:
            self.message = "A training is running here already; Stop ends it."
            return False
        self._stopping.clear()
        self.training, self.message, self._saved = True, "", ""
        arguments = (state, samples, settings, dict(facts or {}), picture)
        self._ended.clear()
        threading.Thread(target=self._train, args=arguments, daemon=True).start()
        return True

    def stop(self) -> None:
        """End the training after its current step, with a checkpoint."""
        self._stopping.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the training; whether it has ended. An interrupt stops it, as `stop` does.

        A cell that waits keeps clicks on Stop from the kernel; an interrupt gets through.
        """
        try:
            self._ended.wait(seconds)
        except KeyboardInterrupt:
            self.stop()
            self._ended.wait()
        return not self.training

    def close(self) -> None:
        """Stop looking at the folder."""
        self._closing.set()
        super().close()

    def figure(self) -> Figure:
        """The loss over the samples seen, in all and by timestep."""
        figure, panels = empty_figure(2, ["loss", "loss by timestep"])
        for axes, key in zip(panels, ("loss", "bins"), strict=True):
            axes.set_axis_on()
            axes.set(xlabel="samples seen")
            curves = {name: points for name, points in self._series.get(key, {}).items() if points}
            if not curves:
                axes.text(0.5, 0.5, self.status, ha="center", transform=axes.transAxes)
                continue
            axes.set_yscale("log")
            for name, points in curves.items():
                marker = "." if len(points) < 3 else ""
                axes.plot(*zip(*points, strict=True), marker=marker, label=name)
            if key == "bins":
                axes.legend(fontsize=9, title="t", loc="center left", bbox_to_anchor=(1, 0.5))
        return figure

    def _train(
        self,
        state: TrainingState,
        samples: Samples,
        settings: FitSettings,
        facts: dict[str, Any],
        picture: Callable[[int], np.ndarray | None] | None,
    ) -> None:
        checkpoints = Run(Path(self.folder), {}).checkpoints
        try:
            tracker = LocalTracker(RunFacts(Path(self.folder), first_step=state.step))
            for progress in fit(state, samples, settings, checkpoints, facts):
                drawn = None if picture is None else picture(progress.step)
                if drawn is not None:
                    tracker.show(progress.step, "held_out", drawn)
                if progress.metrics:
                    tracker.log(progress.step, {"samples": progress.samples, **progress.metrics})
                if drawn is not None or progress.metrics:
                    self.refresh()
                if self._stopping.is_set():
                    state.save(checkpoints, facts, settings.keep_checkpoints)
                    break
            self._saved = f"; checkpoint of step {state.step} saved"
            self.refresh()
        except BAD_INPUT as error:
            self.message = f"Training failed: {error}"
        finally:
            self.training = False
            self._ended.set()
            self.keep_last_state()

    def _look(self, every: float) -> None:
        while not self._closing.wait(every):
            if not self.training:
                self.refresh()
            if Run(Path(self.folder), {}).finished:
                self.keep_last_state()
                return

    def _status_of(self, folder: Path, records: list[dict[str, Any]]) -> str:
        if not records:
            return "no numbers yet"
        last = records[-1]
        state = "finished" if Run(folder, {}).finished else "step"
        rate = last.get("samples_per_second", 0.0)
        return f"{state} {last['step']}: loss {last['loss']:.4f}, {rate:.1f} samples/s"

    def _show_sheets(self, folder: Path) -> None:
        newest = sorted((folder / "samples").glob("*.png"), key=lambda p: p.stem[-8:])[-MAX_SHEETS:]
        if newest == self._shown:
            return
        self._sheets = [
            {"name": _sheet_name(path), "png": png(read_image(path), 900)}
            for path in reversed(newest)
        ]
        self._shown = newest

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        del buffers
        if content.get("do") == "stop":
            self.stop()


def _note(folder: Path, records: list[dict[str, Any]]) -> str:
    if not folder.is_dir():
        return f"{folder} does not exist yet; it is looked for again and again."
    return "" if records else f"{folder} has no numbers yet (metrics.jsonl is missing or empty)."


def _sheet_name(path: Path) -> str:
    """`held_out_00000120.png` as a reader would say it."""
    name, _, step = path.stem.rpartition("_")
    return f"{name.replace('_', ' ')}, step {int(step)}" if step.isdigit() else path.stem


def _series_of(records: list[dict[str, Any]]) -> dict[str, dict[str, list[list[float]]]]:
    """Points (samples, value) of each curve, at most `MAX_POINTS` each."""
    keys = {key for record in records for key in record}
    bins = sorted((k for k in keys if k.startswith("loss/t_")), key=lambda k: int(k.split("_")[1]))
    return {
        "loss": {"loss": _points(records, "loss")},
        "bins": {k.removeprefix("loss/t_").replace("_", "–"): _points(records, k) for k in bins},
        "speed": {"samples per second": _points(records, "samples_per_second")},
    }


def _points(records: list[dict[str, Any]], key: str) -> list[list[float]]:
    points = [[r.get("samples", r["step"]), r[key]] for r in records if r.get(key) is not None]
    every = max(1, -(-len(points) // MAX_POINTS))
    return points[::every] + points[-1:] if every > 1 else points
