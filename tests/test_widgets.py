"""The widgets without a browser: exact regions, messages for bad input, runs that stop."""

from __future__ import annotations

import io
import json
import shutil
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from accelerate import Accelerator
from PIL import Image

from anydoor_lab import load_pipeline
from anydoor_lab.data.world import World
from anydoor_lab.models.idx.table import id_choices
from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import read_facts
from anydoor_lab.structures.pair import Pair
from anydoor_lab.structures.rng import rng_for
from anydoor_lab.widgets import LiveRun, ObjectCutter, RegionPicker, Teleporter
from anydoor_lab.widgets.teleporter.variants import Variants
from small import RandomSamples, small_objective, small_pipeline
from test_picture_files import swapped_profile

if TYPE_CHECKING:
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline

SCENE = np.full((60, 90, 3), 120, np.uint8)
PNG = b"\x89PNG"


def world_pair() -> Pair:
    return World(size_px=96, split="held_out").pair(3, rng_for(0, 3, "pair"))


def drawn(mask: np.ndarray) -> memoryview:
    """What a browser sends: a coloured PNG whose alpha is the mask."""
    pixels = np.dstack([np.full((*mask.shape, 3), 90, np.uint8), mask * np.uint8(255)])
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return memoryview(buffer.getvalue())


def test_a_region_drawn_in_the_browser_is_exact() -> None:
    picker = RegionPicker(SCENE)
    mask = Box(7, 31, 12, 55).mask(60, 90)
    picker.set_state({"_region": drawn(mask), "strokes": 1})
    assert np.array_equal(picker.mask, mask)
    assert picker.box == Box(7, 31, 12, 55)
    picker.set_state({"_region": memoryview(b""), "strokes": 2})
    assert picker.box is None


@pytest.mark.parametrize("bad", [b"no picture", np.zeros((4, 4, 7), np.uint8), 5, "missing.png"])
def test_a_bad_picture_is_a_message_and_what_was_there_stays(bad: object, tmp_path: Path) -> None:
    picker = RegionPicker(SCENE, [1, 2, 30, 40])
    if isinstance(bad, bytes):
        (tmp_path / "bad.png").write_bytes(bad)
        bad = tmp_path / "bad.png"
    assert not picker.show(bad)  # type: ignore[arg-type]
    assert "cannot be used" in picker.message
    assert picker.box == Box(1, 30, 2, 40)
    assert picker.show(SCENE)
    assert picker.message == ""


