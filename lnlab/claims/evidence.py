"""The nine kinds of row in a claims file, and how each becomes evidence. The first key of a row is its kind:

level     printed levels, one an arm, beside ours
value     where a number of one arm should lie
minus     one arm minus another
change    by how many percent one arm is above another
contrast  a weighted sum of several arms
rise      a printed change in percent within a run
rank      do two numbers of one arm go together over its seeds?
sum       does a printed number follow from other printed numbers?
special   none of these: a function of `lnlab.claims.special`

`level` gives a Number for each arm; `value`, `contrast` and `rank` give Directions. `minus` and `change` give a
Direction if the row says on which `side` the claim puts them, and a Number if it says of how many `runs` the printed
one is.

What is measured goes by its name (`lnlab.claims.measures`), an arm by its run id. A pattern such as
`{algorithm}-gru-{norm}` stands for several arms, in the order of `VALUES`, and makes a piece of evidence for each; in
the row's text `{algorithm}` is then what readers call it. In `pair`, `{norm}` is LayerNorm against no norm. A place is
`measure of arm`. Numbers that follow from printed ones may be written as arithmetic: `printed: 49.57 - 38.22`. Of a
`log10.` measure, printed numbers and bounds are given before the logarithm, as factors: `within` a `bound` of 2.
"""

import ast
import inspect
import itertools
import math
import operator
import re
from collections.abc import Iterable, Sequence
from string import Formatter
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    StrictStr,
    Tag,
    model_validator,
)

from lnlab.analysis.claims import Direction, Evidence, Number, Side, Sum, number
from lnlab.analysis.correlation import rank_correlation
from lnlab.analysis.intervals import Combination, Statistic, estimate
from lnlab.analysis.stats import Interval, std, worst_decile
from lnlab.claims import pooled
from lnlab.claims.measures import measure, named
from lnlab.claims.special import SPECIAL
from lnlab.claims.studies import Array, Data, Missing, known, labels, paired

VALUES = {"algorithm": ("a3c", "individual"), "core": ("gru", "ff"), "norm": ("ln", "none")}
OF_SEEDS: dict[str, Statistic] = {"sd": std, "worst_tenth": worst_decile}  # instead of the measure's own
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
ALWAYS_FREE = {"seeds", "first_seed", "eval_episodes"}  # in which compared arms may differ
ROUNDING = 1e-9  # the same numbers added in another order


# -- what stands in a row -------------------------------------------------------------------------------------------
def arithmetic(text: object) -> float:
    """The value of numbers with + - * / and brackets.

    >>> arithmetic("100 * (0.361 / 0.289 - 1)"), arithmetic(-64.9)
    (24.913494809688586, -64.9)
    """

    def value(node: ast.expr) -> float:
        if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
            return -value(node.operand)
        if isinstance(node, ast.BinOp) and type(node.op) in OPERATIONS:
            return float(OPERATIONS[type(node.op)](value(node.left), value(node.right)))
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float):
            return float(node.value)
        raise ValueError(f"{text!r} is no arithmetic: numbers, + - * / and brackets only")

    try:
        return value(ast.parse(str(text), mode="eval").body)
    except SyntaxError:
        raise ValueError(f"{text!r} is no number and no arithmetic") from None


def expanded(pattern: str) -> list[str]:
    """The arms that a pattern stands for.

    >>> expanded("{algorithm}-gru-ln")
    ['a3c-gru-ln', 'individual-gru-ln']

    Raises:
        ValueError: a name in braces is unknown, or study.toml has no such arm.
    """
    names = [name for _, name, _, _ in Formatter().parse(pattern) if name is not None]
    if unknown := sorted(set(names) - set(VALUES)):
        raise ValueError(f"{pattern!r}: {{{unknown[0]}}} does not expand; allowed: {{{'}, {'.join(VALUES)}}}")
    values = itertools.product(*(VALUES[name] for name in names))
    arms = [pattern.format(**dict(zip(names, each, strict=True))) for each in values]
    if strange := [arm for arm in arms if arm not in known()]:
        raise ValueError(f"unknown run id {strange[0]!r}; study.toml has {', '.join(known())}")
    return arms


def against(pattern: str) -> list[tuple[str, str]]:
    """The pairs of arms, with LayerNorm and without, that a pattern stands for."""
    if "{norm}" not in pattern:
        raise ValueError(f"the pair {pattern!r} lacks {{norm}}, which stands for LayerNorm against no norm")
    ln, none = (expanded(pattern.replace("{norm}", norm)) for norm in VALUES["norm"])
    return list(zip(ln, none, strict=True))


