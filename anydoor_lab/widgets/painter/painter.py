"""A picture one draws a mask on: the state behind `painter.js`."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import traitlets
from matplotlib.figure import Figure
from PIL import Image

from anydoor_lab.pipeline.inputs import checked_box
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_mask, read_rgba, resized, resized_mask
from anydoor_lab.structures.masks import marks_of
from anydoor_lab.structures.originals import Original, Picture
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.examples import Example, offered
from anydoor_lab.widgets.last_state import HEIGHT_PX
from anydoor_lab.widgets.uploads import Upload, uploaded
from anydoor_lab.widgets.view import (
    BAD_INPUT,
    PngBytes,
    View,
    empty_figure,
    original_from,
    to_look_at,
)

MARK = (0, 114, 178)
"""Colour of what is marked (blue of Okabe and Ito)."""
WHOLE = "The whole picture is marked; leave some of it unmarked."
SAME_SHAPE = 0.02
"""How far the ratio of a mask's sides may be from its picture's, to be fitted to it."""


class Painter(View):
    """A picture and what is marked in it, both in the picture's own pixels.

    Args:
        picture: path, PIL picture or array; None shows an empty frame with an Open button.
        region: (H, W) bool or a box [y1, x1, y2, x2] to begin with.
        label: what the picture is, for its heading and for screen readers.

    Attributes:
        original: the picture with its alpha, colour profile and resolution; None before.
        strokes: counts what was drawn in the browser; observe it to follow along.
    """

    _css = bundled(__file__, ".css")
    label = traitlets.Unicode("Picture").tag(sync=True)
    strokes = traitlets.Int(0).tag(sync=True)
    _height = traitlets.Int(0).tag(sync=True)
    _width = traitlets.Int(0).tag(sync=True)
    _picture = PngBytes(b"").tag(sync=True)
    _region = PngBytes(b"").tag(sync=True)
    _examples = traitlets.List(traitlets.Any()).tag(sync=True)
    changed = traitlets.Int(0)
    """Counts every change of picture or mask, by hand or by code."""

    def __init__(
        self,
        picture: Picture | str | Path | None = None,
        region: np.ndarray | Box | list[int] | None = None,
        label: str = "Picture",
    ) -> None:
        self.original: Original | None = None
        self._image: np.ndarray | None = None
        self._marked: np.ndarray | None = None
        self._upload = Upload()
        super().__init__(label=label)
        self.on_msg(self._hear)
        # both come in one message, in either order: who follows strokes must find the mask taken
        self.observe(self._drawn, ["_region", "strokes"])
        self.observe(lambda _: self.keep_last_state(), "changed")
        if picture is not None:
            self.show(picture, region)

    @property
    def image(self) -> np.ndarray | None:
        """(H, W, 3) uint8 RGB; None before there is a picture."""
        return self._image

    @property
    def mask(self) -> np.ndarray | None:
        """(H, W) bool, what is marked; None before there is a picture."""
        return None if self._marked is None else self._marked.copy()

    @property
    def box(self) -> Box | None:
        """The smallest box about what is marked; None where nothing is."""
        marked = self._marked
        return Box.around(marked) if marked is not None and marked.any() else None

    def show(
        self,
        picture: Picture | str | Path,
        region: np.ndarray | Box | list[int] | None = None,
    ) -> bool:
        """Whether `picture` could be taken; if not, the message says why and all stays."""
        try:
            original = original_from(picture)
            image = original.rgb
            region = self._marked_at_first(original) if region is None else region
            marked = _region_of(region, *image.shape[:2])
        except BAD_INPUT as error:
            self.message = f"This picture cannot be used: {error}"
            return False
        self.original, self._image, self._marked = original, image, marked
        with self.hold_sync():
            self._height, self._width = image.shape[:2]
            self._region = _alpha_png(marked)
            self._picture = to_look_at(image)
            self.message = ""
        self.changed += 1
        return True

    def examples(self) -> list[Example]:
        """Pictures on offer to begin with."""
        return []

    def show_example(self, number: int) -> bool:
        """Whether one of `examples` could be taken; if not, the message says why and all stays."""
        example = self.examples()[number]
        try:
            picture, mask = example.read()
        except BAD_INPUT as error:
            self.message = f"The example {example.name} cannot be shown: {error}"
            return False
        return self.show(picture, mask)

    def select(self, region: np.ndarray | Box | list[int]) -> bool:
        """Whether `region` could be marked instead; if not, the message says why and all stays."""
        if self._image is None:
            self.message = "Open a picture before you mark something in it."
            return False
        try:
            self._marked = _region_of(region, *self._image.shape[:2])
        except BAD_INPUT as error:
            self.message = f"This region cannot be used: {error}"
            return False
        self._region = _alpha_png(self._marked)
        self.message = ""
        self.changed += 1
        return True

    def _marked_at_first(self, original: Original) -> np.ndarray | None:
        """What a picture that comes without a region marks, (H, W) bool; None for nothing."""
        return None

    def figure(self) -> Figure:
        """The picture with what is marked in it."""
        figure, (axes,) = empty_figure(1, [self.label])
        if self._image is not None and self._marked is not None:
            axes.imshow(overlaid(self._image, self._marked))
        return figure

    def _drawn(self, _: dict[str, Any]) -> None:
        """Take the region that the browser has sent."""
        if self._image is None or self._marked is None:
            return
        marked = _from_alpha_png(self._region, *self._image.shape[:2])
        if not np.array_equal(marked, self._marked):
            self._marked = marked
            if marked.all() or self.message == WHOLE:  # other messages are not about the mask
                self.message = WHOLE if marked.all() else ""
            self.changed += 1

    def fit_mask(self, mask: np.ndarray) -> bool:
        """Whether a mask (h, w) bool of perhaps another size, but the same shape, could be marked;
        the message says that it was fitted, or why not."""
        if self._image is None:
            self.message = "Open a picture before its mask."
            return False
        (height, width), own = mask.shape, self._image.shape[:2]
        sizes = f"the mask is {width}x{height}, its picture {own[1]}x{own[0]}"
        if abs(np.log(width / height * own[0] / own[1])) > SAME_SHAPE:
            self.message = f"This mask cannot be used: {sizes}; expected the same shape."
            return False
        done = self.select(resized_mask(mask, *own))
        if done and mask.shape != own:
            self.message = f"Note: {sizes}; it was fitted."
        return done

    def pictures(self) -> list[np.ndarray]:
        """The picture with what is marked in it."""
        if self._image is None or self._marked is None:
            return []
        height = min(len(self._image), HEIGHT_PX)
        width = max(1, round(self._image.shape[1] * height / len(self._image)))
        marked = resized_mask(self._marked, height, width)
        return [overlaid(resized(self._image, height, width), marked)]

    def _hear(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        do = content.get("do")
        if do == "examples":
            self._examples = [*offered(self.examples())]
        elif do == "example":
            self.show_example(int(content["number"]))
            self.send({"done": do})
        elif do in ("open", "mask"):
            with self.telling():
                self._open(content, buffers)

    def _open(self, content: dict[str, Any], buffers: list[Any]) -> None:
        """Take a piece of a picture or a mask, and with the last one the whole."""
        data, do = self._upload.take(content, buffers), content["do"]
        if data is None:
            return
        with uploaded(str(content.get("name")), data) as path:
            try:
                if do == "open":
                    self.show(path)
                else:
                    self.fit_mask(read_mask(path))
            except BAD_INPUT as error:
                self.message = f"This mask cannot be used: {error}"
            self.message = self.message.replace(str(path), path.name)
        self.send({"done": do})


def overlaid(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """`image` (H, W, 3) uint8 with `mask` (H, W) bool tinted."""
    tinted = image.copy()
    tinted[mask] = (0.55 * image[mask] + 0.45 * np.array(MARK)).astype(np.uint8)
    return tinted


def _region_of(region: np.ndarray | Box | list[int] | None, height: int, width: int) -> np.ndarray:
    if region is None:
        return np.zeros((height, width), np.bool_)
    if not isinstance(region, np.ndarray):
        return checked_box(region, height, width).mask(height, width)
    if region.shape != (height, width):
        raise InputError(f"the mask is {region.shape}, its picture {(height, width)}")
    return marks_of(region)


def _alpha_png(marked: np.ndarray) -> bytes:
    """Empty where nothing is marked: a white picture whose alpha is the mask."""
    if not marked.any():
        return b""
    values = np.zeros((*marked.shape, 2), np.uint8)
    values[marked] = 255
    buffer = io.BytesIO()
    Image.fromarray(values, "LA").save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def _from_alpha_png(data: bytes, height: int, width: int) -> np.ndarray:
    if not data:
        return np.zeros((height, width), np.bool_)
    marked = read_rgba(io.BytesIO(data))[..., 3] > 127
    return marked if marked.shape == (height, width) else np.zeros((height, width), np.bool_)
