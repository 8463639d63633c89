"""Floor 0: boxes, pictures in files and in memory."""

from __future__ import annotations

import io
import re
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import (
    on_white,
    padded_square,
    read_image,
    read_mask,
    read_rgba,
    resized,
    resized_mask,
    write_image,
)
from anydoor_lab.structures.masks import mask_of
from anydoor_lab.structures.originals import alpha_of, over_white

SIDE = st.integers(1, 60)
QUICK = settings(max_examples=50, deadline=None)


@st.composite
def boxes_in_pictures(draw: st.DrawFn) -> tuple[Box, int, int]:
    height, width = draw(SIDE), draw(SIDE)
    y1, x1 = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
    y2, x2 = draw(st.integers(y1 + 1, height)), draw(st.integers(x1 + 1, width))
    return Box(y1, y2, x1, x2), height, width


def ramp(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 5, columns * 5, rows + columns], axis=2).astype(np.uint8)


def marked(height: int = 20, width: int = 30) -> np.ndarray:
    return Box(5, 12, 8, 20).mask(height, width)


# boxes


@QUICK
@given(boxes_in_pictures())
def test_a_box_around_its_own_mask_is_itself_and_half_open(drawn: tuple[Box, int, int]) -> None:
    box, height, width = drawn
    mask = box.mask(height, width)
    assert Box.around(mask) == box
    assert mask.sum() == box.height * box.width
    assert mask[box.slices].all()


@QUICK
@given(boxes_in_pictures(), st.floats(1, 4))
def test_a_grown_box_holds_the_box_and_stays_in_the_picture(
    drawn: tuple[Box, int, int], ratio: float
) -> None:
    box, height, width = drawn
    grown = box.grown(ratio, height, width)
    assert grown == grown.clipped(height, width)
    assert grown.y1 <= box.y1 < box.y2 <= grown.y2
    assert grown.x1 <= box.x1 < box.x2 <= grown.x2
    assert grown.height <= box.height * ratio + 2


@QUICK
@given(boxes_in_pictures())
def test_a_squared_box_is_square_unless_the_picture_cuts_it(drawn: tuple[Box, int, int]) -> None:
    box, height, width = drawn
    inside = box.squared(height, width)
    assert inside.y1 <= box.y1 and inside.y2 >= box.y2
    assert inside.x1 <= box.x1 and inside.x2 >= box.x2
    free = box.moved(100, 100).squared(300, 300)
    assert free.height == free.width == max(box.height, box.width)


@QUICK
@given(boxes_in_pictures(), st.integers(-50, 50), st.integers(-50, 50))
def test_moving_a_box_there_and_back_changes_nothing(
    drawn: tuple[Box, int, int], dy: int, dx: int
) -> None:
    assert drawn[0].moved(dy, dx).moved(-dy, -dx) == drawn[0]


@QUICK
@given(boxes_in_pictures(), st.integers(1, 8))
def test_scaling_a_box_up_and_down_by_a_whole_number_changes_nothing(
    drawn: tuple[Box, int, int], factor: int
) -> None:
    assert drawn[0].scaled(factor).scaled(1 / factor) == drawn[0]


@QUICK
@given(boxes_in_pictures(), st.integers(1, 60))
def test_a_shrunk_box_never_leaves_the_shrunk_picture(
    drawn: tuple[Box, int, int], side: int
) -> None:
    box, height, width = drawn
    scaled = box.scaled(side / max(height, width))
    assert scaled == scaled.clipped(side, side)


@QUICK
@given(boxes_in_pictures(), st.integers(-90, 90), st.integers(-90, 90))
def test_a_box_put_within_another_stays_inside_it(
    drawn: tuple[Box, int, int], dy: int, dx: int
) -> None:
    box, height, width = drawn
    frame = Box(0, height, 0, width)
    moved = box.moved(dy, dx).within(frame)
    assert moved == moved.clipped(height, width)
    assert (moved.height, moved.width) == (box.height, box.width)
    assert box.within(frame) == box


@pytest.mark.parametrize("values", [(5, 5, 0, 9), (5, 4, 0, 9), (0, 9, 3, 3), (0, 9, 3, 1)])
def test_a_box_without_area_is_refused(values: tuple[int, int, int, int]) -> None:
    with pytest.raises(ValueError, match="has no area; expected y1 < y2"):
        Box(*values)


def test_a_box_of_nothing_or_outside_the_picture_is_refused() -> None:
    with pytest.raises(ValueError, match="marks no pixel"):
        Box.around(np.zeros((4, 4), np.bool_))
    with pytest.raises(ValueError, match="no area"):
        Box(20, 30, 0, 5).clipped(10, 10)


# pictures


def test_a_written_picture_is_read_back_bit_for_bit_in_rgb_order(tmp_path: Path) -> None:
    picture = ramp()
    picture[0, 0] = (255, 0, 0)
    write_image(tmp_path / "deep" / "a.png", picture)
    read = read_image(tmp_path / "deep" / "a.png")
    assert np.array_equal(read, picture)
    assert tuple(read[0, 0]) == (255, 0, 0)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(tmp_path: Path, orientation: int) -> None:
    stored = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: np.rot90(a, 1),
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: np.rot90(a, -1),
    }[orientation](ramp())
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.ascontiguousarray(stored)).save(tmp_path / "a.png", exif=exif)
    assert np.array_equal(read_image(tmp_path / "a.png"), ramp())


