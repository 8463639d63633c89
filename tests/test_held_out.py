"""What is called held out is held out, and what is passed over is counted."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from anydoor_lab.config.assemble import build_bench
from anydoor_lab.config.compose import compose_config
from anydoor_lab.data.readers.folder import Folder
from anydoor_lab.data.source import Counts, note_of
from anydoor_lab.data.world import World
from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.kept import digest
from anydoor_lab.evaluation.pairs import held_out_pairs, reference_region
from anydoor_lab.evaluation.score import row_of
from anydoor_lab.evaluation.settings import EvalSettings
from anydoor_lab.methods.copy_paste import CopyPaste
from anydoor_lab.metrics.background import BackgroundPsnr, BackgroundSsim
from anydoor_lab.metrics.diversity import PixelDiversity
from anydoor_lab.metrics.interval import interval_from_sums, student_interval
from anydoor_lab.metrics.mean_score import MeanScore
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.similarity import SimilarityScore
from anydoor_lab.report.bench import Bench
from anydoor_lab.report.scores import score_table, write_comparison
from anydoor_lab.structures.checks import UnusablePair
from anydoor_lab.structures.pair import Pair
from anydoor_lab.training.samples import PairStream


class Likeness(MeanScore):
    """100 minus the difference of mean colours."""

    bounds = (0.0, 100.0)

    def scores(
        self, generated: Sequence[np.ndarray], references: Sequence[np.ndarray]
    ) -> torch.Tensor:
        pairs = zip(generated, references, strict=True)
        return torch.tensor([100 - abs(one.mean() - other.mean()) / 2.55 for one, other in pairs])


class Spoilt:
    """A source whose entries are unusable but for those of `good`."""

    def __init__(self, number: int, good: tuple[int, ...] = ()) -> None:
        self.number, self.good, self.asked = number, good, 0
        self.counts = Counts(used=number)
        self.world = World(size_px=32)

    def __len__(self) -> int:
        return self.number

    def pair(self, index: int, rng: np.random.Generator) -> Pair:
        self.asked += 1
        if index not in self.good:
            raise UnusablePair("unreadable picture" if index % 3 else "empty mask")
        return self.world.pair(index, rng)


SETTINGS = EvalSettings(num_pairs=4, num_diverse=0, num_shown=2, batch_size=4)


@pytest.fixture
def few(tmp_path: Path) -> Path:
    """A folder of three cut-outs."""
    for number in range(3):
        image, mask = World(size_px=64).clean_view(number)
        rgba = np.dstack([image, mask * np.uint8(255)])
        (tmp_path / "few").mkdir(exist_ok=True)
        Image.fromarray(rgba).save(tmp_path / "few" / f"{number}.png")
    return tmp_path / "few"


def reported(source: Folder | World, folder: Path) -> dict:
    pairs = held_out_pairs(source, SETTINGS)
    judges = Judges({"clip": Likeness()}, ScoreProtocol())
    bench = Bench("tiny", SETTINGS, judges, pairs, note_of(source))
    row, results = bench.score(CopyPaste(), "copied")
    return bench.report([row], results, folder)


def test_pictures_that_are_trained_on_are_not_called_held_out(
    few: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = reported(Folder(few, split="held_out"), tmp_path / "out")
    said = capsys.readouterr().out
    for text in (said, *((tmp_path / "out" / f"scores.{kind}").read_text() for kind in
                         ("md", "csv", "tex"))):  # fmt: skip
        assert "nothing is held out of 3" in text.replace(r"\_", "_")
        assert "held-out pairs" not in text
    assert "Scores on pairs that are not held out" in said
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["note"] == scores["note"]
    compared, _ = write_comparison(
        [("a", scores), ("b", scores)], tmp_path / "compared", "Two runs"
    )
    assert "nothing is held out of 3" in compared.terminal()


def test_pictures_that_are_held_out_are_called_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    scores = reported(World(size_px=32, split="held_out"), tmp_path / "out")
    assert "Scores on held-out pairs" in capsys.readouterr().out
    assert "Scores on held-out pairs" in score_table(scores).terminal()
    assert scores["note"] == "" and {pair["quality"] for pair in scores["pairs"]} <= {"low", "high"}


def test_a_set_without_one_usable_entry_is_refused_at_once_with_the_reasons() -> None:
    source = Spoilt(100_000)
    with pytest.raises(ValueError, match=r"none of 50 .*\(33 unreadable picture, 17 empty mask\)"):
        held_out_pairs(source, EvalSettings())
    with pytest.raises(RuntimeError, match=r"50 entries in a row .* unreadable picture"):
        PairStream(source, None)[0]  # type: ignore[arg-type]
    assert source.asked == 100


def test_entries_passed_over_while_scoring_are_counted_by_reason() -> None:
    rejected: Counter[str] = Counter()
    pairs = held_out_pairs(Spoilt(10, good=(4, 5)), EvalSettings(num_pairs=2), rejected)
    assert len(pairs) == 2
    assert rejected["empty mask"] >= 2 and rejected["unreadable picture"] >= 2


def test_what_a_mixed_folder_leaves_out_is_counted(few: Path) -> None:
    (few / "torn.png").write_bytes((few / "0.png").read_bytes()[:200])
    Image.new("RGB", (64, 64)).save(few / "no_mask.png")
    (few / "notes.txt").write_text("cups of January")
    bench = build_bench(compose_config("evaluate", "data=folder", f"data.root={few}"))
    assert len(bench.pairs) == 3
    assert bench.passed_over.total() == 2


def test_pairs_that_do_not_fit_memory_are_read_again_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    source = World(size_px=32, split="held_out")
    whole = held_out_pairs(source, EvalSettings(num_pairs=6))
    monkeypatch.setattr("anydoor_lab.evaluation.pairs.KEPT_BYTES", 2 * 2 * 32 * 32 * 4)
    few = held_out_pairs(source, EvalSettings(num_pairs=6))
    assert few[1] is few[1] and few[2] is not few[2]
    assert len(whole) == len(few) == len(list(few)) == 6
    assert [digest(pair) for pair in few] == [digest(pair) for pair in whole]
    assert [pair.origin for pair in few[-2:]] == [whole[4].origin, whole[5].origin]
    with pytest.raises(IndexError):
        few[6]


def spread(low: float, high: float) -> tuple[float, float]:
    interval = student_interval(np.array([low, high]), (low, high))
    return interval.low, interval.high


def test_an_interval_of_two_values_stays_where_a_mean_can_be() -> None:
    assert spread(0.0, 100.0) == (0.0, 100.0)
    wide = student_interval(np.array([0.0, 100.0]))
    assert wide.low == pytest.approx(50 - 12.7062 * 50, abs=0.1), "Student's own is left as it is"
    inside = student_interval(np.array([49.0, 51.0, 50.0, 50.0]), (0.0, 100.0))
    assert inside == student_interval(np.array([49.0, 51.0, 50.0, 50.0]))
    assert math.isnan(student_interval(np.array([3.0]), (0.0, 100.0)).low)
    assert interval_from_sums(100.0, 10_000.0, 2, (0.0, 100.0)).high == 100.0


def test_the_intervals_of_a_row_end_where_their_metrics_do() -> None:
    class Wider(Likeness):
        bounds = (-1.0, 1.0)

    judges = Judges({"like": Likeness(), "like_wider": Wider()}, ScoreProtocol())
    singles = {
        "like": {0: 2.0, 1: 98.0},
        "like_part": {0: 2.0, 1: 98.0},
        "like_wider": {0: -0.9, 1: 0.9},
        "like_wider_part": {0: -0.9, 1: 0.9},
    }
    row = row_of(singles, judges, 2)
    for name, (low, high) in {"like": (0, 100), "like_wider": (-1, 1)}.items():
        for key in (name, f"{name}_part"):
            assert (row[f"{key}_low"], row[f"{key}_high"]) == (low, high)


@pytest.mark.parametrize(
    ("metric", "bounds"),
    [
        (SimilarityScore, (-100, 100)),
        (BackgroundPsnr, (0, 100)),
        (BackgroundSsim, (-1, 1)),
        (PixelDiversity, (0, 100)),
    ],
)
def test_a_metric_says_its_range(metric: type[MeanScore], bounds: tuple[float, float]) -> None:
    assert metric.bounds == bounds


def test_the_running_mean_has_the_same_interval() -> None:
    metric = PixelDiversity()
    metric.add(torch.tensor([1.0, 99.0]))
    interval = metric.interval(all_processes=False)
    assert (interval.low, interval.high) == (0.0, 100.0)


def test_of_one_photo_a_result_is_compared_with_the_object_as_the_scene_prints_it() -> None:
    mask = np.zeros((20, 20), np.bool_)
    mask[4:12, 6:14] = True
    photo, print_ = (np.full((20, 20, 3), value, np.uint8) for value in (200, 90))
    for masked in ("box", "box+mask"):
        protocol = ScoreProtocol(crop=masked)
        printed = reference_region(Pair(photo, mask, print_, mask), protocol)
        assert (printed == 90).all()
        moved = Pair(photo, mask, print_, mask[::-1].copy())
        assert (reference_region(moved, protocol) == 200).all()
