"""Comparisons of arms, rates and survival: hand arithmetic and agreement with scipy."""

import math

import numpy as np
import pytest
import scipy.stats

from lnlab.analysis import stats
from lnlab.analysis.correlation import rank_correlation


def arms(seeds: int, scenarios: int, shift: float = 1.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Scores of two arms that share what the seed brings; the first is better by `shift`."""
    rng = np.random.default_rng(seed)
    common = rng.normal(size=(seeds, 1))
    a, b = rng.normal(size=(2, seeds, scenarios))
    return common + a + shift, common + b


# Paired differences and contrasts


def test_paired_difference_of_means_is_the_paired_t_interval():
    a, b = arms(11, 18)
    expected = scipy.stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).confidence_interval()
    assert stats.paired_difference(a, b) == pytest.approx(((a - b).mean(), expected.low, expected.high, 11))


def test_paired_difference_drops_what_the_seed_brings():
    a, b = arms(25, 18)
    wild = 100 * np.random.default_rng(3).normal(size=(25, 1))
    assert stats.paired_difference(a + wild, b + wild) == pytest.approx(stats.paired_difference(a, b))


def test_a_contrast_is_the_weighted_sum_of_the_arms():
    (a, b), (x, y) = arms(6, 3), arms(6, 3, seed=1)
    found = stats.contrast({"a": a, "b": b, "x": x, "y": y}, {"a": 1, "b": -1, "x": -1, "y": 1})
    interaction = stats.paired_difference(a - b, x - y)
    assert found == pytest.approx(interaction)


def test_contrasts_refuse_what_is_none():
    scores = {"ln": np.ones(3), "none": np.ones(3)}
    with pytest.raises(ValueError, match=r"\['rms'\]; choose from ln, none"):
        stats.contrast(scores, {"ln": 1, "rms": -1})
    with pytest.raises(ValueError, match="add up to zero"):
        stats.contrast(scores, {"ln": 1, "none": 1})
    with pytest.raises(ValueError, match=r"'a': \(3,\), 'b': \(4,\)"):
        stats.paired_difference(np.ones(3), np.ones(4))
    for k, n in ((4, 3), (-1, 3), (0, 0)):
        with pytest.raises(ValueError, match=f"k={k}, n={n}"):
            stats.wilson(k, n)


# Tests


def test_sign_flip_by_hand():
    # |1 + 2 + 4| is reached by two of the eight sign patterns, |1 + 2 - 4| = 1 or more by all
    assert stats.sign_flip_test([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]) == 2 / 8
    assert stats.sign_flip_test([1.0, 2.0, 0.0], [0.0, 0.0, 4.0]) == 1.0
    assert stats.sign_flip_test([1.0, 1.0], [1.0, 1.0]) == 1.0


def test_sign_flip_is_scipys_exact_paired_permutation_test():
    a, b = arms(9, 5, shift=0.5)
    expected = scipy.stats.permutation_test(
        (a.mean(axis=1), b.mean(axis=1)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert stats.sign_flip_test(a, b) == pytest.approx(expected.pvalue)


def test_random_sign_flips_agree_with_counting_them_all(monkeypatch):
    a, b = arms(12, 1, shift=0.6)
    exact = stats.sign_flip_test(a, b)
    monkeypatch.setattr("lnlab.analysis.comparisons.EXACT_SEEDS", 0)
    assert stats.sign_flip_test(a, b) == pytest.approx(exact, abs=0.005)
    assert stats.sign_flip_test(a + 100, b, reps=99) >= 1 / 100  # never zero


# numbers of tenths: the sums of random signs, and the ranks, are those of the whole numbers, in spite of rounding
TENTHS = [
    ([2, 3, 4, 0, 0], [4, 4, 1, 1, 4]),
    ([1, 2, 4], [3, 3, 1]),  # the differences add up to zero
    ([3, 1, 2, 6, 5, 4], [2, 2, 2, 3, 2, 9]),
    ([3, 1, 7, 6, 5, 4, 9, 8, 1, 2, 3, 7, 5, 8], [2, 3, 3, 3, 2, 9, 4, 4, 4, 4, 4, 3, 2, 2]),
]


@pytest.mark.parametrize(("a", "b"), TENTHS)
@pytest.mark.parametrize("scale", [0.1, 1e-9])
def test_sign_flips_of_decimals_are_those_of_whole_numbers(a, b, scale):
    test = stats.sign_flip_test
    assert test(scale * np.array(a), scale * np.array(b)) == test(a, b)
    assert test(1 + 0.1 * np.array(a), 1 + 0.1 * np.array(b)) == test(a, b)


def test_ties_are_ties_in_spite_of_rounding():
    assert stats.performance_profile([0.1 + 0.2, 0.2, 0.4], [0.3, -np.inf]).share == pytest.approx([1 / 3, 1])
    noise = np.array([0.0, 0.1 + 0.2 - 0.3, 0.0, 1.0])
    assert rank_correlation(noise, [1, 2, 3, 4]) == rank_correlation([0, 0, 0, 1], [1, 2, 3, 4])
    assert rank_correlation([0.3, 0.1 + 0.2, 0.3], [1, 2, 3]) == (0, -1, 1, 3)  # a constant


def test_holm_by_hand_in_any_order():
    # sorted: .005 * 4, .01 * 3, .03 * 2, .04 * 1, then never smaller than the one before
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert stats.holm([]).tolist() == []
    with pytest.raises(ValueError, match="nan"):
        stats.holm([0.1, float("nan")])


# Rates and profiles


@pytest.mark.parametrize(("k", "n"), [(0, 30), (3, 30), (15, 30), (30, 30), (1, 1)])
def test_wilson_is_the_textbooks_formula(k, n):
    z, p = scipy.stats.norm.ppf(0.975), k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert stats.wilson(k, n) == pytest.approx((p, centre - half, centre + half, n), abs=1e-12)


@pytest.mark.parametrize(("k", "n"), [(0, 30), (3, 30), (15, 30), (30, 30)])
def test_clopper_pearson_leaves_half_of_alpha_on_each_side(k, n):
    p, low, high, _ = stats.clopper_pearson(k, n, confidence=0.9)
    assert p == k / n
    assert low == 0.0 if k == 0 else scipy.stats.binom.sf(k - 1, n, low) == pytest.approx(0.05)
    assert high == 1.0 if k == n else scipy.stats.binom.cdf(k, n, high) == pytest.approx(0.05)


def test_a_profile_of_one_score_per_seed_has_wilsons_interval():
    x = np.arange(30.0)
    profile = stats.performance_profile(x, [-1.0, 9.5, 26.5, 29.0])  # the run-score distribution of Agarwal et al.
    for i, above in enumerate((30, 20, 3, 0)):
        expected = stats.wilson(above, 30)
        assert (profile.share[i], profile.low[i], profile.high[i], profile.n) == pytest.approx(expected)
