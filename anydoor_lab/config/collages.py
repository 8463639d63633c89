"""Which collage a config asks for, and with which settings."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import leaf

if TYPE_CHECKING:
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


def chosen_collage(cfg: DictConfig) -> str:
    """The name under which a pipeline keeps the collage that `collage` asks for."""
    from anydoor_lab.conditioning.collage import collage_name
    from anydoor_lab.structures.names import named

    return collage_name(named(cfg.collage._target_))


def asked_collage(cfg: DictConfig, pipeline: AnyDoorPipeline) -> Any:
    """What to call a pipeline with for its `collage`: None for the weights' own, or a name, or the
    function itself where the command line has settings of it (`collage.level=0.1`); the weights'
    own settings stand where it has none.

    Raises:
        ValueError: the collage has no such setting.
    """
    if not cfg.get("collage"):
        return None
    name, keys = chosen_collage(cfg), _settings_named()
    if not keys:
        return name
    settings = {key: OmegaConf.select(cfg.collage, key) for key in keys}
    own = {**pipeline.config.collage_settings.get(name, {}), **settings}
    return leaf(OmegaConf.create({"_target_": cfg.collage._target_, **own}))


def _settings_named() -> list[str]:
    """The settings of `collage` that the command line names."""
    overrides = HydraConfig.get().overrides.task if HydraConfig.initialized() else ()
    keys = [text.lstrip("+~").partition("=")[0] for text in overrides]
    return sorted({key.removeprefix("collage.") for key in keys if key.startswith("collage.")})
