"""`data.cache`: what frozen networks make of an indexed set's pictures is computed once, comes back
bit for bit, and is never another's."""

from __future__ import annotations

import copy
import json
import multiprocessing
import random
import resource
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import inside
from anydoor_lab.config.compose import compose_config, plain
from anydoor_lab.config.filling import Piece, fill
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.runs.tracking import read_metrics
from anydoor_lab.structures.errors import FileError
from anydoor_lab.training.kept import KeptOutputs, KeptPictures, collated, kept_outputs
from networks import model_overrides
from released import videos
from small import RandomSamples, batch_of, small_objective
from test_index import bytes_of, indexed
from test_ledger import QUICK


@pytest.fixture(scope="module")
def mose(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, ...]:
    """What chooses a small indexed set on the command line."""
    root = tmp_path_factory.mktemp("mose")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "FRAMES", 3)
        videos.mose(root)
    indexed("mose", root, root / "index")
    return ("data=mose", f"data.root={root}", f"data.index={root / 'index'}")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/anydoor_lab/frozen"


def trained(mose: tuple[str, ...], networks: Path, folder: Path, *own: str) -> list[float]:
    """The losses of a short training."""
    settings = [*QUICK, *model_overrides(networks), *mose, "logger=local", "train.log_every=1",
                "train.batch_size=4", "train.cond_drop_prob=0.3", *own]  # fmt: skip
    ended = inside.run("train", *settings, f"hydra.run.dir={folder}", cwd=folder.parent)
    assert ended.code == 0, ended.err[-3000:]
    return [row["loss"] for row in read_metrics(folder)]


def filled(mose: tuple[str, ...], networks: Path, folder: Path, *own: str) -> inside.Ended:
    call = ("model=tiny", *model_overrides(networks), *mose, "do=cache", *own)
    return inside.run("index", *call, cwd=folder)


def test_a_cache_changes_no_bit_of_any_loss_and_serves_other_collages(
    mose: tuple[str, ...], networks: Path, tmp_path: Path, cache: Path
) -> None:
    alone = trained(mose, networks, tmp_path / "alone")
    assert len(alone) == 2 and not cache.exists()
    assert trained(mose, networks, tmp_path / "cold", "data.cache=both") == alone
    made = bytes_of(cache)
    assert {Path(name).parts[0] for name in made} == {"latents", "features"}
    assert trained(mose, networks, tmp_path / "warm", "data.cache=both") == alone
    other = ("data.cache=both", "collage=none", "ats=off")
    assert trained(mose, networks, tmp_path / "other", *other) != alone
    assert bytes_of(cache) == made


