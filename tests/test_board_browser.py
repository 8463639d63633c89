"""Board and Rater in a real Chromium: filled, compared, opened, saved; rated by keyboard."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from browser import lacking, notebook, page, screenshot, voila, wait_until

if lacking() and not os.environ.get("CI"):
    pytest.skip(lacking(), allow_module_level=True)

LONG = 60_000
START = """
from anydoor_lab import World, load_pipeline
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets import AblationBoard
pair = World(split="held_out", size_px=128).pair(3, rng_for(0, 3, "pair"))
own = pair.reference, pair.scene, pair.reference_mask, [34, 40, 90, 96]
"""
BOARD = (
    START
    + """
board = AblationBoard(
    load_pipeline("embedded:anydoor"), *own,
    rows={"idx": ["clip", "dinov2"]}, columns={"collage": ["none", "hf"], "seed": [0, 1]},
    folder="saved",
)
board
"""
)
MANY = (
    START
    + """
board = AblationBoard(
    load_pipeline("embedded:anydoor"), *own, steps=2,
    rows={"seed": list(range(10))}, columns={"guidance": [1.0, 2.0, 3.0, 4.0, 5.0]},
)
board.generate()
board.wait()
board
"""
)
HIDDEN = "all => all.filter((b) => b.getBoundingClientRect().right > innerWidth).length"
RATER = """
import numpy as np
from anydoor_lab.widgets import Rater
def pictures(hue):
    made = np.zeros((3, 4, 48, 48, 3), np.uint8)
    made[..., hue] = np.linspace(60, 220, 48).astype(np.uint8)
    made[:, :, 12:36, 12:36] = np.arange(12).reshape(3, 4, 1, 1, 1) * 20
    return [list(sets) for sets in made]
