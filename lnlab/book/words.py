"""The only place where a number becomes text."""

import math
import re
from collections.abc import Callable, Iterable
from operator import neg
from typing import Any

import numpy as np

from lnlab.analysis.claims import Evidence, Measured
from lnlab.analysis.stats import Interval, decimals
from lnlab.claims.documents import PLACE
from lnlab.claims.studies import labels

NARROW = "\N{NO-BREAK SPACE}"
LARGE = 1e7  # from here on numbers are shown as powers of ten
TURNED: dict[str, Callable[[float], float]] = {"-": neg, "100*": lambda value: 100 * value, "10^": lambda x: 10.0**x}
TURNS = "|".join(map(re.escape, TURNED))


def number(value: float, digits: int = 1) -> str:
    """A number with a true minus sign, none before a zero, thousands separated; `n/a` where undefined.

    >>> number(-1234.56), number(-0.04)
    ('−1,234.6', '0.0')
    """
    return f"{value:z,.{digits}f}".replace("-", "−") if np.isfinite(value) else "n/a"


def estimate(row: Any, digits: int = 1) -> str:
    r"""An estimate and its interval (anything with estimate, low, high); the estimate alone where there is none.

    >>> estimate(Interval(89.71, 88.1, 91.29, 30))
    '89.7 [88.1,\xa091.3]'
    """
    middle = number(row.estimate, digits)
    if not np.isfinite(row.low):
        return middle
    return f"{middle} [{number(row.low, digits)},{NARROW}{number(row.high, digits)}]"


def precise(middle: float, low: float, high: float) -> str:
    r"""An estimate and its interval with as many digits as the interval supports; n/a where it is undefined.

    >>> precise(12.3456, 10.12, 14.5)
    '12.3 [10.1,\xa014.5]'
    >>> precise(2.453e11, float("nan"), float("nan"))
    '2.45e+11'
    """
    if abs(middle) >= LARGE:
        bounds = f" [{low:.3g},{NARROW}{high:.3g}]" if np.isfinite(low) else ""
        return f"{middle:.3g}{bounds}".replace("-", "−")
    return estimate(Interval(middle, low, high, 0), decimals(middle, low, high))


def filled(sentence: str, evidence: Iterable[Evidence]) -> str:
    r"""A sentence with {the text of a row} replaced by its estimate and interval.

    Before the text may stand `-` (a fall), `100*` (a share in percent) or `10^` (of a logarithm), or several.

    Raises:
        KeyError: no measured row has this text.

    >>> from lnlab.analysis.claims import Direction
    >>> filled("It costs {-gain, %}.", [Direction("gain, %", Interval(-36.0, -62.0, -6.0, 30), "above")])
    'It costs 36 [6,\xa062].'
    """
    rows = {each.what: each.found for each in reversed([*evidence]) if isinstance(each, Measured)}

    def said(place: re.Match[str]) -> str:
        values: tuple[float, ...] = rows[place[2]][:3]
        for turn in reversed(re.findall(TURNS, place[1])):
            values = tuple(TURNED[turn](value) for value in values)
        return precise(values[0], *sorted(values[1:]))

    return PLACE.sub(said, sentence)


def few(value: float, digits: int = 4) -> str:
    """A printed value or a bound: few significant digits, a true minus sign."""
    return "infinite" if math.isinf(value) else f"{value:,.{digits}g}".replace("-", "−")


def probability(p: float) -> str:
    """A p-value.

    >>> probability(0.00016), probability(0.0432), probability(1.0)
    ('<\xa0.001', '.043', '1')
    """
    if p < 0.001:
        return f"<{NARROW}.001"
    return f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def rate(lr: float) -> str:
    """A learning rate as the command line takes it.

    >>> rate(0.0003), rate(0.01)
    ('3e-4', '1e-2')
    """
    return f"{lr:.0e}".replace("e-0", "e-")


def counted(numbers: Iterable[int]) -> str:
    """How many seeds, for a caption.

    >>> counted([30, 10, 30])
    '10 to 30'
    """
    fewest, most = min(numbers := list(numbers), default=0), max(numbers, default=0)
    return f"{most}" if fewest == most else f"{fewest} to {most}"


def listed(items: Iterable[str]) -> str:
    """Words in a row.

    >>> listed(["A", "B", "C"]), listed(["A"])
    ('A, B and C', 'A')
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last


def arm(run: str) -> str:
    """What readers call an arm.

    >>> arm("a3c-gru-ln")
    'A3C GRU, LayerNorm'
    """
    *agent, norm = [value for name, value in labels(run).items() if name in ("algorithm", "core", "norm")]
    return f"{' '.join(agent)}, {norm}"
