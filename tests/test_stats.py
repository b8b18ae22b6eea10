"""Statistics: hand arithmetic, agreement with scipy and with rliable's published formulas, refusals."""

import math

import numpy as np
import pytest
import scipy.stats

from lnlab.analysis import stats

NAN = float("nan")


def scores(seeds: int, scenarios: int, seed: int = 0, shift: float = 0.0) -> np.ndarray:
    """Scores of seeds on scenarios with half of their variance owed to the seed."""
    rng = np.random.default_rng(seed)
    return 10 + shift + rng.normal(size=(seeds, 1)) + rng.normal(size=(seeds, scenarios))


# An estimate and how it prints


@pytest.mark.parametrize(
    ("interval", "text"),
    [
        (stats.Interval(12.3, 10.1, 14.5, 30), "12.3 [10.1, 14.5] (n=30)"),
        (stats.Interval(1234.5, 1000.0, 1500.0, 5), "1234 [1000, 1500] (n=5)"),
        (stats.Interval(12.34, NAN, NAN, 1), "12.3 [nan, nan] (n=1)"),
        (stats.Interval(0.0, 0.0, 0.0, 30), "0.0 [0.0, 0.0] (n=30)"),
    ],
)
def test_an_interval_prints_as_many_digits_as_it_supports(interval, text):
    assert str(interval) == f"{interval}" == text


# Centre, spread and tail


@pytest.mark.parametrize("size", [1, 2, 3, 4, 5, 23])
def test_iqm_is_scipys_trimmed_mean(size):
    values = np.random.default_rng(size).normal(size=(3, size))
    np.testing.assert_allclose(stats.iqm(values, axis=1), scipy.stats.trim_mean(values, 0.25, axis=1))
    np.testing.assert_allclose(stats.iqm(values), scipy.stats.trim_mean(values, 0.25, axis=None))
    np.testing.assert_allclose(stats.iqm(values, axis=0), scipy.stats.trim_mean(values, 0.25, axis=0))


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
    with pytest.raises(ValueError, match="lowest=3, highest=3"):
        stats.min_max_ipr90([1.0, 2.0], lowest=3, highest=3)


# Intervals over seeds


def test_jackknife_t_of_the_mean_is_students_interval_of_the_seed_means():
    x = scores(7, 18)
    expected = scipy.stats.ttest_1samp(x.mean(axis=1), 0).confidence_interval(0.9)
    result = stats.jackknife_t(x, np.mean, confidence=0.9)
    assert result == pytest.approx((x.mean(), expected.low, expected.high, 7))


def test_jackknife_t_of_the_iqm_leaves_out_one_seed_at_a_time():
    x = scores(6, 4)
    without = [scipy.stats.trim_mean(np.delete(x, seed, axis=0), 0.25, axis=None) for seed in range(6)]
    error = math.sqrt(5 / 6 * sum((value - np.mean(without)) ** 2 for value in without))
    half = scipy.stats.t.ppf(0.975, df=5) * error
    whole = scipy.stats.trim_mean(x, 0.25, axis=None)
    assert stats.jackknife_t(x, stats.iqm) == pytest.approx((whole, whole - half, whole + half, 6))


@pytest.mark.parametrize("statistic", [np.mean, stats.iqm])
def test_bootstrap_t_is_its_formula_written_out(statistic):
    x, reps = scores(5, 3), 300
    rng = np.random.default_rng(4)

    def error(sample):
        without = [statistic(np.delete(sample, seed, axis=0), axis=None) for seed in range(5)]
        return math.sqrt(4 / 5 * np.sum((without - np.mean(without)) ** 2))

    resamples = [x[row] for row in rng.integers(5, size=(reps, 5))]
    whole, se = statistic(x, axis=None), error(x)
    t = [(statistic(s, axis=None) - whole) / error(s) for s in resamples if error(s) > 1e-9]
    low, high = whole - np.quantile(t, [0.975, 0.025]) * se
    result = stats.cluster_bootstrap(x, statistic, np.random.default_rng(4), reps)
    assert result == pytest.approx((whole, low, high, 5))


def test_the_method_changes_at_20_seeds():
    x = scores(20, 2)
    assert stats.interval(x[:19], stats.iqm) == stats.jackknife_t(x[:19], stats.iqm)
    assert stats.interval(x, stats.iqm) == stats.cluster_bootstrap(x, stats.iqm)  # the same scores, the same interval
    here = np.array(stats.interval(x, stats.iqm)[:3])
    assert stats.interval(20 * x - 3, stats.iqm)[:3] == pytest.approx(20 * here - 3)


def test_scenarios_are_not_replications():
    """Copies of the scenarios add nothing, copies of the seeds do."""
    x = scores(30, 3)
    once = stats.interval(x)
    assert stats.interval(np.tile(x, (1, 6))) == pytest.approx(once)
    more = stats.interval(np.tile(x, (6, 1)))
    assert more.high - more.low < 0.5 * (once.high - once.low)


