"""Pictures read fast: JPEGs by OpenCV, at a half, a quarter or an eighth where that is enough."""

from __future__ import annotations

import io
from functools import cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image
from anydoor_lab.structures.opening import opened
from anydoor_lab.structures.originals import ORIENTATION

_READ_AT = {
    1: cv2.IMREAD_COLOR_RGB,
    2: cv2.IMREAD_REDUCED_COLOR_2,
    4: cv2.IMREAD_REDUCED_COLOR_4,
    8: cv2.IMREAD_REDUCED_COLOR_8,
}
FACTORS = tuple(sorted(_READ_AT))
"""By how much a picture may be reduced while it is decoded."""
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND\xaeB`\x82"}
_TAIL = 64  # bytes in which a whole file says that it ends; some writers pad it


class Member(io.BytesIO):
    """A picture's file in memory, and the name by which sentences call it."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.title = name

    def __str__(self) -> str:
        return self.title


def check_whole(path: Path | Member, kind: str | None) -> None:
    """Raise ValueError where a JPEG or PNG is cut short: some decoders make up what is missing.

    Args:
        path: the file.
        kind: as PIL names it.
    """
    end = _ENDS.get(kind or "")
    if end is None:
        return
    with io.BytesIO(path.getvalue()) if isinstance(path, Member) else path.open("rb") as file:
        file.seek(max(0, file.seek(0, io.SEEK_END) - _TAIL))
        if end not in file.read():
            _read(path)  # says so, unless something stands behind the picture


def _read(path: Path | Member) -> np.ndarray:
    if isinstance(path, Member):
        path.seek(0)
    return read_image(path)


def read_reduced(path: str | Path | Member, factor: int = 1) -> np.ndarray:
    """The picture in a file as `read_image` gives it, (H / factor, W / factor, 3) rounded up.

    JPEGs in colour that stand upright and have no colour profile are decoded by OpenCV, or by
    simplejpeg where it is installed, whose values differ from PIL's by a step or two; all others
    are read by `read_image` and shrunk.

    Args:
        path: the file.
        factor: one of `FACTORS`.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, is truncated, or would take too much memory to read.
    """
    path = Path(path) if isinstance(path, str) else path
    with opened(path) as picture:
        fast = _is_plain(picture)
    if fast:
        check_whole(path, "JPEG")
        content = (
            np.frombuffer(path.getbuffer(), np.uint8)
            if isinstance(path, Member)
            else np.fromfile(path, np.uint8)
        )
        image = _decoded(content, factor)
        if image is None:
            raise InputError(f"{path} is truncated or damaged; replace the file")
        return image
    image = _read(path)
    if factor == 1:
        return image
    height, width = (-(-side // factor) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA)


def _decoded(content: np.ndarray, factor: int) -> np.ndarray | None:
    """A colour JPEG's pixels, None where it is damaged. simplejpeg, where it is installed, gives
    the same pixels and sees most damage in the middle of a file, which OpenCV makes up for."""
    jpeg = _simplejpeg()
    if jpeg is None:
        image = cv2.imdecode(content, _READ_AT[factor])
        return image if image is None or factor == 1 else cv2.cvtColor(image, cv2.COLOR_BGR2RGB)
    try:
        height, width, *_ = jpeg.decode_jpeg_header(content)
        least = {"min_height": -(-height // factor), "min_width": -(-width // factor)}
        pixels: np.ndarray = jpeg.decode_jpeg(content, "RGB", **(least if factor > 1 else {}))
        return pixels
    except ValueError:
        return None


@cache
def _simplejpeg() -> Any:
    return import_module("simplejpeg") if find_spec("simplejpeg") else None


def _is_plain(picture: Image.Image) -> bool:
    plain = picture.format == "JPEG" and picture.mode == "RGB" and "icc_profile" not in picture.info
    return plain and picture.getexif().get(ORIENTATION, 1) == 1
