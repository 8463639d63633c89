from __future__ import annotations

import io
import subprocess
import sys
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image

from anydoor_lab.report.caption import TINY_LABEL, Caption
from anydoor_lab.report.figures import compare_runs, loss_curves, save, timestep_curves
from anydoor_lab.report.maps import framed, heat_over
from anydoor_lab.report.pictures import PARTS, picture_grid
from anydoor_lab.report.sheets import GAP_PX, Cell, grid, sheet
from anydoor_lab.report.tables import MISSING, Column, Table
from anydoor_lab.structures.files import write_whole
from anydoor_lab.structures.images import as_picture, write_image

TINY = Caption(
    "Made-up & rounded",
    "tiny",
    "crop=box, dino=tiny_judge",
    seed=(0, 1),
    commit="abcdef012345",
    n=9,
)
ROWS = [
    {"run": "none | hf", "clip": 81.26, "clip_low": 80.0, "clip_high": 82.55, "psnr": 30.123456789},
    {"run": "original", "clip": 1 / 3, "psnr": None},
]
COLUMNS = (
    Column("run", "Collage"),
    Column("clip", "CLIP score", better="higher"),
    Column("psnr", "Background", unit="dB", digits=2, better="higher"),
)


def picture(height: int = 16, width: int = 16) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def pixels(figure: Figure, path: Path) -> np.ndarray:
    return np.asarray(Image.open(save(figure, path)).convert("RGB"))


def test_csv_gives_back_unrounded_rows_with_all_a_number_depends_on(tmp_path: Path) -> None:
    paths = Table(ROWS, COLUMNS, TINY).write(tmp_path / "new", "scores")
    read = pd.read_csv(paths["csv"])
    expected = pd.DataFrame(ROWS)
    pd.testing.assert_frame_equal(read[list(expected.columns)], expected, check_exact=True)
    assert set(read["scale"]) == {"tiny"}
    assert set(read["protocol"]) == {TINY.protocol}
    assert set(read["commit"]) == {"abcdef0"}
    assert sorted(path.name for path in (tmp_path / "new").iterdir()) == [
        "scores.csv",
        "scores.md",
        "scores.tex",
    ]


def test_tiny_numbers_are_labelled_in_every_text_and_others_are_not() -> None:
    tiny = Table(ROWS, COLUMNS, TINY)
    paper = Table(ROWS, COLUMNS, Caption("Scores", "sd21"))
    for text in (tiny.markdown(), tiny.terminal(), tiny.latex()):
        assert TINY_LABEL in text
        assert "n 9" in text
        assert "seed 0 1" in text
    for text in (paper.markdown(), paper.terminal(), paper.latex(), paper.csv()):
        assert "tiny" not in text


def test_cells_are_rounded_with_their_interval_unit_and_arrow() -> None:
    lines = Table(ROWS, COLUMNS, TINY).markdown().splitlines()
    header, first, second = ([cell.strip() for cell in lines[i].split(" | ")] for i in (2, 4, 5))
    assert header[1:] == ["CLIP score ↑", "Background (dB) ↑ |"]
    assert first == [r"| none \| hf", "81.3 [80.0, 82.5]", "30.12 |"]
    assert second[1:] == ["0.3", f"{MISSING} |"]


def test_latex_escapes_what_latex_would_read() -> None:
    text = Table(ROWS, COLUMNS, TINY).latex()
    assert r"Made-up \& rounded" in text
    assert r"tiny\_judge" in text
    assert r"$\uparrow$" in text
    assert text.isascii()


def test_a_table_takes_a_dataframe_and_refuses_unknown_columns_and_no_rows() -> None:
    frame = pd.DataFrame(ROWS)
    assert Table(frame, COLUMNS, TINY).latex() == Table(ROWS, COLUMNS, TINY).latex()
    with pytest.raises(ValueError, match="no row has lpips"):
        Table(ROWS, [Column("lpips")], TINY)
    with pytest.raises(ValueError, match="has no row"):
        Table([], COLUMNS, TINY)


def test_a_failed_write_leaves_the_old_file_whole(tmp_path: Path) -> None:
    path = write_whole(tmp_path / "a" / "table.md", "old")
    with pytest.raises(UnicodeEncodeError):
        write_whole(path, "new \ud800")
    assert path.read_text() == "old"
    assert [entry.name for entry in path.parent.iterdir()] == ["table.md"]


