"""Does it depend on the settings? LayerNorm at other learning rates, over more episodes, with other numbers of workers.

Figures and tables of notebooks/sensitivity.ipynb, from the profiles `rates`, `long` and `workers` beside the main one.
Arms are compared over the seeds that both have. Only complete runs count; what is missing is said.
"""

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.stats import Interval, interval, paired_difference
from lnlab.config import ConfigError
from lnlab.report import effects, figures, output, style, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Array, Data, Missing
from lnlab.runs import Run, Study
from lnlab.study import expand

KEYS = ["outcome", *effects.PAIR]
RETURNS = {"return": "return, last tenth", "sampled": "test return, sampled"}
OWN, BEST = "each at its own best", "best: LN, none"  # lines of `rate_table`
EXTENT = {"seeds", "first_seed", "eval_episodes"}  # in which compared runs may differ


# -- runs of several settings ---------------------------------------------------------------------------------------


def missing(data: Data, profile: str) -> output.Text:
    """Which runs of a profile the page lacks, where it has some; empty if none."""
    try:
        asked = [config.run_id for config in expand(profile)]
    except ConfigError:
        return output.Text("")
    found = data.study(profile)
    there = {run.id for run in found.runs if run.complete} if found else set()
    lacking = [name for name in asked if name not in there]
    if not (lacking and there):
        return output.Text("")
    which = ", ".join(f"`{name}`" for name in lacking)
    return output.Text(f"Of the {len(asked)} runs of the profile *{profile}* {len(lacking)} are missing: {which}.")


def scores(
    data: Data, profile: str, setting: str, of: Callable[[Study], pd.DataFrame] = effects.scores
) -> pd.DataFrame:
    """The outcomes of every seed at every value of a setting: as `of` has them, with a column named as the setting.

    Runs of the main profile join if they differ from some of the profile in that setting alone.

    Raises:
        Missing: the profile has no complete run.
    """
    others = [run for run in data.of(profile).main.runs if run.complete]
    known = {but_for(run.config, setting) for run in others}
    own = {run.dir for run in others}  # a report of that very profile has nothing beside it
    main = [r for r in data.main.runs if r.complete and r.dir not in own and but_for(r.config, setting) in known]
    return pd.concat([_scored(runs, setting, of) for runs in (main, others) if runs], ignore_index=True)


def but_for(config: Any, setting: str) -> str:
    """All settings but the one that is varied, as a key: runs with the same one can stand beside each other."""
    return str(sorted((name, value) for name, value in config.science.items() if name not in EXTENT | {setting}))


def _scored(runs: Sequence[Run], setting: str, of: Callable[[Study], pd.DataFrame]) -> pd.DataFrame:
    by_value: dict[Any, list[Run]] = {}
    for run in runs:
        by_value.setdefault(getattr(run.config, setting), []).append(run)
    return pd.concat(
        [of(Study(mine[0].dir.parent, mine)).assign(**{setting: value}) for value, mine in by_value.items()]
    )


def effects_by(every: pd.DataFrame, setting: str) -> pd.DataFrame:
    """LayerNorm minus no norm at each value of a setting, over the seeds that both arms have.

    Columns outcome, algorithm, core, the setting, estimate, low, high, n; in percent for relative outcomes.
    """
    rows = []
    relative = {each.name: each.relative for each in effects.OUTCOMES}
    for key, mine in every.groupby([*KEYS, setting], sort=False):
        both = mine[mine.groupby("seed").norm.transform("nunique") == 2]
        if both.seed.nunique() > 1:
            rows.append((*key, *_difference(both, relative[key[0]])))
    return _ordered(pd.DataFrame(rows, columns=[*KEYS, setting, "estimate", "low", "high", "n"]), setting)


def _difference(pair: pd.DataFrame, relative: bool) -> Interval:
    """As `effects.difference`; unknown if a seed diverged, which is not left out."""
    if not np.isfinite(pair.value).all():
        return Interval(np.nan, np.nan, np.nan, pair.seed.nunique())
    return effects.difference(pair, relative=relative)


def _ordered(rows: pd.DataFrame, setting: str) -> pd.DataFrame:
    """By outcome, algorithm and core as the book names them, then by the setting."""
    order = tables.ORDER | {each.name: place for place, each in enumerate(effects.OUTCOMES)}
    return rows.sort_values([*KEYS, setting], key=lambda column: column.replace(order), ignore_index=True)


