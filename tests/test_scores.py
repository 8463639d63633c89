"""Scores: equal to a direct computation under every protocol, and to that of two processes."""

from __future__ import annotations

import itertools
import json
import multiprocessing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
from transformers import CLIPImageProcessorPil, CLIPModel, Dinov2Model, ViTConfig, ViTModel

from anydoor_lab.conditioning.copy_paste import emptied, paste_copy
from anydoor_lab.data.world import World
from anydoor_lab.evaluation.anchors import anchor_scenes
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.pairs import held_out_pairs
from anydoor_lab.evaluation.score import evaluate, score_scenes
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.copy_paste import CopyPaste
from anydoor_lab.metrics.clip_score import clip_score
from anydoor_lab.metrics.copy_paste_index import CopyPasteIndex
from anydoor_lab.metrics.dino_score import dino_score
from anydoor_lab.metrics.judge import Preprocess
from anydoor_lab.metrics.lab_difference import LabDifference
from anydoor_lab.metrics.placement import PlacementScore
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.retrieval import Gallery, RetrievalScore, retrieval_score
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.metrics.unchanged import Unchanged
from anydoor_lab.models.embedded import locate
from anydoor_lab.models.idx.tokens import CLIP_MEAN, CLIP_STD, IMAGENET_MEAN, IMAGENET_STD
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair

SETTINGS = EvalSettings(num_pairs=6, num_diverse=0, num_shown=2, batch_size=2)


def some_pairs(size_px: int = 64) -> list[Pair]:
    return held_out_pairs(World(size_px=size_px, split="held_out"), SETTINGS)


# --- a direct computation ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def judges_at(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Small networks saved to disk: the embedded CLIP, and a ViT as DINO ViT-S/16 is one."""
    folder = tmp_path_factory.mktemp("judges")
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
                             "num_attention_heads": 2, "image_size": 32, "patch_size": 8,
                             "initializer_range": 0.3}  # fmt: skip
    ViTModel(ViTConfig(**sizes)).save_pretrained(folder / "vit")
    return {"clip": Path(locate("embedded:judge_clip")), "vit": folder / "vit",
            "dinov2": Path(locate("embedded:judge_dino"))}  # fmt: skip


def directly(kind: str, folder: Path, picture: np.ndarray) -> np.ndarray:
    """One picture's embedding in float64, by transformers' own classes and processor."""
    model: Any = {"clip": CLIPModel, "vit": ViTModel, "dinov2": Dinov2Model}[kind]
    network = model.from_pretrained(folder).double().eval()
    vision = network.config.vision_config if kind == "clip" else network.config
    size = vision.image_size
    mean, std = (CLIP_MEAN, CLIP_STD) if kind == "clip" else (IMAGENET_MEAN, IMAGENET_STD)
    shorter = round(size * 256 / 224) if kind == "vit" else size
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": shorter}, crop_size=size, image_mean=mean, image_std=std
    )
    pixels = processor(picture, return_tensors="pt")["pixel_values"].double()
    with torch.no_grad():
        if kind == "clip":
            return network.get_image_features(pixel_values=pixels).pooler_output[0].numpy()
        return network(pixel_values=pixels).last_hidden_state[0, 0].numpy()


def cut_out(image: np.ndarray, mask: np.ndarray, background: int) -> np.ndarray:
    """The mask's box on a plain background, padded to a square."""
    ys, xs = np.nonzero(mask)
    window = slice(ys.min(), ys.max() + 1), slice(xs.min(), xs.max() + 1)
    plain = np.where(mask[..., None], image, np.uint8(background))[window]
    side = max(plain.shape[:2])
    square = np.full((side, side, 3), background, np.uint8)
    top, left = (side - plain.shape[0]) // 2, (side - plain.shape[1]) // 2
    square[top : top + plain.shape[0], left : left + plain.shape[1]] = plain
    return square


def region(scene: np.ndarray, mask: np.ndarray, masked: bool) -> np.ndarray:
    """The square about the true object's box; black outside the mask where asked."""
    height, width = mask.shape
    box = Box.around(mask)
    side = max(box.height, box.width)
    top, left = box.y1 - (side - box.height) // 2, box.x1 - (side - box.width) // 2
    shown = np.where(mask[..., None], scene, np.uint8(0)) if masked else scene
    return shown[max(top, 0) : min(top + side, height), max(left, 0) : min(left + side, width)]


@pytest.mark.parametrize("kind", ["clip", "vit", "dinov2"])
@pytest.mark.parametrize(("crop", "reference"),
                         itertools.product(["box", "box+mask"], ["single", "all"]))  # fmt: skip
