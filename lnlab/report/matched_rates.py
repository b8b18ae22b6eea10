"""How much learning rate LayerNorm is worth: the rate at which the arm without it does as well.

For notebooks/sensitivity.ipynb. Between two rates the mean over seeds is taken as a straight line against the logarithm
of the rate, so with rates a factor of three apart a matched rate is rough, however narrow its interval over seeds.
"""

from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lnlab.analysis.stats import Interval, interval
from lnlab.report import output, tables
from lnlab.report.best_rates import MAIN
from lnlab.report.cells import counted
from lnlab.report.evidence import Array, Missing
from lnlab.report.sensitivity import KEYS, by_rate

OUTCOMES = {"return": "return, last tenth", "policy_information": "nats from observations"}
COLUMNS = [*KEYS, "level", "estimate", "low", "high", "n"]


def crossing(rates: ArrayLike, curve: ArrayLike, level: float) -> float:
    """The lowest rate at which a curve (n_rates,), straight between rising rates on a log axis, passes `level` upwards.

    The first rate if it begins there or above it, NaN if it stays below.

    >>> round(crossing([1e-4, 1e-3, 1e-2], [0.0, 10.0, 30.0], 20.0), 6)  # half of a factor of ten
    0.003162
    """
    x, y = np.log(np.asarray(rates, float)), np.asarray(curve, float)
    up = np.flatnonzero((y[:-1] < level) & (y[1:] >= level))
    if y[0] >= level or not up.size:
        return float(np.exp(x[0])) if y[0] >= level else float("nan")
    i = up[0]
    return float(np.exp(x[i] + (level - y[i]) / (y[i + 1] - y[i]) * (x[i + 1] - x[i])))


def matched(main: Array, rates: Array, none: Array) -> Interval:
    """log10 of the rate, over the first of `rates`, at which `none` (n_seeds, n_rates) reaches `main` (n_seeds,).

    Both arms are resampled by the same seeds.
    """

    def statistic(values: Array, axis: int = -1) -> Array:
        means = values.reshape(*values.shape[:-1], -1, 1 + len(rates)).mean(axis=-2)
        return np.apply_along_axis(lambda row: np.log10(crossing(rates, row[1:], row[0]) / rates[0]), -1, means)

    return interval(np.column_stack([main, none]), statistic)


def factors(every: pd.DataFrame) -> pd.DataFrame:
    """For each of OUTCOMES and each agent the factor between the matched rate and the main one, from scores by rate.

    Columns COLUMNS: level (of LayerNorm at the main rate), estimate, low, high (factors), n (seeds).

    Raises:
        Missing: no agent has both arms at the main rate and the arm without norm at a higher one.
    """
    rows = []
    known = every[every.outcome.isin(OUTCOMES)]
    for outcome, algorithm, core in known[KEYS].drop_duplicates().itertuples(index=False, name=None):
        arms = [by_rate(known, outcome, algorithm, core, norm) for norm in ("ln", "none")]
        if not any(arm.empty for arm in arms):
            rows += _factor((outcome, algorithm, core), *arms)
    if not rows:
        raise Missing(f"needs arms with and without LayerNorm at {MAIN}, and without it at a higher rate")
    return pd.DataFrame(rows, columns=COLUMNS)


def _factor(key: Any, ln: pd.DataFrame, none: pd.DataFrame) -> list[tuple[Any, ...]]:
    rates = [rate for rate in none if rate >= float(MAIN)]
    seeds = ln.index.intersection(none.index)
    if float(MAIN) not in ln or len(rates) < 2 or rates[0] != float(MAIN) or len(seeds) < 2:
        return []
    main = ln.loc[seeds, float(MAIN)].to_numpy()
    found = matched(main, np.array(rates), none.loc[seeds, rates].to_numpy())
    return [(*key, main.mean(), *(10**value for value in found[:3]), found.n)]


def lines(rows: pd.DataFrame) -> list[str]:
    """A sentence each agent: at which rate it returns as much without LayerNorm as with it at the main rate."""
    return [
        f"{agent} returns {tables.number(row.level)} with LayerNorm at {MAIN}, and as much without it at "
        + (
            f"{tables.words(row)} times that rate (n = {row.n})."
            if np.isfinite(row.estimate)
            else f"none of the higher rates tried (n = {row.n})."
        )
        for agent, row in zip(tables.pairs(rows), rows.itertuples(), strict=True)
        if row.outcome == "return"
    ]


def table(*every: pd.DataFrame) -> output.TableOutput:
    """The matched rates of every agent, for each of OUTCOMES that the scores have. Raises Missing as `factors` does."""
    rows = factors(pd.concat(every))
    shown = pd.DataFrame(
        {
            "agent": tables.pairs(rows),
            "matched in": rows.outcome.map(OUTCOMES),
            f"LayerNorm at {MAIN}": [tables.number(row.level, 1 if row.level > 1 else 3) for row in rows.itertuples()],
            f"no norm: times {MAIN}": [
                tables.words(row) if np.isfinite(row.estimate) else "not reached" for row in rows.itertuples()
            ],
        }
    )
    caption = (
        f"The learning rate, as a multiple of {MAIN}, at which the arm without norm first reaches what LayerNorm "
        f"reaches at {MAIN}: straight lines between the means at the rates tried, on a logarithmic axis, with 95 % "
        f"intervals over n = {counted(rows.n)} seeds. Rates lie a factor of three apart."
    )
    return output.table("matched-rates", shown, caption=caption, data=rows)
