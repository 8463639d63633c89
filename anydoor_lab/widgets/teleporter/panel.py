"""The Teleporter's controls and gallery: its state in typed traits."""

from __future__ import annotations

import zlib
from typing import Any

import ipywidgets
import numpy as np
import traitlets
from traitlets import Bool, Float, Int, List, Unicode

from anydoor_lab.conditioning.collage import offered_collages
from anydoor_lab.conditioning.placement import BLENDS
from anydoor_lab.widgets.bundle import bundled
from anydoor_lab.widgets.view import PngBytes, View, png, to_look_at

RANGES = {"steps": (1, 100), "guidance": (1, 10), "seed": (0, 2**31 - 1), "proposals": (1, 8)}
SETTINGS = ("steps", "guidance", "seed", "proposals", "idx", "collage", "shape", "blend")


class Panel(View):
    """Settings, progress, gallery and before/after slider.

    Args:
        choices: names on offer for `idx`.
        settings: first values of some of `SETTINGS`.
    """

    _esm = bundled(__file__, ".js")
    _css = bundled(__file__, ".css")
    steps = Int(20).tag(sync=True)
    guidance = Float(2.0).tag(sync=True)
    seed = Int(0).tag(sync=True)
    proposals = Int(2).tag(sync=True)
    idx = Unicode("dinov2").tag(sync=True)
    collage = Unicode("hf").tag(sync=True)
    shape = Unicode("box").tag(sync=True)
    blend = Unicode("box").tag(sync=True)
    busy = Bool(False).tag(sync=True)
    progress = Float(0.0).tag(sync=True)
    status = Unicode("").tag(sync=True)
    chosen = Int(0).tag(sync=True)
    finished = Int(0).tag(sync=True)
    """Counts the runs that ended with a result."""
    _name = Unicode("").tag(sync=True)
    """Which Teleporter's it is, whatever kernel is behind it."""
    _choices = traitlets.Dict().tag(sync=True)
    _ranges = traitlets.Dict({k: list(v) for k, v in RANGES.items()}).tag(sync=True)
    _gallery = List(traitlets.Any()).tag(sync=True)
    shown = Int(-1).tag(sync=True)
    """Which of the results kept is shown, by its place in the strip; -1 for none."""
    stale = Unicode("").tag(sync=True)
    """A sentence while the pictures or marks are others than the shown result's."""
    _strip = List(traitlets.Any()).tag(sync=True)
    _before = PngBytes(b"").tag(sync=True)
    _after = PngBytes(b"").tag(sync=True)

    def __init__(self, choices: tuple[str, ...], **settings: Any) -> None:
        names: dict[str, Any] = {"idx": choices, "collage": offered_collages()}
        names |= {"shape": ("box", "mask"), "blend": BLENDS}
        self.names = {key: list(values) for key, values in names.items()}
        self._valid: dict[str, Any] = {}
        super().__init__(_choices=self.names, idx=choices[0])
        self.on_msg(self._take)
        for name, value in settings.items():
            setattr(self, name, value)

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name."""
        return {name: getattr(self, name) for name in SETTINGS}

    def _take(self, _: Any, content: dict[str, Any], buffers: list[Any]) -> None:
        """Set what the browser had chosen when a button was pressed, before others hear of it."""
        for name in SETTINGS:
            if name in content.get("settings", {}):
                setattr(self, name, content["settings"][name])

    def name_after(self, *pictures: bytes) -> None:
        """Take a name from the first pictures and settings: a cell that is run again after a
        restart gives the same, one whose code has changed another."""
        parts = (*pictures, repr(self.settings).encode())
        self._name = "settings " + " ".join(f"{zlib.crc32(part):08x}" for part in parts)

    @traitlets.validate(*SETTINGS)
    def _check(self, proposal: dict[str, Any]) -> Any:
        """The value, or the old one (and a message) where it is out of range."""
        name, value = proposal["trait"].name, proposal["value"]
        if name in RANGES:
            low, high = RANGES[name]
            fits, expected = low <= value <= high, f"{low} to {high}"
        else:
            names = self.names[name]
            fits, expected = value in names, f"one of {', '.join(names)}"
        if fits:
            self._valid[name] = value
            return value
        # what the browser sends is checked after it was set: the trait itself knows no old value
        old = self._valid.get(name, self.traits()[name].default_value)
        self.message = f"{name} is {value}; expected {expected}. It stays {old}."
        return old

    def show_strip(self, results: list[tuple[np.ndarray, str]]) -> None:
        """The results kept: a picture (h, w, 3) uint8 and its settings in words, oldest first."""
        self._strip = [{"picture": png(image, 112), "words": words} for image, words in results]

    def show_gallery(self, images: list[np.ndarray]) -> None:
        """Thumbnails of pictures (h, w, 3) uint8, one per proposal."""
        self._gallery = [png(image, 208) for image in images]

    def compare(self, before: np.ndarray, after: np.ndarray) -> None:
        """Put two pictures (H, W, 3) uint8 behind the slider."""
        with self.hold_sync():
            self._before, self._after = to_look_at(before), to_look_at(after)


def side_by_side(*children: ipywidgets.DOMWidget) -> ipywidgets.Box:
    """The widgets as columns that `panel.css` lays out, as many as there is room for."""
    for child in children:
        child.layout = ipywidgets.Layout(min_width="0", width="auto", overflow="visible")
    row = ipywidgets.Box(children)
    row.add_class("ad-columns")
    return row
