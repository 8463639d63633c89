"""The Teleporter as a new user meets it, in a real Chromium: seen, kept, compared, told the truth.

The tests of this file share one page of the demo, in their order; each begins at 1280x800.
"""

from __future__ import annotations

import base64
import io
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from anydoor_lab.demo import NOTEBOOK
from anydoor_lab.widgets.teleporter.recipe import read_recipe
from browser import drag, lacking, page, screenshot, voila, wait_until

if lacking() and not os.environ.get("CI"):
    pytest.skip(lacking(), allow_module_level=True)

pytestmark = pytest.mark.xdist_group("teleporter")
"""All look at one page, one after the other."""
LONG = 60_000
JUMPS = """() => Object.fromEntries([...document.querySelectorAll(
  '.ad-painter button, .ad-ask button, .ad-ask input, .ad-ask select')].map((b, k) => {
    const r = b.getBoundingClientRect();
    return [k + b.textContent, [Math.round(r.x + scrollX), Math.round(r.y + scrollY)]];
  }))"""
DROP = """([selector, place, name, kind, data]) => {
  const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
  const transfer = new DataTransfer();
  transfer.items.add(new File([bytes], name, { type: kind }));
  const root = document.querySelectorAll(selector)[place];
  root.dispatchEvent(new DragEvent('drop', { dataTransfer: transfer, bubbles: true }));
}"""
PASTE = DROP.replace("drop', { dataTransfer", "paste', { clipboardData").replace(
    "Drag", "Clipboard"
)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Any, Path]]:
    folder = tmp_path_factory.mktemp("demo")
    shutil.copy(NOTEBOOK, folder / "demo.ipynb")
    with voila(folder / "demo.ipynb") as address, page(1280, 800) as opened:
        opened.goto(address, timeout=90_000)
        opened.locator(".ad-painter[data-ready]").nth(1).wait_for(timeout=90_000)
        opened.locator(".ad-example").nth(8).wait_for(timeout=LONG)
        yield opened, folder


@pytest.fixture
def shown(shared: tuple[Any, Path]) -> Any:
    shared[0].set_viewport_size({"width": 1280, "height": 800})
    shared[0].evaluate("() => scrollTo(0, 0)")
    return shared[0]


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def photo(height: int, width: int) -> np.ndarray:
    """A grey wall with a red ball in its middle."""
    y, x = np.mgrid[:height, :width]
    image = np.full((height, width, 3), 150, np.uint8)
    image[..., 2] += (20 * np.sin(x / 9)).astype(np.int8).astype(np.uint8)
    image[np.hypot(y - height / 2, x - width / 2) < height / 4] = (200, 30, 40)
    return image


def give(shown: Any, place: int, name: str, data: bytes, how: str = DROP) -> None:
    """Drop (or paste) a file on the reference (0) or the scene (1)."""
    encoded = base64.b64encode(data).decode()
    shown.evaluate(how, [".ad-painter", place, name, "image/png", encoded])


def size_told(shown: Any, place: int, words: str) -> None:
    shown.locator(".ad-foot").nth(place).get_by_text(words).wait_for(timeout=LONG)


def press(shown: Any) -> None:
    done = int(shown.locator(".ad-panel").get_attribute("data-finished"))
    shown.get_by_role("button", name="Generate", exact=True).click()
    shown.wait_for_function(
        "n => { const d = document.querySelector('.ad-panel').dataset;"
        " return Number(d.finished) > n && d.busy === 'false'; }",
        arg=done, timeout=LONG, polling=20,
    )  # fmt: skip


def downloaded(shown: Any) -> bytes:
    with shown.expect_download(timeout=LONG) as coming:
        shown.get_by_role("button", name="Download").click()
    return Path(coming.value.path()).read_bytes()


def on_the_screen(shown: Any, selector: str) -> bool:
    box = shown.locator(selector).first.bounding_box()
    seen = shown.viewport_size
    return bool(box["y"] >= 0 and box["y"] + box["height"] <= seen["height"])


