"""Folders made before modules moved still load, and place the same pictures bit for bit.

`before_the_move/README.md` says how they were made. The pictures are drawn by child processes with
the instructions that every x86-64 processor has, so that their bits do not depend on the machine;
where the libraries or the architecture are others, one grey level may differ.

The outermost pixels are left out: the crops of these pictures end at the scene's own rim, which was
not written then and is now.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from anydoor_lab import read_image
from before_the_move.draw import EMBEDDED, FOLDERS, PORTABLE, SEED, pixels_hash

ROOT = Path(__file__).resolve().parents[1]
STORED = ROOT / "tests" / "before_the_move"
EXPECTED = json.loads((STORED / "expected" / "pictures.json").read_text())
RIM_PX = 5
PLACE = ["scene=pair/scene.png", "mask=pair/scene_mask.png", "reference=pair/reference.png"]
PLACE += ["reference_mask=pair/reference_mask.png", f"seed={SEED}", "blend=crop", "out=out/run.png"]
THEN = ["model.expects.prediction_type=v_prediction", "model.resolution=64", "model.id_size=64"]
THEN += ["collage.erosion_px=5", "collage.threshold=50", "collage.power=1.0", "data=world"]
THEN += ["data.size_px=96", "model.zoom=1.5"]
"""What the tiny scale was when the run was made."""


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    """A copy of the stored folders, to work in."""
    return Path(shutil.copytree(STORED, tmp_path / "before"))


def python(*arguments: str, cwd: Path) -> str:
    environment = os.environ | PORTABLE | {"PYTHONPATH": str(ROOT)}
    call = [sys.executable, *arguments]
    result = subprocess.run(
        call, cwd=cwd, env=environment, capture_output=True, text=True, timeout=180
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def check_drawn(folders: Path, stored: dict[str, str]) -> None:
    """Draw these names; the pictures are those stored under the names they stand for."""
    python("draw.py", "out", *stored, cwd=folders)
    far = {name: difference(folders / "out" / f"{name}.png", stored[name]) for name in stored}
    assert {name: levels for name, levels in far.items() if levels > 1} == {}
    found = json.loads((folders / "out" / "pictures.json").read_text())
    if found["ground"] == EXPECTED["ground"]:
        assert far == dict.fromkeys(stored, 0)


def difference(path: Path, name: str) -> int:
    """The largest difference of a picture from the stored one of that name inside the rim, in grey
    levels."""
    stored = read_image(STORED / "expected" / f"{name}.png").astype(int)
    assert pixels_hash(stored.astype(np.uint8)) == EXPECTED["sha256"][name]
    far = abs(read_image(path) - stored)
    return int(far[RIM_PX:-RIM_PX, RIM_PX:-RIM_PX].max())


def test_saved_folders_place_the_same_pictures(folders: Path) -> None:
    check_drawn(folders, {name: name for name in FOLDERS})


def test_the_embedded_network_places_the_same_pictures(folders: Path) -> None:
    check_drawn(folders, {name: name for name in EMBEDDED})


def test_generate_and_evaluate_read_a_run(folders: Path) -> None:
    python("-m", "anydoor_lab.generate", "run=run", *PLACE, cwd=folders)
    assert difference(folders / "out" / "run.png", "run") <= 1
    python("-m", "anydoor_lab.evaluate", "run=run", "hydra.run.dir=scored", cwd=folders)
    check_scores(folders / "scored" / "scores.json", "evaluated")


def test_the_same_command_goes_on_with_a_run(folders: Path) -> None:
    command = json.loads((folders / "run" / "run.json").read_text())["overrides"]
    said = python("-m", "anydoor_lab.train", *command, *THEN, "hydra.run.dir=run", cwd=folders)
    assert "at step 2" in said
    steps = [json.loads(line) for line in (folders / "run" / "metrics.jsonl").open()]
    assert [record["step"] for record in steps] == [1, 2, 3]
    check_drawn(folders, {"run": "resumed"})
    check_scores(folders / "run" / "scores.json", "trained")


def check_scores(path: Path, name: str) -> None:
    """The rows are the stored ones, up to what one grey level does to them."""
    stored, found = (
        json.loads(file.read_text())["rows"]
        for file in (STORED / "expected" / f"{name}.json", path)
    )
    assert [row["run"] for row in found] == [row["run"] for row in stored]
    for metric in ("clip", "dino"):
        expected = pytest.approx([row[metric] for row in stored], abs=0.5)
        assert [row[metric] for row in found] == expected
