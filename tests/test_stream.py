"""The stream of training samples: a pure function of (seed, index)."""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, default_collate

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.config.assemble import make_source
from anydoor_lab.config.caches import kept_pairs
from anydoor_lab.config.compose import compose_config
from anydoor_lab.data.cache import KeptPairs
from anydoor_lab.data.source import Counts
from anydoor_lab.data.world import World
from anydoor_lab.diffusion.loss import as_numbers
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.pair import Pair
from anydoor_lab.training.samples import MAX_TRIES, PairStream, epoch_order

CONDITIONER = Conditioner(resolution=32, id_size=32)


class Noted:
    """The first `length` entries of a world, of which every third may be unusable."""

    def __init__(self, length: int, *, every_third_is_bad: bool = False) -> None:
        self.world, self.length, self.bad = World(size_px=32), length, every_third_is_bad
        self.asked: list[int] = []
        self.counts = Counts()

    def __len__(self) -> int:
        return self.length

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        self.asked.append(index)
        if self.bad and index % 3 == 0:
            raise UnusablePair("empty mask")
        return self.world.pair(index, rng)


class Unusable(Noted):
    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        self.asked.append(index)
        reason = "empty mask" if rng.random() < 0.5 else "unreadable picture"
        raise UnusablePair(reason, f"entry {index}")


def digest(sample: dict[str, Any]) -> str:
    hashed = hashlib.sha256(f"{sample['index']} {sample['variation']}".encode())
    for name in ("id_image", "collage", "shape_mask", "target"):
        hashed.update(sample[name].tobytes())
    return hashed.hexdigest()


def only(samples: list[dict[str, Any]]) -> list[str]:
    return [digest(sample) for sample in samples]


def test_a_share_of_the_pairs_is_shown_as_stills_and_the_others_stay_as_drawn() -> None:
    world = World(size_px=32, variations={"video": 1})
    drawn, mixed = PairStream(world, CONDITIONER), PairStream(world, CONDITIONER, still_share=0.7)
    seen: Counter[str] = Counter()
    for index in range(200):
        pair, other = drawn.pair(index), mixed.pair(index)
        seen[other.variation] += 1
        assert np.array_equal(other.scene, pair.scene)
        expected = pair.as_still() if other.variation == "still" else pair
        assert np.array_equal(other.reference, expected.reference)
        assert np.array_equal(other.reference_mask, expected.reference_mask)
    assert 0.6 < seen["still"] / 200 < 0.8
    assert set(seen) == {"still", "video"}


@pytest.mark.parametrize("share", [-0.1, 1.5, float("nan")])
def test_a_share_of_stills_that_is_no_share_is_refused(share: float) -> None:
    with pytest.raises(ValueError, match="still_share is .*; expected a number from 0 to 1"):
        PairStream(World(size_px=32), CONDITIONER, still_share=share)


@pytest.mark.filterwarnings("ignore:This DataLoader will create")
@pytest.mark.parametrize("workers", [0, 1, 3])
def test_workers_do_not_change_one_byte(workers: int) -> None:
    stream = PairStream(Noted(10, every_third_is_bad=True), CONDITIONER, seed=3)
    batches = [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9, 10, 11]]
    loader = DataLoader(
        stream,
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=only,
    )
    loaded = [value for batch in loader for value in batch]
    fresh = PairStream(Noted(10, every_third_is_bad=True), CONDITIONER, seed=3)
    assert loaded == [digest(fresh[index]) for index in range(12)]


def test_a_sample_is_the_same_whatever_was_asked_before() -> None:
    stream = PairStream(World(size_px=32), CONDITIONER, seed=1)
    expected = [digest(stream[index]) for index in range(8)]
    assert len(set(expected)) == 8
    late = PairStream(World(size_px=32), CONDITIONER, seed=1)
    late[100_000]
    assert [digest(late[index]) for index in reversed(range(8))] == expected[::-1]
    other = PairStream(World(size_px=32), CONDITIONER, seed=2)
    assert not set(expected) & {digest(other[index]) for index in range(8)}


