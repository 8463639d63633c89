"""The table of ID extractors: what conf/idx offers, the user's own included, read in one place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from anydoor_lab.models.idx.tokens import TokenChoice
from anydoor_lab.structures.names import conf_dir, conf_folders, named

EMBEDDED_PARTS = {"vgg": "vgg", "clip": "clip", "dinov2": "dino"}
"""The parts of the embedded suite that hold the encoders of `model.encoders`."""


@dataclass(frozen=True, slots=True)
class IdChoice:
    """A file of conf/idx, a row of Table 3.

    Args:
        name: the file's, as in `idx=dinov2`.
        target: public name of the extractor's class.
        encoder: which of `model.encoders` it is built around; empty where it has its own source.
        tokens: G, P or G+P.
        remove_background: whether the object is cut out (Seg).
        settings: what else its class is told.
    """

    name: str
    target: str
    encoder: str
    tokens: TokenChoice
    remove_background: bool
    settings: Mapping[str, Any] = field(default_factory=dict)

    @property
    def kind(self) -> type:
        """The extractor's class."""
        kind: type = named(self.target)
        return kind


def id_choices() -> dict[str, IdChoice]:
    """The choices of conf/idx by name: the package's, then those of `ANYDOOR_PARTS`."""
    folders = [conf_dir(), *conf_folders()]
    files = [path for folder in folders for path in sorted((folder / "idx").glob("*.yaml"))]
    return {path.stem: _choice(path.stem, yaml.safe_load(path.read_text())) for path in files}


def _choice(name: str, content: dict[str, Any]) -> IdChoice:
    extractor = content["extractor"]
    encoder = re.fullmatch(r"\$\{model\.encoders\.(\w+)\}", str(extractor.get("source", "")))
    return IdChoice(
        name=name,
        target=extractor["_target_"],
        encoder=encoder[1] if encoder else "",
        tokens=extractor.get("tokens", "both"),
        remove_background=content["remove_background"],
        settings={
            key: value
            for key, value in extractor.items()
            if key not in ("_target_", "source", "tokens") and "${" not in str(value)
        },
    )


def encoder_of(kind: type) -> str:
    """Which of `model.encoders` a class of extractors is built around; empty for another class."""
    return next((c.encoder for c in id_choices().values() if c.encoder and c.kind is kind), "")


def kind_around(encoder: str) -> Any:
    """The class of extractors around one of `model.encoders`."""
    return next(choice.kind for choice in id_choices().values() if choice.encoder == encoder)