def test_sheet_enlarges_pixel_for_pixel_without_blur() -> None:
    image = picture()
    made = sheet([[image, image], [image]], side_px=64)
    assert made.shape == (128 + GAP_PX, 128 + GAP_PX, 3)
    np.testing.assert_array_equal(made[2:64:4, 2:64:4], image)
    assert set(map(tuple, made[:64, :64].reshape(-1, 3))) == set(map(tuple, image.reshape(-1, 3)))
    assert (made[64 + GAP_PX :, 64 + GAP_PX :] == 255).all()


def test_sheet_fits_other_sizes_and_kinds_into_its_cells() -> None:
    mask = np.zeros((100, 300), bool)
    mask[:, :150] = True
    made = sheet([[picture(300, 90), mask, picture(16, 8)[..., 0]]], side_px=64)
    assert made.shape == (64, 3 * 64 + 2 * GAP_PX, 3)
    assert (made[:, :20] == 255).all()
    with pytest.raises(TypeError, match="uint8 or bool"):
        sheet([[picture() / 255]])
    with pytest.raises(ValueError, match="no picture"):
        sheet([[], []])


def test_mask_outline_is_drawn_on_its_rim_only_and_spares_the_callers_image() -> None:
    image, mask = picture(), np.zeros((16, 16), bool)
    mask[4:12, 4:12] = True
    before = image.copy()
    plain, marked = sheet([[image]], 160), sheet([[Cell(image, mask)]], 160)
    changed = (plain != marked).any(axis=2)
    assert changed[40, 45:115].all()
    assert not changed[55:105, 55:105].any()
    assert not changed[:30].any()
    np.testing.assert_array_equal(image, before)
    with pytest.raises(ValueError, match="same size"):
        Cell(image, mask[:-1]).drawn(64)


def test_grid_shows_the_sheet_exactly_with_room_for_its_texts(tmp_path: Path) -> None:
    rows = [[picture(), Cell(picture())], [picture(), picture()]]
    bare = pixels(grid(rows, side_px=64), tmp_path / "bare.png")
    figure = grid(rows, ["reference", "result"], ["first", "second"], str(TINY), side_px=64)
    full = pixels(figure, tmp_path / "full.png")
    expected = sheet(rows, 64)
    margin = (bare.shape[0] - expected.shape[0]) // 2
    inner = bare[margin:, margin:][: expected.shape[0], : expected.shape[1]]
    np.testing.assert_array_equal(inner, expected)
    assert full.shape[0] > bare.shape[0]
    assert full.shape[1] > bare.shape[1]


def test_compared_runs_show_intervals_anchors_and_the_tiny_label(tmp_path: Path) -> None:
    rows = [{**ROWS[0], "dino": 60.0}, {**ROWS[1], "dino": 50.0}]
    anchors = {"copy-paste": {"clip": 90.0, "dino": 88.0}, "another object": {"dino": 1.0}}
    figure = compare_runs(rows, TINY, anchors)
    assert pixels(figure, tmp_path / "runs.png").std() > 5
    assert [axes.get_xlabel() for axes in figure.axes] == ["CLIP score ↑", "DINO score ↑"]
    legend = figure.legends[0]
    assert [text.get_text() for text in legend.get_texts()] == list(anchors)
    assert TINY_LABEL in legend.get_title().get_text()
    assert "dino=tiny_judge" in figure.get_supxlabel()
    without = compare_runs(rows, TINY)
    assert TINY_LABEL in without.get_suptitle()
    with pytest.raises(ValueError, match="hold none of clip, dino"):
        compare_runs([{"run": "a"}], TINY)


def test_loss_curves_are_split_by_timestep_and_variation_where_logged(tmp_path: Path) -> None:
    rows = [
        {"samples": 16 * i, "loss": 1 / i, "loss/t_500_1000": 2 / i, "loss/t_0_500": 1 / i}
        for i in range(1, 30)
    ]
    rows[3]["loss/video"] = rows[9]["loss/video"] = 0.4
    figure = loss_curves(rows, TINY)
    assert pixels(figure, tmp_path / "loss.png").std() > 5
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == ["all samples", "by timestep", "by variation"]
    names = [text.get_text() for text in figure.axes[1].get_legend().get_texts()]
    assert names == ["t 0–500", "t 500–1000"]
    sets = {f"loss/set/set_{number}": 0.5 for number in range(14)}
    mixed = loss_curves([{**row, **sets} for row in rows], TINY)
    assert [axes.get_title() for axes in mixed.axes][-1] == "by set"
    drawn = mixed.axes[-1].get_legend().get_texts()
    assert [text.get_text() for text in drawn][:2] == ["set–0", "set–1"] and len(drawn) == 14
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # matplotlib says so where the axes have no room left
        mixed.canvas.draw()
    only = loss_curves([{"samples": 1, "loss": 0.5}], TINY)
    assert len(only.axes) == 1
    with pytest.raises(ValueError, match="expected samples and loss"):
        loss_curves([{"step": 1}], TINY)


