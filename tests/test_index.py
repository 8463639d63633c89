"""The index of a data set: made once, made again where something changed, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import inside
from anydoor_lab.config.compose import compose_config, plain
from anydoor_lab.data.index import build, merge, runners
from anydoor_lab.data.index.build import index_part
from anydoor_lab.data.index.layouts import Release, specs_of
from anydoor_lab.data.index.merge import EXAMPLES, drop_others, write_index
from anydoor_lab.data.index.schema import COLUMNS
from anydoor_lab.data.index.store import Index
from anydoor_lab.data.index.views import Spec
from anydoor_lab.structures.errors import FileError, InputError
from anydoor_lab.structures.images import read_header
from released import stills, videos, views


def specs(name: str, root: Path, folder: Path) -> list[Spec]:
    cfg = compose_config("index", f"data={name}", f"data.root={root}")
    return list(specs_of(name, root, Release(**plain(cfg.data)["release"]), folder))


def indexed(name: str, root: Path, folder: Path) -> Index:
    """As the command does it, in this process."""
    paths = [index_part(spec) for spec in specs(name, root, folder)]
    drop_others(folder, paths)
    write_index(folder, paths)
    return Index(folder)


@pytest.fixture(scope="module")
def mose(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("mose")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "FRAMES", 3)
        videos.mose(root)
    return root


def copied(tree: Path, place: Path) -> Path:
    return Path(shutil.copytree(tree, place))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def test_the_command_indexes_checks_and_shows_a_set(mose: Path, tmp_path: Path) -> None:
    given = ("data=mose", f"data.root={mose}", f"data.index={tmp_path / 'index'}")
    before = inside.run("index", *given, "do=check", cwd=tmp_path)
    assert before.code == 0 and "mose train: found (palette_video)" in before.out
    assert "not indexed yet" in before.out and "licence: CC BY-NC-SA 4.0" in before.out
    made = inside.run("index", *given, "index.workers=0", cwd=tmp_path)
    assert made.code == 0, made.err
    assert "mose train: 6 groups, 12 objects, 36 usable views" in made.out
    assert "6/6" in made.err and "part/s" in made.err
    after = inside.run("index", *given, "do=check", cwd=tmp_path)
    assert "train: 6 of 1,507 published groups are usable (0.4%)" in after.out
    looked = inside.run("index", *given, "do=look", "num_pairs=2", "resolution=64", cwd=tmp_path)
    assert looked.code == 0, looked.err
    for name in ("pairs", "statistics"):
        assert min(read_header(tmp_path / "looks" / f"mose_{name}.png")[:2]) > 200


def test_the_command_says_in_one_sentence_what_is_wrong(mose: Path, tmp_path: Path) -> None:
    inside.run("index", cwd=tmp_path).refused("data is not given", "data=<set>")
    inside.run("index", "data=mose", "data.root=nowhere", cwd=tmp_path).refused("does not exist")
    wrong = inside.run("index", "data=duts", f"data.root={mose}", cwd=tmp_path)
    wrong.refused("holds none of duts's splits", "DUTS-TR/DUTS-TR-Image", "to get: DUTS-TR.zip")
    inside.run("index", "data=world", cwd=tmp_path).refused("needs no index")
    here = ("data=mose", f"data.root={mose}", f"data.index={tmp_path / 'index'}")
    inside.run("index", *here, "index.runner=tractor", cwd=tmp_path).refused("index.runner")
    inside.run("index", *here, "do=look", cwd=tmp_path).refused(
        "holds no index yet; make it: ", f"python -m anydoor_lab.index data=mose data.root={mose}"
    )


def test_a_set_of_which_nothing_is_usable_ends_with_the_counts(tmp_path: Path) -> None:
    stills.msra(tmp_path)
    for path in (tmp_path / "MSRA10K_Imgs_GT/Imgs").glob("*.jpg"):
        path.write_bytes(b"no picture")
    begun = time.monotonic()
    given = ("data=msra", f"data.root={tmp_path}", f"data.index={tmp_path / 'index'}")
    ended = inside.run("index", *given, "index.workers=0", cwd=tmp_path)
    assert time.monotonic() - begun < 5
    ended.refused("holds no usable view of msra")
    assert "8 unreadable picture" in ended.out and "MSRA10K_Imgs_GT/Imgs/100.jpg" in ended.out


def test_a_row_says_where_its_view_comes_from(mose: Path, tmp_path: Path) -> None:
    index = indexed("mose", mose, tmp_path)
    row = index.row(0, tuple(COLUMNS))
    assert set(index.table.column_names) == {*COLUMNS, "key"}
    expected = {"set": "mose", "split": "train", "kind": "palette_video", "licence": row["licence"],
                "group": "00000000", "object": "1", "frame": 0, "frames": 3, "reason": None,
                "height": 120, "width": 160, "shard": None, "role": "both",
                "image": "train/JPEGImages/00000000/00000.jpg"}  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    stat = (mose / row["image"]).stat()
    assert (row["source_size"], row["source_mtime"]) == (stat.st_size, stat.st_mtime_ns)
    frames = index.numbers("frame").reshape(-1, 3)
    assert (frames == [0, 1, 2]).all(), "an object's frames stand together and in order"


def test_only_parts_whose_sources_changed_are_made_again(
    mose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, folder = copied(mose, tmp_path / "set"), tmp_path / "index"
    indexed("mose", root, folder)
    before = bytes_of(folder)
    made: list[str] = []
    honest = build.rows_of
    monkeypatch.setattr(build, "rows_of", lambda s: made.append(s.part.name) or honest(s))
    indexed("mose", root, folder)
    assert made == [] and bytes_of(folder) == before
    (root / "train/JPEGImages/00000002/00001.jpg").write_bytes(b"")
    os.utime(root / "train/Annotations/00000003/00001.png", ns=(1, 1))
    (root / "train/JPEGImages/00000004/00001.jpg").unlink()
    index = indexed("mose", root, folder)
    assert made == ["00000002", "00000003", "00000004"]
    assert index.rejected == {"unreadable picture": 2, "missing picture": 1}
    shutil.rmtree(root / "train/Annotations/00000005")
    index = indexed("mose", root, folder)
    assert len(list((folder / "parts").iterdir())) == 5
    assert "00000005" not in index.table["group"].to_pylist()


def test_a_damaged_part_or_index_is_made_again(mose: Path, tmp_path: Path) -> None:
    indexed("mose", mose, tmp_path)
    before = bytes_of(tmp_path)
    for path in (next((tmp_path / "parts").iterdir()), tmp_path / "index.arrow"):
        path.write_bytes(path.read_bytes()[:-40])
        if path.name == "index.arrow":
            with pytest.raises(InputError, match="index.arrow is damaged .* make the index again"):
                Index(tmp_path)
        indexed("mose", mose, tmp_path)
        assert bytes_of(tmp_path) == before


@pytest.mark.parametrize("workers", [0, 2])
def test_processes_make_the_same_bytes(workers: int, mose: Path, tmp_path: Path) -> None:
    indexed("mose", mose, tmp_path / "alone")
    paths = list(runners.local(index_part, specs("mose", mose, tmp_path / "pool"), workers=workers))
    write_index(tmp_path / "pool", paths)
    assert bytes_of(tmp_path / "pool") == bytes_of(tmp_path / "alone")


def _index(root: Path, folder: Path) -> None:
    indexed("mose", root, folder)


def test_an_index_that_was_killed_is_finished_with_the_same_bytes(
    mose: Path, tmp_path: Path
) -> None:
    indexed("mose", mose, tmp_path / "whole")
    rng, context = random.Random(0), multiprocessing.get_context("fork")
    folder = tmp_path / "killed"
    for _ in range(8):
        process = context.Process(target=_index, args=(mose, folder))
        process.start()
        process.join(rng.uniform(0.1, 1.2))
        process.kill()
        process.join()
        for path in (folder / "parts").glob("*.parquet"):  # whole parts only
            assert path.read_bytes() == (tmp_path / "whole/parts" / path.name).read_bytes()
    indexed("mose", mose, folder)
    left = {name: content for name, content in bytes_of(folder).items() if ".part" not in name[-5:]}
    assert left == bytes_of(tmp_path / "whole")


def _index_on_a_full_disk(root: Path, folder: Path, limit: int, queue: Any) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        indexed("mose", root, folder)
        queue.put("made")
    except FileError as error:
        queue.put(str(error))


@pytest.mark.parametrize("limit", [2_000, 14_000])
def test_a_full_disk_leaves_what_was_there(limit: int, mose: Path, tmp_path: Path) -> None:
    root, folder = copied(mose, tmp_path / "set"), tmp_path / "index"
    indexed("mose", root, folder)
    before = bytes_of(folder)
    assert 2_000 < min(len(b) for b in before.values()) < 14_000 < len(before["index.arrow"])
    os.utime(root / "train/Annotations/00000003/00001.png", ns=(1, 1))
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    process = context.Process(target=_index_on_a_full_disk, args=(root, folder, limit, queue))
    process.start()
    said = queue.get(timeout=60)
    process.join()
    assert "cannot be written" in said and "make room" in said
    after = bytes_of(folder)
    assert set(after) == set(before) and after["index.arrow"] == before["index.arrow"]


def test_the_default_folder_is_one_for_each_root(
    mose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    given = ("data=mose", f"data.root={mose}", "index.workers=0")
    assert inside.run("index", *given, cwd=tmp_path).code == 0
    link = tmp_path / "link"
    link.symlink_to(mose)
    shown = inside.run("index", "data=mose", f"data.root={link}", "do=check", cwd=tmp_path)
    assert "36 usable views" in shown.out
    assert len(list((tmp_path / "cache/anydoor_lab/indexes").iterdir())) == 1


def test_reasons_of_design_are_counted_but_not_named_as_broken(tmp_path: Path) -> None:
    stills.coco_panoptic(tmp_path)
    given = ("data=coco_panoptic", f"data.root={tmp_path}", f"data.index={tmp_path / 'index'}")
    ended = inside.run("index", *given, "index.workers=0", cwd=tmp_path)
    assert "refused 8 stuff, not a thing" in ended.out and "\n  stuff" not in ended.out


def test_an_index_of_another_version_is_refused(
    mose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(merge, "VERSION", 0)
    with pytest.raises(InputError, match="older version; make the index again"):
        indexed("mose", mose, tmp_path)
    monkeypatch.undo()
    assert len(indexed("mose", mose, tmp_path)) == 36


def test_an_excerpt_json_of_videos_is_one_part_of_many(tmp_path: Path) -> None:
    videos.youtube_vis(tmp_path)
    table = json.loads((tmp_path / "ytvis_2019/train.json").read_text())
    table["annotations"][0]["video_id"] = 999
    (tmp_path / "ytvis_2019/train.json").write_text(json.dumps(table))
    index = indexed("youtube_vis", tmp_path, tmp_path / "index")
    assert index.rejected == {"annotation without its video": 1}


def _started(root: Path, folder: Path) -> subprocess.Popen[str]:
    call = [sys.executable, "-m", "anydoor_lab.index", "data=mose", f"data.root={root}",
            f"data.index={folder}", "index.workers=1"]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[1])}
    return subprocess.Popen(
        call, env=environment, stderr=subprocess.PIPE, text=True, start_new_session=True
    )


def test_ctrl_c_ends_all_processes_and_leaves_whole_parts(mose: Path, tmp_path: Path) -> None:
    root, folder = tmp_path / "set", tmp_path / "index"
    for number in range(8):  # enough that it is not over at once
        for kind in ("JPEGImages", "Annotations"):
            for video in (mose / "train" / kind).iterdir():
                copied(video, root / "train" / kind / f"{number}{video.name}")
    process = _started(root, folder)
    while not list((folder / "parts").glob("*.parquet")):
        assert process.poll() is None
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors and "interrupted" in errors
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # what tracks shared memory ends a moment later
            os.killpg(process.pid, 0)
            time.sleep(0.1)
    assert not (folder / "index.arrow").exists() and not list(folder.rglob(".*.part"))
    assert 0 < len(list((folder / "parts").iterdir())) < 48
    indexed("mose", root, folder)
    indexed("mose", root, tmp_path / "straight")
    assert bytes_of(folder) == bytes_of(tmp_path / "straight")


def test_jobs_of_a_cluster_make_the_same_bytes(mose: Path, tmp_path: Path) -> None:
    indexed("mose", mose, tmp_path / "alone")
    asked = {"cluster": "local", "timeout_min": 5}
    own = specs("mose", mose, tmp_path / "jobs")
    paths = list(runners.submitit(index_part, own, workers=2, cluster=asked))
    write_index(tmp_path / "jobs", paths)
    shutil.rmtree(tmp_path / "jobs/jobs")
    assert bytes_of(tmp_path / "jobs") == bytes_of(tmp_path / "alone")
    with pytest.raises(InputError, match="index.cluster is not what submitit takes"):
        list(
            runners.submitit(index_part, own, workers=2, cluster={"cluster": "local", "minutes": 5})
        )


def test_ray_makes_the_same_bytes(mose: Path, tmp_path: Path) -> None:
    pytest.importorskip("ray", reason="the optional extra ray is not installed")
    indexed("mose", mose, tmp_path / "alone")
    own = specs("mose", mose, tmp_path / "ray")
    write_index(
        tmp_path / "ray", list(runners.ray(index_part, own, workers=2, cluster={"num_cpus": 2}))
    )
    assert bytes_of(tmp_path / "ray") == bytes_of(tmp_path / "alone")


def test_a_runner_that_is_not_installed_names_its_extra(
    mose: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = specs("mose", mose, tmp_path)
    for name, extra in (("submitit", "sweep"), ("ray", "ray")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(InputError, match=rf"pip install 'anydoor-lab\[{extra}\]'"):
            list(runners.runner_of(name)(index_part, own, workers=2, cluster=None))


def test_a_change_of_the_layout_or_the_splits_is_another_index(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    views.viton_hd(tmp_path / "set")
    given = (f"data.root={tmp_path / 'set'}", "index.workers=0")
    for name in ("viton_hd", "viton_hd_test"):
        assert "12 usable" in inside.run("index", f"data={name}", *given, cwd=tmp_path).out
    upper = "data.release.layouts.0.worn=[5]"
    ended = inside.run("index", "data=viton_hd", *given, upper, cwd=tmp_path)
    assert "10 usable views; refused 2 nothing worn above" in ended.out
    kept = inside.run("index", "data=viton_hd_test", *given, "do=check", cwd=tmp_path)
    assert "viton_hd_test test: 6 groups, 6 objects, 12 usable views" in kept.out


def test_all_refused_views_are_counted_and_some_of_them_named(tmp_path: Path) -> None:
    stills.sam(tmp_path)
    for path in tmp_path.rglob("*.json"):
        table = json.loads(path.read_text())
        tiny = {**table["annotations"][0], "area": 49_999, "id": 7}
        table["annotations"] += [tiny] * 10
        path.write_text(json.dumps(table))
    index = indexed("sam", tmp_path, tmp_path / "index")
    assert (index.usable, index.rejected) == (16, {"smaller than min_area": 80})
    assert len(index.refused) == EXAMPLES
