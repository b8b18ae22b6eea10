"""How each kind of row in a claims file (`lnlab.claims.rows`) becomes evidence: one function a kind.

`level` gives a Number for each arm, `sum` a Sum; `value`, `contrast` and `rank` give Directions. `minus` and `change`
give Directions too, or a Number where the row says of how many runs the printed one is. `rise` gives both.
"""

import math
import re
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from lnlab.analysis.claims import Direction, Evidence, Number, Side, Sum, number
from lnlab.analysis.correlation import rank_correlation
from lnlab.analysis.intervals import Combination, Statistic, estimate
from lnlab.analysis.stats import Interval, std, worst_decile
from lnlab.claims import pooled
from lnlab.claims.measures import measure, named
from lnlab.claims.rows import (
    Arithmetic,
    Change,
    Compared,
    Contrast,
    Level,
    Place,
    Rank,
    Rise,
    Row,
    Sided,
    Special,
    Value,
    arithmetic,
    said,
)
from lnlab.claims.special import SPECIAL
from lnlab.claims.studies import Array, Data, Missing, paired

OF_SEEDS: dict[str, Statistic] = {"sd": std, "worst_tenth": worst_decile}
ALWAYS_FREE = {"seeds", "first_seed", "eval_episodes"}  # in which compared arms may differ
ROUNDING = 1e-9  # the same numbers added in another order


def pieces(data: Data, row: Row) -> list[Evidence]:
    """The evidence of a row.

    Raises:
        Missing: a run or a number is not there.
    """
    if isinstance(row, Compared) and row.runs is not None:
        return [_compared_number(data, row, *each, row.runs) for each in row.sides]
    if isinstance(row, Sided):
        return [_direction(row, *each) for each in estimates(data, row)]
    return MAKES[type(row)](data, row)


def estimates(data: Data, row: Sided) -> list[tuple[str, str, Interval]]:
    """For each piece of a row its text, the measure that gives the scale, and the interval."""
    if isinstance(row, Value):
        how = named(row.of)
        of = [combined([how.values(data, arm)], [1.0], how.statistic) for arm in row.arm]
        return [(said(row.value, arm), row.of, each) for arm, each in zip(row.arm, of, strict=True)]
    if isinstance(row, Contrast):
        first, scores = next(iter(row.of)), [measure(data, *each) for each in row.of]
        statistic = named(first.measure).statistic
        if row.percent:
            return [(row.contrast, first.measure, percent(combined(scores, row.of.values(), log(statistic))))]
        return [(row.contrast, first.measure, combined(scores, row.of.values(), statistic))]
    assert isinstance(row, Compared)
    return [(text, a.measure, _compared(row, _scores(data, row, a, b), a)) for text, a, b in row.sides]


def _direction(row: Sided, text: str, name: str, found: Interval) -> Direction:
    assert row.side is not None  # a claims file without it is refused
    return Direction(text, found, row.side, scaled(name, row.bound) or 0.0, scaled(name, row.printed))


# -- two arms -------------------------------------------------------------------------------------------------------
def _scores(data: Data, row: Compared, a: Place, b: Place) -> list[Array]:
    if row.but_for:
        free = ALWAYS_FREE | {row.but_for}
        one, other = (
            {name: value for name, value in data.run(each.arm).config.science.items() if name not in free}
            for each in (a, b)
        )
        if one != other:
            raise Missing(f"needs {a.arm} with the settings of {b.arm} but for the {row.but_for}")
    return [measure(data, *each) for each in (a, b)]


def _compared(row: Compared, arms: Sequence[Array], first: Place) -> Interval:
    statistic = OF_SEEDS.get(row.statistic) or named(first.measure).statistic
    if isinstance(row, Change):
        return percent(combined(arms, [1.0, -1.0], log(statistic)), -1 if row.fall else 1)
    return combined(arms, [1.0, -1.0], statistic)


def _compared_number(data: Data, row: Compared, what: str, a: Place, b: Place, runs: int) -> Number:
    """A printed difference or change beside that of each seed, or of pooled cells beside new experiments."""
    how, printed, two = named(a.measure), row.printed or 0.0, _difference(row)
    if how.printed is None:
        return number(what, printed, two(*paired(*_scores(data, row, a, b))), runs=runs)
    arms = paired(*(how.printed(data, each.arm) for each in (a, b)))
    return pooled.repeated(what, printed, how.statistic, arms, _compared(row, arms, a), runs, two)


def _difference(row: Compared) -> Callable[[Array, Array], Array]:
    if not isinstance(row, Change):
        return lambda a, b: a - b
    if not row.fall:
        return lambda a, b: 100 * (a / b - 1)

    def fall(a: Array, b: Array) -> Array:
        if not (b > 0).all():
            raise Missing(f"needs {row.change} for every seed; some have nothing to reduce")
        return 100 * (1 - a / b)

    return fall


# -- the other kinds ------------------------------------------------------------------------------------------------
def level(data: Data, row: Level) -> list[Evidence]:
    """Each printed level beside the interval that a repetition of the document's own runs would give."""
    how, found = named(row.of), []
    for arm, given in row.printed.items():
        what, printed = said(row.level, arm), scaled(row.of, given) or 0.0
        if how.printed is None:
            found.append(number(what, printed, how.values(data, arm), runs=row.runs))
            continue
        scores = how.printed(data, arm)
        if row.of == "cells.mean":  # which has a closed form
            found.append(number(what, printed, scores[:, 0], runs=row.runs))
            continue
        ours = combined([scores], [1.0], how.statistic)
        if row.of == "cells.worst":  # no interval of a minimum holds
            ours = Interval(ours.estimate, math.nan, math.nan, ours.n)
        found.append(pooled.repeated(what, printed, how.statistic, [scores], ours, row.runs))
    return [*found]


def rise(data: Data, row: Rise) -> list[Evidence]:
    """Does it go there, and how far? Intervals are those of the logarithm: ratios are skewed and never below zero."""
    found = number(row.rise, math.log1p(row.printed / 100), np.log(measure(data, row.of, row.arm)))
    here, (low, high) = percent(found.found), (100 * math.expm1(end) for end in (found.low, found.high))
    side: Side = "above" if row.printed > 0 else "below"
    return [
        Direction(row.rise, here, side, printed=row.printed),
        Number(row.rise, row.printed, here, low, high, found.runs),
    ]


def rank(data: Data, row: Rank) -> list[Evidence]:
    """The rank correlation of both measures over the seeds of an arm."""
    x, y = row.of
    return [
        Direction(said(row.rank, arm), rank_correlation(measure(data, x, arm), measure(data, y, arm)), row.side)
        for arm in row.arm
    ]


def total(_: Data, row: Arithmetic) -> list[Evidence]:
    """Does the printed result follow from the printed operands?"""
    rounding = tolerance(row.formula, row.printed) if row.rounding is None else row.rounding
    shown = row.shows or row.formula.replace(" * (", " (").replace("*", "·").replace("-", "−")
    return [Sum(row.sum, shown, arithmetic(row.formula), arithmetic(row.printed), rounding)]


MAKES: dict[type[Row], Callable[..., list[Evidence]]] = {
    Level: level,
    Rise: rise,
    Rank: rank,
    Arithmetic: total,
    Special: lambda data, row: SPECIAL[row.special](data, **row.given),
}


# -- what they share ------------------------------------------------------------------------------------------------
def combined(arms: Sequence[Array], weights: Iterable[float], statistic: Statistic) -> Interval:
    """Sum over arms of weight · statistic with its interval, over the seeds that all have, resampled in all alike."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return estimate(Combination.of(paired(*arms), list(weights), statistic), 0.95, None)


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
