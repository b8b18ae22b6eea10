"""Intervals with the seed as the unit of replication.

One trained seed scored on many scenarios is one replication, not many: scores have shape (n_seeds, ...) and whole seeds
are left out or resampled. Checked against Student's t, the jackknife by hand, and simulated coverage.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import special

from lnlab.analysis.descriptive import ROUNDING, Array, iqm, mean

Statistic = Callable[..., Any]  # statistic(values, axis=...), as np.mean: pools the values along the axis
Bounds = tuple[float, float]  # the least and the largest value that a quantity can have

BOOTSTRAP_FROM = 20  # seeds; below, studentised resamples are erratic and the jackknife covers as well
THIN = 0.05  # a resample has next to no spread if its standard error is below this part of that of all seeds,
FEW_THIN = 0.025  # and cannot be studentised: with more such resamples a quantile of 95 % would be made of them
BLOCK = 2**18  # values resampled at once: 2 MiB, which stays in the cache


class Interval(NamedTuple):
    """An estimate with its interval; `low` and `high` are NaN where one seed leaves the spread unknown.

    Prints as many digits as the interval supports; a format such as `.2f` sets them.

    >>> print(Interval(12.3, 10.1, 14.5, 30))
    12.3 [10.1, 14.5] (n=30)
    >>> f"{Interval(12.3, 10.1, 14.5, 30):.2f}"
    '12.30 [10.10, 14.50] (n=30)'
    """

    estimate: float
    low: float
    high: float
    n: int  # seeds, or pairs of seeds

    def __str__(self) -> str:
        return format(self, f".{self._decimals()}f")

    def __format__(self, spec: str) -> str:
        if not spec:
            return str(self)
        return f"{self.estimate:{spec}} [{self.low:{spec}}, {self.high:{spec}}] (n={self.n})"

    def _decimals(self) -> int:
        """Two significant digits of the half-width; without a width, three of the estimate."""
        half = (self.high - self.low) / 2
        scale = half if half > 0 else abs(self.estimate) / 10  # NaN > 0 is false
        return min(max(0, 1 - math.floor(math.log10(scale))), 12) if scale > 0 and math.isfinite(scale) else 1


def interval(
    scores: ArrayLike,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
    *,
    bounds: Bounds | None = None,
) -> Interval:
    """Interval of a statistic of the scores (n_seeds, ...): jackknife-t below 20 seeds, bootstrap-t from 20 on.

    The statistic pools the scores of all seeds and scenarios. One about seeds (std, cv, worst_decile) wants one score
    per seed: average over the scenarios first. `rng` defaults to a fixed seed: same scores, same interval. `bounds`
    are the least and the largest value that the statistic can have, such as (0, 1) for a share: the interval stays
    within, and equal scores have Wilson's for as many events, not one without width (see `estimate`).

    How often it covers is measured for normal, skewed, heavy-tailed and collapsing seeds by `python -m
    benchmarks.coverage`; the table stands in the book's Methods. With few seeds of which some may collapse no interval
    covers as promised: seeds that did not collapse say nothing of those that will. There an IQM has the wider of its
    own interval and that of the mean around it, since it trims away the collapsed seeds of a few.

    Raises:
        ValueError: no score, a score that is not finite (give a diverged seed its score first), a confidence outside
            (0, 1), or an estimate outside the bounds.

    >>> print(interval([1, 1, 1, 1, 1], bounds=(0, 1)))
    1.00 [0.57, 1.00] (n=5)
    """
    return estimate(Combination.of([checked(scores)], [1.0], statistic), confidence, rng, bounds)


def jackknife_t(scores: ArrayLike, statistic: Statistic = np.mean, confidence: float = 0.95) -> Interval:
    """theta +- t(n - 1) se, se^2 = (n - 1) / n sum_i (theta_i - mean theta_.)^2, theta_i without seed i (Tukey 1958).

    For the mean this is Student's interval of the seed means. Percentiles want another: their jackknife variance is
    inconsistent.
    """
    return _jackknife_t(Combination.of([checked(scores)], [1.0], statistic), confidence)


def prediction(scores: ArrayLike, runs: int = 1, confidence: float = 0.95) -> Interval:
    """The interval for the mean of `runs` new seeds, of a normal: mean ± t(n − 1) s √(1/n + 1/runs).

    Args:
        scores: (n_seeds,), finite, two at least.
    """
    values = checked(scores)
    n, middle = len(values), float(values.mean())
    half = student(n, confidence) * float(values.std(ddof=1)) * math.sqrt(1 / n + 1 / runs)
    return Interval(middle, middle - half, middle + half, n)


def cluster_bootstrap(
    scores: ArrayLike,
    statistic: Statistic = np.mean,
    rng: np.random.Generator | None = None,
    reps: int = 2_000,
    confidence: float = 0.95,
) -> Interval:
    """Bootstrap-t over seeds: theta - t*(1 - a/2) se to theta - t*(a/2) se (Efron & Tibshirani 1993, section 12.5).

    t*(q) is a quantile of (theta* - theta) / se* over the resamples; se and se* come from the jackknife over seeds.
    Resamples without any spread are left out. From 20 seeds on it is the jackknife-t interval where the resamples fail:
    of nineteen zeros and a one a bound would be the estimate itself, and with a little noise on the zeros it would be
    made of resamples with next to no spread, and could be anything.
    A statistic that is undefined (NaN) on some resample has no interval: its bounds are NaN.
    """
    return _bootstrap_t(Combination.of([checked(scores)], [1.0], statistic), confidence, rng, reps)


class Combination(NamedTuple):
    """sum over arms of weight * statistic(scores), where row i of every arm is the same seed."""

    arms: list[Array]  # each (n_seeds, ...)
    weights: list[float]
    statistic: Statistic

    @classmethod
    def of(cls, arms: Sequence[Array], weights: Sequence[float], statistic: Statistic) -> "Combination":
        if statistic in (np.mean, mean):  # the mean of the seeds' means: the same number, sooner
            arms = [arm.reshape(len(arm), -1).mean(axis=1) for arm in arms]
        return cls(list(arms), list(weights), statistic)

    def at(self, seeds: NDArray[np.int64]) -> Array:
        """Its value with the seeds of each row (reps, m), repeated as they are: (reps,)."""
        values = [self.statistic(arm[seeds].reshape(len(seeds), -1), axis=-1) for arm in self.arms]
        return np.asarray(np.tensordot(self.weights, values, axes=1))


def estimate(
    of: Combination, confidence: float, rng: np.random.Generator | None, bounds: Bounds | None = None
) -> Interval:
    """As `interval`, of a combination of arms; `bounds` are those of the combination."""
    few = len(of.arms[0]) < BOOTSTRAP_FROM
    found = _jackknife_t(of, confidence, cautious=True) if few else _bootstrap_t(of, confidence, rng)
    return found if bounds is None else _within(found, bounds, confidence)


def _within(found: Interval, bounds: Bounds, confidence: float) -> Interval:
    """The interval cut to the bounds; of equal scores Wilson's for as many events, the widest a spread can be."""
    low, high = bounds
    slack = 1e-9 * (high - low)
    if not low - slack <= found.estimate <= high + slack:
        raise ValueError(f"an estimate of {found.estimate:g} lies outside the bounds {bounds}")
    value, least, most = np.clip(found[:3], low, high).tolist()
    if least == most:
        share = (value - low) / (high - low)
        least, most = low + (high - low) * np.array(
            score_interval(share, 0, normal(confidence), fewest=found.n, most=found.n)
        )
    return Interval(value, float(least), float(most), found.n)


