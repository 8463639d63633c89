"""One pipeline with each of the ID extractors that its weights were trained with."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

from anydoor_lab.models.idx.tokens import IdExtractor
from anydoor_lab.models.joint import extractor_name, is_joint, load_extractor
from anydoor_lab.pipeline import AnyDoorPipeline

IDX = {
    "dinov2": ("dinov2", "both", True),
    "dinov2_patch_noseg": ("dinov2", "both", False),
    "dinov2_global": ("dinov2", "global", False),
    "clip": ("clip", "both", False),
    "vgg": ("vgg", "both", False),
}
"""The rows of Table 3 by the names of conf/idx: extractor, tokens, background removed."""


class Variants:
    """The ID extractors of a pipeline by name; the pipeline itself stays as it is.

    Args:
        pipeline: of a joint network all its extractors are offered, else its own only.
    """

    def __init__(self, pipeline: AnyDoorPipeline) -> None:
        self._pipeline = pipeline
        self._folder = Path(pipeline.name_or_path or "")
        self._loaded: dict[str, IdExtractor] = {}
        own = extractor_name(type(pipeline.id_extractor)) or "own"
        joint = bool(pipeline.name_or_path) and is_joint(self._folder)
        self.names = tuple(IDX) if joint else (own,)

    def pipeline(self, name: str) -> AnyDoorPipeline:
        """A view of the pipeline with this ID extractor."""
        if len(self.names) == 1:
            return self._pipeline
        extractor, tokens, remove_background = IDX[name]
        if extractor not in self._loaded:
            loaded: Any = load_extractor(self._folder, extractor)
            self._loaded[extractor] = loaded.to(self._pipeline.device).eval()
        chosen = copy.copy(self._pipeline)
        chosen.register_modules(id_extractor=self._loaded[extractor])
        chosen.id_extractor.register_to_config(tokens=tokens)
        chosen.register_to_config(remove_background=remove_background)
        return chosen
