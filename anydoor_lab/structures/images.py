"""Pictures: files in and out, and the few pixel operations everything shares. RGB throughout."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import cv2
import numpy as np
from PIL import Image, PngImagePlugin

from anydoor_lab.structures.checks import UnusablePair, check_all_finite, is_whole
from anydoor_lab.structures.errors import InputError, InputTypeError
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.masks import mask_of
from anydoor_lab.structures.opening import Header, header_of, opened
from anydoor_lab.structures.originals import DAMAGES, Original, original_of, rgb_of, rgba_of

ENDINGS = {".png": "PNG", ".jpg": "JPEG", ".jpeg": "JPEG", ".webp": "WEBP"}
"""What is written."""
FACTS = "anydoor_lab"
"""The key of a PNG's text chunk under which its facts stand, as JSON."""
_Decoded = TypeVar("_Decoded")


def read_image(path: str | Path | BinaryIO) -> np.ndarray:
    """The picture in a file as (H, W, 3) uint8, upright (EXIF), in sRGB, any alpha over white.

    Raises:
        FileNotFoundError: there is no such file, or it is a folder, a pipe or a device.
        ValueError: it is no picture, is truncated, or would take too much memory to read.
    """
    return _decoded(path, rgb_of)


def read_original(path: str | Path | BinaryIO) -> Original:
    """The picture in a file as `read_image` gives it, with what is needed to write it back.

    Raises: as `read_image`.
    """
    return _decoded(path, original_of)


def read_rgba(path: str | Path | BinaryIO) -> np.ndarray:
    """The picture in a file as (H, W, 4) uint8 RGBA in sRGB; opaque where it has no alpha.

    Raises: as `read_image`.
    """
    return _decoded(path, rgba_of)


def read_mask(path: str | Path | BinaryIO) -> np.ndarray:
    """A mask file as (H, W) bool by the rule of `mask_of`.

    Raises: as `read_image` and `mask_of`.
    """
    return _decoded(path, mask_of)


def read_header(path: str | Path | BinaryIO) -> Header:
    """A picture's facts; its pixels stay unread unless they alone tell how it is turned.

    Raises: as `read_image`.
    """
    return _decoded(path, header_of)


def read_facts(path: str | Path | BinaryIO) -> dict[str, Any]:
    """What `write_image` was given as `facts`: of a placed picture its seed, recipe and commit.

    Raises:
        ValueError: the file carries none, or as `read_image`.
    """
    with opened(path) as picture:
        text = picture.info.get(FACTS)
    if text is None:
        raise InputError(f"{path} carries no facts of {FACTS}; expected a PNG that it has written")
    try:
        return dict(json.loads(text))
    except (ValueError, TypeError) as error:
        raise InputError(f"the facts in {path} are damaged ({error})") from error


def write_image(
    path: str | Path,
    image: np.ndarray | Image.Image,
    *,
    quality: int = 95,
    facts: Mapping[str, Any] | None = None,
) -> None:
    """Write a picture whole or not at all, creating the folder; the ending names the format.

    Args:
        path: ends in one of `ENDINGS`.
        image: (H, W[, 3 or 4]) uint8, or PIL's with its `icc_profile` and `dpi`.
        quality: 1 to 100, of .jpg and .webp.
        facts: written into a PNG for `read_facts`; the other formats carry none.

    Raises:
        ValueError: another ending or quality, or alpha for a .jpg.
        TypeError: another kind of array.
    """
    write_whole(path, encoded(image, checked_ending(path), quality, facts))


