"""Picture files: what a reader may be handed, and what a writer must not lose."""

from __future__ import annotations

import io
import json
import os
import re
import struct
import threading
import time
import warnings
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms, PngImagePlugin

from anydoor_lab.conditioning.official import paste_decoded
from anydoor_lab.conditioning.placement import place
from anydoor_lab.data.readers.folder import Folder
from anydoor_lab.pipeline.inputs import make_pair
from anydoor_lab.report.maps import heat_over
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.checks import UnusablePair, check_finite
from anydoor_lab.structures.errors import InputError, RunError
from anydoor_lab.structures.files import check_writable, write_whole
from anydoor_lab.structures.images import (
    as_picture,
    read_facts,
    read_header,
    read_image,
    read_mask,
    read_original,
    read_rgba,
    write_image,
)
from anydoor_lab.structures.masks import marks_of, mask_of
from anydoor_lab.structures.originals import TooLargeError, original_of, over_white

MARKED = Box(5, 12, 8, 20).mask(20, 30)


def noise(height: int = 20, width: int = 30) -> np.ndarray:
    return np.random.default_rng(3).integers(0, 256, (height, width, 3), np.uint8)


def swapped_profile() -> bytes:
    """A profile through which red is seen as blue: sRGB's, two primaries exchanged."""
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    return profile.replace(b"rXYZ", b"????").replace(b"bXYZ", b"rXYZ").replace(b"????", b"bXYZ")


def seen(picture: Image.Image) -> np.ndarray:
    """A picture's colours through its profile, by PIL alone."""
    profile = ImageCms.ImageCmsProfile(io.BytesIO(picture.info["icc_profile"]))
    srgb = ImageCms.createProfile("sRGB")
    return np.asarray(ImageCms.profileToProfile(picture.convert("RGB"), profile, srgb)).astype(int)


def late_chunk(path: Path, kind: bytes, content: bytes) -> None:
    """Put a chunk behind the pixels of a PNG."""
    data = path.read_bytes()
    end = data.rindex(b"IEND") - 4
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    chunk = struct.pack(">I", len(content)) + kind + content + checksum
    path.write_bytes(data[:end] + chunk + data[end:])


# alpha


@pytest.mark.parametrize("alpha", [0, 90])
def test_the_colour_under_full_transparency_is_never_seen(tmp_path: Path, alpha: int) -> None:
    pictures = []
    for hidden in (0, 255):
        rgba = np.dstack([noise(), np.full((20, 30), alpha, np.uint8)])
        rgba[MARKED, 3] = 255
        rgba[:3] = (hidden, 7, hidden, 0)
        Image.fromarray(rgba).save(tmp_path / "a.png")
        pair = make_pair(Image.fromarray(rgba), noise(), box=[2, 2, 9, 9])
        assert np.array_equal(pair.reference, read_image(tmp_path / "a.png"))
        pictures.append(pair.reference)
    assert np.array_equal(*pictures)
    assert (pictures[0][:3] == 255).all()


def test_a_reference_is_shown_in_use_as_in_training(tmp_path: Path) -> None:
    rgba = np.dstack([noise(60, 60), np.zeros((60, 60), np.uint8)])
    rgba[10:50, 12:48, 3] = 255
    rgba[10:50, 48:52, 3] = 140
    Image.fromarray(rgba).save(tmp_path / "cup.png")
    trained_on = Folder(tmp_path).pair(0, np.random.default_rng(0))
    used = make_pair(Image.open(tmp_path / "cup.png"), noise(), box=[2, 2, 9, 9])
    assert np.array_equal(trained_on.reference, used.reference)
    assert np.array_equal(trained_on.reference_mask, used.reference_mask)


def test_a_scene_keeps_its_alpha_and_every_number_outside_of_the_change() -> None:
    alpha = np.tile(np.linspace(0, 255, 30).astype(np.uint8), (20, 1))
    stored = np.dstack([noise(), alpha])
    scene = original_of(Image.fromarray(stored))
    result = scene.rgb.copy()
    result[MARKED] = (250, 240, 230)
    written = np.asarray(scene.changed_to(result))
    assert np.array_equal(written[~MARKED], stored[~MARKED])
    assert np.array_equal(written[..., 3], alpha)
    allowed = MARKED & (alpha > 60)
    assert np.abs(over_white(written).astype(int) - result)[allowed].max() <= 2


