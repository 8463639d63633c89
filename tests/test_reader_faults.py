"""Data sets with faults: each is counted by its reason and named, nothing else happens."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from anydoor_lab.data.index import build
from anydoor_lab.structures.errors import InputError
from released import TREES, stills, videos
from released.drawn import photo, save_json, save_palette, save_picture
from test_readers import USABLE, reasons, rows, specs

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
