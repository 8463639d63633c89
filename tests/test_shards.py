"""Shards: the samples of the files, from a disk or over a network; whole or not at all."""

from __future__ import annotations

import functools
import http.server
import json
import multiprocessing
import random
import shutil
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from torch.utils.data import DataLoader

import inside
from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.data.index.shards import Shards, shards
from anydoor_lab.data.index.store import Index
from anydoor_lab.data.pairs import IndexedPairs
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.training.batches import FitSettings, Plan
from anydoor_lab.training.samples import PairStream
from released import videos
from test_index import bytes_of, indexed

MB = 20_000
"""So few bytes a tar that there are several."""


@pytest.fixture(scope="module")
def mose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set with its index in `index` and its shards in `shards`."""
    root = tmp_path_factory.mktemp("mose")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "FRAMES", 4)
        videos.mose(root)
    index = indexed("mose", root, root / "index")
    list(shards("mose", index, root, root / "shards", MB))
    return root


def source(root: Path | None, index: Path, **settings: Any) -> IndexedPairs:
    return IndexedPairs("mose", root, index=index, held_out=0.0, needed_px=64, **settings)


def stream(pairs: IndexedPairs) -> PairStream:
    return PairStream(pairs, Conditioner(resolution=48, id_size=32))


def assert_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    assert one.keys() == other.keys()
    for name, value in one.items():
        assert np.array_equal(value, other[name]), name


class Ranges(http.server.SimpleHTTPRequestHandler):
    """A server of files that gives ranges of bytes, as object stores do."""

    ranges = True

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        content, asked = path.read_bytes(), self.headers.get("Range")
        if asked and self.ranges:
            first, last = (int(text) for text in asked.removeprefix("bytes=").split("-"))
            content = content[first : last + 1]
        self.send_response(206 if asked and self.ranges else 200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        pass


class WholeFiles(Ranges):
    ranges = False


@pytest.fixture
def served(request: pytest.FixtureRequest, mose: Path) -> Iterator[str]:
    pytest.importorskip("aiohttp", reason="fsspec's HTTP needs aiohttp")
    handler = functools.partial(getattr(request, "param", Ranges), directory=str(mose / "shards"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


@pytest.fixture
def in_memory(mose: Path) -> Iterator[str]:
    import fsspec

    files = fsspec.filesystem("memory")
    for path in (mose / "shards").glob("*.tar"):
        files.pipe(f"/mose/{path.name}", path.read_bytes())
    yield "memory://mose"
    files.rm("/mose", recursive=True)


def test_shards_on_a_disk_give_the_samples_of_the_files(mose: Path) -> None:
    files = stream(source(mose, mose / "index"))
    packed = stream(IndexedPairs("mose", None, shards=mose / "shards", held_out=0.0, needed_px=64))
    assert len(list((mose / "shards").glob("*.tar"))) > 2
    for index in range(24):
        assert_same(files[index], packed[index])


@pytest.mark.parametrize("place", ["served", "in_memory"])
def test_shards_of_a_url_give_the_samples_of_the_files(
    place: str, mose: Path, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue(place)
    files = stream(source(mose, mose / "index"))
    packed = stream(source(None, mose / "shards", shards=url))
    for index in range(8):
        assert_same(files[index], packed[index])


def test_worker_processes_read_shards_over_http(mose: Path, served: str) -> None:
    packed = stream(source(None, mose / "shards", shards=served))
    straight = [packed[index] for index in range(8)]  # opened here first, then forked
    plan = Plan(FitSettings(steps=4, batch_size=2), 0, 0, 1)
    samples: Any = packed
    loader: Any = DataLoader(
        samples, batch_sampler=plan, num_workers=2, multiprocessing_context="fork"
    )
    found = [batch["target"].numpy() for batch in loader]
    assert np.array_equal(np.concatenate(found), np.stack([one["target"] for one in straight]))


@pytest.mark.parametrize("served", [WholeFiles], indirect=True)
def test_a_server_that_gives_whole_files_is_refused(mose: Path, served: str) -> None:
    packed = source(None, mose / "shards", shards=served)
    with pytest.raises(RunError, match="it must know how to give a range of bytes"):
        packed.pair(0, np.random.default_rng(0))


def test_a_place_that_cannot_be_reached_ends_in_a_sentence(
    mose: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anydoor_lab.data.index import shards as module

    monkeypatch.setattr(module, "WAIT_S", 0.0)
    packed = source(None, mose / "shards", shards="http://127.0.0.1:9")
    with pytest.raises(RunError, match=r"tar cannot be read .* the same command goes on"):
        packed.pair(0, np.random.default_rng(0))
    with pytest.raises(InputError, match="data.shards=nothing://x cannot be opened"):
        source(None, mose / "shards", shards="nothing://x").pair(0, np.random.default_rng(0))


def test_the_tars_are_plain_and_named_as_webdataset_reads_them(mose: Path) -> None:
    index = Index(mose / "shards")
    rows = [index.row(n) for n in range(index.usable)]
    seen = {}
    for path in sorted((mose / "shards").glob("*.tar")):
        with tarfile.open(path) as tar:
            members = tar.getmembers()
            for picture, said in zip(members[::2], members[1::2], strict=True):
                assert picture.name.split(".") == [said.name.split(".")[0], "jpg"]
                file = tar.extractfile(said)
                assert file and said.name.endswith(".json")
                told = json.loads(file.read())
                seen[told["image"]] = (path.name, picture.offset_data, picture.size)
                assert {view["object"] for view in told["views"]} <= {"1", "2"}
    assert seen == {row["image"]: (row["shard"], row["offset"], row["size"]) for row in rows}
    sizes = [path.stat().st_size for path in sorted((mose / "shards").glob("*.tar"))]
    assert max(sizes) < 3 * MB and Index(mose / "shards").facts == Index(mose / "index").facts


def test_a_missing_or_cut_shard_is_counted_and_training_goes_on(mose: Path, tmp_path: Path) -> None:
    packed = Path(shutil.copytree(mose / "shards", tmp_path / "shards"))
    first, second, *_ = sorted(packed.glob("*.tar"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:2000])
    pairs = stream(IndexedPairs("mose", None, shards=packed, held_out=0.0, needed_px=64))
    for index in range(40):
        pairs[index]
    assert set(pairs.rejected) == {"missing picture", "unreadable picture"}
    row = Index(packed).row(0)
    with pytest.raises(UnusablePair, match="mose-000000.tar is not there"):
        Shards(packed).member(row)


def _pack(root: Path, folder: Path) -> None:
    list(shards("mose", Index(root / "index"), root, folder, MB))


def test_packing_that_was_killed_is_finished_with_the_same_bytes(
    mose: Path, tmp_path: Path
) -> None:
    whole, folder = bytes_of(mose / "shards"), tmp_path / "killed"
    rng, context = random.Random(1), multiprocessing.get_context("fork")
    for _ in range(12):
        process = context.Process(target=_pack, args=(mose, folder))
        process.start()
        process.join(rng.uniform(0.002, 0.12))
        process.kill()
        process.join()
        for path in folder.glob("*.tar"):  # whole ones only, and no index before all are
            assert path.read_bytes() == whole[path.name]
        if (folder / "index.arrow").exists():
            assert set(bytes_of(folder)) >= set(whole)
    _pack(mose, folder)
    left = {name: content for name, content in bytes_of(folder).items() if ".part" not in name}
    assert left == whole


def test_an_interrupt_leaves_no_piece(
    mose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anydoor_lab.data.index import shards as module

    honest, asked = module._indexed_bytes, iter(range(100))

    def interrupted(*arguments: Any) -> bytes:
        if next(asked) == 7:
            raise KeyboardInterrupt
        return honest(*arguments)

    monkeypatch.setattr(module, "_indexed_bytes", interrupted)
    with pytest.raises(KeyboardInterrupt):
        _pack(mose, tmp_path)
    whole = bytes_of(mose / "shards")
    left = bytes_of(tmp_path)
    assert left and left.items() < whole.items() and "index.arrow" not in left
    _pack(mose, tmp_path)
    assert bytes_of(tmp_path) == whole


def test_only_tars_whose_pictures_changed_are_written_again(mose: Path, tmp_path: Path) -> None:
    root = Path(shutil.copytree(mose, tmp_path / "set"))
    before = {path.name: path.stat().st_ino for path in (root / "shards").glob("*.tar")}
    changed = root / "train/JPEGImages/00000000/00001.jpg"
    changed.write_bytes((root / "train/JPEGImages/00000001/00001.jpg").read_bytes())
    with pytest.raises(InputError, match="00001.jpg is no longer what was indexed; index the set"):
        list(shards("mose", Index(root / "index"), root, root / "other", MB))
    indexed("mose", root, root / "index")
    _pack(root, root / "shards")
    after = {path.name: path.stat().st_ino for path in (root / "shards").glob("*.tar")}
    assert [name for name in sorted(after) if after[name] != before.get(name)] == [
        "mose-000000.tar"
    ]


def test_an_index_of_tars_that_change_is_gone_until_all_are_whole(
    mose: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(mose / "shards", tmp_path / "shards"))
    steps = shards("mose", Index(mose / "index"), mose, folder, 2 * MB)
    next(steps)
    assert not (folder / "index.arrow").exists()
    assert len(list(steps)) >= 1
    assert len(list(folder.glob("*.tar"))) < len(list((mose / "shards").glob("*.tar")))
    Index(folder)


def test_files_and_shards_are_not_taken_for_each_other(mose: Path) -> None:
    with pytest.raises(InputError, match="is an index of shards; give data.shards="):
        source(mose, mose / "shards")
    with pytest.raises(InputError, match="is an index of files; make shards with"):
        source(mose, mose / "index", shards=mose / "shards")
    with pytest.raises(InputError, match="copy its index.arrow to this machine"):
        IndexedPairs("mose", None, shards="memory://mose")
    with pytest.raises(InputError, match="data.root is null"):
        source(None, mose / "index")
    with pytest.raises(InputError, match="is an index of shards; give the one of the files"):
        list(shards("mose", Index(mose / "shards"), mose, mose / "again", MB))


def test_the_command_packs_and_says_how_to_train(mose: Path, tmp_path: Path) -> None:
    given = ("data=mose", f"data.root={mose}", f"data.index={mose / 'index'}")
    out = tmp_path / "packed"
    asked = (*given, "do=shard", f"shards.out={out}", "shards.mb=0.02")
    ended = inside.run("index", *asked, cwd=tmp_path)
    assert ended.code == 0, ended.err
    assert f"train with data=mose data.root=null data.shards={out}" in ended.out
    assert bytes_of(out) == bytes_of(mose / "shards")
    wrong = inside.run("index", *asked[:-1], "shards.mb=0", cwd=tmp_path)
    wrong.refused("shards.mb is 0; expected a number above 0")
    shown = inside.run("index", "data=mose", "data.root=null", f"data.shards={out}", "do=look",
                       "num_pairs=2", "resolution=64", cwd=tmp_path)  # fmt: skip
    assert shown.code == 0, shown.err
