"""Pools of pairs: drawn once, whole or not at all, the same as the source's own."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anydoor_lab.data.cache import BLOCK, PairPool
from anydoor_lab.data.world import World
from anydoor_lab.structures.rng import rng_for

RNG = np.random.default_rng(0)


def test_a_pool_gives_what_the_source_drew(tmp_path: Path) -> None:
    world = World(size_px=64)
    pool = PairPool(world, 5, tmp_path / "five.npy", seed=3)
    assert list(pool.fill()) == [0, 1, 2, 3, 4]
    for index in range(5):
        drawn, kept = world.pair(index, rng_for(3, index, "pool")), pool.pair(index, RNG)
        assert np.array_equal(drawn.reference, kept.reference)
        assert np.array_equal(drawn.scene_mask, kept.scene_mask)
        assert (drawn.variation, drawn.quality) == (kept.variation, kept.quality)


def test_a_filled_pool_is_not_drawn_again(tmp_path: Path) -> None:
    path = tmp_path / "three.npy"
    list(PairPool(World(size_px=64), 3, path).fill())
    before = path.stat().st_mtime_ns
    assert list(PairPool(World(size_px=64), 3, path).fill()) == []
    assert path.stat().st_mtime_ns == before


def test_a_pool_that_was_not_filled_to_its_end_is_not_used(tmp_path: Path) -> None:
    pool = PairPool(World(size_px=64), 9, tmp_path / "nine.npy")
    drawing = pool.fill()
    next(drawing)
    drawing.close()
    with pytest.raises(RuntimeError, match="not filled"):
        pool.pair(0, RNG)
    assert len(list(pool.fill())) == 9
    pool.pair(8, RNG)


def test_an_interrupted_pool_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    world = World(size_px=32)
    whole, broken = (PairPool(world, BLOCK + 20, tmp_path / name) for name in ("whole", "broken"))
    assert len(list(whole.fill())) == BLOCK + 20
    drawing = broken.fill()
    while next(drawing) < BLOCK + 5:
        pass
    drawing.close()
    assert list(PairPool(world, BLOCK + 20, broken.path).fill()) == [*range(BLOCK, BLOCK + 20)]
    assert whole.path.read_bytes() == broken.path.read_bytes()


def test_processes_that_fill_the_same_pool_do_not_disturb_each_other(tmp_path: Path) -> None:
    world, path = World(size_px=32), tmp_path / "shared"
    alone = PairPool(world, 30, tmp_path / "alone")
    list(alone.fill())
    first, second, third = (PairPool(world, 30, path).fill() for _ in range(3))
    for _ in range(10):
        next(first)
    for _ in range(5):
        next(second)
    assert len(list(first)) == 20
    assert PairPool(world, 30, path).pair(29, RNG).origin == "shared:29"
    assert not list(third)
    next(second)
    assert path.read_bytes() == alone.path.read_bytes()
    assert sorted(tmp_path.iterdir()) == [alone.path, path]


def test_another_pools_file_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "four"
    list(PairPool(World(size_px=32), 4, path).fill())
    before = path.read_bytes()
    for size, size_px in ((5, 32), (4, 64)):
        with pytest.raises(ValueError, match="remove that file or choose another"):
            list(PairPool(World(size_px=size_px), size, path).fill())
    assert path.read_bytes() == before


def test_a_pool_may_be_larger_than_its_source(tmp_path: Path) -> None:
    world = World(size_px=64, shapes=["star"], letters=["A"], colours=["red", "blue"])
    pool = PairPool(world, len(world) + 1, tmp_path / "more.npy")
    list(pool.fill())
    first, again = pool.pair(0, RNG), pool.pair(len(world), RNG)
    assert not np.array_equal(first.scene, again.scene)
