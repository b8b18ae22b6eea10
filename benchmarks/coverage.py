"""How often the intervals cover and the test of arms rejects, by simulation: `python -m benchmarks.coverage`.

It writes the tables of the book's Methods, coverage.csv, sign-flip.csv and choice.csv in book/. Intervals are those of
`lnlab.analysis.stats.interval` and p-values those of `sign_flip_test`, computed for many samples at once: the tests
check that they are the same numbers, and that the committed tables can be measured again.
"""

import csv
import math
import sys
from collections.abc import Callable, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
from scipy import integrate, optimize, stats

from lnlab.analysis import stats as ours
from lnlab.analysis.choice import judged_apart
from lnlab.analysis.stats import ROUNDING, Array, iqm, mean, std, worst_decile
from lnlab.paths import BOOK

SEEDS = (5, 10, 20, 30)
REPETITIONS = 2_000  # of each cell: a standard error of .005 where 95 of 100 cover, of .01 where 75 do
FLIPS = 2_000  # random signs where not all are counted
BLOCK = 2**16  # numbers at once, which stay in the cache
SHIFT = 8.0  # standard deviations by which a collapsed seed falls
Draw = Callable[[np.random.Generator, tuple[int, ...]], Array]
Pooled = Callable[..., Array]
Resampled = Callable[[Array], tuple[Array, Array]]  # samples (..., n) to values and jackknife errors (...)


class Seeds(NamedTuple):
    """What the score of a seed is drawn from, and the true value of each statistic."""

    draw: Draw
    truth: dict[Pooled, float]


def normal_or_collapsed(share: float) -> Seeds:
    """Standard normal scores, of which a share lies SHIFT lower."""
    parts = [(1 - share, stats.norm(0)), (share, stats.norm(-SHIFT))]

    def quantile(q: float) -> float:
        return float(optimize.brentq(lambda x: sum(w * part.cdf(x) for w, part in parts) - q, -30, 30))

    def middle(low: float, high: float) -> float:
        """E[x; low < x < high]: of a normal around m it is m P(low < x < high) + pdf(low) - pdf(high)."""
        return sum(
            w * (part.mean() * (part.cdf(high) - part.cdf(low)) + part.pdf(low) - part.pdf(high)) for w, part in parts
        )

    return Seeds(
        lambda rng, shape: rng.normal(size=shape) - SHIFT * (rng.random(shape) < share),
        {
            mean: -SHIFT * share,
            iqm: 2 * middle(quantile(0.25), quantile(0.75)),
            std: math.sqrt(1 + SHIFT**2 * share * (1 - share)),
            worst_decile: 10 * middle(-100, quantile(0.1)),
        },
    )


def continuous(of: stats.rv_continuous, draw: Draw) -> Seeds:
    """Scores of a distribution of scipy's."""
    between = partial(integrate.quad, of.ppf)
    truth = {mean: of.mean(), iqm: 2 * between(0.25, 0.75)[0], std: of.std(), worst_decile: 10 * between(0, 0.1)[0]}
    return Seeds(draw, {statistic: float(value) for statistic, value in truth.items()})


EVENT = Seeds(lambda rng, shape: (rng.random(shape) < 0.1).astype(float), {mean: 0.1})
DISTRIBUTIONS = {
    "normal": normal_or_collapsed(0),
    "skewed (lognormal)": continuous(stats.lognorm(1), lambda rng, shape: rng.lognormal(size=shape)),
    "heavy tails (t, 2.5 degrees of freedom)": continuous(
        stats.t(2.5), lambda rng, shape: rng.standard_t(2.5, size=shape)
    ),
    "1 in 10 collapsed by 8 SD": normal_or_collapsed(0.1),
    "3 in 10 collapsed by 8 SD": normal_or_collapsed(0.3),
    "5 in 10 collapsed by 8 SD": normal_or_collapsed(0.5),
}
STATISTICS: dict[str, Pooled] = {"mean": mean, "IQM": iqm, "SD": std, "worst decile": worst_decile}

CHOICES = {  # true means of one arm's four settings, and of the other's; the best is worth 0 in both
    "all alike in both arms": ([0, 0, 0, 0], [0, 0, 0, 0]),
    "all alike in one, one best by 2 SD in the other": ([0, 0, 0, 0], [0, -2, -4, -6]),
    "two alike in one, one best by 2 SD in the other": ([0, -0.3, -2, -3], [0, -2, -4, -6]),
    "one best by 2 SD in both": ([0, -2, -4, -6], [0, -2, -4, -6]),
}
CHOSEN = ("normal", "skewed (lognormal)", "1 in 10 collapsed by 8 SD")