def test_scores_agree_with_a_direct_float64_computation(
    crop: Any, reference: Any, kind: str, judges_at: dict[str, Path]
) -> None:
    pairs = some_pairs()[:3]
    assert {pair.variation for pair in pairs} != {"still"}
    scenes = [paste_copy(emptied(pair), pair) for pair in pairs]
    protocol = ScoreProtocol(crop=crop, reference=reference)
    factory = clip_score if kind == "clip" else dino_score
    metric = factory(str(judges_at[kind]), protocol)
    row = score_scenes(scenes, pairs, Judges({"score": metric}, protocol), batch_size=2)

    background, masked = (0, True) if crop == "box+mask" else (255, False)
    expected = []
    for scene, pair in zip(scenes, pairs, strict=True):
        photos = [cut_out(pair.reference, pair.reference_mask, background)]
        if reference == "all":
            photos.append(cut_out(pair.scene, pair.scene_mask, background))
        made = directly(kind, judges_at[kind], region(scene, pair.scene_mask, masked))
        real = [directly(kind, judges_at[kind], photo) for photo in photos]
        norm = np.linalg.norm
        expected.append(100 * np.mean([made @ r / norm(made) / norm(r) for r in real]))
    assert row["score"] == pytest.approx(np.mean(expected), abs=1e-4)
    assert row["score_each"] == pytest.approx(expected, abs=1e-3)


# --- two processes ----------------------------------------------------------------------------


def all_metrics() -> dict[str, Any]:
    judge = locate("embedded:judge_dino")
    return {"dino": dino_score(judge), "retrieval": retrieval_score("dino", judge),
            "lab_difference": LabDifference(), "unchanged": Unchanged(),
            "placement": PlacementScore(), "copy_paste_index": CopyPasteIndex()}  # fmt: skip


def shares_of(rank: int, size: int) -> dict[str, Any]:
    """Each metric's `compute` after `update` with a process's share, and the whole row."""
    torch.set_num_threads(1)
    pairs = some_pairs(48)
    own = pairs[rank::size]
    made = [paste_copy(emptied(pair), pair) for pair in own]
    photos = [cut_out(pair.reference, pair.reference_mask, 255) for pair in pairs]
    gallery = Gallery(photos, [pair.origin for pair in pairs])
    shown = zip(made, own, strict=True)
    generated = [region(scene, pair.scene_mask, False) for scene, pair in shown]
    scenes, masks = [pair.scene for pair in own], [pair.scene_mask for pair in own]
    metrics = all_metrics()
    metrics["dino"].update(generated, photos[rank::size])
    metrics["retrieval"].update(generated, gallery, [pair.origin for pair in own])
    metrics["lab_difference"].update(made, scenes, masks)
    metrics["unchanged"].update(made, scenes, [Box.around(mask) for mask in masks])
    metrics["placement"].update(made, scenes, masks)
    metrics["copy_paste_index"].update([s[::-1, ::-1].copy() for s in made], scenes, made, masks)
    values = {name: metric.compute() for name, metric in metrics.items()}
    plain = {name: {k: float(v) for k, v in value.items()} if isinstance(value, dict)
             else float(value) for name, value in values.items()}  # fmt: skip
    judges = Judges(all_metrics(), ScoreProtocol())
    row, results = evaluate(CopyPaste(), pairs, judges, SETTINGS)
    return {"values": plain, "row": row, "shown": len(results)}


def one_of_two(rank: int, folder: Path) -> None:
    """A process of two: says what it got."""
    dist.init_process_group("gloo", f"file://{folder / 'meet'}", rank=rank, world_size=2)
    (folder / f"{rank}.json").write_text(json.dumps(shares_of(rank, 2)))
    dist.destroy_process_group()


