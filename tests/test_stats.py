"""Statistics: hand arithmetic, agreement with scipy and with published formulas, refusals."""

import math

import numpy as np
import pytest
import scipy.stats

from lnlab.analysis import stats
from lnlab.analysis.stats import (
    clopper_pearson,
    contrast,
    interval,
    iqm,
    paired_difference,
    prediction,
    rank_correlation,
    wilson,
)

NAN = float("nan")


def scores(seeds: int, scenarios: int, seed: int = 0) -> np.ndarray:
    """Scores of seeds on scenarios with half of their variance owed to the seed."""
    rng = np.random.default_rng(seed)
    return 10 + rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, scenarios))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((12.3, 10.1, 14.5, 30), "12.3 [10.1, 14.5] (n=30)"),
        ((1234.5, 1000.0, 1500.0, 5), "1234 [1000, 1500] (n=5)"),
        ((1.234, NAN, NAN, 1), "1.2 [nan, nan] (n=1)"),
        ((0.0, 0.0, 0.0, 30), "0.0 [0.0, 0.0] (n=30)"),
    ],
)
def test_an_interval_prints_as_many_digits_as_it_supports(found, text):
    assert str(stats.Interval(*found)) == text


# Centre, spread and tail


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 23])
@pytest.mark.parametrize("axis", [None, 0, 1])
def test_iqm_is_scipys_trimmed_mean(size, axis):
    values = np.random.default_rng(size).normal(size=(3, size))
    np.testing.assert_allclose(iqm(values, axis=axis), scipy.stats.trim_mean(values, 0.25, axis=axis))


def test_std_divides_by_n_minus_one_and_cv_by_the_mean():
    assert stats.std([2.0, 4.0, 6.0]) == 2.0  # sum of squares 8, divided by 2
    assert stats.cv([2.0, 4.0, 6.0]) == 0.5
    assert stats.std(np.array([[1.0, 3.0], [5.0, 5.0]]), axis=1).tolist() == [math.sqrt(2), 0.0]
    assert math.isnan(stats.std([3.0]))


def test_worst_decile_is_the_tail_integral_of_the_quantile_function():
    values = np.sort(np.random.default_rng(0).normal(size=37))
    levels = (np.arange(100_000) + 0.5) / 100_000 * 0.1
    quantiles = values[np.floor(levels * values.size).astype(int)]
    assert stats.worst_decile(values) == pytest.approx(quantiles.mean(), abs=1e-4)


def test_min_max_ipr90_takes_observed_scores_near_the_5th_and_95th_percentile():
    # 30 runs: ranks 1 + .05 * 29 = 2.45 and 28.55, so the second and the 29th: (29 - 2) of a range of 54
    assert stats.min_max_ipr90(range(30, 0, -1), lowest=0, highest=54) == 50.0
    # 100 runs: ranks 5.95 and 95.05
    assert stats.min_max_ipr90(range(1, 101), lowest=0, highest=100) == 95 - 6


# Intervals over seeds


def test_few_seeds_have_students_interval_of_their_means_and_arms_that_of_paired_differences():
    a, b = scores(11, 18), scores(11, 18, seed=1)
    expected = scipy.stats.ttest_1samp(a.mean(axis=1), 0).confidence_interval()
    assert interval(a) == pytest.approx((a.mean(), expected.low, expected.high, 11))
    expected = scipy.stats.ttest_rel(a.mean(axis=1), b.mean(axis=1)).confidence_interval()
    assert paired_difference(a, b) == pytest.approx(((a - b).mean(), expected.low, expected.high, 11))


def middle(values, axis):
    """The IQM by another name, which does not take the mean's error."""
    return iqm(values, axis)


@pytest.mark.parametrize("runs", [1, 5])
def test_a_prediction_interval_catches_95_percent_of_what_new_seeds_give(runs):
    rng = np.random.default_rng(1)
    pairs = [(prediction(rng.normal(50, 8, 30), runs), rng.normal(50, 8, runs).mean()) for _ in range(1500)]
    assert 0.935 < np.mean([found.low <= new <= found.high for found, new in pairs]) < 0.965