def test_the_same_figure_gives_the_same_file(tmp_path: Path) -> None:
    first, second = (save(compare_runs(ROWS, TINY), tmp_path / f"{i}.png") for i in range(2))
    assert first.read_bytes() == second.read_bytes()
    assert Image.open(io.BytesIO(first.read_bytes())).format == "PNG"


def test_reports_need_neither_torch_nor_pyplot() -> None:
    code = (
        "import sys, anydoor_lab.report.figures, anydoor_lab.report.tables;"
        "print({'torch', 'matplotlib.pyplot'} & set(sys.modules))"
    )
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "set()"


def test_timestep_curves_run_from_noise_to_picture_with_one_legend(tmp_path: Path) -> None:
    t = np.array([900, 500, 100])
    lines = {"video": np.array([0.3, 0.2, 0.1]), "still": np.array([0.1, 0.2, 0.3])}
    figure = timestep_curves(t, {"ats=on": lines, "ats=off": lines}, TINY, "share", stepped=True)
    assert pixels(figure, tmp_path / "t.png").std() > 5
    assert [axes.get_title() for axes in figure.axes] == ["ats=on", "ats=off"]
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert left > right
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["video", "still"]
    assert TINY_LABEL in figure.legends[0].get_title().get_text()
    with pytest.raises(ValueError, match="no panel"):
        timestep_curves(t, {}, TINY, "share")


def test_arrays_of_the_networks_become_pictures() -> None:
    collage = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 2, 2)
    picture = as_picture(collage)
    assert picture.shape == (2, 2, 3)
    assert picture.dtype == np.uint8
    assert (picture.min(), picture.max()) == (0, 255)
    assert as_picture(np.zeros((1, 2, 2)), -1).tolist() == [[128, 128], [128, 128]]
    assert as_picture(np.zeros((3, 2, 2)), 0).max() == 0


def test_heat_is_brightest_where_it_is_largest_and_keeps_its_blocks() -> None:
    picture = np.full((64, 64, 3), 128, np.uint8)
    heat = np.array([[0.0, 1.0], [0.5, 0.0]])
    drawn = heat_over(picture, heat, side_px=64)
    assert drawn.shape == (64, 64, 3)
    corners = [int(drawn[y, x].sum()) for y, x in ((0, 0), (40, 0), (0, 63))]
    assert corners == sorted(set(corners))
    assert (drawn[:32, :32] == drawn[0, 0]).all()
    assert heat_over(picture, heat, highest=2.0, side_px=64).sum() < drawn.sum()


def test_a_frame_lies_inside_the_rim() -> None:
    mask = framed(np.zeros((80, 60, 3), np.uint8))
    assert not mask[0].any()
    assert mask[40, 30]


@pytest.mark.parametrize("side", [40, 96, 128, 300])
def test_a_picture_of_any_size_fills_its_cell_of_the_grid(tmp_path: Path, side: int) -> None:
    for part in PARTS:
        write_image(tmp_path / "results" / f"00_{part}.png", np.zeros((side, side, 3), np.uint8))
    figure = picture_grid({"own_and_long_name": tmp_path}, TINY, ["lost"])
    told = [text.get_text() for text in figure.axes[0].texts]
    assert "own_and_long_\nname" in told, "a header as wide as its column"
    assert "Without results: lost; the table says why." in " ".join(" ".join(told).split())
    pixels = np.asarray(figure.axes[0].images[0].get_array())
    dark = (pixels == 0).all(axis=2)
    assert (dark.sum(axis=0).max(), dark.sum(axis=1).max()) == (128, 4 * 128)


def test_many_variants_stand_below_each_other(tmp_path: Path) -> None:
    for number in range(5):
        for part in PARTS:
            path = tmp_path / "results" / f"{number:02d}_{part}.png"
            write_image(path, np.zeros((32, 32, 3), np.uint8))
    few = picture_grid({f"steps={k}": tmp_path for k in range(12)}, TINY).get_size_inches()
    figure = picture_grid({f"steps={k}": tmp_path for k in range(13)}, TINY)
    assert few[0] > few[1]
    assert figure.get_figheight() > 4 * figure.get_figwidth()
    assert {"steps=12", "true scene"} <= {text.get_text() for text in figure.axes[0].texts}