class Cell(NamedTuple):
    """A line of the table of coverage."""

    statistic: str
    seeds: str
    of: Seeds


CELLS = [Cell(name, seeds, of) for name in STATISTICS for seeds, of in DISTRIBUTIONS.items()] + [
    Cell("mean", "an event (0 or 1) in 1 of 10", EVENT)
]


def coverage(cell: Cell, n: int, repetitions: int = REPETITIONS, seed: int = 0) -> float:
    """Share of nominal 95 % intervals of n seeds that hold the true value."""
    statistic = STATISTICS[cell.statistic]
    samples = cell.of.draw(np.random.default_rng(seed), (repetitions, n))
    low, high = bounds_of(samples, statistic)
    truth = cell.of.truth[statistic]
    return float(np.mean((low <= truth) & (truth <= high)))


def bounds_of(samples: Array, statistic: Pooled) -> tuple[Array, Array]:
    """`interval(sample, statistic)` of each row of (repetitions, n): its bounds, (repetitions,) each."""
    n = samples.shape[1]
    resampled = _resampled(statistic)
    value, error = resampled(samples)
    error = np.where(error <= ROUNDING * np.abs(value), 0.0, error)
    wide = np.maximum(error, _resampled(mean)(samples)[1]) if statistic is iqm else error
    half = ours.student(n) * wide
    low, high = value - half, value + half
    if n >= ours.BOOTSTRAP_FROM:
        t_low, t_high, thin = _studentised(samples, resampled, value, error)
        use = (thin <= ours.FEW_THIN) & (t_low <= -ours.THIN) & (t_high >= ours.THIN)
        low, high = np.where(use, value - t_high * error, low), np.where(use, value - t_low * error, high)
    return low, high


