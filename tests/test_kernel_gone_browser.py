"""A kernel that goes away in JupyterLab, in a real Chromium: what is said, kept, brought back."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from browser import drag, lab, lacking, notebook, page, screenshot, wait_until
from test_board_browser import BOARD, RATER
from test_widgets_browser import SAVE, TELEPORTER, kernel_is_ready, press, state

if lacking() and not os.environ.get("CI"):
    pytest.skip(lacking(), allow_module_level=True)

CELL = (
    "import numpy as np; from anydoor_lab.widgets import RegionPicker\n"
    "rows = np.linspace(60, 220, 90, dtype=np.uint8)\n"
    "widget = RegionPicker(np.tile(rows[:, None, None], (1, 140, 3)))"
    + SAVE + "widget"
)  # fmt: skip
SECOND = "other = RegionPicker(np.tile(rows[:, None, None], (1, 140, 3)))\nother"
LONG = 60_000


def menu(shown: Any, name: str, item: str) -> None:
    shown.locator(f".lm-MenuBar-itemLabel:text-is('{name}')").click()
    shown.get_by_role("menuitem", name=item).first.click()


def kernels(shown: Any, address: str) -> list[dict[str, Any]]:
    return list(shown.request.get(f"{address}/api/kernels").json())


def run_all(shown: Any, address: str) -> Any:
    """Run the notebook; its painter, once it shows a picture."""
    wait_until(lambda: kernel_is_ready(shown, address), 90, "a connected kernel")
    menu(shown, "Run", "Run All Cells")
    painter = shown.locator(".ad-painter[data-ready]").first
    painter.wait_for(timeout=LONG)
    return painter


def shut_down(shown: Any, address: str) -> None:
    """End every kernel from outside, as `jupyter server stop` or the running list would."""
    shown.evaluate("""async () => {
      const [, token] = document.cookie.match(/_xsrf=([^;]+)/), headers = { "X-XSRFToken": token };
      for (const { id } of await (await fetch("/api/sessions")).json()) {
        await fetch(`/api/sessions/${id}`, { method: "DELETE", headers });
      }
    }""")
    wait_until(lambda: not kernels(shown, address), 30, "kernels that end")


def marked(shown: Any, place: int = 0) -> int:
    """How much of a painter's canvas is marked, pixels."""
    return int(shown.evaluate(
        "(place) => { const c = document.querySelectorAll('.ad-stage canvas')[place];"
        "return c.getContext('2d').getImageData(0, 0, c.width, c.height).data"
        ".filter((v, k) => k % 4 === 3 && v > 127).length; }", place,
    ))  # fmt: skip


def test_a_kernel_that_goes_away_is_told_and_the_drawing_comes_back(tmp_path: Path) -> None:
    path, box = notebook(tmp_path / "picker.ipynb", CELL, SECOND), [20, 30, 61, 97]
    with lab(tmp_path) as address, page(1280, 800) as shown:
        shown.goto(f"{address}/lab/tree/picker.ipynb", timeout=90_000)
        shown.locator(".jp-Notebook").wait_for(timeout=90_000)
        painter = run_all(shown, address)
        drag(shown, painter, tuple(box), (90, 140))
        wait_until(lambda: state(tmp_path)["box"] == box, 20, str(state(tmp_path)))
        second = shown.locator(".ad-painter[data-ready]").nth(1)  # over the same picture
        second.scroll_into_view_if_needed()
        drag(shown, second, (5, 5, 20, 20), (90, 140))
        wait_until(lambda: second.get_attribute("data-strokes") == "1", 20, "its own stroke")

        menu(shown, "Kernel", "Restart Kernel…")
        shown.get_by_role("button", name="Confirm Kernel Restart").click()
        painter.get_by_text("The kernel was restarted").wait_for(timeout=LONG)
        wait_until(lambda: marked(shown) == 41 * 67, 20, "the drawing, painted")
        screenshot(shown, "restarted_1280")
        (tmp_path / "state.json").unlink()
        painter = run_all(shown, address)
        painter.get_by_text("is back; Undo takes it off").wait_for(timeout=LONG)
        wait_until(lambda: state(tmp_path)["box"] == box, 20, "the drawing in the new kernel")
        second = shown.locator(".ad-painter[data-ready]").nth(1)
        second.get_by_text("is back; Undo takes it off").wait_for(timeout=LONG)
        wait_until(lambda: marked(shown, 1) == 15 * 15, 20, "the second drawing, painted")
        screenshot(shown, "back_1280")
        painter.get_by_role("button", name="Undo").click()
        wait_until(lambda: state(tmp_path)["box"] is None, 20, "undo")
        painter.get_by_role("button", name="Redo").click()
        wait_until(lambda: state(tmp_path)["box"] == box, 20, "redo")
        assert not shown.locator(".ad-last-state").first.is_visible()
        menu(shown, "File", "Save Notebook")
        wait_until(lambda: "ad-last-state" in path.read_text(), 20, "a saved picture")

        shut_down(shown, address)
        painter.scroll_into_view_if_needed()
        drag(shown, painter, (5, 5, 20, 20), (90, 140))
        painter.get_by_text("does not answer").wait_for(timeout=LONG)
        wait_until(lambda: marked(shown) == 15 * 15, 20, "the new drawing, painted")
        screenshot(shown, "gone_1280")
    with lab(tmp_path, again=True) as address, page(1280, 800) as shown:
        shown.goto(f"{address}/lab/tree/picker.ipynb", timeout=90_000)
        kept = shown.locator(".ad-last-state img").first
        kept.wait_for(timeout=90_000)
        assert kept.evaluate("(image) => image.naturalHeight") > 50
        screenshot(shown, "reopened_1280")
    cell, _ = json.loads(path.read_text())["cells"]
    kinds = [kind for output in cell["outputs"] for kind in output.get("data", {})]
    assert "text/html" in kinds


