"""Pairs drawn from an index: which views may stand together, and their pictures."""

from __future__ import annotations

import pickle
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anydoor_lab.conditioning.conditioner import Conditioner
from anydoor_lab.data.index.merge import write_index
from anydoor_lab.data.index.schema import table_of
from anydoor_lab.data.limits import Limits
from anydoor_lab.data.pairs import IndexedPairs
from anydoor_lab.structures import reduced
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.images import read_image
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.reduced import FACTORS, read_reduced
from anydoor_lab.training.samples import PairStream
from released import stills, videos, views
from test_index import indexed

OPEN = {"min_mask_area": 0.0, "max_mask_area": 1.0, "min_component": 0.0,
        "min_reference_box": 0.0, "max_scene_box": 1.0}  # fmt: skip


def row(**facts: Any) -> dict[str, Any]:
    """A usable row of an index, of an object in the middle of a picture of 100 x 100."""
    usual = {
        "set": "s", "split": "train", "kind": "k", "group": "g", "object": "1", "frame": 0,
        "frames": 10, "image": "x.jpg", "height": 100, "width": 100, "y1": 30, "y2": 70, "x1": 30,
        "x2": 70, "area": 0.1, "component": 1.0, "rle": b"", "role": "both", "licence": "l",
        "reason": None,
    }  # fmt: skip
    return usual | facts


def source_of(rows: list[dict[str, Any]], folder: Path, **settings: Any) -> IndexedPairs:
    import pyarrow.parquet as pq

    part = folder / "parts/one.parquet"
    part.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table_of(rows, {"sources": "x"}), part)
    (folder / "index.arrow").unlink(missing_ok=True)
    write_index(folder, [part])
    return IndexedPairs("s", folder, index=folder, **{"held_out": 0.0, **settings})


def shown(source: IndexedPairs, draws: int = 200) -> set[tuple[str, int, int]]:
    """(object, frame of the reference, frame of the scene) of many draws."""
    found = set()
    for draw in range(draws):
        for entry in range(len(source)):
            drawn = source.rows(entry, np.random.default_rng(draw))
            rows = [source.index.row(place, ("group", "object", "frame")) for place in drawn]
            assert (rows[0]["group"], rows[0]["object"]) == (rows[1]["group"], rows[1]["object"])
            found.add((rows[0]["object"], rows[0]["frame"], rows[1]["frame"]))
    return found


def test_two_frames_are_at_least_the_share_of_the_video_apart(tmp_path: Path) -> None:
    for frames, share, least in ((20, 0.3, 6), (30, 0.1, 3), (9, 0.1, 1)):
        rows = [row(frame=frame, frames=frames) for frame in range(frames)]
        source = source_of(rows, tmp_path, min_interval=share)
        distances = {abs(a - b) for _, a, b in shown(source, 2000)}
        assert distances == set(range(least, frames))


