"""Pieces of evidence on the 2×2 matrix of D2 and D4 (RNN or feedforward, LayerNorm or not; A3C and Individual).

Numbers use the documents' definitions: greedy policies, cloud budget, each configuration on its own list of velocities.
Directions compare arms on one list of velocities. Every SD over cells divides by n − 1.
"""

from collections.abc import Callable
from typing import Any

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Number, Sum, number
from lnlab.analysis.stats import Interval, contrast, paired_difference, worst_decile
from lnlab.report import cells, effects
from lnlab.report.cells import MATRIX, NAME, Array, Summary
from lnlab.report.evidence import Data, documents

Values = dict[str, Any]
COLLAPSED = 0.99  # share of one action from which a policy counts as constant
ACTIONS = ("local", "offload", "discard")


# -- arithmetic within the documents -------------------------------------------------------------------------------
def printed(claim: str) -> Values:
    """What a document prints in a claim, by its id."""
    listed = documents()[claim.partition(".")[0]]["claims"]
    return dict(next(each["values"] for each in listed if each["id"] == claim))


def arithmetic(what: str, formula: str, result: float, compute: Callable[..., float], *operands: float) -> Sum:
    """Whether a printed result follows from printed operands, each known to half a unit of its last digit.

    Args:
        formula: with a {} for each operand.

    >>> arithmetic("gap", "{} − {}", 11.35, lambda a, b: a - b, 49.57, 38.22).outcome
    'right'
    """
    computed, slack = compute(*operands), _half_unit(result) + 1e-9
    for place, operand in enumerate(operands):
        moved = (*operands[:place], operand + _half_unit(operand), *operands[place + 1 :])
        slack += abs(compute(*moved) - computed)
    return Sum(what, formula.format(*(f"{value:g}" for value in operands)), computed, result, slack)


def difference(a: float, b: float) -> float:
    return a - b


def quotient(a: float, b: float) -> float:
    return a / b


def percent_over(new: float, old: float) -> float:
    """100 (new / old − 1)."""
    return 100 * (new / old - 1)


def _half_unit(value: float) -> float:
    """Half a unit of the last digit. Trailing zeros but the first are lost in the list of claims: more lenient, never
    stricter."""
    digits = len(f"{value:.10g}".partition(".")[2])
    return 0.5 * 10.0 ** -(max(digits, 1) if isinstance(value, float) else 0)


# -- numbers: what a document prints of a configuration -------------------------------------------------------------
def own(data: Data, who: str, cell: str, mode: str = "greedy") -> Summary:
    """The cells of a configuration at the velocities at which its document tested it."""
    return cells.summary(cells.cells(data, who, cell, MATRIX[cell].velocities, mode))


def label(who: str, cell: str) -> str:
    return f"{NAME[who]}, {MATRIX[cell].name}"


def level(data: Data, who: str, cell: str, value: float) -> Number:
    """A printed mean."""
    return number(f"mean: {label(who, cell)}", value, own(data, who, cell)[:, 0], runs=cells.RUNS)


def spread(data: Data, who: str, cell: str, value: float) -> Number:
    """A printed standard deviation over cells."""
    return cells.repeated(f"SD over cells: {label(who, cell)}", value, cells.std, own(data, who, cell))


def relative_spread(data: Data, who: str, cell: str, value: float) -> Number:
    """A printed coefficient of variation."""
    return cells.repeated(f"CV: {label(who, cell)}", value, cells.cv, own(data, who, cell))


def lowest(data: Data, who: str, cell: str, value: float) -> Number:
    """A printed worst case: the lowest cell of five seeds. Ours, of all seeds, has no interval."""
    mine = own(data, who, cell)
    ours = cells.alone(cells.worst(mine).item(), len(mine))
    return cells.repeated(f"worst cell: {label(who, cell)}", value, cells.worst, mine, ours=ours)


def gap_percent(data: Data, cell: str, value: float) -> Number:
    """A printed gap: A3C over Individual."""
    arms = own(data, "a3c", cell), own(data, "ind", cell)
    ours = cells.percent(cells.mean, *arms)
    return cells.repeated(f"gap, %: {MATRIX[cell].name}", value, cells.gap, *arms, ours=ours)


def gap_sum(cell: str, value: float, a3c: float, ind: float) -> Sum:
    """A printed gap from the printed means."""
    return arithmetic(f"gap, %: {MATRIX[cell].name}", "100 ({} / {} − 1)", value, percent_over, a3c, ind)


def mean_change_number(data: Data, who: str, new: str, old: str, value: float) -> Number:
    """A printed percentage by which a mean changes from `old` to `new`."""
    return _change_number(f"change of the mean, %: {_from_to(who, new, old)}", value, _mean_ratio, data, who, new, old)


def cv_change_number(data: Data, who: str, new: str, old: str, value: float) -> Number:
    """A printed percentage by which a CV changes."""
    return _change_number(f"change of the CV, %: {_from_to(who, new, old)}", value, _cv_ratio, data, who, new, old)


def _change_number(what: str, value: float, ratio: cells.Quantity, data: Data, who: str, new: str, old: str) -> Number:
    arms = own(data, who, new), own(data, who, old)
    return cells.repeated(what, value, lambda a, b: 100 * (ratio(a, b) - 1), *arms, ours=cells.excess(ratio, *arms))


def _mean_ratio(a: Summary, b: Summary) -> Array:
    return cells.mean(a) / cells.mean(b)


def _cv_ratio(a: Summary, b: Summary) -> Array:
    return cells.cv(a) / cells.cv(b)


def _from_to(who: str, new: str, old: str) -> str:
    return f"{NAME[who]}, {MATRIX[old].name} → {MATRIX[new].name}"