def test_grey_16_bit_alpha_and_rotated_pictures_are_taken(tmp_path: Path) -> None:
    Image.fromarray(np.full((20, 30), 40000, np.uint16)).save(tmp_path / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(SCENE).save(tmp_path / "turned.jpg", exif=exif)
    pictures = [
        tmp_path / "deep.png",
        np.zeros((20, 30), np.uint8),
        np.zeros((20, 30, 4), np.uint8),
    ]
    for picture in pictures:
        assert RegionPicker(picture).image.shape == (20, 30, 3)  # type: ignore[union-attr]
    turned = Image.open(tmp_path / "turned.jpg")
    assert RegionPicker(turned).image.shape == (90, 60, 3)  # type: ignore[union-attr]
    picker = RegionPicker()
    open_in_browser(picker, "turned.jpg", (tmp_path / "turned.jpg").read_bytes())
    assert picker.image.shape == (90, 60, 3)  # type: ignore[union-attr]
    deep = RegionPicker(Image.open(tmp_path / "deep.png")).image
    assert deep is not None
    assert (deep == 40000 // 257).all()


def open_in_browser(painter: RegionPicker | ObjectCutter, name: str, data: bytes) -> None:
    """What the button Open… sends."""
    painter._handle_custom_msg({"do": "open", "name": name}, [memoryview(data)])


def test_an_opened_file_that_is_no_picture_is_a_message_and_what_was_there_stays() -> None:
    picker = RegionPicker(SCENE, [1, 2, 30, 40])
    huge = io.BytesIO()
    Image.new("1", (12_000, 12_000)).save(huge, "PNG")
    for name, data in (("a.txt", b"no picture"), ("../b.png", PNG), ("huge.png", huge.getvalue())):
        open_in_browser(picker, name, data)
        assert picker.message.startswith(f"This picture cannot be used: {Path(name).name} is ")
        assert "/" not in picker.message
        assert picker.box == Box(1, 30, 2, 40)


def test_the_alpha_of_a_reference_marks_the_object(tmp_path: Path) -> None:
    mask = Box(9, 40, 20, 50).mask(60, 90)
    cutout = np.dstack([SCENE, mask * np.uint8(255)])
    path = tmp_path / "cutout.png"
    Image.fromarray(cutout).save(path)
    uploading = ObjectCutter()
    open_in_browser(uploading, "cutout.png", path.read_bytes())
    ways = [ObjectCutter(cutout), ObjectCutter(Image.fromarray(cutout)), ObjectCutter(path)]
    for cutter in (*ways, uploading):
        assert np.array_equal(cutter.mask, mask)
    assert ObjectCutter(SCENE).box is None


def test_a_gigantic_picture_is_refused_with_its_size() -> None:
    picker = RegionPicker(np.broadcast_to(np.uint8(0), (9000, 9000, 3)))
    assert "9000x9000" in picker.message
    assert picker.image is None


def test_a_box_cuts_the_object_out_and_shows_what_the_model_will_see() -> None:
    pair = world_pair()
    cutter = ObjectCutter(pair.reference)
    box = Box.around(pair.reference_mask).grown(1.2, *pair.reference_mask.shape)
    assert cutter.cut(box)
    assert cutter.mask is not None
    both, either = cutter.mask & pair.reference_mask, cutter.mask | pair.reference_mask
    assert both.sum() / either.sum() > 0.8
    assert cutter._id_image.startswith(PNG)
    assert cutter._detail_map.startswith(PNG)


def test_clicks_cut_too_and_missing_weights_are_a_message(tmp_path: Path) -> None:
    pair = world_pair()
    cutter = ObjectCutter(pair.reference, segmenter=tmp_path)
    assert "GrabCut" in cutter.message
    box = Box.around(pair.reference_mask)
    centre = ((box.y1 + box.y2) // 2, (box.x1 + box.x2) // 2)
    asked = {"do": "prompt", "box": None, "clicks": [[*centre, 1], [1, 1, 0]]}
    cutter._handle_custom_msg(asked, [])
    assert cutter.mask is not None
    assert cutter.mask[centre]
    assert not cutter.mask[1, 1]


def test_a_joint_network_offers_all_of_conf_idx_that_it_has_its_own_first() -> None:
    names = {choice.name for choice in id_choices().values() if choice.encoder}
    variants = Variants(load_pipeline("embedded:anydoor"))
    assert set(variants.names) == names
    assert variants.names[0] == "dinov2"


def test_a_variant_is_told_its_tokens_whatever_was_asked_before() -> None:
    pipeline = load_pipeline("embedded:anydoor")
    variants = Variants(pipeline)
    for name in ("dinov2_global", "dinov2", "clip", "dinov2_global"):
        chosen = variants.pipeline(name)
        assert chosen.id_extractor.config.tokens == id_choices()[name].tokens
        assert chosen.config.remove_background == id_choices()[name].remove_background
    assert pipeline.id_extractor.config.tokens == "both"
    assert pipeline.config.remove_background


def teleporter(pipeline: AnyDoorPipeline, folder: Path, **settings: object) -> Teleporter:
    pair = world_pair()
    start = (pair.reference, pair.scene, pair.reference_mask, [20, 24, 60, 66], folder)
    return Teleporter(pipeline, *start, **{"steps": 3, "proposals": 2, **settings})


def test_generate_changes_the_scene_only_inside_and_its_recipe_makes_it_again(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    first = teleporter(pipeline, tmp_path, seed=5)
    assert first.generate()
    assert first.wait(60)
    assert first.panel.message == ""
    changed = (first.results[1] != first.picker.image).any(axis=2)
    assert changed.any()
    around = Box(20, 60, 24, 66).grown(1.2, *changed.shape).mask(*changed.shape)
    assert not changed[~around].any()
    first.panel.chosen = 1
    path = first.save()
    assert path is not None
    again = Teleporter(pipeline)
    assert again.open_recipe(path.with_suffix(".json"))
    again.generate()
    assert again.wait(60)
    assert np.array_equal(again.results[1], np.array(Image.open(path)))
    recipe = json.loads(path.with_suffix(".json").read_text())
    assert recipe["settings"]["seed"] == 5


def test_a_second_press_is_answered_and_cancel_stops_in_mid_run(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = teleporter(pipeline, tmp_path, steps=100)
    assert one.generate()
    assert not one.generate()
    assert "Still working" in one.panel.message
    while one.panel.progress == 0:
        time.sleep(0.01)
    one.cancel()
    assert one.wait(20)
    assert one.panel.progress < 1
    assert one.results == []
    assert one.panel._gallery == []
    assert "Cancelled" in one.panel.status
    assert not one.panel.busy


def test_settings_out_of_range_and_missing_marks_are_messages(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = teleporter(pipeline, tmp_path)
    one.panel.steps = 1000
    assert one.panel.steps == 3
    assert "1 to 100" in one.panel.message
    one.panel.set_state({"steps": 1000, "guidance": 3.0})  # as a browser sends them
    assert (one.panel.steps, one.panel.guidance) == (3, 3.0)
    one.panel.collage = "magic"
    assert "one of none" in one.panel.message
    for cutter in (one.picker, one.cutter):
        before = cutter.mask
        assert before is not None
        cutter.select(np.ones_like(before))
        assert not one.generate()
        assert "marks every pixel" in one.panel.message
        cutter.select(before)
    one.picker.select(np.zeros_like(one.picker.mask))
    assert not one.generate()
    assert "draw a box in the scene" in one.panel.message
    assert one.save() is None
    assert not one.open_recipe(b"{}")
    assert "no recipe" in one.panel.message


def test_a_saved_picture_keeps_what_the_scene_carries_and_tells_how_it_was_made(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    scene = Image.fromarray(np.dstack([world_pair().scene, np.full((96, 96), 200, np.uint8)]))
    scene.info["icc_profile"] = swapped_profile()
    scene.info["dpi"] = (150, 150)
    one = teleporter(pipeline, tmp_path, seed=5)
    one.picker.show(scene, [20, 24, 60, 66])
    for _ in range(2):  # the second time from its own recipe
        assert one.generate() and one.wait(60), one.panel.message
        one.panel.chosen = 1
        path = one.save()
        assert path is not None
        with Image.open(path) as saved:
            assert saved.info["icc_profile"] == scene.info["icc_profile"]
            assert np.array_equal(np.asarray(saved)[70:], np.asarray(scene)[70:])
            assert round(saved.info["dpi"][0]) == 150
        facts = read_facts(path)
        assert facts["seed"] == 6 and facts["recipe"]["settings"]["seed"] == 5
        assert one.open_recipe(path.with_suffix(".json"))


def test_a_region_of_probabilities_is_cut_in_the_middle_and_nan_is_a_message() -> None:
    picker = RegionPicker(SCENE)
    shares = np.tile(np.linspace(0, 1, 90), (60, 1))
    assert picker.select(shares)
    assert np.array_equal(picker.mask, shares > 128 / 255)
    assert not picker.select(shares * np.nan)
    assert "nan" in picker.message


def test_a_cutouts_hidden_colours_are_not_shown() -> None:
    hidden = np.dstack([SCENE, np.zeros((60, 90), np.uint8)])
    hidden[9:40, 20:50, 3] = 255
    for reference in (hidden, Image.fromarray(hidden)):
        image = ObjectCutter(reference).image
        assert image is not None
        assert (image[:5] == 255).all() and (image[10:30, 25:40] == 120).all()


@pytest.mark.parametrize("left", [None, b"half"])
def test_missing_weights_of_another_extractor_are_a_message_and_the_marks_stay(
    left: bytes | None, tmp_path: Path
) -> None:
    from anydoor_lab import load_pipeline
    from anydoor_lab.models.embedded import embedded_folder

    folder = shutil.copytree(embedded_folder("anydoor"), tmp_path / "anydoor")
    one = teleporter(load_pipeline(folder), tmp_path, idx="clip")
    (folder / "projectors.safetensors").unlink()
    if left is not None:
        (folder / "projectors.safetensors").write_bytes(left)
    assert one.generate()
    assert one.wait(60)
    assert one.panel.message.startswith("Placing failed: ")
    assert not one.panel.busy
    assert one.picker.box == Box(20, 60, 24, 66)


def test_a_half_written_run_folder_is_shown_as_far_as_it_goes(tmp_path: Path) -> None:
    live = LiveRun(tmp_path / "run", every=0)
    assert "does not exist" in live.message
    lines = [{"step": k, "samples": 8 * k, "loss": 1 / k, "loss/t_0_250": 2 / k} for k in (1, 2)]
    (tmp_path / "run").mkdir()
    text = "\n".join(map(json.dumps, lines)) + '\n{"step": 3, "lo'
    (tmp_path / "run" / "metrics.jsonl").write_text(text)
    live.refresh()
    assert live.message == ""
    assert live._series["loss"]["loss"] == [[8, 1.0], [16, 0.5]]
    assert list(live._series["bins"]) == ["0–250"]
    (tmp_path / "run" / "samples").mkdir()
    (tmp_path / "run" / "samples" / "held_out_00000002.png").write_bytes(b"torn")
    live.refresh()
    assert "cannot be read" in live.message


def test_stop_saves_a_checkpoint_of_a_training_in_this_kernel(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    from accelerate import Accelerator

    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.checkpoint import newest_checkpoint
    from anydoor_lab.training.fit import start

    settings = FitSettings(steps=500, batch_size=2, log_every=1, checkpoint_every=500)
    state = start(small_objective(pipeline.model), settings, Accelerator(cpu=True))
    live = LiveRun(tmp_path / "run", every=0)
    (tmp_path / "run").mkdir()
    sheet = np.zeros((8, 24, 3), np.uint8)
    assert live.train(state, RandomSamples(), settings, picture=lambda n: sheet if n == 1 else None)
    assert not live.train(state, RandomSamples(), settings)
    while not live._series["loss"]["loss"] and live.training:
        time.sleep(0.01)
    live.stop()
    assert live.wait(60)
    found = newest_checkpoint(tmp_path / "run" / "checkpoints")
    assert found is not None, live.message
    assert [shown["name"] for shown in live._sheets] == ["held out, step 1"]
    assert 0 < found.step < 500


def test_an_interrupt_while_waiting_stops_with_a_checkpoint(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    from accelerate import Accelerator

    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.checkpoint import newest_checkpoint
    from anydoor_lab.training.fit import start

    settings = FitSettings(steps=5000, batch_size=2, log_every=1, checkpoint_every=5000)
    state = start(small_objective(pipeline.model), settings, Accelerator(cpu=True))
    live = LiveRun(tmp_path, every=0)
    live.train(state, RandomSamples(), settings)
    main = threading.main_thread().ident
    assert main is not None
    threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGINT)).start()
    assert live.wait()
    found = newest_checkpoint(tmp_path / "checkpoints")
    assert found is not None, live.message
    assert 0 < found.step < 5000


def test_each_widget_can_be_drawn_without_a_front_end(tmp_path: Path) -> None:
    cutter = ObjectCutter(SCENE, Box(9, 20, 9, 30).mask(60, 90))
    for widget in (RegionPicker(SCENE, [2, 2, 9, 9]), cutter, LiveRun(tmp_path, every=0)):
        assert widget._repr_png_().startswith(PNG)


def test_the_map_below_a_reference_takes_edges_as_the_network_is_shown_them() -> None:
    """The rim of an even disc is all there is to see of it, and erosion leaves nothing."""
    grid = np.hypot(*np.mgrid[-48:48, -48:48])
    disc = np.dstack([np.full((96, 96, 3), 90), np.where(grid < 30, 255, 0)]).astype(np.uint8)
    plain, rim = ObjectCutter(disc), ObjectCutter(disc, edges={"erosion_px": 1, "threshold": 10})
    shown = [cutter.previews() for cutter in (plain, rim)]
    assert shown[0] is not None and shown[1] is not None
    assert not shown[0][1].any() and shown[1][1].any()


def test_who_follows_the_strokes_finds_the_mask_that_came_with_them() -> None:
    picker, seen = RegionPicker(SCENE, [0, 0, 10, 10]), []
    picker.observe(lambda _: seen.append(picker.box), "strokes")
    drawn = RegionPicker(SCENE, [5, 5, 20, 30])._region
    picker.set_state({"strokes": 1, "_region": drawn})
    assert seen == [Box(5, 20, 5, 30)]


def test_a_live_run_makes_the_folder_it_writes_to(networks: Path, tmp_path: Path) -> None:
    from anydoor_lab.training.batches import FitSettings
    from anydoor_lab.training.fit import start

    settings = FitSettings(steps=2, batch_size=2, log_every=1)
    live = LiveRun(tmp_path / "new" / "run", every=0)
    state = start(small_objective(small_pipeline(networks).model), settings, Accelerator(cpu=True))
    live.train(state, RandomSamples(), settings)
    live.wait()
    assert live.message == ""
    assert (tmp_path / "new" / "run" / "metrics.jsonl").read_text().count("\n") == 2


def test_two_pickers_over_one_picture_have_marks_of_their_own() -> None:
    before = SCENE.copy()
    one, other = RegionPicker(SCENE), RegionPicker(SCENE, [5, 5, 20, 20])
    assert one.select([10, 10, 40, 50])
    assert one.box == Box(10, 40, 10, 50) and other.box == Box(5, 20, 5, 20)
    assert np.array_equal(SCENE, before)
