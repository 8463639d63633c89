"""Claims about the embedded networks and about the code that trains them."""

from __future__ import annotations

import shutil
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from accelerate import Accelerator
from diffusers import AutoencoderKL, DDIMScheduler, UNet2DConditionModel
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from omegaconf import DictConfig
from transformers import (
    AutoTokenizer,
    CLIPModel,
    CLIPVisionModelWithProjection,
    Dinov2Model,
)

from anydoor_lab.config.compose import leaf
from anydoor_lab.data.things import Things
from anydoor_lab.data.world import Attributes, World
from anydoor_lab.metrics.attributes import AttributeAccuracy, AttributeReader
from anydoor_lab.models.embedded import embedded_folder
from anydoor_lab.models.idx.vgg import Vgg16
from anydoor_lab.pretrain import pretrain
from anydoor_lab.pretraining.captions import caption_tokenizer, put
from anydoor_lab.pretraining.contrast import (
    InstanceContrast,
    LookSamples,
    dinov2,
    retrieval_scores,
)
from anydoor_lab.pretraining.folders import read_card, weights_hash
from anydoor_lab.pretraining.frames import Frame, FramePool, box_crop, channels_first, framed, view
from anydoor_lab.pretraining.vae import Autoencoding, CropSamples
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.names import conf_dir
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.training.fit import FitSettings, fit, start

PARTS = ("vae", "dino", "clip", "vgg", "judge_dino", "judge_clip", "reader", "base")
SMALL = ("pool=${out}/pool", "num_scored=6")
POOLED = ("entries.train=24", "entries.held_out=24")


class HeldOut:
    """Frames of held-out identities, drawn when asked for."""

    def __init__(self) -> None:
        self.world = World(split="held_out")
        self.identities = len(self.world)

    def attributes(self, entry: int) -> Attributes:
        return self.world.attributes(entry)

    def __len__(self) -> int:
        return len(self.world)

    @lru_cache(maxsize=512)  # noqa: B019
    def frames(self, entry: int) -> tuple[Frame, Frame]:
        pair = self.world.pair(entry, rng_for(9, entry, "test"))
        return (pair.reference, pair.reference_mask), (pair.scene, pair.scene_mask)


@pytest.fixture(scope="session")
def held_out() -> HeldOut:
    return HeldOut()


def part_config(part: str, *overrides: str) -> DictConfig:
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        return compose("pretrain", overrides=[f"part={part}", *overrides])


# -- the frames


def test_a_framed_object_takes_the_asked_share_of_the_crop(held_out: HeldOut) -> None:
    image, mask = held_out.frames(0)[0]
    painted = np.where(mask[..., None], np.uint8(255), np.zeros_like(image))
    crop = framed((painted, mask), 64, 0.6, np.random.default_rng(0))
    inside = crop[..., 0] > 127
    longer = max(np.ptp(np.flatnonzero(inside.any(axis))) + 1 for axis in (0, 1))
    assert crop.shape == (64, 64, 3)
    assert longer == pytest.approx(0.6 * 64, abs=2)


def test_a_cut_out_look_has_white_around_the_object_whatever_the_light(held_out: HeldOut) -> None:
    look = view(held_out.frames(1)[0], 64, np.random.default_rng(0), 1.0, (1.3, 1.3), 0, 0.3)
    assert (look[0] == 255).all()
    assert (look[-1] == 255).all()
    assert (look != 255).any()


def test_a_look_without_room_is_the_box_crop_that_scores_take(held_out: HeldOut) -> None:
    compared = 0
    for entry in range(12):
        frame = held_out.frames(entry)[0]
        box = Box.around(frame[1])
        square = box.squared(96, 96)
        if (box.height - box.width) % 2 or square.height != square.width:
            continue  # half a pixel apart, or cut by the picture's border
        look = view(frame, 64, np.random.default_rng(0), 0.0, (1.0, 1.0))
        assert np.abs(look.astype(float) - box_crop(*frame, 64)).mean() < 1
        compared += 1
    assert compared > 1


