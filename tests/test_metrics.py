from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor
from transformers import (
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTModel,
)

from anydoor_lab.metrics.background import (
    PSNR_CAP_DB,
    BackgroundPsnr,
    BackgroundSsim,
    background_mask,
    background_psnr,
    background_ssim,
)
from anydoor_lab.metrics.clip_score import ClipScore, clip_judge
from anydoor_lab.metrics.dino_score import DinoScore, dino_judge
from anydoor_lab.metrics.diversity import Diversity, PixelDiversity
from anydoor_lab.metrics.interval import bootstrap_interval, student_interval
from anydoor_lab.metrics.judge import Preprocess
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.models.idx.tokens import IMAGENET_MEAN, IMAGENET_STD
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair

SIZES: dict[str, Any] = {
    "hidden_size": 16,
    "intermediate_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "image_size": 32,
    "patch_size": 8,
    # large enough for random networks to tell pictures apart
    "initializer_range": 0.5,
}
PLAIN = Preprocess(8, 8, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 50}
    config = CLIPConfig(
        vision_config={**SIZES, "projection_dim": 12}, text_config=text, projection_dim=12
    )
    CLIPModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def dino_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dino")
    torch.manual_seed(1)
    ViTModel(ViTConfig(**SIZES)).save_pretrained(folder)
    return folder


