"""A run of any kind is scored, exported and gone on from by its folder's name alone."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import inside
from anydoor_lab.config.pipelines import load_pipeline
from anydoor_lab.models.idx.table import id_choices
from anydoor_lab.pipeline.extractors import is_built_as, swap_extractor
from anydoor_lab.runs.folder import read_scores
from anydoor_lab.training.checkpoint import hash_tensors
from networks import model_overrides

QUICK = ["train.steps=1", "train.batch_size=2", "train.workers=0", "model.num_inference_steps=2",
         "logger=silent", "eval=fast", "eval.num_pairs=2", "eval.num_diverse=1",
         "eval.num_shown=1"]  # fmt: skip
SD21 = ["model=sd21", "model.name=sd21", "model.expects.prediction_type=sample",
        "model.expects.cross_attention_dim=32"]  # fmt: skip


def train(folder: Path, networks: Path, *overrides: str, cwd: Path) -> Path:
    settings = [*QUICK, *model_overrides(networks), *overrides, f"hydra.run.dir={folder}"]
    ended = inside.run("train", *settings, cwd=cwd)
    assert ended.code == 0, ended.err[-3000:]
    return folder


def model_row(folder: Path) -> dict[str, Any]:
    scores = json.loads((folder / "scores.json").read_text())
    return scores["rows"][scores["model_row"]] | {"scale": scores["scale"], "n": scores["n"]}


@pytest.mark.parametrize("kind", ["folder", "photos", "sd21"])
def test_a_run_is_scored_again_as_it_was(
    kind: str, networks: Path, cutouts: Path, tmp_path: Path
) -> None:
    chosen = {
        "folder": ["data=folder", f"data.root={cutouts}", "data.held_out=0.5"],
        "photos": ["data=photos"],
        "sd21": SD21,
    }[kind]
    run = train(tmp_path / "a=b, c", networks, *chosen, cwd=tmp_path)
    again = tmp_path / "again"
    ended = inside.run("evaluate", f"run={run}", f"hydra.run.dir={again}", cwd=tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    assert f"weights  {run}" in ended.out and str(again / "scores.json") in ended.out
    once, twice = model_row(run), model_row(again)
    for name in ("dino", "clip", "background_psnr"):
        assert twice[name] == pytest.approx(once[name], abs=1e-3)
    assert (twice["scale"], twice["n"]) == (once["scale"], once["n"])


def test_what_the_command_says_comes_before_what_the_run_had(
    networks: Path, cutouts: Path, tmp_path: Path
) -> None:
    run = train(tmp_path / "run", networks, "data=folder", f"data.root={cutouts}", cwd=tmp_path)
    said = ["eval.num_pairs=1", "data=photos", f"hydra.run.dir={tmp_path / 'other'}"]
    ended = inside.run("evaluate", f"run={run}", *said, cwd=tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    assert model_row(tmp_path / "other")["n"] == 1
    shutil.copytree(cutouts, tmp_path / "moved")
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace(str(cutouts), str(tmp_path / "gone")))
    place = f"hydra.run.dir={tmp_path / 'third'}"
    inside.run("evaluate", f"run={run}", place, cwd=tmp_path).refused("data.root", "gone")


def test_steps_and_guidance_asked_for_are_taken_also_by_trained_weights(
    networks: Path, tmp_path: Path
) -> None:
    own = load_pipeline("embedded:anydoor").config
    chosen = ["init=embedded:anydoor", "model.num_inference_steps=3", "model.guidance_scale=1.5"]
    asked = load_pipeline(train(tmp_path / "asked", networks, *chosen, cwd=tmp_path)).config
    assert (asked.num_inference_steps, asked.guidance_scale) == (3, 1.5)
    usual = ["init=embedded:anydoor", "model.num_inference_steps=20"]
    kept = load_pipeline(train(tmp_path / "kept", networks, *usual, cwd=tmp_path)).config
    assert kept.num_inference_steps == own.num_inference_steps
    assert kept.guidance_scale == own.guidance_scale


def test_another_encoder_is_another_extractor(networks: Path, tmp_path: Path) -> None:
    from transformers import Dinov2Model

    other = tmp_path / "other"
    first = train(tmp_path / "first", networks, cwd=tmp_path)
    Dinov2Model(Dinov2Model.from_pretrained(networks / "dinov2").config).save_pretrained(other)
    for init, name in ((str(first), "second"), ("embedded:anydoor", "third")):
        chosen = [f"init={init}", f"idx.extractor.source={other}"]
        run = train(tmp_path / name, networks, *chosen, cwd=tmp_path)
        own = load_pipeline(run).id_extractor.encoder.state_dict()
        asked = Dinov2Model.from_pretrained(other).state_dict()
        assert hash_tensors(own) == hash_tensors(asked)
    same = train(tmp_path / "same", networks, f"init={first}", cwd=tmp_path)
    kept = load_pipeline(same).id_extractor.encoder.state_dict()
    assert hash_tensors(kept) == hash_tensors(
        load_pipeline(first).id_extractor.encoder.state_dict()
    )


def test_generate_does_not_pretend_to_take_another_encoder(tmp_path: Path, cutouts: Path) -> None:
    reference = next(cutouts.glob("*.png"))
    asked = [f"reference={reference}", f"scene={reference}", "box=[2,2,60,60]", "idx=dinov2"]
    ended = inside.run("generate", *asked, "idx.extractor.source=other", cwd=tmp_path)
    ended.refused("idx.extractor.source is other", "train with it")
    ended = inside.run("generate", *asked, "num_inference_steps=1", cwd=tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    assert (
        "weights  the embedded tiny network" in ended.out and "edit     [2, 2, 60, 60]" in ended.out
    )
    assert ended.out.index("edit ") < ended.out.index("device ") < ended.out.index("picture ")


PART = """
from diffusers import ConfigMixin, ModelMixin
from diffusers.configuration_utils import register_to_config
from torch import nn