# -- effects: one list of velocities for all --------------------------------------------------------------------------
def common(data: Data, who: str, cell: str, mode: str = "greedy") -> Summary:
    """The cells of a configuration on the velocities of both lists."""
    return cells.summary(cells.cells(data, who, cell, mode=mode))


def mean_change(data: Data, who: str, new: str, old: str, mode: str = "greedy") -> Interval:
    """Percent by which the mean changes from `old` to `new`."""
    a, b = cells.paired(common(data, who, new, mode)[:, 0], common(data, who, old, mode)[:, 0])
    return effects.percent_change(a, b)


def mean_difference(data: Data, who: str, new: str, old: str, mode: str = "sampled") -> Interval:
    """Difference of the means, in units of reward."""
    a, b = _means(data, who, new, old, mode)
    return paired_difference(a, b)


def cv_change(data: Data, who: str, new: str, old: str) -> Interval:
    """Percent by which the CV over cells changes, greedy."""
    return cells.percent(cells.cv, common(data, who, new), common(data, who, old))


def log_cv(data: Data, weights: dict[tuple[str, str], float]) -> Interval:
    """A weighted sum of log CVs over cells, greedy, of arms given as (who, cell)."""

    def quantity(*arms: Summary) -> Array:
        logs = [weight * np.log(cells.cv(each)) for each, weight in zip(arms, weights.values(), strict=True)]
        return np.asarray(sum(logs))

    return cells.found(quantity, *(common(data, who, cell) for who, cell in weights))


def seed_spread_change(data: Data, who: str, new: str, old: str, mode: str = "sampled") -> Interval:
    """Percent by which the standard deviation between seeds changes."""
    a, b = (cells.seed_means(data, who, cell, mode)[:, None] for cell in (new, old))
    return cells.percent(cells.std, cells.summary(a), cells.summary(b))


def worst_difference(data: Data, who: str, new: str, old: str, mode: str = "greedy") -> Interval:
    """Difference of a learner's lowest velocity; the same number of cells on both sides."""
    a, b = _worst(data, who, new, old, mode)
    return paired_difference(a, b)


def worst_change(data: Data, who: str, new: str, old: str, mode: str = "greedy") -> Interval:
    """The same in percent."""
    a, b = _worst(data, who, new, old, mode)
    return effects.percent_change(a, b)


def _means(data: Data, who: str, new: str, old: str, mode: str) -> list[Array]:
    return cells.paired(*(cells.seed_means(data, who, cell, mode) for cell in (new, old)))


def _worst(data: Data, who: str, new: str, old: str, mode: str) -> list[Array]:
    return cells.paired(*(cells.worst_learner_cells(cells.cells(data, who, cell, mode=mode)) for cell in (new, old)))


def gap_contrast(data: Data, weights: dict[str, float], mode: str = "greedy") -> Interval:
    """A weighted sum over configurations of the gap in percent."""

    def quantity(*arms: Summary) -> Array:
        pairs = zip(arms[::2], arms[1::2], weights.values(), strict=True)
        return np.asarray(sum(weight * cells.gap(a3c, ind) for a3c, ind, weight in pairs))

    return cells.found(quantity, *(common(data, who, cell, mode) for cell in weights for who in NAME))


def gap_points(data: Data, what: str, value: float, more: str, fewer: str) -> list[Evidence]:
    """A printed contribution: the gap in percent of one configuration minus that of another, said positive."""

    def quantity(a: Summary, b: Summary, c: Summary, d: Summary) -> Array:
        return cells.gap(a, b) - cells.gap(c, d)

    theirs = [own(data, who, cell) for cell in (more, fewer) for who in NAME]
    contribution = gap_contrast(data, {more: 1, fewer: -1})
    return [cells.repeated(what, value, quantity, *theirs), Direction(what, contribution, "above", printed=value)]


def interaction(data: Data, who: str, mode: str = "sampled") -> Interval:
    """LayerNorm's effect on the mean with the RNN minus that without."""
    return contrast(four_means(data, who, mode), {"both": 1, "rnn": -1, "ln": -1, "neither": 1})


def four_means(data: Data, who: str, mode: str = "sampled") -> dict[str, Array]:
    """Mean return of every seed in each configuration, over the seeds that all four have."""
    return dict(zip(MATRIX, cells.paired(*(cells.seed_means(data, who, cell, mode) for cell in MATRIX)), strict=True))


def worst_decile_difference(data: Data, who: str, new: str, old: str, mode: str = "sampled") -> Interval:
    """Difference of the mean of the worst tenth of the seeds."""
    a, b = _means(data, who, new, old, mode)
    return paired_difference(a, b, worst_decile)


# -- collapse ---------------------------------------------------------------------------------------------------------
def constant(data: Data, who: str, cell: str, mode: str = "greedy") -> Array:
    """(n_seeds, n_learners) 1 where one action makes up more than 99 % of a policy's actions, else 0."""
    run, shares = cells.arm(who, cell), []
    for action in ACTIONS:
        flat = data.sweep(run, cells.EVERY, mode, per_worker=True, value=f"share_{action}")
        shares.append(flat.reshape(len(flat), len(cells.EVERY), -1).mean(axis=1))
    return (np.max(shares, axis=0) > COLLAPSED).astype(float)


def fewer_constant(data: Data, who: str, new: str, old: str, mode: str = "greedy") -> Direction:
    """Fewer policies are constant in `new` than in `old`."""
    a, b = cells.paired(*(constant(data, who, cell, mode).mean(axis=1) for cell in (old, new)))
    what = f"share of constant {mode} policies, {NAME[who]}: {MATRIX[old].name} minus {MATRIX[new].name}"
    return Direction(what, paired_difference(a, b), "above")
