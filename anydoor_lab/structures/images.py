"""Pictures: files in and out, and the few pixel operations everything shares. RGB throughout."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import cv2
import numpy as np
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.files import write_whole

MAX_PIXELS = 100_000_000
"""Pictures larger than this (width x height) are refused from their header."""

ImageFile.LOAD_TRUNCATED_IMAGES = False
Picture = np.ndarray | Image.Image | str | Path
"""A picture as users hand it over: (H, W, 3) uint8 RGB, PIL's, or the path of a file."""
_Decoded = TypeVar("_Decoded")


def read_image(path: str | Path) -> np.ndarray:
    """The picture in a file as (H, W, 3) uint8 RGB, upright (EXIF), any alpha dropped.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no picture, is truncated, or has more than `MAX_PIXELS`.
    """
    return _decoded(path, rgb_of)


def read_rgba(path: str | Path) -> np.ndarray:
    """The picture in a file as (H, W, 4) uint8 RGBA; opaque where the file has no alpha.

    Raises: as `read_image`.
    """
    return _decoded(path, lambda picture: np.array(_upright(picture).convert("RGBA")))


def read_mask(path: str | Path) -> np.ndarray:
    """A mask file as (H, W) bool by the rule of `mask_of`.

    Raises: as `read_image`.
    """
    return _decoded(path, mask_of)


def has_alpha(path: str | Path) -> bool:
    """Whether any pixel of the picture in a file is not opaque.

    The pixels are read only where the header announces transparency.

    Raises: as `read_image`.
    """
    with _opened(path) as picture:
        announced = picture.has_transparency_data
    return announced and _decoded(path, alpha_of) is not None


def rgb_of(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 RGB of an opened picture, upright (EXIF), any alpha dropped."""
    return np.array(_upright(picture).convert("RGB"))


def mask_of(picture: Image.Image) -> np.ndarray:
    """What a picture marks, (H, W) bool: alpha above 128, or grey where every pixel is opaque."""
    alpha = alpha_of(picture)
    marks = np.asarray(_upright(picture).convert("L")) if alpha is None else alpha
    return marks > 128


def alpha_of(picture: Image.Image) -> np.ndarray | None:
    """(H, W) uint8 alpha, a palette's included; None where every pixel is opaque."""
    if not picture.has_transparency_data:
        return None
    alpha = np.asarray(ImageOps.exif_transpose(picture).convert("RGBA").getchannel("A"))
    return None if alpha.min() == 255 else alpha


def write_png(path: str | Path, image: np.ndarray) -> None:
    """Write (H, W, 3) or (H, W) uint8 as PNG, whole or not at all, creating the folder."""
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    write_whole(path, buffer.getvalue())


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
            id_image (low = 0); what is outside is clipped.
        low: what becomes black.
    """
    shares = (np.clip(channels, low, 1) - low) / (1 - low)
    pixels = np.moveaxis(np.rint(255 * shares).astype(np.uint8), -3, -1)
    return pixels[..., 0] if pixels.shape[-1] == 1 else pixels


def on_white(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """A copy of `image` (H, W, 3) uint8 with everything outside `mask` (H, W) bool white."""
    return cv2.copyTo(image, mask.astype(np.uint8), np.full_like(image, 255))


def _opened(path: str | Path) -> Image.Image:
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist or is not a file; give a picture's path")
    try:
        picture = Image.open(path)
    except Image.DecompressionBombError as error:
        raise InputError(f"{path} is too large ({error}); shrink it first") from error
    except (UnidentifiedImageError, OSError, ValueError) as error:
        raise InputError(f"{path} is not a picture this can read ({error})") from error
    if picture.width * picture.height > MAX_PIXELS:
        picture.close()
        seen = f"{picture.width}x{picture.height} pixels"
        raise InputError(f"{path} is {seen}; at most {MAX_PIXELS:,} in all, shrink it first")
    return picture


def _decoded(path: str | Path, decode: Callable[[Image.Image], _Decoded]) -> _Decoded:
    with _opened(path) as picture:
        try:
            return decode(picture)
        except (OSError, SyntaxError, ValueError, EOFError) as error:
            message = f"{path} is truncated or damaged ({error}); replace the file"
            raise InputError(message) from error


def _upright(picture: Image.Image) -> Image.Image:
    """Turned as EXIF says; 16-bit and floating-point greys scaled to 8 bit, which PIL's convert
    would clip."""
    picture = ImageOps.exif_transpose(picture)
    if not picture.mode.startswith(("I", "F")):
        return picture
    values = np.asarray(picture, np.float64)
    top = 65535.0 if picture.mode.startswith("I;16") or values.max() > 255 else 255.0
    return Image.fromarray(np.clip(values * (255.0 / top), 0, 255).astype(np.uint8))
