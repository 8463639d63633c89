"""What readers give: views of objects, in parts that can be read one by one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np

from anydoor_lab.structures.checks import UnusablePair

if TYPE_CHECKING:
    from rlemasklib import RLEMask

Role = Literal["both", "reference", "scene"]
"""Whether a view may be the photo of the object, the picture it is placed into, or either."""

CROWD, STUFF, SMALL = "crowd", "stuff, not a thing", "smaller than min_area"
LEFT_OUT = (CROWD, STUFF, SMALL)
"""Reasons that are no faults of a set: it is whole, but these are not what is wanted."""


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """One object in one picture, or why there is none.

    Args:
        group: what holds the views that may be paired: a video, an instance, a picture.
        object: the object's name within its group.
        image: the picture, below the set's root, with "/" between folders.
        frame: the picture's place among the `frames` of its group, in order.
        frames: how many pictures the group has.
        mask: where the object is; None only with a `reason`.
        category: its name or number in the set; empty where there is none.
        score: how sure the set is of the mask.
        role: what the view may be used as.
        reason: why it cannot be used, in the few words it is counted under; else empty.
        detail: what was seen.
    """

    group: str
    object: str
    image: str
    frame: int = 0
    frames: int = 1
    mask: RLEMask | None = None
    category: str = ""
    score: float | None = None
    role: Role = "both"
    reason: str = ""
    detail: str = ""


def with_mask(view: View, mask: np.ndarray) -> View:
    """The view with a mask (H, W) bool."""
    from rlemasklib import RLEMask

    return replace(view, mask=RLEMask.from_array(mask))


def without_mask(view: View, error: UnusablePair) -> View:
    """The view with the reason why it cannot be used."""
    return replace(view, mask=None, reason=error.reason, detail=error.detail)


@dataclass(frozen=True, slots=True)
class Part:
    """A piece of a set that is read by itself: a video, some pictures of a JSON file.

    Args:
        name: unlike that of any other part of the split.
        sources: the files it is read from, below the root; when one changes it is read again.
        content: what the reader needs to know of it.
    """

    name: str
    sources: tuple[str, ...]
    content: Mapping[str, Any] = field(default_factory=dict)


class Reader(Protocol):
    """A module of `data/readers` that knows one kind of storage.

    `REQUIRED` names the keys of its layout that are paths which must be there. `parts` lists the
    pieces of a set, given the root and the layout as keyword arguments; `views` reads one of them.
    """

    REQUIRED: tuple[str, ...]

    def parts(self, root: Path, **layout: Any) -> Iterator[Part]:
        """The parts, their pictures unread."""

    def views(self, root: Path, part: Part) -> Iterator[View]:
        """The views of a part in a fixed order; what is unusable has a reason."""


@dataclass(frozen=True, slots=True)
class Spec:
    """All that is needed to index one part, anywhere.

    Args:
        set, split, licence: written into every row.
        reader: name of the module in `data/readers`.
        options: what it was told of the layout.
        root: the set's folder.
        folder: where the part's file goes.
        part: what to read.
    """

    set: str
    split: str
    licence: str
    reader: str
    options: Mapping[str, Any]
    root: str
    folder: str
    part: Part
