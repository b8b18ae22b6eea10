"""How each kind of row in a claims file (`lnlab.claims.rows`) becomes evidence: one function a kind.

`level` gives a Number for each arm, `fact` a Number, `sum` a Sum. `value`, `minus`, `change` and `contrast` give a
Direction where the row names a side, a Number where it names a printed value, and both where it names both.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Number, Sum, Untested, margin_of
from lnlab.analysis.stats import Interval, Statistic, clopper_pearson, rank_correlation, std, weighted_sum, worst_decile
from lnlab.claims.measures import measure, named
from lnlab.claims.rows import (
    Arithmetic,
    Change,
    Compared,
    Contrast,
    Fact,
    Level,
    Place,
    Rank,
    Row,
    Sided,
    Special,
    Untried,
    Value,
    arithmetic,
)
from lnlab.claims.special import SPECIAL
from lnlab.claims.studies import Array, Data, Missing, paired

OF_SEEDS: dict[str, Statistic] = {"sd": std, "worst_tenth": worst_decile}
# in which compared arms may differ; backends differ by rounding
ALWAYS_FREE = {"seeds", "first_seed", "eval_episodes", "backend"}
ROUNDING = 1e-9  # the same numbers added in another order


def pieces(data: Data, row: Row) -> list[Evidence]:
    """The evidence of a row.

    Raises:
        Missing: a run or a number is not there.
    """
    found = _sided(data, row) if isinstance(row, Sided) else MAKES[type(row)](data, row)
    return [each if isinstance(each, Sum) else replace(each, main=row.main) for each in found]


def _sided(data: Data, row: Sided) -> list[Evidence]:
    found: list[Evidence] = []
    printed = estimates(data, row, as_printed=True) if row.printed is not None else []
    for place, (text, name, ours) in enumerate(estimates(data, row) if row.side else printed):
        size = scaled(name, row.printed)
        if row.side:
            found.append(Direction(text, ours, row.side, scaled(name, row.bound) or 0.0, size))
        if size is not None:
            found.append(Number(text, size, printed[place][2], _margin(name, size, row.margin)))
    return found


def estimates(data: Data, row: Sided, *, as_printed: bool = False) -> list[tuple[str, str, Interval]]:
    """For each piece of a row its text, the measure that gives the scale, and the interval.

    `as_printed` takes pooled cells as their document tested them, not on the one list for all arms.
    """
    if isinstance(row, Value):
        if row.percent:
            with np.errstate(divide="ignore", invalid="ignore"):
                logs = [np.log(measure(data, row.of, arm)) for arm in row.arm]
            of = [_change(combined([each], [1.0], np.mean)) for each in logs]
        else:
            of = [_alone(data, Place(row.of, arm), as_printed) for arm in row.arm]
        return [(row.said(arm), row.of, each) for arm, each in zip(row.arm, of, strict=True)]
    if isinstance(row, Contrast):
        first, scores = next(iter(row.of)), [_scores(data, each, as_printed) for each in row.of]
        statistic = named(first.measure).statistic
        if row.percent:
            return [(row.contrast, first.measure, _change(combined(scores, row.of.values(), log(statistic))))]
        return [(row.contrast, first.measure, combined(scores, row.of.values(), statistic))]
    assert isinstance(row, Compared)
    for _, *places in row.sides if row.but_for else []:
        _refuse_others(data, row.but_for, *places)
    for _, *places in row.sides if row.statistic else []:
        for each in places:
            data.seed_by_seed(each.arm)
    both = [(text, a, [_scores(data, each, as_printed) for each in (a, b)]) for text, a, b in row.sides]
    return [(text, first.measure, _compared(row, scores, first)) for text, first, scores in both]


def _scores(data: Data, place: Place, as_printed: bool) -> Array:
    how = named(place.measure)
    return (how.printed if as_printed and how.printed else how.values)(data, place.arm)


def _alone(data: Data, place: Place, as_printed: bool) -> Interval:
    """A measure of one arm."""
    how, values = named(place.measure), _scores(data, place, as_printed)
    return share(values) if how.share else combined([values], [1.0], how.statistic)


def share(flags: Array) -> Interval:
    """The share of seeds that are 1, with its exact interval."""
    return clopper_pearson(int(flags.sum()), len(flags))


def _margin(name: str, printed: float, smallest: float | None) -> float:
    return margin_of(printed, smallest, log=name.startswith("log10."))


# -- two arms -------------------------------------------------------------------------------------------------------
def _refuse_others(data: Data, setting: str | None, a: Place, b: Place) -> None:
    free = ALWAYS_FREE | {setting}
    one, other = (
        {name: value for name, value in data.run(each.arm).config.science.items() if name not in free}
        for each in (a, b)
    )
    if one != other:
        raise Missing(f"needs {a.arm} with the settings of {b.arm} but for the {setting}")


def _compared(row: Compared, arms: Sequence[Array], first: Place) -> Interval:
    if row.statistic == "wins":
        a, b = paired(*arms)
        return share((a > b).astype(float))
    statistic = OF_SEEDS.get(row.statistic) or named(first.measure).statistic
    if isinstance(row, Change):
        return _change(combined(arms, [1.0, -1.0], log(statistic)), -1 if row.fall else 1)
    return combined(arms, [1.0, -1.0], statistic)


def _change(ratio: Interval, sign: int = 1) -> Interval:
    if math.isnan(ratio.estimate):
        raise Missing("needs numbers above zero, to say by how many percent one is above another")
    return percent(ratio, sign)


# -- the other kinds ------------------------------------------------------------------------------------------------
def level(data: Data, row: Level) -> list[Evidence]:
    """Each printed level beside ours, pooled cells as the document tested them."""
    found: list[Evidence] = []
    for arm, given in row.printed.items():
        printed = scaled(row.of, given) or 0.0
        ours = _alone(data, Place(row.of, arm), True)
        found.append(Number(row.said(arm), printed, ours, _margin(row.of, printed, row.margin)))
    return found


def rank(data: Data, row: Rank) -> list[Evidence]:
    """The rank correlation of both measures over the seeds of an arm."""
    x, y = row.of
    for arm in row.arm:
        data.seed_by_seed(arm)
    return [
        Direction(row.said(arm), rank_correlation(measure(data, x, arm), measure(data, y, arm)), row.side)
        for arm in row.arm
    ]


def total(_: Data, row: Arithmetic) -> list[Evidence]:
    """Does the printed result follow from the printed operands?"""
    rounding = tolerance(row.formula, row.printed) if row.rounding is None else row.rounding
    shown = row.shows or row.formula.replace(" * (", " (").replace("*", "·").replace("-", "−")
    return [Sum(row.sum, shown, arithmetic(row.formula), arithmetic(row.printed), rounding)]


def fact(_: Data, row: Fact) -> list[Evidence]:
    """A printed number beside one that is published elsewhere, which has no interval: it is a point."""
    ours = Interval(row.published, row.published, row.published, 0)
    return [Number(row.texts[0], row.printed, ours, margin_of(row.printed))]


MAKES: dict[type[Row], Callable[..., list[Evidence]]] = {
    Level: level,
    Rank: rank,
    Arithmetic: total,
    Fact: fact,
    Untried: lambda _, row: [Untested(row.untested)],
    Special: lambda data, row: SPECIAL[row.special](data, **row.given),
}


# -- what they share ------------------------------------------------------------------------------------------------
def combined(arms: Sequence[Array], weights: Iterable[float], statistic: Statistic) -> Interval:
    """Sum over arms of weight · statistic with its interval, over the seeds that all have, resampled in all alike."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return weighted_sum(paired(*arms), list(weights), statistic)


