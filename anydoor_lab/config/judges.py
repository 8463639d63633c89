"""The metrics of a config, each told what it must know."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from anydoor_lab.config.compose import leaf, plain, settings
from anydoor_lab.structures.errors import InputError, NotRunError
from anydoor_lab.structures.names import named

if TYPE_CHECKING:
    from anydoor_lab.evaluation.judges import Judges
    from anydoor_lab.metrics.protocol import ScoreProtocol


def build_judges(cfg: DictConfig) -> Judges:
    """The metrics of a config; one whose network this scale does not have is left out, one whose
    package or weights are missing stands as not run.

    Raises:
        ValueError: a metric's file is wrong, or none of those asked for can run.
    """
    from anydoor_lab.evaluation.judges import Judges
    from anydoor_lab.metrics.protocol import ScoreProtocol

    sources = dict(plain(cfg.model.judges))
    protocol = ScoreProtocol(
        crop=cfg.eval.crop,
        reference=cfg.eval.get("reference", "single"),  # runs of before have no such setting
        clip=judge_source(sources, "clip"),
        dino=judge_source(sources, "dino"),
    )
    metrics, not_run = {}, {}
    for name, node in cfg.metrics.items():
        if not OmegaConf.is_dict(node):
            raise InputError(
                f"metrics.{name} is {node!r}, no metric; its file in conf/metrics must begin with "
                "`# @package metrics.<its name>`"
            )
        if node.get("source", "") is None:
            continue
        try:
            metrics[str(name)] = build_metric(node, f"model.judges.{name}", protocol)
        except NotRunError as error:
            not_run[str(name)] = str(error)
    if not_run and not metrics:
        raise InputError("; ".join(f"{name} cannot run: {why}" for name, why in not_run.items()))
    return Judges(metrics, protocol, not_run=not_run)


def build_metric(node: DictConfig, setting: str, protocol: ScoreProtocol) -> Any:
    """One metric, told the protocol where it takes one; its network is looked for first, so that
    a missing one is one sentence."""
    from anydoor_lab.models.sources import obtain

    metric, source = leaf(node), node.get("source")
    known: dict[str, Any] = {}
    if source:
        known["source"] = str(obtain(source, setting=setting))
    if "protocol" in settings(named(node._target_)):
        known["protocol"] = protocol
    return metric(**known)


def judge_source(sources: Mapping[str, Any], name: str) -> str:
    """Where a judge's network lies."""
    from anydoor_lab.models.sources import obtain

    return str(obtain(sources[name], setting=f"model.judges.{name}"))
