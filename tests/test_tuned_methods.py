"""DreamBooth and Custom Diffusion on a tiny random Stable Diffusion."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import small_pipelines as small
from anydoor_lab.evaluation.generate import generate_results
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.tuned import CustomDiffusion, DreamBooth, Tuned
from anydoor_lab.methods.tuning import Tuning
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

SMALL: dict[str, Any] = {"resolution": 32, "num_inference_steps": 2}
RATES: dict[type[Tuned], float] = {DreamBooth: 2e-3, CustomDiffusion: 3e-2}
both = pytest.mark.parametrize("kind", RATES)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.stable_diffusion(tmp_path_factory.mktemp("plain"), in_channels=4)


@pytest.fixture(scope="module")
def pair() -> Pair:
    reference = np.full((60, 50, 3), (200, 40, 60), np.uint8)
    scene = rng_for(0, 0, "scene").integers(0, 256, (96, 80, 3), np.uint8)
    mask = Box(10, 50, 10, 40).mask(60, 50)
    return Pair(reference, mask, scene, Box(30, 60, 24, 50).mask(96, 80), origin="cup/0.png")


def make(kind: type[Tuned], source: Path, **others: Any) -> Any:
    return kind(**{"source": source, "steps": 3, "learning_rate": RATES[kind]} | SMALL | others)


def placed(method: Tuned, pair: Pair, seed: int = 0) -> np.ndarray:
    return method([pair], [[seed]], [rng_for(0, 0, "")])[0].scene


def mean_loss(method: Tuned) -> float:
    """Of draws that tuning does not see."""
    tuning = Tuning(
        method.pipeline, method.subjects, method.settings, method.resolution, method.kind
    )
    with torch.no_grad():
        return float(np.mean([float(tuning.loss(step)) for step in range(1000, 1012)]))


@both
def test_tuning_makes_the_loss_on_the_subject_smaller(
    kind: type[Tuned], source: Path, pair: Pair
) -> None:
    untuned = make(kind, source, steps=1, learning_rate=0.0)
    tuned = make(kind, source, steps=30)
    for method in (untuned, tuned):
        placed(method, pair)
    assert len(tuned.losses) == 30
    assert mean_loss(tuned) < 0.97 * mean_loss(untuned)


@both
def test_a_result_follows_from_reference_and_seeds_whatever_was_tuned_before(
    kind: type[Tuned], source: Path, pair: Pair
) -> None:
    other = replace(pair, reference=255 - pair.reference)
    method = make(kind, source)
    first = placed(method, pair)
    elsewhere = placed(method, other)
    assert not np.array_equal(first, elsewhere)
    assert np.array_equal(first, placed(method, pair))
    assert not np.array_equal(first, placed(method, pair, 1))
    assert np.array_equal(elsewhere, placed(make(kind, source), other))
    assert not np.array_equal(first, placed(make(kind, source, seed=1), pair))


def test_custom_diffusion_changes_keys_values_and_its_word_alone(source: Path, pair: Pair) -> None:
    method = make(CustomDiffusion, source)
    known = dict(method.pipeline.unet.named_parameters())
    before = {name: p.detach().clone() for name, p in known.items()}
    words = method.pipeline.text_encoder.get_input_embeddings().weight.detach().clone()
    placed(method, pair)
    changed = {name for name, p in known.items() if not torch.equal(p, before[name])}
    assert changed == {n for n in known if n.endswith(("attn2.to_k.weight", "attn2.to_v.weight"))}
    after = method.pipeline.text_encoder.get_input_embeddings().weight
    assert len(after) == len(words) + 1 and torch.equal(after[:-1], words)
    like = method.pipeline.tokenizer("object", add_special_tokens=False).input_ids
    assert not torch.equal(after[-1], words[like].mean(dim=0))


def write_photos(folder: Path, colour: tuple[int, int, int], number: int = 2) -> None:
    folder.mkdir(parents=True)
    for k in range(number):
        Image.new("RGB", (40 + k, 30), colour).save(folder / f"{k}.png")


@both
def test_several_subjects_are_tuned_at_once_and_imagined_together(
    kind: type[Tuned], source: Path, pair: Pair, tmp_path: Path
) -> None:
    write_photos(tmp_path / "cup", (200, 30, 30))
    write_photos(tmp_path / "dog", (30, 30, 200))
    method = make(kind, source, photos=tmp_path)
    scenes = [placed(method, replace(pair, origin=f"{name}/0.png")) for name in ("cup", "dog")]
    assert not np.array_equal(*scenes)
    assert [subject.name for subject in method.subjects] == ["cup", "dog"]
    assert len({subject.word for subject in method.subjects}) == 2
    picture = method.imagined("{0} beside {1} on a table", seed=3)
    again = method.imagined("{0} beside {1} on a table", seed=3)
    assert picture.size == (32, 32) and picture.tobytes() == again.tobytes()
    with pytest.raises(ValueError, match=r"'tree/1.png' lies in none .*\(cup, dog\)"):
        placed(method, replace(pair, origin="tree/1.png"))


def of_subjects(pair: Pair, names: Sequence[str], scenes: int) -> list[Pair]:
    """Each subject in each scene, subjects fastest, as the benchmark's pairs come."""
    return [
        replace(
            pair,
            reference=np.full((60, 50, 3), (40 * number, 90, 60), np.uint8),
            scene=np.roll(pair.scene, scene, axis=0),
            origin=f"{name} in {scene:04d}.jpg",
            subject=name,
        )
        for scene in range(scenes)
        for number, name in enumerate(names)
    ]