def test_settings_come_back_and_a_saved_notebook_shows_the_last_result(tmp_path: Path) -> None:
    path = notebook(tmp_path / "teleporter.ipynb", TELEPORTER)
    with lab(tmp_path) as address, page(1280, 800) as shown:
        shown.goto(f"{address}/lab/tree/teleporter.ipynb", timeout=90_000)
        shown.locator(".jp-Notebook").wait_for(timeout=90_000)
        run_all(shown, address)
        fields = {"steps": "7", "guidance": "3.5", "seed": "41", "proposals": "1"}
        for name, value in fields.items():
            shown.locator(f"[data-setting={name}]").fill(value)
            shown.locator(f"[data-setting={name}]").press("Enter")
        shown.locator("[data-setting=collage]").select_option("none")
        press(shown)
        menu(shown, "Kernel", "Restart Kernel…")
        shown.get_by_role("button", name="Confirm Kernel Restart").click()
        shown.get_by_text("The kernel was restarted").first.wait_for(timeout=LONG)
        menu(shown, "File", "Save Notebook")
        wait_until(lambda: "ad-last-state" in path.read_text(), 20, "a saved picture")
        (cell,) = json.loads(path.read_text())["cells"]
        left, panel = (shown.locator(name).first.bounding_box()
                       for name in (".ad-painter", ".ad-panel"))  # fmt: skip
        assert panel["y"] - left["y"] < 60  # the lost kernel's sign takes no column
        screenshot(shown, "settings_gone_1280")
        run_all(shown, address)
        shown.get_by_text("from before the kernel went away are back").first.wait_for(timeout=LONG)
        for name, value in {**fields, "collage": "none"}.items():
            assert shown.locator(f"[data-setting={name}]").input_value() == value
        screenshot(shown, "settings_back_1280")
    pages = [
        page for output in cell["outputs"] for page in output.get("data", {}).get("text/html", [])
    ]
    (kept,) = [page for page in pages if "ad-last-state" in page]
    picture = Image.open(io.BytesIO(base64.b64decode(kept.split("base64,")[1].split('"')[0])))
    assert picture.width > 2.5 * picture.height  # reference, scene and result


def test_board_and_rater_say_that_the_kernel_is_gone_and_what_is_saved(tmp_path: Path) -> None:
    notebook(tmp_path / "both.ipynb", BOARD, RATER)
    with lab(tmp_path) as address, page(1280, 800) as shown:
        shown.goto(f"{address}/lab/tree/both.ipynb", timeout=90_000)
        shown.locator(".jp-Notebook").wait_for(timeout=90_000)
        wait_until(lambda: kernel_is_ready(shown, address), 90, "a connected kernel")
        menu(shown, "Run", "Run All Cells")
        board, rater = shown.locator(".ad-board").first, shown.locator(".ad-rater").first
        rater.locator(".ad-scale button").first.wait_for(timeout=120_000)
        shut_down(shown, address)
        board.get_by_role("button", name="Fill the board").click()
        board.get_by_text("does not answer").wait_for(timeout=LONG)
        assert "fill the board anew" in board.locator(".ad-message").inner_text()
        rater.locator(".ad-scale button").first.click()
        rater.get_by_text("All ratings but the last are saved").wait_for(timeout=LONG)
        screenshot(shown, "gone_rater_1280")