def test_generate_is_a_few_tab_stops_away_and_groups_go_by_arrow_keys(shown: Any) -> None:
    shown.evaluate("() => document.activeElement.blur()")
    focused = "() => document.activeElement.textContent + document.activeElement.tagName"
    stops: list[str] = []
    while "GenerateBUTTON" not in stops and len(stops) < 30:
        shown.keyboard.press("Tab")
        stops.append(shown.evaluate(focused))
    assert len(stops) <= 12, stops
    tools = shown.get_by_role("toolbar", name="Drawing tools").first
    tools.get_by_role("button", name="Box").focus()
    shown.keyboard.press("ArrowRight")
    assert shown.evaluate("() => document.activeElement.dataset.tool") == "object"
    shown.keyboard.press("End")
    assert shown.evaluate("() => document.activeElement.textContent") == "Fit"
    shown.keyboard.press("Home")


def test_own_photo_dropped_cut_placed_seen_downloaded_and_opened_again(shown: Any) -> None:
    give(shown, 0, "ball.png", png(photo(240, 320)))
    size_told(shown, 0, "320×240")
    before = shown.evaluate(JUMPS)
    reference, scene = (shown.locator(".ad-painter").nth(k) for k in (0, 1))
    drag(shown, reference, (50, 90, 190, 230), (240, 320))
    shown.locator(".ad-marks rect").first.wait_for(state="attached")
    shown.wait_for_function("() => document.querySelectorAll('.ad-previews img')[0].src")
    scene.get_by_role("button", name="Example: meadow").click()
    size_told(shown, 1, "256×256")
    drag(shown, scene, (90, 60, 190, 160), (256, 256))
    press(shown)
    assert on_the_screen(shown, ".ad-compare") and on_the_screen(shown, ".ad-main")
    edge = shown.get_by_role("slider", name="Scene and result")
    assert edge.get_attribute("aria-valuenow") == "0"
    screenshot(shown, "seen_1280")
    after = shown.evaluate(JUMPS)
    assert {k: v for k, v in after.items() if before.get(k) != v} == {}
    edge.focus()
    shown.keyboard.press("ArrowRight")
    assert "5%" in shown.locator(".ad-compare img").nth(1).get_attribute("style")
    box = shown.locator(".ad-compare").bounding_box()
    shown.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
    assert edge.get_attribute("aria-valuenow") == "50"
    left, right = (shown.locator(f".ad-{side}").bounding_box() for side in ("left", "right"))
    assert left["x"] < right["x"]
    shown.locator(".ad-gallery button").nth(1).click()
    first = downloaded(shown)
    facts, pictures = read_recipe(first)
    assert facts["chosen"] == 1
    assert pictures["reference"].size == (320, 240)
    placed = np.array(Image.open(io.BytesIO(first)))
    changed = (placed != np.array(pictures["scene"])).any(axis=2)
    assert changed[95:185, 65:155].any() and not changed[:60].any()
    scene.get_by_role("button", name="Example: lobby").click()
    shown.locator(".ad-stale").get_by_text("Made before").wait_for(timeout=LONG)
    screenshot(shown, "stale_1280")
    recipe = {"name": "own.png", "mimeType": "image/png", "buffer": first}
    shown.get_by_label("Open recipe…").set_input_files(recipe)
    shown.get_by_text("Opened a recipe").wait_for(timeout=LONG)
    press(shown)
    second = downloaded(shown)
    assert read_recipe(second)[0]["chosen"] == 1
    assert np.array_equal(np.array(Image.open(io.BytesIO(second))), placed)


def test_the_result_is_beside_generate_in_a_narrow_window_too(shown: Any) -> None:
    shown.set_viewport_size({"width": 800, "height": 1000})
    if not shown.locator(".ad-compare").first.is_visible():
        press(shown)
    shown.wait_for_timeout(300)
    assert on_the_screen(shown, ".ad-compare") and on_the_screen(shown, ".ad-main")
    screenshot(shown, "seen_800")
    wide = shown.evaluate("() => document.documentElement.scrollWidth")
    assert wide <= 800