def counted(method: Any, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """What it is tuned on from now on."""
    told: list[list[str]] = []
    tune = method.tune
    monkeypatch.setattr(method, "tune", lambda photos: (told.append(list(photos)), tune(photos)))
    return told


@both
def test_of_many_subjects_each_is_tuned_alone_and_once(
    kind: type[Tuned], source: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [f"s{number}" for number in range(8)]  # more than DreamBooth tunes at once
    for number, name in enumerate(names):
        write_photos(tmp_path / name, (30 * number, 30, 200))
    pairs = of_subjects(pair, ["s1", "s6"], 2)
    method = make(kind, source, photos=tmp_path)
    tuned = counted(method, monkeypatch)
    found = method(pairs, [[0]] * 4, [rng_for(0, 0, "")] * 4)
    assert tuned == [["s1"], ["s6"]]
    assert [result.pair for result in found] == pairs
    for one, name, result in zip(pairs, ["s1", "s6"] * 2, found, strict=True):
        if one in pairs[1:3]:
            alone = make(kind, source, photos=tmp_path / name)
            assert np.array_equal(result.scene, placed(alone, one)), name
    assert np.array_equal(found[0].scene, placed(method, pairs[0]))  # back to the first
    indexed = replace(pairs[1], subject="dreambooth: s6 #0", origin="dreambooth: s6 #0 1-2")
    assert np.array_equal(found[1].scene, placed(method, indexed))
    assert len(tuned) == 2
    placed(method, replace(pairs[0], subject="s3"))
    assert np.array_equal(found[0].scene, placed(method, pairs[0]))
    assert tuned[2:] == [["s3"]]
    with pytest.raises(ValueError, match=r"'tree in .* lies in none .*its subject 'tree' is none"):
        placed(method, replace(pairs[0], subject="tree", origin="tree in 0000.jpg"))


@both
def test_what_is_tuned_is_kept_within_bounds(
    kind: type[Tuned], source: Path, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = make(kind, source, steps=1)
    tuned = counted(method, monkeypatch)
    pairs = of_subjects(pair, ["s0", "s1"], 1)
    first = placed(method, pairs[0])
    size = sum(p[rows].nbytes for p, rows in method.learned(method.pipeline))
    for most, expected in ((size, 2), (size - 1, 5)):
        monkeypatch.setattr("anydoor_lab.methods.tuning.KEPT_BYTES", most)
        placed(method, pairs[1])
        assert np.array_equal(first, placed(method, pairs[0]))
        placed(method, pairs[1])
        placed(method, pairs[0])
        assert len(tuned) == expected


@pytest.mark.parametrize("photos", [True, False])
def test_a_benchmark_tunes_each_subject_once_on_any_number_of_processes(
    photos: bool, source: Path, pair: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("s0", "s1"):
        write_photos(tmp_path / name, (30, 30, 200))
    monkeypatch.setattr("anydoor_lab.methods.tuning.KEPT_BYTES", 0)
    pairs, settings = of_subjects(pair, ["s0", "s1"], 3), EvalSettings(batch_size=2)
    method = make(DreamBooth, source, steps=1, photos=tmp_path if photos else None)
    tuned = counted(method, monkeypatch)
    alone = dict(generate_by_number(method, pairs, settings))
    assert len(tuned) == 2 and list(alone) == [0, 2, 4, 1, 3, 5]
    for rank, own in enumerate(([0, 2, 4], [1, 3, 5])):
        where = "anydoor_lab.evaluation.generate.rank_and_size"
        monkeypatch.setattr(where, lambda rank=rank: (rank, 2))
        shared = dict(generate_by_number(method, pairs, settings))
        assert list(shared) == own
        assert all(np.array_equal(shared[number], alone[number]) for number in own)


def generate_by_number(
    method: Tuned, pairs: list[Pair], settings: EvalSettings
) -> list[tuple[int, np.ndarray]]:
    """The scenes by their pairs' numbers, as they are made."""
    return [
        (number, result.scene)
        for numbers, results in generate_results(method, pairs, settings)
        for number, result in zip(numbers, results, strict=True)
    ]


def test_one_folder_of_photographs_is_one_subject(source: Path, pair: Pair, tmp_path: Path) -> None:
    write_photos(tmp_path / "cup", (200, 30, 30), number=3)
    Image.new("L", (40, 30), 255).save(tmp_path / "cup" / "0_mask.png")
    method = make(DreamBooth, source, photos=tmp_path / "cup")
    placed(method, replace(pair, origin="anything"))
    assert [len(subject.photos) for subject in method.subjects] == [3]


def test_the_prior_is_what_the_untuned_model_makes(source: Path, pair: Pair) -> None:
    plain = make(DreamBooth, source, steps=2)
    kept = make(DreamBooth, source, steps=2, prior_weight=1.0, num_prior=2)
    for method in (plain, kept):
        placed(method, pair)
    assert kept.losses[0] > plain.losses[0]
    assert not np.array_equal(placed(plain, pair), placed(kept, pair))


def test_what_cannot_be_tuned_on_is_named(source: Path, tmp_path: Path, pair: Pair) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no picture"):
        make(DreamBooth, source, photos=tmp_path / "empty")
    with pytest.raises(ValueError, match="which is no folder"):
        make(DreamBooth, source, photos=tmp_path / "nowhere")
    with pytest.raises(ValueError, match="method.steps is 0; expected at least 1"):
        make(DreamBooth, source, steps=0)
    inpainting = small.stable_diffusion(tmp_path / "nine")
    with pytest.raises(ValueError, match="UNet of 9 channels; tuning takes a text-to-image model"):
        placed(make(DreamBooth, inpainting), pair)