def test_sixteen_bits_are_scaled_and_not_clipped(tmp_path: Path) -> None:
    grey = np.linspace(0, 65535, 256).round().astype(np.uint16).reshape(16, 16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    read = read_image(tmp_path / "a.png").astype(int)
    assert np.abs(read[..., 0] - np.arange(256).reshape(16, 16)).max() <= 1
    assert np.array_equal(read_mask(tmp_path / "a.png"), read[..., 0] > 128)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "BMP", "TIFF"])
@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_truncated_file_is_refused_with_its_name(tmp_path: Path, kind: str, share: float) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, kind)
    path = tmp_path / "torn.bin"
    path.write_bytes(buffer.getvalue()[: int(len(buffer.getvalue()) * share)])
    with pytest.raises(ValueError, match=re.escape(str(path))):
        read_image(path)


def gigantic_header(side: int) -> bytes:
    def chunk(name: bytes, content: bytes) -> bytes:
        checksum = struct.pack(">I", zlib.crc32(name + content))
        return struct.pack(">I", len(content)) + name + content + checksum

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
@pytest.mark.parametrize("side", [10_100, 20_000])
def test_a_gigantic_picture_is_refused_from_its_header(tmp_path: Path, side: int) -> None:
    path = tmp_path / "huge.png"
    path.write_bytes(gigantic_header(side))  # no pixels behind it: decoding would say "damaged"
    with pytest.raises(ValueError, match="shrink it first"):
        read_image(path)


def test_no_file_a_folder_and_no_picture_are_refused_with_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("words")
    with pytest.raises(ValueError, match="not a picture"):
        read_image(tmp_path / "a.txt")
    for path in (tmp_path, tmp_path / "missing.png"):
        with pytest.raises(FileNotFoundError, match="give a picture's path"):
            read_image(path)


def has_alpha(path: Path) -> bool:
    with Image.open(path) as picture:
        return alpha_of(picture) is not None


def test_alpha_is_found_kept_applied_and_read_as_mask(tmp_path: Path) -> None:
    alpha = np.where(marked(), 200, 100).astype(np.uint8)
    rgba = np.dstack([ramp(), alpha])
    Image.fromarray(rgba).save(tmp_path / "a.png")
    Image.fromarray(ramp()).save(tmp_path / "opaque.png")
    assert has_alpha(tmp_path / "a.png") and not has_alpha(tmp_path / "opaque.png")
    assert np.array_equal(read_rgba(tmp_path / "a.png"), rgba)
    assert np.array_equal(read_image(tmp_path / "a.png"), over_white(rgba))
    assert np.array_equal(read_mask(tmp_path / "a.png"), marked())
    assert (read_rgba(tmp_path / "opaque.png")[..., 3] == 255).all()


def test_grey_and_palette_masks_are_cut_above_128(tmp_path: Path) -> None:
    grey = np.array([[0, 128, 129, 255]], np.uint8)
    for name, mode in (("grey.png", "L"), ("palette.png", "P")):
        Image.fromarray(grey).convert(mode).save(tmp_path / name)
        assert read_mask(tmp_path / name).tolist() == [[False, False, True, True]]


def test_a_fully_opaque_alpha_marks_nothing_and_gives_way_to_grey(tmp_path: Path) -> None:
    grey = np.where(marked(), 255, 0).astype(np.uint8)
    opaque = np.full_like(grey, 255)
    for name, bands in (("la.png", [grey, opaque]), ("rgba.png", [grey, grey, grey, opaque])):
        Image.fromarray(np.dstack(bands)).save(tmp_path / name)
        assert not has_alpha(tmp_path / name)
        assert np.array_equal(read_mask(tmp_path / name), marked())


def keyed(depth: str) -> Image.Image:
    """A picture whose pixels of value 0, all outside `marked`, are named transparent."""
    grey = np.where(marked(), 100, 0).astype(np.uint16 if depth == "I;16" else np.uint8)
    if depth == "RGB":
        return Image.fromarray(np.dstack([grey] * 3))
    return Image.fromarray(grey) if depth == "I;16" else Image.fromarray(grey).convert(depth)


@pytest.mark.parametrize("depth", ["P", "L", "RGB", "I;16"])
def test_transparency_without_a_channel_counts_as_alpha(tmp_path: Path, depth: str) -> None:
    transparent = (0, 0, 0) if depth == "RGB" else 0
    keyed(depth).save(tmp_path / "a.png", transparency=transparent)
    assert has_alpha(tmp_path / "a.png")
    assert np.array_equal(read_mask(tmp_path / "a.png"), marked())
    with Image.open(tmp_path / "a.png") as picture:
        assert np.array_equal(mask_of(picture), marked())


@QUICK
@given(SIDE, SIDE)
def test_squares_are_centred_and_filled(height: int, width: int) -> None:
    square = padded_square(np.full((height, width, 3), 7, np.uint8), 255)
    assert square.shape == (max(height, width),) * 2 + (3,)
    inside = Box.around(square[..., 0] == 7)
    assert (inside.height, inside.width) == (height, width)
    below = square.shape[0] - inside.y2
    assert below - inside.y1 in (0, 1)


def test_resizing_and_cutting_out_leave_the_input_alone() -> None:
    picture, mask = ramp(), marked()
    kept = picture.copy()
    small, large = resized(picture, 5, 7), resized(picture, 50, 70)
    assert small.shape == (5, 7, 3) and large.shape == (50, 70, 3)
    white = on_white(picture, mask)
    assert (white[~mask] == 255).all()
    assert np.array_equal(white[mask], picture[mask])
    assert np.array_equal(picture, kept)
    assert np.array_equal(resized_mask(resized_mask(mask, 40, 60), 20, 30), mask)
