"""The user's own pictures: found, matched with masks, refused by reason, turned into pairs."""

from __future__ import annotations

import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from anydoor_lab.data.readers.cutout import MAX_SIDE_PX, placed
from anydoor_lab.data.readers.folder import Folder
from anydoor_lab.data.split import split_names
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for

SHARED = Path(__file__).resolve().parents[2] / "shared" / "samples"


def rng(index: int = 0) -> np.random.Generator:
    return rng_for(0, index, "pair")


def photo(height: int = 40, width: int = 60, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)


def disc(height: int = 40, width: int = 60) -> np.ndarray:
    y, x = np.ogrid[:height, :width]
    inside = (y - height / 2) ** 2 + (x - width / 2) ** 2 < (min(height, width) * 0.35) ** 2
    return inside.astype(np.uint8) * 255


def cutout(height: int = 40, width: int = 60) -> np.ndarray:
    return np.dstack([np.full((height, width, 3), (200, 10, 10), np.uint8), disc(height, width)])


def save(path: Path, image: np.ndarray, **options: object) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path, **options)
    return path


def filled(root: Path, number: int) -> Path:
    for index in range(number):
        save(root / f"cup{index}.png", cutout(40 + 3 * index, 60))
    return root


def same(first: Pair, second: Pair) -> bool:
    return all(
        np.array_equal(getattr(first, name), getattr(second, name))
        for name in ("reference", "reference_mask", "scene", "scene_mask")
    )


@pytest.mark.parametrize(
    ("picture", "mask"),
    [
        ("cup.jpg", "cup_mask.png"),
        ("CUP.JPG", "CUP_MASK.PNG"),
        ("cup.webp", "cup-mask.bmp"),
        ("cup.jpg", "masks/cup.png"),
        ("images/cup.jpg", "masks/cup.png"),
        ("Images/red/cup.jpeg", "Masks/red/cup_mask.png"),
        ("red/cup.jpg", "red/masks/cup.tif"),
    ],
)
def test_a_photo_finds_its_mask_by_name(tmp_path: Path, picture: str, mask: str) -> None:
    save(tmp_path / picture, photo())
    save(tmp_path / mask, disc())
    source = Folder(tmp_path)
    pair = source.pair(0, rng())
    assert str(source.counts) == "1 used, 0 rejected"
    assert np.array_equal(pair.scene_mask, disc() > 128)
    assert np.array_equal(pair.reference, pair.scene)
    assert (pair.variation, pair.origin) == ("still", picture)


def test_a_photo_keeps_its_own_pixels_and_size(tmp_path: Path) -> None:
    save(tmp_path / "a.png", photo(40, 60))
    save(tmp_path / "a_mask.png", disc(40, 60))
    save(tmp_path / "b.png", photo(301, 77))
    save(tmp_path / "b_mask.png", disc(301, 77))
    source = Folder(tmp_path)
    assert np.array_equal(source.pair(0, rng()).scene, photo(40, 60))
    assert source.pair(1, rng()).scene.shape == (301, 77, 3)


@pytest.mark.parametrize("suffix", ["png", "webp"])
def test_a_cutout_is_shown_on_white_and_placed_into_a_larger_scene(
    tmp_path: Path, suffix: str
) -> None:
    save(tmp_path / f"cup.{suffix}", cutout(), **({"lossless": True} if suffix == "webp" else {}))
    source = Folder(tmp_path)
    for index in range(8):
        pair = source.pair(0, rng(index))
        assert (pair.reference[~pair.reference_mask] == 255).all()
        assert 0.01 <= pair.scene_mask.mean() <= 0.64
        assert pair.scene_mask.sum() == pair.reference_mask.sum(), "the object was resampled"
        assert (pair.scene[pair.scene_mask] == (200, 10, 10)).all()
        assert not (pair.scene[~pair.scene_mask] == (200, 10, 10)).all(axis=1).any()