class Means(ModelMixin, ConfigMixin):
    @register_to_config
    def __init__(self, cross_attention_dim: int, grid: int = 2, tokens: str = "both"):
        super().__init__()
        self.encoder = nn.AdaptiveAvgPool2d(grid)
        self.projector = nn.Linear(3, cross_attention_dim)

    @classmethod
    def from_encoder(cls, cross_attention_dim: int, grid: int = 2):
        return cls(cross_attention_dim, grid)

    def features(self, id_image):
        return self.encoder(id_image).flatten(2).transpose(1, 2)

    def forward(self, id_image):
        return self.projector(self.features(id_image))
"""


def test_two_settings_of_an_own_extractor_are_two_extractors_and_an_export_loads_again(
    networks: Path, cutouts: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = tmp_path / "means_lab"
    (lab / "conf" / "idx").mkdir(parents=True)
    (lab / "__init__.py").touch()
    (lab / "means.py").write_text(PART)
    for grid in (2, 3):
        node = f"extractor: {{_target_: means_lab.means.Means, grid: {grid}}}"
        text = f"# Mean colours\nremove_background: true\n{node}\n"
        (lab / "conf" / "idx" / f"means{grid}.yaml").write_text(text)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("ANYDOOR_PARTS", "means_lab")
    run = train(tmp_path / "run", networks, "idx=means2", cwd=tmp_path)
    ended = inside.run("export", f"run={run}", "out=exported", "precision=fp32", cwd=tmp_path)
    assert ended.code == 0, ended.err[-3000:]
    exported = load_pipeline(tmp_path / "exported")
    two, three = (id_choices()[f"means{grid}"] for grid in (2, 3))
    assert is_built_as(exported.id_extractor, two)
    assert not is_built_as(exported.id_extractor, three)
    assert not swap_extractor(exported, tmp_path / "exported", three)
    reference = next(cutouts.glob("*.png"))
    asked = [f"reference={reference}", f"scene={reference}", "box=[2,2,60,60]", "run=exported"]
    inside.run("generate", *asked, "idx=means3", cwd=tmp_path).refused("no projector for Means")
    asked += ["idx=means2", "num_inference_steps=1"]
    assert inside.run("generate", *asked, cwd=tmp_path).code == 0
    other = train(tmp_path / "other", networks, "idx=means3", f"init={run}", cwd=tmp_path)
    assert load_pipeline(other).id_extractor.config.grid == 3


def test_a_failed_job_of_a_sweep_does_not_hide_the_others(networks: Path, tmp_path: Path) -> None:
    sweep = tmp_path / "sweep, of=two"
    settings = [*QUICK, *model_overrides(networks), f"hydra.sweep.dir={sweep}"]
    settings += [f"model.encoders.vgg={tmp_path / 'nowhere'}", "score_before=false"]
    ended = inside.run("train", "-m", "idx=vgg,dinov2", *settings, cwd=tmp_path)
    ended.refused("nowhere")
    assert "Comparison of 1 runs" in ended.out
    assert (sweep / "comparison.csv").is_file() and (sweep / "comparison.png").is_file()
    (unfinished,) = [line for line in ended.err.splitlines() if line.startswith("not finished")]
    assert "idx-vgg" in unfinished
    (scored,) = sweep.glob("*/scores.json")
    assert read_scores(scored.parent)["rows"][0]["run"] == "after training"
    assert "before training" not in ended.out and "gain, paired" not in ended.out
