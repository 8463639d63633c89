"""What training is shown of indexed sets is a function of (seed, index): workers, processes and a
resume change nothing of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from torch.utils.data import DataLoader

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.data.index.shards import shards
from anydoor_lab.data.mixture import Mixture
from anydoor_lab.data.pairs import IndexedPairs
from anydoor_lab.training.batches import FitSettings, Plan
from anydoor_lab.training.checkpoint import newest_checkpoint
from anydoor_lab.training.fit import TrainingState, fit, start
from anydoor_lab.training.samples import PairStream
from released import stills, videos
from small import small_objective
from test_index import indexed

SETTINGS = FitSettings(steps=4, batch_size=4, log_every=1, checkpoint_every=2)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> PairStream:
    """Videos from shards and stills from files, of which some went bad after they were indexed."""
    root = tmp_path_factory.mktemp("sets")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "FRAMES", 4)
        videos.mose(root / "mose")
    list(
        shards("mose", indexed("mose", root / "mose", root / "a"), root / "mose", root / "b", 10**5)
    )
    stills.msra(root / "msra")
    indexed("msra", root / "msra", root / "c")
    for path in sorted((root / "msra").rglob("*.jpg"))[:3]:
        path.write_bytes(path.read_bytes()[:500])
    common: dict[str, Any] = {"held_out": 0.0, "needed_px": 64}
    sets = {"mose": IndexedPairs("mose", None, shards=root / "b", **common),
            "msra": IndexedPairs("msra", root / "msra", index=root / "c", variation="still",
                                 **common)}  # fmt: skip
    mixture = Mixture(sets, {"mose": 2.0, "msra": 1.0})
    return PairStream(mixture, Conditioner(resolution=64, id_size=64), seed=3)


def digests(stream: PairStream, plan: Plan, workers: int = 0) -> list[str]:
    """A hash of each sample that the plan asks for: its index, set, replacements and arrays."""
    starting = "fork" if workers else None
    found = []
    samples: Any = stream
    for batch in DataLoader(samples, batch_sampler=plan, num_workers=workers,
                            multiprocessing_context=starting):  # fmt: skip
        for place in range(len(batch["index"])):
            told = [(name, value[place]) for name, value in sorted(batch.items())]
            hashed = hashlib.sha256()
            for name, value in told:
                array = isinstance(value, torch.Tensor)
                hashed.update(
                    name.encode() + (value.numpy().tobytes() if array else value.encode())
                )
            found.append(hashed.hexdigest())
    return found


@pytest.fixture(scope="module")
def straight(mixed: PairStream) -> list[str]:
    return digests(mixed, Plan(SETTINGS, 0, 0, 1))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_do_not_change_one_byte(
    workers: int, mixed: PairStream, straight: list[str]
) -> None:
    assert len(set(straight)) == 16
    assert digests(mixed, Plan(SETTINGS, 0, 0, 1), workers) == straight


@pytest.mark.parametrize(("step", "workers"), [(1, 0), (3, 0), (2, 3)])
def test_what_is_shown_after_a_resume_is_what_was_to_come(
    step: int, workers: int, mixed: PairStream, straight: list[str]
) -> None:
    assert digests(mixed, Plan(SETTINGS, step, 0, 1), workers) == straight[4 * step :]


def test_two_processes_are_shown_together_what_one_is_shown(
    mixed: PairStream, straight: list[str]
) -> None:
    halves = [digests(mixed, Plan(SETTINGS, 0, rank, 2)) for rank in range(2)]
    together = []
    for step in range(SETTINGS.steps):
        for half in halves:
            together += half[2 * step : 2 * step + 2]
    assert together == straight


def test_a_bad_picture_is_replaced_the_same_way_each_time(mixed: PairStream) -> None:
    def told() -> list[tuple[str, str]]:
        return [(mixed[index]["set"], mixed[index]["rejected"]) for index in range(16)]

    first = told()
    assert first == told()
    assert any(rejected == "unreadable picture" for _, rejected in first)
    assert all(name == "msra" for name, rejected in first if rejected)


def trained(mixed: PairStream, model: Any, folder: Path, steps: int, workers: int) -> TrainingState:
    """The state after so many of the steps, from the folder's newest checkpoint on."""
    from dataclasses import replace

    state = start(small_objective(model), SETTINGS, Accelerator(cpu=True))
    saved = newest_checkpoint(folder) if folder.exists() else None
    if saved:
        state.restore(saved)
    settings = replace(SETTINGS, workers=workers)
    for progress in fit(state, mixed, settings, folder):
        if progress.step == steps:
            break
    state.writing.finish()
    return state


def test_a_training_on_indexed_sets_that_goes_on_ends_as_the_straight_one(
    mixed: PairStream, pipeline: Any, tmp_path: Path
) -> None:
    whole = trained(mixed, pipeline.model, tmp_path / "whole", 4, 0)
    trained(mixed, pipeline.model, tmp_path / "parts", 3, 0)
    resumed = trained(mixed, pipeline.model, tmp_path / "parts", 4, 2)
    assert resumed.step == whole.step == 4
    for name, weight in whole.trained.items():
        assert torch.equal(weight, resumed.trained[name]), name