def encoded(
    image: np.ndarray | Image.Image,
    ending: str,
    quality: int = 95,
    facts: Mapping[str, Any] | None = None,
) -> bytes:
    """The content of the file that `write_image` writes."""
    if not isinstance(image, Image.Image) and image.dtype != np.uint8:
        raise InputTypeError(f"the picture is {image.dtype} {image.shape}; expected uint8")
    picture = image if isinstance(image, Image.Image) else Image.fromarray(image)
    kind = ENDINGS[ending]
    check_quality(quality)
    if kind == "JPEG" and picture.mode not in ("L", "RGB"):
        raise InputError(
            f"the picture is {picture.mode} and {ending} holds no alpha; choose .png or .webp"
        )
    kept = ("icc_profile", "dpi")
    options: dict[str, Any] = {n: picture.info[n] for n in kept if n in picture.info}
    if kind == "PNG":
        options["pnginfo"] = PngImagePlugin.PngInfo()
        if facts is not None:
            options["pnginfo"].add_text(FACTS, json.dumps(facts))
    else:
        options |= {"quality": quality}
        options |= {"subsampling": 0} if kind == "JPEG" else {"exact": True}
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def checked_ending(path: str | Path) -> str:
    """The ending of a picture to write, in small letters.

    Raises:
        ValueError: it is none of `ENDINGS`.
    """
    ending = Path(path).suffix.lower()
    if ending not in ENDINGS:
        raise InputError(f"{path} is to be a picture; expected an ending of {', '.join(ENDINGS)}")
    return ending


def check_quality(quality: int) -> None:
    """Raise ValueError unless `quality` is a whole number from 1 to 100."""
    if not is_whole(quality) or not 1 <= quality <= 100:
        raise InputError(f"quality is {quality}; expected a whole number from 1 to 100")


def resized(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """`image` (H, W[, C]) at another size: area average when shrinking, linear when growing."""
    if image.shape[:2] == (height, width):
        return image
    shrinking = height * width < image.shape[0] * image.shape[1]
    how = cv2.INTER_AREA if shrinking else cv2.INTER_LINEAR
    return cv2.resize(image, (width, height), interpolation=how)


def resized_mask(mask: np.ndarray, height: int, width: int) -> np.ndarray:
    """A bool mask at another size: a pixel is set where at least half of it was."""
    return resized(mask.astype(np.uint8) * 255, height, width) >= 128


def padded_square(image: np.ndarray, value: int) -> np.ndarray:
    """`image` (H, W[, C]) centred on a square canvas filled with `value`."""
    top, bottom, left, right = square_padding(*image.shape[:2])
    border = (value,) * (image.shape[2] if image.ndim == 3 else 1)
    return cv2.copyMakeBorder(image, top, bottom, left, right, cv2.BORDER_CONSTANT, value=border)


def square_padding(height: int, width: int) -> tuple[int, int, int, int]:
    """(top, bottom, left, right) pixels that centre a picture on a square canvas."""
    side = max(height, width)
    top, left = (side - height) // 2, (side - width) // 2
    return top, side - height - top, left, side - width - left


def as_picture(channels: np.ndarray, low: float = -1.0) -> np.ndarray:
    """Pictures (..., H, W, 3), of one channel (..., H, W), uint8 of `channels` (..., C, H, W).

    Args:
        channels: in [low, 1]: a collage, shape mask, target or decoded picture (low = -1), or an
            id_image (low = 0); what is outside is clipped. Bytes are taken as they are.
        low: what becomes black.

    Raises:
        RuntimeError: some number is not finite; a cast would make it black.
    """
    if channels.dtype != np.uint8:
        check_all_finite(channels)
        shares = (np.clip(channels, low, 1) - low) / (1 - low)
        channels = np.rint(255 * shares).astype(np.uint8)
    pixels = np.moveaxis(channels, -3, -1)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def on_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 with everything outside `mask` (H, W) bool white."""
    return cv2.copyTo(image, mask.astype(np.uint8), np.full_like(image, 255))


def _decoded(path: str | Path | BinaryIO, decode: Callable[[Image.Image], _Decoded]) -> _Decoded:
    with opened(path) as picture:
        try:
            return decode(picture)
        except InputError as error:
            raise _named(error, path) from error
        except DAMAGES as error:
            message = f"{path} is truncated or damaged ({error}); replace the file"
            raise InputError(message) from error


def _named(error: InputError, path: str | Path | BinaryIO) -> InputError:
    """The same error, its sentence beginning with the file's name."""
    if str(path) in str(error):
        return error
    if isinstance(error, UnusablePair):
        return UnusablePair(error.reason, f"{path}: {error.detail}")
    return type(error)(f"{path}: {error}")