def test_two_gloo_processes_give_the_one_process_value(tmp_path: Path) -> None:
    server = multiprocessing.get_context("forkserver")
    both = [server.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in both:
        process.start()
    alone = json.loads(json.dumps(shares_of(0, 1)))
    for process in both:
        process.join(240)
    assert [process.exitcode for process in both] == [0, 0]
    for rank in (0, 1):
        found = json.loads((tmp_path / f"{rank}.json").read_text())
        assert found["shown"] == 2
        for name, value in alone["values"].items():
            assert found["values"][name] == pytest.approx(value, abs=1e-4), name
        assert found["row"].keys() == alone["row"].keys()
        for key, value in alone["row"].items():
            assert found["row"][key] == pytest.approx(value, abs=1e-3, nan_ok=True), key


# --- each metric against what it must say ------------------------------------------------------


def test_the_anchors_stand_where_the_metrics_say() -> None:
    pairs = some_pairs(96)
    judges = Judges(all_metrics(), ScoreProtocol())
    rows = {name: score_scenes(scenes, pairs, judges)
            for name, scenes in anchor_scenes(pairs).items()}  # fmt: skip
    true, copied, other, empty = (
        rows[name] for name in ("true second view", "copy-paste", "another object", "empty")
    )
    assert true["lab_difference"] == 0 < copied["lab_difference"] < other["lab_difference"]
    assert true["copy_paste_index"] == 0 and copied["copy_paste_index"] == 100
    assert 30 < other["copy_paste_index"] < 70 and 30 < empty["copy_paste_index"] < 70
    assert true["placement"] > 75 and copied["placement"] > 50 and empty["placement"] < 5
    assert all(row["unchanged"] == 100 for row in rows.values())
    assert true["retrieval_mean_precision"] > other["retrieval_mean_precision"] + 20
    assert copied["retrieval_recall_1"] >= other["retrieval_recall_1"]


def test_one_changed_bit_outside_the_crop_is_seen_and_none_inside_counts() -> None:
    scene = np.random.default_rng(0).integers(0, 256, (20, 30, 3), np.uint8)
    inside, outside = scene.copy(), scene.copy()
    inside[5:10, 5:10] = 0
    outside[10, 5, 2] ^= 1
    crop = Box(5, 10, 5, 10)
    assert Unchanged().scores([inside, outside], [scene] * 2, [crop] * 2).tolist() == [100, 0]
    with pytest.raises(ValueError, match="paste the result back"):
        Unchanged().scores([inside[:10]], [scene], [crop])


def disc(centre: tuple[int, int]) -> tuple[np.ndarray, np.ndarray]:
    """A red disc on noisy green, and its mask."""
    ys, xs = np.mgrid[:80, :80]
    mask = (ys - centre[0]) ** 2 + (xs - centre[1]) ** 2 < 15**2
    noise = np.random.default_rng(1).integers(-10, 11, (80, 80, 3))
    scene = np.where(mask[..., None], (200, 40, 40), (60, 160, 70)) + noise
    return scene.astype(np.uint8), mask


def test_placement_is_high_where_the_object_fills_the_shape_and_falls_as_it_moves_away() -> None:
    scene, mask = disc((40, 40))
    moved = [disc((40, 40 + by))[0] for by in (0, 4, 10, 20)]
    plain = np.full_like(scene, 0) + np.array([60, 160, 70], np.uint8)
    shown = [*moved, plain]
    values = PlacementScore().scores(shown, [scene] * 5, [mask] * 5).tolist()
    assert values[:4] == sorted(values[:4], reverse=True)
    assert values[0] > 90 and 40 < values[2] < 70 and values[3] < 40 and values[4] < 5
    again = PlacementScore().scores(shown, [scene] * 5, [mask] * 5).tolist()
    assert again == values, "not the same twice"


def test_retrieval_gives_each_query_its_rank_among_all_references() -> None:
    colours = [(250, 20, 20), (20, 250, 20), (20, 20, 250)]
    regions = [np.full((16, 16, 3), colour, np.uint8) for colour in colours]

    def mean_colour(images: torch.Tensor) -> torch.Tensor:
        return images.mean(dim=(2, 3))

    metric = RetrievalScore(mean_colour, Preprocess(8, 8, (0.5,) * 3, (0.5,) * 3))
    gallery = Gallery(regions, ["red", "green", "blue"])
    orange = np.full((16, 16, 3), (250, 90, 20), np.uint8)
    found = metric.scores([regions[1], orange, orange], gallery, ["green", "red", "blue"])
    assert found["recall_1"].tolist() == [100, 100, 0]
    assert found["mean_precision"].tolist() == pytest.approx([100, 100, 100 / 3])
    metric.update([regions[1], orange, orange], gallery, ["green", "red", "blue"])
    assert float(metric.compute()["recall_1"]) == pytest.approx(200 / 3)
    with pytest.raises(ValueError, match="the gallery has no entry of pink"):
        metric.scores([orange], gallery, ["pink"])


# --- bad input --------------------------------------------------------------------------------


def test_no_pairs_no_references_and_nan_features_are_a_sentence_each() -> None:
    judges = Judges({"lab": LabDifference()}, ScoreProtocol())
    with pytest.raises(ValueError, match="there is no pair to score"):
        score_scenes([], [], judges)
    dino = dino_score(locate("embedded:judge_dino"))
    picture = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(ValueError, match="has no reference; give at least one"):
        dino.scores([picture], [[]])
    broken = SimilarityScore(lambda images: dino.judge(images) * torch.nan, dino.preprocess)
    pairs = some_pairs(48)
    with pytest.raises(RuntimeError, match="embeddings of 2 of 2 pictures are not finite"):
        score_scenes(scenes_of(pairs), pairs, Judges({"d": broken}, ScoreProtocol()), batch_size=2)


def scenes_of(pairs: list[Pair]) -> Iterator[np.ndarray]:
    return (pair.scene for pair in pairs)
