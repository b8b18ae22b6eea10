"""How the hypotheses on the mechanism fare: verdicts, table, summary and the answer of notebooks/mechanism.ipynb.

A hypothesis of `lnlab.report.predictions` is *confirmed* if all its predictions hold, *refuted* if some are opposed and
none holds, *mixed* if some hold and some are opposed, and *open* otherwise.
"""

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Direction
from lnlab.report import ledger, output, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Data, Missing
from lnlab.report.predictions import HYPOTHESES

Tested = dict[str, list[Direction] | str]  # by name: predictions beside the data, or why there are none
SETTLED = {
    "confirmed": "**Confirmed**",
    "refuted": "**Refuted**",
    "mixed": "Mixed",
    "open": "Open",
    "not tested": "Not tested",
}


def verdict(found: Iterable[Direction]) -> str:
    """confirmed, refuted, mixed or open.

    >>> from lnlab.analysis.stats import Interval
    >>> low, high = Interval(-2, -3, -1, 30), Interval(2, 1, 3, 30)
    >>> verdict([Direction("a", high, "above"), Direction("b", low, "above")])
    'mixed'
    """
    outcomes = {each.outcome for each in found}
    if outcomes == {"holds"}:
        return "confirmed"
    if "opposes" in outcomes:
        return "mixed" if "holds" in outcomes else "refuted"
    return "open"


def tested(data: Data) -> Tested:
    """Each hypothesis by name: its predictions beside the data, or why they could not be made."""
    found: Tested = {}
    for hypothesis in HYPOTHESES:
        try:
            found[hypothesis.name] = hypothesis.predictions(data)
        except Missing as missing:
            found[hypothesis.name] = str(missing)
    return found


SAYS = (
    "What each hypothesis predicts and what was found: differences are paired by seed, means through training are "
    "weighted by time, intervals are of 95 %"
)


def table(found: Tested, name: str = "hypotheses", says: str = SAYS) -> output.TableOutput:
    """Every prediction with our number and how it came out; `says` is the caption, but for the seeds.

    Raises:
        Missing: nothing could be tested.
    """
    if not any(isinstance(each, list) for each in found.values()):
        raise Missing(next(iter(found.values()), "needs a hypothesis"))
    data = pd.DataFrame(list(_rows(found)))
    shown = data[["hypothesis", "prediction", "here", "n", "outcome"]].assign(n=data.n.map(_count))
    n = counted(data.n.dropna().astype(int))
    return output.table(name, shown, caption=f"{says}; n = {n} seeds.", data=data)


def _rows(found: Tested) -> Iterator[dict[str, object]]:
    for name, directions in found.items():
        if isinstance(directions, str):
            yield {"hypothesis": name, "prediction": directions, "here": "n/a", "outcome": "not tested", "n": np.nan}
            continue
        for each in directions:
            row: dict[str, object] = {
                "hypothesis": name,
                "prediction": f"{each.what}: {_side(each)}",
                "here": ledger.interval_words(*each.found[:3]),
            }
            yield row | {"outcome": each.outcome} | each.found._asdict()


def _count(n: float) -> str:
    return "" if np.isnan(n) else str(int(n))


def _side(each: Direction) -> str:
    bound = f"{each.threshold:.2g}".replace("-", "−") if abs(each.threshold) < 10 else tables.number(each.threshold, 0)
    return f"within ±{bound}" if each.side == "within" else f"{each.side} {bound}"


def _settled(directions: list[Direction] | str) -> str:
    return "not tested" if isinstance(directions, str) else verdict(directions)
