"""The door of picture files: what is opened at all, and what a header tells before the pixels."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError, features

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.originals import (
    DAMAGES,
    ORIENTATION,
    TooLargeError,
    check_size,
    upright,
)

FORMATS = (
    *("PNG", "JPEG", "BMP", "DIB", "TIFF", "GIF", "PPM", "JPEG2000"),
    *(kind for kind in ("WEBP", "AVIF") if features.check(kind.lower())),
)
"""What is read, as PIL names it: none of these starts another program."""
_ORIENTED_BY = ("exif", "Raw profile type exif", "xmp", "XML:com.adobe.xmp")


class Header(NamedTuple):
    """A picture's size once it is upright, pixels, and whether it may be transparent somewhere."""

    height: int
    width: int
    alpha: bool


def opened(path: str | Path | BinaryIO) -> Image.Image:
    """The picture in a file, its pixels not yet read, its size found bearable.

    Raises: as `read_image`.
    """
    try:
        if isinstance(path, str | Path):
            _check_regular(Path(path))
        with warnings.catch_warnings():  # PIL's limit, in pixels: `check_size` knows better
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            picture = Image.open(path, formats=FORMATS)
    except (FileNotFoundError, InputError):
        raise
    except Image.DecompressionBombError as error:
        raise TooLargeError(f"{path} is too large ({error}); shrink it first") from error
    except (UnidentifiedImageError, *DAMAGES) as error:
        _check_no_heic(path)
        raise InputError(f"{path} is not a picture this can read ({error})") from error
    try:
        check_size(picture)
    except InputError:
        picture.close()
        raise
    return picture


def _check_regular(path: Path) -> None:
    """Raise for an empty file and for what is no file: reading a pipe could wait for ever."""
    if path.is_file():
        if path.stat().st_size == 0:
            raise InputError(f"{path} is empty (0 bytes); replace the file")
        return
    seen = "does not exist"
    if path.is_dir():
        seen = "is a folder"
    elif path.exists():
        seen = "is a pipe or a device, no file"
    raise FileNotFoundError(f"{path} {seen}; give a picture's path")


def _check_no_heic(path: str | Path | BinaryIO) -> None:
    """Raise ValueError for what phones call HEIC: the sentence says what to do."""
    if isinstance(path, str | Path):
        with Path(path).open("rb") as file:
            start = file.read(12)
        if start[4:8] == b"ftyp" and start[8:11] in (b"hei", b"hev", b"mif", b"msf"):
            raise InputError(f"{path} is a HEIC picture, which this cannot read; save it as JPEG")


def header_of(picture: Image.Image) -> Header:
    """The facts of an opened picture.

    Raises: as `original_of`.
    """
    alpha = picture.has_transparency_data
    if _told_by_pixels(picture):
        width, height = upright(picture).size
        return Header(height, width, alpha)
    stub = Image.new("1", (1, 2))  # the library turns it as it would turn the picture
    stub.info = {name: picture.info[name] for name in _ORIENTED_BY if name in picture.info}
    sides = picture.size if ImageOps.exif_transpose(stub).size == (1, 2) else picture.size[::-1]
    return Header(sides[1], sides[0], alpha)


def _told_by_pixels(picture: Image.Image) -> bool:
    """Whether a picture has to be read to know how it is turned."""
    if picture.format == "TIFF":  # PIL's size before reading depends on its version
        return len({picture.getexif().get(ORIENTATION, 1), 1}) > 1
    return picture.format == "PNG" and _turned_late(getattr(picture, "fp"))  # noqa: B009


def _turned_late(file: Any) -> bool:
    """Whether a PNG tells an orientation behind its pixels, as its specification allows."""
    place, late = file.tell(), False
    file.seek(8)
    try:
        while len(start := file.read(8)) == 8:
            length, kind = int.from_bytes(start[:4], "big"), start[4:]
            late |= kind == b"IDAT"
            words = file.read(min(length, 32))
            if late and (kind == b"eXIf" or words.startswith((b"XML:com.adobe", b"Raw profile"))):
                return True
            file.seek(length - len(words) + 4, io.SEEK_CUR)
        return False
    finally:
        file.seek(place)
