"""The ten kinds of row in a claims file. The first key of a row is its kind:

level     printed levels, one an arm, beside ours
value     where a number of one arm should lie
minus     one arm minus another
change    by how many percent one arm is above another
contrast  a weighted sum of several arms
rank      do two numbers of one arm go together over its seeds?
sum       does a printed number follow from other printed numbers?
fact      a printed number beside one that is published elsewhere
untested  a part of the claim for which there is no run
special   none of these: a function of `lnlab.claims.special`

What is measured goes by its name (`lnlab.claims.measures`), an arm by its run id. A pattern such as
`{algorithm}-gru-{norm}` stands for several arms, in the order of `VALUES`, and makes a piece of evidence for each; in
the row's text `{algorithm}` is then what readers call it, and `{setting}` in what it is unlike the main arms. In
`pair`, `{norm}` is LayerNorm against no norm. A place is `measure of arm`. Numbers that follow from printed ones may be
written as arithmetic: `printed: 49.57 - 38.22`. Of a `log10.` measure, printed numbers and bounds are given before the
logarithm, as factors: `within` a `bound` of 2. How a row becomes evidence is in `lnlab.claims.evidence`.
"""

import ast
import inspect
import itertools
import math
import operator
from string import Formatter
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    StrictStr,
    Tag,
    ValidationInfo,
    model_validator,
)

from lnlab.analysis.claims import Side
from lnlab.claims.measures import named
from lnlab.claims.names import Names, of_study
from lnlab.claims.special import SPECIAL
from lnlab.config import GymConfig, RunConfig, TD3Config, shown

VALUES = {"algorithm": ("a3c", "individual"), "core": ("gru", "ff"), "norm": ("ln", "none")}
OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}


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
        if isinstance(node, ast.Constant) and isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return float(node.value)
        raise ValueError(f"{shown(text)} is no arithmetic: numbers, + - * / and brackets only")

    try:
        found = value(ast.parse(str(text), mode="eval").body)
    except (SyntaxError, ArithmeticError, RecursionError, MemoryError):
        found = math.nan
    if not math.isfinite(found):
        raise ValueError(f"{shown(text)} is no number and no arithmetic")
    return found


def expanded(pattern: str, names: Names | None = None) -> list[str]:
    """The arms that a pattern stands for, of `names`, or else of study.toml.

    >>> expanded("{algorithm}-gru-ln")
    ['a3c-gru-ln', 'individual-gru-ln']

    Raises:
        ValueError: a name in braces is unknown, or there is no such arm.
    """
    known = names or of_study()
    places = [name for _, name, _, _ in Formatter().parse(pattern) if name is not None]
    if unknown := sorted(set(places) - set(VALUES)):
        raise ValueError(f"{pattern!r}: {{{unknown[0]}}} does not expand; allowed: {{{'}, {'.join(VALUES)}}}")
    values = itertools.product(*(VALUES[name] for name in places))
    arms = [pattern.format(**dict(zip(places, each, strict=True))) for each in values]
    for arm in arms:
        known.parts(arm)
    return arms


def said(text: str, arm: str, info: ValidationInfo) -> str:
    """The text of a row about one arm."""
    parts = _names(info).parts(arm)
    try:
        return text.format(**parts)
    except (KeyError, IndexError, AttributeError):
        raise ValueError(f"{text!r} names what {arm} has not; it has {', '.join(parts)}") from None


def _names(info: ValidationInfo) -> Names:
    """The arms that the file may name: what it is read with."""
    return info.context or of_study()


class Place(NamedTuple):
    """A measure of an arm."""

    measure: str
    arm: str


def place(text: object, info: ValidationInfo) -> Place:
    """From `measure of arm`."""
    name, middle, arm = str(text).partition(" of ")
    if not middle:
        raise ValueError(f"{text!r} should read: measure of arm")
    return Place(_measure(name), _arm(arm, info))


def _measure(name: str) -> str:
    named(name)
    return name


def _arm(name: str, info: ValidationInfo) -> str:
    arms = expanded(name, _names(info))
    if len(arms) > 1:
        raise ValueError(f"{name!r} is {len(arms)} arms where one is wanted")
    return arms[0]


def _texts(given: object) -> list[str]:
    """A text or a list of texts, as a list."""
    texts = [given] if isinstance(given, str) else given
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts) or not texts:
        raise ValueError(f"{given!r} should be a text or a list of texts")
    return texts


def _arms(given: object, info: ValidationInfo) -> list[str]:
    return [arm for pattern in _texts(given) for arm in expanded(pattern, _names(info))]


def _measure_or_places(given: object, info: ValidationInfo) -> str | list[Place]:
    return _measure(given) if isinstance(given, str) else [place(text, info) for text in _texts(given)]


def _setting(name: str) -> str:
    if name not in (settings := {name for cls in (RunConfig, GymConfig, TD3Config) for name in cls.model_fields}):
        raise ValueError(f"unknown setting {name!r}; choose one of {', '.join(sorted(settings))}")
    return name


Printed = Annotated[float, BeforeValidator(arithmetic)]
Measure = Annotated[str, AfterValidator(_measure)]
Arm = Annotated[str, AfterValidator(_arm)]
Arms = Annotated[list[str], BeforeValidator(_arms)]  # an arm, a pattern, or a list of them
APlace = Annotated[Place, BeforeValidator(place)]
Setting = Annotated[str, AfterValidator(_setting)]


