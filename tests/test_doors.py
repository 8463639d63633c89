"""The commands, run as a user runs them, on small random networks."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir
from hydra.core.hydra_config import HydraConfig
from omegaconf import open_dict
from PIL import Image

from anydoor_lab import train
from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.models.idx.clip import ClipExtractor
from anydoor_lab.models.idx.dinov2 import Dinov2Extractor
from anydoor_lab.pipeline.anydoor import AnyDoorPipeline
from anydoor_lab.structures.images import read_image, write_image
from anydoor_lab.structures.names import conf_dir
from anydoor_lab.training.checkpoint import hash_tensors, load_checkpoint
from commands import command
from networks import make_unet, model_overrides

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = ROOT.parent / "shared" / "samples"
QUICK = ["train.steps=2", "train.batch_size=4", "train.workers=0", "model.num_inference_steps=2"]
QUICK += ["eval=fast", "eval.num_pairs=2", "eval.num_diverse=1", "eval.num_shown=1"]
Train = Callable[..., Path]


def refused(result: subprocess.CompletedProcess[str], *words: str) -> None:
    """One sentence, exit code 2, no traceback."""
    assert result.returncode == 2, result.stderr
    assert "Traceback" not in result.stderr
    lines = [line for line in result.stderr.splitlines() if line.startswith("error: ")]
    assert len(lines) == 1
    for word in words:
        assert word in lines[0]


@pytest.fixture
def quick_train(tmp_path: Path, networks: Path) -> Train:
    """Train in this process; returns the run's folder."""

    def run(*overrides: str, folder: Path = tmp_path / "run") -> Path:
        settings = [*QUICK, *model_overrides(networks), "logger=local", *overrides]
        place = [f"hydra.runtime.output_dir={folder}", "hydra.job.name=train", "hydra.mode=RUN"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            cfg = compose("train", [*settings, *place], return_hydra_config=True)
        HydraConfig.instance().set_config(cfg)
        with open_dict(cfg):
            cfg.pop("hydra")
        train.main(cfg)
        return folder

    return run


GROUPS = ("idx", "collage", "ats", "data", "logger", "eval")
MOVING = ("data=things", "data=world", "data=world_hard")
"""Sets with true second views; the others, also what `train` takes unasked, are of stills."""
ELSEWHERE = ("- override /data@", "root: ???", "references: ???", "- viton_hd\n")
"""Sets that lie on the user's disk, and benchmarks: each has tests of its own."""
CHOICES = [
    f"{group}={path.stem}"
    for group in GROUPS
    for path in sorted((conf_dir() / group).glob("*"))
    if f"{group}={path.stem}" == "data=folder"
    or not any(mark in path.read_text() for mark in ELSEWHERE)
]
CHOICES.append("metrics=[dino,diversity]")


@pytest.mark.parametrize("choice", CHOICES)
def test_every_choice_of_every_group_trains_and_is_scored(
    choice: str, quick_train: Train, cutouts: Path
) -> None:
    extra = [f"data.root={cutouts}"] if choice == "data=folder" else []
    folder = quick_train(choice, *extra)
    scores = json.loads((folder / "scores.json").read_text())
    assert scores["scale"] == "tiny"
    names = [row["run"] for row in scores["rows"]]
    assert names[:2] == ["before training", "after training"]
    truth = "true second view" if choice in MOVING else "ground truth"
    assert {truth, "copy-paste", "empty"} <= set(names)
    assert ("another object" in names) == (scores["n"] > 1)
    asked = ("dino",) if choice.startswith("metrics") else ("clip", "dino")
    assert np.isfinite([row[name] for row in scores["rows"] for name in asked]).all()
    assert choice != "metrics=[dino,diversity]" or not any("clip" in row for row in scores["rows"])
    assert read_image(folder / "grid.png").std() > 10
    assert "tiny scale" in (folder / "scores.md").read_text()


def test_the_large_scales_settings_train_on_a_folder_of_weights(quick_train: Train) -> None:
    expects = ["model.expects.prediction_type=sample", "model.expects.cross_attention_dim=32"]
    folder = quick_train("model=sd21", "model.name=sd21", "train.sample_posterior=true", *expects)
    assert json.loads((folder / "scores.json").read_text())["scale"] == "sd21"


@pytest.mark.parametrize("init", ["scratch", "base"])
def test_a_run_can_start_from_nothing_or_from_the_base(init: str, quick_train: Train) -> None:
    assert (quick_train(f"init={init}", "train.trained=all") / "scores.json").is_file()


def test_a_run_can_go_on_from_another_ones_weights_with_another_extractor(
    quick_train: Train, tmp_path: Path
) -> None:
    first = quick_train()
    same = load_pipeline(quick_train(f"init={first}", "train.steps=1", folder=tmp_path / "same"))
    other = load_pipeline(quick_train(f"init={first}", "idx=clip", folder=tmp_path / "other"))
    assert type(same.id_extractor) is Dinov2Extractor
    assert type(other.id_extractor) is ClipExtractor
    assert not other.config.remove_background


def test_a_runs_frozen_networks_are_not_exchanged_behind_its_back(
    quick_train: Train, networks: Path, tmp_path: Path
) -> None:
    folder = quick_train()
    config = (folder / "config.yaml").read_text()
    other = tmp_path / "other"
    shutil.copytree(networks, other)
    torch.manual_seed(9)
    make_unet().save_pretrained(other / "base" / "unet")
    (folder / "config.yaml").write_text(config.replace(str(networks), str(other)))
    with pytest.raises(ValueError, match="other frozen networks"):
        load_pipeline(folder)


def test_a_runs_settings_cannot_call_anything_but_this_package(quick_train: Train) -> None:
    folder = quick_train()
    config = (folder / "config.yaml").read_text()
    target = "anydoor_lab.Dinov2Extractor"
    assert target in config
    (folder / "config.yaml").write_text(config.replace(target, "os.system"))
    with pytest.raises(ValueError, match="name 'os.system', which is no public name"):
        load_pipeline(folder)


def test_entries_passed_over_in_training_are_counted(quick_train: Train, tmp_path: Path) -> None:
    photo = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    mask = np.zeros((64, 64), np.uint8)
    mask[20:40, 20:40] = 255
    for name in "abcdefgh":
        write_image(tmp_path / "photos" / f"{name}.png", photo)
        write_image(tmp_path / "photos" / f"{name}_mask.png", mask)
    for name in "bdfh":
        damaged = tmp_path / "photos" / f"{name}.png"
        damaged.write_bytes(damaged.read_bytes()[:6000])
    data = ["data=folder", f"data.root={tmp_path / 'photos'}", "data.held_out=0"]
    folder = quick_train(*data, "train.steps=4")
    facts = json.loads((folder / "run.json").read_text())
    assert facts["passed_over"]["unreadable picture"] >= 4
    assert "8 used" in facts["data"] and "nothing is held out" in facts["data"]


def test_training_can_read_its_pairs_from_a_pool(
    quick_train: Train, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    quick_train("pool=12")
    assert len(list((tmp_path / "cache").rglob("*_12.pool"))) == 1
    with pytest.raises(ValueError, match="pool=0"):
        quick_train("pool=12", "data=photos", folder=tmp_path / "other")


def test_a_run_leaves_everything_the_design_promises(quick_train: Train) -> None:
    folder = quick_train("train.sample_every=1", "train.log_every=1")
    names = {path.name for path in folder.iterdir()}
    assert names >= {"config.yaml", "run.json", "metrics.jsonl", "checkpoints", "samples"}
    records = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    assert [record["step"] for record in records] == [1, 2]
    assert {"loss", "gradient_norm", "learning_rate", "samples_per_second"} <= set(records[0])
    assert any(key.startswith("loss/t_") for key in records[0])
    assert len(list((folder / "samples").glob("held_out_*.png"))) == 2
    assert len(list((folder / "samples").glob("final_*.png"))) == 1
    facts = json.loads((folder / "run.json").read_text())
    assert "used" in facts["data"] and facts["versions"]["torch"]


def test_the_table_has_the_paired_gain_and_the_picture_what_was_made_before(
    quick_train: Train,
) -> None:
    folder = quick_train("train.learning_rate=1e-2", "train.ema_decay=0.0", "eval.num_shown=2")
    rows = json.loads((folder / "scores.json").read_text())["rows"]
    gain = np.mean(np.subtract(rows[1]["dino_each"], rows[0]["dino_each"]))
    (line,) = (one for one in (folder / "scores.md").read_text().splitlines() if "gain" in one)
    assert f"{gain:.1f} [" in line
    before = [read_image(folder / "before" / f"{number:02d}.png") for number in (0, 1)]
    drawn = read_image(folder / "grid.png")
    shutil.rmtree(folder / "before")
    (folder / "scores.json").unlink()
    quick_train("train.learning_rate=1e-2", "train.ema_decay=0.0", "eval.num_shown=2")
    again = read_image(folder / "grid.png")
    assert len(before) == 2 and drawn.shape[1] > again.shape[1], "one column more"


def test_a_finished_run_is_not_trained_again(
    quick_train: Train, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = quick_train()
    before = (folder / "scores.json").stat().st_mtime_ns
    quick_train()
    assert "is finished" in capsys.readouterr().out
    assert (folder / "scores.json").stat().st_mtime_ns == before


def test_other_settings_do_not_go_on_in_a_runs_folder(quick_train: Train) -> None:
    quick_train()
    with pytest.raises(ValueError, match="train.steps is 2 there, 3 here"):
        quick_train("train.steps=3")
    with pytest.raises(FileExistsError, match="overwrite=true"):
        quick_train("train.resume=never")
    quick_train("train.resume=never", "overwrite=true", "train.steps=3")


def test_killed_in_the_middle_it_resumes_to_the_same_weights(
    tmp_path: Path, networks: Path
) -> None:
    settings = [*QUICK, *model_overrides(networks), "logger=local", "train.steps=12"]
    settings += ["train.checkpoint_every=2", "train.workers=1"]
    straight, killed = tmp_path / "straight", tmp_path / "killed"
    assert command("train", *settings, f"hydra.run.dir={straight}", cwd=tmp_path).returncode == 0
    call = [sys.executable, "-m", "anydoor_lab.train", *settings, f"hydra.run.dir={killed}"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(
        call, cwd=tmp_path, env=environment, stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 120
    while not (killed / "checkpoints" / "step_00000004").is_dir():
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    assert not (killed / "scores.json").exists()
    again = command(
        "train", *settings, "train.resume=auto", f"hydra.run.dir={killed}", cwd=tmp_path
    )
    assert "resuming" in again.stdout, again.stderr
    hashes = [
        {name: hash_tensors(group) for name, group in checkpoint.tensors.items()}
        for checkpoint in (
            load_checkpoint(run / "checkpoints" / "step_00000012") for run in (straight, killed)
        )
    ]
    assert hashes[0] == hashes[1]
    tables = [json.loads((run / "scores.json").read_text())["rows"] for run in (straight, killed)]
    assert tables[0] == tables[1]  # the row "before training" is of the weights it began with, too


def test_a_sweep_compares_its_runs_and_skips_what_is_finished(
    tmp_path: Path, networks: Path
) -> None:
    settings = [*QUICK, *model_overrides(networks), "logger=local", f"hydra.sweep.dir={tmp_path}"]
    first = command("train", "-m", "idx=clip,dinov2", *settings, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert "idx=clip" in (tmp_path / "comparison.md").read_text()
    assert read_image(tmp_path / "comparison.png").std() > 10
    rows = (tmp_path / "comparison.csv").read_text()
    assert rows.count("idx=") == 2
    second = command("train", "-m", "idx=clip,dinov2", *settings, cwd=tmp_path)
    assert second.stdout.count("is finished") == 2
    assert "Comparison of 2 runs" in second.stdout
    third = command("compare", f"runs={tmp_path}", cwd=tmp_path)
    assert "Comparison of 2 runs" in third.stdout


def test_help_answers_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['train', '--help']\n"
        "from anydoor_lab.train import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "assert 'torch' not in sys.modules and 'diffusers' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True)


def test_wrong_data_end_in_one_sentence(tmp_path: Path, networks: Path) -> None:
    settings = [*QUICK, *model_overrides(networks), "data=folder", "data.root=/no/such/folder"]
    refused(command("train", *settings, cwd=tmp_path), "/no/such/folder")
    assert not list(tmp_path.rglob("checkpoints"))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["train.precision=fp8"], "train.precision is 'fp8'"),
        (["train.batch_size=10", "train.micro_batches=3"], "batch_size 10 .* multiple of 3"),
        (["train.trained=none"], "train.trained is 'none'"),
        (["train.resume=/no/checkpoint"], "/no/checkpoint"),
        (["init=/no/such/pipeline"], "/no/such/pipeline"),
        (["eval.crop=circle"], "crop is 'circle'"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_trained(
    arguments: list[str], words: str, quick_train: Train, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match=words):
        quick_train(*arguments)
    assert not list(tmp_path.rglob("checkpoints"))


def test_a_wrong_choice_is_refused_with_the_known_ones(tmp_path: Path) -> None:
    result = command("train", "idx=dinov9", cwd=tmp_path)
    assert result.returncode == 2
    assert "dinov2_global" in result.stderr and "Traceback" not in result.stderr


@pytest.fixture
def trained(quick_train: Train) -> Path:
    """The folder of a finished run."""
    return quick_train()


def test_a_run_is_scored_again_and_places_objects(
    trained: Path, tmp_path: Path, cutouts: Path, networks: Path
) -> None:
    settings = [f"hydra.run.dir={tmp_path / 'again'}"]  # scale, data and scoring are the run's own
    scored = command("evaluate", f"run={trained}", *settings, cwd=tmp_path)
    assert scored.returncode == 0, scored.stderr
    again = json.loads((tmp_path / "again" / "scores.json").read_text())
    once = json.loads((trained / "scores.json").read_text())
    assert again["rows"][0]["dino"] == pytest.approx(once["rows"][1]["dino"], abs=1e-3)
    again = command("evaluate", f"run={trained}", *settings, cwd=tmp_path)
    assert again.returncode == 0 and "are there already; overwrite=true" in again.stdout
    other = command("evaluate", f"run={trained}", *settings, "eval.seed=3", cwd=tmp_path)
    refused(other, "other settings (eval.seed is", "overwrite=true")

    scene = np.random.default_rng(0).integers(0, 255, (90, 210, 3), dtype=np.uint8)
    write_image(tmp_path / "scene.png", scene)
    reference = next(cutouts.glob("*.png"))
    place = [f"reference={reference}", "scene=scene.png", "box=[20,60,70,130]", f"run={trained}"]
    made = command("generate", *place, "num_proposals=2", "out=placed.png", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    placed = [read_image(tmp_path / f"placed_{k}.png") for k in range(2)]
    outside = np.ones((90, 210), bool)
    outside[17:73, 56:134] = False  # the box grown 1.1 times
    for picture in placed:
        assert np.array_equal(picture[outside], scene[outside])
        assert not np.array_equal(picture, scene)
    refused(
        command("generate", *place, "num_proposals=2", "out=placed.png", cwd=tmp_path),
        "placed_0.png exists",
    )


def test_a_run_is_exported_as_a_folder_that_diffusers_loads(
    trained: Path, tmp_path: Path, networks: Path
) -> None:
    out = tmp_path / "exported"
    done = command("export", f"run={trained}", f"out={out}", "precision=fp32", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    own, exported = load_pipeline(trained), AnyDoorPipeline.from_pretrained(out)
    assert hash_tensors(own.unet.state_dict()) == hash_tensors(exported.unet.state_dict())
    assert str(networks) not in "".join(path.read_text() for path in out.rglob("*.json"))
    refused(command("export", f"run={trained}", f"out={out}", cwd=tmp_path), "exists")


def test_one_checkpoint_of_a_run_is_placed_with_by_its_folder(trained: Path) -> None:
    newest = max((trained / "checkpoints").glob("step_*"))
    own, single = load_pipeline(trained), load_pipeline(newest)
    for name in ("unet", "detail_extractor", "id_extractor"):
        found, expected = (getattr(one, name).state_dict() for one in (single, own))
        assert hash_tensors(found) == hash_tensors(expected), name


def test_lora_tunes_a_trained_run_and_its_adapters_are_exported_and_placed_with(
    trained: Path, quick_train: Train, tmp_path: Path, cutouts: Path
) -> None:
    with pytest.raises(ValueError, match="tunes a trained network"):
        quick_train("train.trained=lora", "init=base", folder=tmp_path / "no")
    settings = ("train.trained=lora", "train.lora_rank=2", "train.learning_rate=0.3")
    tuned = quick_train(f"init={trained}", *settings, folder=tmp_path / "tuned")
    for layout in ("lora", "pipeline"):
        given = [f"run={tuned}", f"out={layout}", f"layout={layout}", "precision=fp32"]
        done = command("export", *given, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
    refused(command("export", f"run={trained}", "out=no", "layout=lora", cwd=tmp_path), "adapter")
    assert not (tmp_path / "no").exists()
    write_image(tmp_path / "scene.png", np.full((90, 210, 3), 90, np.uint8))
    place = [f"reference={next(cutouts.glob('*.png'))}", "scene=scene.png", "box=[20,60,70,130]"]
    results = []
    for weights in ([f"run={trained}"], [f"run={tuned}"], ["run=pipeline"],
                    [f"run={trained}", "lora=lora"]):  # fmt: skip
        done = command("generate", *place, *weights, "overwrite=true", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        results.append(read_image(tmp_path / "placed.png").astype(int))
    untuned, own, merged, loaded = results
    assert np.abs(own - untuned).max() > 3
    assert np.abs(merged - own).max() <= 1
    assert np.array_equal(loaded, own)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"box": "[20,60,10,130]"}, ["has no area"]),
        ({"box": "[20,60,95,130]"}, ["leaves the scene", "90x210"]),
        ({"box": "[20,60]"}, ["four whole pixel numbers"]),
        ({"box": "null"}, ["exactly one"]),
        ({"reference": "no.png"}, ["no.png", "does not exist"]),
        ({"reference": "cut.png"}, ["cut.png"]),
        ({"reference": "scene.png"}, ["no alpha"]),
        ({"box": "null", "mask": "empty.png"}, ["empty mask"]),
        ({"box": "null", "mask": "whole.png"}, ["covering everything"]),
        ({"box": "null", "mask": "small.png"}, ["another size"]),
        ({"out": "placed.gif"}, [".png"]),
        ({"run": "nowhere"}, ["nowhere"]),
    ],
)
def test_wrong_placements_end_in_one_sentence(
    change: dict[str, str], words: list[str], tmp_path: Path, cutouts: Path
) -> None:
    write_image(tmp_path / "scene.png", np.zeros((90, 210, 3), np.uint8))
    write_image(tmp_path / "empty.png", np.zeros((90, 210), np.uint8))
    write_image(tmp_path / "whole.png", np.full((90, 210), 255, np.uint8))
    write_image(tmp_path / "small.png", np.eye(9, dtype=np.uint8) * 255)
    whole = next(cutouts.glob("*.png"))
    (tmp_path / "cut.png").write_bytes(whole.read_bytes()[:60])
    asked = {"reference": str(whole), "scene": "scene.png", "box": "[20,60,70,130]"} | change
    result = command("generate", *(f"{k}={v}" for k, v in asked.items()), cwd=tmp_path)
    refused(result, *words)
    assert not list(tmp_path.glob("placed*"))


@pytest.mark.shared
def test_a_real_object_is_placed_into_a_real_scene_and_nothing_else_changes(
    trained: Path, tmp_path: Path
) -> None:
    if not SAMPLES.is_dir():
        pytest.skip("../shared/samples is not beside this checkout")
    scene_path = SAMPLES / "scenes" / "photo_04.jpg"
    reference = SAMPLES / "references" / "dreambooth_00.png"
    arguments = [f"reference={reference}", f"scene={scene_path}", "box=[100,150,260,330]"]
    result = command("generate", *arguments, f"run={trained}", "out=placed.png", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    placed, scene = read_image(tmp_path / "placed.png"), read_image(scene_path)
    assert placed.shape == scene.shape
    changed = np.argwhere((placed != scene).any(axis=2))
    assert len(changed) > 1000
    (y1, x1), (y2, x2) = changed.min(axis=0), changed.max(axis=0)
    assert y1 >= 92 and y2 < 268 and x1 >= 141 and x2 < 339


def test_the_pictures_are_rgb_pngs(trained: Path) -> None:
    with Image.open(trained / "grid.png") as picture:
        assert picture.format == "PNG"