def test_every_allowed_pair_is_drawn_and_no_other(tmp_path: Path) -> None:
    rows = [
        row(frame=0), row(frame=1, x1=0, x2=90), row(frame=2, y1=40, y2=45), row(frame=5),
        row(frame=9, area=0.7), row(object="2", frame=0), row(object="2", frame=9, role="scene"),
    ]  # fmt: skip
    source = source_of(rows, tmp_path, min_interval=0.2)
    # 1 is too large for a scene, 2 too small for a reference, 9 has too large a mask
    assert shown(source, 2000) == {
        ("1", 0, 2), ("1", 0, 5), ("1", 1, 5), ("1", 5, 0), ("1", 5, 2), ("2", 0, 9)
    }  # fmt: skip


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_an_object_is_an_entry_exactly_when_it_has_a_pair(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    view = st.tuples(st.integers(0, 9), st.sampled_from(["both", "reference", "scene"]))
    track = st.lists(view, min_size=1, max_size=5, unique_by=lambda one: one[0])
    tracks = data.draw(st.lists(track, min_size=1, max_size=4))
    rows = [row(object=str(n), frame=frame, role=role)
            for n, track in enumerate(tracks) for frame, role in track]  # fmt: skip
    apart = data.draw(st.integers(1, 5))
    expected = {
        str(n): {(a, b) for a, one in track for b, two in track
                 if abs(a - b) >= apart and one != "scene" and two != "reference"}
        for n, track in enumerate(tracks)
    }  # fmt: skip
    with_pair = {name for name, pairs in expected.items() if pairs}
    folder = tmp_path_factory.mktemp("index")
    if not with_pair:
        with pytest.raises(InputError, match="no second view far enough"):
            source_of(rows, folder, min_interval=apart / 10)
        return
    source = source_of(rows, folder, min_interval=apart / 10)
    drawn = shown(source, 60)
    assert {name for name, _, _ in drawn} == with_pair and len(source) == len(with_pair)
    assert all((a, b) in expected[name] for name, a, b in drawn)


def test_what_each_filter_refuses_is_counted(tmp_path: Path) -> None:
    rows = [
        row(object="good", score=0.9), row(object="small", area=0.001),
        row(object="large", area=0.7), row(object="pieces", component=0.8),
        row(object="few", area=0.02), row(object="unsure", score=0.2),
        row(object="thin", x1=50, x2=55), row(object="wide", x1=5, x2=95),
        row(object="broken", reason="missing picture"),
    ]  # fmt: skip
    limits = {"min_mask_px": 300, "min_score": 0.5}
    source = source_of(rows, tmp_path, variation="still", limits=limits)
    assert source.counts.used == 1
    assert source.counts.rejected == {
        "mask too small": 1, "mask too large": 1, "mask in pieces": 1,
        "fewer pixels than min_mask_px": 1, "score too low": 1,
        "box too small for a reference": 1, "box too large for a scene": 1, "missing picture": 1,
    }  # fmt: skip


def test_a_set_without_a_pair_says_why(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no usable pair: 3 no second view far enough.*do=check"):
        source_of([row(object=str(n)) for n in range(3)], tmp_path)
    with pytest.raises(InputError, match="no usable pair: no views"):
        source_of([], tmp_path)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"variation": "film"}, "variation is 'film'; expected one of still, video, multiview"),
        ({"split": "test"}, "split is 'test'"),
        ({"min_interval": 1.0}, "min_interval is 1.0"),
        ({"held_out": -0.1}, "held_out is -0.1"),
        ({"limits": {"min_component": 2}}, "min_component is 2"),
        ({"limits": {"min_size": 2}}, "limits has no min_size; it has min_mask_area"),
        ({"limits": {"min_mask_area": 0.7}}, "expected the first to be smaller"),
        ({"limits": {"min_score": float("nan")}}, "min_score is nan"),
    ],
)
def test_wrong_settings_are_named(settings: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message.replace("(", r"\(")):
        source_of([row()], tmp_path, **settings)


def test_groups_are_held_out_whole_and_by_themselves(tmp_path: Path) -> None:
    rows = [row(group=f"v{group}", object=str(number), frame=frame)
            for group in range(60) for number in range(2) for frame in (0, 9)]  # fmt: skip

    def groups(split: str, some: list[dict[str, Any]], seed: int = 0) -> list[str]:
        source = source_of(some, tmp_path, split=split, held_out=0.3, seed=seed)
        assert source.note == ""
        return [
            source.index.row(source.rows(entry, np.random.default_rng(0))[0])["group"]
            for entry in range(len(source))
        ]

    train, held_out = groups("train", rows), groups("held_out", rows)
    assert set(Counter(train + held_out).values()) == {2} and not set(train) & set(held_out)
    assert 8 <= len(set(held_out)) <= 28
    assert set(groups("held_out", rows[40:])) == set(held_out) - {f"v{n}" for n in range(10)}
    assert set(groups("held_out", rows, seed=1)) != set(held_out)
    few = source_of(rows[:4], tmp_path, split="held_out", held_out=0.3)
    assert len(few) == 2 and "nothing is held out of 2" in few.note


