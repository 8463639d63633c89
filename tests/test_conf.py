"""conf/: every key is a parameter of its target, and everything composes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from anydoor_lab.config import compose as composing
from anydoor_lab.config.compose import run_name
from anydoor_lab.structures.names import conf_dir, named

CONF = conf_dir()
FILES = sorted(CONF.rglob("*.yaml"))
MUST_BE_GIVEN = {
    "compare": {"runs"},
    "convert": {"source"},
    "export": {"run", "out"},
}
DOORS = [path.stem for path in sorted(CONF.glob("*.yaml"))]


def targets(node: Any, place: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every node with a `_target_`, with its place."""
    if isinstance(node, dict):
        if "_target_" in node:
            yield place, node
        for key, value in node.items():
            yield from targets(value, f"{place}.{key}")


def unknown_keys(node: dict[str, Any]) -> set[str]:
    target = named(node["_target_"])
    keys = {key: value for key, value in node.items() if key not in ("_target_", "defaults")}
    return composing.unknown_keys(getattr(target, "from_encoder", target), keys)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_is_a_parameter_of_its_target(path: Path) -> None:
    content = OmegaConf.to_container(OmegaConf.load(path), resolve=False)
    found = {place: unknown_keys(node) for place, node in targets(content)}
    assert {place: keys for place, keys in found.items() if keys} == {}


def test_a_wrong_key_would_be_found() -> None:
    node = {"_target_": "anydoor_lab.noise_collage", "levle": 0.5}
    assert unknown_keys(node) == {"levle"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_says_what_it_is_in_its_first_lines(path: Path) -> None:
    first, second = (path.read_text().splitlines() + [""])[:2]
    described = second if first.startswith("# @package") else first
    assert described.startswith("# ") and len(described) > 20
    assert len(path.read_text().splitlines()) <= 60


@pytest.mark.parametrize("door", DOORS)
def test_every_door_composes(door: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose(door)
    # every reference leads somewhere; only what the user must give is left open
    values = OmegaConf.to_container(cfg, resolve=True)
    open_keys = {key for key, value in values.items() if value == "???"}
    assert open_keys == MUST_BE_GIVEN.get(door, set())


@pytest.mark.parametrize("name", [path.stem for path in sorted((CONF / "experiment").glob("*"))])
def test_every_experiment_composes_and_sweeps_over_known_choices(name: str) -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        cfg = compose("train", overrides=[f"experiment={name}"], return_hydra_config=True)
        for group, choices in cfg.hydra.sweeper.params.items():
            whole = [
                OmegaConf.to_container(compose("train", [f"{group}={choice}"]), resolve=False)
                for choice in choices.split(",")
            ]
            chosen = [one.get(group) or one for one in whole]
            assert all(chosen.count(one) == 1 for one in chosen), "two choices are the same"
    assert cfg.hydra.mode.name == "MULTIRUN"
    assert cfg.hydra.sweep.dir == f"runs/{name}"


def test_the_two_scales_differ_in_values_only() -> None:
    keys = [set(OmegaConf.load(CONF / "model" / f"{name}.yaml")) for name in ("tiny", "sd21")]
    assert keys[0] == keys[1]
    keys = [set(OmegaConf.load(CONF / "train" / f"{name}.yaml")) for name in ("tiny", "sd21")]
    assert keys[0] == keys[1]


def test_the_model_brings_its_own_training_settings() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("train", overrides=["model=sd21"]).train.learning_rate == 1e-5
        assert compose("train", overrides=["init=base"]).train.learning_rate == 1e-3
        assert compose("train").train.learning_rate == 2e-4
        assert compose("train", overrides=["model=sd21"]).train.still_share == 0.0
        assert compose("train", overrides=["init=base"]).train.still_share == 0.0
        assert compose("train").train.still_share == 0.8


def test_train_tunes_the_embedded_network_and_no_choice_of_an_experiment_starts_ahead() -> None:
    with initialize_config_dir(str(CONF), version_base="1.3"):
        assert compose("train").init == "embedded:anydoor"
        assert compose("train", overrides=["model=sd21"]).init == "base"
        for path in sorted((CONF / "experiment").glob("*.yaml")):
            chosen = [f"experiment={path.stem}"]
            assert compose("train", overrides=chosen).init == "runs/parts/even"
            assert compose("train", overrides=[*chosen, "model=sd21"]).init == "base"
            cfg = compose("train", overrides=[*chosen, "init=base"])
            assert (cfg.init, cfg.train.learning_rate) == ("base", 1e-3)
        samples = compose("pretrain", overrides=["part=even"]).part.samples
        assert set(samples.collages.values()) == set(samples.extractors) == {1}


def test_names_of_runs_are_stable_safe_and_tell_settings_apart() -> None:
    assert run_name([]) == "default"
    assert run_name(["train.resume=auto", "overwrite=true"]) == "default"
    assert run_name(["b=1", "a=2"]) == run_name(["a=2", "b=1"]) == "a-2__b-1"
    others = [["data.root=/a/b"], ["data.root=/a_b"], ["a=b", "c=d"], ["a=b__c-d"], ["a=b,c"],
              ["a=b+c"], ["a=b_c"], ["a=b-c"], ["+a=b-c"], ["a.b=c"], ["a=b__c=d"]]  # fmt: skip
    assert len({run_name(choices) for choices in others}) == len(others)
    assert Path(run_name(["data.root=../x"])).name == run_name(["data.root=../x"])
    assert len(run_name([f"k{i}={i}" for i in range(99)])) <= 120
