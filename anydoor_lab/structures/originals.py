"""An opened picture as arrays: upright, in sRGB, over white; and the way back to its own colours.

The one place where PIL pictures become pixels: files, the pipeline and the widgets come here.
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFile, ImageOps

from anydoor_lab.structures.checks import check_image
from anydoor_lab.structures.colours import from_srgb, is_srgb, rgb, space_of, to_srgb
from anydoor_lab.structures.errors import InputError

ImageFile.LOAD_TRUNCATED_IMAGES = False
Picture = np.ndarray | Image.Image
"""A picture as users hand it over: (H, W, 3) uint8 RGB, or PIL's."""
MAX_BYTES = 768 * 2**20
"""A picture that would take more memory than this while it is read is refused from its header."""
DAMAGES = (OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error)
"""What PIL raises about damaged files."""
ORIENTATION = 0x0112
"""The tag of EXIF that says how a picture is turned."""
_STRIP = 512  # rows
_DARKEST = 1 / 16  # of its scale: a picture of numbers with no brighter pixel would look black


class TooLargeError(InputError):
    """A picture that would take more memory than `MAX_BYTES`."""


@dataclass(frozen=True, slots=True, eq=False)
class Original:
    """A picture as the networks see it, and what its file holds beside that.

    Args:
        rgb: (H, W, 3) uint8, upright, in sRGB, any alpha applied over white.
        stored: (H, W, 3) uint8, upright, the file's own numbers; `rgb` itself where they are those.
        alpha: (H, W) uint8; None where every pixel is opaque.
        profile: the file's ICC profile for RGB.
        dpi: its resolution (x, y).
    """

    rgb: np.ndarray
    stored: np.ndarray
    alpha: np.ndarray | None = None
    profile: bytes | None = None
    dpi: tuple[float, float] | None = None

    def changed_to(self, image: np.ndarray) -> Image.Image:
        """This picture with the pixels of `image`, (H, W, 3) uint8 sRGB, where they differ.

        Profile, alpha and resolution stay, and so does every number of a pixel that did not change.
        A changed pixel looks over white as in `image`, as far as its alpha allows.
        """
        changed = (image != self.rgb).any(axis=2)
        pixels = image
        if self.stored is not self.rgb:
            pixels = self.stored.copy()
            pixels[changed] = self._own_numbers(image[changed], pixels[changed], changed)
        if self.alpha is not None:
            pixels = np.dstack([pixels, self.alpha])
        picture = Image.fromarray(pixels)
        facts = {"icc_profile": self.profile, "dpi": self.dpi}
        picture.info.update({name: fact for name, fact in facts.items() if fact})
        return picture

    def check_visible(self, region: np.ndarray) -> None:
        """Raise ValueError if what is placed into `region` (H, W) bool could not be seen."""
        if self.alpha is not None and region.any() and not self.alpha[region].any():
            raise InputError(
                "the scene is wholly transparent where the object goes, and stays so; "
                "choose another place, or fill the scene's background first"
            )

    def _own_numbers(
        self, colours: np.ndarray, before: np.ndarray, changed: np.ndarray
    ) -> np.ndarray:
        if self.alpha is not None:
            share = self.alpha[changed][:, None] / np.float32(255)
            apart = (colours - 255 * (1 - share)) / np.maximum(share, 1 / 255)
            colours = np.rint(np.clip(apart, 0, 255)).astype(np.uint8)
        if self.profile is not None:
            colours = from_srgb(colours, self.profile)
        return colours if self.alpha is None else np.where(share > 0, colours, before)


def original_of(picture: Picture, name: str = "the picture") -> Original:
    """The original of a PIL picture or a (H, W, 3) uint8 array.

    Raises:
        ValueError: it is damaged or too large, or its scale or colour profile is not clear.
        TypeError: an array of another kind.
    """
    if not isinstance(picture, Image.Image):
        check_image(name, picture)
        return Original(picture, picture)
    turned = upright(picture)
    alpha, profile = alpha_of(turned), turned.info.get("icc_profile") or None
    shown = _in_eight_bits(turned)
    srgb = np.array(rgb(shown) if profile is None else to_srgb(shown, profile))
    own = profile is not None and space_of(profile) == "RGB"
    stored = np.array(rgb(shown)) if own and profile and not is_srgb(profile) else srgb
    seen = srgb if alpha is None else over_white(np.dstack([srgb, alpha]))
    return Original(seen, stored, alpha, profile if own else None, _resolution(turned))


