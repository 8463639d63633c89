"""Scoring goes on where it was killed, picture by picture; results of others are left alone."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import torch.distributed as dist

import inside
from anydoor_lab.data.world import World
from anydoor_lab.evaluation.generate import generate_results
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.kept import KeptResults
from anydoor_lab.evaluation.pairs import held_out_pairs
from anydoor_lab.evaluation.score import evaluate
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.copy_paste import CopyPaste
from anydoor_lab.metrics.lab_difference import LabDifference
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.pipeline.results import Result
from anydoor_lab.runs.folder import read_scores
from anydoor_lab.structures.images import read_facts
from anydoor_lab.structures.pair import Pair
from commands import begun

SETTINGS = EvalSettings(num_pairs=6, num_diverse=2, num_seeds=2, num_shown=2, batch_size=2)
CONFIG = {"config": "abc", "weights": "def"}
FEW = ["eval=fast", "eval.num_diverse=0", "eval.num_shown=2", "metrics=[lab_difference,unchanged]"]
PASTED = ["method=copy_paste", *FEW, "eval.num_pairs=3", "hydra.run.dir=one"]


class Counted:
    """Copy-paste that remembers what it was asked for."""

    def __init__(self) -> None:
        self.paste, self.asked = CopyPaste(), []  # type: ignore[var-annotated]

    def __call__(self, pairs: Sequence[Pair], seeds: Any, rngs: Any) -> list[Result]:
        self.asked.append([several[0] for several in seeds])
        return self.paste(pairs, seeds, rngs)


@pytest.fixture(scope="module")
def pairs() -> list[Pair]:
    return held_out_pairs(World(size_px=48, split="held_out"), SETTINGS)


def scored(pairs: list[Pair], folder: Path, **config: str) -> tuple[dict[str, Any], Counted]:
    method, judges = Counted(), Judges({"lab": LabDifference()}, ScoreProtocol())
    kept = KeptResults(folder, CONFIG | config)
    return evaluate(method, pairs, judges, SETTINGS, kept=kept)[0], method


def contents(folder: Path, *left_out: str) -> dict[str, bytes]:
    """What stands in a folder, byte by byte; without Hydra's record, which says where it ran."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    files = [path for path in files if ".hydra" not in path.parts]
    return {str(p.relative_to(folder)): p.read_bytes() for p in files if p.suffix not in left_out}


# --- the library ------------------------------------------------------------------------------


def test_only_the_batch_of_a_missing_picture_is_made_again(
    pairs: list[Pair], tmp_path: Path
) -> None:
    row, first = scored(pairs, tmp_path)
    whole = contents(tmp_path)
    assert len(first.asked) == 3 + 2  # batches of pairs, and pairs of several seeds
    (tmp_path / "00003.png").unlink()
    (tmp_path / "00001_1.png").unlink()
    again, second = scored(pairs, tmp_path)
    assert second.asked == [[1002, 1003], [1001]]
    assert (again, contents(tmp_path)) == (row, whole)
    assert scored(pairs, tmp_path)[1].asked == []


def test_a_picture_says_its_seed_its_config_and_its_pair(pairs: list[Pair], tmp_path: Path) -> None:
    scored(pairs, tmp_path)
    facts = read_facts(tmp_path / "00001_1.png")
    assert facts["seed"] == 1000 + 1 + 10_000 and facts["placement"] is None
    assert facts["recipe"].items() >= CONFIG.items() and len(facts["recipe"]["pair"]) == 16


@pytest.mark.parametrize("other", ["config", "weights"])
def test_results_of_another_config_are_refused_before_anything_is_made(
    pairs: list[Pair], tmp_path: Path, other: str
) -> None:
    scored(pairs, tmp_path)
    (tmp_path / "00000.png").unlink()
    held = contents(tmp_path)
    with pytest.raises(FileExistsError, match=f"made otherwise .{other} is .* there, other here"):
        scored(pairs, tmp_path, **{other: "other"})
    assert contents(tmp_path) == held


def test_results_of_pairs_that_have_changed_are_refused(pairs: list[Pair], tmp_path: Path) -> None:
    scored(pairs, tmp_path)
    with pytest.raises(FileExistsError, match="00000.png was made otherwise .pair is"):
        scored([*pairs[1:], pairs[0]], tmp_path)


def test_a_damaged_picture_is_one_sentence(pairs: list[Pair], tmp_path: Path) -> None:
    scored(pairs, tmp_path)
    path = tmp_path / "00004.png"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"00004\.png.* away to have it made again"):
        scored(pairs, tmp_path)


def one_of_two(rank: int, folder: Path) -> None:
    """A process of two, which makes its share."""
    torch.set_num_threads(1)
    dist.init_process_group("gloo", f"file://{folder / 'meet'}", rank=rank, world_size=2)
    scored(held_out_pairs(World(size_px=48, split="held_out"), SETTINGS), folder / "two")
    dist.destroy_process_group()


def test_two_processes_keep_what_one_keeps_and_one_goes_on_with_it(
    pairs: list[Pair], tmp_path: Path
) -> None:
    server = multiprocessing.get_context("forkserver")
    both = [server.Process(target=one_of_two, args=(rank, tmp_path)) for rank in (0, 1)]
    for process in both:
        process.start()
    row, _ = scored(pairs, tmp_path / "one")
    for process in both:
        process.join(240)
    assert [process.exitcode for process in both] == [0, 0]
    assert contents(tmp_path / "two") == contents(tmp_path / "one")
    again, method = scored(pairs, tmp_path / "two")
    assert again == row and method.asked == []