def test_a_pool_of_frames_gives_the_two_frames_the_world_drew(tmp_path: Path) -> None:
    world = World(split="held_out", size_px=32)
    pool = FramePool(world, 4, 3, tmp_path)
    assert len(list(pool.fill())) == len(pool) == 4
    assert "held_out" in pool.path.name
    for entry in range(4):
        pair = world.pair(entry, rng_for(3, entry, "pool"))
        for (image, mask), true, true_mask in zip(
            pool.frames(entry),
            (pair.reference, pair.scene),
            (pair.reference_mask, pair.scene_mask),
            strict=True,
        ):
            assert np.array_equal(image, true)
            assert np.array_equal(mask, true_mask)


def test_a_pool_that_was_not_filled_says_so(tmp_path: Path) -> None:
    pool = FramePool(World(split="held_out", size_px=32), 4, 0, tmp_path)
    with pytest.raises(RuntimeError, match="fill"):
        pool.frames(0)


def test_more_entries_than_objects_draw_the_objects_again(tmp_path: Path) -> None:
    things = Things(split="held_out", size_px=48, variations={"multiview": 1.0})
    pool = FramePool(things, len(things) + 2, 0, tmp_path)
    for _ in pool.fill():
        pass
    again = pool.identities + 1
    assert pool.identities == len(things) and pool.attributes(again) == pool.attributes(1)
    assert not np.array_equal(pool.frames(again)[0][0], pool.frames(1)[0][0])
    looks = LookSamples(pool, seed=0, looks={"cut_out": 0.5}, side_px=16, group=2, neighbours=4)
    drawn = {looks._entry(index) for index in range(4000)}
    assert drawn & {len(things), len(things) + 1} and drawn & set(range(len(things)))


# -- captions


@pytest.mark.parametrize("caption", ["a red star", "an orange disc"])
def test_every_caption_of_the_world_is_made_of_known_words(caption: str) -> None:
    tokenizer = caption_tokenizer()
    ids = tokenizer(put(caption, "a photo of the {}"))["input_ids"]
    assert tokenizer.unk_token_id not in ids
    assert (ids[0], ids[-1]) == (tokenizer.bos_token_id, tokenizer.eos_token_id)
    assert put(caption, "a photo of the {}") == f"a photo of the {caption.split(' ', 1)[1]}"


# -- the door: each part, a few steps on tiny settings

TINY: dict[str, tuple[str, ...]] = {
    "vae": ("part.network.block_out_channels=[8,8,8]", "part.network.norm_num_groups=4"),
    "dino": ("part.network.hidden_size=24", "part.network.num_hidden_layers=1"),
    "clip": ("part.network.vision.num_hidden_layers=1", "part.network.text.num_hidden_layers=1"),
    "vgg": ("part.network.widths=[4,4,8,8,8]",),
    "reader": ("part.network.widths=[8,8,8,8]", "part.network.hidden=16"),
}
FEW = ("part.fit.steps=3", "part.fit.batch_size=8", "part.fit.warmup_steps=0")


@pytest.mark.parametrize("part", TINY)
def test_the_door_writes_a_folder_whose_card_matches_its_weights(part: str, tmp_path: Path) -> None:
    pooled = () if part == "vae" else POOLED  # it draws its pictures as it needs them
    cfg = part_config(part, f"out={tmp_path}", *SMALL, *pooled, *TINY[part], *FEW)
    folder = pretrain(cfg)
    card = read_card(folder)
    assert card["weights"] == weights_hash(folder)
    assert card["samples_seen"] == 24
    assert card["scores"]
    assert (tmp_path / f"{part}.png").is_file()
    with pytest.raises(ValueError, match="finished part"):
        pretrain(cfg)


def test_the_base_is_trained_on_parts_made_beside_it(tmp_path: Path) -> None:
    shared = (f"out={tmp_path}", *SMALL, *FEW)
    pretrain(part_config("vae", *shared, *TINY["vae"]))
    pretrain(part_config("clip", *shared, *POOLED, *TINY["clip"]))
    network = ("block_out_channels=[8,16]", "norm_num_groups=4")
    cfg = part_config("base", *shared, *POOLED, *(f"part.network.{text}" for text in network))
    folder = pretrain(cfg)
    UNet2DConditionModel.from_pretrained(folder / "unet")
    scheduler = DDIMScheduler.from_pretrained(folder / "scheduler")
    assert scheduler.config.prediction_type == "sample"
    assert len(list((tmp_path / "pool").glob("latents_*"))) == 2


