"""A picture's colour profile: to sRGB when it is read, back to the profile when it is written."""

from __future__ import annotations

import io
from functools import lru_cache

import numpy as np
from PIL import Image, ImageCms

from anydoor_lab.structures.errors import InputError

_MODES = {"RGB": "RGB", "GRAY": "L", "CMYK": "CMYK"}
"""Colour spaces of profiles, and PIL's mode for them."""
_SAME = 2
"""A profile that moves no colour by more than this (of 255) is sRGB in another writing."""


def space_of(profile: bytes) -> str:
    """The colour space that a profile is for: `RGB`, `GRAY`, `CMYK`.

    Raises:
        ValueError: it is damaged, or for another space.
    """
    try:
        space = ImageCms.ImageCmsProfile(io.BytesIO(profile)).profile.xcolor_space.strip()
    except (OSError, ImageCms.PyCMSError) as error:
        raise InputError(
            f"the picture's colour profile is damaged ({error}); save it as sRGB"
        ) from error
    if space not in _MODES:
        raise InputError(f"the picture's colour profile is for {space}; save it as sRGB")
    return space


def to_srgb(picture: Image.Image, profile: bytes) -> Image.Image:
    """An RGB picture in sRGB that looks as `picture` does through `profile`.

    Grey pixels under a profile for RGB count as RGB.

    Raises:
        ValueError: the profile is damaged, or does not fit the picture's mode.
    """
    space = space_of(profile)
    if space == "RGB":
        return _apply(_transform(profile, "RGB", True), rgb(picture))
    if picture.mode not in (_MODES[space], _MODES[space] + "A"):
        raise InputError(
            f"the picture's pixels are {picture.mode}, its colour profile is for {space}; "
            "save it as sRGB"
        )
    picture = picture.convert(_MODES[space]) if picture.mode != _MODES[space] else picture
    return _apply(_transform(profile, _MODES[space], True), picture)


def from_srgb(colours: np.ndarray, profile: bytes) -> np.ndarray:
    """Colours of sRGB (N, 3) uint8 in the numbers of an RGB profile."""
    if not len(colours):
        return colours
    row = Image.fromarray(np.ascontiguousarray(colours[None]))
    return np.asarray(_apply(_transform(profile, "RGB", False), row))[0]


def is_srgb(profile: bytes) -> bool:
    """Whether a profile for RGB is sRGB itself, in whatever writing."""
    return _transform(profile, "RGB", True) is None


def rgb(picture: Image.Image) -> Image.Image:
    """The picture in PIL's mode RGB, itself where it is."""
    return picture if picture.mode == "RGB" else picture.convert("RGB")


def _apply(transform: ImageCms.ImageCmsTransform | None, picture: Image.Image) -> Image.Image:
    return picture if transform is None else transform.apply(picture)


@lru_cache(maxsize=32)
def _transform(profile: bytes, mode: str, reading: bool) -> ImageCms.ImageCmsTransform | None:
    """From `profile` to sRGB or back; None where the profile is sRGB."""
    own, srgb = ImageCms.ImageCmsProfile(io.BytesIO(profile)), ImageCms.createProfile("sRGB")
    intent, flags = ImageCms.Intent.RELATIVE_COLORIMETRIC, ImageCms.Flags.BLACKPOINTCOMPENSATION
    try:
        there = ImageCms.buildTransform(own, srgb, mode, "RGB", intent, flags)
        if mode == "RGB" and _moves_nothing(there):
            return None
        if reading:
            return there
        return ImageCms.buildTransform(srgb, own, "RGB", mode, intent, flags)
    except (OSError, ImageCms.PyCMSError) as error:
        raise InputError(
            f"the picture's colour profile cannot be used ({error}); save it as sRGB"
        ) from error


def _moves_nothing(transform: ImageCms.ImageCmsTransform) -> bool:
    levels = np.arange(0, 256, 15, dtype=np.uint8)
    grid = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(1, -1, 3)
    seen = np.asarray(transform.apply(Image.fromarray(grid)))
    return bool(np.abs(seen.astype(int) - grid).max() <= _SAME)