def test_what_could_not_be_seen_in_a_scene_is_refused() -> None:
    alpha = np.where(MARKED, 0, 255).astype(np.uint8)
    scene = original_of(Image.fromarray(np.dstack([noise(), alpha])))
    scene.check_visible(np.roll(MARKED, 3, axis=1))
    with pytest.raises(ValueError, match="wholly transparent where the object goes"):
        scene.check_visible(MARKED)


# colour profiles and resolution


def test_a_profile_is_applied_on_reading_files_and_opened_pictures(tmp_path: Path) -> None:
    profile = swapped_profile()
    for name in ("a.png", "a.tif", "a.webp"):
        Image.fromarray(noise()).save(tmp_path / name, icc_profile=profile, lossless=True)
        assert np.abs(read_image(tmp_path / name).astype(int) - noise()[..., ::-1]).max() <= 2
    pair = make_pair(Image.open(tmp_path / "a.png"), noise(), MARKED, box=[2, 2, 9, 9])
    assert np.abs(pair.reference.astype(int) - noise()[..., ::-1]).max() <= 2
    Image.fromarray(np.dstack([noise(), MARKED * np.uint8(255)])).save(
        tmp_path / "c.png", icc_profile=profile
    )
    assert np.abs(read_rgba(tmp_path / "c.png")[..., :3].astype(int) - noise()[..., ::-1]).max() < 3


@pytest.mark.parametrize("transparent", [False, True])
def test_a_scene_looks_as_before_through_its_profile(tmp_path: Path, transparent: bool) -> None:
    stored = noise()
    if transparent:
        stored = np.dstack([stored, np.full((20, 30), 130, np.uint8)])
    file = tmp_path / "scene.png"
    Image.fromarray(stored).save(file, icc_profile=swapped_profile(), dpi=(300, 300))
    scene = read_original(file)
    result = scene.rgb.copy()
    result[MARKED] = (200, 160, 180)
    write_image(tmp_path / "out.png", scene.changed_to(result))
    with Image.open(tmp_path / "out.png") as written, Image.open(file) as before:
        assert np.array_equal(np.asarray(written)[~MARKED], stored[~MARKED])
        assert written.info["icc_profile"] == before.info["icc_profile"]
        assert written.info["dpi"] == before.info["dpi"]
        if not transparent:
            assert np.abs(seen(written)[MARKED] - (200, 160, 180)).max() <= 2
    assert np.abs(read_image(tmp_path / "out.png").astype(int) - result).max() <= 2


def test_a_profile_of_srgb_changes_no_pixel(tmp_path: Path) -> None:
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=srgb)
    assert np.array_equal(read_image(tmp_path / "a.png"), noise())
    Image.fromarray(noise()[..., 0]).save(tmp_path / "grey.png", icc_profile=srgb)
    assert np.array_equal(read_image(tmp_path / "grey.png")[..., 1], noise()[..., 0])


def test_a_damaged_profile_is_refused_with_a_sentence(tmp_path: Path) -> None:
    Image.fromarray(noise()).save(tmp_path / "a.png", icc_profile=b"no profile at all" * 20)
    with pytest.raises(InputError, match="a.png: the picture's colour profile is damaged.*sRGB"):
        read_image(tmp_path / "a.png")


# orientation


