"""Render README's pictures again: `python tests/pictures.py` (needs Chromium; three minutes)."""

from __future__ import annotations

import base64
import io
import os
import shutil
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from PIL import Image

from anydoor_lab.demo import NOTEBOOK
from browser import ROOT, page, voila

FOLDER = ROOT / "notebooks" / "pictures"
MAX_BYTES = 200_000
WIDTH_PX = 1000
FIGURES = {
    "id_extractors": ("03_id_extractors", "The same objects through each ID extractor"),
    "timesteps": ("04_timesteps", "k steps with object A, then B"),
}
"""A picture's name to its notebook, and what the cell that draws it says."""


def teleporter(folder: Path) -> bytes:
    """The demo's Teleporter after one press, as a PNG file."""
    shutil.copy(NOTEBOOK, folder / "demo.ipynb")
    with voila(folder / "demo.ipynb") as address, page(1280, 900) as shown:
        shown.goto(address, timeout=90_000)
        shown.locator(".ad-painter[data-ready]").nth(1).wait_for(timeout=90_000)
        shown.get_by_role("button", name="Generate", exact=True).click()
        shown.locator(".ad-panel[data-finished='1']").wait_for(timeout=60_000)
        shown.get_by_role("slider", name="Scene and result").focus()
        for _ in range(4):
            shown.keyboard.press("ArrowRight")
        shown.mouse.move(0, 0)
        shown.wait_for_timeout(500)
        return bytes(shown.locator(".ad-teleporter").screenshot())


def figure(name: str, words: str, folder: Path) -> bytes:
    """What the one cell with these words draws, as a PNG file."""
    notebook = nbformat.read(ROOT / "notebooks" / f"{name}.ipynb", as_version=4)
    resources = {"metadata": {"path": str(folder)}}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    NotebookClient(notebook, timeout=600, resources=resources).execute(env=environment)
    (cell,) = (c for c in notebook.cells if c.cell_type == "code" and words in c.source)
    (data,) = (o.data["image/png"] for o in cell.outputs if "image/png" in o.get("data", {}))
    return base64.b64decode(data)


def keep(name: str, data: bytes) -> None:
    """Write a picture at most `WIDTH_PX` wide, as well as `MAX_BYTES` allow."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    if image.width > WIDTH_PX:
        height = round(image.height * WIDTH_PX / image.width)
        image = image.resize((WIDTH_PX, height), Image.Resampling.LANCZOS)
    for quality in range(95, 0, -5):
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=quality, subsampling=0, optimize=True)
        if buffer.tell() <= MAX_BYTES:
            break
    FOLDER.mkdir(exist_ok=True)
    (FOLDER / f"{name}.jpg").write_bytes(buffer.getvalue())
    print(f"{name}: {image.width}x{image.height}, {buffer.tell():,} bytes, quality {quality}")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as made:
        keep("teleporter", teleporter(Path(made)))
        for name, (notebook, words) in FIGURES.items():
            keep(name, figure(notebook, words, Path(made)))
