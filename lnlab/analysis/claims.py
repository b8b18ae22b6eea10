"""Verdicts on the documents' claims: computed from evidence by the rules stated here, the same for all.

A claim becomes rows of evidence. Each says yes, no, or nothing yet (open):

- Direction: an effect with its 95 % interval and the side of a bound on which the claim puts it. It *holds* if the
  whole interval lies on that side, is *opposed* if it lies on the other, else *open*. A claim of "no difference" names
  a margin instead: it holds if the interval lies within it. An interval without width is a point, and a point on the
  bound opposes "above" and "below".
- Number: a printed value beside our interval of the same quantity. It *agrees* if the interval lies within a margin of
  the printed value, *differs* if it lies outside, else *open*.
- Sum: arithmetic within the document, *right* or *wrong* up to the rounding of what is printed. Beside the others.
- Untested: a part of the claim for which there is no run: *open*.

Main rows are those marked as such; where none is, all that are no numbers. The first rule that applies:

1. `not testable here`: there is no evidence; the reason is given.
2. `true`: all rows say yes.
3. `false`: a main row says no, or half of all rows or more do.
4. `mostly true`: all main rows say yes, or three quarters of all rows do.
5. `cannot tell`: all else.

A wrong sum makes it an `arithmetic error`, and the verdict of the other rows is its substance.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from lnlab.analysis.stats import Interval

VERDICTS = ("true", "mostly true", "false", "cannot tell", "arithmetic error", "not testable here")
MARGIN = 0.25  # of a printed value, on either side
MOSTLY = 0.75  # share of the rows that makes a claim mostly true
Side = Literal["above", "below", "within"]
Outcome = Literal["agrees", "differs", "holds", "opposed", "open", "right", "wrong"]
YES, NO = ("holds", "agrees"), ("opposed", "differs")
NAMED = 3  # rows that a reason names, of those that say no


@dataclass(frozen=True)
class Number:
    """A printed value beside ours, which agrees within `margin` of it."""

    what: str
    printed: float
    found: Interval
    margin: float
    main: bool = False

    @property
    def outcome(self) -> Outcome:
        low, high = self.found.low - self.printed, self.found.high - self.printed
        if -self.margin <= low and high <= self.margin:
            return "agrees"
        return "differs" if low > self.margin or high < -self.margin else "open"

    @property
    def resolves(self) -> float:
        """What the interval's half-width has to be below for our data to tell."""
        return self.margin


@dataclass(frozen=True)
class Direction:
    """An effect and where the claim puts it: above or below `threshold`, or within `threshold` of zero."""

    what: str
    found: Interval
    side: Side
    threshold: float = 0.0
    printed: float | None = None  # the size the document gives it
    main: bool = False

    @property
    def outcome(self) -> Outcome:
        low, high = self.found.low, self.found.high
        if self.side == "within":
            inside, outside = max(-low, high) <= self.threshold, low > self.threshold or high < -self.threshold
        else:
            above, below = low > self.threshold, high < self.threshold
            inside, outside = (above, below) if self.side == "above" else (below, above)
            outside = outside or low == high == self.threshold
        return "holds" if inside else "opposed" if outside else "open"

    @property
    def resolves(self) -> float:
        """The margin, or the printed effect, or else the distance of ours from the bound."""
        if self.side == "within":
            return self.threshold
        return abs((self.found.estimate if self.printed is None else self.printed) - self.threshold)


@dataclass(frozen=True)
class Sum:
    """Arithmetic within a document: `formula` shows the operands, `computed` its value, `printed` what stands there."""

    what: str
    formula: str
    computed: float
    printed: float
    rounding: float  # largest difference that the rounding of the printed numbers explains

    @property
    def outcome(self) -> Outcome:
        return "right" if abs(self.computed - self.printed) <= self.rounding else "wrong"


@dataclass(frozen=True)
class Untested:
    """A part of a claim that no run here speaks on."""

    what: str
    main: bool = False
    outcome: Outcome = "open"