def _studentised(samples: Array, resampled: Resampled, value: Array, error: Array) -> tuple[Array, Array, Array]:
    """Quantiles of (value* - value) / error* over each sample's resamples, and the share with next to no spread."""
    n = samples.shape[1]
    picks = np.random.default_rng(0).integers(n, size=(ours.RESAMPLES, n))
    found = []
    rows = max(1, BLOCK // picks.size)
    for start in range(0, len(samples), rows):
        block = slice(start, start + rows)
        values, errors = resampled(samples[block][:, picks])
        with np.errstate(divide="ignore", invalid="ignore"):
            t = (values - value[block, None]) / errors
        without = errors <= 1e-9 * error[block, None]
        t[without] = np.inf  # after all others, and not counted
        thin = np.mean(~without & (errors < ours.THIN * error[block, None]), axis=1)
        found.append((*_quantiles(np.sort(t, axis=1)), thin))
    t_low, t_high, thin = (np.concatenate(each) for each in zip(*found, strict=True))
    return t_low, t_high, thin


def _quantiles(ordered: Array) -> tuple[Array, Array]:
    """The 2.5 and 97.5 % quantiles of the finite numbers in each row, as np.quantile gives them."""
    last = np.maximum(np.isfinite(ordered).sum(axis=1) - 1, 0)

    def quantile(q: float) -> Array:
        place = q * last
        floor = place.astype(int)
        below, above = (
            np.take_along_axis(ordered, each[:, None], axis=1)[:, 0] for each in (floor, np.minimum(floor + 1, last))
        )
        with np.errstate(invalid="ignore"):
            return below + (place - floor) * (above - below)

    return quantile(0.025), quantile(0.975)


def _resampled(statistic: Pooled) -> Resampled:
    return _spread if statistic is std else partial(_weighted, statistic)


def _weighted(statistic: Pooled, samples: Array) -> tuple[Array, Array]:
    """Of a statistic that weighs the sorted scores: mean, IQM, worst decile."""
    n = samples.shape[-1]
    ordered = np.sort(samples, axis=-1)
    weights = _weights(statistic, n - 1)
    before = np.cumsum(weights * ordered[..., :-1], axis=-1)  # those below the seed left out keep their rank,
    after = np.cumsum((weights * ordered[..., 1:])[..., ::-1], axis=-1)[..., ::-1]  # those above move down by one
    left_out = np.zeros_like(ordered)
    left_out[..., 1:] += before
    left_out[..., :-1] += after
    return ordered @ _weights(statistic, n), _error(left_out)


def _weights(statistic: Pooled, n: int) -> Array:
    """Weight of each sorted score: what the statistic of (0, …, 0, 1, …, 1) loses as a one becomes zero."""
    return -np.diff(statistic(np.triu(np.ones((n, n))), axis=1), append=0.0)


def _spread(samples: Array) -> tuple[Array, Array]:
    """Of the standard deviation."""
    n = samples.shape[-1]
    centred = samples - samples.mean(axis=-1, keepdims=True)
    whole = (centred**2).sum(axis=-1, keepdims=True)
    left_out = np.sqrt(np.maximum(whole - centred**2 * n / (n - 1), 0) / (n - 2))
    return np.sqrt(whole[..., 0] / (n - 1)), _error(left_out)


def _error(left_out: Array) -> Array:
    return np.sqrt((left_out.shape[-1] - 1) * left_out.var(axis=-1))


def rejected(of: Seeds, n: int, repetitions: int = REPETITIONS, seed: int = 0) -> float:
    """Share of sign-flip tests of n seeds' differences of mean zero that call two arms unlike at the level of .05."""
    differences = of.draw(np.random.default_rng(seed), (repetitions, n)) - of.truth[mean]
    return float(np.mean(p_values(differences) < 0.05))


def p_values(differences: Array) -> Array:
    """`sign_flip_test(row, 0, reps=FLIPS)` of each row (repetitions, n)."""
    n = differences.shape[1]
    exact = n <= ours.EXACT_SEEDS
    flips = (
        np.arange(2**n)[:, None] >> np.arange(n) & 1 if exact else np.random.default_rng(0).integers(2, size=(FLIPS, n))
    )
    observed = np.abs(differences.sum(axis=1)) - ROUNDING * np.abs(differences).max(axis=1)
    hits = np.sum(np.abs(differences @ (1 - 2 * flips).T) >= observed[:, None], axis=1)
    return np.asarray(hits / len(flips) if exact else (1 + hits) / (1 + FLIPS))


def missed(levels: str, seeds: str, n: int, repetitions: int = REPETITIONS // 2, *, one_out: bool = False) -> float:
    """Share of nominal 95 % intervals (Student) that miss the difference of two arms, each at its own best setting.

    The setting is chosen by halves of the seeds (`judged_apart`), or with `one_out` on all seeds but the one judged.
    """
    of, rng = DISTRIBUTIONS[seeds], np.random.default_rng(0)
    missing = 0
    for _ in range(repetitions):
        arms = [of.draw(rng, (n, 4)) - of.truth[mean] + np.array(each) for each in CHOICES[levels]]
        x, y = ((_one_out if one_out else judged_apart)(arm) for arm in arms)
        half = ours.student(n) * (x - y).std(ddof=1) / math.sqrt(n)
        missing += abs((x - y).mean()) > half
    return missing / repetitions


def _one_out(scores: Array) -> Array:
    others = scores.sum(axis=0) - scores
    return np.asarray(scores[np.arange(len(scores)), others.argmax(axis=1)])


def tables() -> Iterator[tuple[str, list[list[str]]]]:
    """The name and the lines of each table."""
    lines = [[c.statistic, c.seeds, *(_words(coverage(c, n)) for n in SEEDS)] for c in CELLS]
    yield "coverage", [["statistic", "seeds", *(f"n = {n}" for n in SEEDS)], *lines]
    lines = [[seeds, *(_words(rejected(of, n)) for n in SEEDS[1:])] for seeds, of in DISTRIBUTIONS.items()]
    yield "sign-flip", [["differences of mean zero", *(f"n = {n}" for n in SEEDS[1:])], *lines]
    cells = [(n, one_out) for n in (10, 30) for one_out in (False, True)]
    lines = [
        [levels, seeds, *(_words(missed(levels, seeds, n, one_out=one_out)) for n, one_out in cells)]
        for levels in CHOICES
        for seeds in CHOSEN
    ]
    heads = [f"n = {n}, {'all seeds but one' if one_out else 'halves'}" for n, one_out in cells]
    yield "choice", [["settings", "seeds", *heads], *lines]


def _words(share: float) -> str:
    return f"{share:.2f}".removeprefix("0")


def main() -> int:
    """Measure all and write the tables; some minutes."""
    for name, lines in tables():
        path = BOOK / f"{name}.csv"
        with path.open("w", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(lines)
        print(path)
    return 0


if __name__ == "__main__":
    sys.exit(main())