def test_what_is_drawn_from_the_posterior_is_the_same_from_the_cache(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    objective = small_objective(pipeline.model, sample_posterior=True)
    outputs, losses = kept_outputs(objective.model, tmp_path, "fp32"), []
    samples = [RandomSamples()[index] for index in range(3)]
    for _ in range(2):
        batch = collated([{**one, "kept": outputs.picture(one)} for one in samples])
        losses.append(objective(batch)["loss"].item())
    nothing = KeptPictures([""] * 3, [False] * 3, None)
    batch["kept"] = {"latents": nothing, "features": nothing}
    losses.append(objective(batch)["loss"].item())
    assert losses[0] == losses[1] == losses[2]
    mode = small_objective(pipeline.model)
    assert mode(batch)["loss"].item() != losses[0]


def test_the_index_command_fills_all_that_a_training_asks_for(
    mose: tuple[str, ...], networks: Path, tmp_path: Path, cache: Path
) -> None:
    own = ("data.cache=both", "conditioning.light_bank=2")
    ended = filled(mose, networks, tmp_path, *own, "index.workers=0")
    assert ended.code == 0, ended.err[-3000:]
    # 36 views: a latent each, and the object as it is and under two lights
    assert "cache    144 computed, 0 there already" in ended.out
    made = bytes_of(cache)
    warm = trained(mose, networks, tmp_path / "warm", *own)
    assert bytes_of(cache) == made
    assert trained(mose, networks, tmp_path / "alone", own[1]) == warm
    again = filled(mose, networks, tmp_path, *own, "index.workers=0")
    assert "cache    0 computed, 144 there already" in again.out and bytes_of(cache) == made


def test_a_process_of_the_pool_fills_the_same_bytes(
    mose: tuple[str, ...], networks: Path, tmp_path: Path, cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    filled(mose, networks, tmp_path, "data.cache=latents", "index.workers=0")
    alone = bytes_of(cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "pool"))
    monkeypatch.setattr("anydoor_lab.config.filling.VIEWS", 20)
    ended = filled(mose, networks, tmp_path, "data.cache=latents", "index.workers=1")
    assert ended.code == 0 and "filling mose: 100%" in ended.err, ended.err[-3000:]
    assert bytes_of(tmp_path / "pool/anydoor_lab/frozen") == alone


def piece(mose: tuple[str, ...], networks: Path) -> Piece:
    call = ("model=tiny", *model_overrides(networks), *mose, "data.cache=latents")
    settings = json.dumps(plain(compose_config("index", *call)))
    return Piece("", settings, torch.get_num_threads(), 0, 36)


def test_killed_and_simultaneous_writers_leave_what_one_writes(
    mose: tuple[str, ...], networks: Path, tmp_path: Path, cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    work = piece(mose, networks)
    assert fill(work) == Counter(computed=36)
    whole = bytes_of(cache)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    kept_there = tmp_path / "other/anydoor_lab/frozen"
    fill.__globals__["_parts"].cache_clear()
    rng, context = random.Random(0), multiprocessing.get_context("fork")
    for killed in (True,) * 6 + (False,):
        both = [context.Process(target=fill, args=(work,)) for _ in range(2)]
        for process in both:
            process.start()
        for process in both:
            process.join(rng.uniform(0.05, 0.4) if killed else None)
            if killed:
                process.kill()
                process.join()
        for name, content in bytes_of(kept_there).items():
            assert name.endswith(".part") or content == whole[name]
    left = bytes_of(kept_there)
    assert {name: own for name, own in left.items() if not name.endswith(".part")} == whole


def test_a_picture_is_the_same_in_every_batch_and_a_damaged_file_is_made_again(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    model = copy.deepcopy(pipeline.model)
    outputs = kept_outputs(model, tmp_path, "fp32")
    samples = [
        {"target": one["target"], "kept": outputs.picture({"target": one["target"]})}
        for one in (RandomSamples()[index] for index in range(3))
    ]
    batch = collated(samples)
    pictures = batch["kept"]["latents"]
    assert not any(pictures.found) and pictures.values is None
    made = model.latents(batch["target"], kept=pictures)
    alone = KeptPictures([""], [False], None)
    for number in range(3):
        assert torch.equal(
            model.latents(batch["target"][number : number + 1], kept=alone)[0], made[number]
        )
    path = Path(pictures.files[1])
    content = bytearray(path.read_bytes())
    content[-40] ^= 1
    path.write_bytes(content)
    kept_now = [{"kept": outputs.picture({"target": one["target"]})} for one in samples]
    some = collated([{**a, **b} for a, b in zip(samples, kept_now, strict=True)])["kept"]["latents"]
    assert some.found == [True, False, True]
    assert torch.equal(model.latents(batch["target"], kept=some), made)
    assert outputs.picture({"target": samples[1]["target"]})["latents"][1] is not None


def test_what_is_dropped_is_neither_read_nor_kept(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    objective = small_objective(pipeline.model, cond_drop_prob=1.0)
    outputs = kept_outputs(objective.model, tmp_path, "fp32", ["features"])
    batch = batch_of(range(2))
    arrays = [RandomSamples()[index]["id_image"] for index in range(2)]
    stale = [outputs.picture({"id_image": array})["features"][0] for array in arrays]
    plain_loss = objective(batch)["loss"]
    wrong = torch.full((2, 17, 32), 7.0)
    batch["kept"] = {"features": KeptPictures(stale, [True, True], wrong)}
    assert objective(batch)["loss"] == plain_loss
    assert not list(tmp_path.rglob("*.kept"))


def test_other_precision_weights_or_bytes_are_other_files(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    model = copy.deepcopy(pipeline.model)
    shown = {"target": np.zeros((3, 64, 64), np.uint8)}

    def file(arithmetic: str, arrays: dict[str, Any] = shown) -> str:
        outputs: KeptOutputs = kept_outputs(model, tmp_path, arithmetic)
        return outputs.picture(arrays)["latents"][0]

    files = {file("fp32"), file("bf16"), file("fp32", {"target": shown["target"] + 1})}
    assert file("fp32") in files and len(files) == 3
    model.vae.encoder.conv_in.bias.data[0] += 1e-6
    assert file("fp32") not in files


def test_half_precision_is_kept_as_it_is(tmp_path: Path) -> None:
    outputs = KeptOutputs(tmp_path, {"latents": "half"})
    shown = {"target": np.zeros((3, 8, 8), np.uint8)}
    file, _ = outputs.picture(shown)["latents"]
    value = torch.tensor([0.1, -3.0], dtype=torch.bfloat16)
    KeptPictures([file], [False], None)(torch.zeros(1, 3, 8, 8), lambda _: value[None])
    found = outputs.picture(shown)["latents"][1]
    assert found.dtype == torch.bfloat16 and torch.equal(found, value)


def test_a_full_disk_ends_in_a_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    file = str(tmp_path / "latents/ab/c.kept")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100, limits[1]))
    try:
        with pytest.raises(FileError, match=r"c\.kept cannot be written .*make room"):
            KeptPictures([file], [False], None)(torch.zeros(1, 99), lambda shown: shown)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_the_command_says_what_it_lacks(
    mose: tuple[str, ...], networks: Path, tmp_path: Path, cache: Path
) -> None:
    none = inside.run("index", *mose, "do=cache", "data.cache=both", cwd=tmp_path)
    none.refused("do=cache needs the networks", "model=tiny")
    filled(mose, networks, tmp_path).refused("data.cache is null", "latents, tokens or both")
    filled(mose, networks, tmp_path, "data.cache=all").refused("data.cache", "latents, tokens")
    drawn = ("index", "data=world", "model=tiny", "do=cache")
    inside.run(*drawn, cwd=tmp_path).refused("no index", "share=true")