def test_of_other_statistics_of_few_seeds_one_seed_is_left_out_at_a_time():
    x = scores(6, 4)
    without = [scipy.stats.trim_mean(np.delete(x, seed, axis=0), 0.25, axis=None) for seed in range(6)]
    error = math.sqrt(5 / 6 * sum((value - np.mean(without)) ** 2 for value in without))
    half = scipy.stats.t.ppf(0.975, df=5) * error
    whole = scipy.stats.trim_mean(x, 0.25, axis=None)
    assert interval(x, middle) == pytest.approx((whole, whole - half, whole + half, 6))


@pytest.mark.parametrize("statistic", [np.mean, iqm])
def test_bootstrap_t_is_its_formula_written_out(statistic, monkeypatch):
    monkeypatch.setattr(stats, "RESAMPLES", 200)
    x, n = scores(20, 3), 20

    def error(sample):
        without = [statistic(np.delete(sample, seed, axis=0), axis=None) for seed in range(n)]
        return math.sqrt((n - 1) / n * np.sum((without - np.mean(without)) ** 2))

    resamples = [x[row] for row in np.random.default_rng(0).integers(n, size=(200, n))]
    whole, se = statistic(x, axis=None), error(x)
    t = [(statistic(s, axis=None) - whole) / error(s) for s in resamples]
    low, high = whole - np.quantile(t, [0.975, 0.025]) * se
    assert interval(x, statistic) == pytest.approx((whole, low, high, n))


def test_an_interval_moves_with_its_scores_and_scenarios_are_no_replications():
    x = scores(30, 3)
    once = interval(x)
    assert once == interval(x)
    assert interval(20 * x - 3)[:3] == pytest.approx(20 * np.array(once[:3]) - 3)
    assert interval(np.tile(x, (1, 6))) == pytest.approx(once)  # copies of the scenarios add nothing,
    more = interval(np.tile(x, (6, 1)))  # copies of the seeds do
    assert more.high - more.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("statistic", [np.mean, iqm])
def test_one_seed_has_an_estimate_and_no_interval_and_equal_seeds_one_without_width(statistic):
    np.testing.assert_equal(interval([[1.0, 2.0, 3.0]], statistic), (2.0, NAN, NAN, 1))
    for n in (5, 24):
        assert interval(np.full((n, 3), 2.5), statistic) == (2.5, 2.5, 2.5, n)


# Where an interval degrades: seeds without spread, few seeds


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3, 0.02, 0.1])
def test_one_odd_seed_of_twenty_neither_makes_nor_takes_the_whole_interval(noise):
    """Resamples without it have next to no spread: studentised, they gave the estimate or tens of thousands."""
    x = np.eye(20)[0] + noise * np.random.default_rng(0).normal(size=20)
    found = interval(x)
    half = scipy.stats.t.ppf(0.975, 19) * x.std(ddof=1) / math.sqrt(20)
    assert found.low < found.estimate < found.high < 1.1  # hardly more than the largest score
    if noise < 0.02:
        assert found == pytest.approx((x.mean(), x.mean() - half, x.mean() + half, 20))


@pytest.mark.parametrize(("zeros", "ones"), [(12, 12), (28, 2), (2, 28)])
def test_resamples_without_spread_are_left_out_where_the_others_tell_both_bounds(zeros, ones):
    x = np.array([0.0] * zeros + [1.0] * ones)  # all of one kind in 2^-23 and in 13 % of the resamples
    picks = x[np.random.default_rng(0).integers(zeros + ones, size=(2_000, zeros + ones))]
    picks = picks[picks.std(axis=1) > 0]
    t = (picks.mean(axis=1) - x.mean()) / scipy.stats.sem(picks, axis=1)
    low, high = x.mean() - np.quantile(t, [0.975, 0.025]) * scipy.stats.sem(x)
    assert interval(x) == pytest.approx((x.mean(), low, high, zeros + ones))