def test_a_resumed_part_has_the_same_weights_as_an_unbroken_one(tmp_path: Path) -> None:
    settings = (*SMALL, *POOLED, *TINY["reader"], *FEW, "part.fit.checkpoint_every=1")
    whole = pretrain(part_config("reader", f"out={tmp_path / 'whole'}", *settings))
    out = tmp_path / "broken"
    pretrain(part_config("reader", f"out={out}", *settings))
    for path in (out / "reader").iterdir():
        path.unlink()
    (out / "reader").rmdir()
    newest = sorted((out / "reader.training").iterdir())[-1]
    for path in newest.iterdir():
        path.unlink()
    newest.rmdir()
    again = pretrain(part_config("reader", f"out={out}", *settings))
    assert weights_hash(whole) == weights_hash(again)
    other = part_config("reader", f"out={out}", *settings, "part.network.hidden=24")
    (again / "card.json").unlink()
    with pytest.raises(ValueError, match="another recipe"):
        pretrain(other)


def test_a_finished_training_is_scored_again_without_training(tmp_path: Path) -> None:
    settings = (f"out={tmp_path}", *SMALL, *POOLED, *TINY["reader"], *FEW)
    made = pretrain(part_config("reader", *settings))
    first = read_card(made)
    shutil.rmtree(made)
    again = read_card(pretrain(part_config("reader", *settings)))
    assert again["weights"] == first["weights"]
    assert again["samples_seen"] == first["samples_seen"] > 0


# -- the objectives learn, and train what they should


def steps(objective: Any, samples: Any, number: int, rate: float) -> list[float]:
    settings = FitSettings(number, 16, learning_rate=rate, ema_decay=0.9, log_every=1)
    state = start(objective, settings, Accelerator(cpu=True))
    return [progress.metrics["loss"] for progress in fit(state, samples, settings)]


def test_instance_contrast_learns_to_find_the_other_look(held_out: HeldOut) -> None:
    torch.manual_seed(0)
    cfg = part_config("dino", "out=.", "+part.samples.group=1", "part.network.hidden_size=48")
    objective = InstanceContrast(leaf(cfg.part.network)())
    before = objective.network.embeddings.mask_token.clone()
    losses = steps(objective, leaf(cfg.part.samples)(held_out), 25, 2e-3)
    assert np.mean(losses[-5:]) < 0.85 * np.mean(losses[:5])
    assert torch.equal(before, objective.network.embeddings.mask_token)


def test_autoencoding_lowers_its_loss(held_out: HeldOut) -> None:
    torch.manual_seed(0)
    cfg = part_config("vae", "out=.", *TINY["vae"])
    objective = Autoencoding(leaf(cfg.part.network)())
    losses = steps(objective, CropSamples(held_out, seed=0, side_px=32), 15, 4e-3)
    assert losses[-1] < 0.8 * losses[0]


def test_samples_depend_on_the_index_alone(held_out: HeldOut) -> None:
    first, again = (CropSamples(held_out, seed=4)[7]["image"] for _ in range(2))
    assert np.array_equal(first, again)
    assert not np.array_equal(first, CropSamples(held_out, seed=5)[7]["image"])


def test_retrieval_is_perfect_for_embeddings_that_know_the_identity() -> None:
    flat = [np.full((16, 16, 3), 20 * number, np.uint8) for number in range(6)]
    mask = np.zeros((16, 16), np.bool_)
    mask[4:12, 4:12] = True

    class Flat:
        identities = 6

        def __len__(self) -> int:
            return 6

        def frames(self, entry: int) -> tuple[Frame, Frame]:
            return (flat[entry], mask), (flat[entry], mask)

    def grey(images: torch.Tensor) -> torch.Tensor:
        level = images.mean(dim=(1, 2, 3))
        return torch.stack([level.cos(), level.sin()], dim=1)

    scores = retrieval_scores(grey, Flat(), 6, 8, "plain")
    assert scores["retrieval"] == 1.0
    blind = retrieval_scores(lambda images: torch.ones(len(images), 2), Flat(), 6, 8, "plain")
    assert blind["retrieval"] == pytest.approx(1 / 6)


# -- the embedded weights


