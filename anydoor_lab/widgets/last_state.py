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


class LastState:
    """A widget beside which its notebook keeps a picture of what it shows.

    The picture is an output of its own, which `elements.css` hides where the widget is alive.
    """

    _last_state: DisplayHandle | None = None

    def pictures(self) -> list[np.ndarray]:
        """(H, W, 3) uint8 each, what the widget shows, to stand side by side."""
        raise NotImplementedError

    def keep_last_state(self) -> None:
        """Bring the picture up to date, once the widget stands in a notebook."""
        if self._last_state is not None:
            self._last_state.update(_page(self.pictures()))

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        shell = get_ipython()
        if self._last_state is None and shell is not None and hasattr(shell, "kernel"):
            self._last_state = display(_page(self.pictures()), display_id=True)
        return super()._repr_mimebundle_(**kwargs)  # type: ignore[misc]


def _page(images: Sequence[np.ndarray]) -> HTML:
    if not images:
        return HTML('<div class="ad-last-state"></div>')
    shown = [_of_height(image) for image in images]
    row = np.concatenate(shown, axis=1)
    buffer = io.BytesIO()
    Image.fromarray(row).save(buffer, "JPEG", quality=80)
    data = base64.b64encode(buffer.getvalue()).decode()
    words = "The widget as it was last; run the cell to use it"
    source = f'src="data:image/jpeg;base64,{data}"'
    return HTML(f'<div class="ad-last-state"><img alt="{words}" {source}><br>{words}.</div>')


def _of_height(image: np.ndarray) -> np.ndarray:
    width = min(3 * HEIGHT_PX, max(1, round(HEIGHT_PX * image.shape[1] / image.shape[0])))
    rim = np.full((HEIGHT_PX, 8, 3), 255, np.uint8)
    return np.concatenate([resized(image, HEIGHT_PX, width), rim], axis=1)
