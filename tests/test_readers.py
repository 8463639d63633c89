"""Data sets as they are released: each is read, and what is broken in it is counted and named."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anydoor_lab.config.compose import compose_config, plain
from anydoor_lab.data.index.build import reader_of, rows_of
from anydoor_lab.data.index.layouts import Release, layout_of, specs_of
from anydoor_lab.data.index.views import Spec
from anydoor_lab.data.readers import KINDS
from anydoor_lab.data.readers.segmentation import rle_of
from anydoor_lab.data.readers.ytvis import size_of
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir
from released import TREES, videos, views
from released.drawn import encoded, photo, runs, save_picture

SETS = sorted(
    path.stem
    for path in (conf_dir() / "data").glob("*.yaml")
    if "release:" in path.read_text(encoding="utf-8")
)
USABLE = {
    "youtube_vos": 120, "youtube_vis": 114, "uvo": 228, "mose": 120, "vipseg": 120, "burst": 228,
    "mvimgnet": 45, "viton_hd": 12, "fashion_tryon": 24, "msra": 8, "duts": 16, "hflickr": 16,
    "lvis": 16, "sam": 16, "cocoee": 12, "coco_val2017": 16, "coco_panoptic": 16,
    "viton_hd_test": 12, "davis": 120,
}  # fmt: skip


def release_of(name: str) -> Release:
    cfg = compose_config("index", f"data={name}", "data.root=none")
    return Release(**plain(cfg.data)["release"])


def specs(name: str, root: Path) -> list[Spec]:
    return list(specs_of(name, root, release_of(name), root / "index"))


def rows(name: str, root: Path) -> list[dict[str, Any]]:
    return [row for spec in specs(name, root) for row in rows_of(spec)]


def reasons(found: list[dict[str, Any]]) -> set[str]:
    return {row["reason"] for row in found if row.get("reason")}


def test_every_set_has_a_tree_and_every_kind_of_storage_a_set() -> None:
    assert set(SETS) == set(TREES)
    kinds = {layout["reader"] for name in SETS for layout in release_of(name).layouts}
    assert kinds == set(KINDS)


@pytest.mark.parametrize("name", sorted(USABLE))
def test_every_object_of_a_set_is_found_where_it_is(name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    found = rows(name, tmp_path)
    usable = [row for row in found if not row["reason"]]
    assert len(usable) == USABLE[name]
    assert reasons(found) <= {"crowd", "stuff, not a thing"}
    for row in usable:
        with Image.open(tmp_path / row["image"]) as picture:
            assert (row["width"], row["height"]) == picture.size
        assert 0 <= row["y1"] < row["y2"] <= row["height"]
        assert 0 <= row["x1"] < row["x2"] <= row["width"]
        assert 0 < row["area"] < 1 and 0 < row["component"] <= 1
        assert 0 <= row["frame"] < row["frames"]


@pytest.mark.parametrize(
    ("name", "tree"),
    [
        ("vipseg", videos.vipseg_converted),
        ("mvimgnet", views.mvimgnet_of_the_released_code),
        ("mvimgnet", views.mvimgnet2),
        ("youtube_vis", videos.youtube_vos),
        ("dreambooth", views.references_of_the_released_code),
    ],
)
def test_a_set_is_found_in_its_other_layouts(name: str, tree: Any, tmp_path: Path) -> None:
    tree(tmp_path)
    found = rows(name, tmp_path)
    assert sum(not row["reason"] for row in found) > 0
    assert reasons(found) <= {"stuff, not a thing"}


@pytest.mark.parametrize(
    ("name", "moves"),
    [
        ("coco_panoptic", {"annotations/panoptic_val2017": "panoptic_val2017"}),
        ("coco_val2017", {"val2017": "images/val2017"}),
        ("lvis", {"train2017": "coco/train2017", "lvis_v1_train.json": "lvis/lvis_v1_train.json"}),
        ("burst", {"frames": "images"}),
        ("youtube_vis", {"train": "ytvis_2019/train"}),
    ],
)
def test_a_set_is_found_as_other_projects_keep_it(
    name: str, moves: dict[str, str], tmp_path: Path
) -> None:
    TREES[name](tmp_path)
    for old, new in moves.items():
        (tmp_path / new).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / old).rename(tmp_path / new)
    assert sum(not row["reason"] for row in rows(name, tmp_path)) == USABLE[name]


def test_sizes_written_with_a_point_are_sizes() -> None:
    assert size_of({"height": 480.0, "width": 640}) == (480, 640)
    assert size_of({"height": 480.5, "width": "640"}) == (0, 0)


def test_both_spellings_of_vipseg_mark_the_same_things(tmp_path: Path) -> None:
    videos.vipseg(tmp_path / "raw")
    videos.vipseg_converted(tmp_path / "converted")
    masks = []
    for place in ("raw", "converted"):
        usable = [row for row in rows("vipseg", tmp_path / place) if not row["reason"]]
        own = {(row["group"], row["frame"], row["rle"]) for row in usable}
        masks.append({key for key in own if key[0] != "0_abc"})
    assert masks[0] == masks[1]


def test_dresses_and_coats_are_garments_too(tmp_path: Path) -> None:
    views.viton_hd(tmp_path)
    worn = [row for row in rows("viton_hd", tmp_path) if row["role"] == "scene"]
    assert [row["reason"] for row in worn] == [None] * views.NUMBER
    upper = {**release_of("viton_hd").layouts[0], "worn": [5]}
    layout = {k: v.replace("{split}", "train") if isinstance(v, str) else v
              for k, v in upper.items() if k != "reader"}  # fmt: skip
    reader = reader_of("tryon")
    parts = list(reader.parts(tmp_path, **layout))
    refused = [view for part in parts for view in reader.views(tmp_path, part) if view.reason]
    assert {view.group for view in refused} == {"00001_00", "00002_00"}


def test_subjects_without_masks_are_cut_out_where_they_are(tmp_path: Path) -> None:
    from rlemasklib import RLEMask

    image, numbers = photo(1, 2, objects=1, height=200, width=200)
    save_picture(tmp_path / "dataset/dog/00.jpg", image)
    (row,) = rows("dreambooth", tmp_path)
    mask = RLEMask.from_dict({"size": [200, 200], "counts": row["rle"]}).to_array() > 0
    both = (mask & (numbers > 0)).sum() / (mask | (numbers > 0)).sum()
    assert both > 0.8


@given(seed=st.integers(0, 10**6))
@settings(max_examples=30, deadline=None)
def test_masks_are_read_as_coco_reads_them(seed: int) -> None:
    from pycocotools import mask as coco

    rng = np.random.default_rng(seed)
    height, width = rng.integers(1, 60, 2)
    mask = rng.random((height, width)) < rng.random()
    for spelling in (runs(mask), encoded(mask), encoded(mask)["counts"]):
        assert (rle_of(spelling, height, width).to_array().astype(bool) == mask).all()
    outline = (rng.random(2 * rng.integers(3, 9)) * max(height, width) * 1.2 - 2).tolist()
    drawn = coco.decode(coco.merge(coco.frPyObjects([outline], int(height), int(width))))
    own = rle_of([outline], int(height), int(width)).to_array()
    assert (own.astype(bool) == drawn.astype(bool)).all()


BAD_MASKS = [
    {"size": [4, 5], "counts": [1, 2]},
    {"size": [4, 5], "counts": [-5, 25]},
    {"size": [4, 5], "counts": [1.5, 18.5]},
    {"size": [4, 5], "counts": [2**40]},
    {"size": [4, 5], "counts": "abc"},
    {"size": [4, 5], "counts": "ÿþ~~~"},
    {"size": [4, 5], "counts": None},
    {"size": [5, 4], "counts": [20]},
    {"size": None, "counts": [20]},
    {"size": 7, "counts": [20]},
    {},
    [],
    [[1, 2, 3, 4]],
    [[1, 2, 3, 4, 5]],
    [[0, 0, float("nan"), 1, 2, 2]],
    [[0, 0, 1e300, 1, 2, 2]],
    [["a"] * 6],
    7,
    "",
    None,
]


@pytest.mark.parametrize("mask", BAD_MASKS, ids=repr)
def test_a_mask_that_is_none_is_refused(mask: Any) -> None:
    with pytest.raises(UnusablePair):
        rle_of(mask, 4, 5)


def test_a_layout_says_what_of_it_is_missing(tmp_path: Path) -> None:
    videos.youtube_vos(tmp_path)
    assert layout_of(tmp_path, release_of("youtube_vos"), "train").state == "found"
    partly = layout_of(tmp_path, release_of("youtube_vis"), "valid")
    assert (partly.state, partly.present) == ("missing", ())
    (tmp_path / "train/Annotations").rename(tmp_path / "train/Masks")
    partly = layout_of(tmp_path, release_of("youtube_vos"), "train")
    assert (partly.state, partly.absent) == ("partly found", ("train/Annotations",))
    with pytest.raises(InputError, match="train/Annotations not found; to get: train.zip"):
        specs("youtube_vos", tmp_path)


def test_a_layout_may_not_hold_what_its_reader_does_not_know(tmp_path: Path) -> None:
    release = release_of("youtube_vos")
    wrong = Release(release.splits, [{**release.layouts[0], "mask": "x"}], {}, "")
    with pytest.raises(InputError, match="palette_video has no mask; it has .*masks"):
        layout_of(tmp_path, wrong, "train")