def score_interval(share: ArrayLike, error: ArrayLike, quantile: float, fewest: float, most: float) -> tuple[Any, Any]:
    """Wilson's interval of a share whose standard error is known, for share (1 - share) / error^2 independent scores.

    Their effective number is held between `fewest` and `most`; where the error is zero it is `fewest`, so that the
    interval keeps its width at 0 and 1 (modified Wilson interval for clustered shares, Dean & Pagano 2015).
    """
    p, variance = np.asarray(share, dtype=float), np.square(np.asarray(error, dtype=float))
    number = np.divide(p * (1 - p), variance, out=np.full(p.shape, float(fewest)), where=variance > 0)
    ratio = quantile**2 / np.clip(number, fewest, most)
    centre = (p + ratio / 2) / (1 + ratio)
    half = np.sqrt(ratio * p * (1 - p) + ratio**2 / 4) / (1 + ratio)
    return np.maximum(centre - half, 0.0), np.minimum(centre + half, 1.0)


def _jackknife_t(of: Combination, confidence: float, *, cautious: bool = False) -> Interval:
    """`cautious` takes the mean's error for an IQM if it is larger: seeds trimmed away leave none of their own."""
    n, value, error = _whole(of)
    if cautious and of.statistic is iqm:
        error = max(error, _whole(Combination.of(of.arms, of.weights, mean))[2])
    half = student(n, confidence) * error
    return Interval(value, value - half, value + half, n)