def test_what_is_typed_is_shown_as_it_was_taken_with_a_word_why(shown: Any) -> None:
    panel = shown.locator(".ad-panel")
    for name, typed, becomes, word in (
        ("seed", "-5", "0", "-5 became 0"),
        ("proposals", "12", "8", "12 became 8"),
        ("steps", "2.4", "2", "is whole"),
    ):
        field = shown.locator(f"[data-setting={name}]")
        field.fill(typed)
        field.press("Enter")
        panel.get_by_text(word).wait_for(timeout=LONG)
        assert field.input_value() == becomes
    seed = shown.locator("[data-setting=seed]")
    seed.focus()
    shown.keyboard.press("Control+a")
    shown.keyboard.type("e")
    shown.keyboard.press("Tab")
    panel.get_by_text("Seed needs a number; it stays 0.").wait_for(timeout=LONG)
    assert seed.input_value() == "0"
    for label in ("ID extractor", "Collage", "Guidance", "Paste back"):
        assert len(shown.locator(f"label:has-text('{label}')").get_attribute("title")) > 30
    for name, value in (("proposals", "1"), ("steps", "3")):
        shown.locator(f"[data-setting={name}]").fill(value)
        shown.locator(f"[data-setting={name}]").press("Enter")


def test_an_earlier_result_comes_back_with_its_settings(shown: Any) -> None:
    seed, strip = shown.locator("[data-setting=seed]"), shown.locator(".ad-strip button")
    seed.fill("41")
    seed.press("Enter")
    press(shown)
    place = strip.count() - 1
    seed.fill("42")
    seed.press("Enter")
    press(shown)
    words = shown.locator(".ad-words")
    assert "seed 42" in words.inner_text()
    strip.nth(place).click()
    words.get_by_text("seed 41").wait_for(timeout=LONG)
    wait_until(lambda: seed.input_value() == "41", 20, "the seed of the earlier result")
    assert read_recipe(downloaded(shown))[0]["settings"]["seed"] == 41
    screenshot(shown, "strip_1280")


def test_save_says_where_and_the_folder_is_the_users(shown: Any, shared: tuple[Any, Path]) -> None:
    shown.get_by_role("button", name="Save to folder").click()
    path = shared[1] / "anydoor_results" / "placed_0001.png"
    shown.locator(".ad-said").get_by_text(f"Saved {path}").wait_for(timeout=LONG)
    assert (
        read_recipe(path.read_bytes())[0] == read_recipe(path.with_suffix(".json").read_text())[0]
    )


def test_a_picture_above_nine_megabytes_goes_in_and_out_whole(shown: Any, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (1700, 1900, 3)).astype(np.uint8)
    Image.fromarray(noise).save(tmp_path / "noise.png")
    assert (tmp_path / "noise.png").stat().st_size > 9_200_000
    scene = shown.locator(".ad-painter").nth(1)
    scene.get_by_label("Open…").set_input_files(tmp_path / "noise.png")
    size_told(shown, 1, "1900×1700")
    drag(shown, scene, (600, 700, 1100, 1300), (1700, 1900))
    press(shown)
    back = downloaded(shown)
    placed = np.array(Image.open(io.BytesIO(back)))
    assert placed.shape == noise.shape
    assert np.array_equal(placed[:300], noise[:300])
    assert not np.array_equal(placed, noise)
    scene.hover()
    give(shown, 1, "pasted.png", png(photo(100, 120)), PASTE)
    size_told(shown, 1, "120×100")
    (tmp_path / "own.png").write_bytes(back)
    shown.get_by_label("Open recipe…").set_input_files(tmp_path / "own.png")
    size_told(shown, 1, "1900×1700")