def whole_seeds(rows: pd.DataFrame, columns: list[str], what: str) -> pd.DataFrame:
    """Values with a row each seed that has all of them, and a column each value of `columns`, in rising order.

    Raises:
        Missing: a value is not finite; a seed that diverged must not be left out.
    """
    if not np.isfinite(rows.value).all():
        raise Missing(f"needs {what} for every seed, which is not finite for some")
    has_all = rows.groupby("seed").value.transform("size") == len(rows[columns].drop_duplicates())
    return rows[has_all].pivot(index="seed", columns=columns if len(columns) > 1 else columns[0], values="value")


# -- learning rates -------------------------------------------------------------------------------------------------


def rate_words(rate: float) -> str:
    """A learning rate as people write it.

    >>> rate_words(3e-5), rate_words(1e-3)
    ('3e-5', '1e-3')
    """
    return f"{rate:.0e}".replace("e-0", "e-")


def by_rate(every: pd.DataFrame, outcome: str, algorithm: str, core: str, norm: str) -> pd.DataFrame:
    """One arm's outcome, a row each seed that has all its rates, a column each learning rate, both rising.

    Raises:
        Missing: a value is not finite.
    """
    keys = pd.Series({"outcome": outcome, "algorithm": algorithm, "core": core, "norm": norm})
    mine = every[(every[keys.index] == keys).all(axis=1)]
    return whole_seeds(mine, ["lr"], f"the outcome {outcome!r} of {tables.arm(algorithm, core, norm)}")


def rate_levels(every: pd.DataFrame, outcomes: Iterable[str] = RETURNS) -> pd.DataFrame:
    """Mean outcome of each arm at each rate: outcome, algorithm, core, norm, lr, estimate, low, high, n, best."""
    rows = []
    for outcome, arm in itertools.product(outcomes, _arms(every)):
        wide = by_rate(every, outcome, *arm)
        if len(wide) > 1:
            best = wide.mean().idxmax()
            rows += [(outcome, *arm, rate, *interval(wide[rate].to_numpy()), rate == best) for rate in wide]
    return pd.DataFrame(rows, columns=["outcome", *figures.ARM, "lr", "estimate", "low", "high", "n", "best"])


def _arms(every: pd.DataFrame) -> list[tuple[str, str, str]]:
    return list(tables.in_order(every[figures.ARM].drop_duplicates()).itertuples(index=False, name=None))


def left_out(values: Array) -> Array:
    """(n_seeds,) each seed's value at the rate that is best on average over the *other* seeds; values (n_seeds, rates).

    A rate that is chosen and judged on the same seeds looks better than it is.

    >>> left_out(np.array([[9.0, 1.0], [1.0, 4.0], [2.0, 4.0]])).tolist()  # the first seed alone speaks for rate 0
    [1.0, 1.0, 2.0]
    """
    others = values.sum(axis=0) - values
    return np.asarray(values[np.arange(len(values)), others.argmax(axis=1)])


def rate_figure(every: pd.DataFrame) -> output.FigureOutput:
    """Return against learning rate, LayerNorm and no norm, with the best rate of each arm marked."""
    rows = rate_levels(every)
    best = rows[rows.best & (rows.outcome == "return")]
    words = ", ".join(f"{arm} {rate_words(rate)}" for arm, rate in zip(tables.arms(best), best.lr, strict=True))
    caption = (
        "Return against the learning rate: means with 95 % intervals over the seeds that an arm has at all its rates, "
        f"n = {counted(rows.n)}. Stars: the best rate of an arm."
    )
    return output.figure(
        "rates", draw_rates(rows, RETURNS), alt=f"Best rates by return: {words}.", caption=caption, data=rows
    )


@style.styled
def draw_rates(rows: pd.DataFrame, outcomes: Mapping[str, str]) -> Figure:
    """A line of panels each outcome, with its label; a panel each agent; stars mark the best rates."""
    pairs = list(dict.fromkeys(zip(rows.algorithm, rows.core, strict=True)))
    figure, axes = style.axes(len(outcomes), len(pairs), height=1.9, sharex=True, sharey="row")
    for place, (outcome, label) in enumerate(outcomes.items()):
        line = axes[place * len(pairs) : (place + 1) * len(pairs)]
        for panel, (algorithm, core) in zip(line, pairs, strict=True):
            here = rows[(rows.outcome == outcome) & (rows.algorithm == algorithm) & (rows.core == core)]
            _rate_lines(panel, here)
            if place == 0:
                panel.set_title(f"{style.ALGORITHM_LABEL[algorithm]},\n{style.CORE_LABEL[core]}")
        line[0].set_ylabel(label, fontsize=9)
    for panel in axes[-len(pairs) :]:
        panel.set_xlabel("learning rate", fontsize=8)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return figure


