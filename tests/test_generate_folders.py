"""Folders of objects and scenes: each in each, once, by any method, and nothing made twice."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

import small_pipelines as small
from anydoor_lab.config import placing
from anydoor_lab.config.fingerprints import files_of, fingerprint, folders_of, weights_of
from anydoor_lab.evaluation.folders import read_request, requests_of
from anydoor_lab.models.embedded import embedded_folder
from anydoor_lab.structures.images import read_facts, read_image
from inside import Ended, run


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """Three objects, one of them a photo with a mask and one without either, and two scenes."""
    rng = np.random.default_rng(0)
    for folder in ("objects", "scenes"):
        (tmp_path / folder).mkdir()
    alpha = np.zeros((40, 40, 4), np.uint8)
    alpha[10:30, 8:32] = (200, 30, 40, 255)
    Image.fromarray(alpha).save(tmp_path / "objects" / "cup.png")
    photo = rng.integers(0, 255, (40, 50, 3), np.uint8)
    Image.fromarray(photo).save(tmp_path / "objects" / "bear.jpg")
    Image.fromarray(255 * (alpha[..., 3] > 0).astype(np.uint8)).resize((50, 40)).save(
        tmp_path / "objects" / "bear_mask.png"
    )
    Image.fromarray(photo).save(tmp_path / "objects" / "unmarked.jpg")
    (tmp_path / "objects" / "notes.txt").write_text("not a picture")
    for number, name in enumerate(("street", "desk")):
        scene = np.full((90, 120 + number, 3), 60 + 80 * number, np.uint8)
        Image.fromarray(scene).save(tmp_path / "scenes" / f"{name}.png")
    return tmp_path


def generate(place: Path, *given: str, out: str = "done") -> Ended:
    folders = ["references=objects", "scenes=scenes", f"out={out}", "device=cpu"]
    return run("generate", *folders, *given, cwd=place)


def test_every_object_is_placed_in_every_scene_and_strangers_are_counted(place: Path) -> None:
    ended = generate(place, "method=copy_paste", "box=[20,30,60,90]")
    assert ended.code == 0, ended.err
    made = sorted(path.stem for path in (place / "done").glob("*__*.png"))
    assert made == ["bear__desk", "bear__street", "cup__desk", "cup__street"]
    assert "passed over 1: no picture" in ended.out and "sheet.png" in ended.out
    assert "passed over 1: without alpha and without a mask" in ended.out
    image = read_image(place / "done" / "cup__street.png")
    changed = (image != 60).any(axis=2)
    assert changed.any() and not changed[:20].any() and not changed[:, :30].any()


def test_the_same_command_makes_only_what_is_missing(place: Path) -> None:
    generate(place, "method=poisson", "box=centre")
    lost, kept = (place / "done" / f"{name}__street.png" for name in ("cup", "bear"))
    before, stamp = lost.read_bytes(), kept.stat().st_mtime_ns
    lost.unlink()
    ended = generate(place, "method=poisson", "box=centre")
    assert "asked    4 pictures, 3 are there already" in ended.out
    assert lost.read_bytes() == before and kept.stat().st_mtime_ns == stamp
    assert read_facts(lost)["recipe"]["box"] == "centre"


def test_pictures_made_otherwise_are_refused_and_stay(place: Path) -> None:
    generate(place, "method=copy_paste", "box=centre")
    stamp = (place / "done" / "cup__desk.png").stat().st_mtime_ns
    generate(place, "method=copy_paste", "box=centre", "seed=1").refused("was made otherwise")
    assert (place / "done" / "cup__desk.png").stat().st_mtime_ns == stamp


@pytest.mark.parametrize("edited", ["objects/cup.png", "scenes/desk.png", "objects/bear_mask.png"])
def test_pictures_of_what_a_file_showed_before_are_refused_and_stay(
    place: Path, edited: str
) -> None:
    asked = ("method=copy_paste", "box=centre")
    assert generate(place, *asked).code == 0
    made = {path: path.read_bytes() for path in (place / "done").iterdir()}
    picture = np.asarray(Image.open(place / edited)).copy()
    picture[12:20, 10:20] ^= 255
    Image.fromarray(picture).save(place / edited)
    generate(place, *asked).refused("was made otherwise (pair is", "overwrite=true")
    assert {path: path.read_bytes() for path in made} == made
    assert generate(place, *asked, "overwrite=true").code == 0
    again = generate(place, *asked)
    assert "asked    4 pictures, 4 are there already" in again.out


def test_pictures_of_another_object_or_network_of_the_same_name_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for month in ("jan", "feb"):
        shutil.copytree(embedded_folder("anydoor"), place / month / "net")
        shutil.copytree(place / "objects", place / month / "objects")
    weights = place / "feb" / "net" / "projectors.safetensors"
    tensors = load_file(weights)
    save_file({name: array * np.float32(1.5) for name, array in tensors.items()}, weights)
    quick = ["references=jan/objects", "box=[20,30,60,90]", "num_inference_steps=1"]
    assert generate(place, *quick, "run=jan/net").code == 0
    made = {path: path.read_bytes() for path in (place / "done").iterdir()}
    generate(place, *quick, "run=feb/net").refused("was made otherwise (weights is")
    monkeypatch.setattr(placing, "loaded_pipeline", lambda _: pytest.fail("weights were read"))
    assert "4 are there already" in generate(place, *quick, "run=jan/net").out
    cup = np.asarray(Image.open(place / "objects" / "cup.png"))
    Image.fromarray(cup[::-1, :, [2, 1, 0, 3]]).save(place / "feb" / "objects" / "cup.png")
    other = [*quick, "references=feb/objects", "run=jan/net"]
    generate(place, *other).refused("cup__desk.png was made otherwise (pair is")
    assert {path: path.read_bytes() for path in made} == made


def test_the_weights_of_a_method_and_of_a_run_are_told_from_others(tmp_path: Path) -> None:
    found = set()
    for number in range(2):
        folder = tmp_path / str(number) / "sd"
        (folder / "unet").mkdir(parents=True)
        (folder / "unet" / "model.safetensors").write_bytes(bytes([number]) * 2**25)
        (folder / "read.me").write_text(str(number))
        method = {"_target_": "anydoor_lab.DreamBooth", "kind": str(folder)}
        assert folders_of(method) == []
        method["source"] = str(folder)
        assert folders_of(method) == [folder] and len(files_of(folder)) == 1
        found.add(fingerprint(files_of(folder)))
        run = tmp_path / str(number) / "run"
        for step in (1, 2):
            at = run / "checkpoints" / f"step_{step:08d}"
            at.mkdir(parents=True)
            (at / "manifest.json").write_text(f"{number * step}")
        assert weights_of(run) == [run / "checkpoints" / "step_00000002" / "manifest.json"]
        found.add(fingerprint(weights_of(run)))
    assert len(found) == 4


def test_the_embedded_network_places_as_it_does_for_one_picture(place: Path) -> None:
    quick = ["num_inference_steps=2", "box=[20,30,60,90]"]
    assert generate(place, *quick).code == 0
    single = ["reference=objects/cup.png", "scene=scenes/street.png", "out=one.png", "device=cpu"]
    assert run("generate", *single, *quick, cwd=place).code == 0
    one = read_image(place / "one.png")
    assert np.array_equal(one, read_image(place / "done" / "cup__street.png"))


def test_several_proposals_a_place_are_those_of_the_seeds(place: Path) -> None:
    quick = ["num_inference_steps=1", "box=[20,30,60,90]"]
    assert generate(place, *quick, "num_proposals=2").code == 0
    assert generate(place, *quick, "seed=1", out="second").code == 0
    second, of_two = (
        read_image(place / path).astype(int)
        for path in ("second/bear__desk.png", "done/bear__desk_1.png")
    )
    assert abs(second - of_two).max() <= 1  # two at a time: the sums' order is another


def test_one_picture_and_folders_go_through_the_same_method(place: Path) -> None:
    source = small.stable_diffusion(place / "sd")
    method = ["method=sd_inpaint", f"method.source={source}", "method.resolution=32",
              "method.num_inference_steps=1", "box=[20,30,60,90]"]  # fmt: skip
    assert generate(place, *method).code == 0
    single = ["reference=objects/cup.png", "scene=scenes/street.png", "out=one.png", "device=cpu"]
    ended = run("generate", *single, *method, cwd=place)
    assert ended.code == 0, ended.err
    one = read_image(place / "one.png")
    assert np.array_equal(one, read_image(place / "done" / "cup__street.png"))
    recipe = read_facts(place / "one.png")["recipe"]
    assert recipe["method"]["source"] == "sd"  # of a folder its name


def test_what_goes_with_one_picture_and_missing_weights_are_refused(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    generate(place, "box=centre", "mask=scenes/desk.png").refused("mask= goes with one picture")
    generate(place, "box=centre", "method=flux_kontext").refused("method.source", "hub's cache")
    assert not (place / "done").exists()


def test_a_manifest_says_what_goes_where(place: Path) -> None:
    rows = "reference,scene,y1,x1,y2,x2\ncup.png,desk.png,10,20,40,60\n"
    (place / "boxes.csv").write_text(rows)
    (one,), _ = requests_of(place / "objects", place / "scenes", place / "boxes.csv")
    pair, _ = read_request(one)
    assert one.name == "cup__desk__10_20_40_60"
    ys, xs = np.nonzero(pair.scene_mask)
    assert (ys.min(), xs.min(), ys.max() + 1, xs.max() + 1) == (10, 20, 40, 60)


@pytest.mark.parametrize(
    ("manifest", "words"),
    [
        ("reference,scene,y1,x1,y2,x2\ncup.png,desk.png,10,20,95,60\n", ["line 2", "not inside"]),
        ("reference,scene,y1,x1,y2,x2\ncup.png,desk.png,40,20,10,60\n", ["line 2", "no area"]),
        ("reference,scene,y1,x1,y2,x2\nmug.png,desk.png,1,2,5,6\n", ["no reference mug.png"]),
        ("reference,scene,y1,x1,y2\ncup.png,desk.png,1,2,5\n", ["no column x2"]),
        ("reference,scene,y1,x1,y2,x2\n", ["no row"]),
        ("\n", ["cannot be read as CSV"]),
    ],
)
def test_a_manifest_with_a_flaw_is_one_sentence(
    place: Path, manifest: str, words: Sequence[str]
) -> None:
    (place / "boxes.csv").write_text(manifest)
    generate(place, "boxes=boxes.csv", "method=copy_paste").refused(*words)
    assert not (place / "done").exists()


def test_a_scene_without_a_place_and_empty_folders_are_one_sentence(place: Path) -> None:
    generate(place, "method=copy_paste").refused("has no place", "box=centre")
    generate(place, "method=copy_paste", "box=[1,2,3]").refused("expected [y1, x1, y2, x2]")
    (place / "empty").mkdir()
    generate(place, "references=empty", "box=centre").refused("empty has no objects")
    run("generate", "references=objects", cwd=place).refused("scenes is not given")
    run("generate", "scene=scenes/desk.png", cwd=place).refused("reference is not given")


def test_masks_beside_the_scenes_are_the_places(place: Path) -> None:
    for name, width in (("street", 120), ("desk", 121)):
        mask = np.zeros((90, width), np.uint8)
        mask[5:35, 7:47] = 255
        Image.fromarray(mask).save(place / "scenes" / f"{name}_mask.png")
    requests, _ = requests_of(place / "objects", place / "scenes")
    assert len(requests) == 4
    pair, _ = read_request(requests[0])
    assert pair.scene_mask.sum() == 30 * 40
