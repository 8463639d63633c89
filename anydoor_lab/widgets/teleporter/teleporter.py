"""Teleporter: put the object of one picture into another, by hand."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import Original, Picture
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.last_state import LastState
from anydoor_lab.widgets.object_cutter.object_cutter import ObjectCutter
from anydoor_lab.widgets.object_cutter.segmenters import Segmenter
from anydoor_lab.widgets.region_picker.region_picker import RegionPicker
from anydoor_lab.widgets.teleporter.panel import Panel, side_by_side
from anydoor_lab.widgets.teleporter.placed import Placed
from anydoor_lab.widgets.teleporter.placing import Placing
from anydoor_lab.widgets.teleporter.recipe import read_recipe, save_recipe, with_recipe
from anydoor_lab.widgets.uploads import Upload, pieces_of
from anydoor_lab.widgets.view import BAD_INPUT, empty_figure, text_pt

TOLD_EVERY_S = 0.25
KEPT = 12
"""So many results are kept to come back to."""
STALE = "Made before the last change of pictures or marks: press Generate for a new one."


class Teleporter(LastState, ipywidgets.VBox):
    """An `ObjectCutter`, a `RegionPicker` and a `Panel` around one pipeline.

    Args:
        pipeline: places the object; its own settings stay as they are.
        reference, reference_mask: the object's picture and mask, to begin with.
        scene, region: the scene, and (H, W) bool or [y1, x1, y2, x2] in it, to begin with.
        folder: where pictures and recipes are saved; a relative one in the working directory.
        segmenter: what cuts, as of `ObjectCutter`.
        settings: first values of the panel: steps, guidance, seed, proposals, idx, collage,
            shape, blend.

    Attributes:
        kept: the last results, oldest first, each with all that made it.
    """

    def __init__(
        self,
        pipeline: AnyDoorPipeline,
        reference: Picture | str | Path | None = None,
        scene: Picture | str | Path | None = None,
        reference_mask: np.ndarray | None = None,
        region: np.ndarray | Box | list[int] | None = None,
        folder: str | Path = "anydoor_results",
        segmenter: Segmenter | str | Path | None = None,
        **settings: Any,
    ) -> None:
        self.kept: list[Placed] = []
        self.folder = Path(folder)
        self._placing = Placing(pipeline)
        self._reopened: tuple[dict[str, Any], int] = ({}, 0)
        self._upload = Upload()
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        own = pipeline.config
        edges = own.collage_settings.get("hf")
        self.cutter = ObjectCutter(reference, reference_mask, segmenter, edges=edges)
        self.picker = RegionPicker(scene, region)
        self._resolution = own.resolution
        first = {"steps": own.num_inference_steps, "collage": own.collage}
        first |= {"guidance": own.guidance_scale} | settings
        self.panel = Panel(self._placing.names, **first)
        self.panel.name_after(self.cutter._picture, self.picker._picture)
        self.panel.on_msg(self._hear)
        self.panel.observe(self._choose, "chosen")
        self.panel.observe(self._bring_back, "shown")
        for painter in (self.cutter, self.picker):
            painter.observe(self._changed, "changed")
        super().__init__([side_by_side(self.cutter, self.picker, self.panel)])
        self.add_class("ad-teleporter")

    @property
    def results(self) -> list[np.ndarray]:
        """The shown result's scenes, (H, W, 3) uint8 each."""
        shown = self.shown
        return [] if shown is None else [shown.scene(k) for k in range(len(shown.pieces))]

    @property
    def shown(self) -> Placed | None:
        """The result that is shown; None before there is one."""
        return self.kept[self.panel.shown] if 0 <= self.panel.shown < len(self.kept) else None

    def generate(self) -> bool:
        """Start placing in the background; False (and a message) where that is not possible."""
        if self.running:
            self.panel.message = "Still working on the last press; Cancel stops it."
            return False
        try:
            pair = self.pair()
        except BAD_INPUT as error:
            self.panel.message = str(error)
            return False
        self._cancelled.clear()
        with self.panel.hold_sync():
            self.panel.busy, self.panel.progress, self.panel.message = True, 0.0, ""
            self.panel.status = "Preparing"
        arguments = (pair, self.picker.original, self.panel.settings)
        self._thread = threading.Thread(target=self._run, args=arguments, daemon=True)
        self._thread.start()
        return True

    @property
    def running(self) -> bool:
        """Whether a run is going on."""
        return self.panel.busy

    def cancel(self) -> None:
        """Stop after the step that is being computed."""
        self._cancelled.set()

    def wait(self, seconds: float | None = None) -> bool:
        """Wait for the run; whether it has ended."""
        if self._thread is not None:
            self._thread.join(seconds)
        return not self.running

    def pair(self) -> Pair:
        """The object and the place that are marked now.

        Raises:
            ValueError: a picture or a mark is missing.
        """
        cutter, picker = self.cutter, self.picker
        if cutter.image is None or cutter.mask is None or not cutter.mask.any():
            raise InputError("Cut out an object first: draw a box around it in the reference.")
        if picker.original is None or picker.mask is None or not picker.mask.any():
            raise InputError("Mark where it goes first: draw a box in the scene.")
        picker.original.check_visible(picker.mask)
        return Pair(
            cutter.image, cutter.mask, picker.original.rgb, picker.mask, origin="Teleporter"
        )

    def save(self) -> Path | None:
        """Write the chosen picture and its recipe; None (and a message) without a picture."""
        shown = self.shown
        if shown is None:
            self.panel.message = "There is nothing to save yet; press Generate first."
            return None
        with self.panel.telling():
            chosen = self.panel.chosen
            path = save_recipe(shown.picture(chosen), shown.recipe(chosen), self.folder)
            self.panel.status = f"Saved {path.resolve()} and, as JSON, its recipe"
            return path
        return None

    def download(self) -> None:
        """Send the chosen picture, full size and with its recipe inside, to the browser's disk."""
        shown = self.shown
        if shown is None:
            self.panel.message = "There is nothing to download yet; press Generate first."
            return
        chosen = self.panel.chosen
        name = f"anydoor_seed{shown.settings['seed'] + chosen}.png"
        self.panel.status = f"Writing {name}"
        data = with_recipe(shown.picture(chosen), shown.recipe(chosen))
        for content, buffers in pieces_of(name, data):
            self.panel.send(content, buffers)
        self.panel.status = f"Downloaded {name} ({len(data) / 1e6:.1f} MB, its recipe inside)"

    def open_recipe(self, recipe: str | Path | bytes) -> bool:
        """Whether a recipe could be taken; else a message.

        Args:
            recipe: a picture with its recipe inside, or a recipe's JSON: the path or the content.
        """
        try:
            content = recipe if isinstance(recipe, bytes) else Path(recipe).read_bytes()
            facts, pictures = read_recipe(content)
        except BAD_INPUT as error:
            self.panel.message = str(error)
            return False
        self.cutter.show(pictures["reference"], pictures["reference_mask"])
        self.picker.show(pictures["scene"], pictures["scene_mask"])
        self.panel.message = ""
        for name, value in facts["settings"].items():
            with self.panel.telling():
                setattr(self.panel, name, value)
        self._reopened = (dict(facts["settings"]), int(facts.get("chosen", 0)))
        weights = Path(facts["weights"]).name
        self.panel.status = f"Opened a recipe made with {weights}; press Generate"
        return True

    def pictures(self) -> list[np.ndarray]:
        """Reference, scene and result, as far as they are there."""
        result = [] if self.shown is None else [self.shown.scene(self.panel.chosen)]
        return [*self.cutter.pictures(), *self.picker.pictures(), *result]

    def figure(self) -> Figure:
        """Reference, scene and results, and what they were made with, as a matplotlib figure."""
        images = [self.cutter.image, self.picker.image, *self.results]
        titles = ["reference", "scene", *(f"proposal {k + 1}" for k in range(len(images) - 2))]
        figure, panels = empty_figure(len(titles), titles)
        for axes, image in zip(panels, images, strict=True):
            if image is not None:
                axes.imshow(image)
        if self.shown is not None:
            words = self.shown.words.replace(", idx", ",\nidx")
            told = f"{Path(self.shown.weights).name}, {self._resolution} px; {words}"
            figure.supxlabel(told, fontsize=text_pt(len(titles)), color="#444444")
        return figure

    def _run(self, pair: Pair, original: Original, settings: dict[str, Any]) -> None:
        """One press, in its own thread: the kernel stays free."""
        began, done, panel = time.perf_counter(), 0, self.panel
        try:
            placed = self._placed(pair, original, settings)
            if placed is None:
                panel.message, panel.status = "", "Cancelled; all marks are as they were"
                return
            self._keep(placed)
            done = 1
            panel.message = " ".join(f"Note: {told}." for told in placed.warnings)
            panel.status = f"Done in {time.perf_counter() - began:.1f} s"
        except BAD_INPUT as error:  # torch's out-of-memory is a RuntimeError
            panel.message, panel.status = f"Placing failed: {error}", ""
        finally:
            self._show_gallery()
            panel.busy = False
            panel.finished += done

    def _placed(self, pair: Pair, original: Original, settings: dict[str, Any]) -> Placed | None:
        """What a press makes, None once it is cancelled; progress and previews on the way."""
        last, panel = time.monotonic(), self.panel
        for step in self._placing.press(pair, original, settings):
            if self._cancelled.is_set():
                return None
            if isinstance(step, Placed):
                return step
            if time.monotonic() - last < TOLD_EVERY_S:  # the browser paints on the same cores
                continue
            last = time.monotonic()
            with panel.hold_sync():
                panel.show_gallery(step.previews())
                panel.progress = step.number / settings["steps"]
                panel.status = f"Step {step.number} of {settings['steps']}, t = {step.t}"
        return None

    def _keep(self, placed: Placed) -> None:
        """Show a new result and put it into the strip."""
        (settings, chosen), self._reopened = self._reopened, ({}, 0)
        same = settings == placed.settings and chosen < len(placed.pieces)
        self.kept = [*self.kept, placed][-KEPT:]
        self.panel.shown = len(self.kept) - 1
        self.panel.chosen = chosen if same else 0
        self.panel.show_strip([(one.pieces[0], one.words) for one in self.kept])
        self._choose(None)

    def _bring_back(self, _: Any) -> None:
        """Show one of the results kept, and the settings that made it."""
        if self.shown is None or self.running:
            return
        for name, value in self.shown.settings.items():
            setattr(self.panel, name, value)
        self.panel.chosen = min(self.panel.chosen, len(self.shown.pieces) - 1)
        self._show_gallery()
        self._choose(None)

    def _show_gallery(self) -> None:
        """The proposals of the shown result, in place of the previews."""
        self.panel.show_gallery([] if self.shown is None else list(self.shown.pieces))

    def _choose(self, _: Any) -> None:
        shown, chosen = self.shown, self.panel.chosen
        if shown is not None and 0 <= chosen < len(shown.pieces):
            self.panel.compare(shown.original.rgb, shown.scene(chosen))
            self._changed(None)

    def _changed(self, _: Any) -> None:
        """Mark the shown result while it is not of the pictures and marks that are there."""
        if self.shown is not None:
            try:
                self.panel.stale = "" if self.shown.is_of(self.pair()) else STALE
            except ValueError:  # nothing is marked, or everything
                self.panel.stale = STALE
        self.keep_last_state()

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        do = content.get("do")
        if do in ("generate", "cancel", "save", "download"):
            getattr(self, do)()
        elif do == "recipe":
            with self.panel.telling():
                data = self._upload.take(content, buffers)
                if data is not None:
                    self.open_recipe(data)
