"""One pipeline with each of the ID extractors that its weights were trained with."""

from __future__ import annotations

import copy

from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.pipeline.extractors import offered, swap_extractor
from anydoor_lab.structures.errors import InputError


class Variants:
    """The ID extractors of a pipeline by name; the pipeline itself stays as it is.

    Args:
        pipeline: of a joint network all its extractors are offered, else its own only.
    """

    def __init__(self, pipeline: AnyDoorPipeline) -> None:
        self._pipeline = pipeline
        self._choices = offered(pipeline)
        self._views: dict[type, AnyDoorPipeline] = {}
        self.names = tuple(self._choices) or ("own",)

    def pipeline(self, name: str) -> AnyDoorPipeline:
        """A view of the pipeline with this ID extractor; only the one last asked for holds."""
        if len(self.names) == 1:
            return self._pipeline
        choice = self._choices[name]
        if choice.kind not in self._views:
            view = copy.copy(self._pipeline)
            view.register_modules(id_extractor=copy.deepcopy(self._pipeline.id_extractor))
            self._views[choice.kind] = view
        folder = self._pipeline.name_or_path
        if not swap_extractor(self._views[choice.kind], folder, choice):
            raise InputError(f"{folder} has no projector for {name} any more; load it again")
        return self._views[choice.kind]
