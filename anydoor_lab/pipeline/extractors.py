"""Giving a pipeline another ID extractor that its weights were trained with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from anydoor_lab.models.embedded import locate
from anydoor_lab.models.idx.table import IdChoice, encoder_of, id_choices
from anydoor_lab.models.joint import is_joint, load_extractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


def swap_extractor(pipeline: AnyDoorPipeline, source: str | Path, choice: IdChoice) -> bool:
    """Whether the weights of `source` were trained with the encoder of `choice`; if so the pipeline
    has it then, hands on the tokens of `choice` and shows the object as `choice` says.

    Args:
        pipeline: of `source`; changed in place.
        source: the folder it was loaded from; a joint network has a projector for each encoder.
        choice: the extractor asked for.
    """
    folder = Path(locate(source))
    if not is_built_as(pipeline.id_extractor, choice):
        name = encoder_of(choice.kind)
        if not name or not is_joint(folder):
            return False
        loaded: Any = load_extractor(folder, name)
        pipeline.register_modules(id_extractor=loaded.to(pipeline.device))
    if "tokens" in pipeline.id_extractor.config:
        pipeline.id_extractor.register_to_config(tokens=choice.tokens)
    pipeline.register_to_config(remove_background=choice.remove_background)
    return True


def is_built_as(extractor: Any, choice: IdChoice) -> bool:
    """Whether an extractor is of the class and, as far as its config tells, of the settings of
    `choice`."""
    if choice.kind is not type(extractor):
        return False
    built = dict(getattr(extractor, "config", {}))
    return all(built[key] == value for key, value in choice.settings.items() if key in built)


def offered(pipeline: AnyDoorPipeline) -> dict[str, IdChoice]:
    """The choices of conf/idx that a pipeline's weights were trained with, its own first.

    Of a joint network all that have a projector, else those of its own extractor's class with its
    own tokens.
    """
    own, choices = type(pipeline.id_extractor), id_choices()
    source = pipeline.name_or_path
    if source and is_joint(Path(source)):
        fitting = {name: c for name, c in choices.items() if c.encoder}
    else:
        tokens = pipeline.id_extractor.config.get("tokens") or "both"
        shown = (tokens, pipeline.config.remove_background)
        fitting = {
            name: c
            for name, c in choices.items()
            if is_built_as(pipeline.id_extractor, c) and (c.tokens, c.remove_background) == shown
        }
    return dict(sorted(fitting.items(), key=lambda item: (item[1].kind is not own, item[0])))
