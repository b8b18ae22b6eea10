"""Estimates over seeds as rows, and rows as the words a table shows.

The seed is the unit: values are averaged within a seed first (over workers and scenarios), then over seeds with an
interval of `lnlab.analysis.stats`. Seeds stay in order, so that arms can be paired.
"""

import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnlab.analysis.stats import Interval, interval
from lnlab.report import style

GROUPS = {"seen": ("seen",), "intra": ("intra",), "extra": ("extra",), "all": ("seen", "intra", "extra")}
TYPE_LABEL = {"seen": "Seen", "intra": "Intra", "extra": "Extra", "all": "All 18"}
CLOUD_LABEL = {"budget": "never refilled (budget)", "refilled": "refilled as in training"}
ORDER = {name: place for place, name in enumerate([*style.ALGORITHM_LABEL, *style.CORE_LABEL, *style.NORM_LABEL])}
REFERENCE_EPISODES = 50  # per scenario: their standard error is then below 0.4 in a group of scenarios
POLICY_LABEL = style.POLICY_LABEL


def per_seed(rows: pd.DataFrame, by: Sequence[str], value: str) -> pd.DataFrame:
    """Mean of `value` within each seed: columns `by`, seed, value; seeds in rising order."""
    return rows.groupby([*by, "seed"], as_index=False, sort=True)[value].mean().rename(columns={value: "value"})


def estimates(
    rows: pd.DataFrame, by: Sequence[str], value: str, statistic: Callable[..., object] = np.mean
) -> pd.DataFrame:
    """One row a group of `by` in order of appearance: estimate, low, high (95 %, over seeds), n (seeds).

    All three are NaN where a seed's value is not defined: it must not be left out.
    """
    seeds = per_seed(rows, by, value)
    order = rows[list(by)].drop_duplicates()
    found = [(*key, *known(group.value.to_numpy(), statistic)) for key, group in seeds.groupby(list(by))]
    return order.merge(pd.DataFrame(found, columns=[*by, "estimate", "low", "high", "n"]), on=list(by))


def known(scores: NDArray[np.float64], statistic: Callable[..., object] = np.mean) -> Interval:
    """As `interval`; unknown where a seed's score is not defined.

    >>> known(np.array([1.0, np.nan]))
    Interval(estimate=nan, low=nan, high=nan, n=2)
    """
    if np.isfinite(scores).all():
        return interval(scores, statistic)
    return Interval(np.nan, np.nan, np.nan, len(scores))


def in_order(rows: pd.DataFrame) -> pd.DataFrame:
    """Rows by algorithm, core and norm as the book names them: A3C, GRU and no norm come first."""
    return rows.sort_values(["algorithm", "core", "norm"], key=lambda names: names.map(ORDER), kind="stable")


def by_group(evaluation: pd.DataFrame) -> pd.DataFrame:
    """The evaluation rows labelled `type`: seen, intra, extra, and once more as all; one grouping gives four means."""
    parts = [evaluation[evaluation.group.isin(groups)].assign(type=name) for name, groups in GROUPS.items()]
    return pd.concat(parts, ignore_index=True)


@functools.cache
def reference_scenarios() -> pd.DataFrame:
    """Test returns of policies that learn nothing, a row each policy, scenario and cloud; columns of `evaluation`."""
    from lnlab.evaluation import evaluate_policies

    return evaluate_policies(REFERENCE_EPISODES)


def reference_policies() -> pd.DataFrame:
    """Test returns of policies that learn nothing: cloud, who (its name), type, estimate, low, high (NaN), n (1)."""
    rows = by_group(reference_scenarios().assign(seed=0).rename(columns={"policy": "who"}))
    means = rows.groupby(["cloud", "who", "type"], as_index=False, sort=False)["return_mean"].mean()
    return means.rename(columns={"return_mean": "estimate"}).assign(low=np.nan, high=np.nan, n=1)


def pivot_words(rows: pd.DataFrame, index: Sequence[str], columns: str) -> pd.DataFrame:
    """Estimates as words, one row each `index`, one column each value of `columns`, both in order of appearance.

    A column has one decimal, or two if all its estimates are below 5.
    """
    small = rows.groupby(columns)["estimate"].transform(lambda column: column.abs().max() < 5)
    cells = rows.assign(words=[words(row, 1 + few) for row, few in zip(rows.itertuples(), small, strict=True)])
    wide = cells.pivot(index=list(index), columns=columns, values="words")
    wide = wide.reindex(
        pd.MultiIndex.from_frame(cells[list(index)].drop_duplicates()) if len(index) > 1 else cells[index[0]].unique()
    )
    wide = wide[list(cells[columns].drop_duplicates())].reset_index()
    return wide.rename(columns=TYPE_LABEL).rename_axis(columns=None)


def words(row: Any, digits: int = 1) -> str:
    r"""An estimate and its interval (anything with estimate, low, high); only the estimate where one seed leaves it
    unknown.

    >>> from lnlab.analysis.stats import Interval
    >>> words(Interval(89.71, 88.1, 91.29, 30))
    '89.7 [88.1,\xa091.3]'
    >>> words(Interval(89.71, float("nan"), float("nan"), 1))
    '89.7'
    """
    middle = number(row.estimate, digits)
    return (
        f"{middle} [{number(row.low, digits)},\N{NO-BREAK SPACE}{number(row.high, digits)}]"
        if np.isfinite(row.low)
        else middle
    )


def number(value: float, digits: int = 1) -> str:
    """A number with a true minus sign, thousands separated; `n/a` where undefined.

    >>> number(-1234.56)
    '−1,234.6'
    """
    return f"{value:,.{digits}f}".replace("-", "−") if np.isfinite(value) else "n/a"


def arm(algorithm: str, core: str, norm: str) -> str:
    """Name of an arm for readers.

    >>> arm("a3c", "gru", "ln")
    'A3C GRU, LayerNorm'
    """
    return f"{style.ALGORITHM_LABEL[algorithm]} {style.CORE_LABEL[core]}, {style.NORM_LABEL[norm]}"


def pairs(rows: pd.DataFrame) -> list[str]:
    """Algorithm and core of each row, what two arms share that differ in the norm: `A3C GRU`."""
    return [f"{style.ALGORITHM_LABEL[a]} {style.CORE_LABEL[c]}" for a, c in zip(rows.algorithm, rows.core, strict=True)]


def arms(rows: pd.DataFrame) -> pd.Series:
    """`arm` of each row."""
    return pd.Series(
        [arm(a, c, n) for a, c, n in zip(rows.algorithm, rows.core, rows.norm, strict=True)], index=rows.index
    )
