"""The cells of D2 and D4, and what the two documents compute over them.

A cell is the mean return of one learner at one velocity. D2 and D4 pool the cells of five seeds, nine velocities and,
for Individual, five workers: 45 cells of A3C, 225 of Individual. Their mean, standard deviation, coefficient of
variation and lowest cell are kept here as they define them, for two lists of velocities, but with one divisor, n − 1
(the script of RNN+LN and Neither divided by n, which makes an SD of 45 cells 1.1 % smaller). A seed is reduced to four
numbers from which all of these follow, so that whole seeds can be left out and resampled.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lnlab.analysis.claims import Number
from lnlab.analysis.stats import Interval, interval
from lnlab.report.evidence import Data

Array = NDArray[np.float64]
Summary = Array  # (..., seeds, 4): mean of a seed's cells, of their squares, lowest cell, number of cells
Quantity = Callable[..., Array]  # of one summary or more (..., seeds, 4), to (...)

BASELINE = (5, 10, 15, 20, 25, 30, 50, 75, 100)  # km/h: D2 and D4, RNN+LN and Neither
ABLATION = (5, 10, 20, 30, 50, 70, 80, 90, 100)  # RNN only, LN only
EVERY = tuple(sorted({*BASELINE, *ABLATION}))  # one list for all, where arms are compared
RUNS = 5  # seeds behind each cell of the documents' matrix
REPS = 4000  # repetitions of a document's experiment, drawn from our seeds
WHO = {"a3c": "a3c", "ind": "individual"}
NAME = {"a3c": "A3C", "ind": "Individual"}


class Cell(NamedTuple):
    """A configuration of the 2×2 matrix, and how its document summarised it."""

    name: str
    core: str
    norm: str
    velocities: tuple[int, ...]


MATRIX = {
    "both": Cell("RNN+LN", "gru", "ln", BASELINE),
    "rnn": Cell("RNN only", "gru", "none", ABLATION),
    "ln": Cell("LN only", "ff", "ln", ABLATION),
    "neither": Cell("Neither", "ff", "none", BASELINE),
}


def arm(who: str, cell: str) -> str:
    """Run id of A3C or Individual in a configuration.

    >>> arm("ind", "both")
    'individual-gru-ln'
    """
    return f"{WHO[who]}-{MATRIX[cell].core}-{MATRIX[cell].norm}"


def cells(
    data: Data, who: str, cell: str, velocities: tuple[int, ...] = EVERY, mode: str = "greedy", cloud: str = "budget"
) -> Array:
    """(n_seeds, n_velocities, n_learners) mean returns; A3C has one learner."""
    flat = data.sweep(arm(who, cell), velocities, mode, cloud, per_worker=True)
    return flat.reshape(len(flat), len(velocities), -1)


def seed_means(data: Data, who: str, cell: str, mode: str = "sampled", cloud: str = "budget") -> Array:
    """(n_seeds,) mean return over all velocities and learners."""
    return cells(data, who, cell, EVERY, mode, cloud).mean(axis=(1, 2))


def worst_learner_cells(values: Array) -> Array:
    """(n_seeds,) lowest velocity of a learner, mean over a seed's learners: the same number of cells for every arm.

    >>> worst_learner_cells(np.array([[[1.0, 4.0], [3.0, 2.0]]])).tolist()  # lowest 1 and 2
    [1.5]
    """
    return np.asarray(values.min(axis=1).mean(axis=1))


def summary(values: Array) -> Summary:
    """(n_seeds, 4) of cells (n_seeds, ...)."""
    flat = values.reshape(len(values), -1)
    columns = [flat.mean(axis=1), (flat**2).mean(axis=1), flat.min(axis=1), np.full(len(flat), flat.shape[1])]
    return np.stack(columns, axis=1)


def mean(of: Summary) -> Array:
    """Mean of all cells."""
    return np.asarray(of[..., 0].mean(axis=-1))


def std(of: Summary) -> Array:
    """Standard deviation (divisor n − 1) of all cells, each counted as a replication, as the documents do."""
    variance = of[..., 1].mean(axis=-1) - mean(of) ** 2
    count = of[..., 3].sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(variance, 0) * count / (count - 1)))


def cv(of: Summary) -> Array:
    """Coefficient of variation of all cells."""
    return std(of) / mean(of)


def worst(of: Summary) -> Array:
    """The lowest cell."""
    return np.asarray(of[..., 2].min(axis=-1))


def gap(a3c: Summary, ind: Summary) -> Array:
    """A3C over Individual, percent."""
    return 100 * (mean(a3c) / mean(ind) - 1)


def paired(*arms: Array) -> list[Array]:
    """The arms over the seeds that all of them have: rows are seeds in rising order, from the same first one."""
    shared = min(map(len, arms))
    return [each[:shared] for each in arms]


def counted(seeds: Iterable[int]) -> str:
    """How many seeds, for a caption.

    >>> counted([30, 10, 30])
    '10 to 30'
    """
    fewest, most = min(seeds := list(seeds), default=0), max(seeds, default=0)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def found(quantity: Quantity, *arms: Summary) -> Interval:
    """A quantity of one or several arms over the seeds they share, with its 95 % interval; whole seeds are resampled in
    all arms alike."""
    arms = tuple(paired(*arms))
    packed, width = np.concatenate(arms, axis=1), arms[0].shape[1]

    def statistic(values: Array, axis: int | None = None) -> Array:
        rows = values.reshape(*values.shape[:-1], -1, packed.shape[1])
        return quantity(*(rows[..., start : start + width] for start in range(0, packed.shape[1], width)))

    return interval(packed, statistic)


def percent(quantity: Quantity, new: Summary, old: Summary) -> Interval:
    """100 (quantity(new) / quantity(old) − 1) with its interval; the quantity is positive."""
    return excess(lambda a, b: quantity(a) / quantity(b), new, old)


def excess(ratio: Quantity, *arms: Summary) -> Interval:
    """100 (ratio − 1) with the interval of the ratio's logarithm, never below −100 %; unknown where a ratio is zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = found(lambda *each: np.log(ratio(*each)), *arms)
        estimate, low, high = (float(100 * np.expm1(value)) for value in logarithm[:3])
    known = np.isfinite(low) and np.isfinite(high)
    return Interval(estimate, low if known else np.nan, high if known else np.nan, logarithm.n)