def picture(seed: int, height: int = 40, width: int = 50) -> np.ndarray:
    """A smooth random picture."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (4, 5, 3), np.uint8)
    return np.kron(coarse, np.ones((height // 4, width // 5, 1), np.uint8))


def colours(images: Tensor) -> Tensor:
    """A judge small enough to compute by hand: the mean of each channel."""
    return images.mean(dim=(2, 3))


def by_hand(one: np.ndarray, other: np.ndarray) -> float:
    first, second = (
        np.asarray(PLAIN(image), np.float64).mean(axis=(1, 2)) for image in (one, other)
    )
    return float(100 * first @ second / np.linalg.norm(first) / np.linalg.norm(second))


def test_identical_pictures_score_one_hundred_with_real_networks(
    clip_folder: Path, dino_folder: Path
) -> None:
    pictures = [picture(seed) for seed in range(3)]
    clip, dino = ClipScore(*clip_judge(str(clip_folder))), DinoScore(*dino_judge(str(dino_folder)))
    for metric in (clip, dino):
        metric.update(pictures, pictures)
        assert float(metric.compute()) == pytest.approx(100, abs=1e-4)


def test_another_object_scores_lower_than_a_slightly_changed_one(
    clip_folder: Path, dino_folder: Path
) -> None:
    same, close, other = picture(0), picture(0).copy(), picture(9)
    close[:4] = 128
    clip, dino = ClipScore(*clip_judge(str(clip_folder))), DinoScore(*dino_judge(str(dino_folder)))
    for metric in (clip, dino):
        near, far = metric.scores([close, other], [same, same]).tolist()
        assert far < near < 100


def test_score_equals_cosines_computed_by_hand() -> None:
    made, real = [picture(seed) for seed in range(4)], [picture(seed + 10) for seed in range(4)]
    metric = SimilarityScore(colours, PLAIN)
    metric.update(made, real)
    expected = [by_hand(one, other) for one, other in zip(made, real, strict=True)]
    assert float(metric.compute()) == pytest.approx(np.mean(expected), abs=1e-4)
    interval = metric.interval()
    assert interval.n == 4
    assert interval.high == pytest.approx(student_interval(np.array(expected)).high, abs=1e-3)


def test_score_does_not_depend_on_the_batch_size(dino_folder: Path) -> None:
    judge = dino_judge(str(dino_folder))
    made, real = [picture(seed) for seed in range(6)], [picture(seed + 10) for seed in range(6)]
    whole, parts = DinoScore(*judge), DinoScore(*judge)
    whole.update(made, real)
    for start, stop in ((0, 1), (1, 4), (4, 6)):
        parts.update(made[start:stop], real[start:stop])
    assert float(whole.compute()) == pytest.approx(float(parts.compute()), abs=1e-4)


def test_two_processes_states_merge_into_the_score_of_one() -> None:
    one, other, both = (SimilarityScore(colours, PLAIN) for _ in range(3))
    made, real = [picture(seed) for seed in range(5)], [picture(seed + 10) for seed in range(5)]
    one.update(made[:2], real[:2])
    other.update(made[2:], real[2:])
    both.update(made, real)
    one.merge_state(other)
    assert float(one.compute()) == pytest.approx(float(both.compute()), abs=1e-9)
    assert one.interval().n == 5
    assert one.interval().low == pytest.approx(both.interval().low, abs=1e-9)


def test_all_references_are_averaged_and_single_refuses_several() -> None:
    photos = [picture(1), picture(2), picture(3)]
    metric = SimilarityScore(colours, PLAIN, ScoreProtocol(reference="all"))
    metric.update([picture(0)], [photos])
    expected = np.mean([by_hand(picture(0), photo) for photo in photos])
    assert float(metric.compute()) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(ValueError, match="reference='all'"):
        SimilarityScore(colours, PLAIN).update([picture(0)], [photos])


def test_a_score_of_nothing_and_a_score_of_nan_are_refused() -> None:
    with pytest.warns(UserWarning), pytest.raises(RuntimeError, match="call update first"):
        SimilarityScore(colours, PLAIN).compute()
    broken = SimilarityScore(lambda images: colours(images) * math.nan, PLAIN)
    with pytest.raises(RuntimeError, match="not finite"):
        broken.update([picture(0)], [picture(0)])
    with pytest.raises(ValueError, match="as many references"):
        broken.update([picture(0)], [])


def test_clip_judge_is_the_image_half_of_the_whole_model(clip_folder: Path) -> None:
    judge, preprocess = clip_judge(str(clip_folder))
    images = preprocess.batch([picture(0), picture(1, 80, 40)])
    whole = CLIPModel.from_pretrained(clip_folder).get_image_features(pixel_values=images)
    torch.testing.assert_close(judge(images), whole.pooler_output.detach())


@pytest.mark.parametrize("size", [(40, 50), (200, 75), (16, 20)])
def test_preprocess_equals_the_processor_of_transformers(size: tuple[int, int]) -> None:
    processor = CLIPImageProcessorPil(
        size={"shortest_edge": 37}, crop_size=32, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD
    )
    image = picture(3, *size)
    theirs = processor(image, return_tensors="pt")["pixel_values"][0]
    ours = Preprocess(37, 32, IMAGENET_MEAN, IMAGENET_STD)(image)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)


def test_dino_judge_answers_with_the_class_token(dino_folder: Path) -> None:
    judge, preprocess = dino_judge(str(dino_folder))
    assert (preprocess.resize_px, preprocess.size_px) == (37, 32)  # 256 : 224
    images = preprocess.batch([picture(0), picture(1)])
    tokens = ViTModel.from_pretrained(dino_folder)(pixel_values=images).last_hidden_state
    torch.testing.assert_close(judge(images), tokens[:, 0].detach())


def test_dino_judge_accepts_a_small_dinov2_without_a_margin(tmp_path: Path) -> None:
    model = Dinov2Model(Dinov2Config(**{**SIZES, "image_size": 24}))
    model.save_pretrained(tmp_path)
    judge, preprocess = dino_judge(str(tmp_path))
    assert (preprocess.resize_px, preprocess.size_px) == (24, 24)
    images = preprocess.batch([picture(0)])
    torch.testing.assert_close(judge(images), model.eval()(images).last_hidden_state[:, 0].detach())
    assert dino_judge(str(tmp_path), margin=1.5)[1].resize_px == 36


def test_judges_refuse_checkpoints_that_do_not_hold_them(
    clip_folder: Path, dino_folder: Path
) -> None:
    with pytest.raises(ValueError, match="'clip' network"):
        dino_judge(str(clip_folder))
    with pytest.raises(RuntimeError, match="random weights"):
        clip_judge(str(dino_folder))


def test_judges_run_in_fp32_even_from_a_half_precision_checkpoint(
    dino_folder: Path, tmp_path: Path
) -> None:
    ViTModel.from_pretrained(dino_folder).half().save_pretrained(tmp_path)
    assert dino_judge(str(tmp_path))[0].network.dtype == torch.float32


def test_region_cuts_the_box_and_blackens_outside_the_mask() -> None:
    image, box = picture(0), Box(5, 15, 10, 60)
    mask = np.zeros((40, 50), bool)
    mask[6:9, 12:20] = True
    plain = ScoreProtocol().region(image, box)
    np.testing.assert_array_equal(plain, image[5:15, 10:50])
    masked = ScoreProtocol(crop="box+mask").region(image, box, mask)
    np.testing.assert_array_equal(masked[1:4, 2:10], image[6:9, 12:20])
    assert not masked[~mask[5:15, 10:50]].any()
    with pytest.raises(ValueError, match="give the object's mask"):
        ScoreProtocol(crop="box+mask").region(image, box)


def test_protocol_prints_all_that_a_number_depends_on() -> None:
    text = str(ScoreProtocol(crop="box+mask", reference="all", dino="weights/tiny_judge/"))
    assert text == "crop=box+mask, reference=all, clip=clip-vit-base-patch32, dino=tiny_judge"
    with pytest.raises(ValueError, match="expected one of box, box\\+mask"):
        ScoreProtocol(crop="circle")  # type: ignore[arg-type]


def test_background_equals_skimage_where_everything_is_compared() -> None:
    rng = np.random.default_rng(0)
    scene = picture(0)
    result = np.clip(scene + rng.normal(0, 9, scene.shape), 0, 255).astype(np.uint8)
    everywhere = np.ones(scene.shape[:2], bool)
    assert background_psnr(result, scene, everywhere) == pytest.approx(
        peak_signal_noise_ratio(scene, result), abs=1e-9
    )
    assert background_ssim(result, scene, everywhere) == pytest.approx(
        structural_similarity(scene, result, channel_axis=2), abs=1e-9
    )


def test_background_does_not_see_the_edited_region_nor_outside_the_crop() -> None:
    scene = picture(0)
    edited = Box(15, 25, 20, 30).mask(40, 50)
    background = background_mask(Box(3, 37, 3, 47), edited)
    result = scene.copy()
    result[edited], result[:3] = 255 - result[edited], 0
    psnr, ssim = BackgroundPsnr(), BackgroundSsim()
    psnr.update(result, scene, background)
    ssim.update(result, scene, background)
    assert float(psnr.compute()) == PSNR_CAP_DB
    assert float(ssim.compute()) == pytest.approx(1)
    result[10, 10] = 255 - result[10, 10]
    assert background_psnr(result, scene, background) < 50
    assert background_ssim(result, scene, background) < 0.999


def test_no_background_is_counted_as_an_unusable_pair() -> None:
    scene, thin = picture(0), Box(0, 3, 0, 50).mask(40, 50)
    with pytest.raises(UnusablePair, match="fills the whole crop"):
        background_psnr(scene, scene, np.zeros((40, 50), bool))
    with pytest.raises(UnusablePair, match="no 7 px window"):
        background_ssim(scene, scene, thin)
    with pytest.raises(ValueError, match="expected one size"):
        background_psnr(scene, scene[:-1], thin)


def test_equal_seeds_have_no_diversity_and_different_ones_have_it_by_hand() -> None:
    same, several = [picture(0)] * 3, [picture(0), picture(1), picture(2)]
    metric, pixels = Diversity(colours, PLAIN), PixelDiversity()
    metric.update(same)
    pixels.update(same)
    assert 0 <= float(metric.compute()) < 1e-6
    assert float(pixels.compute()) == 0
    metric.update(several)
    pixels.update(several)
    distances = [100 - by_hand(several[i], several[j]) for i, j in ((0, 1), (0, 2), (1, 2))]
    assert float(metric.compute()) == pytest.approx(np.mean(distances) / 2, abs=1e-4)
    steps = [
        np.abs(several[i] / 255 - several[j] / 255).mean() for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert float(pixels.compute()) == pytest.approx(100 * np.mean(steps) / 2)
    with pytest.raises(ValueError, match="two or more seeds"):
        metric.update(several[:1])


def test_interval_of_three_seeds_is_the_textbook_one() -> None:
    interval = student_interval(np.array([1.0, 2.0, 3.0]))
    assert interval.mean == 2
    assert interval.high - interval.mean == pytest.approx(4.302653 / math.sqrt(3), abs=1e-5)
    assert str(interval) == "2.0 [-0.5, 4.5] (n = 3)"
    assert "no interval" in str(student_interval(np.array([5.0])))
    with pytest.raises(ValueError, match="at least one value"):
        student_interval(np.array([]))


def test_bootstrap_agrees_with_student_on_many_values_and_widens_for_groups() -> None:
    rng = np.random.default_rng(0)
    identity = np.repeat(np.arange(20), 20)
    values = 60 + rng.normal(0, 8, 20)[identity] + rng.normal(0, 2, 400)
    single = bootstrap_interval(values, np.random.default_rng(1))
    grouped = bootstrap_interval(values, np.random.default_rng(1), groups=identity)
    assert single.low == pytest.approx(student_interval(values).low, abs=0.15)
    assert grouped.high - grouped.low > 2 * (single.high - single.low)
    assert single.n == grouped.n == 400
