"""When does learning start? Updates of the shared model until A3C GRU leaves the level of the uniform policy.

For notebooks/sensitivity.ipynb and the landing page, from the pairs of `lnlab.report.workers_why` and the runs at other
rates. The level to pass lies a fifth of the way from the uniform policy to the best simple rule under the same rules,
so that numbers of workers can be compared.
"""

from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.stats import interval
from lnlab.config import RunConfig
from lnlab.report import output, style, tables
from lnlab.report.cells import counted, paired
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.sensitivity import but_for, rate_words
from lnlab.report.sensitivity_extent import WINDOW, before
from lnlab.report.workers_why import Pair, make_pair, references

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


# -- by learning rate -------------------------------------------------------------------------------------------------
def by_rate(data: Data) -> pd.DataFrame:
    """Every seed of A3C in the runs of the profile `rates` and the main ones that differ from these in the rate alone.

    Columns core, lr, norm, seed, updates (inf: learning did not start), last (updates made), level.

    Raises:
        Missing: the profile has no such runs.
    """
    others = data.of("rates")
    known = {but_for(run.config, "lr") for run in others.main.runs if run.complete}
    rows: list[tuple[Any, ...]] = []
    for source in (data, others):
        for run in source.main.runs:
            config = run.config
            if not (run.complete and isinstance(config, RunConfig) and config.algorithm == "a3c"):
                continue
            if but_for(config, "lr") in known:
                episodes, returns = source.curve(run.id, "return")
                pair = make_pair(config, episodes, {config.norm: returns})
                level, last = _level(pair), int(pair.updates[-1])
                for seed, updates in enumerate(starts(pair, config.norm, level), start=config.first_seed):
                    rows.append((config.core, config.lr, config.norm, seed, updates, last, level))
    return pd.DataFrame(rows, columns=["core", "lr", "norm", "seed", "updates", "last", "level"])


def rate_table(rows: pd.DataFrame) -> output.TableOutput:
    """Updates until learning starts by arm and learning rate."""
    keys = ["core", "norm", "lr"]
    found = pd.DataFrame(
        [
            (
                *key,
                int(mine["last"].iloc[0]),
                int(np.isfinite(mine.updates).sum()),
                len(mine),
                *_geometric(mine.updates),
            )
            for key, mine in rows.groupby(keys)
        ],
        columns=[*keys, "last", "started", "n", "estimate", "low", "high"],
    )
    named = found.assign(
        arm=[tables.arm("a3c", core, norm) for core, norm in zip(found.core, found.norm, strict=True)],
        words=[_words(row) for _, row in found.iterrows()],
    )
    shown = named.pivot(index="arm", columns="lr", values="words").fillna("not run").rename(columns=rate_words)
    arms = [tables.arm("a3c", core, norm) for core in style.CORE_LABEL for norm in ("ln", "none")]
    shown = shown.loc[[arm for arm in arms if arm in shown.index]].rename_axis(columns=None).reset_index()
    caption = (
        "Thousands of updates of the shared model until learning starts, as in the table by workers, at each learning "
        f"rate: five workers, n = {counted(found.n)} seeds, 95 % intervals where every seed has started."
    )
    return output.table("onset-rates-table", shown, caption=caption, data=found)


def landing(data: Data) -> str:
    """What is meant, and the table by learning rate; "" for a report without runs at other rates."""
    try:
        rows = by_rate(data)
    except Missing:
        return ""
    return (
        "How long A3C stays at the level of chance: thousands of updates of its model "
        f"until the mean return of {WINDOW} episodes has passed {rows.level.iloc[0]:.0f}, a fifth of the way from the "
        f"uniform policy to the best simple rule (geometric mean, 95 % interval; n = {_counts(rows)} seeds).\n\n"
        f"{output.markdown(rate_table(rows).shown)}"
    )


def rate_figure(rows: pd.DataFrame) -> output.FigureOutput:
    """Updates until learning starts against the learning rate, every seed."""
    alt = "; ".join(
        f"{tables.arm('a3c', core, norm)} at {rate_words(lr)}: {_summary(mine.updates)}"
        for (core, norm, lr), mine in rows.groupby(["core", "norm", "lr"])
    )
    caption = (
        "Updates of the shared model until learning starts, by the measure of the table, against the learning rate: "
        "A3C with five workers, a dot a seed, lines through the medians; on the grey line seeds for which it did not "
        f"within {rows['last'].max():,} updates. n = {_counts(rows)} seeds. Asked after the runs had been seen."
    )
    return output.figure("onset-rates", _draw(rows), alt=alt, caption=caption, data=rows)


def _counts(rows: pd.DataFrame) -> str:
    return counted(rows.groupby(["core", "norm", "lr"]).size())


def _summary(updates: pd.Series) -> str:
    started = updates[np.isfinite(updates)]
    middle = f", median {started.median():,.0f} updates" if len(started) else ""
    return f"{len(started)} of {len(updates)} seeds{middle}"


@style.styled
def _draw(rows: pd.DataFrame) -> Figure:
    cores = [core for core in style.CORE_LABEL if core in set(rows.core)]
    figure, axes = style.axes(1, len(cores), height=2.6, sharex=True, sharey=True)
    never = 1.35 * rows["last"].max()
    for panel, core in zip(axes, cores, strict=True):
        for place, (norm, mine) in enumerate(rows[rows.core == core].groupby("norm", sort=True)):
            _seeds(panel, mine.assign(lr=mine.lr * (1.06 if place else 0.94)), str(norm), never)
        panel.axhline(never, color=style.FAINT, linewidth=6, zorder=0)
        panel.set_title(f"A3C, {style.CORE_LABEL[core]}")
        panel.set_xscale("log")
        panel.set_yscale("log")
        panel.set_xticks(sorted(rows.lr.unique()), [rate_words(rate) for rate in sorted(rows.lr.unique())])
        panel.minorticks_off()
        panel.set_xlabel("learning rate")
    ticks = [10_000, 20_000, 50_000]
    axes[0].set_yticks([*ticks, never], [*(f"{each:,}" for each in ticks), "not"])
    axes[0].set_ylabel("updates until learning starts")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _seeds(panel: Axes, mine: pd.DataFrame, norm: str, never: float) -> None:
    colour, updates = style.NORM_COLOUR[norm], mine.updates.replace(np.inf, never)
    panel.plot(mine.lr, updates, "o", color=colour, markersize=3, alpha=0.4, linewidth=0)
    middle = updates.groupby(mine.lr).median()
    panel.plot(middle.index, middle, "-", color=colour, linewidth=1.6, label=style.NORM_LABEL[norm])
