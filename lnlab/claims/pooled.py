"""The cells of D2 and D4, and what the two documents compute over them.

A cell is the mean return of one learner at one velocity. D2 and D4 pool the cells of five seeds, nine velocities and,
for Individual, five workers: 45 cells of A3C, 225 of Individual. Their mean, standard deviation, coefficient of
variation and lowest cell are kept here as they define them, for two lists of velocities, but with one divisor, n − 1
(the script of RNN+LN and Neither divided by n, which makes an SD of 45 cells 1.1 % smaller). A seed is reduced to four
numbers from which all of these follow, so that whole seeds can be left out and resampled. The gap is A3C over
Individual in percent.
"""

from collections.abc import Callable

import numpy as np
from scipy.special import comb

from lnlab.analysis.stats import Statistic
from lnlab.claims.studies import Array, Data, paired

BASELINE = (5, 10, 15, 20, 25, 30, 50, 75, 100)  # km/h: D2 and D4, RNN+LN and Neither
ABLATION = (5, 10, 20, 30, 50, 70, 80, 90, 100)  # RNN only, LN only
EVERY = tuple(sorted({*BASELINE, *ABLATION}))  # one list for all, where arms are compared
TESTED = {"gru-ln": BASELINE, "gru-none": ABLATION, "ff-ln": ABLATION, "ff-none": BASELINE}  # by the documents
FIVE = 5  # seeds of a cell in D2 and D4


def common(data: Data, arm: str) -> Array:
    """(n_seeds, 4) of an arm on one list of velocities, where arms are compared."""
    return _summary(data.sweep(arm, EVERY))


def as_printed(data: Data, arm: str) -> Array:
    """(n_seeds, 4) of an arm at the velocities at which its document tested it."""
    return _summary(data.sweep(arm, TESTED[arm.partition("-")[2]]))


def _summary(cells: Array) -> Array:
    """Of a seed's cells: mean, mean of their squares, lowest, number."""
    flat = cells.reshape(len(cells), -1)
    columns = [flat.mean(axis=1), (flat**2).mean(axis=1), flat.min(axis=1), np.full(len(flat), flat.shape[1])]
    return np.stack(columns, axis=1)


def _mean(of: Array) -> Array:
    return np.asarray(of[..., 0].mean(axis=-1))


def _sd(of: Array) -> Array:
    """Of all cells, each counted as a replication, as the documents do."""
    variance = of[..., 1].mean(axis=-1) - _mean(of) ** 2
    count = of[..., 3].sum(axis=-1)
    return np.asarray(np.sqrt(np.maximum(variance, 0) * count / (count - 1)))


def _cv(of: Array) -> Array:
    return _sd(of) / _mean(of)


def _worst_of_five(of: Array) -> Array:
    """The lowest cell to expect of five seeds: the mean over all choices of five, from the seeds in rising order."""
    lowest = np.sort(of[..., 2], axis=-1)
    rest = np.arange(lowest.shape[-1])[::-1]  # how many seeds are not lower
    weights = comb(rest, FIVE - 1) if len(rest) >= FIVE else rest == len(rest) - 1
    return np.asarray((lowest * weights).sum(axis=-1) / weights.sum())


def _of_seeds(columns: int, quantity: Callable[[Array], Array]) -> Statistic:
    """A quantity of (..., n_seeds, columns) as a statistic of pooled values, as np.mean is."""

    def statistic(values: Array, axis: int | None = None) -> Array:
        return quantity(values.reshape(*(values.shape[:-1] if axis is not None else ()), -1, columns))

    return statistic


STATISTICS: dict[str, Statistic] = {
    "mean": _of_seeds(4, _mean),
    "sd": _of_seeds(4, _sd),
    "cv": _of_seeds(4, _cv),
    "log_cv": _of_seeds(4, lambda of: np.log(_cv(of))),
    "worst_of_five": _of_seeds(4, _worst_of_five),
}
gap = _of_seeds(2, lambda of: 100 * (_mean(of) / np.asarray(of[..., 1].mean(axis=-1)) - 1))


def both(values: Callable[[Data, str], Array]) -> Callable[[Data, str], Array]:
    """(n_seeds, 2) what is measured of an arm of A3C, and of the arm of Individual learners of the same name."""
    return lambda data, arm: np.stack(
        paired(values(data, arm), values(data, arm.replace("a3c-", "individual-"))), axis=1
    )