def positive(scores: Array, statistic: Callable[..., Array]) -> Interval:
    """A positive statistic of seeds, such as their SD, with the interval of its logarithm: no bound below zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logarithm = interval(scores, lambda values, axis=None: np.log(statistic(values, axis=axis)))
        estimate, low, high = (float(np.exp(value)) for value in logarithm[:3])
    known = np.isfinite(low) and np.isfinite(high)
    return Interval(estimate, low if known else np.nan, high if known else np.nan, logarithm.n)


def alone(value: float, seeds: int) -> Interval:
    """A number without an interval: none of its kind holds, as for a minimum."""
    return Interval(float(value), np.nan, np.nan, seeds)


def repeated(
    what: str, printed: float, quantity: Quantity, *arms: Summary, ours: Interval | None = None, runs: int = RUNS
) -> Number:
    """A printed quantity of `runs` pooled seeds beside the same quantity of new experiments with as many seeds.

    Such an experiment is drawn from a resample of our seeds, so that the 95 % range holds the uncertainty of ours too.
    A mean has a closed form instead, `lnlab.analysis.claims.number`.
    """
    arms = tuple(paired(*arms))
    n = len(arms[0])
    rng = np.random.default_rng(0)
    population = rng.integers(n, size=(REPS, n))
    seeds = np.take_along_axis(population, rng.integers(n, size=(REPS, runs)), axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        values = quantity(*(each[seeds] for each in arms))
    low, high = np.quantile(values, [0.025, 0.975], method="nearest")
    return Number(what, printed, found(quantity, *arms) if ours is None else ours, float(low), float(high), runs)
