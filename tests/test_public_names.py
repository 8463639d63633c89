"""Public names: frozen, because configs, runs and saved pipelines on users' disks name them."""

from __future__ import annotations

import importlib
import inspect
import json
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import anydoor_lab
from anydoor_lab.runs.folder import read_config
from anydoor_lab.structures.former import MOVED
from anydoor_lab.structures.names import (
    FORMER,
    LIBRARY_NAMES,
    conf_dir,
    may_be_named,
    name_of,
    named,
)
from anydoor_lab.structures.rng import rng_for

FROZEN = [
    "SdInpaint",
    "IpAdapter",
    "PaintByExample",
    "Graphit",
    "FluxFillRedux",
    "FluxKontext",
    "QwenImageEdit",
    "Flux2Klein",
    "DreamBooth",
    "CustomDiffusion",
    "Poisson",
    "HarmonisedPaste",
    "Things",
    "ThingCrops",
    "EffnetExtractor",
    "FeatureAutoencoding",
    "CrossedPairs",
    "AblationBoard",
    "AfterSweep",
    "AnyDoorMethod",
    "AnyDoorPipeline",
    "AttributeReader",
    "Autoencoding",
    "BackgroundPsnr",
    "BackgroundSsim",
    "Box",
    "CaptionContrast",
    "CaptionSamples",
    "ClipExtractor",
    "Conditioner",
    "Conditioning",
    "CopyPaste",
    "CopyPasteIndex",
    "CropSamples",
    "DetailExtractor",
    "Dinov2Extractor",
    "Folder",
    "IndexedPairs",
    "Mixture",
    "mixture",
    "InstanceContrast",
    "JointPlacing",
    "JointSamples",
    "LabDifference",
    "LabelledSamples",
    "LatentSamples",
    "LocalTracker",
    "LookSamples",
    "Naming",
    "ObjectSegmenter",
    "Pair",
    "Photos",
    "Placement",
    "PlacementScore",
    "Rater",
    "Score",
    "Segmentation",
    "SegmentationSamples",
    "SilentTracker",
    "TextScore",
    "TextToImage",
    "Unchanged",
    "UnusablePair",
    "Vgg16",
    "VggExtractor",
    "VggNaming",
    "WandbTracker",
    "World",
    "adaptive_timesteps",
    "attribute_accuracy",
    "build_pipeline",
    "clip_score",
    "compare_methods",
    "compose_config",
    "contrast_clip",
    "contrast_dinov2",
    "crop_scene",
    "dataset_page",
    "dino_score",
    "diversity",
    "empty_collage",
    "encoder_retrieval",
    "focus",
    "guidance_and_steps",
    "high_frequency_collage",
    "joint_network",
    "load_pipeline",
    "lpips",
    "noise_collage",
    "not_run",
    "original_collage",
    "paste_back",
    "preset_costs",
    "read_facts",
    "read_image",
    "read_mask",
    "retrieval_score",
    "run_experiment",
    "several_references",
    "shuffle_collage",
    "sweep_results",
    "uniform_timesteps",
    "user_study",
]
"""A name may be added here. One that is removed locks somebody's folder."""


def targets(node: object) -> list[str]:
    """Every `_target_` of a YAML file."""
    if isinstance(node, dict):
        own = [str(node["_target_"])] if "_target_" in node else []
        return own + [name for value in node.values() for name in targets(value)]
    return []


def test_the_public_names_are_the_frozen_ones() -> None:
    assert sorted(anydoor_lab.__all__) == sorted(FROZEN)


@pytest.mark.parametrize("name", FROZEN)
def test_a_public_name_is_there_and_says_what_it_is(name: str) -> None:
    found = getattr(anydoor_lab, name)
    assert callable(found)
    assert inspect.getdoc(found)
    signature = inspect.signature(found)
    assert all(
        p.annotation is not inspect.Parameter.empty for p in signature.parameters.values()
    ), f"{name} is not typed: {signature}"


