"""The Teleporter without a browser: results kept, recipes inside pictures, files in pieces."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from anydoor_lab.structures.boxes import Box
from anydoor_lab.structures.images import read_image
from anydoor_lab.widgets import ObjectCutter, RegionPicker
from anydoor_lab.widgets.examples import Example, offered, photographed, references, scenes
from anydoor_lab.widgets.teleporter.recipe import read_recipe
from anydoor_lab.widgets.uploads import MAX_BYTES, Upload, pieces_of
from test_widgets import SCENE, drawn, teleporter

if TYPE_CHECKING:
    from anydoor_lab.pipeline.anydoor import AnyDoorPipeline


def png(image: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG")
    return buffer.getvalue()


def send(painter: Any, do: str, name: str, data: bytes, length: int) -> None:
    """Send a file in pieces of this length, as a browser does."""
    pieces = [data[at : at + length] for at in range(0, len(data), length)]
    for piece, part in enumerate(pieces):
        content = {"do": do, "name": name, "piece": piece, "pieces": len(pieces)}
        painter._handle_custom_msg(content, [memoryview(part)])


def generated(pipeline: AnyDoorPipeline, folder: Path, **settings: object) -> Any:
    one = teleporter(pipeline, folder, **settings)
    assert one.generate() and one.wait(60), one.panel.message
    return one


def test_a_press_comes_with_the_settings_of_its_moment(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = teleporter(pipeline, tmp_path)
    chosen = {**one.panel.settings, "seed": 41, "collage": "none"}
    one.panel._handle_custom_msg({"do": "generate", "settings": chosen}, [])
    assert one.wait(60) and one.panel.settings == chosen
    assert one.shown is not None and one.shown.settings == chosen


def test_a_picture_in_pieces_is_whole_and_a_missing_piece_is_a_message() -> None:
    picker, data = RegionPicker(), png(SCENE)
    send(picker, "open", "wall.png", data, 50)
    assert picker.image is not None and np.array_equal(picker.image, SCENE)
    upload = Upload()
    assert upload.take({"name": "a", "piece": 0, "pieces": 3}, [b"1"]) is None
    with pytest.raises(ValueError, match="without its piece 2; open it again"):
        upload.take({"name": "a", "piece": 2, "pieces": 3}, [b"3"])
    assert upload.take({"name": "b"}, [b"whole"]) == b"whole"


def test_a_file_above_the_limit_is_refused_with_it() -> None:
    piece = memoryview(bytes(MAX_BYTES // 2 + 1))
    upload = Upload()
    upload.take({"name": "a.png", "piece": 0, "pieces": 3}, [piece])
    with pytest.raises(ValueError, match="a.png has more than 200 MB; give its path"):
        upload.take({"name": "a.png", "piece": 1, "pieces": 3}, [piece])


def test_a_download_in_pieces_is_whole() -> None:
    data = bytes(range(256)) * 40_000
    sent = list(pieces_of("a.png", data))
    assert len(sent) == 3 and {content["pieces"] for content, _ in sent} == {3}
    assert b"".join(buffers[0] for _, buffers in sent) == data


@pytest.mark.parametrize("offer", [references, scenes])
def test_every_example_is_there_and_those_of_objects_are_cut_out(offer: Any) -> None:
    examples = offer()
    assert [one["name"] for one in offered(examples)] == [one.name for one in examples]
    painter = ObjectCutter() if offer is references else RegionPicker()
    for number in range(len(examples)):
        painter._handle_custom_msg({"do": "example", "number": number}, [])
        assert painter.message == ""
        assert (painter.box is not None) == (offer is references)


def test_an_example_that_is_missing_is_not_offered_and_a_message() -> None:
    class Lacking(RegionPicker):
        def examples(self) -> list[Example]:
            return [Example("dog", partial(photographed, "nobody: dog")), *scenes()[:1]]

    picker = Lacking(SCENE, [1, 2, 30, 40])
    picker._handle_custom_msg({"do": "examples"}, [])
    assert [(one["name"], one["number"]) for one in picker._examples] == [("meadow", 1)]
    assert not picker.show_example(0)
    assert "The example dog cannot be shown" in picker.message
    assert picker.image is not None and np.array_equal(picker.image, SCENE)


def test_a_mask_of_another_size_is_fitted_and_one_of_another_shape_refused() -> None:
    picker = RegionPicker(SCENE, [1, 2, 30, 40])
    mask = np.zeros((30, 45), np.uint8)
    mask[10:20, 5:25] = 255
    send(picker, "mask", "m.png", png(mask), 10**6)
    assert picker.message == "Note: the mask is 45x30, its picture 90x60; it was fitted."
    assert picker.box is not None and picker.mask is not None
    assert picker.mask.sum() == 20 * 40
    before = picker.mask
    send(picker, "mask", "m.png", png(mask[:, :30]), 10**6)
    assert "expected the same shape" in picker.message
    send(picker, "mask", "m.png", b"no picture", 10**6)
    assert picker.message.startswith("This mask cannot be used: m.png")
    assert np.array_equal(picker.mask, before)


def test_a_stroke_leaves_messages_that_are_not_about_the_mask() -> None:
    picker = RegionPicker(SCENE)
    picker.set_state({"message": "What was drawn is back."})
    picker.set_state({"_region": drawn(np.ones((60, 90), np.bool_)), "strokes": 1})
    assert picker.message.startswith("The whole picture is marked")
    picker.set_state({"_region": drawn(Box(1, 9, 1, 9).mask(60, 90)), "strokes": 2})
    assert picker.message == ""
    picker.set_state({"message": "What was drawn is back."})
    picker.set_state({"_region": drawn(Box(1, 9, 2, 9).mask(60, 90)), "strokes": 3})
    assert picker.message == "What was drawn is back."


def test_heic_is_a_sentence_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "phone.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ValueError, match="phone.HEIC is a HEIC picture.*save it as JPEG"):
        read_image(tmp_path / "phone.HEIC")


def test_a_recipe_inside_its_picture_brings_back_the_chosen_proposal(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = generated(pipeline, tmp_path, seed=5)
    one.panel.chosen = 1
    path = one.save()
    again = teleporter(pipeline, tmp_path, seed=9)
    assert again.open_recipe(path)
    assert again.generate() and again.wait(60)
    assert again.panel.chosen == 1
    assert np.array_equal(again.results[1], np.array(Image.open(path)))
    again.panel.seed = 6
    assert again.generate() and again.wait(60)
    assert again.panel.chosen == 0


def test_a_picture_without_a_recipe_or_with_a_damaged_one_is_a_message(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = generated(pipeline, tmp_path)
    data = one.save().read_bytes()
    stripped = png(np.array(Image.open(io.BytesIO(data))))
    assert not one.open_recipe(stripped)
    assert "carries no recipe" in one.panel.message
    place = data.index(b"adRc") + 40
    assert not one.open_recipe(data[:place] + bytes(9) + data[place + 9 :])
    assert "damaged" in one.panel.message
    assert not one.open_recipe(data[:-5000])
    assert "no recipe" in one.panel.message


def test_results_are_kept_and_one_comes_back_with_its_settings(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = generated(pipeline, tmp_path, seed=1)
    first = one.results
    one.panel.set_state({"seed": 2, "proposals": 1})
    assert one.generate() and one.wait(60)
    assert [result["words"][:7] for result in one.panel._strip] == ["seed 1,", "seed 2,"]
    one.panel.set_state({"shown": 0})
    assert (one.panel.seed, one.panel.proposals) == (1, 2)
    assert np.array_equal(one.results, first)
    assert len(one.panel._gallery) == 2


def test_a_result_is_marked_while_the_marks_are_others_than_its_own(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    one = generated(pipeline, tmp_path)
    assert one.panel.stale == ""
    mask = one.picker.mask
    one.picker.select([0, 0, 20, 20])
    assert "press Generate" in one.panel.stale
    one.picker.select(mask)
    assert one.panel.stale == ""
    one.cutter.show(SCENE, [1, 1, 20, 20])
    assert "press Generate" in one.panel.stale


def test_what_is_saved_without_a_folder_lies_in_the_working_directory(
    pipeline: AnyDoorPipeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from anydoor_lab.widgets import Teleporter

    monkeypatch.chdir(tmp_path)
    pair = teleporter(pipeline, tmp_path).pair()
    start = (pair.reference, pair.scene, pair.reference_mask, [20, 24, 60, 66])
    one = Teleporter(pipeline, *start, steps=2, proposals=1)
    assert one.generate() and one.wait(60)
    path = one.save()
    assert path is not None
    assert path.resolve() == tmp_path / "anydoor_results" / "placed_0001.png"
    assert str(path.resolve()) in one.panel.status
    assert read_recipe(path.read_bytes())[0]["chosen"] == 0


def test_the_last_state_is_drawn_from_what_is_there(
    pipeline: AnyDoorPipeline, tmp_path: Path
) -> None:
    assert RegionPicker().pictures() == []
    one = teleporter(pipeline, tmp_path, steps=2)
    assert len(one.pictures()) == 2
    assert one.generate() and one.wait(60)
    assert len(one.pictures()) == 3