@pytest.mark.parametrize("kind", ["a.jpg", "a.webp", "a.png", "a.tif", "late.png", "xmp.png"])
@pytest.mark.parametrize("orientation", [1, 3, 6, 8])
def test_header_and_pixels_agree_on_what_is_upright(
    tmp_path: Path, kind: str, orientation: int
) -> None:
    path, exif = tmp_path / kind, Image.Exif()
    exif[0x0112] = orientation
    photo = Image.fromarray(noise(20, 30))
    if kind == "xmp.png":
        photo.save(path)
        words = f'<x tiff:Orientation="{orientation}"/>'.encode()
        late_chunk(path, b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + words)
    elif kind == "late.png":
        photo.save(path)
        late_chunk(path, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    else:
        photo.save(path, exif=exif)
    upright = (30, 20) if orientation in (6, 8) else (20, 30)
    assert read_image(path).shape[:2] == upright
    assert read_header(path) == (*upright, False)


@pytest.mark.parametrize("kind", ["cup.tif", "late.png"])
def test_a_turned_photo_of_any_format_is_usable_as_data(tmp_path: Path, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = 8
    Image.fromarray(noise(20, 30)).save(tmp_path / kind, exif=None if kind == "late.png" else exif)
    if kind == "late.png":
        late_chunk(tmp_path / kind, b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    mask = np.rot90(MARKED).astype(np.uint8) * 255
    Image.fromarray(mask).save(tmp_path / f"{Path(kind).stem}_mask.png")
    pair = Folder(tmp_path).pair(0, np.random.default_rng(0))
    assert np.array_equal(pair.scene, np.rot90(noise(20, 30)))


# masks


def labels(kind: str) -> Image.Image:
    grey = MARKED.astype(np.uint8)
    if kind == "palette":
        picture = Image.fromarray(grey).convert("P")
        picture.putpalette([0, 0, 0, 0, 0, 5] + [0] * 762)  # a blue that grey rounds to 0 or 1
        return picture
    if kind == "colour":
        return Image.fromarray(np.dstack([grey * 0, grey * 40, grey * 3]))
    number, top = kind.split("/")
    return Image.fromarray(grey.astype(number) * np.array(float(top), number))


@pytest.mark.parametrize(
    "kind",
    ["uint8/1", "uint8/7", "palette", "colour", "uint16/1", "uint16/255", "uint16/65535",
     "int32/1", "int32/255", "float32/1", "float32/0.25", "float32/255"],
)  # fmt: skip
def test_black_and_one_other_value_are_a_mask_at_any_scale(tmp_path: Path, kind: str) -> None:
    labels(kind).save(tmp_path / "a.tif")
    assert np.array_equal(read_mask(tmp_path / "a.tif"), MARKED)
    pair = make_pair(noise(), noise(), MARKED, scene_mask=labels(kind))
    assert np.array_equal(pair.scene_mask, MARKED)


@pytest.mark.parametrize(
    ("values", "scale"),
    [
        (np.linspace(0, 1, 600, dtype=np.float32), 1),
        (np.linspace(0, 255, 600).astype(np.uint16), 255),
        (np.linspace(0, 65535, 600).astype(np.uint16), 65535),
    ],
)
def test_shades_are_cut_in_the_middle_of_their_scale(values: np.ndarray, scale: int) -> None:
    values = values.reshape(20, 30)
    assert np.array_equal(marks_of(values), values > scale * 128 / 255)


@pytest.mark.parametrize("values", [[0, 1, 2, 3], [0.0, 0.1, 0.3, 0.2], [0, -1, 1, 1], [np.nan, 1]])
def test_a_mask_of_unclear_scale_is_refused_with_what_was_seen(values: list[float]) -> None:
    seen_values = np.array([values], np.float32)
    with pytest.raises(UnusablePair, match=r"(brightest value is|values go from) .*white \(255\)"):
        marks_of(seen_values)


def test_a_mask_whose_alpha_and_white_disagree_is_refused_with_both_counts() -> None:
    rgba = np.dstack([np.where(MARKED, 255, 0).astype(np.uint8)] * 3 + [np.full((20, 30), 255)])
    rgba = rgba.astype(np.uint8)
    assert np.array_equal(mask_of(Image.fromarray(rgba)), MARKED)
    rgba[0, 0, 3] = 0
    with pytest.raises(UnusablePair, match="alpha marks 599 pixels, its white 84"):
        mask_of(Image.fromarray(rgba))
    one_colour = np.dstack([np.zeros((20, 30, 3)), MARKED * 255]).astype(np.uint8)
    assert np.array_equal(mask_of(Image.fromarray(one_colour)), MARKED)


def test_a_reference_in_black_and_white_is_marked_by_its_alpha() -> None:
    rgba = np.dstack([np.zeros((20, 30, 3)), MARKED * 255]).astype(np.uint8)
    rgba[6:9, 9:14, :3] = 255
    pair = make_pair(Image.fromarray(rgba), noise(), box=[2, 2, 9, 9])
    assert np.array_equal(pair.reference_mask, MARKED)


# numbers


def test_a_float_picture_keeps_its_contrast_and_an_unclear_one_is_refused(tmp_path: Path) -> None:
    ramp = np.tile(np.linspace(0, 1, 30, dtype=np.float32), (20, 1))
    for top in (1, 255):
        Image.fromarray(ramp * top).save(tmp_path / "a.tif")
        read = read_image(tmp_path / "a.tif")
        assert np.abs(read[..., 0] - ramp * 255).max() <= 0.51
    for bad, words in ((ramp * 4, "0 to 4"), (ramp - 1, "-1 to 0"), (ramp * np.nan, "nan")):
        Image.fromarray(bad).save(tmp_path / "a.tif")
        with pytest.raises(InputError, match=f"a.tif: .*{words}; expected 0 to 1 or 255"):
            read_image(tmp_path / "a.tif")
    Image.fromarray((ramp * 255).astype(np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(InputError, match="0 to 255; expected 0 to 65535, save it with 8 bits"):
        read_image(tmp_path / "a.png")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_none_never_become_a_picture(bad: float) -> None:
    channels = np.zeros((3, 4, 4), np.float32)
    channels[1, 2, 3] = bad
    with pytest.raises(RunError, match="1 of 48 numbers .* not finite.*fp32"):
        as_picture(channels)
    pair = make_pair(noise(), noise(), MARKED, MARKED)
    placed = place(MARKED, 4, 1.1, 2.0)
    for casting in (
        lambda: paste_decoded(channels, pair, placed, "crop", "official"),
        lambda: paste_decoded(channels, pair, placed, "box", "default"),
        lambda: heat_over(noise(), channels[1]),
    ):
        with pytest.raises(RunError, match="not finite"):
            casting()
    for value in (bad, "5", True):
        with pytest.raises(InputError, match="expected a finite number"):
            check_finite("guidance_scale", value)


# files that are none, or too large


def test_a_small_file_of_many_pixels_is_refused_before_they_are_read(tmp_path: Path) -> None:
    Image.new("1", (9_000, 9_000)).save(tmp_path / "bomb.png")
    assert (tmp_path / "bomb.png").stat().st_size < 100_000
    for read in (read_image, read_mask, read_rgba, read_header):
        with pytest.raises(TooLargeError, match=r"bomb.png is 9000x9000 .* MiB .*shrink it first"):
            read(tmp_path / "bomb.png")
    Image.new("1", (10_000, 10_000)).save(tmp_path / "larger.png")
    with warnings.catch_warnings(), pytest.raises(TooLargeError):
        warnings.simplefilter("error")  # one sentence, not PIL's warning beside it
        read_image(tmp_path / "larger.png")
    with pytest.raises(TooLargeError):
        make_pair(Image.open(tmp_path / "bomb.png"), noise(), MARKED, box=[2, 2, 9, 9])


def waiting_pipe(path: Path) -> Path:
    """A pipe that nobody writes to; after 20 s it is closed, so that a reader fails."""
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    closing = threading.Timer(20, os.close, [held])
    closing.daemon = True
    closing.start()
    return path


def test_a_pipe_named_like_a_picture_does_not_hang_the_reader(tmp_path: Path) -> None:
    Image.fromarray(np.dstack([noise(), MARKED * np.uint8(255)])).save(tmp_path / "cup.png")
    pipe, began = waiting_pipe(tmp_path / "x.png"), time.monotonic()
    assert dict(Folder(tmp_path).counts.rejected) == {"unreadable picture": 1}
    with pytest.raises(FileNotFoundError, match="is a pipe or a device, no file"):
        read_image(pipe)
    assert time.monotonic() - began < 10


def test_what_is_no_picture_is_told_apart_in_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "empty.png").touch()
    (tmp_path / "program.png").write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n")
    for name, kind, words in (
        ("empty.png", InputError, "is empty"),
        ("program.png", InputError, "not a picture"),
        ("none.png", FileNotFoundError, "does not exist"),
        (".", FileNotFoundError, "is a folder"),
    ):
        with pytest.raises(kind, match=re.escape(str(tmp_path / name)) + ".*" + words):
            read_image(tmp_path / name)


def test_an_opened_picture_whose_file_is_torn_is_refused_with_its_name(tmp_path: Path) -> None:
    path = tmp_path / "torn.png"
    Image.fromarray(noise(200, 200)).save(path)
    path.write_bytes(path.read_bytes()[:9_000])
    with pytest.raises(InputError, match="torn.png is truncated or damaged"):
        make_pair(Image.open(path), noise(), MARKED, box=[2, 2, 9, 9])


# writing


@pytest.mark.parametrize("ending", [".png", ".jpg", ".JPEG", ".webp"])
def test_pictures_are_written_in_the_format_of_their_ending(tmp_path: Path, ending: str) -> None:
    smooth = np.tile(np.linspace(40, 200, 30).astype(np.uint8)[None, :, None], (20, 1, 3))
    sizes = []
    for quality in (20, 95):
        write_image(tmp_path / f"a{ending}", smooth + noise() // 8, quality=quality)
        sizes.append((tmp_path / f"a{ending}").stat().st_size)
        assert np.abs(read_image(tmp_path / f"a{ending}") - (smooth + noise() // 8.0)).mean() < 12
    assert (sizes[0] < sizes[1]) == (ending != ".png")


@pytest.mark.parametrize(
    ("write", "words"),
    [
        (lambda f: write_image(f / "a.gif", noise()), r"expected an ending of .png, .jpg"),
        (lambda f: write_image(f / "a.jpg", noise(), quality=0), "quality is 0"),
        (lambda f: write_image(f / "a.jpg", np.dstack([noise()] * 2)[..., :4]), "no alpha"),
    ],
)
def test_what_cannot_be_written_is_refused(
    tmp_path: Path, write: Callable[[Path], None], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        write(tmp_path)
    with pytest.raises(TypeError, match="expected uint8"):
        write_image(tmp_path / "a.png", noise() / 255)
    assert not list(tmp_path.iterdir())


def test_facts_of_a_png_come_back_and_damaged_or_missing_ones_are_told(tmp_path: Path) -> None:
    facts = {"seed": 7, "recipe": {"scene": "Straße 1.png", "box": [1, 2, 3, 4]}, "commit": "abc"}
    write_image(tmp_path / "a.png", noise(), facts=facts)
    assert read_facts(tmp_path / "a.png") == facts
    with Image.open(tmp_path / "a.png") as picture:
        assert json.loads(picture.info["anydoor_lab"]) == facts
    write_image(tmp_path / "b.png", noise())
    words = PngImagePlugin.PngInfo()
    words.add_text("anydoor_lab", "{")
    Image.fromarray(noise()).save(tmp_path / "c.png", pnginfo=words)
    for name, said in (("b.png", "carries no facts"), ("c.png", "are damaged")):
        with pytest.raises(InputError, match=said):
            read_facts(tmp_path / name)


def test_a_failed_write_leaves_what_was_there_and_no_half_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(OSError, match="taken"):
        write_whole(tmp_path / "taken", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_place_that_cannot_be_written_to_is_found_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe.png")
    check_writable(tmp_path / "new" / "a.png")
    check_writable(tmp_path / "file")
    assert not (tmp_path / "new").exists()
    wrong = [tmp_path, tmp_path / "pipe.png", tmp_path / "file" / "a.png", tmp_path / ("a" * 255)]
    for path in [*wrong, Path("/proc/none/a.png")]:
        with pytest.raises(InputError, match="choose another"):
            check_writable(path)