def test_cutouts_stand_on_the_folders_own_opaque_pictures(tmp_path: Path) -> None:
    save(tmp_path / "cup.png", cutout())
    save(tmp_path / "wall.png", np.full((90, 120, 3), (1, 2, 3), np.uint8))
    source = Folder(tmp_path)
    pair = source.pair(0, rng())
    assert (pair.scene[~pair.scene_mask] == (1, 2, 3)).all()
    assert dict(source.counts.rejected) == {"no mask": 1}


def test_cutouts_stand_on_the_scenes_asked_for(tmp_path: Path) -> None:
    save(tmp_path / "cups" / "cup.png", cutout())
    save(tmp_path / "cups" / "wall.png", np.full((90, 120, 3), (1, 2, 3), np.uint8))
    save(tmp_path / "rooms" / "room.jpg", np.full((90, 120, 3), 77, np.uint8))
    pair = Folder(tmp_path / "cups", scenes=tmp_path / "rooms").pair(0, rng())
    assert (pair.scene[~pair.scene_mask] == 77).all()
    with pytest.raises(ValueError, match="no opaque picture"):
        Folder(tmp_path / "cups", scenes=filled(tmp_path / "more", 1))


def test_a_large_cutout_shrinks_without_a_fringe_of_what_lies_under_its_alpha() -> None:
    rgba = cutout(2300, 2300)
    rgba[rgba[..., 3] == 0, :3] = (0, 255, 0)
    scene, mask = placed(rgba, np.zeros((50, 50, 3), np.uint8), (0.01, 0.64), rng())
    assert scene.shape == (MAX_SIDE_PX, MAX_SIDE_PX, 3)
    assert scene[..., 1].max() <= 11, "green from under the transparent part shows"
    assert 0.01 <= mask.mean() <= 0.64


def test_scenes_depend_on_the_draws_and_on_nothing_else(tmp_path: Path) -> None:
    root = filled(tmp_path, 3)
    first, again = Folder(root), Folder(root)
    assert same(first.pair(1, rng(5)), again.pair(1, rng(5)))
    assert not same(first.pair(1, rng(5)), first.pair(1, rng(6)))


def test_every_refusal_is_counted_under_its_reason(tmp_path: Path) -> None:
    save(tmp_path / "good.png", cutout())
    save(tmp_path / "bare.jpg", photo())
    save(tmp_path / "opaque.png", np.dstack([photo(), np.full((40, 60), 255, np.uint8)]))
    save(tmp_path / "ghost.png", np.dstack([photo(), np.zeros((40, 60), np.uint8)]))
    hair = np.zeros((40, 400), np.uint8)
    hair[20] = 255
    masks = {
        "other_size": disc(41, 60),
        "empty": np.zeros((40, 60), np.uint8),
        "whole": np.full((40, 60), 255, np.uint8),
        "speck": np.pad(np.full((2, 2), 255, np.uint8), ((0, 38), (0, 58))),
        "large": np.pad(np.full((38, 58), 255, np.uint8), 1),
        "twice": disc(),
    }
    for name, mask in masks.items():
        save(tmp_path / f"{name}.jpg", photo())
        save(tmp_path / f"{name}_mask.png", mask)
    save(tmp_path / "masks" / "twice.png", disc())
    save(tmp_path / "hair.png", np.dstack([photo(40, 400), hair]))
    save(tmp_path / "lonely_mask.png", disc())
    save(tmp_path / "alone-mask.jpg", photo())
    (tmp_path / "text.png").write_text("no picture at all")
    (tmp_path / "empty_file.jpg").touch()
    save(tmp_path / ".hidden.png", cutout())
    save(tmp_path / ".cache" / "cup.png", cutout())
    source = Folder(tmp_path)
    assert source.counts.used == len(source) == 1
    assert dict(source.counts.rejected) == {
        "no mask": 2,
        "empty mask": 2,
        "mask of another size than its photo": 1,
        "mask covering everything": 1,
        "mask too small": 2,
        "mask too large": 1,
        "more than one mask": 1,
        "mask without its picture": 2,
        "unreadable picture": 2,
    }
    assert "1 used, 14 rejected (" in source.report()


