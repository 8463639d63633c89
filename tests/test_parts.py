"""A user's own parts: one file and one YAML each, in a package outside of ours."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import commands
from networks import model_overrides

ROOT = Path(__file__).resolve().parents[1]

FILES = {
    "my_lab/__init__.py": "",
    "my_lab/colours.py": '''
        """ID tokens that are nothing but mean colours."""
        from diffusers import ConfigMixin, ModelMixin
        from diffusers.configuration_utils import register_to_config
        from torch import nn


        class ColourExtractor(ModelMixin, ConfigMixin):
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
        ''',
    "my_lab/conf/idx/colours.yaml": """
        # ID extractor of mean colours
        remove_background: true
        extractor: {_target_: my_lab.colours.ColourExtractor, grid: 3}
        """,
    "my_lab/greys.py": '''
        """A collage without colours."""
        import numpy as np


        def greys(image, mask, rng, *, gain: float = 1.0):
            grey = image.mean(axis=2, keepdims=True) * gain
            return np.clip(grey, 0, 255).astype(np.uint8).repeat(3, axis=2) * mask[..., None]
        ''',
    "my_lab/conf/collage/greys.yaml": """
        # The object in greys
        _target_: my_lab.greys.greys
        gain: 0.5
        """,
    "my_lab/squares.py": '''
        """Pairs of coloured squares."""
        from collections import Counter

        import numpy as np

        from anydoor_lab import Pair
        from anydoor_lab.data.source import Counts


        class Squares:
            def __init__(self, split: str, seed: int, side_px: int = 80):
                self.split, self.seed, self.side_px = split, seed, side_px
                self.counts = Counts(used=len(self))

            def __len__(self):
                return 12

            def pair(self, index, rng):
                mask = np.zeros((self.side_px, self.side_px), np.bool_)
                mask[20:50, 24:60] = True
                picture = rng.integers(0, 255, (*mask.shape, 3), np.uint8)
                picture[mask] = rng.integers(0, 255, 3)
                return Pair(picture, mask, picture, mask, origin=f"square {index}")
        ''',
    "my_lab/conf/data/squares.yaml": """
        # Coloured squares
        _target_: my_lab.squares.Squares
        side_px: 72
        """,
    "my_lab/nearness.py": '''
        """A score by mean colours."""
        import numpy as np
        import torch

        from anydoor_lab.metrics.mean_score import MeanScore


        class Nearness(MeanScore):
            def __init__(self, best: float = 100.0):
                super().__init__()
                self.best = best

            def scores(self, generated, references):
                far = [np.abs(a.mean((0, 1)) - b.mean((0, 1))).mean()
                       for a, b in zip(generated, references, strict=True)]
                return self.best - torch.tensor(far, dtype=torch.float64)
        ''',
    "my_lab/conf/metrics/nearness.yaml": """
        # @package metrics.nearness
        # 100 - the difference of mean colours
        _target_: my_lab.nearness.Nearness
        best: 100.0
        """,
    "my_lab/flat.py": '''
        """A method that fills the region with the object's mean colour."""
        from anydoor_lab.pipeline.results import Result


        class Flat:
            def __init__(self, strength: float = 1.0):
                self.strength = strength

            def __call__(self, pairs, seeds, rngs):
                results = []
                for pair in pairs:
                    scene = pair.scene.copy()
                    scene[pair.scene_mask] = pair.reference[pair.reference_mask].mean(axis=0)
                    results += [Result(pair, scene)] * len(seeds[0])
                return results
        ''',
    "my_lab/conf/method/flat.yaml": """
        # The region in one colour
        _target_: my_lab.flat.Flat
        strength: 1.0
        """,
}
QUICK = [
    "idx=colours", "collage=greys", "data=squares", "metrics=[clip,dino,nearness]",
    "train.batch_size=2", "train.workers=0", "eval=fast", "eval.num_pairs=3", "logger=local",
]  # fmt: skip


def dedented(text: str) -> str:
    import textwrap

    return textwrap.dedent(text).lstrip("\n")


class Lab:
    """The user's folder: their package, and commands run with it."""

    def __init__(self, folder: Path, networks: Path) -> None:
        self.folder, self.models = folder, model_overrides(networks)
        for name, text in FILES.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(dedented(text))

    def run(self, command: str, *overrides: str, parts: str = "my_lab") -> str:
        """A command's output; it must end well."""
        done = self.attempt(command, *overrides, parts=parts)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    def attempt(
        self, command: str, *overrides: str, parts: str = "my_lab"
    ) -> subprocess.CompletedProcess[str]:
        return commands.command(
            command, *overrides, cwd=self.folder, environment=self.environment(parts)
        )

    def environment(self, parts: str = "my_lab") -> dict[str, str]:
        """What the user has set."""
        return {"PYTHONPATH": str(self.folder), "ANYDOOR_PARTS": parts}

    def python(self, code: str) -> subprocess.CompletedProcess[str]:
        """Code of the user's own."""
        (self.folder / "user_code.py").write_text(dedented(code))
        return commands.module(["user_code"], self.folder, self.environment())


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory, networks: Path) -> Lab:
    lab = Lab(tmp_path_factory.mktemp("lab"), networks)
    lab.run("train", *lab.models, *QUICK, "train.steps=2", "hydra.run.dir=run")
    return lab


def scores_of(folder: Path) -> dict[str, float]:
    scores = json.loads((folder / "scores.json").read_text())
    return scores["rows"][scores["model_row"]]


def test_own_parts_train_and_are_scored(lab: Lab) -> None:
    row = scores_of(lab.folder / "run")
    assert 0 < row["nearness"] <= 100
    assert set(row) >= {"clip", "dino", "nearness_low", "nearness_each"}
    table = (lab.folder / "run" / "scores.md").read_text()
    assert "nearness" in table
    config = yaml.safe_load((lab.folder / "run" / "config.yaml").read_text())
    assert config["idx"]["extractor"] == {"_target_": "my_lab.colours.ColourExtractor", "grid": 3}


def test_a_run_of_own_parts_goes_on_from_its_checkpoint(lab: Lab) -> None:
    checkpoint = sorted((lab.folder / "run" / "checkpoints").iterdir())[-1]
    out = lab.run(
        "train", *lab.models, *QUICK, "train.steps=3", f"train.resume='{checkpoint}'",
        "hydra.run.dir=longer",
    )  # fmt: skip
    assert "at step 2" in out


def test_a_run_of_own_parts_is_scored_again_with_the_same_numbers(lab: Lab) -> None:
    lab.run("evaluate", "run=run", "hydra.run.dir=again")
    first, again = scores_of(lab.folder / "run"), scores_of(lab.folder / "again")
    assert again["nearness_each"] == first["nearness_each"]


def test_an_own_method_is_scored_beside_the_papers(lab: Lab) -> None:
    lab.run("evaluate", *lab.models, *QUICK[2:3], QUICK[3], "eval=fast", "eval.num_pairs=3",
            "method=flat", "hydra.run.dir=flat")  # fmt: skip
    scores = json.loads((lab.folder / "flat" / "scores.json").read_text())
    rows = {row["run"]: row for row in scores["rows"]}
    assert rows["flat"]["nearness"] > rows["empty"]["nearness"]


def test_a_run_of_own_parts_is_exported_loaded_and_offered(lab: Lab) -> None:
    lab.run("export", "run=run", "out=exported", "precision=fp32")
    index = json.loads((lab.folder / "exported" / "model_index.json").read_text())
    assert index["id_extractor"] == ["my_lab.colours", "ColourExtractor"]
    assert index["collage"] == "my_lab.greys.greys"
    code = """
        import numpy as np
        from anydoor_lab import load_pipeline
        from anydoor_lab.widgets import Teleporter
        from my_lab.squares import Squares
        pair = Squares("held_out", 0).pair(0, np.random.default_rng(0))
        pictures = []
        for source in ("run", "exported"):
            pipeline = load_pipeline(source)
            shown = Teleporter(pipeline, pair.reference, pair.scene)
            assert shown.panel.names["idx"] == ["colours"], shown.panel.names
            assert "my_lab.greys.greys" in shown.panel.names["collage"]
            placed = pipeline(pair.reference, pair.scene, reference_mask=pair.reference_mask,
                              scene_mask=pair.scene_mask, output_type="np", num_inference_steps=2)
            pictures.append(placed.images[0])
        assert np.array_equal(*pictures)
    """
    done = lab.python(code)
    assert done.returncode == 0, done.stderr[-3000:]


def test_doctor_knows_own_parts(lab: Lab) -> None:
    out = lab.run("doctor")
    assert "idx colours" in out and "my_lab.colours.ColourExtractor" in out


def test_a_run_that_names_parts_which_are_not_registered_is_refused(lab: Lab) -> None:
    done = lab.attempt("evaluate", "run=run", "hydra.run.dir=refused", parts="")
    assert done.returncode == 2
    assert "ANYDOOR_PARTS" in done.stderr and "Traceback" not in done.stderr


def test_copy_and_paste_as_a_method_scores_as_the_anchor_of_that_name(lab: Lab) -> None:
    lab.run("evaluate", "method=copy_paste", "eval=fast", "eval.num_pairs=2", "eval.num_seeds=1",
            "hydra.run.dir=pasted")  # fmt: skip
    rows = json.loads((lab.folder / "pasted" / "scores.json").read_text())["rows"]
    named = {row["run"]: row for row in rows}
    assert named["copy_paste"]["dino_each"] == named["copy-paste"]["dino_each"]


def test_a_run_that_began_with_a_joint_network_offers_what_it_was_trained_with(lab: Lab) -> None:
    lab.run("train", *QUICK, "train.steps=1", "eval.num_pairs=1", "hydra.run.dir=tuned")
    code = """
        from anydoor_lab import load_pipeline
        from anydoor_lab.pipeline.extractors import offered
        assert list(offered(load_pipeline("tuned"))) == ["colours"]
    """
    done = lab.python(code)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.parametrize("command", ["generate", "export", "evaluate"])
def test_every_command_knows_the_users_conf(lab: Lab, command: str) -> None:
    own = os.pathsep.join([str(lab.folder), str(ROOT)])
    call = [sys.executable, "-m", f"anydoor_lab.{command}", "--cfg", "hydra"]
    environment = os.environ | {"PYTHONPATH": own, "ANYDOOR_PARTS": "my_lab"}
    done = subprocess.run(call, cwd=lab.folder, capture_output=True, text=True, env=environment)
    assert str(lab.folder / "my_lab" / "conf") in done.stdout, done.stderr[-2000:]


BROKEN = {
    "score that asks for what there is not": (
        "metrics", "class Part:\n    def scores(self, pictures):\n        return pictures",
        "Part.scores asks for pictures; it may ask for generated, references",
    ),
    "score of one number": (
        "metrics", "class Part:\n    def scores(self, generated):\n        return 1.0",
        "Part.scores gave () for",
    ),
    "method of arrays": (
        "method", "class Part:\n    def __call__(self, pairs, seeds, rngs):\n"
        "        return [pair.scene for pair in pairs]",
        "Part gave 3 ndarray for 3 pairs",
    ),
    "source without a seed": (
        "data", "class Part:\n    def __init__(self, split): ...", "takes no seed",
    ),
    "source without counts": (
        "data", "class Part:\n    def __init__(self, split, seed): ...", "has no `counts`",
    ),
    "source of tuples": (
        "data", "from anydoor_lab.data.source import Counts\nclass Part:\n"
        "    def __init__(self, split, seed): self.counts = Counts(3)\n"
        "    def __len__(self): return 3\n    def pair(self, index, rng): return (1, 2)",
        "Part.pair gave a tuple; expected a Pair",
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", BROKEN)
def test_a_part_that_breaks_its_contract_is_told_so_in_one_sentence(
    lab: Lab, fault: str, tmp_path: Path
) -> None:
    group, source, says = BROKEN[fault]
    conf = tmp_path / "broken_lab" / "conf" / group / "part.yaml"
    conf.parent.mkdir(parents=True)
    (tmp_path / "broken_lab" / "__init__.py").write_text(source + "\n")
    package = "# @package metrics.part\n" if group == "metrics" else ""
    conf.write_text(f"{package}# A broken part\n_target_: broken_lab.Part\n")
    choice = "metrics=[part]" if group == "metrics" else f"{group}=part"
    done = commands.command(
        "evaluate", choice, "eval=fast", "eval.num_pairs=3", "eval.num_seeds=1", cwd=tmp_path,
        environment={"PYTHONPATH": str(tmp_path), "ANYDOOR_PARTS": "broken_lab"},
    )  # fmt: skip
    assert done.returncode == 2, done.stderr[-2000:]
    assert says in done.stderr and "Traceback" not in done.stderr
