"""Data sets as they are released: each is read, and what is broken in it is counted and named."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anydoor_lab.config.compose import compose_config, plain
from anydoor_lab.data.index.build import reader_of, rows_of
from anydoor_lab.data.index.layouts import Release, layout_of, specs_of
from anydoor_lab.data.index.views import Spec
from anydoor_lab.data.readers import KINDS
from anydoor_lab.data.readers.segmentation import rle_of
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.names import conf_dir
from released import TREES, stills, videos, views
from released.drawn import encoded, photo, runs, save_json, save_palette, save_picture

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


NAMES = ["../secret.jpg", "/etc/hostname", "a/../../secret.jpg", "link.jpg", "folder/secret.jpg",
         "nul\0.jpg", "..\\secret.jpg", "", None, 7, ["x"], "x" * 5000]  # fmt: skip


@pytest.mark.parametrize("bad", NAMES, ids=lambda name: repr(name)[:20])
def test_no_name_in_an_annotation_leads_out_of_the_pictures(
    bad: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "set"
    stills.coco_val2017(root)
    image, _ = photo(0, height=240, width=320)
    save_picture(tmp_path / "secret.jpg", image)
    (root / "val2017/link.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "val2017/folder").symlink_to(tmp_path, target_is_directory=True)
    save_picture(root / "secret.jpg", image)
    path = root / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    table["images"][0]["file_name"] = bad
    table["images"][0].pop("coco_url")
    path.write_text(json.dumps(table))
    opened: list[Path] = []
    from anydoor_lab.data.index import build

    honest = build.opened
    monkeypatch.setattr(build, "opened", lambda path: opened.append(path) or honest(path))
    found = rows("coco_val2017", root)
    outside = [row for row in found if row["reason"] == "path out of the root"]
    missing = [row for row in found if row["reason"] == "missing picture"]
    assert len(outside) + len(missing) == 2
    assert all(row["detail"].startswith("annotations/instances_val2017.json") for row in outside)
    assert not [path for path in opened if "secret" in path.name or "link" in path.name]


def test_a_whole_folder_of_pictures_may_lie_elsewhere(tmp_path: Path) -> None:
    stills.coco_val2017(tmp_path / "disk")
    root = tmp_path / "set"
    root.mkdir()
    for name in ("annotations", "val2017"):
        (root / name).symlink_to(tmp_path / "disk" / name, target_is_directory=True)
    assert reasons(rows("coco_val2017", root)) == {"crowd"}


def _cut(path: Path, share: float) -> None:
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * share)])


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9, 0.999])
def test_pictures_and_masks_cut_short_are_refused(share: float, tmp_path: Path) -> None:
    videos.mose(tmp_path)
    video = "00000001"
    _cut(tmp_path / f"train/JPEGImages/{video}/00002.jpg", share)
    _cut(tmp_path / f"train/Annotations/{video}/00004.png", min(share, 0.9))  # its end is empty
    found = [row for row in rows("mose", tmp_path) if row["reason"]]
    assert {row["reason"] for row in found} == {"unreadable picture", "unreadable mask"}
    assert all("0000" in row["detail"] for row in found)


def test_faults_of_a_video_are_named(tmp_path: Path) -> None:
    videos.youtube_vos(tmp_path)
    pictures, masks = (tmp_path / "train" / name for name in ("JPEGImages", "Annotations"))
    (pictures / "00000000/00000.jpg").unlink()
    (pictures / "00000000/00005.jpg").write_bytes(b"")
    save_picture(pictures / "00000000/00010.jpg", np.zeros((40, 50, 3), np.uint8))
    save_palette(masks / "00000000/00015.png", np.zeros((120, 160)))  # nobody is there
    save_picture(masks / "00000000/00020.png", np.zeros((120, 160, 3), np.uint8))  # colours
    save_palette(masks / "00000000/00025.png", np.ones((120, 160)))
    for path in (masks / "00000001").iterdir():
        path.unlink()
    meta = tmp_path / "train/meta.json"
    table = json.loads(meta.read_text())
    table["videos"]["00000002"]["objects"]["9"] = {"category": "cat", "frames": ["00000"]}
    meta.write_text(json.dumps(table))
    assert reasons(rows("youtube_vos", tmp_path)) == {
        "missing picture", "unreadable picture", "mask of another size than its photo",
        "mask of colours", "mask covering everything", "video without masks",
        "object without a mask",
    }  # fmt: skip


def test_a_bomb_is_refused_from_its_header(tmp_path: Path) -> None:
    stills.msra(tmp_path)
    folder = tmp_path / "MSRA10K_Imgs_GT/Imgs"
    Image.new("1", (20000, 20000)).save(folder / "100.png")
    Image.new("L", (20000, 20000)).save(folder / "101.jpg")
    found = {row["image"][-7:]: row["reason"] for row in rows("msra", tmp_path) if row["reason"]}
    assert found == {"100.jpg": "unreadable mask", "101.jpg": "gigantic picture"}


def _rotated(path: Path, image: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.rot90(image)).save(path, exif=exif.tobytes())


def test_grey_cmyk_sixteen_bit_alpha_and_turned_pictures_are_read(tmp_path: Path) -> None:
    root = tmp_path / "MSRA10K_Imgs_GT/Imgs"
    image, numbers = photo(0, objects=1)
    for name in ("grey", "cmyk", "turned"):
        save_picture(root / f"{name}.png", (numbers > 0).astype(np.uint8) * 255)
    Image.fromarray(image).convert("L").save(root / "grey.jpg")
    Image.fromarray(image).convert("CMYK").save(root / "cmyk.jpg")
    _rotated(root / "turned.jpg", image)
    assert reasons(rows("msra", tmp_path)) == set()
    videos.mose(tmp_path)
    frames = tmp_path / "train/JPEGImages/00000000"
    deep = np.asarray(Image.fromarray(image).convert("L")).astype(np.uint16) * 257
    Image.fromarray(deep).save(frames / "00000.png")
    (frames / "00000.jpg").unlink()
    Image.fromarray(np.dstack([image, image[..., 0]])).save(frames / "00001.png")
    (frames / "00001.jpg").unlink()
    assert reasons(rows("mose", tmp_path)) == set()


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_names_with_accents_are_found_in_both_forms(form: str, tmp_path: Path) -> None:
    import unicodedata

    other = {"NFC": "NFD", "NFD": "NFC"}[form]
    image, numbers = photo(0, objects=1)
    for frame in range(3):
        for folder, kind in (("JPEGImages", form), ("Annotations", other)):
            place = tmp_path / "train" / folder / unicodedata.normalize(kind, "Bär")
            name = unicodedata.normalize(kind, f"é{frame}")
            if folder == "JPEGImages":
                save_picture(place / f"{name}.jpg", image)
            else:
                save_palette(place / f"{name}.png", numbers)
    assert [row["reason"] for row in rows("mose", tmp_path)] == [None] * 3
    stills.coco_val2017(tmp_path)
    old = tmp_path / "val2017/000000000139.jpg"
    old.rename(old.with_name(unicodedata.normalize(form, "Bär.jpg")))
    path = tmp_path / "annotations/instances_val2017.json"
    table = json.loads(path.read_text())
    table["images"][0]["file_name"] = unicodedata.normalize(other, "Bär.jpg")
    path.write_text(json.dumps(table))
    assert reasons(rows("coco_val2017", tmp_path)) == {"crowd"}


JSONS = {
    "youtube_vis": "ytvis_2019/train.json", "burst": "train/all_classes.json",
    "lvis": "lvis_v1_train.json", "coco_panoptic": "annotations/panoptic_val2017.json",
    "youtube_vos": "train/meta.json", "sam": "sa_000000/sa_223750.json",
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(set(JSONS) - {"sam"}))
def test_a_json_cut_in_the_middle_is_named(name: str, tmp_path: Path) -> None:
    TREES[name](tmp_path)
    _cut(tmp_path / JSONS[name], 0.6)
    with pytest.raises(InputError, match=f"{Path(JSONS[name]).name}.* cut short"):
        specs(name, tmp_path)


def test_a_picture_with_a_broken_json_of_its_own_is_counted(tmp_path: Path) -> None:
    stills.sam(tmp_path)
    _cut(tmp_path / JSONS["sam"], 0.6)
    found = rows("sam", tmp_path)
    assert reasons(found) == {"unreadable annotation"}
    assert sum(not row["reason"] for row in found) == USABLE["sam"] - 2


def _places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """All places in a JSON value."""
    yield path
    items = (
        node.items()
        if isinstance(node, dict)
        else enumerate(node)
        if isinstance(node, list)
        else ()
    )
    for key, value in items:
        yield from _places(value, (*path, key))


NONSENSE = [None, "", "x", -1, 2.5, [], {}, [None], True, 10**30, "\0", [[1]], {"counts": "x"}]


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trees")
    with pytest.MonkeyPatch.context() as few:
        few.setattr(videos, "VIDEOS", 2)
        few.setattr(videos, "FRAMES", 3)
        few.setattr(stills, "PICTURES", 2)
        for name in JSONS:
            TREES[name](folder / name)
    return folder


@pytest.mark.parametrize("name", sorted(JSONS))
@given(data=st.data())
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_no_nonsense_in_a_json_does_more_than_being_refused(
    name: str, trees: Path, data: st.DataObject
) -> None:
    path = trees / name / JSONS[name]
    whole = path.read_text()
    changed = json.loads(whole)
    *above, last = data.draw(st.sampled_from([p for p in _places(changed) if p]))
    node = changed
    for key in above:
        node = node[key]
    node[last] = data.draw(st.sampled_from(NONSENSE))
    save_json(path, changed)
    try:
        rows(name, trees / name)
    except InputError as error:
        assert path.name in str(error)
    finally:
        path.write_text(whole)


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
