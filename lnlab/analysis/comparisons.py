"""Comparisons of arms: effect sizes with intervals, paired tests, contrasts, correction for many tests.

Arms are paired by seed: row i of every array is the same seed (the same environment streams, the same draws). Checked
against scipy (permutation_test), hand arithmetic and simulated coverage.
"""

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lnlab.analysis.descriptive import ROUNDING, Array
from lnlab.analysis.intervals import Bounds, Combination, Interval, Statistic, checked, estimate

EXACT_SEEDS = 16  # up to here all 2^n sign patterns are counted


def contrast(
    scores_by_arm: Mapping[str, ArrayLike],
    weights: Mapping[str, float],
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
    *,
    bounds: Bounds | None = None,
) -> Interval:
    """sum over arms of weight * statistic(scores of the arm), with its interval over seeds resampled in all arms alike.

    Scores are (n_seeds, ...), one shape for every arm; arms without a weight are left out. The weights add up to zero.
    With a statistic `lambda x, axis: np.log(np.mean(x, axis))` the exponential of the result is a ratio of means.
    `bounds` are the least and the largest value of the result, such as (-1, 1) for a difference of shares (`interval`).

    Raises:
        ValueError: an arm is unknown or has another shape, the weights do not add up to zero, a score is not finite,
            or the estimate lies outside the bounds.

    >>> scores = {"ln": [3.0, 5.0, 4.0], "none": [1.0, 2.0, 3.0]}
    >>> print(contrast(scores, {"ln": 1, "none": -1}))
    2.0 [-0.5, 4.5] (n=3)
    """
    unknown = sorted(set(weights) - set(scores_by_arm))
    if unknown or not weights:
        raise ValueError(f"no scores for arms {unknown}; choose from {', '.join(scores_by_arm)}")
    if not math.isclose(sum(weights.values()), 0, abs_tol=1e-9):
        raise ValueError(f"the weights of a contrast add up to zero; got {dict(weights)}")
    arms = _same_shape({arm: scores_by_arm[arm] for arm in weights})
    return estimate(Combination.of(arms, list(weights.values()), statistic), confidence, rng, bounds)


def paired_difference(
    a: ArrayLike,
    b: ArrayLike,
    statistic: Statistic = np.mean,
    confidence: float = 0.95,
    rng: np.random.Generator | None = None,
    *,
    bounds: Bounds | None = None,
) -> Interval:
    """statistic(a) - statistic(b) with its interval; a, b (n_seeds, ...) paired by seed, as in `contrast`."""
    return contrast({"a": a, "b": b}, {"a": 1.0, "b": -1.0}, statistic, confidence, rng, bounds=bounds)


def sign_flip_test(a: ArrayLike, b: ArrayLike, rng: np.random.Generator | None = None, reps: int = 100_000) -> float:
    """Two-sided p-value of the paired permutation test: how often random signs give a mean difference as large.

    It asks whether the arms are alike: whether the differences lie about zero as they would with the arms exchanged.
    Equal means are not enough. If they are skewed, it rejects equal means too often (`benchmarks.coverage` measures
    it), so an effect on the mean needs an interval that leaves out zero as well.

    Scores (n_seeds, ...) are averaged per seed. Exact up to 16 seeds (2^n sign patterns), then (1 + hits) / (1 + reps).

    >>> sign_flip_test([0.1, 0.2, 0.4], [0.3, 0.3, 0.1])  # the differences add up to zero
    1.0
    """
    difference, largest = _differences(a, b)
    n = difference.size
    exact = n <= EXACT_SEEDS
    if exact:
        flips = np.arange(2**n)[:, None] >> np.arange(n) & 1
    else:
        flips = (np.random.default_rng(0) if rng is None else rng).integers(2, size=(reps, n))
    sums = np.abs((1 - 2 * flips) @ difference)
    hits = int(np.sum(sums >= abs(difference.sum()) - ROUNDING * largest.max()))
    return hits / len(sums) if exact else (1 + hits) / (1 + reps)


def holm(pvalues: ArrayLike) -> NDArray[np.float64]:
    """P-values (m,) corrected for m tests by Holm's step-down method (1979), in the order given.

    >>> holm([0.01, 0.04, 0.03]).round(6).tolist()
    [0.03, 0.06, 0.06]
    """
    p = np.asarray(pvalues, dtype=float)
    if p.ndim != 1 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"pvalues must be numbers in [0, 1], one axis; got {p.tolist()}")
    order = np.argsort(p, kind="stable")
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(np.maximum.accumulate(np.arange(p.size, 0, -1) * p[order]), 1.0)
    return adjusted


def _differences(a: ArrayLike, b: ArrayLike) -> tuple[Array, Array]:
    """Mean score of a minus that of b for each seed, and the largest of its scores, which rounds it: (n_seeds,)."""
    x, y = (arm.reshape(len(arm), -1) for arm in _same_shape({"a": a, "b": b}))
    return np.asarray((x - y).mean(axis=1)), np.maximum(np.abs(x), np.abs(y)).max(axis=1)


def _same_shape(scores_by_arm: Mapping[str, ArrayLike]) -> list[Array]:
    arms = {name: checked(scores, f"scores of arm {name!r}") for name, scores in scores_by_arm.items()}
    shapes = {name: values.shape for name, values in arms.items()}
    if len(set(shapes.values())) > 1:
        raise ValueError(f"paired arms need the same seeds and scenarios; got shapes {shapes}")
    return list(arms.values())
