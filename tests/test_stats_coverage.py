"""Simulated coverage: nominal 95 % intervals over seeds that are each scored on 18 correlated scenarios."""

from collections.abc import Callable

import numpy as np
import pytest

from lnlab.analysis import stats

SCENARIOS = 18
SHARED = 0.5  # share of the variance owed to the seed (intraclass correlation)


def experiment(rng: np.random.Generator, seeds: int) -> np.ndarray:
    """Standard normal scores (seeds, SCENARIOS) of true mean and true IQM zero."""
    of_seed = rng.normal(size=(seeds, 1))
    return np.sqrt(SHARED) * of_seed + np.sqrt(1 - SHARED) * rng.normal(size=(seeds, SCENARIOS))


def coverage(make: Callable[[np.random.Generator], stats.Interval], repetitions: int, truth: float = 0.0) -> float:
    rng = np.random.default_rng(0)
    intervals = [make(rng) for _ in range(repetitions)]
    return float(np.mean([i.low <= truth <= i.high for i in intervals]))


@pytest.mark.parametrize("statistic", [np.mean, stats.iqm])
@pytest.mark.parametrize("seeds", [5, 10])
def test_intervals_of_few_seeds_cover(seeds, statistic):
    share = coverage(lambda rng: stats.interval(experiment(rng, seeds), statistic), repetitions=3000)
    assert 0.93 <= share <= 0.97


@pytest.mark.parametrize(("statistic", "repetitions", "reps"), [(np.mean, 1500, 400), (stats.iqm, 600, 200)])
def test_intervals_of_thirty_seeds_cover(statistic, repetitions, reps):
    def make(rng: np.random.Generator) -> stats.Interval:
        return stats.cluster_bootstrap(experiment(rng, 30), statistic, rng, reps)

    assert 0.93 <= coverage(make, repetitions) <= 0.97


def test_treating_scenarios_as_replications_would_not_cover():
    """The control of the tests above: they must fail for the interval that this module is there to avoid."""
    share = coverage(lambda rng: stats.jackknife_t(experiment(rng, 10).ravel()), repetitions=300)
    assert share < 0.7


def test_the_spread_of_thirty_seeds_is_covered():
    def make(rng: np.random.Generator) -> stats.Interval:
        return stats.cluster_bootstrap(rng.normal(size=30), stats.std, rng, 300)

    assert 0.92 <= coverage(make, 800, truth=1.0) <= 0.98


@pytest.mark.parametrize("statistic", [np.mean, stats.iqm])
def test_paired_differences_cover(statistic):
    def make(rng: np.random.Generator) -> stats.Interval:
        common = rng.normal(size=(10, 1))
        return stats.paired_difference(common + experiment(rng, 10), common + experiment(rng, 10), statistic)

    assert 0.93 <= coverage(make, repetitions=3000) <= 0.97


@pytest.mark.parametrize("seeds", [5, 10, 30])
def test_probability_of_improvement_covers(seeds):
    def make(rng: np.random.Generator) -> stats.Interval:
        return stats.probability_of_improvement(experiment(rng, seeds) + 0.5, experiment(rng, seeds))

    truth = 0.6381632  # P(a + 0.5 > b) for standard normal scores: Phi(0.5 / sqrt(2))
    assert 0.93 <= coverage(make, 2000, truth) <= 0.97


def test_performance_profiles_cover():
    def make(rng: np.random.Generator) -> stats.Interval:
        profile = stats.performance_profile(experiment(rng, 30), [0.0])
        return stats.Interval(profile.share[0], profile.low[0], profile.high[0], profile.n)

    assert 0.93 <= coverage(make, 2000, truth=0.5) <= 0.97