def log(statistic: Statistic) -> Statistic:
    """The logarithm of a statistic."""
    return lambda values, axis=None: np.log(statistic(values, axis=axis))


def percent(ratio: Interval, sign: int = 1) -> Interval:
    """The logarithm of a ratio as a change in percent, or as a fall; the interval is unknown where one end is."""
    middle, *ends = (sign * 100 * float(np.expm1(value)) for value in ratio[:3])
    low, high = sorted(ends) if np.isfinite(ends).all() else (math.nan, math.nan)
    return Interval(middle, low, high, ratio.n)


def scaled(name: str, value: float | None) -> float | None:
    """A printed number or a bound on the scale of its measure."""
    return math.log10(value) if name.startswith("log10.") and value is not None else value


def tolerance(formula: str, printed: str) -> float:
    """By how much a result may differ from a formula for the rounding of its operands and its own, to first order.

    >>> round(tolerance("49.57 - 38.22", "11.35"), 6)
    0.015
    """
    parts = re.split(r"(\d+\.\d+)", formula)
    exact, slack = arithmetic(formula), half_unit(printed) + ROUNDING
    for i in range(1, len(parts), 2):
        moved = [*parts[:i], repr(float(parts[i]) + half_unit(parts[i])), *parts[i + 1 :]]
        slack += abs(arithmetic("".join(moved)) - exact)
    return slack


def half_unit(text: str) -> float:
    """Half a unit of the last digit of a printed number.

    >>> half_unit("-64.9"), half_unit("26")
    (0.05, 0.5)
    """
    return 0.5 * 10.0 ** -len(text.partition(".")[2])
