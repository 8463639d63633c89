"""AnyDoor (CVPR 2024): put the object of one photo into a marked place of another."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "AnyDoorPipeline": "anydoor_lab.pipeline",
    "Box": "anydoor_lab.boxes",
    "Conditioner": "anydoor_lab.conditioning.conditioner",
    "Conditioning": "anydoor_lab.conditioning.conditioner",
    "Pair": "anydoor_lab.pair",
    "Placement": "anydoor_lab.conditioning.placement",
    "UnusablePair": "anydoor_lab.pair",
    "World": "anydoor_lab.data.world",
    "build_pipeline": "anydoor_lab.loading",
    "compose_config": "anydoor_lab.configs",
    "crop_scene": "anydoor_lab.conditioning.placement",
    "load_pipeline": "anydoor_lab.loading",
    "paste_back": "anydoor_lab.conditioning.placement",
    "read_image": "anydoor_lab.images",
    "read_mask": "anydoor_lab.images",
}
__all__ = sorted(_HOMES)


def __getattr__(name: str) -> Any:
    """The public names, imported on first use so that `import anydoor_lab` stays light."""
    if name not in _HOMES:
        raise AttributeError(f"module 'anydoor_lab' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
