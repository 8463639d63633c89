"""Checks of values from outside: each raises one sentence with what was seen and expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import MISSING, fields
from typing import Any, TypeVar

import numpy as np

from anydoor_lab.structures.errors import InputError, InputTypeError, RunError

_Settings = TypeVar("_Settings")


class UnusablePair(InputError):  # noqa: N818  (the design's word for a sample that is refused)
    """A sample that cannot be used; `reason` is the short text it is counted under."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    if value not in choices:
        raise InputError(f"{name} is {value!r}; expected one of {', '.join(choices)}")


def check_image(name: str, image: np.ndarray) -> None:
    """Raise TypeError unless `image` is (H, W, 3) uint8."""
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8 or image.ndim != 3:
        seen = f"{getattr(image, 'dtype', type(image).__name__)} {getattr(image, 'shape', '')}"
        raise InputTypeError(f"{name} is {seen.strip()}; expected a (H, W, 3) uint8 RGB array")
    if image.shape[2] != 3:
        raise InputTypeError(f"{name} has {image.shape[2]} channels; expected 3 (RGB)")


def check_masked(name: str, image: np.ndarray, mask: np.ndarray) -> None:
    """Raise unless `mask` is a usable (H, W) bool region of `image` (H, W, 3) uint8."""
    check_image(name, image)
    if not isinstance(mask, np.ndarray) or mask.dtype != np.bool_ or mask.ndim != 2:
        seen = f"{getattr(mask, 'dtype', type(mask).__name__)} {getattr(mask, 'shape', '')}"
        raise InputTypeError(f"{name}_mask is {seen.strip()}; expected a (H, W) bool array")
    if mask.shape != image.shape[:2]:
        seen = f"{name} is {image.shape[0]}x{image.shape[1]}"
        detail = f"{seen}, its mask {mask.shape[0]}x{mask.shape[1]} (height x width)"
        raise UnusablePair("mask of another size than its photo", detail)
    if not mask.any():
        raise UnusablePair("empty mask", f"the {name}'s mask marks no pixel; mark a region")
    if mask.all():
        detail = f"the {name}'s mask marks every pixel; leave some of the picture unmarked"
        raise UnusablePair("mask covering everything", detail)


def check_finite(name: str, value: object) -> None:
    """Raise ValueError unless `value` is a number and neither NaN nor infinite."""
    kinds = int | float | np.integer | np.floating
    if not isinstance(value, kinds) or isinstance(value, bool) or not np.isfinite(value):
        raise InputError(f"{name} is {value}; expected a finite number")


def check_all_finite(channels: np.ndarray) -> None:
    """Raise RuntimeError if a number of a picture is NaN or infinite: a cast would hide it."""
    if not np.isfinite(channels).all():
        broken = np.count_nonzero(~np.isfinite(channels))
        raise RunError(
            f"{broken} of {channels.size} numbers of the picture are not finite (NaN or infinite): "
            "the weights are damaged or a network overflowed; try full precision (fp32)"
        )


def is_whole(value: object) -> bool:
    """Whether a value is a whole number (Python's or numpy's, not a truth value)."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def of_settings(kind: type[_Settings], values: Mapping[str, Any], name: str) -> _Settings:
    """A dataclass made of a node of settings.

    Args:
        kind: the dataclass.
        values: its arguments.
        name: what the node is called.

    Raises:
        ValueError: an argument is missing or unknown, or as the class itself.
    """
    known = {field.name: field for field in fields(kind)}  # type: ignore[arg-type]
    needed = {
        own for own, field in known.items()
        if field.default is MISSING and field.default_factory is MISSING
    }  # fmt: skip
    if wrong := sorted(set(values) - set(known)):
        raise InputError(f"{name} has no {', '.join(wrong)}; it has {', '.join(known)}")
    if missing := sorted(needed - set(values)):
        raise InputError(f"{name} lacks {', '.join(missing)}; it has {', '.join(known)}")
    return kind(**values)