# -- rows -----------------------------------------------------------------------------------------------------------
class Row(BaseModel):
    """A line of evidence; an unknown key is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    otherwise: str | None = None  # what the note says where the runs are not there: then the claim does without the row
    main: bool = False  # the claim's main statement, or one of several
    _texts: dict[str, str] = PrivateAttr(default_factory=dict)

    def said(self, arm: str) -> str:
        """The row's text about one of its arms."""
        return self._texts[arm]

    @property
    def texts(self) -> list[str]:
        """The texts of all its pieces of evidence."""
        name = next(name for name, each in KINDS.items() if each is type(self))
        return [*self._texts.values()] or [getattr(self, name)]


class Level(Row):
    """Printed levels by arm."""

    level: str
    of: Measure
    printed: dict[Arm, Printed]
    margin: float | None = None  # the smallest, where a printed value is near zero

    @model_validator(mode="after")
    def _sayable(self, info: ValidationInfo) -> "Level":
        self._texts = {arm: said(self.level, arm, info) for arm in self.printed}
        return self


class Sided(Row):
    """On which side of a bound the claim puts a number, and the size that the document prints: one of them or both."""

    side: Side | None = None
    bound: Printed | None = None  # 0 where none is given
    printed: Printed | None = None
    margin: float | None = None  # the smallest, where the printed value is near zero


class Value(Sided):
    """One arm, or each arm of a pattern; with `percent` of a ratio within a run, as a change in percent."""

    value: str
    of: Measure
    arm: Arms
    percent: bool = False

    @model_validator(mode="after")
    def _sayable(self, info: ValidationInfo) -> "Value":
        self._texts = {arm: said(self.value, arm, info) for arm in self.arm}
        return self


class Compared(Sided):
    """Two arms: a measure `of` a `pair`, or of each of several pairs, or two places.

    A pair holds a name in braces that stands for the two: `{norm}`, LayerNorm against no norm, or the one named `by`.
    With `statistic: wins` a row is about the share of seeds in which the first is above the second.
    """

    of: Annotated[str | list[Place], BeforeValidator(_measure_or_places)]
    pair: Annotated[list[str], BeforeValidator(_texts)] = []
    by: Literal["norm", "core"] = "norm"
    statistic: Literal["", "sd", "worst_tenth", "wins"] = ""  # of seeds, instead of the measure's own
    but_for: Setting | None = None  # the only setting in which the two arms may differ

    _sides: list[tuple[str, Place, Place]] = PrivateAttr(default_factory=list)

    @property
    def sides(self) -> list[tuple[str, Place, Place]]:
        """For each piece of evidence its text and the two places."""
        return self._sides

    @property
    def texts(self) -> list[str]:
        """The texts of all its pieces of evidence."""
        return [text for text, _, _ in self._sides]

    @model_validator(mode="after")
    def _whole(self, info: ValidationInfo) -> "Compared":
        if isinstance(self.of, str) and not (self.pair and all(f"{{{self.by}}}" in pair for pair in self.pair)):
            raise ValueError(f"the pair {self.pair} lacks {{{self.by}}}, which stands for the two that are compared")
        if not isinstance(self.of, str) and (self.pair or len(self.of) != 2):
            raise ValueError("give a measure and a pair, or two places and no pair")
        text = str(getattr(self, "minus", None) or getattr(self, "change", None))
        if isinstance(self.of, str):
            both = (
                [arm for pair in self.pair for arm in expanded(pair.replace(f"{{{self.by}}}", each), _names(info))]
                for each in VALUES[self.by]
            )
            of = self.of
            self._sides = [(said(text, a, info), Place(of, a), Place(of, b)) for a, b in zip(*both, strict=True)]
        else:
            a, b = self.of
            self._sides = [(text, a, b)]
        return self


class Minus(Compared):
    minus: str


class Change(Compared):
    change: str
    fall: bool = False  # the text speaks of a reduction: by how many percent it is below

    @model_validator(mode="after")
    def _is_of_levels(self) -> "Change":
        if self.statistic == "wins":
            raise ValueError("a share of seeds is no change in percent: write minus in place of change")
        return self


class Contrast(Sided):
    """A weighted sum; with `percent` of logarithms, as a change in percent, such as the ratio of two ratios."""

    contrast: str
    of: dict[APlace, Printed]
    percent: bool = False


class Rank(Row):
    rank: str
    of: tuple[Measure, Measure]
    arm: Arms
    side: Side

    @model_validator(mode="after")
    def _sayable(self, info: ValidationInfo) -> "Rank":
        self._texts = {arm: said(self.rank, arm, info) for arm in self.arm}
        return self


class Arithmetic(Row):
    """Decimals are known to half a unit of their last digit, whole numbers are exact; `rounding` is instead of that."""

    sum: str
    formula: StrictStr
    printed: StrictStr  # a text, so that its digits count
    shows: str = ""  # what readers see of the formula, where it is not itself
    rounding: float | None = None

    @model_validator(mode="after")
    def _computes(self) -> "Arithmetic":
        arithmetic(self.formula), arithmetic(self.printed)
        return self


class Fact(Row):
    fact: str
    published: Printed
    printed: Printed
    source: str

    @property
    def texts(self) -> list[str]:
        """Its text, with the source."""
        return [f"{self.fact} ({self.source})"]


class Untried(Row):
    untested: str


class Special(Row):
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


KINDS: dict[str, type[Row]] = {
    "level": Level, "value": Value, "minus": Minus, "change": Change, "contrast": Contrast, "rank": Rank,
    "sum": Arithmetic, "fact": Fact, "untested": Untried, "special": Special,
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
    | Annotated[Rank, Tag("rank")]
    | Annotated[Arithmetic, Tag("sum")]
    | Annotated[Fact, Tag("fact")]
    | Annotated[Untried, Tag("untested")]
    | Annotated[Special, Tag("special")],
    Discriminator(
        kind, custom_error_type="kind", custom_error_message=f"a row begins with its kind, one of {', '.join(KINDS)}"
    ),
]
