"""The values everything starts from: a pair of photos with masks, and whoever can give one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol, get_args

import numpy as np
from PIL import Image

from anydoor_lab.boxes import Box
from anydoor_lab.images import alpha_of, mask_of, rgb_of

Variation = Literal["still", "video", "multiview"]
Quality = Literal["low", "high"]
Split = Literal["train", "held_out"]
Picture = np.ndarray | Image.Image


class UnusablePair(ValueError):  # noqa: N818  (the design's word for a sample that is refused)
    """A sample that cannot be used; `reason` is the short text it is counted under."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason = reason


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """One object in one photo, and the place in another photo where it belongs.

    Args:
        reference: (H, W, 3) uint8 RGB, the photo of the object.
        reference_mask: (H, W) bool, where the object is in `reference`.
        scene: (H', W', 3) uint8 RGB, the picture to place into; in training it shows the object.
        scene_mask: (H', W') bool, the region asked for; in training the object's own mask.
        variation: how the object differs between the two (Table 1): decides the timesteps
            the pair trains (Sec. 3.4).
        quality: resolution class of Table 1.
        origin: where the pair came from, for reports.

    Raises:
        TypeError: a dtype or number of dimensions is wrong.
        UnusablePair: a mask is empty, covers everything or has another size than its photo.
    """

    reference: np.ndarray
    reference_mask: np.ndarray
    scene: np.ndarray
    scene_mask: np.ndarray
    variation: Variation = "still"
    quality: Quality = "high"
    origin: str = ""

    def __post_init__(self) -> None:
        check_masked("reference", self.reference, self.reference_mask)
        check_masked("scene", self.scene, self.scene_mask)
        check_choice("variation", self.variation, get_args(Variation))

    def as_still(self) -> Pair:
        """The scene's photo twice: a `still` as Table 1 knows it, with nothing changed between."""
        return replace(
            self, reference=self.scene, reference_mask=self.scene_mask, variation="still"
        )


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise ValueError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def check_image(name: str, image: np.ndarray) -> None:
    """Raise TypeError unless `image` is (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        seen = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise TypeError(f"{name} is {seen.strip()}; expected a (H, W, 3) uint8 RGB array")
    if image.shape[2] != 3:
        raise TypeError(f"{name} has {image.shape[2]} channels; expected 3 (RGB)")


def check_masked(name: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Raise unless `mask` is a usable (H, W) bool region of `image` (H, W, 3) uint8."""
    check_image(name, image)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
        seen = f"{getattr(mask, 'dtype', type(mask).__name__)} {getattr(mask, 'shape', '')}"
        raise TypeError(f"{name}_mask is {seen.strip()}; expected a (H, W) bool array")
    if mask.shape != image.shape[:2]:
        seen = f"{name} is {image.shape[0]}x{image.shape[1]}"
        detail = f"{seen}, its mask {mask.shape[0]}x{mask.shape[1]} (height x width)"
        raise UnusablePair("mask of another size than its photo", detail)
    if not mask.any():
        raise UnusablePair("empty mask", f"the {name}'s mask marks no pixel; mark a region")
    if mask.all():
        detail = f"the {name}'s mask marks every pixel; leave some of the picture unmarked"
        raise UnusablePair("mask covering everything", detail)


@dataclass(slots=True)
class Counts:
    """How many entries a source found usable, and how many it refused for which reason."""

    used: int = 0
    rejected: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        reasons = ", ".join(f"{number} {reason}" for reason, number in self.rejected.most_common())
        return f"{self.used} used, {sum(self.rejected.values())} rejected" + (
            f" ({reasons})" if reasons else ""
        )


class PairSource(Protocol):
    """Anything pairs are drawn from: the only thing training and scoring know about data."""

    counts: Counts

    def __len__(self) -> int:
        """Number of entries (identities, videos, photographs) to choose from."""

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        """The pair of entry `index`; everything that varies is drawn from `rng`.

        Raises:
            UnusablePair: this entry cannot be used with these draws.
        """


def make_pair(
    reference: Picture,
    scene: Picture,
    reference_mask: Picture | None = None,
    scene_mask: Picture | None = None,
    box: Box | Sequence[int] | None = None,
) -> Pair:
    """The pair of these inputs, as `AnyDoorPipeline.__call__` takes them.

    Raises:
        ValueError: not exactly one of scene_mask and box; a box outside the scene; no mask.
        TypeError: a picture is neither PIL's nor a (H, W, 3) uint8 array.
    """
    if (scene_mask is None) == (box is None):
        raise ValueError("give either scene_mask or box, exactly one of them")
    if reference_mask is None:
        if not isinstance(reference, Image.Image) or alpha_of(reference) is None:
            raise ValueError("the reference has no usable alpha; give reference_mask as well")
        reference_mask = reference
    canvas = _rgb("scene", scene)
    region = (
        checked_box(box, *canvas.shape[:2]).mask(*canvas.shape[:2])
        if box is not None
        else _mask(scene_mask)
    )
    return Pair(_rgb("reference", reference), _mask(reference_mask), canvas, region)


def checked_box(box: Box | Sequence[int] | None, height: int, width: int) -> Box:
    """A `Box` from itself or from [y1, x1, y2, x2], inside a picture of this size.

    Raises:
        ValueError: not four numbers, inverted, or not inside the picture.
    """
    if not isinstance(box, Box):
        if not isinstance(box, Sequence) or len(box) != 4 or not all(map(is_whole, box)):
            raise ValueError(f"box is {box}; expected four whole pixel numbers [y1, x1, y2, x2]")
        y1, x1, y2, x2 = (int(value) for value in box)
        box = Box(y1, y2, x1, x2)
    if box.y1 < 0 or box.x1 < 0 or box.y2 > height or box.x2 > width:
        raise ValueError(
            f"box [y1={box.y1}, x1={box.x1}, y2={box.y2}, x2={box.x2}] leaves the scene of "
            f"{height}x{width} (height x width); choose one inside it"
        )
    return box


def is_whole(value: object) -> bool:
    """Whether a value is a whole number (Python's or numpy's, not a truth value)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def _rgb(name: str, picture: Picture) -> np.ndarray:
    if isinstance(picture, Image.Image):
        return rgb_of(picture)
    check_image(name, picture)
    return picture


def _mask(mask: Picture | None) -> np.ndarray:
    if isinstance(mask, Image.Image):
        return mask_of(mask)
    return np.asarray(mask)