def test_masks_come_in_fitted_or_refused_and_a_given_mask_outlives_undo(shown: Any) -> None:
    give(shown, 0, "ball.png", png(photo(240, 320)))
    size_told(shown, 0, "320×240")
    reference = shown.locator(".ad-painter").nth(0)
    mask = np.zeros((120, 160), np.uint8)
    mask[30:90, 50:110] = 255
    for image, words in ((mask, "it was fitted"), (mask[:, :99], "expected the same shape")):
        file = {"name": "mask.png", "mimeType": "image/png", "buffer": png(image)}
        reference.get_by_label("Mask…").set_input_files(file)
        reference.get_by_text(words).wait_for(timeout=LONG)
    give(shown, 0, "phone.heic", b"\0\0\0\x18ftypheic" + bytes(40))
    reference.get_by_text("HEIC").wait_for(timeout=LONG)
    size_told(shown, 0, "320×240")
    give(shown, 0, "notes.txt", b"no picture")
    reference.get_by_text("cannot be used").wait_for(timeout=LONG)
    screenshot(shown, "refused_1280")
    reference.get_by_role("button", name="Example: crab").click()
    size_told(shown, 0, "128×128")
    assert reference.get_by_role("button", name="Undo").is_disabled()
    reference.locator("[data-tool=brush]").click()
    drag(shown, reference, (5, 5, 20, 20), (128, 128))
    undo = reference.get_by_role("button", name="Undo")
    undo.click()
    assert undo.is_disabled()
    marked = "() => document.querySelector('.ad-stage canvas').getContext('2d')" \
        ".getImageData(64, 64, 1, 1).data[3]"  # fmt: skip
    assert shown.evaluate(marked) == 255


def test_clicks_that_cut_are_marked_and_a_sign_says_that_it_is_at_work(shown: Any) -> None:
    give(shown, 0, "ball.png", png(photo(480, 640)))
    size_told(shown, 0, "640×480")
    reference = shown.locator(".ad-painter").nth(0)
    shown.evaluate(
        "() => { window.signs = []; const s = document.querySelector('.ad-sign');"
        "new MutationObserver(() => signs.push(s.textContent)).observe(s, { childList: true }); }"
    )
    reference.locator("[data-tool=object]").click()
    drag(shown, reference, (240, 320, 241, 321), (480, 640))
    reference.locator("[data-tool=ground]").click()
    drag(shown, reference, (20, 20, 21, 21), (480, 640))  # while the first may still be at work
    shown.wait_for_function("() => signs.at(-1) === ''", timeout=LONG)
    assert "Cutting…" in shown.evaluate("() => signs")
    for mark in (".ad-on", ".ad-off"):
        shown.locator(f".ad-marks {mark}").wait_for(state="attached", timeout=LONG)
    assert shown.locator(".ad-marks circle").count() == 2
    screenshot(shown, "clicks_1280")


def test_zooming_by_the_wheel_keeps_what_is_under_the_pointer(shown: Any) -> None:
    scene = shown.locator(".ad-painter").nth(1)
    scene.get_by_role("button", name="Example: meadow").click()
    size_told(shown, 1, "256×256")
    box = scene.locator("svg").bounding_box()
    x, y = box["x"] + 0.7 * box["width"], box["y"] + 0.3 * box["height"]
    shown.mouse.move(x, y)
    shown.keyboard.down("Control")

    def zoomed(times: float) -> Any:
        while scene.locator("svg").bounding_box()["width"] < times * box["width"]:
            shown.mouse.wheel(0, -100)
            shown.wait_for_timeout(50)
        return scene.locator("svg").bounding_box()

    first, last = zoomed(1.5), zoomed(4)  # the first fills the view, so that it can be moved
    shown.keyboard.up("Control")
    for corner, side, at in (("x", "width", x), ("y", "height", y)):
        share = (at - first[corner]) / first[side]
        assert (at - last[corner]) / last[side] == pytest.approx(share, abs=0.01)
    scene.get_by_role("button", name="Show the whole picture").click()
