"""A Jupyter server and Chromium for the browser tests: nothing leaves this machine."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from anydoor_lab.demo import command, environment, free_port

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update"]  # fmt: skip
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")


def lacking() -> str:
    """Why no browser test can run here; empty where they can."""
    try:
        import playwright.sync_api  # noqa: F401
        import voila  # noqa: F401
    except ImportError as error:
        return f"{error.name} is not installed"
    return "" if CHROMIUM else "no Chromium on this machine"


def notebook(path: Path, *cells: str) -> Path:
    """A notebook of these cells."""
    import nbformat

    made = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    made.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(made, path)
    return path


@contextmanager
def server(
    command: list[str],
    port: int,
    folder: Path,
    ready: str,
    given: Mapping[str, str] = os.environ,
) -> Iterator[str]:
    """A server with fresh Jupyter folders; its address, once `ready` answers."""
    environment = {**given, "PYTHONPATH": str(ROOT), "JUPYTER_PLATFORM_DIRS": "1"}
    for name in ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "IPYTHONDIR"):
        environment[name] = str(folder / name.lower())
    with (folder / "server.log").open("w") as log:
        running = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
    try:
        address = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(address + ready), 60, f"see {folder / 'server.log'}")
        yield address
    finally:
        running.terminate()
        try:
            running.wait(20)
        except subprocess.TimeoutExpired:
            running.kill()


@contextmanager
def voila(path: Path) -> Iterator[str]:
    """The demo's Voila on another notebook; its address with the token."""
    port, folder, token = free_port(), path.parent, "of-the-test"
    given = environment(token, folder / "anydoor_results")
    started = command(port, notebook=path)
    with server(started, port, folder, "/voila/static/voila.js", given) as address:
        yield f"{address}/?token={token}"


def lab(folder: Path, again: bool = False) -> Any:
    """JupyterLab on a folder, without a token and without its news; perhaps not the first one."""
    settings = folder / "jupyter_config_dir" / "lab" / "user-settings" / "@jupyterlab"
    news = settings / "apputils-extension" / "notification.jupyterlab-settings"
    news.parent.mkdir(parents=True, exist_ok=again)
    news.write_text(json.dumps({"fetchNews": "false", "checkForUpdates": False}))
    port = free_port()
    flags = ["--no-browser", "--ip=127.0.0.1", "--IdentityProvider.token=", "--allow-root"]
    own = [f"--port={port}", f"--ServerApp.root_dir={folder}"]
    return server([sys.executable, "-m", "jupyterlab", *flags, *own], port, folder, "/api")


def answers(address: str) -> bool:
    """Whether anything answers there."""
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except urllib.error.HTTPError:
        return True
    except OSError:
        return False
    return True


def wait_until(true: Any, seconds: float, what: str) -> None:
    """Wait until `true()`; AssertionError after `seconds`."""
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        time.sleep(0.1)


@contextmanager
def page(width: int = 1280, height: int = 1000) -> Iterator[Any]:
    """A page of a fresh Chromium; every request must stay on this machine."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        opened = browser.new_page(viewport={"width": width, "height": height})
        strangers: list[str] = []
        local = re.compile(r"(https?|wss?)://(127\.0\.0\.1|localhost)[:/]|data:|blob:|about:|file:")

        def left(request: Any) -> None:
            if not local.match(request.url) and request.failure != "csp":
                strangers.append(f"{request.url} ({request.failure})")

        opened.on("requestfinished", left)
        opened.on("requestfailed", left)
        errors: list[str] = []
        opened.on("pageerror", lambda error: errors.append(str(error)))
        try:
            yield opened
        finally:
            browser.close()
        assert strangers == []
        assert errors == []


def drag(page: Any, painter: Any, box: tuple[int, int, int, int], size: tuple[int, int]) -> None:
    """Drag over (y1, x1, y2, x2) of a picture of `size` (height, width)."""
    first, middle, last = diagonal(painter, box, size)
    page.mouse.move(first["x"], first["y"])
    page.mouse.down()
    page.mouse.move(middle["x"], middle["y"], steps=4)
    page.mouse.move(last["x"], last["y"], steps=4)
    page.mouse.up()


def diagonal(
    painter: Any, box: tuple[int, int, int, int], size: tuple[int, int]
) -> list[dict[str, float]]:
    """Corner, middle and other corner of a box of the picture, in pixels of the page."""
    where = still_box(painter.locator("svg").first)
    y1, x1, y2, x2 = box
    path = [(x1 + 0.2, y1 + 0.2), ((x1 + x2) / 2, (y1 + y2) / 2), (x2 - 0.2, y2 - 0.2)]
    across, down = where["width"] / size[1], where["height"] / size[0]
    return [{"x": where["x"] + x * across, "y": where["y"] + y * down} for x, y in path]


def still_box(shown: Any) -> dict[str, float]:
    """Where a part of the page is, once it has not moved for half a second: a page that is still
    being laid out would take the mouse's way elsewhere."""
    seen: list[dict[str, float]] = []

    def still() -> bool:
        time.sleep(0.1)
        seen.append(shown.bounding_box())
        return len(seen) > 5 and all(box == seen[-1] for box in seen[-6:])

    wait_until(still, 60, "a part of the page that stands still")
    return seen[-1]


def stroke(
    page: Any, kind: str, painter: Any, box: tuple[int, int, int, int], size: tuple[int, int]
) -> None:
    """As `drag`, with a finger ("touch") or a "pen", by the browser's own input events."""
    points = diagonal(painter, box, size)
    inputs = page.context.new_cdp_session(page)
    if kind == "touch":
        for name, point in zip(("touchStart", "touchMove", "touchMove"), points, strict=True):
            inputs.send("Input.dispatchTouchEvent", {"type": name, "touchPoints": [point]})
        inputs.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    else:
        told = {"pointerType": kind, "button": "left", "buttons": 1, "clickCount": 1, "force": 0.5}
        names = ("mousePressed", "mouseMoved", "mouseMoved", "mouseReleased")
        for name, point in zip(names, [*points, points[-1]], strict=True):
            inputs.send("Input.dispatchMouseEvent", {"type": name, **point, **told})
    inputs.detach()


def screenshot(page: Any, name: str) -> None:
    """Keep a picture of the page where the environment names a folder for it."""
    folder = os.environ.get("ANYDOOR_SCREENSHOTS")
    if folder:
        page.screenshot(path=str(Path(folder) / f"{name}.png"), full_page=True)
