"""Pieces of evidence for D5: differences of arms, rises in percent, clipped gradients, alerts, tests at a step.

Checked against arithmetic by hand on made tables (tests/test_d5.py).
"""

import math

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Number, Side, number
from lnlab.analysis.stats import Interval, paired_difference
from lnlab.report.cells import paired
from lnlab.report.driving_data import Driving
from lnlab.report.evidence import Array, Missing
from lnlab.trainers.monitor import RULES, first_fired


def more(a: Array, b: Array) -> Interval:
    """a − b over the seeds that both have."""
    x, y = paired(a, b)
    return paired_difference(x, y)


def rise(what: str, ratios: Array, percent: float) -> list[Evidence]:
    """A printed change in percent beside our ratios (n_seeds,): whether it goes that way, and how far.

    Both intervals are those of the logarithm: ratios are skewed and never below zero.
    """
    logs = number(what, math.log1p(percent / 100), np.log(ratios))
    estimate, low, high = (_percent(each) for each in logs.found[:3])
    here = Interval(estimate, low, high, logs.found.n)
    side: Side = "above" if percent > 0 else "below"
    return [
        Direction(f"change of the {what}, %", here, side, printed=percent),
        Number(f"change of the {what}, %", percent, here, _percent(logs.low), _percent(logs.high), 1),
    ]


def clipped(runs: Driving, arm: str, who: str, part: str) -> Array:
    """(n_seeds, n_logs) gradient norm of the actor or the critics after clipping, in D5's window; part "_cnn" or ""."""
    return runs.window(arm, f"{who}{part}_grad_norm") * runs.window(arm, f"{who}_clip_scale")


def phase_returns(runs: Driving, arm: str, phase: str) -> list[Array]:
    """Returns of the episodes of a phase, one array a seed."""
    rows = runs.table(arm, "returns")
    return [each.to_numpy(float) for _, each in rows[rows.phase == phase].groupby("seed")["return"]]


def bias(runs: Driving, arm: str) -> Array:
    """(n_seeds,) Q1 minus the discounted return that followed, over the policy's episodes that ended by themselves."""
    return runs.by_phase(arm, "policy", "q_bias")


def alerted(runs: Driving, arm: str) -> Array:
    """(n_seeds,) 1 where an alert that D5 asks for fires at any time, else 0."""
    fired = first_fired(runs.table(arm, "records"), runs.table(arm, "returns"))
    published = fired[fired.rule.map(lambda name: RULES[name].published)]
    return np.asarray(published.step.notna().groupby(published.seed).any().sort_index(), dtype=float)


def greedy_at(runs: Driving, arm: str, step: int) -> Array:
    """(n_seeds,) mean return of the greedy test at a step.

    Raises:
        Missing: there was none.
    """
    rows = runs.table(arm, "checks")
    rows = rows[rows.step == step]
    if rows.empty:
        raise Missing(f"needs a greedy test at step {step:,}")
    return rows.groupby("seed")["return"].mean().sort_index().to_numpy(float)


def relative_spread(values: Array, axis: int | None = None) -> Array:
    """Standard deviation in percent of the size of the mean."""
    return np.asarray(100 * np.std(values, axis=axis, ddof=1) / np.abs(np.mean(values, axis=axis)))


def _percent(log: float) -> float:
    return 100 * math.expm1(log)
