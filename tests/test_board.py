"""The AblationBoard without a browser: cells as the pipeline makes them, nothing done twice."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anydoor_lab import AblationBoard, CopyPaste, Pair, load_pipeline
from anydoor_lab.data.world import World
from anydoor_lab.methods.choices import method_names, named_method
from anydoor_lab.models.embedded import embedded_folder
from anydoor_lab.runs.tracking import RunFacts, WandbTracker
from anydoor_lab.structures.files import write_sealed
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets.board.pictures import Patch, colour_difference
from anydoor_lab.widgets.board.placing import tiny_judges

if TYPE_CHECKING:
    from anydoor_lab.evaluation.judges import Judges
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

REGION = [20, 24, 60, 66]


def drawn(number: int = 3) -> Pair:
    return World(size_px=96, split="held_out").pair(number, rng_for(0, number, "pair"))


@pytest.fixture(scope="module")
def judges() -> Judges:
    return tiny_judges()


@pytest.fixture(scope="module")
def embedded() -> AnyDoorPipeline:
    return load_pipeline("embedded:anydoor")


def board(
    pipeline: AnyDoorPipeline, judges: Judges, rows: dict[str, Any], columns: dict[str, Any],
    **settings: Any,
) -> AblationBoard:  # fmt: skip
    pair = drawn()
    own = (pair.reference, pair.scene, pair.reference_mask, REGION)
    given = {"steps": 3} | settings
    if "steps" in (*rows, *columns):
        given.pop("steps")
    return AblationBoard(pipeline, *own, rows=rows, columns=columns, judges=judges, **given)


def filled(made: AblationBoard) -> AblationBoard:
    assert made.generate()
    assert made.wait(120)
    assert made.view.message == ""
    return made


def test_each_cell_is_the_pipelines_own_picture_of_its_settings(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    made = filled(board(pipeline, judges, {"collage": ["hf", "noise"]}, {"seed": [0, 7]}))
    pair = drawn()
    for number in range(4):
        settings = made.rows.to_dict("records")[number]
        alone = pipeline(
            pair.reference, pair.scene, pair.reference_mask, box=REGION, output_type="np",
            num_inference_steps=3, collage=settings["collage"], seed=int(settings["seed"]),
        ).images[0]  # fmt: skip
        assert np.abs(made.picture(number).astype(int) - alone).max() <= 1  # batches may round
    changed = (made.picture(0) != pair.scene).any(axis=2)
    assert changed[20:60, 24:66].any()


def test_conditions_are_encoded_once_whatever_the_seeds_guidance_and_steps(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    seen = []
    hook = pipeline.id_extractor.encoder.register_forward_hook(
        lambda module, inputs, output: seen.append(1)
    )
    rows = {"collage": ["hf", "none"], "guidance": [1.0, 3.0]}
    made = board(pipeline, judges, rows, {"steps": [2, 3], "seed": [0, 1, 2]})
    filled(made)
    hook.remove()
    assert len(made.filled) == 24
    assert len(seen) <= 3  # two collages, and the empty image where it was not known yet
    assert len(made.rows) == 24


def test_differences_are_to_the_baseline_and_follow_it(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    made = filled(board(pipeline, judges, {"collage": ["hf", "none"]}, {"seed": [0, 1]}))
    rows = made.rows
    assert np.isnan(rows["clip_difference"][0])
    assert rows["clip_difference"][3] == pytest.approx(rows["clip"][3] - rows["clip"][0])
    assert rows["colour_difference"][0] == 0
    made.baseline = 3
    assert made.rows["colour_difference"][3] == 0
    assert made.rows["clip_difference"][0] == pytest.approx(-rows["clip_difference"][3])
    assert made.view._notes[0]["against"] == 3
    made.view.set_state({"baseline": 99})  # as a browser sends it
    assert made.baseline == 3
    assert made.selection == {}
    made.view.selected = 2
    assert made.selection["collage"] == "none"
    assert made.selection["seed"] == 0


def test_a_cancelled_board_keeps_its_cells_and_goes_on(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    made = board(pipeline, judges, {"collage": ["hf", "none"]}, {"guidance": [2.0, 3.0, 4.0]})
    assert made.generate()
    assert not made.generate()
    assert "Still filling" in made.view.message
    while not made.filled:
        time.sleep(0.005)
    made.cancel()
    assert made.wait(60)
    assert "Cancelled" in made.view.status or len(made.filled) == 6
    kept = dict(made.filled)
    filled(made)
    assert len(made.filled) == 6
    assert all(made.filled[number] is one for number, one in kept.items())


def test_500_cells_are_refused_with_the_time_they_would_take(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    with pytest.raises(ValueError, match=r"has 500 cells; at most 200\. They would take about \d+"):
        board(pipeline, judges, {"seed": list(range(100))}, {"guidance": [1, 2, 3, 4, 5]})


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ({"colour": ["red"]}, "a component of the board is 'colour'; expected one of run, method"),
        ({"collage": ["magic"]}, "collage is 'magic'; expected one of own, none"),
        ({"collage": []}, r"collage is \[\]; expected a list of values"),
        ({"collage": "hf"}, "collage is 'hf'; expected a list"),
        ({"steps": 5}, "steps is 5; expected a list of values"),
        ({"collage": ["hf", "hf"]}, "collage has a value twice"),
        ({"seed": [0]}, "seed stands in the rows and in the columns"),
        ({"steps": [0]}, "steps is 0; expected a whole number, 1 to 1000"),
        ({"guidance": [float("nan")]}, "guidance is nan; expected a finite number"),
        ({"pair": [1]}, "pair is 1; expected a whole number, 0 to 0"),
        ({"idx": ["resnet"]}, "idx is 'resnet'"),
        ({"run": ["nowhere"]}, "run is nowhere, neither a name in runs nor a folder"),
        ({"method": ["magic"]}, "method is 'magic'; expected one of anydoor"),
        ({}, "the board has no row; give e.g. rows="),
    ],
)
def test_what_no_cell_can_have_is_one_sentence(
    rows: dict[str, Any], sentence: str, pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    with pytest.raises(ValueError, match=sentence):
        board(pipeline, judges, rows, {"seed": [0, 1]})


def test_pictures_or_pairs_are_needed_and_foreign_settings_refused(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    axes: dict[str, Any] = {"rows": {"seed": [0]}, "columns": {"steps": [2]}, "judges": judges}
    with pytest.raises(ValueError, match="give either a reference, a scene and a region, or pairs"):
        AblationBoard(pipeline, **axes)
    with pytest.raises(ValueError, match="a reference, a scene and a region, all three"):
        AblationBoard(pipeline, drawn().reference, **axes)
    with pytest.raises(ValueError, match="a board has no setting stepz"):
        AblationBoard(pipeline, pairs=[drawn()], **axes, stepz=4)


def test_other_methods_and_runs_stand_beside_and_a_cell_that_cannot_be_says_why(
    pipeline: AnyDoorPipeline, embedded: AnyDoorPipeline, judges: Judges
) -> None:
    pair = drawn()
    rows = {"method": ["anydoor", "copy_paste"]}
    made = AblationBoard(
        embedded, pairs=[pair], rows={"run": ["own", "small"]}, columns={"idx": ["own", "clip"]},
        runs={"small": pipeline}, judges=judges, steps=2,
    )  # fmt: skip
    filled(made)
    errors = made.rows["error"].tolist()
    assert errors[:3] == ["", "", ""]
    assert "the run small was not trained with clip; it has" in errors[3]
    assert made.view._notes[3]["state"] == "failed"
    with pytest.raises(ValueError, match="cell 3 has no picture: the run small"):
        made.picture(3)
    other = filled(board(pipeline, judges, rows, {"collage": ["hf", "none"]}))
    pasted = CopyPaste()([other.pairs[0]], [[0]], [rng_for(0, 0, "method")])[0].scene
    assert np.array_equal(other.picture(2), pasted)
    assert np.array_equal(other.picture(3), pasted)
    with pytest.raises(ValueError, match="copy_paste has no settings to try"):
        other.open_cell(2)


def test_a_runs_folder_is_a_component_and_is_loaded_when_it_is_needed(
    embedded: AnyDoorPipeline, judges: Judges
) -> None:
    folder = str(embedded_folder("anydoor"))
    made = AblationBoard(
        embedded, pairs=[drawn()], rows={"run": ["own", folder]}, columns={"idx": ["dinov2"]},
        judges=judges, steps=2,
    )  # fmt: skip
    filled(made)
    assert made.rows["error"].tolist() == ["", ""]
    assert np.array_equal(made.picture(0), made.picture(1))  # the same weights
    assert made.rows["colour_difference"].tolist() == [0, 0]


def test_the_methods_of_conf_are_built_by_name_or_say_what_they_need() -> None:
    assert isinstance(named_method("copy_paste"), CopyPaste)
    assert "anydoor" in method_names()
    with pytest.raises(ValueError, match="the method anydoor needs pipeline; build it yourself"):
        named_method("anydoor")


def test_pairs_are_averaged_or_stand_in_rows_of_their_own(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    pairs = [drawn(number) for number in (3, 4, 5)]
    axes: dict[str, Any] = {"columns": {"collage": ["hf", "none"]}, "judges": judges, "steps": 2}
    together = filled(AblationBoard(pipeline, pairs=pairs, rows={"seed": [0]}, **axes))
    apart = filled(AblationBoard(pipeline, pairs=pairs, rows={"pair": [0, 1, 2]}, **axes))
    mean = apart.rows[apart.rows["collage"] == "hf"]["clip"].mean()
    assert together.rows["clip"][0] == pytest.approx(mean, abs=0.5)
    assert together.rows["clip_low"][0] <= together.rows["clip"][0] <= together.rows["clip_high"][0]
    assert together.view.num_pairs == 3
    assert np.abs(together.picture(0, 2).astype(int) - apart.picture(4)).max() <= 1
    assert [note["against"] for note in apart.view._notes] == [0, 0, 2, 2, 4, 4]
    assert apart.view.num_pairs == 1


def test_a_cell_opens_in_a_teleporter_that_makes_its_picture_again(
    pipeline: AnyDoorPipeline, judges: Judges
) -> None:
    made = filled(board(pipeline, judges, {"collage": ["hf", "none"]}, {"seed": [4, 5]}))
    opened: list[dict[str, Any]] = []
    made.observe(lambda change: opened.append(change["new"]), "opened")
    made.view._handle_custom_msg({"do": "open", "cell": -1}, [])
    assert "no cell is chosen" in made.view.message
    made.view.selected = 0  # the message may overtake the choice: what it names counts
    made.view._handle_custom_msg({"do": "open", "cell": 3}, [])
    teleporter = made.teleporter
    assert teleporter is not None
    assert opened[0]["cell"] == 3 and opened[0]["seed"] == 5
    assert made.children == (made.view, teleporter)
    teleporter.generate()
    assert teleporter.wait(60)
    assert np.abs(teleporter.results[0].astype(int) - made.picture(3)).max() <= 1


def test_a_saved_board_is_a_picture_a_page_without_addresses_and_rows(
    pipeline: AnyDoorPipeline, judges: Judges, tmp_path: Path
) -> None:
    made = board(pipeline, judges, {"collage": ["hf", "none"]}, {"seed": [0, 1]})
    with pytest.raises(ValueError, match="the board is empty; fill it"):
        made.save(tmp_path)
    paths = filled(made).save(tmp_path / "kept")
    rows = pd.read_csv(paths["csv"])
    assert rows["clip"].tolist() == pytest.approx(made.rows["clip"].tolist())
    assert set(rows.columns) >= {"collage", "seed", "dino_difference", "protocol", "commit"}
    page = paths["html"].read_text("utf-8")
    assert re.findall(r"(?:src|href)=\"(?!data:)|https?://(?!www\.w3\.org)", page) == []
    data = re.search(r'id="ad-board-data">(.*?)</script>', page, re.DOTALL)
    assert data is not None
    assert len(json.loads(data[1])["pictures"]) == 9  # four cells, small and large, and the scene
    with Image.open(paths["png"]) as picture:
        assert picture.width >= 500


def test_five_extractors_by_five_collages_take_at_most_40_seconds(
    embedded: AnyDoorPipeline, judges: Judges
) -> None:
    pair = drawn()
    made = AblationBoard(
        embedded, pair.reference, pair.scene, pair.reference_mask, REGION, judges=judges,
        rows={"idx": ["vgg", "clip", "dinov2_global", "dinov2_patch_noseg", "dinov2"]},
        columns={"collage": ["none", "original", "noise", "shuffle", "hf"]},
    )  # fmt: skip
    began = time.process_time()  # what this machine does beside does not count
    filled(made)
    assert len(made.filled) == 25
    assert time.process_time() - began < 40


def run_folder(folder: Path, clip: float, *overrides: str) -> Path:
    """A finished run's folder as train leaves it, as far as a board reads it."""
    (folder / "samples").mkdir(parents=True)
    for step in (10, 120):
        Image.new("RGB", (64, 32), (step, 90, 30)).save(
            folder / "samples" / f"held_out_{step:08d}.png"
        )
    Image.new("RGB", (80, 40), (9, 9, int(clip))).save(folder / "grid.png")
    (folder / "config.yaml").write_text("seed: 0\n")
    write_sealed(folder / "run.json", {"overrides": ["model=tiny", *overrides]})
    row = {"run": "after training", "n": 8, "clip": clip, "clip_low": clip - 1, "dino": 40.0}
    facts = {"scale": "tiny", "protocol": "p", "seed": 0, "commit": "", "n": 8, "model_row": 1}
    write_sealed(folder / "scores.json", {**facts, "rows": [{"run": "before"}, row]})
    return folder


