"""RegionPicker: mark where in a scene the object goes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.originals import Picture
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.examples import Example, scenes
from anydoor_lab.widgets.painter.painter import Painter


class RegionPicker(Painter):
    """A scene in which one marks a region: box, brush, eraser, polygon.

    Args:
        scene: path, PIL picture or (H, W, 3) uint8 array.
        region: (H, W) bool or [y1, x1, y2, x2] to begin with.
        label: heading.

    `picker.box` and `picker.mask` are in the scene's own pixels. A new box replaces what was
    marked; brush and polygon add to it.
    """

    _esm = bundled(__file__, ".js")

    def __init__(
        self,
        scene: Picture | str | Path | None = None,
        region: np.ndarray | Box | list[int] | None = None,
        label: str = "Scene: mark where the object goes",
    ) -> None:
        super().__init__(scene, region, label)

    def examples(self) -> list[Example]:
        """Photographs of the package."""
        return scenes()
