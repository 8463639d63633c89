"""The procedural world: an endless source of exact pairs, drawn with OpenCV, nothing to download.

`shapes` are silhouettes, `objects` the sprite, `scenes` the places, `views` pose, light and
camera, `world` the pair source.
"""

from __future__ import annotations

from anydoor_lab.data.world.objects import Attributes
from anydoor_lab.data.world.world import World

__all__ = ["Attributes", "World"]