@pytest.mark.parametrize("part", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("kind", ["cup.png", "cup.jpg"])
def test_a_truncated_picture_is_refused_and_never_half_shown(
    tmp_path: Path, kind: str, part: float
) -> None:
    filled(tmp_path, 1)
    path = save(tmp_path / kind, cutout() if kind.endswith("png") else photo(200, 300))
    if kind.endswith("jpg"):
        save(tmp_path / "cup_mask.png", disc(200, 300))
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * part)])
    source = Folder(tmp_path)
    if len(source) == 1:
        assert dict(source.counts.rejected) == {"unreadable picture": 1}
    else:
        with pytest.raises(UnusablePair, match="unreadable picture"):
            source.pair([entry.name for entry in source._entries].index(kind), rng())


def test_a_truncated_mask_is_refused(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    save(tmp_path / "a.jpg", photo())
    path = save(tmp_path / "a_mask.png", disc())
    path.write_bytes(path.read_bytes()[:-60])
    assert dict(Folder(tmp_path).counts.rejected) == {"unreadable mask": 1}


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_500, 100_000])
def test_a_gigantic_picture_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    header = b"IHDR" + struct.pack(">IIBBBBB", side, side, 8, 6, 0, 0, 0)
    chunk = struct.pack(">I", 13) + header + struct.pack(">I", zlib.crc32(header))
    idat = struct.pack(">I", 0) + b"IDAT" + struct.pack(">I", zlib.crc32(b"IDAT"))
    (filled(tmp_path, 1) / "bomb.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk + idat)
    assert dict(Folder(tmp_path).counts.rejected) == {"gigantic picture": 1}


def test_grey_16_bit_and_palette_pictures_are_read_at_full_contrast(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 65535, 60).astype(np.uint16), (40, 1))
    save(tmp_path / "deep.png", ramp)
    save(tmp_path / "deep_mask.png", disc().astype(np.uint16) * 257)
    save(tmp_path / "grey.png", photo()[..., 0])
    Image.fromarray(disc()).convert("1").save(tmp_path / "grey_mask.png")
    Image.fromarray(photo()).convert("P").save(tmp_path / "palette.png")
    save(tmp_path / "palette_mask.png", np.dstack([disc()] * 3 + [np.full_like(disc(), 255)]))
    source = Folder(tmp_path)
    assert len(source) == 3, source.report()
    deep, grey, _ = (source.pair(index, rng()) for index in range(3))
    assert deep.scene.min() == 0 and deep.scene.max() == 255
    assert (grey.scene[..., 0] == grey.scene[..., 2]).all()
    for index in range(3):
        assert np.array_equal(source.pair(index, rng()).scene_mask, disc() > 128)


def test_a_mask_files_alpha_counts_unless_it_is_opaque_everywhere(tmp_path: Path) -> None:
    save(tmp_path / "a.jpg", photo())
    save(tmp_path / "a_mask.png", np.dstack([photo(), disc()]))
    save(tmp_path / "b.jpg", photo())
    save(tmp_path / "b_mask.png", np.dstack([disc(), np.full_like(disc(), 255)]))
    save(tmp_path / "c.jpg", photo())
    Image.fromarray(disc()).convert("P").save(tmp_path / "c_mask.png", transparency=0)
    source = Folder(tmp_path)
    for index in range(3):
        assert np.array_equal(source.pair(index, rng()).scene_mask, disc() > 128)


@pytest.mark.parametrize("kind", ["a.jpg", "a.png", "a.webp"])
def test_a_photo_turned_by_exif_matches_the_mask_of_the_upright_picture(
    tmp_path: Path, kind: str
) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    save(tmp_path / kind, photo(40, 60), exif=exif)
    save(tmp_path / "a_mask.png", disc(60, 40))
    assert Folder(tmp_path).pair(0, rng()).scene.shape == (60, 40, 3)


