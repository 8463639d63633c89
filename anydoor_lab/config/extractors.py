"""The ID extractor that a config asks for, and whether weights were trained with it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import leaf, refuse_unknown
from anydoor_lab.structures.errors import InputError

if TYPE_CHECKING:
    from anydoor_lab.models.idx.table import IdChoice
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

MAKER = "from_encoder"
NEEDED = ("projector", "features", "save_pretrained", "register_to_config", "device")
"""What an ID extractor has."""


def fresh_extractor(idx: DictConfig, width: int) -> Any:
    """The extractor of a node `idx` with a fresh projector to tokens of `width`.

    Raises:
        ValueError: what it names is no ID extractor.
    """
    extractor = leaf(idx.extractor, MAKER)(cross_attention_dim=width)
    lacking = [name for name in NEEDED if not hasattr(extractor, name)]
    if lacking:
        raise InputError(
            f"{idx.extractor._target_} has no {', '.join(lacking)}; an ID extractor is a diffusers "
            "ModelMixin and ConfigMixin with projector and features"
        )
    return extractor


def id_choice(idx: DictConfig) -> IdChoice:
    """The ID extractor that a node `idx` asks for.

    Raises:
        ValueError: the node has a key that is no setting of it.
    """
    from anydoor_lab.models.idx.table import IdChoice, encoder_of
    from anydoor_lab.structures.names import named

    node: Any = OmegaConf.to_container(idx.extractor, resolve=False)
    target = node.pop("_target_")
    refuse_unknown(target, getattr(named(target), MAKER), node)
    return IdChoice(
        name="",
        target=target,
        encoder=encoder_of(named(target)),
        tokens=node.get("tokens", "both"),
        remove_background=idx.remove_background,
        settings={
            key: OmegaConf.to_object(value) if OmegaConf.is_config(value) else value
            for key in node
            if key not in ("tokens", "source") and (value := _known(idx.extractor, key)) is not None
        },
    )


def _known(node: DictConfig, key: str) -> Any:
    """A value; None where it stands in a group that this command does not have."""
    return OmegaConf.select(node, key, throw_on_resolution_failure=False)


def take_extractor(pipeline: AnyDoorPipeline, source: str | Path, idx: DictConfig) -> bool:
    """Whether the weights of `source` were trained with the extractor that `idx` asks for, its
    encoder included; if so the pipeline has it then."""
    from anydoor_lab.pipeline.extractors import swap_extractor

    choice, asked = id_choice(idx), asked_source(idx)
    known = known_sources(source, choice)
    if asked and known and asked not in known:
        return False
    return swap_extractor(pipeline, source, choice)


def need_extractor(pipeline: AnyDoorPipeline, source: str | Path, idx: DictConfig) -> None:
    """Give the pipeline the extractor that `idx` asks for, its weights staying as they are.

    Raises:
        ValueError: `source` was not trained with that encoder.
    """
    asked, choice = asked_source(idx), id_choice(idx)
    if asked and asked not in known_sources(source, choice):
        raise InputError(
            f"idx.extractor.source is {asked}, but {source} has the encoder it was trained with; "
            "leave it out, or train with it"
        )
    if not take_extractor(pipeline, source, idx):
        own = type(pipeline.id_extractor).__name__
        raise InputError(
            f"{source} was trained with {own} and has no projector for "
            f"{choice.target.split('.')[-1]} as asked; leave idx out, or train with it"
        )


def asked_source(idx: DictConfig) -> str:
    """Where a node `idx` has its encoder from; empty where it leaves that to `model`, which is not
    chosen, or has none."""
    node: Any = OmegaConf.to_container(idx.extractor, resolve=False)
    text = str(node.get("source") or "")
    if "${" not in text:
        return text
    return str(_known(idx.extractor, "source") or "")


def known_sources(source: str | Path, choice: IdChoice) -> list[str]:
    """The names of the encoder that the weights of `source` were trained with; of a pipeline in
    diffusers' layout, which has the encoder in it, there are none."""
    from anydoor_lab.models.embedded import PREFIX, locate
    from anydoor_lab.models.idx.table import EMBEDDED_PARTS
    from anydoor_lab.models.joint import is_joint, part_beside
    from anydoor_lab.runs.folder import CONFIG, read_config

    folder = Path(locate(source))
    if is_joint(folder):
        part = EMBEDDED_PARTS.get(choice.encoder)
        return [f"{PREFIX}{part}", str(part_beside(folder, part))] if part else []
    if not (folder / "model_index.json").is_file() and (folder / CONFIG).is_file():
        extractor = read_config(folder)["idx"]["extractor"]
        return [str(extractor["source"])] if "source" in extractor else []
    return []
