"""`idx=effnet`: an outside encoder goes the way of a run, from training to the widget."""

from __future__ import annotations

import json
import subprocess
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import commands
from anydoor_lab import load_pipeline
from anydoor_lab.data.world import World
from anydoor_lab.models.effnet import PACKAGE
from anydoor_lab.models.idx.effnet import EffnetExtractor
from anydoor_lab.pipeline.extractors import offered
from anydoor_lab.structures.rng import rng_for
from networks import model_overrides

QUICK = ("idx=effnet", "train.batch_size=2", "train.workers=0", "eval=fast", "eval.num_pairs=2",
         "eval.num_diverse=0", "eval.num_shown=1", "metrics=[dino]", "logger=local",
         "model.num_inference_steps=1")  # fmt: skip
weighed = pytest.mark.skipif(
    find_spec(PACKAGE) is None, reason=f"{PACKAGE} (extra 'judge') is not installed"
)


def run(
    folder: Path, command: str, *overrides: str, hidden: bool = False
) -> subprocess.CompletedProcess[str]:
    environment = {}
    if hidden:  # a folder of the package's name without its weights stands before it
        (folder / "before" / PACKAGE).mkdir(parents=True)
        (folder / "before" / PACKAGE / "__init__.py").touch()
        environment = {"PYTHONPATH": str(folder / "before")}
    return commands.command(command, *overrides, cwd=folder, environment=environment, timeout=400)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, networks: Path) -> Path:
    """A folder with a run of two steps."""
    folder = tmp_path_factory.mktemp("effnet")
    settings = (*model_overrides(networks), *QUICK, "train.steps=2", "hydra.run.dir=run")
    done = run(folder, "train", *settings)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@weighed
def test_a_run_goes_on_from_its_checkpoint(trained: Path, networks: Path) -> None:
    checkpoint = sorted((trained / "run" / "checkpoints").iterdir())[-1]
    settings = (*model_overrides(networks), *QUICK, "train.steps=3", "hydra.run.dir=longer")
    done = run(trained, "train", *settings, f"train.resume='{checkpoint}'")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "at step 2" in done.stdout


@weighed
def test_a_run_is_exported_and_loaded_with_its_encoder(trained: Path) -> None:
    done = run(trained, "export", "run=run", "out=exported", "precision=fp32")
    assert done.returncode == 0, done.stderr[-3000:]
    index = json.loads((trained / "exported" / "model_index.json").read_text())
    assert index["id_extractor"][1] == "EffnetExtractor"
    pair = World(split="held_out").pair(0, rng_for(0, 0, "pair"))
    pictures = []
    for source in ("run", "exported"):
        pipeline = load_pipeline(trained / source)
        assert isinstance(pipeline.id_extractor, EffnetExtractor)
        assert list(offered(pipeline)) == ["effnet"]
        pipeline.set_progress_bar_config(disable=True)
        placed = pipeline(pair.reference, pair.scene, reference_mask=pair.reference_mask,
                          scene_mask=pair.scene_mask, output_type="np")  # fmt: skip
        pictures.append(placed.images[0])
    assert np.array_equal(*pictures)


def test_weights_of_other_encoders_do_not_offer_it() -> None:
    assert "effnet" not in offered(load_pipeline("embedded:anydoor"))


def test_without_the_weights_training_ends_in_one_sentence(tmp_path: Path, networks: Path) -> None:
    done = run(tmp_path, "train", *model_overrides(networks), *QUICK, "train.steps=2", hidden=True)
    assert done.returncode == 2
    assert done.stderr.strip().splitlines()[-1].startswith(f"error: {PACKAGE} carries no")
