"""What all widgets share: a message line, pictures in and out, a figure where no front end is."""

from __future__ import annotations

import io
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import anywidget
import numpy as np
import traitlets
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from PIL import Image

from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.errors import InputError, InputTypeError
from anydoor_lab.structures.images import (
    Picture,
    alpha_of,
    has_alpha,
    read_image,
    read_mask,
    resized,
    rgb_of,
)

MAX_PIXELS = 40_000_000
"""Larger pictures (width x height) are refused: a browser has to hold them, too."""
SHOWN_PX = 1600
"""Longest side that is sent to the browser to look at; masks keep the picture's own pixels."""
BAD_INPUT = (ValueError, TypeError, OSError, RuntimeError)


class View(anywidget.AnyWidget):
    """A widget that says in its message line what is wrong, and can be drawn without a browser."""

    message = traitlets.Unicode("").tag(sync=True)

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


def picture_of(picture: Picture | str | Path) -> np.ndarray:
    """(H, W, 3) uint8 RGB of a path, a PIL picture or an array (grey and RGBA ones as well).

    Raises:
        ValueError, TypeError, FileNotFoundError: it is no picture, or one that is too large.
    """
    if isinstance(picture, str | Path):
        image = read_image(picture)
    elif isinstance(picture, Image.Image):
        image = rgb_of(picture)
    else:
        image = _three_channels(picture)
    check_image("the picture", image)
    height, width = image.shape[:2]
    if height * width > MAX_PIXELS:
        raise InputError(
            f"the picture has {width}x{height} pixels; at most {MAX_PIXELS:,}, shrink it first"
        )
    if min(height, width) < 2:
        raise InputError(f"the picture has {width}x{height} pixels; expected at least 2x2")
    return image


def marked_by_alpha(picture: Picture | str | Path) -> np.ndarray | None:
    """(H, W) bool, where a picture's alpha is above 128; None where every pixel is opaque.

    Raises: as `picture_of`.
    """
    if isinstance(picture, str | Path):
        return read_mask(picture) if has_alpha(picture) else None
    if isinstance(picture, Image.Image):
        alpha = alpha_of(picture)
    else:
        alpha = picture[..., 3] if np.ndim(picture) == 3 and picture.shape[2] == 4 else None
    return None if alpha is None or alpha.min() == 255 else alpha > 128


def _three_channels(image: np.ndarray) -> np.ndarray:
    if not isinstance(image, np.ndarray):
        raise InputTypeError(
            f"the picture is a {type(image).__name__}; give a path, PIL or an array"
        )
    if image.dtype == np.uint16:
        image = (image // 257).astype(np.uint8)
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=2)
    return np.ascontiguousarray(image[..., :3]) if image.shape[-1:] == (4,) else image


@contextmanager
def uploaded(name: str, data: bytes) -> Iterator[Path]:
    """Inside, an uploaded file lies at this path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / (Path(name).name or "picture")
        path.write_bytes(data)
        yield path


def png(image: np.ndarray, longest_px: int | None = None) -> bytes:
    """`image` (H, W[, 3]) uint8 as a PNG file, shrunk to at most `longest_px`."""
    scale = (longest_px or max(image.shape[:2])) / max(image.shape[:2])
    if scale < 1:
        height, width = (max(1, round(side * scale)) for side in image.shape[:2])
        image = resized(image, height, width)
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", compress_level=1)
    return buffer.getvalue()


def empty_figure(columns: int, titles: list[str], height_in: float = 3.2) -> tuple[Figure, list]:
    """A figure of `columns` pictures side by side, and its axes."""
    figure = Figure(figsize=(3.2 * columns, height_in), dpi=100, layout="constrained")
    FigureCanvasAgg(figure)
    panels = list(figure.subplots(1, columns, squeeze=False)[0])
    for axes, title in zip(panels, titles, strict=True):
        axes.set_title(title, fontsize=10)
        axes.set_axis_off()
    return figure, panels
