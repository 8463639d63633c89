"""Widgets for Jupyter: draw a region, cut an object out, place it, watch a
training, compare on a board, rate."""

from __future__ import annotations

from importlib import import_module
from typing import Any

_HOMES = {
    "AblationBoard": "anydoor_lab.widgets.board.ablation",
    "LiveRun": "anydoor_lab.widgets.live_run.live_run",
    "MattedRim": "anydoor_lab.widgets.object_cutter.rim",
    "ObjectCutter": "anydoor_lab.widgets.object_cutter.object_cutter",
    "Rater": "anydoor_lab.widgets.rater.rater",
    "RegionPicker": "anydoor_lab.widgets.region_picker.region_picker",
    "Teleporter": "anydoor_lab.widgets.teleporter.teleporter",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """The widgets, imported on first use: a picker needs no torch."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anydoor_lab.widgets' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