@pytest.mark.parametrize("part", PARTS)
def test_an_embedded_card_matches_its_weights_and_the_shipped_recipe(part: str) -> None:
    folder = embedded_folder(part)
    card = read_card(folder)
    assert card["weights"] == weights_hash(folder)
    cfg = part_config(part, "out=.")
    network = type(leaf(cfg.part.network)()).from_pretrained(_weights(folder).parent)
    shipped = leaf(cfg.part.network)().state_dict()
    assert {name: tensor.shape for name, tensor in network.state_dict().items()} == {
        name: tensor.shape for name, tensor in shipped.items()
    }


def _weights(folder: Path) -> Path:
    (path,) = folder.rglob("*.safetensors")
    return path


def test_embedded_weights_load_with_the_libraries_own_classes() -> None:
    loaders = {
        "vae": AutoencoderKL,
        "dino": Dinov2Model,
        "judge_dino": Dinov2Model,
        "clip": CLIPModel,
        "judge_clip": CLIPVisionModelWithProjection,
        "vgg": Vgg16,
        "reader": AttributeReader,
    }
    for part, kind in loaders.items():
        whole = part != "judge_clip"  # a single tower comes in the precision of its weights
        network = kind.from_pretrained(
            embedded_folder(part), **({} if whole else {"dtype": torch.float})
        )
        assert {tensor.dtype for tensor in network.parameters()} == {torch.float32}
        assert all(torch.isfinite(tensor).all() for tensor in network.parameters())
    tokens = AutoTokenizer.from_pretrained(embedded_folder("clip"))("a red star")["input_ids"]
    assert tokens == caption_tokenizer()("a red star")["input_ids"]


def test_the_embedded_base_predicts_v_better_than_nothing(held_out: HeldOut) -> None:
    folder = embedded_folder("base")
    assert read_card(folder)["scores"]["held_out_loss"] < 0.5
    unet = UNet2DConditionModel.from_pretrained(folder / "unet")
    assert unet.config.cross_attention_dim == 96
    assert DDIMScheduler.from_pretrained(folder / "scheduler").config.set_alpha_to_one


def test_the_embedded_autoencoder_restores_held_out_crops(held_out: HeldOut) -> None:
    vae = AutoencoderKL.from_pretrained(embedded_folder("vae"))
    trained = Autoencoding.__new__(Autoencoding)
    torch.nn.Module.__init__(trained)
    trained.network = vae
    scores = trained.scores(CropSamples(held_out, seed=21), 32)
    assert scores["psnr_db"] > 23
    assert scores["latent_std"] * vae.config.scaling_factor == pytest.approx(1, abs=0.15)


def test_the_embedded_reader_reads_second_views(held_out: HeldOut) -> None:
    metric = AttributeAccuracy(AttributeReader.from_pretrained(embedded_folder("reader")))
    entries = range(64)
    crops = [channels_first(box_crop(*held_out.frames(entry)[1], 64), "plain") for entry in entries]
    true = [held_out.world.attributes(entry) for entry in entries]
    metric.update(torch.from_numpy(np.stack(crops)), true)
    shares = metric.compute()
    assert shares["all"] > 0.8
    metric.reset()
    metric.update(torch.from_numpy(np.stack(crops)), true[1:] + true[:1])
    assert metric.compute()["all"] < 0.5


@pytest.mark.parametrize(("part", "floor"), [("dino", 0.5), ("judge_dino", 0.5)])
def test_an_embedded_encoder_finds_the_other_frame(
    part: str, floor: float, held_out: HeldOut
) -> None:
    network = Dinov2Model.from_pretrained(embedded_folder(part))

    def embed(images: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(network(images).last_hidden_state[:, 0], dim=-1)

    scores = retrieval_scores(embed, held_out, 100, 64, "imagenet")
    assert scores["retrieval"] > floor


def test_a_missing_part_is_named_with_the_command_that_makes_it() -> None:
    with pytest.raises(ValueError, match="'nothing'.*anydoor_lab.pretrain"):
        embedded_folder("nothing")


def test_dinov2_settings_reach_the_config() -> None:
    network = dinov2(
        image_size=32, patch_size=8, hidden_size=24, num_hidden_layers=1, num_attention_heads=2
    )
    assert network.config.image_size == 32
