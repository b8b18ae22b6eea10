"""When does learning start? Updates of the shared model until A3C GRU leaves the level of the uniform policy.

For notebooks/sensitivity.ipynb, from the pairs of `lnlab.report.workers_why`. The level to pass lies a fifth of the way
from the uniform policy to the best simple rule under the same rules, so that numbers of workers can be compared.
"""

from typing import Any

import numpy as np
import pandas as pd

from lnlab.analysis.stats import interval
from lnlab.report import output, tables
from lnlab.report.cells import counted, paired
from lnlab.report.evidence import Array
from lnlab.report.sensitivity_extent import WINDOW, before
from lnlab.report.workers_why import Pair, references

WAY = 0.2  # from the uniform policy to the best simple rule


def starts(pair: Pair, norm: str, level: float) -> Array:
    """(n_seeds,) updates after which the mean return of the last WINDOW episodes first lies above `level`; else inf."""
    ends = pair.episodes[pair.episodes >= WINDOW]
    above = np.stack([before(pair.episodes, pair.returns[norm], end) > level for end in ends], axis=1)
    return np.where(above.any(axis=1), ends[above.argmax(axis=1)] * pair.per_episode, np.inf)


def onsets(found: dict[str, Pair]) -> pd.DataFrame:
    """By setting and norm, and their ratio as the norm "ratio": columns setting, norm, level, last (updates made),
    started (seeds), n, estimate, low, high (geometric mean; NaN unless all seeds started)."""
    rows: list[tuple[Any, ...]] = []
    for name, pair in found.items():
        level, last = _level(pair), int(pair.updates[-1])
        none, ln = paired(*(starts(pair, norm, level) for norm in ("none", "ln")))
        with np.errstate(invalid="ignore"):  # neither started: no ratio
            ratio = none / ln
        for norm, values in (("none", none), ("ln", ln), ("ratio", ratio)):
            started = int(np.isfinite(values).sum())
            rows.append((name, norm, level, last, started, len(values), *_geometric(values)))
    return pd.DataFrame(rows, columns=["setting", "norm", "level", "last", "started", "n", "estimate", "low", "high"])


def _level(pair: Pair) -> float:
    uniform, best = references(pair).values()
    return uniform + WAY * (best - uniform)


def _geometric(values: Array) -> tuple[float, ...]:
    if not np.isfinite(values).all():
        return (np.nan,) * 3
    return tuple(float(np.exp(each)) for each in interval(np.log(values))[:3])


def table(found: dict[str, Pair]) -> output.TableOutput:
    """When learning starts in each setting, with LayerNorm and without."""
    rows = onsets(found)
    wide = {norm: mine.set_index("setting") for norm, mine in rows.groupby("norm")}
    shown = pd.DataFrame(
        [
            {
                "setting": name,
                "LayerNorm": _words(wide["ln"].loc[name]),
                "no norm": _words(wide["none"].loc[name]),
                "no norm / LayerNorm": _ratio(wide["ratio"].loc[name], wide["ln"].loc[name]),
            }
            for name in found
        ]
    )
    caption = (
        f"Thousands of updates of the shared model until the mean return of {WINDOW} episodes has passed a fifth of "
        "the way from the uniform policy to the best simple rule; A3C GRU at 1e-4. Geometric means where every seed "
        f"has, with 95 % intervals, n = {counted(rows.n)} seeds. Asked when five and ten workers had been seen."
    )
    return output.table("onset", shown, caption=caption, data=rows)


def _words(row: pd.Series) -> str:
    if row.started == row.n:
        return tables.words(row[["estimate", "low", "high"]] / 1000)
    within = f"within {row['last'] / 1000:g}"
    return f"not {within}" if row.started == 0 else f"{row.started} of {row.n} seeds {within}"


def _ratio(row: pd.Series, ln: pd.Series) -> str:
    """The ratio; a bound where every seed started with LayerNorm and none without."""
    if np.isfinite(row.estimate):
        return tables.words(row)
    return f"above {tables.number(row['last'] / ln.estimate)}" if ln.started == ln.n and row.started == 0 else "n/a"
