"""What a saved notebook shows of a widget whose kernel is gone: a picture of its last state."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from IPython.core.getipython import get_ipython
from IPython.display import HTML, DisplayHandle, display
from PIL import Image

from anydoor_lab.structures.images import resized

HEIGHT_PX = 240
WIDEST_PX = 1200


class LastState:
    """A widget beside which its notebook keeps a picture of what it shows.

    The picture is an output of its own, which `elements.css` hides where the widget is alive.
    """

    _last_state: DisplayHandle | None = None
    _last_state_px: int | None = HEIGHT_PX
    """How high the pictures are shown; None leaves them as they are."""

    def pictures(self) -> list[np.ndarray]:
        """(H, W, 3) uint8 each, what the widget shows, to stand side by side."""
        raise NotImplementedError

    def keep_last_state(self) -> None:
        """Bring the picture up to date, once the widget stands in a notebook."""
        if self._last_state is not None:
            self._last_state.update(_page(self.pictures(), self._last_state_px))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shell = get_ipython()
        if self._last_state is None and shell is not None and hasattr(shell, "kernel"):
            self._last_state = display(_page(self.pictures(), self._last_state_px), display_id=True)
        return super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]


def _page(images: Sequence[np.ndarray], height: int | None) -> HTML:
    if not images:
        return HTML('<div class="ad-last-state"></div>')
    row = np.concatenate([_of_height(image, height or len(images[0])) for image in images], axis=1)
    if row.shape[1] > WIDEST_PX:
        row = resized(row, round(len(row) * WIDEST_PX / row.shape[1]), WIDEST_PX)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    words = "The widget as it was last; run the cell to use it"
    source = f'src="data:image/jpeg;base64,{data}"'
    return HTML(f'<div class="ad-last-state"><img alt="{words}" {source}><br>{words}.</div>')


def _of_height(image: np.ndarray, height: int) -> np.ndarray:
    width = max(1, round(height * image.shape[1] / image.shape[0]))
    rim = np.full((height, 8, 3), 255, np.uint8)
    return np.concatenate([resized(image, height, width), rim], axis=1)