def test_links_may_not_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside = save(tmp_path / "private" / "secret.png", cutout())
    for name, target in (("link.png", outside), ("link", outside.parent)):
        root = filled(tmp_path / f"with_{name}", 1)
        (root / name).symlink_to(target)
        with pytest.raises(ValueError, match=rf"{name} leads out of"):
            Folder(root)
    inside = filled(tmp_path / "inside", 1)
    (inside / "again.png").symlink_to(inside / "cup0.png")
    (inside / "loop.png").symlink_to(inside / "loop.png")
    assert str(Folder(inside).counts) == "2 used, 1 rejected (1 unreadable picture)"


def test_a_wrong_root_is_answered_with_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not exist"):
        Folder(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="is not a folder"):
        Folder(save(tmp_path / "a" / "cup.png", cutout()))
    (tmp_path / "b").mkdir()
    with pytest.raises(ValueError, match="holds no picture"):
        Folder(tmp_path / "b")
    save(tmp_path / "c" / "cup.jpg", photo())
    with pytest.raises(ValueError, match=r"no usable picture: 0 used, 1 rejected \(1 no mask\)"):
        Folder(tmp_path / "c")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"split": "test"}, "split is 'test'"),
        ({"held_out": 1.0}, "held_out is 1.0"),
        ({"min_mask_area": 0.5, "max_mask_area": 0.1}, "min_mask_area"),
        ({"min_mask_area": 0.0}, "min_mask_area"),
    ],
)
def test_arguments_out_of_range_are_refused(tmp_path: Path, wrong: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Folder(filled(tmp_path, 2), **wrong)


def test_sub_folders_are_seen_only_when_asked_for(tmp_path: Path) -> None:
    filled(tmp_path, 1)
    filled(tmp_path / "more", 2)
    save(tmp_path / "images" / "a.jpg", photo())
    save(tmp_path / "masks" / "a.png", disc())
    assert len(Folder(tmp_path)) == 4
    assert len(Folder(tmp_path, recursive=False)) == 2


def test_the_splits_share_nothing_and_lose_nothing(tmp_path: Path) -> None:
    filled(tmp_path, 10)
    parts = {
        (split, seed): {entry.name for entry in Folder(tmp_path, split=split, seed=seed)._entries}
        for split in ("train", "held_out")
        for seed in (0, 1)
    }
    assert len(parts["held_out", 0]) == 2
    assert not parts["train", 0] & parts["held_out", 0]
    assert len(parts["train", 0] | parts["held_out", 0]) == 10
    assert parts["held_out", 0] != parts["held_out", 1]


def test_a_handful_of_pictures_serves_both_splits_and_says_so(tmp_path: Path) -> None:
    filled(tmp_path, 4)
    train, held_out = Folder(tmp_path), Folder(tmp_path, split="held_out")
    assert len(train) == len(held_out) == 4
    assert "train and held_out are the same" in held_out.report()
    assert Folder(filled(tmp_path, 6)).note == ""


def test_another_picture_leaves_most_of_the_split_as_it_was() -> None:
    names = [f"cup{index}.png" for index in range(50)]
    before = split_names(names, "held_out", 0, 0.2)
    after = split_names([*names, "new.png"], "held_out", 0, 0.2)
    assert len(before) == 10 and len(before & after) >= 9


@pytest.mark.shared
def test_the_sample_cutouts_become_pairs_on_the_sample_photos(tmp_path: Path) -> None:
    if not (SHARED / "references").is_dir():
        pytest.skip(f"{SHARED / 'references'} is not there")
    source = Folder(SHARED / "references", scenes=SHARED / "scenes")
    assert str(source.counts) == "4 used, 7 rejected (7 no mask)"
    for index in range(len(source)):
        pair = source.pair(index, rng(index))
        assert 0.01 <= pair.scene_mask.mean() <= 0.64
    shutil.copytree(SHARED / "scenes", tmp_path / "scenes")
    assert Folder(tmp_path / "scenes").counts.rejected["no mask"] == 4


@pytest.mark.shared
def test_dreambooth_photos_are_refused_for_want_of_masks() -> None:
    if not (SHARED / "dreambooth").is_dir():
        pytest.skip(f"{SHARED / 'dreambooth'} is not there")
    with pytest.raises(ValueError, match=r"0 used, 90 rejected \(90 no mask\)"):
        Folder(SHARED / "dreambooth")
