"""Verdicts on the documents' claims: computed from evidence by the rules stated here, the same for all.

A claim becomes evidence of three kinds.

- Number: a printed level beside the same quantity over our seeds. It *agrees* if it lies in the 95 % prediction
  interval for a mean over as many new seeds as the document had (one run, or five): what a repetition of the
  document's own experiment would give, not what the true mean is.
- Direction: an effect with its 95 % interval and the side of a threshold on which the claim puts it. It *holds* if the
  whole interval lies on that side, *opposes* if it lies on the other, and is *open* otherwise. A claim of "no
  difference" names a margin instead: it holds if the interval lies within it.
  Equal scores of fewer than 20 seeds leave a number or a direction *open*: an interval without width says nothing.
- Sum: arithmetic within the document. It is *right* if the printed result follows from the printed operands, up to the
  rounding of what is printed.

Verdict, first rule that applies:

1. `untestable`: there is no evidence; the reason is given.
2. `arithmetic error`: a sum is not right.
3. `replicated`: every direction holds and every number agrees.
4. `direction only`: every direction holds (there is one at least), some number does not agree.
5. `contradicted`: some direction opposes and none holds.
6. `not replicated`: all else.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from lnlab.analysis.intervals import BOOTSTRAP_FROM, Interval, interval

VERDICTS = ("replicated", "direction only", "not replicated", "contradicted", "arithmetic error", "untestable")
Side = Literal["above", "below", "within"]
Outcome = Literal["agrees", "differs", "holds", "opposes", "open", "right", "wrong"]


def _equal(found: Interval) -> bool:
    """Few seeds with one score: that they have no spread does not mean that there is none."""
    return found.n < BOOTSTRAP_FROM and found.low == found.high


@dataclass(frozen=True)
class Number:
    """A printed level beside our seeds: `low` and `high` bound the mean of `runs` new seeds with 95 %."""

    what: str
    printed: float
    found: Interval
    low: float
    high: float
    runs: int

    @property
    def outcome(self) -> Outcome:
        if _equal(self.found):
            return "open"
        return "agrees" if self.low <= self.printed <= self.high else "differs"


@dataclass(frozen=True)
class Direction:
    """An effect and where the claim puts it: above or below `threshold`, or within `threshold` of zero."""

    what: str
    found: Interval
    side: Side
    threshold: float = 0.0
    printed: float | None = None  # the size the document prints, shown beside ours

    @property
    def outcome(self) -> Outcome:
        low, high = self.found.low, self.found.high
        if _equal(self.found):
            return "open"
        if self.side == "within":
            inside, outside = max(-low, high) <= self.threshold, low > self.threshold or high < -self.threshold
        else:
            above, below = low > self.threshold, high < self.threshold
            inside, outside = (above, below) if self.side == "above" else (below, above)
        return "holds" if inside else "opposes" if outside else "open"


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


Evidence = Number | Direction | Sum


@dataclass(frozen=True)
class Verdict:
    """What the rules make of a claim's evidence. `reason` says it in a sentence; `runs` are the ids behind it."""

    claim: str
    verdict: str
    evidence: tuple[Evidence, ...] = ()
    reason: str = ""
    note: str = ""  # where the public origin repository explains the document's number
    runs: tuple[str, ...] = field(default=())


def judge(
    claim: str, evidence: Sequence[Evidence], *, reason: str = "", note: str = "", runs: Sequence[str] = ()
) -> Verdict:
    """Apply the rules of this module to a claim's evidence.

    Args:
        claim: its id.
        evidence: what was measured or computed; empty makes it untestable.
        reason: why there is no evidence; needed then, and only then.

    Raises:
        ValueError: neither evidence nor a reason, or both.

    >>> judge("X", [Direction("effect", Interval(2, 1, 3, 30), "above")]).verdict
    'replicated'
    """
    if bool(evidence) == bool(reason):
        raise ValueError(f"claim {claim} needs evidence, or a reason why there is none, not both")
    name = _verdict([each.outcome for each in evidence])
    return Verdict(claim, name, tuple(evidence), reason or _explain(evidence), note, tuple(runs))


def _verdict(outcomes: Sequence[Outcome]) -> str:
    if not outcomes:
        return "untestable"
    if "wrong" in outcomes:
        return "arithmetic error"
    directed = [outcome for outcome in outcomes if outcome in ("holds", "opposes", "open")]
    if all(outcome == "holds" for outcome in directed):
        if "differs" not in outcomes:
            return "replicated"
        return "direction only" if directed else "not replicated"
    return "contradicted" if "opposes" in directed and "holds" not in directed else "not replicated"


def _explain(evidence: Sequence[Evidence]) -> str:
    """How many pieces of evidence came out which way, e.g. `directions: 2 hold, 1 open; numbers: 3 differ`."""
    parts = []
    for label, kind in (("sums", Sum), ("directions", Direction), ("numbers", Number)):
        outcomes = [each.outcome for each in evidence if isinstance(each, kind)]
        counts = {name: outcomes.count(name) for name in dict.fromkeys(outcomes)}
        if counts:
            parts.append(f"{label}: " + ", ".join(f"{count} {_plural(name, count)}" for name, count in counts.items()))
    return "; ".join(parts)


def _plural(outcome: str, count: int) -> str:
    return outcome.removesuffix("s") if count > 1 and outcome.endswith("s") else outcome


def number(what: str, printed: float, seeds: ArrayLike, *, runs: int = 1) -> Number:
    """A printed level against one value per seed (n_seeds,), at least two.

    The prediction interval for the mean of `runs` new seeds is mean ± t(n − 1) s √(1/n + 1/runs), as for a normal one.

    Raises:
        ValueError: fewer than two seeds, or a value that is not finite.
    """
    values = np.asarray(seeds, dtype=float)
    if values.ndim != 1 or len(values) < 2 or not np.isfinite(values).all():
        raise ValueError(f"{what}: a prediction interval needs one finite value for each of two seeds or more")
    n = len(values)
    half = float(stats.t.ppf(0.975, n - 1)) * values.std(ddof=1) * math.sqrt(1 / n + 1 / runs)
    found = interval(values)
    return Number(what, printed, found, values.mean() - half, values.mean() + half, runs)
