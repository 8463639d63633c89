"""Crops of freely licensed photographs: where each comes from and under which licence."""

from __future__ import annotations

import base64
import re
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import cv2
import numpy as np

SIDE_PX = 256
HELD_OUT = ("coffee", "picosdeeuropa", "blender sunrise", "pmndrs lobby")
"""Photographs (with all their crops) that only held-out pairs stand before."""
_LOMIRI = {  # the Debian package's copyright file, read file by file; CC-BY-SA ones are left out
    "aitzgorri_by_Aitzol_Berasategi": ("CC-BY-4.0", "Aitzol Berasategi, 2018"),
    "friends_by_Aitzol_Berasategi": ("CC-BY-4.0", "Aitzol Berasategi, 2018"),
    "life_by_Aitzol_Berasategi": ("CC-BY-4.0", "Aitzol Berasategi, 2018"),
    "picosdeeuropa_by_Aitzol_Berasategi": ("CC-BY-4.0", "Aitzol Berasategi, 2018"),
    "sunset_by_Aitzol_Berasategi": ("CC-BY-4.0", "Aitzol Berasategi, 2018"),
    "Picture_0B_by_freespace": ("CC-BY-4.0", 'Trevor "Freespace", 2018'),
    "Picture_1A_by_freespace": ("CC-BY-4.0", 'Trevor "Freespace", 2018'),
    "Wine_by_Jakkub_Mede": ("CC-BY-4.0", "Jakub Mede, 2018"),
    "seeding_by_Clements_Engelhardt": ("CC0-1.0", "Clemens Engelhardt, 2018"),
}
_SKIMAGE = {  # as the docstrings of skimage.data state them
    "astronaut.png": ("public domain", "NASA"),
    "rocket.jpg": ("public domain", "SpaceX"),
    "chelsea.png": ("CC0-1.0", "Stefan van der Walt"),
    "coffee.png": ("CC0-1.0", "Rachel Michetti"),
    "grass.png": ("CC0-1.0", "linolafett (deviantart.com)"),
    "gravel.png": ("CC0-1.0", "cc0textures.com"),
    "brick.png": ("CC0-1.0", "cc0textures.com"),
}
_SKLEARN = {  # sklearn/datasets/images/README.txt
    "china.jpg": ("CC-BY-2.0", "danielbuechele (flickr.com/photos/danielbuechele/6061409035)"),
    "flower.jpg": ("CC-BY-2.0", "vultilion (flickr.com/photos/vultilion/6056698931)"),
}
_PMNDRS = ("apartment", "dawn", "esplanade", "hall", "lab", "lobby", "park", "venice", "warehouse",
           "workshop")  # fmt: skip
_BLENDER = ("city", "courtyard", "forest", "interior", "sunrise", "sunset")


@dataclass(frozen=True, slots=True)
class Photo:
    """One photograph or panorama, (H, W, 3) uint8 RGB, and whose it is."""

    name: str
    licence: str
    author: str
    package: str
    pixels: np.ndarray
    field: float = 0.0
    """Field of view of a panorama's crops in degrees; 0: no panorama."""
    crops: int = 5


def photos(source: Path) -> Iterator[Photo]:
    """All photographs, from the packages unpacked under `source`."""
    for name, (licence, author) in _LOMIRI.items():
        (path,) = source.glob(f"debs/lomiri-wallpapers-16.04/**/{name}.jpg")
        pixels = _reduced(_read(path))
        yield Photo(name.split("_by_")[0], licence, author, "lomiri-wallpapers-16.04", pixels,
                    crops=11)  # fmt: skip
    folder = Path(str(find_spec("skimage").origin)).parent / "data"
    for name, (licence, author) in _SKIMAGE.items():
        crops = 2 if name in ("grass.png", "gravel.png", "brick.png") else 6
        pixels = _read(folder / name)
        yield Photo(name.split(".")[0], licence, author, "scikit-image", pixels, crops=crops)
    for name, (licence, author) in _SKLEARN.items():
        pixels = _read(source / "sklearn" / name)
        yield Photo(name.split(".")[0], licence, author, "scikit-learn", pixels, crops=6)
    for name in _BLENDER:
        (path,) = source.glob(f"debs/blender-data/**/studiolights/world/{name}.exr")
        pixels = _toned(_read_exr(path.read_bytes()))
        yield Photo(f"blender {name}", "CC0-1.0", "Greg Zaal, HDRI Haven", "blender-data",
                    pixels, 75.0, 10)  # fmt: skip
    for name in _PMNDRS:
        text = (source / "pmndrs" / "hdri" / f"{name}.exr.js").read_text()
        coded = re.search(r"base64,([A-Za-z0-9+/=]+)", text)
        pixels = _toned(_read_exr(base64.b64decode(coded.group(1))))
        yield Photo(f"pmndrs {name}", "CC0-1.0", "HDRI Haven / Poly Haven", "@pmndrs/assets",
                    pixels, 100.0, 4)  # fmt: skip


