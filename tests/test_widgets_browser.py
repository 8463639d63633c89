"""Each widget in a real Chromium: drawn on, cut with, pressed, cancelled, looked at."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from browser import (
    ROOT,
    drag,
    lab,
    lacking,
    notebook,
    page,
    screenshot,
    stroke,
    voila,
    wait_until,
)

if lacking() and not os.environ.get("CI"):
    pytest.skip(lacking(), allow_module_level=True)

SAVE = """
import json, pathlib, numpy as np
def save(_=None):
    box = widget.box
    marked = None if widget.mask is None else int(widget.mask.sum())
    found = [box.y1, box.x1, box.y2, box.x2] if box else None
    whole = pathlib.Path("state.part")
    whole.write_text(json.dumps({"box": found, "marked": marked, "strokes": widget.strokes}))
    whole.rename("state.json")
widget.observe(save, "changed")
widget.observe(save, "strokes")
"""
TELEPORTER = """
from anydoor_lab import World, load_pipeline
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets import Teleporter
pair = World(split="held_out", size_px=128).pair(3, rng_for(0, 3, "pair"))
pipe = load_pipeline("embedded:anydoor")
widget = Teleporter(pipe, pair.reference, pair.scene, pair.reference_mask, [34, 40, 90, 96])
widget
"""
LONG = 40_000
SLOW = 240_000
"""For what computes: a loaded machine takes minutes, an idle one seconds."""


def state(folder: Path) -> dict[str, Any]:
    path = folder / "state.json"
    try:
        return json.loads(path.read_text())
    except (OSError, json.JSONDecodeError):
        return {"box": None, "marked": None, "strokes": 0}


def opened(shown: Any, address: str, selector: str) -> Any:
    shown.goto(address, timeout=90_000)
    found = shown.locator(selector).first
    found.wait_for(timeout=90_000)
    return found


def test_region_picker_gives_the_exact_box_and_undoes(tmp_path: Path) -> None:
    cells = (
        "import numpy as np; from anydoor_lab.widgets import RegionPicker\n"
        "rows = np.linspace(60, 220, 90, dtype=np.uint8)\n"
        "widget = RegionPicker(np.tile(rows[:, None, None], (1, 140, 3)))",
        SAVE + "widget",
    )
    with voila(notebook(tmp_path / "picker.ipynb", *cells)) as address, page() as shown:
        painter = opened(shown, address, ".ad-painter[data-ready]")
        drag(shown, painter, (20, 30, 61, 97), (90, 140))
        wait_until(lambda: state(tmp_path)["box"] == [20, 30, 61, 97], 20, str(state(tmp_path)))
        assert state(tmp_path)["marked"] == 41 * 67
        assert state(tmp_path)["strokes"] == 1
        painter.locator("[data-tool=brush]").click()
        drag(shown, painter, (70, 100, 80, 130), (90, 140))
        wait_until(lambda: state(tmp_path)["strokes"] == 2, 20, "the brush's one message")
        assert state(tmp_path)["marked"] > 41 * 67
        screenshot(shown, "picker_1280")
        painter.locator("svg").first.focus()
        shown.keyboard.press("Control+z")
        wait_until(lambda: state(tmp_path)["marked"] == 41 * 67, 20, "undo")
        shown.keyboard.press("Control+y")
        wait_until(lambda: state(tmp_path)["marked"] > 41 * 67, 20, "redo")
        painter.get_by_role("button", name="Zoom in").click()
        drag(shown, painter.locator(".ad-stage"), (50, 50, 60, 60), (90, 140))
        painter.locator("[data-tool=box]").click()
        drag(shown, painter, (40, 50, 52, 66), (90, 140))
        wait_until(lambda: state(tmp_path)["box"] == [40, 50, 52, 66], 20, "a box when zoomed")
        painter.get_by_role("button", name="Show the whole picture").click()
        painter.locator("[data-tool=polygon]").click()
        where = painter.locator("svg").first.bounding_box()
        for x, y in ((0.1, 0.1), (0.3, 0.1), (0.3, 0.3)):
            shown.mouse.click(where["x"] + x * where["width"], where["y"] + y * where["height"])
        shown.keyboard.press("Enter")
        wait_until(lambda: state(tmp_path)["marked"] > 12 * 16 + 200, 20, "a polygon")
        shown.keyboard.press("Delete")
        wait_until(lambda: state(tmp_path)["box"] is None, 20, "clear")
        painter.locator("[data-tool=box]").click()
        stroke(shown, "touch", painter, (10, 20, 30, 50), (90, 140))
        wait_until(lambda: state(tmp_path)["box"] == [10, 20, 30, 50], 20, "a box by finger")
        stroke(shown, "pen", painter, (40, 60, 70, 90), (90, 140))
        wait_until(lambda: state(tmp_path)["box"] == [40, 60, 70, 90], 20, "a box by pen")
        shown.keyboard.press("Delete")
        wait_until(lambda: state(tmp_path)["box"] is None, 20, "clear again")
        shown.keyboard.press("b")
        for key in ("ArrowLeft", "Space", "Shift+ArrowRight", "Shift+ArrowDown", "Space"):
            shown.keyboard.press(key)
        wait_until(lambda: state(tmp_path)["box"] is not None, 20, "a box by keyboard")
        shown.set_viewport_size({"width": 800, "height": 900})
        screenshot(shown, "picker_800")


def test_object_cutter_cuts_by_a_box_and_by_a_click(tmp_path: Path) -> None:
    cells = (
        TELEPORTER.split("pipe =", maxsplit=1)[0].replace("load_pipeline", "Pair"),
        "from anydoor_lab.widgets import ObjectCutter\nwidget = ObjectCutter(pair.reference)",
        SAVE + "from anydoor_lab.structures.boxes import Box\n"
        "b = Box.around(pair.reference_mask).grown(1.15, 128, 128)\n"
        "pathlib.Path('truth.json').write_text(json.dumps("
        "[[b.y1, b.x1, b.y2, b.x2], int(pair.reference_mask.sum())]))\nwidget",
    )
    with voila(notebook(tmp_path / "cutter.ipynb", *cells)) as address, page() as shown:
        painter = opened(shown, address, ".ad-painter[data-ready]")
        box, pixels = json.loads((tmp_path / "truth.json").read_text())
        drag(shown, painter, tuple(box), (128, 128))
        wait_until(lambda: state(tmp_path)["marked"], 30, "a cut")
        assert 0.7 < state(tmp_path)["marked"] / pixels < 1.3
        painter.locator(".ad-previews img").first.wait_for()
        screenshot(shown, "cutter_1280")
        before = state(tmp_path)["marked"]
        painter.locator("[data-tool=ground]").click()
        middle = (box[0] + box[2]) // 2, (box[1] + box[3]) // 2
        drag(shown, painter, (*middle, middle[0] + 1, middle[1] + 1), (128, 128))
        wait_until(lambda: state(tmp_path)["marked"] != before, 30, "another cut by a click")
        shown.set_viewport_size({"width": 800, "height": 900})
        screenshot(shown, "cutter_800")


def press(shown: Any) -> float:
    """Seconds from the press to the picture behind the slider."""
    done = int(shown.locator(".ad-panel").get_attribute("data-finished"))
    began = time.perf_counter()
    shown.get_by_role("button", name="Generate", exact=True).click()
    shown.wait_for_function(
        "n => Number(document.querySelector('.ad-panel').dataset.finished) > n", arg=done,
        timeout=LONG, polling=20,
    )  # fmt: skip
    return time.perf_counter() - began


def test_teleporter_generates_cancels_compares_and_saves(tmp_path: Path) -> None:
    path = notebook(tmp_path / "teleporter.ipynb", TELEPORTER)
    with voila(path) as address, page(1280, 1400) as shown:
        panel = opened(shown, address, ".ad-panel")
        shown.locator(".ad-painter[data-ready]").nth(1).wait_for()
        times = press(shown), press(shown)
        print("first and second press:", times)
        shown.locator(".ad-compare img").nth(1).wait_for()
        assert panel.locator(".ad-gallery button").count() == 2
        panel.locator(".ad-gallery button").nth(1).click()
        screenshot(shown, "teleporter_1280")
        shown.get_by_role("button", name="Save to folder").click()
        wait_until(lambda: list(tmp_path.rglob("placed_0001.json")), 20, "a saved recipe")
        shown.locator("[data-setting=steps]").fill("100")
        shown.locator("[data-setting=steps]").press("Tab")
        shown.locator("[data-setting=proposals]").fill("8")
        shown.locator("[data-setting=proposals]").press("Tab")
        generate = shown.get_by_role("button", name="Generate", exact=True)
        generate.click()
        shown.locator(".ad-panel[data-busy=true]").wait_for(timeout=LONG)
        gap = frame_gap_while_dragging(shown)
        print("longest frame gap while dragging during a generation, ms:", gap)
        generate.click()
        panel.get_by_text("Still working").wait_for(timeout=LONG)
        shown.get_by_role("button", name="Cancel").click()
        panel.get_by_text("Cancelled").wait_for(timeout=LONG)
        shown.set_viewport_size({"width": 800, "height": 1400})
        screenshot(shown, "teleporter_800")


def frame_gap_while_dragging(shown: Any) -> float:
    """The longest time between two frames, ms, while a stroke is drawn over the scene."""
    shown.evaluate(
        """() => { window.gaps = []; let last = performance.now();
        const tick = (now) => { window.gaps.push(now - last); last = now;
          requestAnimationFrame(tick); }; requestAnimationFrame(tick); }"""
    )
    painter = shown.locator(".ad-painter").nth(1)
    painter.locator("[data-tool=brush]").click()
    where = painter.locator("svg").first.bounding_box()
    shown.mouse.move(where["x"] + 20, where["y"] + 20)
    shown.mouse.down()
    shown.evaluate("() => { window.gaps.length = 0; }")
    for k in range(40):
        shown.mouse.move(where["x"] + 20 + 5 * k, where["y"] + 20 + 60 * (k % 2))
    gap = shown.evaluate("() => Math.max(...window.gaps)")
    shown.mouse.up()
    return float(gap)


def test_live_run_draws_what_a_run_folder_holds(tmp_path: Path) -> None:
    run = tmp_path / "run"
    (run / "samples").mkdir(parents=True)
    records = [
        {"step": k, "samples": 32 * k, "loss": 0.4 / k**0.5, "samples_per_second": 60.0 + k % 3}
        | {f"loss/t_{t}_{t + 250}": (0.1 + t / 900) / k**0.3 for t in range(0, 1000, 250)}
        for k in range(1, 200)
    ]
    (run / "metrics.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records))
    pixels = np.random.default_rng(0).integers(0, 255, (64, 256, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(run / "samples" / "held_out_00000100.png")
    cell = "from anydoor_lab.widgets import LiveRun\nLiveRun('run', every=0.5)"
    with voila(notebook(tmp_path / "live.ipynb", cell)) as address, page() as shown:
        live = opened(shown, address, ".ad-live polyline")
        assert live.is_visible()
        assert shown.locator(".ad-plots figure").nth(1).locator("polyline").count() == 4
        shown.locator(".ad-sheet").wait_for()
        with (run / "metrics.jsonl").open("a") as file:
            file.write(json.dumps({**records[-1], "step": 777}) + "\n")
        shown.get_by_text("step 777").wait_for(timeout=LONG)
        screenshot(shown, "live_1280")
        shown.set_viewport_size({"width": 800, "height": 900})
        screenshot(shown, "live_800")


def test_the_first_notebook_in_jupyterlab_places_an_object_only_inside(tmp_path: Path) -> None:
    shutil.copy(ROOT / "notebooks" / "01_place_an_object.ipynb", tmp_path / "copy.ipynb")
    with lab(tmp_path) as address, page(1280, 1200) as shown:
        shown.goto(f"{address}/lab/tree/copy.ipynb", timeout=90_000)
        shown.locator(".jp-Notebook").wait_for(timeout=90_000)
        wait_until(lambda: kernel_is_ready(shown, address), 90, "a connected kernel")
        shown.locator("#jp-mainmenu-run, .lm-MenuBar-itemLabel:text-is('Run')").first.click()
        shown.get_by_role("menuitem", name="Run All Cells").first.click()
        panels = shown.locator(".ad-panel")
        for number in (0, 1):  # both presses of the notebook itself, then its last cells
            panels.nth(number).wait_for(timeout=SLOW)
            wait_until(lambda k=number: pressed(panels.nth(k), 1), SLOW / 1000, "its own press")
        wait_until(lambda: kernel_is_ready(shown, address), SLOW / 1000, "an idle kernel")
        assert [path.name for path in tmp_path.rglob("placed_*.png")] == ["placed_0001.png"]
        panel, painter = panels.first, shown.locator(".ad-painter").nth(1)
        shown.locator(".ad-painter[data-ready]").nth(3).wait_for(state="attached", timeout=LONG)
        painter.scroll_into_view_if_needed()
        drag(shown, painter, (30, 45, 111, 132), (192, 192))
        wait_until(lambda: painter.get_attribute("data-strokes") == "1", 60, "the stroke sent")
        panel.get_by_role("button", name="Generate", exact=True).click()
        wait_until(lambda: pressed(panel, 2), SLOW / 1000, "a result")
        panel.get_by_role("button", name="Save to folder").click()
        wait_until(lambda: list(tmp_path.rglob("placed_0002.png")), 30, "a saved picture")
        screenshot(shown, "lab_1280")
        shown.set_viewport_size({"width": 800, "height": 1200})
        screenshot(shown, "lab_800")
    check_only_inside(next(tmp_path.rglob("placed_0002.json")), (30, 45, 111, 132))


def pressed(panel: Any, times: int) -> bool:
    """Whether so many presses ended with a result, and none goes on."""
    told = [panel.get_attribute(f"data-{name}") for name in ("finished", "busy")]
    return told == [str(times), "false"]


def kernel_is_ready(shown: Any, address: str) -> bool:
    """Whether a kernel is idle and the page connected to it: before that, Run All does nothing."""
    kernels = shown.request.get(f"{address}/api/kernels").json()
    return any(k["execution_state"] == "idle" and k["connections"] > 0 for k in kernels)


def check_only_inside(path: Path, box: tuple[int, int, int, int]) -> None:
    from anydoor_lab.structures.boxes import Box
    from anydoor_lab.widgets.teleporter.recipe import read_recipe

    pictures = read_recipe(path.read_text())[1]
    y1, x1, y2, x2 = box
    region = Box(y1, y2, x1, x2)
    assert Box.around(pictures["scene_mask"]) == region
    placed = np.array(Image.open(path.with_suffix(".png")))
    changed = (placed != pictures["scene"]).any(axis=2)
    inside = region.grown(1.12, *changed.shape).mask(*changed.shape)
    assert changed[inside].mean() > 0.3
    assert not changed[~inside].any()
