"""A setting that is accepted reaches what it is a setting of."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.config.assemble import build_samples
from anydoor_lab.config.collages import asked_collage
from anydoor_lab.config.pipelines import shown_settings
from anydoor_lab.data.world import World
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.score import score_scenes
from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.names import conf_dir
from anydoor_lab.structures.rng import rng_for

NEW = {
    "grow": 1.4,
    "id_margin": 1.5,
    "box_probability": 1.0,
    "box_slack": 0.5,
    "flip_probability": 1.0,
    "light_probability": 1.0,
    "light_strength": 0.9,
    "light_bank": 2,
}


def composed(name: str, *overrides: str) -> DictConfig:
    with initialize_config_dir(str(conf_dir()), version_base=None):
        cfg = compose(name, list(overrides), return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        return cfg


@pytest.fixture(autouse=True)
def _forget_the_command_line() -> Any:
    yield
    HydraConfig.instance().cfg = None


def conditioner_of(pipeline: AnyDoorPipeline, *overrides: str) -> Conditioner:
    conditioner = build_samples(composed("train", *overrides), pipeline).conditioner
    assert isinstance(conditioner, Conditioner)
    return conditioner


def test_every_setting_of_the_conditioner_can_be_given_to_train(pipeline: AnyDoorPipeline) -> None:
    usual = conditioner_of(pipeline)
    assert [getattr(usual, name) for name in NEW] == [1.1, 1.2, 0.3, 0.0, 0.0, 0.5, 0.2, 0]
    for name, value in NEW.items():
        changed = conditioner_of(pipeline, f"conditioning.{name}={value}")
        assert getattr(changed, name) == value
        assert [n for n in NEW if getattr(changed, n) != getattr(usual, n)] == [name]


@pytest.mark.parametrize("name", NEW)
def test_each_of_them_changes_what_training_shows(name: str) -> None:
    settings: dict[str, Any] = {"resolution": 64, "id_size": 64}
    if name == "light_strength":
        settings["light_probability"] = 1.0
    if name == "box_slack":
        settings["box_probability"] = 1.0
    shown = []
    for changed in ({}, {name: NEW[name]}):
        conditioner = Conditioner(**settings | changed)
        draws = [rng_for(0, index, "conditioning") for index in range(6)]
        pairs = [World(size_px=96).pair(index, rng_for(0, index, "pair")) for index in range(6)]
        shown.append(
            [conditioner.condition_for_training(p, r) for p, r in zip(pairs, draws, strict=True)]
        )
    assert any(
        not np.array_equal(one.inputs[key], other.inputs[key])
        for one, other in zip(*shown, strict=True)
        for key in one.inputs
    )


def test_what_is_also_shown_in_use_is_kept_with_the_pipeline() -> None:
    kept = shown_settings(composed("train", "conditioning.grow=1.3", "conditioning.id_margin=1.4"))
    assert (kept["grow"], kept["id_margin"]) == (1.3, 1.4)
    old = composed("train")
    OmegaConf.set_struct(old, False)
    del old["conditioning"]
    assert "grow" not in shown_settings(old), "a run of version 0.1 has no such group"


@pytest.mark.parametrize(
    ("name", "value"),
    [("box_probability", 1.5), ("light_strength", -0.1), ("grow", 0.5), ("box_slack", -1.0),
     ("flip_probability", float("nan")), ("light_bank", -1)],
)  # fmt: skip
def test_a_setting_out_of_range_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name} is {value}; expected"):
        replace(Conditioner(), **{name: value})


def shown_by(pipeline: AnyDoorPipeline, *overrides: str) -> np.ndarray:
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    collage = asked_collage(composed("generate", *overrides), pipeline)
    conditioner = pipeline.conditioner(collage)
    assert isinstance(conditioner, Conditioner)
    return conditioner.collage(image, np.ones((40, 40), bool), rng_for(0, 0, "collage"))


def test_the_settings_of_a_collage_reach_it(pipeline: AnyDoorPipeline) -> None:
    usual, little, much = (
        shown_by(pipeline, "collage=noise", *more)
        for more in ((), ("collage.level=0.01",), ("collage.level=0.99",))
    )
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8).astype(int)
    distances = [np.abs(picture - image).mean() for picture in (little, usual, much)]
    assert distances == sorted(distances) and distances[0] < 10 < 50 < distances[2]
    assert not np.array_equal(
        shown_by(pipeline, "collage=shuffle"),
        shown_by(pipeline, "collage=shuffle", "collage.patches=2"),
    )


def test_the_weights_own_settings_of_a_collage_stand_where_none_are_named(
    pipeline: AnyDoorPipeline,
) -> None:
    own = copy.copy(pipeline)
    own.register_to_config(collage_settings={"hf": {"size_px": 20, "threshold": 1}})
    assert asked_collage(composed("generate", "collage=hf"), own) == "hf"
    assert asked_collage(composed("generate"), own) is None
    asked = asked_collage(composed("generate", "collage=hf", "collage.erosion_px=1"), own)
    assert asked.keywords == {"size_px": 20, "threshold": 1, "erosion_px": 1}
    with pytest.raises(ValueError, match="has no setting levle"):
        asked_collage(composed("generate", "collage=noise", "+collage.levle=0.1"), own)


def test_a_protocol_of_all_references_compares_with_all_a_pair_knows() -> None:
    world = World(size_px=48, variations={"video": 1.0})
    pairs = [world.pair(index, rng_for(0, index, "pair")) for index in range(3)]
    seen: list[list[int]] = []

    class Counting(MeanScore):
        def scores(self, references: Any) -> torch.Tensor:
            seen.append([1 if isinstance(one, np.ndarray) else len(one) for one in references])
            return torch.zeros(len(references))

    for reference in ("single", "all"):
        judges = Judges({"counting": Counting()}, ScoreProtocol(reference=reference))
        score_scenes([pair.scene for pair in pairs], pairs, judges)
        still = [pair.as_still() for pair in pairs]
        score_scenes([pair.scene for pair in still], still, judges)
    assert seen == [[1, 1, 1], [1, 1, 1], [2, 2, 2], [1, 1, 1]]