def said(text: str, arm: str) -> str:
    """The text of a row about one arm."""
    try:
        return text.format(**labels(arm))
    except (KeyError, IndexError):
        raise ValueError(f"{text!r} names what {arm} has not; it has {', '.join(labels(arm))}") from None


class Place(NamedTuple):
    """A measure of an arm."""

    measure: str
    arm: str

    def scores(self, data: Data) -> Array:
        return measure(data, *self)


def place(text: str) -> Place:
    """From `measure of arm`."""
    name, middle, arm = text.partition(" of ")
    if not middle:
        raise ValueError(f"{text!r} should read: measure of arm")
    named(name)
    (arm,) = expanded(arm)
    return Place(name, arm)


def _known(name: str) -> str:
    named(name)
    return name


def _arms(given: object) -> list[str]:
    patterns = [given] if isinstance(given, str) else given
    return [arm for pattern in patterns for arm in expanded(pattern)]  # type: ignore[attr-defined]


Printed = Annotated[float, BeforeValidator(arithmetic)]
Measure = Annotated[str, AfterValidator(_known)]
Arm = Annotated[str, AfterValidator(lambda arm: expanded(arm)[0])]
Arms = Annotated[list[str], BeforeValidator(_arms)]  # an arm, a pattern, or a list of them
Places = Annotated[tuple[Place, ...], BeforeValidator(lambda texts: tuple(place(text) for text in texts))]


# -- what is computed -----------------------------------------------------------------------------------------------
def combined(arms: Sequence[Array], weights: Iterable[float], statistic: Statistic) -> Interval:
    """Sum over arms of weight · statistic with its interval, over the seeds that all have, resampled in all alike."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return estimate(Combination.of(paired(*arms), list(weights), statistic), 0.95, None)


def logarithm(statistic: Statistic) -> Statistic:
    return lambda values, axis=None: np.log(statistic(values, axis=axis))


def percent(log: Interval, sign: int = 1) -> Interval:
    """The logarithm of a ratio as a change in percent, or as a fall; the interval is unknown where one end is."""
    middle, *ends = (sign * 100 * float(np.expm1(value)) for value in log[:3])
    low, high = sorted(ends) if np.isfinite(ends).all() else (math.nan, math.nan)
    return Interval(middle, low, high, log.n)


def scaled(name: str, value: float | None) -> float | None:
    """A printed number or a bound on the scale of its measure."""
    return math.log10(value) if name.startswith("log10.") and value is not None else value


# -- rows -----------------------------------------------------------------------------------------------------------
class Row(BaseModel):
    """A line of evidence; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    otherwise: str | None = None  # what the note says where the runs are not there: then the claim does without the row

    def pieces(self, data: Data) -> list[Evidence]:
        """Its evidence. Raises Missing where a run or a number is not there."""
        raise NotImplementedError


class Estimated(Row):
    """Rows with an interval, and a side of a bound on which the claim puts it."""

    side: Side | None = None
    bound: Printed | None = None  # 0 where none is given
    printed: Printed | None = None

    def found(self, data: Data) -> list[tuple[str, str, Interval]]:
        """For each piece its text, the name of the measure that gives the scale, and the interval."""
        raise NotImplementedError

    def pieces(self, data: Data) -> list[Evidence]:
        assert self.side is not None  # the claims file is refused otherwise
        return [
            Direction(text, found, self.side, scaled(name, self.bound) or 0.0, scaled(name, self.printed))
            for text, name, found in self.found(data)
        ]


class Level(Row):
    """Printed levels, each beside the interval that a repetition of the document's own `runs` would give."""

    level: str
    of: Measure
    printed: dict[Arm, Printed]
    runs: int = 1

    def pieces(self, data: Data) -> list[Evidence]:
        return [self._number(data, arm, scaled(self.of, value) or 0.0) for arm, value in self.printed.items()]

    def _number(self, data: Data, arm: str, printed: float) -> Number:
        what, how = said(self.level, arm), named(self.of)
        if how.printed is None:
            return number(what, printed, how.values(data, arm), runs=self.runs)
        scores = how.printed(data, arm)
        if self.of == "cells.mean":
            return number(what, printed, scores[:, 0], runs=self.runs)
        ours = combined([scores], [1.0], how.statistic)
        if self.of == "cells.worst":  # no interval of a minimum holds
            ours = Interval(ours.estimate, math.nan, math.nan, ours.n)
        return pooled.repeated(what, printed, lambda x: how.statistic(x, axis=-1), [scores], ours, self.runs)