def test_scores_that_differ_by_rounding_are_equal():
    x = [0.3, 0.1 + 0.2, 0.3, 0.3, 0.3]
    for found in (interval(x), paired_difference(x, [0.3] * 5)):
        assert found.low == found.high
    assert np.ptp(interval(0.3 + 1e-9 * np.arange(5))[1:3]) > 0  # which is no rounding


def test_an_iqm_of_few_seeds_does_not_lose_the_one_that_it_trims_away():
    x = [0.0, 0.1, 0.2, 0.3, -8.0]
    found, mean = interval(x, iqm), interval(x)
    assert interval(x, middle).low > -0.2
    assert found.estimate == pytest.approx(0.1)  # its own
    assert found.high - found.low == pytest.approx(mean.high - mean.low)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the logarithm of what is not positive
def test_a_statistic_undefined_on_some_resamples_has_no_interval():
    x = np.array([-3.0] * 8 + [3.0] * 17)  # mean 1.08, but negative in one resample of thirty
    result = interval(x, lambda values, axis: np.log(np.mean(values, axis=axis)))
    assert result.estimate == pytest.approx(math.log(1.08))
    assert np.isnan(result[1:3]).all()


# Arms


def test_a_contrast_is_the_weighted_sum_of_the_arms_without_what_the_seed_brings():
    a, b, x, y = (scores(25, 3, seed) for seed in range(4))
    found = contrast({"a": a, "b": b, "x": x, "y": y}, {"a": 1, "b": -1, "x": -1, "y": 1})
    assert found == pytest.approx(paired_difference(a - b, x - y))
    wild = 100 * np.random.default_rng(3).normal(size=(25, 1))
    assert paired_difference(a + wild, b + wild) == pytest.approx(paired_difference(a, b))


BAD = np.where(np.arange(10).reshape(5, 2) == 7, np.inf, 1.0)
ARMS = {"ln": np.ones(3), "none": np.ones(3)}


@pytest.mark.parametrize(
    ("attempt", "message"),
    [
        (lambda: interval(BAD), r"rows \[3\].*its score first"),
        (lambda: interval([]), "shape"),
        (lambda: contrast({"ln": BAD, "none": np.ones((5, 2))}, {"ln": 1, "none": -1}), r"arm 'ln' .* rows \[3\]"),
        (lambda: contrast(ARMS, {"ln": 1, "rms": -1}), r"\['rms'\]; choose from ln, none"),
        (lambda: contrast(ARMS, {"ln": 1, "none": 1}), "add up to zero"),
        (lambda: paired_difference(np.ones(3), np.ones(4)), r"'a': \(3,\), 'b': \(4,\)"),
        (lambda: wilson(4, 3), "k=4, n=3"),
        (lambda: wilson(-1, 3), "k=-1, n=3"),
        (lambda: clopper_pearson(0, 0), "k=0, n=0"),
        (lambda: stats.holm([0.1, NAN]), "nan"),
        (lambda: rank_correlation([1, 2], [1, 2, 3]), r"\(2,\) and \(3,\)"),
    ],
)
def test_what_has_no_statistic_is_refused(attempt, message):
    with pytest.raises(ValueError, match=message):
        attempt()


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


