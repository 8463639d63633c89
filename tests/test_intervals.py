"""Bootstrap intervals: inside the range at any n, as wide as they say, right when paired."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from anydoor_lab.evaluation.judges import Judges
from anydoor_lab.evaluation.score import row_of
from anydoor_lab.metrics.interval import (
    FEWEST,
    bootstrap_interval,
    paired_difference,
    score_interval,
    student_interval,
)
from anydoor_lab.metrics.protocol import ScoreProtocol
from anydoor_lab.metrics.score import Score, difference_of
from anydoor_lab.metrics.unchanged import Unchanged

BOUNDS = (0.0, 100.0)
JUDGES = Judges({"unchanged": Unchanged()}, ScoreProtocol())
few_scores = st.lists(st.floats(0, 100), min_size=2, max_size=10)
few_pairs = st.lists(st.tuples(st.floats(0, 100), st.floats(0, 100)), min_size=2, max_size=10)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


@given(values=few_scores)
@settings(max_examples=60, deadline=None)
@example(values=[0.0, 100.0])
@example(values=[100.0] * 9 + [0.0])
@example(values=[100.0] * 7)
def test_a_bootstrap_interval_holds_the_mean_and_stays_in_the_range(values: list[float]) -> None:
    found = bootstrap_interval(np.array(values), rng(), bounds=BOUNDS)
    assert 0 <= found.low <= found.mean <= found.high <= 100
    assert found.mean == pytest.approx(np.mean(values))
    if len(values) >= FEWEST:
        tight = 1e-9
        assert min(values) - tight <= found.low and found.high <= max(values) + tight


@given(pairs=few_pairs)
@settings(max_examples=60, deadline=None)
@example(pairs=[(0.0, 100.0), (100.0, 0.0)])
@example(pairs=[(0.0, 100.0)] * 3)
def test_a_paired_difference_turned_round_is_its_negative(
    pairs: list[tuple[float, float]],
) -> None:
    first, second = np.array(pairs).T
    ahead = paired_difference(first, second, rng(), bounds=BOUNDS)
    behind = paired_difference(second, first, rng(), bounds=BOUNDS)
    assert -100 <= ahead.low <= ahead.mean <= ahead.high <= 100
    assert (ahead.mean, ahead.low, ahead.high) == pytest.approx(
        (-behind.mean, -behind.high, -behind.low), abs=1e-9
    )


@pytest.mark.parametrize("n", [2, 3, 4])
def test_of_a_handful_the_interval_is_students_cut_off_at_the_range(n: int) -> None:
    values = np.array([20.0, 90.0, 95.0, 60.0])[:n]
    found, known = (
        bootstrap_interval(values, rng(), bounds=BOUNDS),
        student_interval(values, BOUNDS),
    )
    assert (found.low, found.high) == pytest.approx((known.low, known.high))


@pytest.mark.parametrize(("n", "least"), [(2, 0.9), (5, 0.85), (10, 0.88)])
def test_ninety_five_percent_intervals_hold_the_truth_about_as_often(n: int, least: float) -> None:
    draws = rng(1)
    held = 0
    for _ in range(200):
        found = bootstrap_interval(draws.normal(3.0, 5.0, n), draws, resamples=400)
        held += found.low <= 3.0 <= found.high
    assert held / 200 >= least


def test_a_difference_is_tighter_paired_than_the_two_scores_alone() -> None:
    easy = rng(2).normal(60, 15, 40)  # some pictures are easy for both
    first, second = easy + 2 + rng(3).normal(0, 1, 40), easy + rng(4).normal(0, 1, 40)
    paired = paired_difference(first, second, rng())
    alone = bootstrap_interval(first, rng())
    assert 1 < paired.low < 2 < paired.high < 3
    assert paired.high - paired.low < (alone.high - alone.low) / 4


def test_pictures_that_only_one_run_scored_are_left_out_and_none_is_refused() -> None:
    first, second = np.array([1.0, math.nan, 5.0]), np.array([0.0, 7.0, 3.0])
    assert paired_difference(first, second, rng()).mean == 1.5
    assert paired_difference(first, second, rng()).n == 2
    with pytest.raises(ValueError, match="on the same pictures"):
        paired_difference(first, second[:2], rng())
    with pytest.raises(ValueError, match="no picture has both"):
        paired_difference(first * math.nan, second, rng())


def test_groups_are_drawn_whole_also_where_they_are_few() -> None:
    values = np.repeat([10.0, 90.0, 50.0], 20) + rng(5).normal(0, 1, 60)
    alone = bootstrap_interval(values, rng())
    grouped = bootstrap_interval(values, rng(), groups=np.repeat([0, 1, 2], 20), bounds=BOUNDS)
    assert grouped.high - grouped.low > 3 * (alone.high - alone.low)
    assert 0 <= grouped.low < grouped.high <= 100


def test_a_difference_is_a_score_of_equal_protocols_only() -> None:
    one = Score(70.0, "dino", "crop=box", 3, (60.0, 80.0), 1000, "tiny")
    two = Score(68.0, "dino", "crop=box", 3, (60.0, 80.0), 1000, "tiny")
    singles = (np.array([71.0, 70.0, 69.0]), np.array([68.0, 68.0, 68.0]))
    found = difference_of(one, two, singles, rng())
    assert (found.metric, found.value, found.n) == ("dino_difference", 2.0, 3)
    assert found.ci95[0] < 2 < found.ci95[1]
    masked = Score(68.0, "dino", "crop=box+mask", 3, (60.0, 80.0), 1000, "tiny")
    with pytest.raises(ValueError, match="protocol is 'crop=box' of one score"):
        difference_of(one, masked, singles, rng())


def test_shares_that_are_all_right_or_all_wrong_have_an_interval_with_a_width() -> None:
    row = row_of({"unchanged": dict.fromkeys(range(4), 100.0)}, JUDGES, 4)
    assert (row["unchanged"], row["unchanged_high"]) == (100.0, 100.0)
    assert row["unchanged_low"] == pytest.approx(100 * 4 / (4 + 1.959964**2), abs=1e-3)
    none = score_interval(np.zeros(4), BOUNDS)
    assert (none.low, none.high) == pytest.approx((0, 100 - row["unchanged_low"]))


def test_what_is_no_share_or_is_one_value_keeps_students_interval() -> None:
    alike = score_interval(np.full(4, 100.0), (-100.0, 100.0))
    assert (alike.low, alike.high) == (100.0, 100.0), "a picture is like itself by definition"
    assert math.isnan(score_interval(np.array([100.0]), BOUNDS).low)
    some = np.array([100.0, 100.0, 0.0])
    assert score_interval(some, BOUNDS) == student_interval(some, BOUNDS)