class Value(Estimated):
    """Where a number of one arm, or of each arm of a pattern, should lie."""

    value: str
    of: Measure
    arm: Arms

    def found(self, data: Data) -> list[tuple[str, str, Interval]]:
        how = named(self.of)
        return [
            (said(self.value, arm), self.of, combined([how.values(data, arm)], [1.0], how.statistic))
            for arm in self.arm
        ]


class Compared(Estimated):
    """Two arms: a measure `of` a `pair`, or the places of two."""

    of: Measure | Places
    pair: str = ""
    statistic: Literal["", "sd", "worst_tenth"] = ""
    runs: int | None = None
    but_for: str = ""  # the only setting in which the two arms may differ

    @model_validator(mode="after")
    def _two(self) -> "Compared":
        if isinstance(self.of, str) != bool(self.pair) or (not self.pair and len(self.of) != 2):
            raise ValueError("give a measure and a pair, or two places and no pair")
        self.sides()
        return self

    @property
    def text(self) -> str:
        raise NotImplementedError

    def sides(self) -> list[tuple[str, Place, Place]]:
        """For each piece its text and the two places."""
        if isinstance(self.of, str):
            return [(said(self.text, a), Place(self.of, a), Place(self.of, b)) for a, b in against(self.pair)]
        return [(self.text, *self.of)]  # type: ignore[list-item]

    def scores(self, data: Data, a: Place, b: Place) -> list[Array]:
        if self.but_for:
            _refuse_others(data, a.arm, b.arm, self.but_for)
        return [each.scores(data) for each in (a, b)]

    def found(self, data: Data) -> list[tuple[str, str, Interval]]:
        statistic = OF_SEEDS.get(self.statistic)
        return [
            (text, a.measure, self.interval(self.scores(data, a, b), statistic or named(a.measure).statistic))
            for text, a, b in self.sides()
        ]

    def pieces(self, data: Data) -> list[Evidence]:
        if self.runs is None:
            return super().pieces(data)
        return [self._number(data, text, a, b, self.runs) for text, a, b in self.sides()]

    def _number(self, data: Data, what: str, a: Place, b: Place, runs: int) -> Number:
        how, printed = named(a.measure), self.printed or 0.0
        if how.printed is None:
            return number(what, printed, self.difference(*paired(*self.scores(data, a, b))), runs=runs)
        arms = paired(*(how.printed(data, each.arm) for each in (a, b)))

        def quantity(x: Array, y: Array) -> Array:
            return self.difference(how.statistic(x, axis=-1), how.statistic(y, axis=-1))

        return pooled.repeated(what, printed, quantity, arms, self.interval(arms, how.statistic), runs)

    def interval(self, arms: Sequence[Array], statistic: Statistic) -> Interval:
        raise NotImplementedError

    def difference(self, a: Array, b: Array) -> Array:
        raise NotImplementedError


class Minus(Compared):
    """One arm minus another, seed by seed."""

    minus: str

    @property
    def text(self) -> str:
        return self.minus

    def interval(self, arms: Sequence[Array], statistic: Statistic) -> Interval:
        return combined(arms, [1.0, -1.0], statistic)

    def difference(self, a: Array, b: Array) -> Array:
        return a - b


class Change(Compared):
    """By how many percent one arm is above another; on the scale of logarithms, so never below −100 %."""

    change: str
    fall: bool = False  # the text speaks of a reduction: by how many percent it is below

    @property
    def text(self) -> str:
        return self.change

    @property
    def _sign(self) -> int:
        return -1 if self.fall else 1

    def interval(self, arms: Sequence[Array], statistic: Statistic) -> Interval:
        return percent(combined(arms, [1.0, -1.0], logarithm(statistic)), self._sign)

    def difference(self, a: Array, b: Array) -> Array:
        if self.fall and not (b > 0).all():
            raise Missing(f"needs {self.text} for every seed; some have nothing to reduce")
        return self._sign * 100 * (a / b - 1)


class Contrast(Estimated):
    """A weighted sum of places; with `percent` a product of powers, such as the ratio of two ratios."""

    contrast: str
    of: dict[str, Printed]
    percent: bool = False

    @model_validator(mode="after")
    def _places(self) -> "Contrast":
        for text in self.of:
            place(text)
        return self

    def found(self, data: Data) -> list[tuple[str, str, Interval]]:
        places = [place(text) for text in self.of]
        statistic = named(places[0].measure).statistic
        log = logarithm(statistic) if self.percent else statistic
        sum_of = combined([each.scores(data) for each in places], self.of.values(), log)
        return [(self.contrast, places[0].measure, percent(sum_of) if self.percent else sum_of)]


