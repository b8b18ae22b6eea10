"""Simulated coverage: nominal 95 % intervals over seeds that are each scored on 18 correlated scenarios, and the tables
of the book's Methods."""

import csv
import math
from collections.abc import Callable

import numpy as np
import pytest

from benchmarks import coverage as measured
from lnlab.analysis import stats
from lnlab.paths import BOOK

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


def test_treating_scenarios_as_replications_would_not_cover(monkeypatch):
    """The control of the tests above: they must fail for the interval that this module is there to avoid."""
    monkeypatch.setattr(stats, "BOOTSTRAP_FROM", 1000)  # the bootstrap takes long, and finds the same
    assert coverage(lambda rng: stats.interval(experiment(rng, 10).ravel()), repetitions=300) < 0.7


def test_shares_of_scenarios_cover():
    assert 0.93 <= coverage(lambda rng: stats.clustered_share(experiment(rng, 30) > 0), 2000, truth=0.5) <= 0.97


# The tables of the book's Methods


def table(name: str) -> list[dict[str, str]]:
    with (BOOK / f"{name}.csv").open(encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("n", [5, 19, 20, 30])
@pytest.mark.parametrize("cell", measured.CELLS[::2], ids=lambda cell: f"{cell.statistic}, {cell.seeds}")
def test_the_table_of_coverage_is_that_of_the_intervals(cell: measured.Cell, n: int) -> None:
    samples = cell.of.draw(np.random.default_rng(n), (4, n))
    samples[0, 1:] = samples[0, 0]  # one odd seed
    samples[1] = samples[1, 0]
    statistic = measured.STATISTICS[cell.statistic]
    low, high = measured.bounds_of(samples, statistic)
    for i, sample in enumerate(samples):
        expected = stats.interval(sample, statistic)[1:3]
        assert (low[i], high[i]) == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("n", [5, 10, 16])
def test_the_table_of_the_test_is_that_of_sign_flips(n: int) -> None:
    differences = np.round(np.random.default_rng(n).normal(size=(5, n)), 1)
    expected = [stats.sign_flip_test(row, np.zeros(n)) for row in differences]
    assert measured.p_values(differences).tolist() == expected


def agree(share: float, printed: str, repetitions: int) -> bool:
    """Whether two simulations, the printed one rounded, differ by no more than four standard errors."""
    p = float(printed)
    spread = max(p * (1 - p), 0.01) * (1 / repetitions + 1 / measured.REPETITIONS)
    return abs(share - p) <= 0.005 + 4 * math.sqrt(spread)


@pytest.mark.parametrize("n", [5, 10])
def test_the_committed_coverage_of_few_seeds_is_measured_again(n: int) -> None:
    """With other samples; intervals that are a fifth too narrow are found out."""
    rows = table("coverage")
    assert [(row["statistic"], row["seeds"]) for row in rows] == [(cell[0], cell[1]) for cell in measured.CELLS]
    for cell, row in zip(measured.CELLS, rows, strict=True):
        share = measured.coverage(cell, n, repetitions=4_000, seed=1)
        assert agree(share, row[f"n = {n}"], 4_000), (cell.statistic, cell.seeds, share)


@pytest.mark.parametrize("row", [0, 7, 24], ids=["mean of normal seeds", "IQM of skewed seeds", "an event"])
def test_the_committed_coverage_of_twenty_seeds_is_measured_again(row: int) -> None:
    share = measured.coverage(measured.CELLS[row], 20, repetitions=300, seed=1)
    assert agree(share, table("coverage")[row]["n = 20"], 300)


def test_the_committed_rejections_are_measured_again() -> None:
    for (name, of), row in zip(measured.DISTRIBUTIONS.items(), table("sign-flip"), strict=True):
        assert row["differences of mean zero"] == name
        assert agree(measured.rejected(of, 10, repetitions=2_000, seed=1), row["n = 10"], 2_000)


def test_the_test_of_arms_rejects_equal_means_of_skewed_differences_and_seldom_symmetric_ones() -> None:
    share = {name: measured.rejected(of, 10, repetitions=2_000) for name, of in measured.DISTRIBUTIONS.items()}
    assert share["normal"] < 0.065
    assert share["skewed (lognormal)"] > 0.1
