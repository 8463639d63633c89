"""30 concepts x 80 scenes: the same list for everybody, each subject in each scene."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from anydoor_lab.data.readers.crossed import CrossedPairs, chosen_scenes
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.pairs import gallery_of, references_of
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.rng import rng_for
from inside import run

FIT = {"bbox": [120, 110, 200, 160], "iscrowd": 0}


@pytest.fixture
def coco(tmp_path: Path) -> Path:
    """Two subjects; six pictures in COCO's format, four of them fit for a scene."""
    for name in ("cat", "vase"):
        (tmp_path / "dataset" / name).mkdir(parents=True)
        rgba = np.zeros((60, 50, 4), np.uint8)
        rgba[10:50, 5:45] = (180, 60, 90 + 40 * (name == "cat"), 255)
        Image.fromarray(rgba).save(tmp_path / "dataset" / name / "00.png")
    (tmp_path / "val2017").mkdir()
    images, annotations = [], []
    for number in range(6):
        picture = np.full((420, 500, 3), 30 * number + 20, np.uint8)
        Image.fromarray(picture).save(tmp_path / "val2017" / f"{number:012d}.jpg")
        images.append(
            {"id": number, "file_name": f"{number:012d}.jpg", "height": 420, "width": 500}
        )
        annotations.append({"id": number, "image_id": number, "category_id": 1, **FIT})
    annotations[0]["iscrowd"] = 1
    annotations[1]["bbox"] = [0, 110, 200, 160]  # at the rim
    annotations.append({**annotations[2], "id": 9, "bbox": [120, 110, 220, 180]})  # larger
    table = {"images": images, "annotations": annotations, "categories": []}
    (tmp_path / "instances.json").write_text(json.dumps(table))
    return tmp_path


def source(coco: Path, manifest: str = "list.csv", **settings: object) -> CrossedPairs:
    given = {"instances": coco / "instances.json", "num_scenes": 3, **settings}
    folders = (coco / "dataset", coco / "val2017", coco / manifest)
    return CrossedPairs(*folders, **given)  # type: ignore[arg-type]


def test_the_rule_takes_placeable_boxes_the_largest_of_a_picture_and_always_the_same(
    coco: Path,
) -> None:
    table = chosen_scenes(coco / "instances.json", 4)
    assert sorted(table["scene"]) == [f"{number:012d}.jpg" for number in (2, 3, 4, 5)]
    row = table[table["scene"] == "000000000002.jpg"].iloc[0]
    assert [row[side] for side in ("y1", "x1", "y2", "x2")] == [110, 120, 290, 340]
    assert chosen_scenes(coco / "instances.json", 2).equals(table.head(2))
    with pytest.raises(ValueError, match="has 4 pictures fit for a scene; asked for 80"):
        chosen_scenes(coco / "instances.json")


def test_every_subject_stands_in_every_scene(coco: Path) -> None:
    pairs = source(coco)
    assert len(pairs) == 6 and pairs.counts.used == 6
    shown = [pairs.pair(index, rng_for(0, index, "")) for index in range(6)]
    assert len({pair.origin for pair in shown}) == 6
    assert [pair.subject for pair in shown] == ["cat", "vase"] * 3
    assert gallery_of(shown, Judges({}, ScoreProtocol())).names == ["cat", "vase"]  # each once
    assert all(pair.origin.startswith(("cat in", "vase in")[i % 2]) for i, pair in enumerate(shown))
    for pair in shown:
        box = Box.around(pair.scene_mask)
        assert pair.scene_mask.sum() == box.height * box.width > 100
        assert pair.reference_mask.sum() == 40 * 40


def test_the_written_list_is_what_the_next_one_reads_without_the_annotations(coco: Path) -> None:
    source(coco)
    before = (coco / "list.csv").read_bytes()
    again = source(coco, instances=None)
    assert [path.name for path, _ in again.places] == list(pd.read_csv(coco / "list.csv")["scene"])
    assert (coco / "list.csv").read_bytes() == before


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("scene,y1,x1,y2,x2\n000000000002.jpg,1,2,421,60\n", "line 2: the box .* not inside"),
        ("scene,y1,x1,y2,x2\n000000000002.jpg,9,2,5,60\n", "line 2: box .* no area"),
        ("scene,y1,x1,y2,x2\nnone.jpg,1,2,5,60\n", "line 2: .*is not there"),
        ("scene,y1,x1,y2,x2\n../dataset/cat/00.png,1,2,5,9\n", "line 2"),
        ("scene,y1,x1,y2\nnone.jpg,1,2,5\n", "no column x2"),
    ],
)
def test_a_list_with_a_flaw_is_one_sentence(coco: Path, text: str, words: str) -> None:
    (coco / "own.csv").write_text(text)
    with pytest.raises(ValueError, match=words):
        source(coco, "own.csv")


def test_no_list_and_nothing_to_make_it_from_is_one_sentence(coco: Path) -> None:
    with pytest.raises(ValueError, match=r"data\.instances="):
        source(coco, "none.csv", instances=None)


def test_all_photos_of_a_subject_are_compared_and_never_the_scenes_object(coco: Path) -> None:
    second = np.zeros((40, 50, 4), np.uint8)
    second[5:35, 10:30] = (20, 160, 90, 255)
    Image.fromarray(second).save(coco / "dataset" / "vase" / "01.png")
    pairs = source(coco)
    judges = Judges({}, ScoreProtocol(reference="all")).of(pairs)
    cat, vase = (references_of(pairs.pair(i, rng_for(0, i, "")), judges) for i in (0, 1))
    assert [region.shape for region in cat] == [(40, 40, 3)]
    assert [region.shape for region in vase] == [(40, 40, 3), (30, 30, 3)]


def test_the_benchmark_is_one_command_without_a_row_of_truth(coco: Path) -> None:
    places = [f"data.references={coco / 'dataset'}", f"data.scenes={coco / 'val2017'}",
              f"data.instances={coco / 'instances.json'}", "data.num_scenes=2"]  # fmt: skip
    quick = ["eval.num_pairs=4", "eval.num_diverse=0", "method=copy_paste",
             "metrics=[dino,retrieval,lab_difference,copy_paste_index]"]  # fmt: skip
    ended = run("evaluate", "eval=dreambooth_coco", *places, *quick, "hydra.run.dir=out", cwd=coco)
    assert ended.code == 0, ended.err
    scores = json.loads((coco / "out" / "scores.json").read_text())
    names = [row["run"] for row in scores["rows"]]
    assert names == ["copy_paste", "copy-paste", "another object", "empty"] and scores["n"] == 4
    found = {row["run"]: row["retrieval_recall_1"] for row in scores["rows"]}
    assert found["copy_paste"] == 100 and found["another object"] == 0
    assert "lab_difference" not in scores["rows"][0]  # of the scene's own object
    assert "copy_paste_index" not in scores["rows"][0]
    assert (coco / "dreambooth_coco.csv").is_file()