class Rise(Row):
    """A printed change in percent within a run beside ours, whose measure is a ratio: does it go there, and how far?

    Both intervals are those of the logarithm: ratios are skewed and never below zero.
    """

    rise: str
    of: Measure
    arm: Arm
    printed: Printed

    def pieces(self, data: Data) -> list[Evidence]:
        log = number(self.rise, math.log1p(self.printed / 100), np.log(measure(data, self.of, self.arm)))
        here, (low, high) = percent(log.found), (100 * math.expm1(end) for end in (log.low, log.high))
        side: Side = "above" if self.printed > 0 else "below"
        return [
            Direction(self.rise, here, side, printed=self.printed),
            Number(self.rise, self.printed, here, low, high, 1),
        ]


class Rank(Row):
    """The rank correlation of two measures over the seeds of an arm."""

    rank: str
    of: tuple[Measure, Measure]
    arm: Arms
    side: Side

    def pieces(self, data: Data) -> list[Evidence]:
        x, y = self.of
        return [
            Direction(said(self.rank, arm), rank_correlation(measure(data, x, arm), measure(data, y, arm)), self.side)
            for arm in self.arm
        ]


class Arithmetic(Row):
    """Arithmetic within a document: does the printed result follow from the printed operands?

    Decimals are known to half a unit of their last digit, whole numbers are exact counts; unless `rounding` is given.
    """

    sum: str
    formula: StrictStr
    printed: StrictStr  # a text, so that its digits count
    shows: str = ""  # what readers see of the formula, where it is not itself
    rounding: float | None = None

    @model_validator(mode="after")
    def _computes(self) -> "Arithmetic":
        arithmetic(self.formula), arithmetic(self.printed)
        return self

    def pieces(self, data: Data) -> list[Evidence]:
        rounding = tolerance(self.formula, self.printed) if self.rounding is None else self.rounding
        shown = self.shows or self.formula.replace(" * (", " (").replace("*", "·").replace("-", "−")
        return [Sum(self.sum, shown, arithmetic(self.formula), arithmetic(self.printed), rounding)]


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


class Special(Row):
    """What no other row can say: a function of `SPECIAL`, with what it is given."""

    special: str
    given: dict[str, Any] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _callable(self) -> "Special":
        if self.special not in SPECIAL:
            raise ValueError(f"unknown special {self.special!r}; choose one of {', '.join(SPECIAL)}")
        try:
            inspect.signature(SPECIAL[self.special]).bind(None, **self.given)
        except TypeError as error:
            raise ValueError(f"special {self.special!r}: {error}") from None
        return self

    def pieces(self, data: Data) -> list[Evidence]:
        return SPECIAL[self.special](data, **self.given)


def _refuse_others(data: Data, a: str, b: str, but_for: str) -> None:
    """Raises Missing where two arms differ in more than one setting."""
    free = ALWAYS_FREE | {but_for}
    one, other = ({k: v for k, v in data.run(arm).config.science.items() if k not in free} for arm in (a, b))
    if one != other:
        raise Missing(f"needs {a} with the settings of {b} but for the {but_for}")


KINDS: dict[str, type[Row]] = {
    "level": Level, "value": Value, "minus": Minus, "change": Change, "contrast": Contrast, "rise": Rise,
    "rank": Rank, "sum": Arithmetic, "special": Special,
}  # fmt: skip


def kind(row: object) -> str | None:
    """The kind of a row, which is its first key."""
    first = next(iter(row), None) if isinstance(row, dict) else None
    return first if first in KINDS else None


AnyRow = Annotated[
    Annotated[Level, Tag("level")]
    | Annotated[Value, Tag("value")]
    | Annotated[Minus, Tag("minus")]
    | Annotated[Change, Tag("change")]
    | Annotated[Contrast, Tag("contrast")]
    | Annotated[Rise, Tag("rise")]
    | Annotated[Rank, Tag("rank")]
    | Annotated[Arithmetic, Tag("sum")]
    | Annotated[Special, Tag("special")],
    Discriminator(
        kind, custom_error_type="kind", custom_error_message=f"a row begins with its kind, one of {', '.join(KINDS)}"
    ),
]
