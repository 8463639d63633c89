"""Teleporter: put the object of one picture into another, by hand."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.figure import Figure

from anydoor_lab.conditioning.conditioner import Conditioning
from anydoor_lab.conditioning.edit import planned_edit
from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.diffusion.guidance import Prepared
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.proposals import Seeds, shown_by_seed
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import Original, Picture
from anydoor_lab.structures.pair import Pair
from anydoor_lab.widgets.object_cutter.object_cutter import ObjectCutter
from anydoor_lab.widgets.region_picker.region_picker import RegionPicker
from anydoor_lab.widgets.teleporter.panel import Panel
from anydoor_lab.widgets.teleporter.recipe import read_recipe, recipe_of, save_recipe
from anydoor_lab.widgets.teleporter.variants import Variants
from anydoor_lab.widgets.view import BAD_INPUT, empty_figure

PREVIEW_EVERY_S = 0.25


class Teleporter(ipywidgets.VBox):
    """An `ObjectCutter`, a `RegionPicker` and a `Panel` around one pipeline.

    Args:
        pipeline: places the object; its own settings stay as they are.
        reference, reference_mask: the object's picture and mask, to begin with.
        scene, region: the scene, and (H, W) bool or [y1, x1, y2, x2] in it, to begin with.
        folder: where pictures and recipes are saved.
        sam: folder with SAM's weights, as of `ObjectCutter`.
        settings: first values of the panel: steps, guidance, seed, proposals, idx, collage,
            shape, blend.

    Attributes:
        results: the last run's scenes, (H, W, 3) uint8 each.
    """

    def __init__(
        self,
        pipeline: AnyDoorPipeline,
        reference: Picture | str | Path | None = None,
        scene: Picture | str | Path | None = None,
        reference_mask: np.ndarray | None = None,
        region: np.ndarray | Box | list[int] | None = None,
        folder: str | Path = "outputs/teleporter",
        sam: str | Path | None = None,
        **settings: Any,
    ) -> None:
        self.results: list[np.ndarray] = []
        self.folder = Path(folder)
        self._variants = Variants(pipeline)
        self._prepared: tuple[Any, Prepared] | None = None
        self._recipe: dict[str, Any] = {}
        self._crop: Box | None = None
        self._original: Original | None = None
        self._thread: threading.Thread | None = None
        self._cancelled = threading.Event()
        self.cutter = ObjectCutter(reference, reference_mask, sam)
        self.picker = RegionPicker(scene, region)
        own = pipeline.config
        self._resolution = own.resolution
        first = {"steps": own.num_inference_steps, "guidance": own.guidance_scale}
        first["collage"] = own.collage
        self.panel = Panel(self._variants.names, **(first | settings))
        self.panel.on_msg(self._hear)
        self.panel.observe(self._choose, "chosen")
        super().__init__([_side_by_side(self.cutter, self.picker), self.panel])

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
        if not self.results or self._original is None:
            self.panel.message = "There is nothing to save yet; press Generate first."
            return None
        with self.panel.telling():
            recipe = {**self._recipe, "chosen": self.panel.chosen}
            picture = self._original.changed_to(self.results[self.panel.chosen])
            path = save_recipe(picture, recipe, self.folder)
            self.panel.status = f"Saved {path} and its recipe {path.with_suffix('.json').name}"
            return path
        return None

    def open_recipe(self, recipe: str | Path | bytes) -> bool:
        """Whether a recipe (its path, or its content as bytes) could be taken; else a message."""
        try:
            text = recipe if isinstance(recipe, bytes) else Path(recipe).read_bytes()
            facts, pictures = read_recipe(text)
        except BAD_INPUT as error:
            self.panel.message = str(error)
            return False
        self.cutter.show(pictures["reference"], pictures["reference_mask"])
        self.picker.show(pictures["scene"], pictures["scene_mask"])
        self.panel.message = ""
        for name, value in facts["settings"].items():
            with self.panel.telling():
                setattr(self.panel, name, value)
        weights = Path(facts["weights"]).name
        self.panel.status = f"Opened a recipe made with {weights}; press Generate"
        return True

    def figure(self) -> Figure:
        """Reference, scene and results, and what they were made with, as a matplotlib figure."""
        titles = ["reference", "scene", *(f"proposal {k + 1}" for k in range(len(self.results)))]
        figure, panels = empty_figure(len(titles), titles)
        images = [self.cutter.image, self.picker.image, *self.results]
        for axes, image in zip(panels, images, strict=True):
            if image is not None:
                axes.imshow(image)
        if self._recipe:
            weights = f"{Path(self._recipe['weights']).name}, {self._resolution} px"
            made = {"weights": weights, **self._recipe["settings"]}
            text = "; ".join(f"{name} {value}" for name, value in made.items())
            figure.supxlabel(text, fontsize=9, color="#444444")
        return figure

    def _run(self, pair: Pair, original: Original, settings: dict[str, Any]) -> None:
        """One press, in its own thread: the kernel stays free."""
        began, done = time.perf_counter(), 0
        try:
            pipeline = self._variants.pipeline(settings["idx"])
            shown, prepared, seeds = self._prepare(pipeline, pair, settings)
            arguments = (pipeline, pair, shown, prepared, seeds)
            images: list[np.ndarray] = []
            for images in self._images(*arguments, settings):  # noqa: B007
                pass
            if self._cancelled.is_set():
                self.panel.message, self.panel.status = "", "Cancelled; all marks are as they were"
                return
            self._original, self._crop = original, shown.placement.crop
            self.results = images
            self._recipe = recipe_of(pair, original, settings, str(pipeline.name_or_path))
            self.panel.chosen = 0
            self._choose(None)
            done = 1
            edit = planned_edit(
                pair.scene_mask, shown.placement, settings["blend"], pair.reference_mask
            )
            self.panel.message = " ".join(f"Note: {told}." for told in edit.warnings)
            self.panel.status = f"Done in {time.perf_counter() - began:.1f} s"
        except BAD_INPUT as error:  # torch's out-of-memory is a RuntimeError
            self.panel.message = f"Placing failed: {error}"
            self.panel.status = ""
        finally:
            self._show_results()
            self.panel.busy = False
            self.panel.finished += done

    def _prepare(
        self, pipeline: AnyDoorPipeline, pair: Pair, settings: dict[str, Any]
    ) -> tuple[Conditioning, Prepared, Seeds]:
        """What is shown and the seeds of each; the costly encoding of it is kept for other seeds,
        steps, guidance and proposals."""
        seeds = [[settings["seed"] + k for k in range(settings["proposals"])]]
        conditioner = pipeline.conditioner(settings["collage"])
        shown, own = shown_by_seed(conditioner, [pair], seeds, settings["shape"])
        arrays = [array for one in shown for array in one.inputs.values()]
        key = (settings["idx"], *(hash(array.tobytes()) for array in arrays))
        if self._prepared is None or self._prepared[0] != key:
            self._prepared = (key, pipeline.prepare(shown))
        return shown[0], self._prepared[1], own

    def _images(
        self,
        pipeline: AnyDoorPipeline,
        pair: Pair,
        shown: Conditioning,
        prepared: Prepared,
        seeds: Seeds,
        settings: dict[str, Any],
    ) -> Iterator[list[np.ndarray]]:
        """Yield the finished scenes; on the way show progress and what is to be seen so far."""
        steps, last = settings["steps"], time.monotonic()
        denoised = None
        for denoised in pipeline.denoise(prepared, seeds, steps, settings["guidance"]):
            if self._cancelled.is_set():
                return
            now = time.monotonic()
            if now - last > PREVIEW_EVERY_S:
                self.panel.show_gallery(list(pipeline.decode(denoised.x0)))
                last = now
            with self.panel.hold_sync():
                self.panel.progress = (denoised.step + 1) / steps
                self.panel.status = f"Step {denoised.step + 1} of {steps}, t = {denoised.t}"
        if denoised is not None:
            how = (pair, shown.placement, settings["blend"], pipeline.config.preprocessing)
            yield [paste_decoded(picture, *how) for picture in pipeline.model.decoded(denoised.x)]

    def _show_results(self) -> None:
        """The gallery of the last finished run, in place of the previews."""
        crop = self._crop
        self.panel.show_gallery([i[crop.slices] for i in self.results] if crop else [])

    def _choose(self, _: Any) -> None:
        if self._original is not None and 0 <= self.panel.chosen < len(self.results):
            self.panel.compare(self._original.rgb, self.results[self.panel.chosen])

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        acts = {"generate": self.generate, "cancel": self.cancel, "save": self.save}
        if content.get("do") in acts:
            acts[content["do"]]()
        if content.get("do") == "open":
            self.open_recipe(bytes(buffers[0]))


def _side_by_side(*children: ipywidgets.DOMWidget) -> ipywidgets.Box:
    for child in children:
        child.layout = ipywidgets.Layout(flex="1 1 360px", min_width="0", width="auto")
    return ipywidgets.Box(children, layout=ipywidgets.Layout(flex_flow="row wrap", width="100%"))
