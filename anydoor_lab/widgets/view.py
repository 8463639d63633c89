"""What all widgets share: a message line, pictures in and out, a figure where no front end is."""

from __future__ import annotations

import io
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_original, resized
from anydoor_lab.structures.originals import Original, Picture, original_of
from anydoor_lab.widgets.last_state import LastState

MAX_PIXELS = 40_000_000
"""Larger pictures (width x height) are refused: a browser has to hold them, too."""
SHOWN_PX = 1600
"""Longest side that is sent to the browser to look at; masks keep the picture's own pixels."""
EXACT_PIXELS = 512 * 512
"""Pictures of more pixels (as shown) are sent as JPEG files to look at."""
BAD_INPUT = (ValueError, TypeError, OSError, RuntimeError)
SESSION = uuid.uuid4().hex
"""Names this process: a browser can tell whether another kernel is behind a widget."""


class View(LastState, anywidget.AnyWidget):
    """A widget that says in its message line what is wrong, and can be drawn without a browser."""

    message = traitlets.Unicode("").tag(sync=True)
    _session = traitlets.Unicode(SESSION).tag(sync=True)

    def __init__(self, **state: Any) -> None:
        super().__init__(**state)
        self.on_msg(self._answer)

    def _answer(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """Let the browser know that its message was heard: the kernel is there."""
        if "key" in content:
            self.send({"heard": content["key"]})

    @contextmanager
    def telling(self) -> Iterator[None]:
        """Inside, bad input becomes the message; what was shown before stays."""
        try:
            yield
        except BAD_INPUT as error:
            self.message = str(error)

    def figure(self) -> Figure:
        """What the widget shows, as a matplotlib figure."""
        raise NotImplementedError

    def pictures(self) -> list[np.ndarray]:
        """What a saved notebook shows of the widget: its figure."""
        with Image.open(io.BytesIO(self._repr_png_())) as picture:
            return [np.array(picture.convert("RGB"))]

    def _repr_png_(self) -> bytes:
        buffer = io.BytesIO()
        self.figure().savefig(buffer, format="png", bbox_inches="tight", facecolor="white")
        return buffer.getvalue()


class PngBytes(traitlets.Bytes):
    """A PNG file; bytes of the browser arrive as a memoryview, which plain `Bytes` refuses."""

    def validate(self, obj: object, value: object) -> bytes:
        """The value as bytes."""
        return (
            super().validate(obj, bytes(value) if isinstance(value, memoryview) else value) or b""
        )


def original_from(picture: Picture | str | Path) -> Original:
    """The original of a path, a PIL picture or an array (grey and RGBA ones as well).

    Raises:
        ValueError, TypeError, FileNotFoundError: it is no picture, or one that is too large.
    """
    if isinstance(picture, str | Path):
        found = read_original(picture)
    else:
        found = original_of(_with_grey_and_alpha(picture))
    height, width = found.rgb.shape[:2]
    if height * width > MAX_PIXELS:
        raise InputError(
            f"the picture has {width}x{height} pixels; at most {MAX_PIXELS:,}, shrink it first"
        )
    if min(height, width) < 2:
        raise InputError(f"the picture has {width}x{height} pixels; expected at least 2x2")
    return found


def _with_grey_and_alpha(picture: Picture) -> Picture:
    """Arrays that are no (H, W, 3) uint8 as PIL's pictures, where they can be those."""
    if not isinstance(picture, np.ndarray):
        return picture
    if picture.dtype == np.uint16 and picture.ndim == 3:
        picture = (picture // np.uint16(257)).astype(np.uint8)
    known = (("uint8", ()), ("uint16", ()), ("uint8", (4,)))
    kind = (picture.dtype.name, picture.shape[2:])
    return Image.fromarray(np.ascontiguousarray(picture)) if kind in known else picture


def png(image: np.ndarray, longest_px: int | None = None) -> bytes:
    """`image` (H, W[, 3]) uint8 as a PNG file, shrunk to at most `longest_px`."""
    scale = (longest_px or max(image.shape[:2])) / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = resized(image, height, width)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def to_look_at(image: np.ndarray) -> bytes:
    """`image` (H, W, 3) uint8 for the browser: small ones exact, else at most `SHOWN_PX`."""
    height, width = image.shape[:2]
    scale = min(1.0, SHOWN_PX / max(height, width))
    if height * width * scale**2 <= EXACT_PIXELS:
        return png(image, SHOWN_PX)
    small = resized(image, max(1, round(height * scale)), max(1, round(width * scale)))
    buffer = io.BytesIO()
    Image.fromarray(small).save(buffer, "JPEG", quality=92, subsampling=0)
    return buffer.getvalue()


def empty_figure(columns: int, titles: list[str], height_in: float = 3.2) -> tuple[Figure, list]:
    """A figure of `columns` pictures side by side, and its axes."""
    figure = Figure(figsize=(3.2 * columns, height_in), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=text_pt(columns))
        axes.set_axis_off()
    return figure, panels


def text_pt(columns: int) -> float:
    """Size of the text in a figure of so many columns that is shown 800 px wide."""
    return max(9.0, 3.6 * columns)
