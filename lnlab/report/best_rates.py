"""What is left of LayerNorm's effect where each arm has its own best learning rate, in words for the landing page.

From the table of `lnlab.report.sensitivity.at_best`. Descriptions: the intervals are not corrected for their number.
"""

from typing import Any

import pandas as pd

from lnlab.config import RunConfig
from lnlab.report import effects, output, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Data, Missing
from lnlab.report.sensitivity import at_best, effects_by, rate_words, scores

MAIN = rate_words(RunConfig.model_fields["lr"].default)
LEFT = {1: "LayerNorm still gains", 0: "LayerNorm makes no clear difference", -1: "LayerNorm loses"}
VERBS = {1: "still gains with", 0: "makes no clear difference with", -1: "loses with"}


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


def sentence(data: Data) -> str:
    """For which agents LayerNorm still raises the return with each arm at its own best rate; "" without other rates."""
    rows = _returns(_every(data))
    named: dict[int, list[str]] = {1: [], 0: [], -1: []}
    for row in rows.itertuples():
        named[_side(row)].append(row.pair)
    clauses = [f"{verb} {effects.listed(named[side])}" for side, verb in VERBS.items() if named[side]]
    return (
        f"With each arm at its own best learning rate of those tried, LayerNorm {effects.listed(clauses)} "
        f"(return at the end of training, n = {counted(rows.n)}; 95 % intervals, not corrected for their number)."
        if clauses
        else ""
    )


def landing(data: Data, found: pd.DataFrame) -> str:
    """The sentence and a table, to stand after the effects at the main rate, which are `found`; "" as `sentence`."""
    said, every = sentence(data), _every(data)
    if every is None or not said:
        return ""
    main = found[found.outcome == "return"].assign(pair=lambda rows: tables.pairs(rows)).set_index("pair")
    shared = _by_rate(every)
    rows = [
        {
            "LayerNorm minus no norm": row.pair,
            f"both at {MAIN}": tables.words(main.loc[row.pair]) if row.pair in main.index else "n/a",
            "each at its best": tables.words(row),
            "one rate for both: least": shared[row.pair][0],
            "most": shared[row.pair][1],
        }
        for row in _returns(every).itertuples()
    ]
    return f"{said} A seed's best rate is chosen on the other seeds.\n\n{output.markdown(pd.DataFrame(rows))}"


def _returns(every: pd.DataFrame | None) -> pd.DataFrame:
    """`at_best` of the return at the end of training, with the name of each pair; empty where there is nothing."""
    return pd.DataFrame(columns=["pair", "n"]) if every is None else _named(at_best(every)).query("outcome == 'return'")


def _by_rate(every: pd.DataFrame) -> dict[str, list[str]]:
    """The least and the largest effect on the return of each pair, by the rate that both arms share."""
    effect = effects_by(every, "lr")
    effect = effect[effect.outcome == "return"].assign(pair=lambda rows: tables.pairs(rows))
    return {
        str(pair): [
            f"{tables.words(end)} at {rate_words(end.lr)}"
            for end in (rows.loc[rows.estimate.idxmin()], rows.loc[rows.estimate.idxmax()])
        ]
        for pair, rows in effect.groupby("pair")
    }


def sign(best: pd.DataFrame, pair: str) -> int | None:
    """1 if an interval of a return lies above zero and none below, −1 the other way round; else 0; None: no runs."""
    rows = best[best.pair == pair]
    signs = {_side(row) for row in rows.itertuples()}
    return None if rows.empty else sum({1, -1} & signs)


def _side(row: Any) -> int:
    return int(row.low > 0) - int(row.high < 0)


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