def crops(photo: Photo, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """(256, 256, 3) uint8 crops that are not empty and differ from each other."""
    taken: list[np.ndarray] = []
    for _ in range(60 * photo.crops):
        crop = _look(photo, rng) if photo.field else _window(photo.pixels, rng)
        small = cv2.resize(crop, (16, 16), interpolation=cv2.INTER_AREA).astype(np.float32)
        flat = cv2.cvtColor(crop, cv2.COLOR_RGB2GRAY).std() < 16
        if flat or any(np.abs(small - other).mean() < 18 for other in taken):
            continue
        taken.append(small)
        yield crop
        if len(taken) == photo.crops:
            return


def _window(pixels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    shortest = min(pixels.shape[:2])
    side = round(np.exp(rng.uniform(np.log(min(220, shortest)), np.log(shortest))))
    y1, x1 = (int(rng.integers(length - side + 1)) for length in pixels.shape[:2])
    how = cv2.INTER_AREA if side > SIDE_PX else cv2.INTER_CUBIC
    return cv2.resize(pixels[y1 : y1 + side, x1 : x1 + side], (SIDE_PX, SIDE_PX), interpolation=how)


def _look(photo: Photo, rng: np.random.Generator) -> np.ndarray:
    """A straight photograph out of a panorama: some way round, a little up or down."""
    yaw, pitch = rng.uniform(0, 2 * np.pi), np.deg2rad(rng.uniform(-35, 12))
    half = np.tan(np.deg2rad(photo.field) / 2)
    x, y = np.meshgrid(*[(np.arange(SIDE_PX) + 0.5) / SIDE_PX * 2 * half - half] * 2)
    up, ahead = -y * np.cos(pitch) + np.sin(pitch), np.cos(pitch) + y * np.sin(pitch)
    longitude = np.arctan2(x, ahead) + yaw
    latitude = np.arctan2(up, np.hypot(x, ahead))
    height, width = photo.pixels.shape[:2]
    columns = (longitude / (2 * np.pi) % 1 * width).astype(np.float32)
    rows = ((0.5 - latitude / np.pi) * height).astype(np.float32)
    return cv2.remap(photo.pixels, columns, rows, cv2.INTER_CUBIC, borderMode=cv2.BORDER_WRAP)


def _read(path: Path) -> np.ndarray:
    image = cv2.imread(str(path), cv2.IMREAD_COLOR_RGB)
    if image is None:
        raise SystemExit(f"{path} cannot be read; unpack the packages the README names")
    return image


def _reduced(pixels: np.ndarray, shortest_px: int = 1000) -> np.ndarray:
    factor = shortest_px / min(pixels.shape[:2])
    return cv2.resize(pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)


def _read_exr(coded: bytes) -> np.ndarray:
    import OpenEXR

    with tempfile.NamedTemporaryFile(suffix=".exr") as file:
        file.write(coded)
        file.flush()
        with OpenEXR.File(file.name) as opened:
            return opened.channels()["RGB"].pixels.astype(np.float32)


def _toned(light: np.ndarray) -> np.ndarray:
    """Linear light as (H, W, 3) uint8: the median at a middle grey, highlights rolled off."""
    exposed = np.maximum(light, 0) / max(float(np.median(light)), 1e-4) * 0.22
    rolled = exposed / (1 + 0.6 * exposed) * 1.25
    return np.rint(255 * np.clip(rolled, 0, 1) ** (1 / 2.2)).astype(np.uint8)