Measured = Number | Direction
Evidence = Measured | Sum | Untested


def half_width(each: Measured) -> float:
    """Half the width of a row's interval; NaN where it has none."""
    return (each.found.high - each.found.low) / 2


def could_tell(each: Measured) -> bool:
    """Is the interval narrow enough for what it has to resolve?

    >>> could_tell(Number("gap", 1.9, Interval(36.0, 6.0, 62.0, 30), 0.475))
    False
    """
    return half_width(each) < each.resolves or half_width(each) == 0


@dataclass(frozen=True)
class Verdict:
    """What the rules make of a claim's evidence; `reason` says it in a sentence."""

    verdict: str
    substance: str = ""  # beside an arithmetic error: the verdict of all but the sums, if there is more
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""

    def __str__(self) -> str:
        return f"{self.verdict}; in substance {self.substance}" if self.substance else self.verdict


def judge(evidence: Sequence[Evidence], *, reason: str = "", rows: str = "rows") -> Verdict:
    """Apply the rules of this module to a claim's evidence.

    Args:
        evidence: what was measured or computed; empty makes it not testable.
        reason: why there is no evidence; needed then, and only then.
        rows: what to call the rows in the reason.

    Raises:
        ValueError: neither evidence nor a reason, or both.

    >>> judge([Direction("effect", Interval(2, 1, 3, 30), "above")]).verdict
    'true'
    """
    if bool(evidence) == bool(reason):
        raise ValueError("a claim needs evidence, or a reason why there is none, not both")
    if not evidence:
        return Verdict("not testable here", reason=reason)
    judged = [each for each in evidence if not isinstance(each, Sum)]
    verdict, substance = _verdict(judged), ""
    if any(each.outcome == "wrong" for each in evidence):
        verdict, substance = "arithmetic error", verdict if judged else ""
    return Verdict(verdict, substance, tuple(evidence), _explain(evidence, rows))


def _verdict(rows: Sequence[Number | Direction | Untested]) -> str:
    main = [each for each in rows if each.main] or [each for each in rows if not isinstance(each, Number)]
    yes, no = ([each for each in rows if each.outcome in outcomes] for outcomes in (YES, NO))
    if len(yes) == len(rows):
        return "true"
    if any(each.outcome in NO for each in main) or 2 * len(no) >= len(rows):
        return "false"
    if (main and all(each.outcome in YES for each in main)) or len(yes) >= MOSTLY * len(rows):
        return "mostly true"
    return "cannot tell"


def _explain(evidence: Sequence[Evidence], name: str) -> str:
    """How many rows say yes, and which say no, e.g. `holds in 2 of 5 rows, 1 open; against it: gap, %`."""
    rows = [each for each in evidence if not isinstance(each, Sum)]
    wrong = list(dict.fromkeys(each.what for each in evidence if each.outcome == "wrong"))
    parts = []
    if rows:
        yes, still = (sum(each.outcome in outcomes for each in rows) for outcomes in (YES, ("open",)))
        parts.append(f"holds in {yes} of {len(rows)} {name}" + (f", {still} open" if still else ""))
        against = list(dict.fromkeys(each.what for each in rows if each.outcome in NO))
        parts += [f"against it: {_some(against)}"] if against else []
    elif not wrong:
        parts.append("its arithmetic is right")
    return "; ".join(parts + ([f"wrong sum: {_some(wrong)}"] if wrong else []))


def _some(names: Sequence[str]) -> str:
    more = len(names) - NAMED
    return " · ".join(names[:NAMED]) + (f" · and {more} more" if more > 0 else "")


def margin_of(printed: float, smallest: float | None = None, *, log: bool = False) -> float:
    """How far from a printed value ours may lie: a quarter of it, on a log10 scale a factor of two.

    >>> margin_of(-64.9), margin_of(0.5, 2), round(margin_of(12.9, log=True), 3)
    (16.225, 2, 0.301)
    """
    return math.log10(2) if log else max(MARGIN * abs(printed), smallest or 0)
