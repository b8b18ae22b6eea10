"""What is left of LayerNorm's effect where each arm has its own best learning rate, in words for the landing page.

From the table of `lnlab.report.sensitivity.at_best`. Descriptions: the intervals are not corrected for their number.
"""

from typing import Any

import pandas as pd

from lnlab.config import RunConfig
from lnlab.report import effects, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Data, Missing
from lnlab.report.sensitivity import at_best, effects_by, rate_words, scores

MAIN = rate_words(RunConfig.model_fields["lr"].default)
LEFT = {1: "LayerNorm still gains", 0: "LayerNorm makes no clear difference", -1: "LayerNorm loses"}


def table(data: Data) -> pd.DataFrame:
    """As `at_best`, with the name of each pair of arms; empty for a report without runs at other rates."""
    every = _every(data)
    return pd.DataFrame(columns=["outcome", "pair"]) if every is None else _named(at_best(every))


def _named(best: pd.DataFrame) -> pd.DataFrame:
    return best.assign(pair=tables.pairs(best))


def _every(data: Data) -> pd.DataFrame | None:
    try:
        return scores(data, "rates", "lr")
    except Missing:
        return None


def landing(data: Data, found: pd.DataFrame) -> str:
    """What to say after the effects at the main rate, which are `found`; "" for a report without other rates."""
    every = _every(data)
    rows = pd.DataFrame() if every is None else _named(at_best(every)).query("outcome == 'return'")
    if every is None or rows.empty:
        return ""
    main = found[found.outcome == "return"]
    at_main = dict(zip(tables.pairs(main), main.itertuples(), strict=True))
    changes = ", ".join(
        f"{tables.words(row)} for {row.pair}{_instead_of(at_main.get(row.pair))}" for row in rows.itertuples()
    )
    return (
        f"All this is at the documents' learning rate of {MAIN}. With each arm at its own best rate of those tried, "
        f"LayerNorm changes the return at the end of training by {changes} (n = {counted(rows.n)}; a seed's rate is "
        "chosen on the other seeds; 95 % intervals, not corrected for their number). With one rate for both it ranges "
        f"from {_by_rate(every)}."
    )


def _by_rate(every: pd.DataFrame) -> str:
    """Between what and what the effect on the return lies, by the rate that both arms share."""
    effect = effects_by(every, "lr")
    effect = effect[effect.outcome == "return"].assign(pair=lambda rows: tables.pairs(rows))
    parts = []
    for pair, rows in effect.groupby("pair", sort=False):
        ends = [rows.loc[rows.estimate.idxmin()], rows.loc[rows.estimate.idxmax()]]
        parts.append(f"{' to '.join(f'{tables.words(end)} (at {rate_words(end.lr)})' for end in ends)} for {pair}")
    return ", ".join(parts)


def _instead_of(row: Any) -> str:
    return "" if row is None else f" instead of {tables.number(row.estimate, 1)}"


def sign(best: pd.DataFrame, pair: str) -> int | None:
    """1 if an interval of a return lies above zero and none below, −1 the other way round; else 0; None: no runs."""
    rows = best[best.pair == pair]
    signs = {int(row.low > 0) - int(row.high < 0) for row in rows.itertuples()}
    return None if rows.empty else sum({1, -1} & signs)


def advice(best: pd.DataFrame, pair: str) -> str:
    """A sentence for one algorithm and core that has runs at other rates."""
    titles = {each.name: each.title for each in effects.OUTCOMES}
    changes = "; ".join(
        f"{titles[row.outcome]} {signed(row)} (LN {rate_words(row.best_ln)}, none {rate_words(row.best_none)})"
        for row in best[best.pair == pair].itertuples()
    )
    left = LEFT[sign(best, pair) or 0]
    return (
        f"With each arm at its own best learning rate of those tried {left}: {changes}; not corrected for their number."
    )


def signed(row: Any) -> str:
    """An effect with its sign, and its interval.

    >>> from lnlab.analysis.stats import Interval
    >>> signed(Interval(2.1, -0.1, 4.2, 10))
    '+2.1 [−0.1,\\xa04.2]'
    """
    return f"{'+' if row.estimate > 0 else ''}{tables.words(row)}"