def test_finished_runs_stand_on_a_board_with_their_scores(tmp_path: Path) -> None:
    folders = [run_folder(tmp_path / name, clip, f"ats={name}")
               for name, clip in (("on", 80.0), ("off", 70.0))]  # fmt: skip
    (folders[1] / "grid.png").unlink()
    made = AblationBoard.from_runs(folders)
    assert made.view.rows == ["run ats=on", "run ats=off"]
    assert made.view.columns == ["picture first samples", "picture last samples", "picture results"]
    assert made.rows["clip_difference"][4] == -10
    assert made.rows["error"].tolist() == ["", "", "", "", "", "this run has no such picture"]
    assert made.picture(1)[0, 0].tolist() == [120, 90, 30]
    made.view._handle_custom_msg({"do": "open", "cell": 1}, [])
    assert "finished pictures" in made.view.message
    assert "generate" not in made.view.acts


def test_wandbs_local_folders_stand_on_a_board(tmp_path: Path) -> None:
    tracker = WandbTracker(RunFacts(tmp_path / "run", name="a"), mode="offline")
    tracker.log(5, {"loss": 0.5})
    tracker.show(5, "held_out", np.full((24, 48, 3), 77, np.uint8))
    tracker.finish({"clip": 61.5})
    (inner,) = (tmp_path / "run" / "wandb").glob("offline-run-*")
    made = AblationBoard.from_runs([inner])
    assert made.picture(0)[0, 0].tolist() == [77, 77, 77]
    assert made.rows["clip"][0] == 61.5  # by W&B's own reader: an offline run keeps records only
    summary = inner / "files" / "wandb-summary.json"  # as an online run has it
    summary.write_text('{"clip": 70.5, "_runtime": 3}')
    assert AblationBoard.from_runs([inner]).rows["clip"][0] == 70.5
    summary.write_text('{"clip": 70')
    assert "is damaged" in AblationBoard.from_runs([inner]).rows["error"][0]
    (tmp_path / "run" / "config.yaml").write_text("seed: 0\n")
    made = AblationBoard.from_runs([inner])  # of a run's folder: its own files count
    assert made.rows["loss"][0] == 0.5
    with pytest.raises(ValueError, match="is no run's folder: it has neither config.yaml nor"):
        AblationBoard.from_runs([tmp_path])
    with pytest.raises(ValueError, match="there is no run; give the folders"):
        AblationBoard.from_runs([])


def test_a_patch_is_the_picture_and_small() -> None:
    scene = np.zeros((50, 40, 3), np.uint8)
    picture = scene.copy()
    picture[10:20, 5:9] = 7
    patch = Patch.of(scene, picture)
    assert np.array_equal(patch.whole, picture)
    assert patch.pixels.shape == (10, 4, 3)
    assert Patch.of(scene, scene).whole is scene
    assert colour_difference(scene, scene) == 0
    white = np.full_like(scene, 255)
    assert colour_difference(scene, white) == pytest.approx(100, abs=0.01)  # black to white in L
    assert np.isnan(colour_difference(scene, scene[:10]))