def test_every_epoch_visits_each_entry_once_in_an_order_of_its_own() -> None:
    source = Noted(13)
    stream = PairStream(source, CONDITIONER)
    for index in range(39):
        stream.pair(index)
    epochs = [source.asked[start : start + 13] for start in (0, 13, 26)]
    assert all(sorted(epoch) == list(range(13)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert epochs[1] == list(epoch_order(0, 1, 13))


def test_an_unusable_entry_is_counted_and_replaced_the_same_way_each_time() -> None:
    streams = [PairStream(Noted(12, every_third_is_bad=True), CONDITIONER) for _ in range(2)]
    drawn = [
        [stream.pair(index).origin for index in order]
        for stream, order in zip(streams, (range(24), reversed(range(24))), strict=True)
    ]
    assert drawn[0] == drawn[1][::-1]
    assert streams[0].rejected == streams[1].rejected
    assert streams[0].rejected["empty mask"] >= 8


def test_a_source_without_a_usable_entry_stops_at_once_with_the_reasons() -> None:
    source = Unusable(5)
    stream = PairStream(source, CONDITIONER)
    for _ in range(2):  # the second sample's sentence tells its own tries only
        with pytest.raises(RuntimeError, match=rf"^{MAX_TRIES} entries in a row") as raised:
            stream[0]
        counted = Counter(
            {
                reason: int(str(raised.value).split(f" {reason}")[0].split()[-1].strip("("))
                for reason in ("empty mask", "unreadable picture")
            }
        )
        assert counted.total() == MAX_TRIES
    assert len(source.asked) == 2 * MAX_TRIES
    assert stream.rejected.total() == 2 * MAX_TRIES


def test_kept_pairs_give_the_samples_that_are_drawn_and_nothing_is_drawn_twice(
    tmp_path: Path,
) -> None:
    def stream(kept: KeptPairs | None) -> PairStream:
        source = Noted(30, every_third_is_bad=True)
        return PairStream(source, CONDITIONER, 3, 0.3, kept=kept)

    plain, first, second = stream(None), *(stream(KeptPairs(tmp_path)) for _ in range(2))
    drawn, written, read = ([one[i] for i in range(12)] for one in (plain, first, second))
    assert only(drawn) == only(written) == only(read)
    assert [one["rejected"] for one in read] == [one["rejected"] for one in drawn]
    assert plain.rejected == first.rejected == second.rejected and plain.rejected.total() > 0
    assert first.source.asked and not second.source.asked
    for path in tmp_path.rglob("*.pair"):
        path.write_bytes(path.read_bytes()[:-9])
    third = stream(KeptPairs(tmp_path))
    assert only([third[i] for i in range(12)]) == only(drawn)
    assert len(third.source.asked) == len(first.source.asked)


def test_pairs_of_other_settings_are_kept_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def folder(*choices: str) -> str:
        cfg = compose_config("train", "share=true", "train.still_share=0.1", *choices)
        source = make_source(cfg.data, "train", cfg.data_seed)
        stream = PairStream(source, CONDITIONER, cfg.seed, cfg.train.still_share)
        return kept_pairs(cfg, stream).folder.name

    assert folder() == folder("collage=none") == folder("idx=clip", "ats=off")
    others = [folder(c) for c in ("seed=1", "data_seed=1", "train.still_share=0.2",
                                  "data.size_px=64")]  # fmt: skip
    assert len({folder(), *others}) == 5
    cfg = compose_config("train", "share=true")
    with pytest.raises(ValueError, match="use share=false"):
        kept_pairs(cfg, PairStream(Noted(3), CONDITIONER))


def test_bytes_become_the_very_numbers_and_are_a_quarter_of_the_memory() -> None:
    world, short = World(size_px=64), replace(CONDITIONER, as_bytes=True)
    plain, small = PairStream(world, CONDITIONER, 5), PairStream(world, short, 5)
    names = ("id_image", "collage", "shape_mask", "target")
    for index in range(8):
        expected, seen = plain[index], small[index]
        assert 4 * sum(seen[n].nbytes for n in names) == sum(expected[n].nbytes for n in names)
        scaled = as_numbers(default_collate([seen]))
        for name in names:
            assert scaled[name].dtype == torch.float32
            assert torch.equal(scaled[name][0], torch.from_numpy(expected[name])), name
