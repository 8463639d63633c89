"""ObjectCutter: cut the object out of a reference photo, and see what the model will be shown."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from anydoor_lab.conditioning.collage import high_frequency
from anydoor_lab.conditioning.id_crop import crop_object, make_id_image
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair, check_masked
from anydoor_lab.structures.originals import Original, Picture
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.examples import Example, references
from anydoor_lab.widgets.object_cutter.segmenters import Segmenter, grab_cut
from anydoor_lab.widgets.painter.painter import Painter, overlaid
from anydoor_lab.widgets.view import (
    BAD_INPUT,
    PngBytes,
    empty_figure,
    png,
)

PREVIEW_PX = 192


class ObjectCutter(Painter):
    """A reference in which one marks the object: a box or clicks cut it, the brush refines.

    Args:
        reference: path, PIL picture (of RGBA the alpha marks the object) or uint8 array.
        mask: (H, W) bool to begin with.
        segmenter: what cuts: a `Segmenter`, or the path of its weights (`segmenter_at`); None, or
            a path without any, cuts with GrabCut.
        label: heading.
        edges: how the HF map shown takes them, keyword arguments of `high_frequency`.

    Attributes:
        segmenter: the function that cuts; any `Segmenter`.
    """

    _esm = bundled(__file__, ".js")
    _css = bundled(__file__, ".css")
    _id_image = PngBytes(b"").tag(sync=True)
    _detail_map = PngBytes(b"").tag(sync=True)

    def __init__(
        self,
        reference: Picture | str | Path | None = None,
        mask: np.ndarray | None = None,
        segmenter: Segmenter | str | Path | None = None,
        label: str = "Reference: cut out the object",
        edges: Mapping[str, Any] | None = None,
    ) -> None:
        self.segmenter: Segmenter = grab_cut
        self._edges = {"size_px": 128, **(edges or {})}
        super().__init__(None, None, label)
        self.observe(self._preview, "changed")
        if reference is not None:
            self.show(reference, mask)
        if isinstance(segmenter, str | Path):
            self._load(segmenter)
        elif segmenter is not None:
            self.segmenter = segmenter

    def _load(self, path: str | Path) -> None:
        from anydoor_lab.widgets.object_cutter.networks import segmenter_at

        try:
            self.segmenter = segmenter_at(path)
        except BAD_INPUT as error:
            self.message = f"{error}. GrabCut cuts instead."

    def _marked_at_first(self, original: Original) -> np.ndarray | None:
        """Where the picture's alpha is above 128."""
        return None if original.alpha is None else original.alpha > 128

    def examples(self) -> list[Example]:
        """Objects of the package, already cut out."""
        return references()

    def cut(
        self, box: Box | None = None, clicks: list[tuple[int, int, bool]] | None = None
    ) -> bool:
        """Whether an object was found by a box or by clicks (y, x, is on the object)."""
        if self.image is None:
            self.message = "Open a picture before you cut something out of it."
            return False
        try:
            found = self.segmenter(self.image, box, clicks or [])
            check_masked("reference", self.image, found)
        except UnusablePair:
            self.message = "No object was found there; draw the box closer to it, or paint it."
            return False
        except BAD_INPUT as error:
            self.message = f"Cutting failed: {error}"
            return False
        return self.select(found)

    def figure(self) -> Figure:
        """The reference with its mask, the id_image and the high-frequency map."""
        figure, panels = empty_figure(3, [self.label, "id_image", "HF map"])
        shown = self.previews()
        if self.image is not None and shown is not None and self.mask is not None:
            for axes, image in zip(panels, (overlaid(self.image, self.mask), *shown), strict=True):
                axes.imshow(image)
        return figure

    def previews(self) -> tuple[np.ndarray, np.ndarray] | None:
        """id_image and HF map, (S, S, 3) and (h, w, 3) uint8; None while nothing is marked."""
        if self.image is None or self._marked is None or not self._marked.any():
            return None
        crop, inside = crop_object(self.image, self._marked, PREVIEW_PX)
        edges = high_frequency(crop, inside, rng_for(0, 0, "preview"), **self._edges)
        return make_id_image(crop, inside, PREVIEW_PX, 1.2), edges

    def _preview(self, _: Any) -> None:
        shown = self.previews()
        with self.hold_sync():
            self._id_image, self._detail_map = map(png, shown) if shown else (b"", b"")

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        super()._hear(_, content, buffers)
        if content.get("do") != "prompt":
            return
        self.message, found = "", False
        with self.telling():
            box = content.get("box")
            asked = None if box is None else Box(box[0], box[2], box[1], box[3])
            clicks = [(int(y), int(x), bool(on)) for y, x, on in content["clicks"]]
            found = self.cut(asked, clicks)
        self.send({"done": "prompt", "found": found})
