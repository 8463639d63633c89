"""The agreement of two orders."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from anydoor_lab.metrics.ranks import kendall_tau, rank_agreement


def test_tau_is_scipys_also_with_ties() -> None:
    rng = np.random.default_rng(0)
    first, others = rng.integers(0, 4, 7).astype(float), rng.integers(0, 5, (40, 7)).astype(float)
    expected = [kendalltau(first, other).statistic for other in others]
    np.testing.assert_allclose(kendall_tau(first, others), expected, atol=1e-12)
    assert np.isnan(kendall_tau(first, np.ones((1, 7)))[0])


def test_clear_differences_have_a_narrow_interval_and_noise_a_wide_one() -> None:
    rng = np.random.default_rng(0)
    printed = [27.7, 31.5, 35.4, 64.1, 67.8]
    clear = [value + rng.normal(0, 1, (3, 64)) for value in printed]
    found = rank_agreement(printed, clear, rng)
    assert found.mean == 1 and found.low == 1 and found.n == 5
    noise = [rng.normal(0, 30, (3, 64)) for _ in printed]
    blurred = rank_agreement(printed, noise, rng)
    assert blurred.high - blurred.low > 0.5 and -1 <= blurred.low <= blurred.mean <= blurred.high
    reverse = rank_agreement(printed, clear[::-1], rng)
    assert (reverse.mean, reverse.high) == (-1, -1)


def test_variants_differing_in_their_pairs_are_no_ranking() -> None:
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match="all scored on the same pairs"):
        rank_agreement([1, 2], [np.ones((1, 3)), np.ones((1, 4))], rng)
    with pytest.raises(ValueError, match="expected two or more"):
        rank_agreement([1], [np.ones((1, 3))], rng)
