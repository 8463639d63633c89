"""The command that places: the pictures it reads and the ones it leaves, in this process."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file

from anydoor_lab import generate, load_pipeline, read_facts
from anydoor_lab.config.compose import compose_config
from anydoor_lab.models.embedded import embedded_folder
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.errors import InputError
from anydoor_lab.structures.images import read_image, write_image
from test_picture_files import seen, swapped_profile

BOX = "box=[20,30,60,80]"
FAR = ~Box(20, 60, 30, 80).grown(1.4, 90, 120).mask(90, 120)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to run in, with a cut-out `cup.png` and a scene `street.png`."""
    monkeypatch.chdir(tmp_path)
    rgba = np.zeros((50, 50, 4), np.uint8)
    rgba[8:42, 12:40] = (200, 60, 40, 255)
    Image.fromarray(rgba).save("cup.png")
    scene = np.random.default_rng(0).integers(60, 200, (90, 120, 3), np.uint8)
    Image.fromarray(scene).save("street.png")
    return tmp_path


def run(*choices: str) -> None:
    asked = ("reference=cup.png", "scene=street.png", "num_inference_steps=2", "device=cpu")
    generate.main(compose_config("generate", *asked, *choices))


def test_a_scene_keeps_profile_alpha_and_resolution_and_looks_as_before(place: Path) -> None:
    rgb = np.asarray(Image.open("street.png"))
    alpha = np.tile(np.linspace(90, 255, 120).astype(np.uint8), (90, 1))
    rgba, profile = Image.fromarray(np.dstack([rgb, alpha])), swapped_profile()
    rgba.save("street.png", icc_profile=profile, dpi=(240, 240))
    run(BOX, "out=placed.png")
    with Image.open("placed.png") as placed, Image.open("street.png") as before:
        assert np.array_equal(np.asarray(placed)[FAR], np.asarray(before)[FAR])
        assert np.array_equal(placed.getchannel("A"), before.getchannel("A"))
        assert placed.info["icc_profile"] == profile
        assert placed.info["dpi"] == before.info["dpi"]
        assert np.abs(seen(placed) - seen(before))[FAR].max() == 0
        assert np.abs(seen(placed) - seen(before))[30:50, 45:65].max() > 10


def test_a_pil_scene_gives_pil_results_with_its_profile_and_alpha(place: Path) -> None:
    pipeline = load_pipeline("embedded:anydoor")
    pipeline.set_progress_bar_config(disable=True)
    rgb = Image.open("street.png")
    rgb.putalpha(180)
    rgb.save("street.png", icc_profile=swapped_profile())
    scene = Image.open("street.png")
    arguments = (Image.open("cup.png"), scene)
    placed = pipeline(*arguments, box=[20, 30, 60, 80], num_inference_steps=2).images[0]
    assert placed.mode == "RGBA" and placed.info["icc_profile"] == scene.info["icc_profile"]
    assert np.array_equal(np.asarray(placed)[FAR], np.asarray(scene)[FAR])
    with pytest.raises(ValueError, match="guidance_scale is nan"):
        pipeline(*arguments, box=[20, 30, 60, 80], guidance_scale=float("nan"))
    with pytest.raises(ValueError, match="guidance_scale is inf"):
        next(pipeline.denoise(None, [[0]], guidance_scale=float("inf")))  # type: ignore[arg-type]


def test_a_turned_scene_is_placed_into_as_it_is_seen(place: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open("street.png").rotate(90, expand=True).save("turned.png", exif=exif)
    run(BOX, "scene=turned.png")
    run(BOX, "out=straight.png")
    assert np.array_equal(read_image("placed.png"), read_image("straight.png"))


def test_each_png_carries_its_seed_the_recipe_and_the_commit(place: Path) -> None:
    run(BOX, "seed=4", "num_proposals=2", "out=sub/placed.png", f"scene={place}/street.png")
    for k in range(2):
        facts = read_facts(f"sub/placed_{k}.png")
        assert facts["seed"] == 4 + k
        assert facts["recipe"]["box"] == [20, 30, 60, 80]
        assert facts["recipe"]["scene"] == "street.png", "no folder of this machine leaves it"
        assert facts["recipe"]["num_inference_steps"] == 2
        assert {"commit", "version"} <= set(facts)
    run(BOX, "idx=clip", "collage=none", "out=clip.png")
    assert "ClipExtractor" in str(read_facts("clip.png")["recipe"]["idx"])
    run(BOX, "seed=5", "out=again.png")
    again = read_image("again.png").astype(int)
    assert np.abs(again - read_image("sub/placed_1.png")).max() <= 1


@pytest.mark.parametrize("ending", ["jpg", "webp"])
def test_other_formats_are_written_with_a_quality(place: Path, ending: str) -> None:
    run(BOX, f"out=good.{ending}", "quality=90")
    run(BOX, f"out=small.{ending}", "quality=10")
    assert Path(f"small.{ending}").stat().st_size < Path(f"good.{ending}").stat().st_size
    with Image.open(f"good.{ending}") as picture:
        assert picture.size == (120, 90)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        ("out=placed.tif", "expected an ending of .png, .jpg, .jpeg, .webp"),
        ("quality=101", "quality is 101"),
        ("guidance_scale=nan", "guidance_scale is nan"),
        ("guidance_scale=inf", "guidance_scale is inf"),
        ("out=cup.png/placed.png", "choose another"),
        ("out=placed.jpg scene=glass.png", "has alpha, which placed.jpg cannot hold"),
        ("scene=hole.png", "wholly transparent where the object goes"),
        ("scene=bomb.png", "shrink it first"),
        ("run=nowhere out=/proc/none/a.png", "choose another"),
    ],
)
def test_what_cannot_end_well_is_refused_before_the_networks_are_read(
    place: Path, monkeypatch: pytest.MonkeyPatch, choice: str, words: str
) -> None:
    glass = np.dstack([read_image("street.png"), np.full((90, 120), 99, np.uint8)])
    write_image("glass.png", glass)
    glass[10:80, 20:90, 3] = 0
    write_image("hole.png", glass)
    Image.new("1", (9_000, 9_000)).save("bomb.png")
    before = sorted(place.iterdir())
    with pytest.raises(InputError, match=words):
        run(BOX, "run=a_folder_that_is_not_there", *choice.split())
    assert sorted(place.iterdir()) == before


def test_weights_that_are_no_numbers_place_no_picture(place: Path) -> None:
    broken = place / "broken"
    shutil.copytree(embedded_folder("anydoor"), broken)
    weights = broken / "projectors.safetensors"
    tensors = load_file(weights)
    save_file({name: array * np.float32("nan") for name, array in tensors.items()}, weights)
    with pytest.raises(InputError, match="the id_extractor has weights that are not finite"):
        run(BOX, f"run={broken}", "out=placed.png")
    assert not Path("placed.png").exists()


def test_what_will_be_written_is_said_with_a_better_setting(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two = np.zeros((90, 120), np.uint8)
    two[10:30, 10:30] = two[60:80, 90:110] = 255
    Image.fromarray(two).save("two.png")
    run("mask=two.png", "out=placed.png")
    said = capsys.readouterr().out
    assert "of the scene will be written" in said
    assert "warning  the mask has 2 parts" in said and "blend=mask writes the parts alone" in said
    run(BOX, "out=boxed.png")
    assert "parts" not in capsys.readouterr().out