def _rate_lines(panel: Axes, rows: pd.DataFrame) -> None:
    for norm, mine in rows.groupby("norm", sort=False):
        colour = style.NORM_COLOUR[str(norm)]
        panel.fill_between(mine.lr, mine.low, mine.high, color=colour, alpha=0.25, linewidth=0)
        panel.plot(mine.lr, mine.estimate, "o-", color=colour, markersize=3, label=style.NORM_LABEL[str(norm)])
        best = mine[mine.best]
        panel.plot(best.lr, best.estimate, "*", color=colour, markersize=11)
    panel.set_xscale("log")
    panel.set_xticks(sorted(rows.lr.unique()), [rate_words(rate) for rate in sorted(rows.lr.unique())])
    panel.minorticks_off()
    panel.tick_params(labelsize=7)


def at_best(every: pd.DataFrame) -> pd.DataFrame:
    """LayerNorm minus no norm with each arm at its own best rate, chosen on the other seeds and judged on the one left.

    Columns outcome, algorithm, core, best_ln, best_none (over all seeds), edge (one lies at an end of its rates),
    estimate, low, high, n. Pairs with a single rate have no choice and are left out.
    """
    rows = []
    pairs = dict.fromkeys((algorithm, core) for algorithm, core, _ in _arms(every))
    for outcome, (algorithm, core) in itertools.product(RETURNS, pairs):
        ln, none = (by_rate(every, outcome, algorithm, core, norm) for norm in ("ln", "none"))
        shared = ln.index.intersection(none.index)
        if min(ln.shape[1], none.shape[1]) > 1 and len(shared) > 1:
            a, b = (left_out(wide.loc[shared].to_numpy()) for wide in (ln, none))
            best = [wide.mean().idxmax() for wide in (ln, none)]
            edge = any(rate in (wide.columns[0], wide.columns[-1]) for rate, wide in zip(best, (ln, none), strict=True))
            rows.append((outcome, algorithm, core, *best, edge, *paired_difference(a, b)))
    names = [*KEYS, "best_ln", "best_none", "edge", "estimate", "low", "high", "n"]
    return pd.DataFrame(rows, columns=names)


def rate_table(every: pd.DataFrame, outcome: str) -> output.TableOutput:
    """The effect of LayerNorm on an outcome of RETURNS at every rate, and with each arm at its own best one."""
    fixed, best = (rows[rows.outcome == outcome] for rows in (effects_by(every, "lr"), at_best(every)))
    rows = pd.concat([fixed.sort_values("lr"), best.assign(lr=np.inf)], ignore_index=True)
    named = rows.assign(agent=tables.pairs(rows), rate=[f"both at {rate_words(rate)}" for rate in rows.lr])
    named.loc[rows.lr == np.inf, "rate"] = OWN
    shown = tables.pivot_words(named, ["rate"], "agent").fillna("n/a")
    shown = shown[["rate", *dict.fromkeys(tables.pairs(fixed))]]
    rates = {agent: _rates(row) for agent, row in zip(tables.pairs(best), best.itertuples(), strict=True)}
    shown.loc[len(shown)] = [BEST, *(rates.get(agent, "n/a") for agent in shown.columns[1:])]
    caption = (
        f"LayerNorm minus no norm, {RETURNS[outcome]}: paired by seed, 95 % intervals, n = {counted(rows.n)} seeds. "
        "Last, each arm at its own best rate, which is chosen on the other seeds and judged on the seed left out. ‡: a "
        "best rate lies at an end of those tried, and a better one may lie beyond."
    )
    return output.table(f"rates-{outcome}", shown, caption=caption, data=rows)


def _rates(row: Any) -> str:
    return f"{rate_words(row.best_ln)}, {rate_words(row.best_none)}{' ‡' * row.edge}"


def rate_lines(every: pd.DataFrame) -> list[str]:
    """What LayerNorm does to the return of each agent, with each arm at its own best rate, in a sentence each."""
    best = at_best(every)
    best = best[best.outcome == "return"]
    return [
        f"Each at its own best rate (LN {rate_words(row.best_ln)}, none {rate_words(row.best_none)}), LayerNorm "
        f"changes the return of {agent} by {tables.words(row)} (n = {row.n})."
        for agent, row in zip(tables.pairs(best), best.itertuples(), strict=True)
    ]
