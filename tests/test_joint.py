"""Claims about the joint AnyDoor: one set of weights for every extractor, collage and mask."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from PIL import Image
from torch import nn

from anydoor_lab.config.assemble import build_judges
from anydoor_lab.config.compose import compose_config, leaf
from anydoor_lab.config.extractors import need_extractor
from anydoor_lab.config.pipelines import load_pipeline, preset_cost
from anydoor_lab.data.cache import PairPool
from anydoor_lab.data.world import World
from anydoor_lab.evaluation.anchors import anchor_scenes
from anydoor_lab.evaluation.pairs import held_out_pairs
from anydoor_lab.evaluation.score import evaluate, score_scenes
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.anydoor import AnyDoorMethod
from anydoor_lab.models.embedded import embedded_folder
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.joint import JointAnyDoor, load_extractor
from anydoor_lab.pretrain import pretrain
from anydoor_lab.pretraining.folders import read_card, weights_hash
from anydoor_lab.pretraining.frames import FramePool
from anydoor_lab.pretraining.joint import CHOICES, JointNetwork, JointPlacing, JointSamples
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import read_image
from anydoor_lab.structures.names import conf_dir
from anydoor_lab.training.kept import collated

NEEDED = {part: embedded_folder(part) for part in ("vae", "clip", "dino", "vgg")}


def config(*overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("pretrain", overrides=["part=anydoor", *overrides])


@pytest.fixture(scope="module")
def samples(tmp_path_factory: pytest.TempPathFactory) -> JointSamples:
    frames = FramePool(World(), 8, 0, tmp_path_factory.mktemp("pool"))
    built: JointSamples = leaf(config("out=.").part.samples)(frames)
    return built


@pytest.fixture(scope="module")
def placing() -> JointPlacing:
    torch.manual_seed(0)
    cfg = config("out=.")
    network = leaf(cfg.part.network)(base=embedded_folder("base"))
    built: JointPlacing = leaf(cfg.part.objective)(network, **NEEDED)
    return built


def test_a_joint_sample_depends_on_its_index_alone_and_every_extractor_gets_some(
    samples: JointSamples,
) -> None:
    first, again = samples[3], samples[3]
    for name in ("id_image", "collage", "target"):
        assert np.array_equal(first[name], again[name])
    assert {samples[index]["extractor"] for index in range(40)} == set(range(len(CHOICES)))


def test_most_joint_samples_are_stills_and_many_stand_in_boxes_that_do_not_fit(
    samples: JointSamples,
) -> None:
    seen = [samples[index] for index in range(120)]
    stills = [sample["variation"] == "still" for sample in seen]
    assert 0.8 < np.mean(stills) < 1
    ratios = []
    for region in (sample["shape_mask"][0] == 1 for sample in seen):
        box = Box.around(region)
        if region.sum() == box.height * box.width:
            ratios.append(max(box.height, box.width) / min(box.height, box.width))
    assert 0.4 < len(ratios) / len(seen) < 0.9
    assert np.mean(np.array(ratios) > 1.4) > 0.1


def test_each_sample_gets_its_own_extractors_tokens(placing: JointPlacing) -> None:
    model: JointAnyDoor = placing.loss.model
    image = torch.rand(4, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    tokens = model.tokens(image, torch.arange(4))
    with torch.no_grad():
        clip = model.id_extractor["clip"](image)
        dino = model.id_extractor["dinov2"](image)
    assert torch.allclose(tokens[1], clip[1], atol=1e-5)
    assert torch.allclose(tokens[2], dino[2], atol=1e-5)
    assert torch.allclose(tokens[3], dino[3, :1].expand_as(tokens[3]), atol=1e-5)


def test_repeating_a_set_of_tokens_changes_nothing_for_attention() -> None:
    torch.manual_seed(0)
    query, keys = torch.randn(1, 5, 8), torch.randn(1, 3, 8)
    attend = nn.functional.scaled_dot_product_attention
    repeated = keys[:, torch.arange(9) % 3]
    assert torch.allclose(attend(query, keys, keys), attend(query, repeated, repeated), atol=1e-6)


def test_every_projector_gets_a_gradient_whatever_the_batch_holds(placing: JointPlacing) -> None:
    image = torch.rand(2, 3, 128, 128)
    placing.zero_grad()
    placing.loss.model.tokens(image, torch.tensor([1, 1])).sum().backward()
    gradients = {n: p.weight.grad for n, p in placing.network.projectors.items()}
    assert all(gradient is not None for gradient in gradients.values())
    assert gradients["clip"].abs().sum() > 0
    assert gradients["vgg"].abs().sum() == 0


def test_a_pair_is_trained_at_as_many_noise_levels_as_asked_for(
    samples: JointSamples, placing: JointPlacing, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch = collated([samples[index] for index in range(3)])
    with torch.no_grad():
        once = placing(batch)["per_sample"]
        monkeypatch.setattr(placing, "noises", 2)
        twice = placing(batch)["per_sample"]
    torch.testing.assert_close(twice[:3], once, atol=1e-5, rtol=1e-4)
    assert len(twice) == 6 and not torch.isclose(twice[3:], once, rtol=0.01).any()


def test_training_leaves_the_frozen_parts_alone(placing: JointPlacing) -> None:
    trained = {name for name, p in placing.named_parameters() if p.requires_grad}
    assert trained
    assert all(name.startswith("network.") for name in trained)
    assert not any("encoder.layer" in name or "vae" in name for name in trained)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("parts")
    few = ("part.fit.steps=2", "part.fit.batch_size=4", "part.bench.num_pairs=2")
    return pretrain(config(f"out={out}", "num_scored=4", *few, "+part.bench.num_diverse=0"))


def test_the_door_writes_a_joint_network_without_the_frozen_parts(made: Path) -> None:
    card = read_card(made)
    assert card["weights"] == weights_hash(made)
    assert card["bench"]["n"] == 2
    assert (made.parent / "anydoor.png").is_file()
    assert not (made / "vae").exists()
    assert not (made / "id_extractor").exists()


def test_the_card_says_what_each_preset_costs_in_score(made: Path, networks: Path) -> None:
    models = [row for row in read_card(made)["bench"]["rows"] if not row.get("anchor")]
    names = ["anydoor, preset draft", "anydoor, preset fast", "anydoor"]
    assert [row["run"] for row in models] == names
    assert models[0]["dino"] != models[1]["dino"] != models[2]["dino"]
    said = f"DINO score {models[2]['dino']:.1f} -> {models[1]['dino']:.1f}"
    assert said in preset_cost(made, "fast")
    assert "tiny, 2 pairs" in preset_cost(made, "fast")
    assert "not measured: evaluate run=" in preset_cost(networks, "draft")


def test_a_joint_network_loads_as_a_pipeline_for_each_extractor(made: Path) -> None:
    pipeline = load_pipeline(made)
    pair = World(split="held_out").pair(0, np.random.default_rng(0))
    images = []
    for idx in ("dinov2", "clip"):
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            chosen = compose("generate", [f"idx={idx}", "reference=a", "scene=b"]).idx
        need_extractor(pipeline, made, chosen)
        placed = pipeline(
            pair.reference, pair.scene, pair.reference_mask, box=[20, 20, 70, 70],
            num_inference_steps=2, output_type="np",
        )  # fmt: skip
        images.append(placed.images[0])
    assert isinstance(pipeline.id_extractor, ClipExtractor)
    assert not pipeline.config.remove_background
    assert images[0].shape == images[1].shape == pair.scene.shape
    with pytest.raises(ValueError, match="no projector for nothing"):
        load_extractor(made, "nothing")


def test_a_part_begins_with_the_weights_it_is_told_to_and_its_card_says_so(
    made: Path, tmp_path: Path
) -> None:
    still = ("part.fit.steps=1", "part.fit.batch_size=4", "part.fit.learning_rate=0.0")
    bench = ("part.bench.num_pairs=2", "+part.bench.num_diverse=0")
    again = pretrain(config(f"out={tmp_path}", f"begin={made}", "num_scored=4", *still, *bench))
    assert read_card(again)["begun_from"]["samples_seen"] == 8
    first, second = (JointNetwork.from_pretrained(f).state_dict() for f in (made, again))
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_generate_can_switch_extractor_and_collage(made: Path, tmp_path: Path) -> None:
    pair = World(split="held_out").pair(0, np.random.default_rng(0))
    alpha = np.where(pair.reference_mask, np.uint8(255), np.uint8(0))
    Image.fromarray(np.dstack([pair.reference, alpha])).save(tmp_path / "object.png")
    Image.fromarray(pair.scene).save(tmp_path / "scene.png")
    command = [sys.executable, "-m", "anydoor_lab.generate", f"run={made}", "seed=3"]
    command += ["reference=object.png", "scene=scene.png", "box=[20,20,70,70]"]
    pictures = []
    for name, choice in (("own", []), ("other", ["idx=clip", "collage=none"])):
        call = [*command, f"out={name}.png", "num_inference_steps=2", *choice]
        done = subprocess.run(call, cwd=tmp_path, capture_output=True, text=True, timeout=180)
        assert done.returncode == 0, done.stderr
        pictures.append(read_image(tmp_path / f"{name}.png"))
    assert not np.array_equal(*pictures)


# -- what ships


def test_the_embedded_networks_fit_into_thirty_two_mebibytes() -> None:
    root = embedded_folder("anydoor").parent
    assert sum(path.stat().st_size for path in root.rglob("*") if path.is_file()) <= 32 * 2**20


def test_the_embedded_anydoor_is_the_one_of_its_card_and_recipe() -> None:
    folder = embedded_folder("anydoor")
    card = read_card(folder)
    assert card["weights"] == weights_hash(folder)
    shipped = JointNetwork.from_pretrained(folder)
    recipe = leaf(config("out=.").part.network)(base=embedded_folder("base"))
    shapes = [{n: t.shape for n, t in net.state_dict().items()} for net in (shipped, recipe)]
    assert shapes[0] == shapes[1]
    assert all(torch.isfinite(tensor).all() for tensor in shipped.state_dict().values())


def test_the_embedded_anydoor_keeps_more_of_an_object_than_another_one_has() -> None:
    rows = {row["run"]: row for row in read_card(embedded_folder("anydoor"))["bench"]["rows"]}
    settings = EvalSettings(num_pairs=16, num_diverse=0)
    source = World(split="held_out", size_px=192)
    pairs = held_out_pairs(source, settings)
    judges = build_judges(compose_config("evaluate")).of(source)
    method = AnyDoorMethod(load_pipeline("embedded:anydoor"))
    row, _ = evaluate(method, pairs, judges, settings)
    other = score_scenes(anchor_scenes(pairs)["another object"], pairs, judges)
    assert row["attribute_accuracy"] > other["attribute_accuracy"] + 20
    assert abs(row["attribute_accuracy"] - rows["anydoor"]["attribute_accuracy"]) < 15


def test_attributes_are_read_only_where_they_are_known() -> None:
    judges = build_judges(compose_config("evaluate"))
    assert "attribute_accuracy" in judges.of(World()).metrics
    assert judges.of(World()).attributes_of is not None
    for source in (World(letters="Q"), PairPool(World(), 1, Path("unused"))):
        assert set(judges.metrics) - set(judges.of(source).metrics) == {"attribute_accuracy"}