sets = {"ours": pictures(0), "theirs": pictures(2)}
targets = [several[0] for several in pictures(1)]
Rater(sets, "ann", folder="study", targets=targets, results=True)
"""


def opened(shown: Any, address: str, selector: str) -> Any:
    shown.goto(address, timeout=90_000)
    found = shown.locator(selector).first
    found.wait_for(timeout=90_000)
    return found


def finished(board: Any, cells: int) -> None:
    wait_until(lambda: int(board.get_attribute("data-finished")) == cells, 120, f"{cells} cells")
    wait_until(lambda: board.get_attribute("data-busy") == "false", 30, "the end")


def test_a_board_fills_compares_opens_and_is_saved_as_a_page(tmp_path: Path) -> None:
    path = notebook(tmp_path / "board.ipynb", BOARD)
    with voila(path) as address, page(1280, 1100) as shown:
        board = opened(shown, address, ".ad-board")
        assert board.locator(".ad-cell").count() == 8
        board.get_by_role("button", name="Fill the board").click()
        finished(board, 8)
        pictures = board.locator(".ad-cell .ad-frame > img:first-child[src^=blob]")
        wait_until(lambda: pictures.count() == 8, 20, "eight pictures")
        board.locator(".ad-cell").nth(3).click()
        shown.keyboard.press("ArrowDown")
        assert board.locator(".ad-cell[aria-selected=true]").get_attribute("data-cell") == "7"
        board.locator("aside img").first.wait_for()
        screenshot(shown, "board_1280")
        shown.keyboard.press("b")
        board.locator(".ad-cell.ad-base[data-cell='7']").wait_for(timeout=LONG)
        shown.keyboard.press("d")
        wait_until(lambda: board.get_attribute("data-mode") == "difference", 10, "differences")
        blended = "e => getComputedStyle(e).mixBlendMode + getComputedStyle(e).display"
        against = board.locator(".ad-cell[data-cell='0'] .ad-against")
        assert against.evaluate(blended) == "differenceblock"
        screenshot(shown, "board_difference_1280")
        places = [button.bounding_box() for button in board.get_by_role("button").all()]
        shown.keyboard.press("c")  # a slider comes, and nothing jumps
        assert [button.bounding_box() for button in board.get_by_role("button").all()] == places
        for key in ("+", "+"):
            shown.keyboard.press(key)
        board.get_by_label("Before and after").fill("30")
        assert float(board.evaluate("e => e.style.getPropertyValue('--zoom')")) == 2.25
        screenshot(shown, "board_before_1280")
        board.get_by_role("button", name="Save board").click()
        wait_until(lambda: list(tmp_path.rglob("rows.csv")), 30, "a saved board")
        shown.keyboard.press("r")
        board.locator(".ad-cell").nth(1).dblclick()
        shown.locator(".ad-panel").wait_for(timeout=LONG)
        assert shown.locator("[data-setting=seed]").input_value() == "1"
        assert shown.locator("[data-setting=collage]").input_value() == "none"
        in_sight = "e => { const r = e.getBoundingClientRect(); return r.top >= 0" \
            " && r.top < innerHeight / 2; }"  # fmt: skip
        wait_until(lambda: shown.locator(".ad-teleporter").evaluate(in_sight), 20, "in sight")
        shown.set_viewport_size({"width": 800, "height": 1000})
        screenshot(shown, "board_800")
        shown.set_viewport_size({"width": 500, "height": 1000})
        inside = "e => e.scrollWidth <= e.clientWidth && e.clientWidth > 300"
        wait_until(lambda: board.locator(".ad-scroll").evaluate(inside), 20, "no sideways scroll")
        screenshot(shown, "board_500")
    saved = next(tmp_path.rglob("board.html"))
    assert len(pd.read_csv(saved.with_name("rows.csv"))) == 8
    opens_offline(saved)


def opens_offline(saved: Path) -> None:
    """The page shows all its pictures without a network and without a word on the console."""
    with page() as shown:
        shown.context.set_offline(True)
        said: list[str] = []
        shown.on("console", lambda message: said.append(message.text))
        board = opened(shown, saved.as_uri(), ".ad-board")
        pictures = ".ad-cell .ad-frame > img:first-child"
        loaded = f"() => [...document.querySelectorAll('{pictures}')].map((i) => i.naturalWidth)"
        wait_until(lambda: all(shown.evaluate(loaded)), 20, "pictures")
        assert len(shown.evaluate(loaded)) == 8
        board.locator(".ad-cell").nth(2).click()
        shown.keyboard.press("d")
        board.locator("aside img").first.wait_for()
        assert board.get_attribute("data-mode") == "difference"
        assert board.get_by_role("button", name="Fill the board").count() == 0
        screenshot(shown, "board_page")
        assert said == []


def test_fifty_cells_stay_smooth_while_they_are_zoomed_and_moved(tmp_path: Path) -> None:
    path = notebook(tmp_path / "many.ipynb", MANY)
    with voila(path) as address, page(1280, 1000) as shown:
        board = opened(shown, address, ".ad-board")
        pictures = board.locator(".ad-cell .ad-frame > img:first-child[src^=blob]")
        wait_until(lambda: pictures.count() == 50, 60, "fifty pictures")
        board.locator(".ad-cell").nth(12).click()
        # the least of 40: the others wait for what else the machine does
        work = shown.evaluate(
            """() => { const board = document.querySelector('.ad-board');
            const cell = board.querySelector('.ad-cell[aria-selected=true]');
            const key = (name) => cell.dispatchEvent(
              new KeyboardEvent('keydown', { key: name, bubbles: true, cancelable: true }));
            key('+'); const times = [];
            for (let k = 0; k < 40; k += 1) {
              const began = performance.now();
              key(k % 2 ? '+' : '-');
              board.getBoundingClientRect(); getComputedStyle(cell.querySelector('img')).transform;
              times.push(performance.now() - began);
            }
            return Math.min(...times); }"""
        )
        print("a zoom over 50 cells, ms of script and layout:", work)
        assert work < 16
        screenshot(shown, "board_50")


def test_a_rater_rates_by_keyboard_and_each_rating_is_saved(tmp_path: Path) -> None:
    path = notebook(tmp_path / "rater.ipynb", RATER)
    with voila(path) as address, page(1280, 900) as shown:
        rater = opened(shown, address, ".ad-rater")
        rater.locator("figure").nth(2).wait_for(timeout=LONG)
        wait_until(lambda: rater.locator(".ad-set img").count() == 9, 20, "a target and two sets")
        assert "ours" not in rater.inner_text()
        rater.locator(".ad-set").first.click()
        for rated, key in enumerate("41324", 1):
            shown.keyboard.press(key)
            shown.locator(f".ad-rater[data-rated='{rated}']").wait_for(timeout=LONG)
        sheet = tmp_path / "study" / "ratings_ann.csv"
        assert pd.read_csv(sheet)["score"].tolist() == [4, 1, 3, 2, 4]
        shown.keyboard.press("ArrowLeft")
        shown.keyboard.press("2")  # a second thought about the fifth rating's neighbour
        screenshot(shown, "rater_1280")
        for _ in range(2):
            shown.keyboard.press("PageDown")
        wait_until(lambda: rater.get_attribute("data-item") == "2", 20, "the third item")
        for key in "111111":
            shown.keyboard.press(key)
        wait_until(lambda: len(pd.read_csv(sheet)) >= 11, 20, "eleven ratings")
        rater.get_by_role("button", name="Previous").click()
        wait_until(lambda: rater.get_attribute("data-item") == "1", 20, "the second item")
        rater.get_by_role("button", name="fidelity 4 (best)").first.click()
        wait_until(lambda: 4 in pd.read_csv(sheet)["score"].tolist()[-1:], 20, "a click")
        rater.locator("summary").click()
        for width in (800, 500, 390):
            shown.set_viewport_size({"width": width, "height": 1000})
            buttons = rater.locator(".ad-scale button")
            wait_until(lambda own=buttons: own.evaluate_all(HIDDEN) == 0, 10, "buttons in sight")
            sizes = rater.locator(".ad-set").evaluate_all("all => all.map((e) => e.clientWidth)")
            assert max(sizes) - min(sizes) <= 1  # none looks better for being larger
            tops = rater.locator(".ad-set").evaluate_all("all => all.map((e) => e.offsetTop)")
            assert width < 800 or len(set(tops)) == 1  # beside each other where there is room
            screenshot(shown, f"rater_{width}")