@pytest.mark.parametrize("method", [stats.interval, stats.jackknife_t, stats.cluster_bootstrap])
def test_one_seed_has_an_estimate_and_no_interval_and_equal_seeds_one_without_width(method):
    np.testing.assert_equal(method([[1.0, 2.0, 3.0]]), (2.0, NAN, NAN, 1))
    assert method(np.full((24, 3), 2.5)) == (2.5, 2.5, 2.5, 24)


# Where an interval degrades: seeds without spread, bounded quantities, few seeds


@pytest.mark.parametrize("noise", [0.0, 1e-9, 1e-3, 0.02, 0.1])
def test_one_odd_seed_of_twenty_neither_makes_nor_takes_the_whole_interval(noise):
    """Resamples without it have next to no spread: studentised, they gave the estimate or tens of thousands."""
    x = np.eye(20)[0] + noise * np.random.default_rng(0).normal(size=20)
    found = stats.interval(x)
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
    assert stats.interval(x) == pytest.approx((x.mean(), low, high, zeros + ones))
    assert stats.interval(x) != stats.jackknife_t(x)


def test_bounds_cut_an_interval_and_leave_others_alone():
    x = np.array([0.0, 0.0, 0.0, 0.5, 1.0])
    plain = stats.interval(x)
    assert plain.low < 0
    assert stats.interval(x, bounds=(0, 1)) == (plain.estimate, 0.0, plain.high, 5)
    y = 0.5 + 0.01 * np.arange(5)
    assert stats.interval(y, bounds=(0, 1)) == stats.interval(y)
    assert stats.interval(100 * x, bounds=(0, 100))[1:3] == pytest.approx((0.0, 100 * plain.high))


@pytest.mark.parametrize(("n", "k"), [(5, 0), (30, 1)])
def test_equal_bounded_scores_have_wilsons_interval(n, k):
    wilson = stats.wilson(k * n, n)
    assert stats.interval(np.full((n, 3), float(k)), bounds=(0, 1)) == pytest.approx(wilson)
    assert stats.interval([100.0 * k] * n, bounds=(0, 100))[:3] == pytest.approx([100 * each for each in wilson[:3]])
    assert np.ptp(stats.interval([0.25] * n, bounds=(0, 1))[1:3]) > 0
    assert stats.clopper_pearson(k * n, n).low <= wilson.low


@pytest.mark.parametrize(("value", "bounds"), [(57.0, (0, 1)), (0.5, (NAN, 1))])
def test_an_estimate_outside_its_bounds_is_refused(value, bounds):
    with pytest.raises(ValueError, match=rf"{value:g} lies outside the bounds"):
        stats.interval([value] * 5, bounds=bounds)


def test_scores_that_differ_by_rounding_are_equal():
    x = [0.3, 0.1 + 0.2, 0.3, 0.3, 0.3]
    low, high = stats.interval(x)[1:3]
    assert low == high
    assert stats.interval(x, bounds=(0, 1))[1:3] == pytest.approx(stats.interval([0.3] * 5, bounds=(0, 1))[1:3])
    assert np.ptp(stats.paired_difference(x, [0.3] * 5)[1:3]) == 0
    tiny = 1e-9 * np.arange(5)
    assert np.ptp(stats.interval(0.3 + tiny)[1:3]) > 0  # which is no rounding


def test_an_iqm_of_few_seeds_does_not_lose_the_one_that_it_trims_away():
    x = [0.0, 0.1, 0.2, 0.3, -8.0]
    found, mean = stats.interval(x, stats.iqm), stats.interval(x)
    assert stats.jackknife_t(x, stats.iqm).low > -0.2
    assert found.estimate == pytest.approx(0.1)  # its own
    assert found.high - found.low == pytest.approx(mean.high - mean.low)


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # NumPy's, of the logarithm of what is not positive
def test_a_statistic_undefined_on_some_resamples_has_no_interval():
    x = np.array([-3.0] * 8 + [3.0] * 17)  # mean 1.08, but negative in one resample of thirty
    result = stats.interval(x, lambda values, axis: np.log(np.mean(values, axis=axis)))
    assert result.estimate == pytest.approx(math.log(1.08))
    assert math.isnan(result.low)
    assert math.isnan(result.high)


def test_a_diverged_seed_without_a_failure_score_is_refused():
    x = scores(5, 2)
    x[3, 1] = math.inf
    for method in (stats.interval, stats.jackknife_t, stats.cluster_bootstrap):
        with pytest.raises(ValueError, match=r"rows \[3\].*its score first"):
            method(x)
    with pytest.raises(ValueError, match=r"arm 'ln' are not finite in rows \[3\]"):
        stats.contrast({"ln": x, "none": scores(5, 2)}, {"ln": 1, "none": -1})


def test_a_confidence_is_a_probability_and_no_scores_are_refused():
    for seeds, confidence in ((1, 0.0), (5, 95), (25, 1.0)):
        with pytest.raises(ValueError, match=rf"\(0, 1\).*got {confidence}"):
            stats.interval(scores(seeds, 2), confidence=confidence)
    with pytest.raises(ValueError, match="shape"):
        stats.interval([])


# rliable's metrics (Agarwal et al. 2021), written from their definitions
