"""Figures as they are read: one text size at 800 px, no legend over a curve, nothing said twice."""

from __future__ import annotations

import numpy as np
import pytest
from matplotlib.figure import Figure
from matplotlib.text import Text

from anydoor_lab.metrics.interval import interval_from_sums
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.figures import compare_runs, loss_curves, timestep_curves
from anydoor_lab.report.maps import two_tone
from anydoor_lab.report.sheets import grid

CAPTION = Caption("Losses", scale="tiny", seed=0, protocol="same noise", n=8)
PICTURE = np.zeros((32, 32, 3), np.uint8)


def losses() -> list[dict[str, float]]:
    bins = {f"loss/t_{t}_{t + 250}": 0.2 + t / 1000 for t in range(0, 1000, 250)}
    kinds = {"loss/video": 0.3, "loss/still": 0.2}
    return [{"samples": 16 * k, "loss": 0.4 / k, **bins, **kinds} for k in range(1, 20)]


def shown_px(figure: Figure) -> set[float]:
    """Sizes of a figure's texts, px, where it is shown 800 px wide."""
    texts = [text for text in figure.findobj(Text) if text.get_text().strip()]
    figure.canvas.draw()
    width = figure.get_tightbbox().width * figure.dpi
    return {round(text.get_fontsize() * figure.dpi / 72 * min(1, 800 / width), 1) for text in texts}


@pytest.mark.parametrize("columns", [2, 5, 9])
def test_text_beside_pictures_is_as_large_however_many_they_are(columns: int) -> None:
    headers = ["collage / truth", *(f"t = {k}" for k in range(1, columns))]
    sizes = shown_px(grid([[PICTURE] * columns] * 2, headers, ["noisy", "clean"], str(CAPTION)))
    assert all(11.5 < size < 13.5 for size in sizes), sizes


def test_text_of_all_figures_of_numbers_has_that_size() -> None:
    t = np.arange(0, 1000, 100)
    rows = [{"run": "one", "clip": 50.0}, {"run": "other", "clip": 60.0}]
    figures = (
        loss_curves(losses(), CAPTION),
        timestep_curves(t, {"": {"video": t / 1000}}, CAPTION, "loss"),
        compare_runs(rows, CAPTION),
    )
    for figure in figures:
        sizes = shown_px(figure)
        assert all(11 < size < 13.5 for size in sizes), sizes


def test_headers_wider_than_their_column_are_broken_between_words() -> None:
    figure = grid([[PICTURE] * 9], ["collage / truth"])
    assert "collage /\ntruth" in [text.get_text() for text in figure.findobj(Text)]


def test_a_legend_lies_below_its_curves_which_differ_in_more_than_colour() -> None:
    figure = loss_curves(losses(), CAPTION)
    figure.canvas.draw()
    for axes in figure.axes[1:]:
        legend = axes.get_legend()
        assert legend.get_window_extent().y1 < axes.get_window_extent().y0
        styles = [handle.get_linestyle() for handle in legend.get_lines()]
        assert len(set(map(str, styles))) == len(styles)


def test_the_tiny_scale_is_said_once() -> None:
    assert str(CAPTION).count("tiny") == 1
    assert "scale" not in CAPTION.details
    assert "scale sd21" in Caption("Losses", scale="sd21").details
    assert CAPTION.facts["scale"] == "tiny"  # a table's rows keep it


def test_curves_of_several_pictures_get_the_band_of_their_interval() -> None:
    t, values = np.array([100, 500]), np.array([[1.0, 2.0, 3.0], [2.0, 2.5, 3.0]])
    axes = timestep_curves(t, {"": {"video": values}}, CAPTION, "loss").axes[0]
    assert axes.get_lines()[0].get_ydata() == pytest.approx([2.0, 2.5])
    (band,) = axes.collections
    first = interval_from_sums(6.0, 14.0, 3)
    assert band.get_datalim(axes.transData).y1 == pytest.approx(first.high)


def test_two_tones_are_told_apart_by_lightness_and_by_blue_against_yellow() -> None:
    dark_blue, light_yellow = two_tone(np.array([[[0, 0], [1, 1]]]))[0].astype(int)
    assert dark_blue[2] > dark_blue[0] + 40
    assert light_yellow[0] > light_yellow[2] + 40
    assert light_yellow.sum() > dark_blue.sum() + 200