def test_sign_flips_by_hand_by_scipy_and_at_random(monkeypatch):
    # |1 + 2 + 4| is reached by two of the eight sign patterns, |1 + 2 - 4| = 1 or more by all
    assert stats.sign_flip_test([1.0, 2.0, 4.0], [0.0, 0.0, 0.0]) == 2 / 8
    assert stats.sign_flip_test([1.0, 2.0, 0.0], [0.0, 0.0, 4.0]) == stats.sign_flip_test([1.0], [1.0]) == 1.0
    a, b = 0.6 + scores(12, 5), scores(12, 5, seed=1)
    of_scipy = scipy.stats.permutation_test(
        (a.mean(axis=1), b.mean(axis=1)),
        lambda x, y, axis: np.mean(x - y, axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf,
    )
    assert stats.sign_flip_test(a, b) == pytest.approx(of_scipy.pvalue)
    monkeypatch.setattr(stats, "EXACT_SEEDS", 0)
    assert stats.sign_flip_test(a, b) == pytest.approx(of_scipy.pvalue, abs=0.005)
    assert stats.sign_flip_test(a + 100, b) >= 1 / (1 + stats.FLIPS)  # never zero


def test_ties_are_ties_in_spite_of_rounding():
    noise = np.array([0.0, 0.1 + 0.2 - 0.3, 0.0, 1.0])
    assert rank_correlation(noise, [1, 2, 3, 4]) == rank_correlation([0, 0, 0, 1], [1, 2, 3, 4])
    assert rank_correlation([0.3, 0.1 + 0.2, 0.3], [1, 2, 3]) == (0, -1, 1, 3)  # a constant


def test_holm_by_hand_in_any_order():
    # sorted: .005 * 4, .01 * 3, .03 * 2, .04 * 1, then never smaller than the one before
    assert stats.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert stats.holm([0.9, 0.8]).tolist() == [1.0, 1.0]
    assert stats.holm([]).tolist() == []


# Shares


@pytest.mark.parametrize(("k", "n"), [(0, 30), (3, 30), (15, 30), (30, 30), (1, 1)])
def test_shares_have_wilsons_interval_by_the_textbook_or_half_of_alpha_on_each_side(k, n):
    z, p = scipy.stats.norm.ppf(0.975), k / n
    centre = (p + z * z / (2 * n)) / (1 + z * z / n)
    half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
    assert wilson(k, n) == pytest.approx((p, centre - half, centre + half, n), abs=1e-12)
    _, low, high, _ = clopper_pearson(k, n)
    assert low == 0.0 if k == 0 else scipy.stats.binom.sf(k - 1, n, low) == pytest.approx(0.025)
    assert high == 1.0 if k == n else scipy.stats.binom.cdf(k, n, high) == pytest.approx(0.025)


def test_a_share_of_clusters_that_agree_rests_on_their_number_and_of_clusters_alike_on_all_flags():
    """Wilson's interval with Student's quantile in place of the normal one, of as many as are independent."""

    def by_hand(p: float, independent: int, n: int) -> tuple[float, float, float, int]:
        ratio = scipy.stats.t.ppf(0.975, n - 1) ** 2 / independent
        centre, half = p + ratio / 2, math.sqrt(ratio * p * (1 - p) + ratio**2 / 4)
        return p, (centre - half) / (1 + ratio), (centre + half) / (1 + ratio), n

    agreeing, alike = np.repeat([[True], [False]], 5, axis=0) & np.ones((10, 4), bool), np.tile([True, False], (10, 2))
    assert stats.clustered_share(agreeing) == pytest.approx(by_hand(0.5, 10, 10), abs=1e-12)
    assert stats.clustered_share(alike) == pytest.approx(by_hand(0.5, 10, 10), abs=1e-12)  # no spread: the least number
    spread = np.tile([[1, 1, 0, 0], [1, 0, 1, 1], [0, 0, 1, 0], [1, 1, 0, 1]], (5, 1))
    assert stats.clustered_share(spread) == pytest.approx(by_hand(0.5625, 80, 20), rel=0.2)
    assert stats.clustered_share(np.zeros((5, 18))).low == 0 < stats.clustered_share(np.zeros((5, 18))).high


@pytest.mark.parametrize("seeds", [2, 12, 30])
def test_a_mean_has_the_jackknife_errors_of_any_statistic(seeds):
    rng = np.random.default_rng(0)
    arms = {"a": rng.lognormal(size=(seeds, 3)), "b": rng.normal(size=(seeds, 3))}
    in_closed_form = contrast(arms, {"a": 2.0, "b": -2.0})
    by_leaving_out = contrast(arms, {"a": 2.0, "b": -2.0}, lambda x, axis: np.mean(x, axis))
    np.testing.assert_allclose(in_closed_form, by_leaving_out, rtol=1e-12)
