"""Is it this very object: retrieval by encoders alone, and of objects placed in photographs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from anydoor_lab.config import identity, retrieval
from anydoor_lab.data.things import Things
from anydoor_lab.evaluation.identity import (
    SHARE,
    Composed,
    Identity,
    IdentityJudge,
    anchors,
    composed,
    cut_out_on_white,
    through,
)
from anydoor_lab.metrics.interval import wilson_interval
from anydoor_lab.metrics.judge import Preprocess
from anydoor_lab.metrics.retrieval import rank
from anydoor_lab.report.caption import Caption
from anydoor_lab.report.identity import identity_rows, identity_sheet, identity_table
from anydoor_lab.report.retrieval import (
    WAYS,
    Look,
    difference_table,
    retrieval_rows,
    retrieval_table,
)
from anydoor_lab.report.rows import rows_frame
from anydoor_lab.structures.images import write_image
from anydoor_lab.structures.rng import rng_for

CAPTION = Caption("Found", "tiny", "as told", 0, "abc", 40)


class Pixels(nn.Module):
    """A judge that sees 8 x 8 colours."""

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return nn.functional.adaptive_avg_pool2d(images, 8).flatten(1)


JUDGE = (Pixels(), Preprocess(32, 32, (0.5,) * 3, (0.5,) * 3))


def cut_out(colour: tuple[int, int, int], seed: int) -> np.ndarray:
    """A (40, 60, 4) stripe pattern with a transparent rim."""
    rgba = np.zeros((40, 60, 4), np.uint8)
    rgba[5:35, 10:50, :3] = colour
    columns = 10 + rng_for(seed, 0, "stripes").permutation(40)[:12]
    rgba[5:35, columns, :3] = 255 - np.array(colour)
    rgba[5:35, 10:50, 3] = 255
    return rgba


@pytest.fixture(scope="module")
def all_of() -> list[Composed]:
    scene = np.full((90, 120, 3), 128, np.uint8)
    colours = [(250, 10, 10), (10, 250, 10), (10, 10, 250), (240, 240, 10)]
    return [composed(str(i), cut_out(c, i), scene) for i, c in enumerate(colours)]


def test_wilsons_interval_is_the_textbook_one_and_has_a_width_at_its_ends() -> None:
    found = wilson_interval(np.arange(10) < 5)
    assert (found.mean, found.n) == (0.5, 10)
    assert found.low == pytest.approx(0.2366, abs=1e-4)
    assert found.high == pytest.approx(0.7634, abs=1e-4)
    every = wilson_interval(np.ones(12, np.bool_), 100.0)
    assert every.mean == every.high == 100 and every.low == pytest.approx(75.75, abs=0.01)
    with pytest.raises(ValueError, match="no answer to count"):
        wilson_interval(np.zeros(0, np.bool_))


def test_each_query_has_a_rank_of_its_own() -> None:
    gallery = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    found = rank(torch.tensor([[1.0, 0.0], [0.9, 0.1]]), ["a", "b"], gallery, ["a", "b", "c"])
    assert found.first.tolist() == [1, 0]
    assert found.precisions.tolist() == pytest.approx([1.0, 0.5])
    assert found.cosine[0] == pytest.approx(1.0)


def test_an_object_stands_in_the_middle_at_its_size_and_what_is_transparent_stays(
    all_of: list[Composed],
) -> None:
    one = all_of[0]
    assert max(one.box.height, one.box.width) == SHARE * 90
    assert abs(one.box.y1 + one.box.y2 - 90) <= 1 and abs(one.box.x1 + one.box.x2 - 120) <= 1
    assert np.array_equal(one.pasted[~one.mask], one.scene[~one.mask])
    assert cut_out_on_white(one.rgba).shape == (40, 40, 3)


def test_anchors_frame_what_a_judge_finds(all_of: list[Composed]) -> None:
    judge = IdentityJudge(all_of, *JUDGE)
    found = {way: judge([make(one) for one in all_of]) for way, make in anchors(all_of).items()}
    with pytest.raises(ValueError, match="zip"):
        judge([all_of[0].pasted])
    assert found["copy-paste"].first.all() and (found["copy-paste"].lab == 0).all()
    assert not found["another object"].first.any()
    assert found["empty"].cosine.mean() < found["copy-paste"].cosine.mean()
    assert (found["empty"].lab > 10).all()


def test_fewer_pixels_lose_more_and_only_around_the_object(all_of: list[Composed]) -> None:
    def lost(side_px: int) -> float:
        results = [through(None, side_px)(one) for one in all_of]
        far = ~all_of[0].box.grown(1.7, 90, 120).squared(90, 120).mask(90, 120)
        assert all(
            np.array_equal(r[far], o.pasted[far]) for r, o in zip(results, all_of, strict=True)
        )
        return float(IdentityJudge(all_of, *JUDGE)(results).lab.mean())

    assert lost(8) > 2 * lost(48)


def test_the_sheet_shows_every_object_in_order_beside_its_results(all_of: list[Composed]) -> None:
    pasted = [one.pasted for one in all_of[:3]]
    drawn = identity_sheet(all_of[:3], {"copy-paste": pasted}, side_px=40)
    assert drawn.shape == (2 * 44 - 4, 6 * 44 - 4, 3)  # two blocks of three columns
    assert drawn[20, 20].argmax() == 0 and drawn[64, 20].argmax() == 1
    assert (drawn[44:, 3 * 44 :] == 255).all()  # three objects leave one place empty


def test_identity_is_compared_over_the_same_objects() -> None:
    rng = rng_for(0, 0, "identities")
    low, high = (
        Identity(np.arange(40) < k, np.full(40, k / 40), rng.random(40), rng.random(40))
        for k in (10, 30)
    )
    table = identity_table({"old": low, "new": high}, CAPTION).markdown()
    assert "tiny scale, not comparable with the paper" in table and "0.750 [" in table
    rows = identity_rows({"old": low, "new": high}, "new", CAPTION, data="things", config="")
    rows = rows_frame(rows).set_index(["variant", "metric"])
    less = rows.loc[("new less old", "R@1, paired difference")]
    assert less["value"] == pytest.approx(0.5) and 0 < less["low"] < 0.5 < less["high"]
    assert ("old less new", "R@1, paired difference") not in rows.index


def hits() -> Iterator[tuple[Look, np.ndarray]]:
    for name, right in (("dino", 30), ("effnet", 38)):
        for seg in (True, False):
            for place, way in enumerate(WAYS):
                yield Look(name, way, seg), np.arange(40) < right - 5 * (not seg) + place


def test_every_way_of_looking_has_a_row_and_differences_are_paired() -> None:
    found = dict(hits())
    table = retrieval_table(found, CAPTION)
    assert len(table.frame()) == 4 and "R@1, G+P (%)" in table.markdown()
    less = difference_table(found, CAPTION).frame().set_index("difference")["points"]
    assert less["dino: G+P less G, with Seg"] == pytest.approx(5)
    assert less["dino: Seg less none, G+P"] == pytest.approx(12.5)
    assert less["dino less effnet, G+P with Seg"] == pytest.approx(-20)
    rows = rows_frame(retrieval_rows(found, CAPTION, data="things", config=""))
    assert len(rows) == 12 + 7 and set(rows["scale"]) == {"tiny"}


def test_pairs_of_held_out_things_are_two_pictures_of_different_objects_each() -> None:
    pairs, rendered = retrieval.held_out_pairs(6)
    assert len({pair.origin for pair in pairs}) == 6 and rendered.all()
    assert all(pair.variation != "still" for pair in pairs)
    assert not any(np.array_equal(pair.reference, pair.scene) for pair in pairs)
    again, _ = retrieval.held_out_pairs(6)
    assert np.array_equal(again[5].scene, pairs[5].scene)


def test_more_objects_than_are_rendered_are_filled_with_photographs() -> None:
    number = len(Things(split="held_out", filled=0, drawn=0))
    pairs, rendered = retrieval.held_out_pairs(number + 3)
    assert len(pairs) == number + 3 and rendered.sum() == number


def test_what_is_no_set_of_pictures_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="is no folder; give one of pictures"):
        identity.cut_outs(tmp_path / "nowhere", 3)
    with pytest.raises(ValueError, match="no photograph"):
        identity.photographs([str(tmp_path)])
    opaque = np.full((8, 8, 3), 9, np.uint8)
    write_image(tmp_path / "a.png", opaque)
    write_image(tmp_path / "a_mask.png", opaque)
    assert len(identity.photographs([str(tmp_path)])) == 1
    with pytest.raises(ValueError, match="no picture with alpha"):
        identity.cut_outs(tmp_path, 3)
    write_image(tmp_path / "b.png", np.dstack([opaque, np.zeros((8, 8), np.uint8)]))
    with pytest.raises(ValueError, match="b of .* is wholly transparent"):
        identity.cut_outs(tmp_path, 3)


def test_scenes_come_from_the_package_or_from_scikit_image() -> None:
    own, photos = identity.photographs([]), identity.photographs(["skimage"])
    assert len(own) > 20 and {scene.shape for scene in own} == {(256, 256, 3)}
    assert len(photos) >= 3 and all(min(scene.shape[:2]) >= 256 for scene in photos)