@pytest.fixture(scope="module")
def vis(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("vis")
    videos.youtube_vis(root)
    indexed("youtube_vis", root, root / "index")
    return root, root / "index"


def test_a_pair_shows_one_object_in_two_frames(vis: tuple[Path, Path]) -> None:
    source = IndexedPairs("youtube_vis", vis[0], index=vis[1], held_out=0.0)
    for entry in range(len(source)):
        pair = source.pair(entry, np.random.default_rng(entry))
        assert (pair.variation, pair.quality) == ("video", "low")
        assert not np.array_equal(pair.reference, pair.scene)
        inner = [cut[mask].mean(0) for cut, mask in ((pair.reference, pair.reference_mask),
                                                     (pair.scene, pair.scene_mask))]  # fmt: skip
        assert np.abs(inner[0] - inner[1]).max() < 6, "the same colours, so the same object"


def test_a_pair_is_a_function_of_entry_and_draw_also_in_another_process(
    vis: tuple[Path, Path],
) -> None:
    source = IndexedPairs("youtube_vis", vis[0], index=vis[1], held_out=0.0)
    again = pickle.loads(pickle.dumps(source))
    for draw in range(5):
        one, two = (s.pair(3, np.random.default_rng(draw)) for s in (source, again))
        assert one.origin == two.origin and np.array_equal(one.scene, two.scene)
    first = PairStream(source, Conditioner(resolution=64, id_size=28), seed=1)
    second = PairStream(again, Conditioner(resolution=64, id_size=28), seed=1)
    for place in (4, 0, 17):
        a, b = first[place], second[place]
        assert all(np.array_equal(a[name], b[name]) for name in a)


def test_try_on_shows_the_garment_on_the_person(tmp_path: Path) -> None:
    views.viton_hd(tmp_path)
    indexed("viton_hd", tmp_path, tmp_path / "index")
    settings = {"min_interval": 0.0, "limits": {"max_scene_box": 1.0}, "held_out": 0.0}
    source = IndexedPairs(
        "viton_hd", tmp_path, index=tmp_path / "index", variation="multiview", **settings
    )
    assert len(source) == views.NUMBER
    pair = source.pair(1, np.random.default_rng(0))
    assert np.array_equal(pair.reference, read_reduced(tmp_path / "train/cloth/00001_00.jpg"))
    assert np.array_equal(pair.scene, read_reduced(tmp_path / "train/image/00001_00.jpg"))


def test_a_broken_picture_is_counted_and_replaced_always_by_the_same(
    tmp_path: Path,
) -> None:
    stills.msra(tmp_path)
    indexed("msra", tmp_path, tmp_path / "index")
    folder = tmp_path / "MSRA10K_Imgs_GT/Imgs"
    content = (folder / "101.jpg").read_bytes()
    (folder / "101.jpg").write_bytes(content[: len(content) // 2])
    (folder / "102.jpg").unlink()
    (folder / "103.jpg").write_bytes((folder / "104.jpg").read_bytes())
    Image.new("RGB", (40, 40)).save(folder / "104.jpg")
    flipped = bytearray((folder / "105.jpg").read_bytes())
    flipped[len(flipped) // 2] ^= 0xFF
    (folder / "105.jpg").write_bytes(flipped)
    source = IndexedPairs("msra", tmp_path, index=tmp_path / "index", variation="still",
                          held_out=0.0)  # fmt: skip
    streams = [PairStream(source, Conditioner(resolution=64, id_size=28), 3) for _ in range(2)]
    origins = [[stream.pair(place).origin for place in range(16)] for stream in streams]
    assert origins[0] == origins[1] and not {"101", "102", "104"} & {
        name.split("#")[1] for name in origins[0]
    }
    assert set(streams[0].rejected) == {
        "unreadable picture",
        "picture changed since it was indexed",
    }


def test_a_set_that_broke_after_indexing_stops_within_seconds(tmp_path: Path) -> None:
    stills.msra(tmp_path)
    indexed("msra", tmp_path, tmp_path / "index")
    for path in (tmp_path / "MSRA10K_Imgs_GT/Imgs").glob("*.jpg"):
        path.write_bytes(path.read_bytes()[:200])
    source = IndexedPairs("msra", tmp_path, index=tmp_path / "index", variation="still")
    begun = time.monotonic()
    with pytest.raises(RunError, match="50 entries in a row were unusable .50 unreadable picture"):
        PairStream(source, Conditioner(resolution=64, id_size=28))[0]
    assert time.monotonic() - begun < 5


@pytest.fixture
def large(tmp_path: Path) -> Path:
    rows, columns = np.mgrid[:1501, :2003]
    image = np.stack([rows / 6, columns / 8, 128 + 100 * np.sin(rows / 40)], axis=-1)
    Image.fromarray(image.astype(np.uint8)).save(tmp_path / "large.jpg", quality=95)
    return tmp_path / "large.jpg"


@pytest.mark.parametrize("factor", FACTORS)
def test_a_picture_read_reduced_is_the_picture_shrunk(factor: int, large: Path) -> None:
    import cv2

    image = read_image(large)
    height, width = (-(-side // factor) for side in image.shape[:2])
    expected = cv2.resize(image, (width, height), interpolation=cv2.INTER_AREA).astype(int)
    found = read_reduced(large, factor)
    assert found.shape == expected.shape
    assert np.abs(found - expected).mean() < 2, "the colours stand in their order"


@pytest.mark.parametrize("factor", FACTORS)
def test_simplejpeg_gives_the_same_pixels(
    factor: int, large: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("simplejpeg", reason="the optional extra jpeg is not installed")
    found = read_reduced(large, factor)
    monkeypatch.setattr(reduced, "_simplejpeg", lambda: None)
    assert np.array_equal(found, read_reduced(large, factor))


def test_simplejpeg_sees_a_hole_in_the_middle_of_a_file(large: Path) -> None:
    pytest.importorskip("simplejpeg", reason="the optional extra jpeg is not installed")
    content = large.read_bytes()
    half = len(content) // 2
    large.write_bytes(content[:half] + content[half + 2000 :])
    with pytest.raises(InputError, match=r"large.jpg is truncated or damaged"):
        read_reduced(large)


@pytest.mark.parametrize("mode", ["L", "CMYK", "RGBA", "I;16", "turned", "mirrored"])
def test_other_pictures_are_read_as_the_one_reader_reads_them(mode: str, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 255, (40, 61, 3), np.uint8)
    path = tmp_path / ("x.png" if mode in ("RGBA", "I;16") else "x.jpg")
    if mode in ("turned", "mirrored"):
        exif = Image.Exif()
        exif[0x0112] = {"turned": 6, "mirrored": 2}[mode]
        Image.fromarray(colours).save(path, exif=exif.tobytes())
    elif mode == "I;16":
        Image.fromarray(colours[..., 0].astype(np.uint16) * 257).save(path)
    else:
        Image.fromarray(colours).convert(mode).save(path)
    assert np.array_equal(read_reduced(path), read_image(path))


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_a_jpeg_cut_short_is_refused_where_opencv_would_make_up_the_rest(
    share: float, large: Path
) -> None:
    content = large.read_bytes()
    large.write_bytes(content[: int(share * len(content))])
    with pytest.raises(InputError, match="large.jpg"):
        read_reduced(large, 2)
    large.write_bytes(content + bytes(500))  # behind the picture there may be anything
    assert read_reduced(large, 8).shape == (188, 251, 3)


def test_pictures_are_reduced_only_as_far_as_the_model_does_not_see(tmp_path: Path) -> None:
    from rlemasklib import RLEMask

    image = np.random.default_rng(0).integers(0, 255, (1600, 2400, 3), np.uint8)
    Image.fromarray(image).save(tmp_path / "x.jpg")
    mask = np.zeros((1600, 2400), np.bool_)
    mask[300:1200, 500:1500] = True
    facts = dict(height=1600, width=2400, y1=300, y2=1200, x1=500, x2=1500, area=mask.mean(),
                 rle=RLEMask.from_array(mask).to_dict()["counts"])  # fmt: skip
    rows = [row(frame=frame, **facts) for frame in (0, 9)]
    sizes = {}
    for needed in (None, 512, 300, 100):
        source = source_of(rows, tmp_path, needed_px=needed, limits=OPEN)
        pair: Pair = source.pair(0, np.random.default_rng(0))
        sizes[needed] = (pair.reference.shape[0], pair.scene.shape[0])
        y1, y2 = np.flatnonzero(pair.scene_mask.any(1))[[0, -1]] * (1600 / pair.scene.shape[0])
        assert abs(y1 - 300) < 9 and abs(y2 - 1200) < 9
    assert sizes == {None: (1600, 1600), 512: (800, 800), 300: (400, 400), 100: (200, 200)}


def test_limits_of_no_effect_refuse_nothing(vis: tuple[Path, Path]) -> None:
    source = IndexedPairs("youtube_vis", vis[0], index=vis[1], limits=OPEN)
    references, scenes, rejected = Limits(**OPEN).judged(source.index)  # type: ignore[arg-type]
    assert references.all() and scenes.all() and not rejected


def test_a_mask_lost_by_reduction_is_an_unusable_pair(tmp_path: Path) -> None:
    from rlemasklib import RLEMask

    Image.new("RGB", (800, 800), (9, 9, 9)).save(tmp_path / "x.jpg")
    mask = np.zeros((800, 800), np.bool_)
    mask[100, 10:790] = True
    facts = dict(height=800, width=800, y1=100, y2=101, x1=10, x2=790, area=mask.mean(),
                 rle=RLEMask.from_array(mask).to_dict()["counts"])  # fmt: skip
    source = source_of([row(frame=f, **facts) for f in (0, 9)], tmp_path, needed_px=64, limits=OPEN)
    with pytest.raises(UnusablePair, match="empty mask"):
        source.pair(0, np.random.default_rng(0))


@pytest.mark.parametrize("workers", [1, 3])
def test_workers_show_the_same_samples_as_one_process(workers: int, vis: tuple[Path, Path]) -> None:
    from torch.utils.data import DataLoader

    source = IndexedPairs("youtube_vis", vis[0], index=vis[1], held_out=0.0)
    stream = PairStream(source, Conditioner(resolution=64, id_size=28), seed=2)
    places = list(range(7, 19))
    straight = [stream[place] for place in places]
    loader = DataLoader(
        stream, batch_size=None, sampler=places, num_workers=workers, multiprocessing_context="fork"
    )  # type: ignore[var-annotated]
    for one, two in zip(straight, loader, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)