def test_every_target_in_conf_is_a_public_name() -> None:
    named_in_conf = {
        name for path in conf_dir().rglob("*.yaml") for name in targets(yaml.safe_load(path.open()))
    }
    public = {f"anydoor_lab.{name}" for name in FROZEN} | set(LIBRARY_NAMES)
    assert named_in_conf <= public
    assert len(named_in_conf) > 30


def test_a_name_of_version_0_1_leads_to_what_it_named_then() -> None:
    assert set(FORMER.values()) <= set(FROZEN)
    assert named("anydoor_lab.data.world.World") is anydoor_lab.World
    former = "anydoor_lab.models.idx.dinov2.Dinov2Extractor.from_encoder"
    assert named(former) is anydoor_lab.Dinov2Extractor
    assert named("anydoor_lab.conditioning.collage.noise") is anydoor_lab.noise_collage


def test_a_part_is_found_again_by_its_name() -> None:
    for part in (anydoor_lab.World, anydoor_lab.noise_collage, anydoor_lab.AnyDoorPipeline):
        assert named(name_of(part)) is part
    with pytest.raises(ValueError, match="no part that may be named"):
        name_of(json.dumps)


FOREIGN = (
    "anydoor_lab.pipeline.anydoor.DiffusionPipeline.from_pretrained",
    "anydoor_lab.training.fit.torch.hub.load",
    "anydoor_lab.World.__init__.__globals__",
    "anydoor_lab.import_module",
    "anydoor_lab.structures.names.import_module",
    "builtins.exec",
    "os.system",
    "subprocess.run",
    "torch.hub.load",
    "diffusers.DiffusionPipeline.from_pretrained",
    "anydoor_lab",
    "World",
    "",
)


@pytest.mark.parametrize("target", FOREIGN)
def test_a_foreign_target_is_refused_and_nothing_is_imported(target: str, tmp_path: Path) -> None:
    assert not may_be_named(target)
    with pytest.raises(ValueError, match="no part that may be named"):
        named(target)
    (tmp_path / "config.yaml").write_text(yaml.safe_dump({"data": {"_target_": target}}))
    with pytest.raises(ValueError, match="no public name of anydoor_lab"):
        read_config(tmp_path)


def test_a_registered_module_lends_only_what_it_defines_itself(tmp_path: Path) -> None:
    (tmp_path / "my_lab.py").write_text("from os import system\ndef edges(): ...\n")
    code = """if True:
        from anydoor_lab.structures.names import named
        assert named("my_lab.edges").__name__ == "edges"
        for foreign in ("my_lab.system", "my_lab.absent", "my_lab.edges.__globals__", "my_labs.x"):
            try:
                named(foreign)
            except ValueError:
                continue
            raise AssertionError(foreign)
    """
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={"PYTHONPATH": f"{tmp_path}:{Path(anydoor_lab.__file__).parents[1]}",
             "ANYDOOR_PARTS": "my_lab"},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("former", sorted(MOVED))
def test_a_module_is_imported_by_its_former_name_with_a_word(former: str) -> None:
    sys.modules.pop(f"anydoor_lab.{former}", None)
    with pytest.warns(FutureWarning, match=f"anydoor_lab.{former} has moved: import from"):
        module = importlib.import_module(f"anydoor_lab.{former}")
    present = importlib.import_module(f"anydoor_lab.{MOVED[former][0]}")
    own = vars(present).items()
    names = [n for n, thing in own if getattr(thing, "__module__", "") == present.__name__]
    assert names
    assert all(getattr(module, name) is getattr(present, name) for name in names)
    with pytest.raises(AttributeError, match="has no 'absent'"):
        getattr(module, "absent")  # noqa: B009


def test_a_name_that_never_was_is_not_imported() -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("anydoor_lab.nothing")
    sys.modules.pop("anydoor_lab.draws", None)
    with pytest.warns(FutureWarning):
        former = importlib.import_module("anydoor_lab.draws")
    assert former.generator(3, 1, "x").random() == rng_for(3, 1, "x").random()