def rgb_of(picture: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 of an opened picture: upright (EXIF), in sRGB, any alpha over white.

    Raises: as `original_of`.
    """
    return original_of(picture).rgb


def rgba_of(picture: Image.Image) -> np.ndarray:
    """(H, W, 4) uint8 of an opened picture: upright (EXIF), in sRGB; opaque without alpha.

    Raises: as `original_of`.
    """
    turned = upright(picture)
    alpha, profile = alpha_of(turned), turned.info.get("icc_profile")
    shown = _in_eight_bits(turned)
    colours = np.asarray(to_srgb(shown, profile) if profile else rgb(shown))
    opaque = np.full(colours.shape[:2], 255, np.uint8)
    return np.dstack([colours, opaque if alpha is None else alpha])


def alpha_of(picture: Image.Image) -> np.ndarray | None:
    """(H, W) uint8 alpha, a palette's included; None where every pixel is opaque.

    Raises: as `original_of`.
    """
    if not picture.has_transparency_data:
        return None
    picture = upright(picture)
    picture = picture if picture.mode == "RGBA" else picture.convert("RGBA")
    alpha = np.asarray(picture.getchannel("A"))
    return None if alpha.min() == 255 else alpha


def over_white(rgba: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: `rgba` (H, W, 4) uint8 blended over white with its soft alpha."""
    return blended(rgba, np.full_like(rgba[..., :3], 255))


def blended(rgba: np.ndarray, below: np.ndarray) -> np.ndarray:
    """(H, W, 3) uint8: `rgba` (H, W, 4) uint8 over `below` (H, W, 3) uint8."""
    result = np.array(below)
    for top in range(0, len(result), _STRIP):  # PIL's copies of a whole picture would add up
        rows = slice(top, top + _STRIP)
        canvas, cut = Image.fromarray(result[rows]), Image.fromarray(rgba[rows])
        canvas.paste(cut, mask=cut)
        result[rows] = np.asarray(canvas)
    return result


def upright(picture: Image.Image) -> Image.Image:
    """The picture with its pixels read and turned as EXIF says; itself where it stands.

    Raises:
        ValueError: it is damaged, or too large to be read.
    """
    check_size(picture)
    try:
        picture.load()  # a PNG may tell its orientation behind the pixels
        if picture.getexif().get(ORIENTATION, 1) == 1:
            return picture
        return ImageOps.exif_transpose(picture)
    except DAMAGES as error:
        name = getattr(picture, "filename", "") or "the picture"
        raise InputError(f"{name} is truncated or damaged ({error}); replace the file") from error


def check_size(picture: Image.Image) -> None:
    """Raise `TooLargeError`, from its header, if reading it takes more than `MAX_BYTES`."""
    per_pixel = 10  # all measured: PIL's own 4, two times an array of 3
    per_pixel += 5 * bool(picture.info.get("icc_profile")) + 10 * picture.has_transparency_data
    per_pixel += 7 * stands_for_numbers(picture)
    needed = picture.width * picture.height * per_pixel
    if needed > MAX_BYTES:
        name = getattr(picture, "filename", "") or "the picture"
        raise TooLargeError(
            f"{name} is {picture.width}x{picture.height} pixels, which takes {needed / 2**20:.0f} "
            f"MiB to read; at most {MAX_BYTES / 2**20:.0f}, shrink it first"
        )


def stands_for_numbers(picture: Image.Image) -> bool:
    """Whether the pixels are 16 or 32 bit numbers, whose scale is not given by their kind."""
    return picture.mode.startswith(("I", "F"))


def _in_eight_bits(picture: Image.Image) -> Image.Image:
    """The picture itself, or the 8-bit grey one of a picture of numbers (PIL would clip them)."""
    if not stands_for_numbers(picture):
        return picture
    values = np.asarray(picture)
    low, high = float(values.min()), float(values.max())
    scale = next((top for top in _scales(picture.mode) if 0 <= low <= high <= top), None)
    if scale is None or 0 < high < scale * _DARKEST:
        given = " or ".join(f"{top:g}" for top in _scales(picture.mode))
        raise InputError(
            f"the picture's values go from {low:g} to {high:g}; expected 0 to {given}, "
            "save it with 8 bits (0 to 255)"
        )
    if np.issubdtype(values.dtype, np.integer):
        return Image.fromarray((values // int(scale / 255)).astype(np.uint8))
    return Image.fromarray(np.rint(values * np.float32(255 / scale)).astype(np.uint8))


def _scales(mode: str) -> tuple[float, ...]:
    if mode.startswith("I;16"):
        return (65535.0,)
    return (1.0, 255.0, 65535.0) if mode == "F" else (255.0, 65535.0)


def _resolution(picture: Image.Image) -> tuple[float, float] | None:
    found = picture.info.get("dpi")
    if found is None or len(found) != 2:
        return None
    across, down = (float(number) for number in found)
    return (across, down) if np.isfinite((across, down)).all() and min(across, down) > 0 else None
