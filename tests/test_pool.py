"""Pools of pairs: drawn once, whole or not at all, the same as the source's own."""

from __future__ import annotations

import multiprocessing
import pickle
import resource
from pathlib import Path

import numpy as np
import pytest

from anydoor_lab.data.cache import PairPool
from anydoor_lab.data.rows import BLOCK
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


def filled(path: Path, number: int = BLOCK + 20, size_px: int = 32) -> PairPool:
    pool = PairPool(World(size_px=size_px), number, path)
    list(pool.fill())
    return pool


@pytest.mark.parametrize("place", [0.3, 0.6, 0.99])
def test_one_flipped_bit_is_told_and_its_rows_named(tmp_path: Path, place: float) -> None:
    path = tmp_path / "pairs.pool"
    content = bytearray(filled(path).path.read_bytes())
    content[int(place * len(content))] ^= 4
    path.write_bytes(content)
    rows = "rows 0 to 99" if place < 0.8 else "rows 100 to 119"
    damaged = PairPool(World(size_px=32), BLOCK + 20, path)
    for use in (lambda: damaged.pair(0, RNG), lambda: list(damaged.fill())):
        with pytest.raises(ValueError, match=f"is damaged: {rows} .* remove that file"):
            use()
    path.unlink()
    list(damaged.fill())
    damaged.pair(0, RNG)


def test_damage_in_what_an_interrupted_filling_left_is_told_before_it_goes_on(
    tmp_path: Path,
) -> None:
    pool = PairPool(World(size_px=32), BLOCK + 20, tmp_path / "pairs.pool")
    drawing = pool.fill()
    while next(drawing) < BLOCK:
        pass
    drawing.close()
    content = bytearray(pool.path.read_bytes())
    content[len(content) // 3] ^= 1
    pool.path.write_bytes(content)
    with pytest.raises(ValueError, match="rows 0 to 99"):
        list(PairPool(World(size_px=32), BLOCK + 20, pool.path).fill())


@pytest.mark.parametrize("change", ["cut", "longer", "foreign"])
def test_a_file_that_is_no_whole_pool_is_refused_and_left_alone(
    tmp_path: Path, change: str
) -> None:
    path = tmp_path / "pairs.pool"
    content = filled(path, 4).path.read_bytes()
    changed = {"cut": content[:-1], "longer": content + b"x", "foreign": bytes(len(content))}
    path.write_bytes(changed[change])
    pool = PairPool(World(size_px=32), 4, path)
    for use in (lambda: pool.pair(0, RNG), lambda: list(pool.fill())):
        with pytest.raises(ValueError, match="remove that file or choose another"):
            use()
    assert path.read_bytes() == changed[change]


def test_a_disk_without_room_is_told_before_anything_is_drawn_and_left_clean(
    tmp_path: Path,
) -> None:
    pool = PairPool(World(size_px=64), 50, tmp_path / "pools" / "pairs.pool")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))
    try:
        with pytest.raises(RuntimeError, match=r"needs 0\.002 GB and its disk has .* GB left"):
            next(pool.fill())
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert list(pool.path.parent.iterdir()) == []
    assert len(list(pool.fill())) == 50


def test_the_room_of_a_pool_is_taken_when_it_is_made(tmp_path: Path) -> None:
    pool = PairPool(World(size_px=64), 500, tmp_path / "pairs.pool")
    next(pool.fill())
    facts = pool.path.stat()
    assert facts.st_blocks * 512 >= facts.st_size, (
        "a hole in the file is a bus error on a full disk"
    )


def fill_in_a_process(path: Path, number: int) -> None:
    list(PairPool(World(size_px=32), number, path).fill())


def test_two_processes_that_fill_at_once_make_the_same_file(tmp_path: Path) -> None:
    alone, together = filled(tmp_path / "alone"), tmp_path / "together"
    spawn = multiprocessing.get_context("fork")
    workers = [
        spawn.Process(target=fill_in_a_process, args=(together, BLOCK + 20)) for _ in range(2)
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert together.read_bytes() == alone.path.read_bytes()
    assert sorted(tmp_path.iterdir()) == [alone.path, together]


def test_a_pool_is_sent_to_another_process_without_its_pictures(tmp_path: Path) -> None:
    pool = filled(tmp_path / "pairs.pool")
    pool.pair(0, RNG)
    sent = pickle.dumps(pool)
    assert len(sent) < pool.path.stat().st_size / 2
    assert np.array_equal(pickle.loads(sent).pair(3, RNG).scene, pool.pair(3, RNG).scene)
