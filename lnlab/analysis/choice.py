"""Choosing a setting, such as a learning rate, on some seeds and judging it on others.

A setting that is chosen and judged on the same seeds looks better than it is. Leaving out one seed at a time is no way
out: where two settings are about as good, a seed tips the choice towards the one in which it scored low, and intervals
of 95 % then miss up to three times in ten (`benchmarks.coverage`).
"""

import itertools
import math

import numpy as np
from numpy.typing import NDArray

from lnlab.analysis.stats import Array

SPLITS = 500  # of the seeds in two halves; all of them up to ten seeds


def judged_apart(scores: Array) -> Array:
    """Each seed's score (n_seeds,) at the setting that is best on the other half; scores (n_seeds, n_settings).

    Averaged over splits in halves, so that it does not hang on one of them. The halves choose for each other, and so
    the judgements are not independent: an interval is as wide as that of half the seeds. To that end the scores are
    spread about their mean by √2; they are for means and differences of means, not to be shown one by one.

    The splits depend on the number of seeds alone, so arms stay paired.

    >>> judged_apart(np.array([[9.0, 1.0], [9.0, 1.0], [9.0, 1.0], [9.0, 1.0]])).tolist()
    [9.0, 9.0, 9.0, 9.0]
    >>> judged_apart(np.array([[9.0], [7.0]])).tolist()  # nothing to choose
    [9.0, 7.0]

    Raises:
        ValueError: one seed, which leaves none to choose on.
    """
    if scores.shape[1] == 1:
        return scores[:, 0]
    if len(scores) < 2:
        raise ValueError("a setting is chosen on other seeds than it is judged on: at least two seeds are wanted")
    first = _halves(len(scores))  # (splits, n_seeds)
    by_first, by_second = ((half.astype(float) @ scores).argmax(axis=1) for half in (first, ~first))
    found = np.where(first, scores.T[by_second], scores.T[by_first]).mean(axis=0)
    return np.asarray(found.mean() + math.sqrt(2) * (found - found.mean()))


def _halves(n: int) -> NDArray[np.bool_]:
    """Which seeds are in the first half, a row a split."""
    if math.comb(n, n // 2) <= SPLITS:
        chosen = list(itertools.combinations(range(n), n // 2))
    else:
        rng = np.random.default_rng(0)
        chosen = [tuple(rng.permutation(n)[: n // 2]) for _ in range(SPLITS)]
    first = np.zeros((len(chosen), n), dtype=bool)
    np.put_along_axis(first, np.array(chosen), True, axis=1)
    return first
