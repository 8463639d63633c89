"""The EfficientNet-Lite0 judge, retrieval, the difference of colours, and the loss made of it."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import AutoencoderKL
from hydra import compose, initialize_config_dir
from torch.nn import functional

from anydoor_lab.config.compose import conf_dir
from anydoor_lab.data.readers.photos import Photos
from anydoor_lab.data.things import Things
from anydoor_lab.metrics.effnet import EffnetScore, effnet_judge
from anydoor_lab.metrics.lab_difference import lab_difference
from anydoor_lab.metrics.retrieval import retrieval
from anydoor_lab.models.effnet import PACKAGE, EfficientNetLite0, _Conv
from anydoor_lab.models.idx.effnet import EffnetExtractor
from anydoor_lab.pretrain import pretrain
from anydoor_lab.pretraining.folders import read_card
from anydoor_lab.pretraining.things import FeatureAutoencoding, ThingCrops
from anydoor_lab.structures.rng import rng_for

weighed = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"{PACKAGE} (extra 'judge') is not installed"
)


def test_the_network_has_the_parameters_of_lite0() -> None:
    network = EfficientNetLite0()
    assert sum(p.numel() for p in network.parameters()) == 4_652_008
    assert len(network.state_dict()) == 296
    assert network.eval()(torch.zeros(1, 3, 64, 64)).shape == (1, 1280)


def test_features_stop_where_they_are_asked_to() -> None:
    network = EfficientNetLite0().eval()
    maps = list(network.features(torch.zeros(1, 3, 64, 64), (0, 2, 4)))
    assert [tuple(each.shape) for each in maps] == [
        (1, 16, 32, 32),
        (1, 24, 16, 16),
        (1, 40, 8, 8),
    ]


@pytest.mark.parametrize(("side", "expected"), [(8, (0, 1)), (7, (1, 1))])
def test_padding_is_tensorflows_same(side: int, expected: tuple[int, int]) -> None:
    conv = _Conv(1, 1, 3, 2)
    image = torch.rand(1, 1, side, side)
    padded = functional.pad(image, expected * 2)
    torch.testing.assert_close(conv(image), functional.conv2d(padded, conv.weight, stride=2))


def test_a_file_of_another_network_is_refused(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / "other.pth")
    with pytest.raises(RuntimeError, match="Missing key"):
        effnet_judge(tmp_path / "other.pth")
    with pytest.raises(ValueError, match="does not exist"):
        effnet_judge(tmp_path / "nothing.pth")


def test_without_the_package_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("anydoor_lab.models.effnet.PACKAGE", "no_such_package")
    with pytest.raises(ValueError, match=r"anydoor-lab\[judge\]"):
        effnet_judge()


@weighed
def test_the_extractor_gives_the_judges_embedding_and_its_places() -> None:
    extractor = EffnetExtractor.from_encoder(None, 8).train()
    network, _ = effnet_judge()
    image = torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    pixels = (image * 255 - 127) / 128
    features = extractor.features(image)
    assert features.shape == (2, 50, 1280)
    torch.testing.assert_close(features[:, 0], network(pixels))
    torch.testing.assert_close(features[:, 1:].mean(dim=1), features[:, 0])
    assert extractor(image[..., ::4, ::4]).shape == (2, 50, 8)  # brought to 224 px
    only = EffnetExtractor.from_encoder(None, 8, tokens="global")
    assert only.features(image).shape == (2, 1, 1280)


@weighed
def test_training_leaves_the_extractors_statistics_alone(tmp_path: Path) -> None:
    extractor = EffnetExtractor.from_encoder(None, 8).train()
    before = {name: tensor.clone() for name, tensor in extractor.encoder.state_dict().items()}
    extractor(torch.rand(2, 3, 64, 64))
    assert all(torch.equal(before[n], t) for n, t in extractor.encoder.state_dict().items())
    extractor.save_pretrained(tmp_path)
    again = EffnetExtractor.from_pretrained(tmp_path)
    image = torch.rand(1, 3, 64, 64)
    assert torch.equal(again.eval()(image), extractor.eval()(image))


@weighed
def test_the_judge_knows_a_cat_when_it_sees_one() -> None:
    network, prepare = effnet_judge()
    photos = Photos(held_out=0)
    names = [photos.pair(i, rng_for(0, i, "")).origin for i in range(len(photos))]
    cat = photos.pair(names.index("chelsea: cat's head"), rng_for(0, 0, "")).scene
    with torch.no_grad():
        classes = network._fc(network(prepare(cat)[None]))
    assert int(classes.argmax()) in (281, 282, 285)  # tabby, tiger cat, Egyptian cat


@weighed
def test_an_object_is_nearer_to_its_other_view_than_to_others() -> None:
    network, prepare = effnet_judge()
    source = Things(split="held_out", filled=0, drawn=0, hidden=0).varied({"multiview": 1})
    pairs = [source.pair(index, rng_for(0, index, "pair")) for index in range(16)]
    crops = [[_cut(p.scene, p.scene_mask), _cut(p.reference, p.reference_mask)] for p in pairs]
    with torch.no_grad():
        one, other = (network(prepare.batch(list(each))) for each in zip(*crops, strict=True))
    names = [str(index) for index in range(16)]
    found = retrieval(one, names, other, names)
    assert found.recall_1 > 0.8 and found.mean_precision >= found.recall_1


@weighed
def test_the_score_of_a_picture_with_itself_is_a_hundred() -> None:
    score = EffnetScore(*effnet_judge())
    image = Things(size_px=64).scenery(rng_for(0, 0, "place"))
    score.update([image], [image])
    assert float(score.compute()) == pytest.approx(100, abs=1e-3)


def _cut(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]


def test_retrieval_counts_first_places_and_ranks_of_all_right_ones() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.9, 0.1], [0.0, 1.0], [0.1, 0.9]])
    names = ["a", "b", "b", "a"]
    found = retrieval(torch.tensor([[1.0, 0.0]]), ["a"], gallery, names)
    assert found.recall_1 == 1.0
    assert found.mean_precision == pytest.approx((1 / 1 + 2 / 3) / 2)
    missed = retrieval(torch.tensor([[0.0, 2.0]]), ["a"], gallery, names)
    assert missed.recall_1 == 0.0
    assert missed.mean_precision == pytest.approx((1 / 2 + 2 / 4) / 2)


def test_retrieval_without_a_right_answer_is_refused() -> None:
    with pytest.raises(ValueError, match="no entry of"):
        retrieval(torch.eye(2), ["a", "c"], torch.eye(2), ["a", "b"])
    with pytest.raises(ValueError, match="one name for each"):
        retrieval(torch.eye(2), ["a"], torch.eye(2), ["a", "b"])


def test_the_lab_difference_sees_colour_inside_the_mask_only() -> None:
    grey = np.full((8, 8, 3), 128, np.uint8)
    mask = np.zeros((8, 8), np.bool_)
    mask[:4] = True
    outside, inside = grey.copy(), grey.copy()
    outside[4:] = (255, 0, 0)
    inside[:4, :, 0] = 160
    assert lab_difference(outside, grey, mask) == 0
    assert 5 < lab_difference(inside, grey, mask) < 40


def test_crops_are_a_pure_function_of_seed_and_index() -> None:
    crops = ThingCrops(Things(), seed=3, side_px=96, window_px=32)
    first = [crops[index]["image"] for index in range(20)]
    again = ThingCrops(Things(), seed=3, side_px=96, window_px=32)
    for index in (19, 7, 0):
        assert np.array_equal(first[index], again[index]["image"])
    assert all(each.shape == (3, 32, 32) and abs(each).max() <= 1 for each in first)
    assert not np.array_equal(first[0], ThingCrops(Things(), seed=4, window_px=32)[0]["image"])


def test_windows_larger_than_the_picture_are_refused() -> None:
    with pytest.raises(ValueError, match="window_px <= side_px"):
        ThingCrops(Things(size_px=96), seed=0, side_px=128)


@weighed
def test_real_features_are_in_the_loss_and_are_not_trained() -> None:
    torch.manual_seed(0)
    network = AutoencoderKL(block_out_channels=[8], norm_num_groups=4, sample_size=32)
    objective = FeatureAutoencoding(network, feature_weight=1.0).train()
    batch = {"image": torch.rand(2, 3, 32, 32) * 2 - 1, "index": torch.arange(2)}
    with_features = objective(batch)["loss"]
    objective.feature_weight = 0.0
    assert with_features > objective(batch)["loss"]
    trained = [name for name, p in objective.named_parameters() if p.requires_grad]
    assert all(name.startswith("network.") for name in trained)
    assert not objective.features.training
    objective.feature_weight = 1.0
    assert float(objective.extra_loss(batch["image"], batch["image"])) < 1e-6


def test_the_recipe_for_things_trains_without_a_pool_and_goes_on_where_it_stopped(
    tmp_path: Path,
) -> None:
    settings = (
        f"out={tmp_path}", "num_scored=24", "part.fit.batch_size=2", "part.fit.warmup_steps=0",
        "part.network.block_out_channels=[4,4,8]", "part.network.norm_num_groups=4",
        "part.samples.side_px=32", "part.samples.window_px=16", "world.size_px=64",
        "part.objective._target_=anydoor_lab.pretraining.vae.Autoencoding",
        "~part.objective.feature_weight", "part.fit.checkpoint_every=2",
    )  # fmt: skip
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        short, long = (
            compose("pretrain", overrides=["part=vae", *settings, f"part.fit.steps={steps}"])
            for steps in (2, 4)
        )
    card = read_card(pretrain(short))
    assert card["samples_seen"] == 4 and card["frames"]["entries"] is None
    assert not (tmp_path / "pool").exists()
    (tmp_path / "vae" / "card.json").unlink()
    assert read_card(pretrain(long))["samples_seen"] == 8
