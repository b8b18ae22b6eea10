"""Association of two numbers over seeds. Checked against scipy (spearmanr) and simulated coverage."""

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lnlab.analysis.descriptive import settled
from lnlab.analysis.intervals import Interval, checked, normal


def rank_correlation(x: ArrayLike, y: ArrayLike, confidence: float = 0.95) -> Interval:
    """Spearman's rank correlation of x and y (n,) with its interval; one row is one seed.

    The interval is set on Fisher's z with the variance (1 + r² / 2) / (n − 3) (Bonett & Wright 2000); unknown below
    four seeds. A constant has no ranks to compare: its correlation is taken to be zero with the interval [−1, 1].

    Raises:
        ValueError: the two differ in shape, or hold a number that is not finite.

    >>> rank_correlation([1, 2, 3, 4], [1, 4, 9, 16]).estimate
    1.0
    """
    a, b = checked(x, "x"), checked(y, "y")
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"x and y must hold one number for each seed; got {a.shape} and {b.shape}")
    a, b = settled(a, np.abs(a).max()), settled(b, np.abs(b).max())  # ties are ties in spite of rounding
    n = len(a)
    if n < 2 or not (np.ptp(a) > 0 and np.ptp(b) > 0):
        return Interval(0.0, -1.0, 1.0, n)
    r = float(np.clip(stats.spearmanr(a, b).statistic, -1, 1))
    if n < 4:
        return Interval(r, -1.0, 1.0, n)
    z = math.atanh(min(max(r, -1 + 1e-12), 1 - 1e-12))
    half = normal(confidence) * math.sqrt((1 + r**2 / 2) / (n - 3))
    return Interval(r, math.tanh(z - half), math.tanh(z + half), n)
