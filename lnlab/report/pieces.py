"""Pieces of evidence for D3 and for the mechanism: levels, changes with LayerNorm, associations over seeds, arithmetic.

An *arm pattern* such as `a3c-gru-{}` stands for two arms, with LayerNorm and without. A *measure* gives the values
(n_seeds,) of an arm; arms are paired over the seeds that both have. Checked against hand arithmetic (tests/test_d3.py).
"""

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Side, Sum, number
from lnlab.analysis.correlation import rank_correlation
from lnlab.analysis.stats import paired_difference
from lnlab.report.cells import paired
from lnlab.report.effects import percent_change
from lnlab.report.evidence import Array, Data, Missing

NORM = {"ln": "LayerNorm", "none": "no norm"}
EARLY = 500  # episodes of the 2000: the phase in which A3C without norm explodes and recovers
Measure = Callable[[str], Array]


def levels(
    data: Data, arms: str, what: str, quantity: str, values: Sequence[Any], worker: int = -1, **more: Any
) -> list[Evidence]:
    """A printed level of the arm with LayerNorm and of the arm without, in this order, beside a metric of ours."""
    pairs = zip(NORM, values, strict=True)
    return [
        number(f"{what}, {NORM[norm]}", value, data.metric(arms.format(norm), quantity, worker, **more))
        for norm, value in pairs
    ]


def change(
    data: Data, arms: str, what: str, quantity: str, side: Side, printed: float | None = None, worker: int = -1
) -> Direction:
    """Percent by which LayerNorm changes a metric that is positive."""
    ln, none = (data.metric(arms.format(norm), quantity, worker) for norm in NORM)
    return Direction(f"{what}: change with LayerNorm, %", percent_change(*paired(ln, none)), side, printed=printed)


def more(what: str, a: Array, b: Array, side: Side = "above", threshold: float = 0.0) -> Direction:
    """a − b over the seeds that both have."""
    x, y = paired(a, b)
    return Direction(what, paired_difference(x, y), side, threshold)


def with_ln(what: str, measure: Measure, arms: str, side: Side, threshold: float = 0.0) -> Direction:
    """LayerNorm minus no norm of what `measure` says of an arm."""
    ln, none = (measure(arms.format(norm)) for norm in NORM)
    return more(f"{what}: LayerNorm minus no norm", ln, none, side, threshold)


def together(what: str, x: Array, y: Array, side: Side) -> Direction:
    """Rank correlation over the seeds of one arm."""
    return Direction(f"rank correlation over seeds: {what}", rank_correlation(x, y), side)


def worked_out(
    what: str,
    formula: str,
    f: Callable[..., float],
    operands: Sequence[float],
    printed: float,
    *,
    half: float,
    place: float,
) -> Sum:
    """Arithmetic of D3 from operands printed to ±half, with a result printed to ±place."""
    exact = f(*operands)
    ends = itertools.product(*((value - half, value + half) for value in operands))
    slack = max(abs(f(*end) - exact) for end in ends)
    return Sum(what, formula, exact, printed, slack + place)


def through_training(
    data: Data, quantity: str, *, start: int = 0, end: int | None = None, empty: float | None = None
) -> Measure:
    """Of an arm: (n_seeds,) the mean of a diagnostic through training, weighted by time (`over_time`).

    Args:
        start, end: the episodes of a part of training, at both of which it was measured; None is the last measurement.
        empty: stands for values that are not defined, such as correlations with a constant.
    """

    def of(arm: str) -> Array:
        measured = data.steps(arm)
        last = measured[-1] if end is None else end
        if lacking := {start, last} - set(measured):
            raise Missing(f"needs diagnostics of {arm} after {min(lacking)} episodes; there are some after {measured}")
        steps = [step for step in measured if start <= step <= last]
        return over_time(steps, np.stack([data.diagnostic(arm, quantity, step, empty=empty) for step in steps]))

    return of


def over_time(episodes: Sequence[int], values: Array) -> Array:
    """(n_seeds,) mean over time of values (n_moments, n_seeds), taken as straight lines from moment to moment.

    Moments of measurement lie ever further apart, so that their plain mean is one of the beginning.

    >>> over_time([0, 10, 100], np.array([[4.0], [4.0], [0.0]])).tolist()  # (40 + 180) / 100; the plain mean is 2.7
    [2.2]
    """
    if len(values) == 1:
        return values[0]
    return np.asarray(np.trapezoid(values, episodes, axis=0) / (episodes[-1] - episodes[0]))


def own_advantage(data: Data, mode: str) -> Measure:
    """Of an Individual arm: (n_seeds,) return of each learner at the velocity it trained at, minus that at the others'.

    The Seen scenarios are the velocities of the workers, in their order.
    """

    def of(arm: str) -> Array:
        cells = data.scenario_scores(arm, ("seen",), mode, per_worker=True)  # (n_seeds, velocity, learner)
        own = np.trace(cells, axis1=1, axis2=2)
        workers = cells.shape[1]
        return np.asarray(own / workers - (cells.sum(axis=(1, 2)) - own) / (workers * (workers - 1)))

    return of