def _bootstrap_t(of: Combination, confidence: float, rng: np.random.Generator | None, reps: int = 2_000) -> Interval:
    n, value, error = _whole(of)
    tail = _tail(confidence)
    if not error > 0:  # equal scores, or one seed: then the error is NaN
        return Interval(value, value + error, value + error, n)
    rng = np.random.default_rng(0) if rng is None else rng
    values, errors = _with_errors(of, rng.integers(n, size=(reps, n)))
    spread = ~(errors <= 1e-9 * error)  # a resample that repeats one seed has nothing to studentise with; NaN stays
    t_low, t_high = np.quantile((values[spread] - value) / errors[spread], [tail, 1 - tail])
    thin = np.mean(spread & (errors < THIN * error)) > FEW_THIN
    if n >= BOOTSTRAP_FROM and (thin or t_low > -THIN or t_high < THIN):  # the latter: no room on one side
        return _jackknife_t(of, confidence, cautious=True)
    return Interval(value, float(value - t_high * error), float(value - t_low * error), n)


def _whole(of: Combination) -> tuple[int, float, float]:
    """Number of seeds, value and jackknife standard error of all the seeds; an error that is rounding is zero."""
    n = len(of.arms[0])
    value, error = _with_errors(of, np.arange(n)[None])
    parts = [w * of.statistic(arm.reshape(1, -1), axis=-1).item() for arm, w in zip(of.arms, of.weights, strict=True)]
    return n, value.item(), 0.0 if error.item() <= ROUNDING * max(map(abs, parts)) else error.item()


def _with_errors(of: Combination, seeds: NDArray[np.int64]) -> tuple[Array, Array]:
    """The value and its jackknife standard error (NaN for one seed) for each row of seeds (reps, n)."""
    rows = max(1, BLOCK // (seeds.shape[1] * of.arms[0].size))
    blocks = [seeds[start : start + rows] for start in range(0, len(seeds), rows)]
    return np.concatenate([of.at(block) for block in blocks]), np.concatenate([_errors(of, block) for block in blocks])


def _errors(of: Combination, seeds: NDArray[np.int64]) -> Array:
    reps, n = seeds.shape
    if n == 1:
        return np.full(reps, np.nan)
    others = np.arange(n - 1) + (np.arange(n - 1) >= np.arange(n)[:, None])  # (n, n - 1): row i leaves place i out
    seeds = np.sort(seeds, axis=1)
    distinct = np.diff(seeds, axis=1, prepend=-1) > 0  # (reps, n): leaving out any copy of a seed gives the same
    row, place = np.nonzero(distinct)
    left_out = of.at(seeds[row[:, None], others[place]])
    return np.asarray(np.sqrt((n - 1) * left_out[np.cumsum(distinct) - 1].reshape(reps, n).var(axis=1)))


def _tail(confidence: float) -> float:
    """Probability left out on each side."""
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie in (0, 1), such as 0.95; got {confidence}")
    return (1 - confidence) / 2


def normal(confidence: float) -> float:
    """Two-sided quantile of the normal distribution."""
    return float(-special.ndtri(_tail(confidence)))


def student(n: int, confidence: float) -> float:
    """Two-sided quantile of Student's t with n - 1 degrees of freedom; NaN for one seed."""
    tail = _tail(confidence)
    return float(-special.stdtrit(n - 1, tail)) if n > 1 else math.nan


def checked(scores: ArrayLike, what: str = "scores") -> Array:
    """The scores as floats (n_seeds, ...), refused if there is none or one is not finite."""
    values = np.asarray(scores, dtype=float)
    if values.ndim == 0 or values.size == 0:
        raise ValueError(f"{what} must have shape (n_seeds, ...) with at least one score; got shape {values.shape}")
    bad = np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if bad.size:
        raise ValueError(f"{what} are not finite in rows {bad.tolist()}; give a diverged seed its score first")
    return values