def test_what_the_networks_were_shown_comes_back_exactly(pairs: list[Pair], tmp_path: Path) -> None:
    from anydoor_lab.config.pipelines import EMBEDDED, load_pipeline
    from anydoor_lab.methods.anydoor import AnyDoorMethod

    pipeline = load_pipeline(EMBEDDED)
    pipeline.register_to_config(num_inference_steps=1)
    pipeline.set_progress_bar_config(disable=True)
    method, kept = AnyDoorMethod(pipeline), KeptResults(tmp_path, CONFIG)
    (made,) = [batch for _, batch in generate_results(method, pairs[:2], SETTINGS, 1, kept)]
    read = kept.read(pairs, [0, 1])
    assert read is not None
    for once, again in zip(made, read, strict=True):
        assert once.shown is not None and again.shown is not None
        assert once.crop is not None and again.crop is not None
        assert once.placement == again.placement == again.shown.placement
        assert np.array_equal(once.scene, again.scene) and np.array_equal(once.crop, again.crop)
        for name, array in once.shown.inputs.items():
            assert np.array_equal(array, again.shown.inputs[name]), name
    (tmp_path / "00000.npz").unlink()
    unshown = kept.read(pairs, [0])
    assert unshown is not None and unshown[0].shown is None
    assert unshown[0].placement == made[0].placement


# --- the command ------------------------------------------------------------------------------


def test_a_killed_evaluate_repeated_makes_what_is_missing_and_ends_with_the_same_bytes(
    tmp_path: Path,
) -> None:
    few = [*FEW, "metrics=[dino,background_psnr,diversity]", "eval.num_pairs=6", "eval.num_seeds=2"]
    asked = [*few, "eval.num_diverse=1", "eval.batch_size=1", "model.num_inference_steps=4",
             "hydra.run.dir=one"]  # fmt: skip
    (tmp_path / "cut").mkdir()
    generated = tmp_path / "cut" / "one" / "generated"
    process = begun("evaluate", *asked, cwd=tmp_path / "cut")
    while len(list(generated.glob("*.png"))) < 3 and process.is_alive():
        time.sleep(0.005)
    process.kill()  # SIGKILL
    process.join()
    made = {path: path.stat().st_mtime_ns for path in generated.glob("*.png")}
    assert process.exitcode == -9 and 3 <= len(made) < 8, (tmp_path / "cut" / "err").read_text()
    assert not (generated.parent / "scores.json").exists()
    for place in ("cut", "whole"):
        ended = inside.run("evaluate", *asked, cwd=tmp_path / place)
        assert ended.code == 0, ended.err[-3000:]
    assert {path: path.stat().st_mtime_ns for path in made} == made, "made twice"
    cut, whole = (contents(tmp_path / place / "one", ".log") for place in ("cut", "whole"))
    assert cut == whole
    assert len([name for name in whole if name.startswith("generated/")]) == 6 + 2 + 2


def test_the_same_evaluate_again_scores_nothing_and_another_one_is_refused(tmp_path: Path) -> None:
    assert inside.run("evaluate", *PASTED, cwd=tmp_path).code == 0
    held = contents(tmp_path / "one", ".log")
    again = inside.run("evaluate", *PASTED, cwd=tmp_path)
    assert again.code == 0 and "are there already; overwrite=true scores again" in again.out
    other = inside.run("evaluate", *PASTED, "eval.seed=7", cwd=tmp_path)
    other.refused("results of other settings (eval.seed is 1000 there, 7 here)", "overwrite=true")
    assert contents(tmp_path / "one", ".log") == held
    replaced = inside.run("evaluate", *PASTED, "eval.seed=7", "overwrite=true", cwd=tmp_path)
    assert replaced.code == 0, replaced.err[-3000:]
    assert read_facts(tmp_path / "one" / "generated" / "00000.png")["seed"] == 7
    (tmp_path / "one" / "scores.json").unlink()
    inside.run("evaluate", *PASTED, cwd=tmp_path).refused("eval.seed is 7 there, 1000 here")


def test_the_single_scores_stand_in_one_parquet(tmp_path: Path) -> None:
    assert inside.run("evaluate", *PASTED, cwd=tmp_path).code == 0
    table = pd.read_parquet(tmp_path / "one" / "scores.parquet")
    assert list(table.columns) == ["variant", "metric", "pair", "origin", "value"]
    own = table[(table["variant"] == "copy_paste") & (table["metric"] == "lab_difference")]
    assert own["pair"].tolist() == [0, 1, 2]
    row = read_scores(tmp_path / "one")["rows"][0]
    assert own["value"].mean() == pytest.approx(row["lab_difference"], abs=1e-3)


def test_a_trainings_folder_is_not_scored_into(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "one" / "config.yaml").write_text("train: {steps: 3}\n")
    for given in ([], ["overwrite=true"]):
        ended = inside.run("evaluate", *PASTED, *given, cwd=tmp_path)
        ended.refused("is a training's folder", "hydra.run.dir")
    assert (tmp_path / "one" / "config.yaml").read_text() == "train: {steps: 3}\n"
