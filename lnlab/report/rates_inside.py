"""What the networks do at other learning rates: does a larger step free the policy, and does it widen the features?

For notebooks/sensitivity.ipynb and notebooks/mechanism.ipynb, from the diagnostics at the end of training of the
profile `rates`.
"""

from typing import Any

import pandas as pd

from lnlab.analysis.stats import Interval, paired_difference
from lnlab.report import effects, figures, output, tables
from lnlab.report.best_rates import MAIN
from lnlab.report.cells import counted
from lnlab.report.evidence import Data, Missing
from lnlab.report.sensitivity import by_rate, draw_rates, rate_levels, rate_words
from lnlab.report.sensitivity import scores as scores_by
from lnlab.runs import Study

PANELS = {
    "policy_information": "what the policy takes\nfrom observations (nats)",
    "core_rank_effective": "effective rank,\nheads' input",
    "entropy": "entropy of the\npolicy (nats)",
}
WAYS = {"return": "return, last tenth"} | {"policy_information": "nats", "core_rank_effective": "effective rank"}
ONE_ACTION = 0.01  # nats; a policy below takes one action nearly always


def scores(data: Data) -> pd.DataFrame:
    """The diagnostics of PANELS, a value each seed and rate; columns as `lnlab.report.sensitivity.scores`.

    Raises:
        Missing: the profile `rates` has no complete run.
    """
    return scores_by(data, "rates", "lr", of=at_end)


def at_end(study: Study) -> pd.DataFrame:
    """Diagnostics when last taken, mean of a seed's learners: columns algorithm, core, norm, seed, outcome, value."""
    rows = study.table("diagnostics")
    rows = rows[rows.step == rows.groupby("run").step.transform("max")]
    parts = [tables.per_seed(rows[rows.quantity == name], figures.ARM, "value").assign(outcome=name) for name in PANELS]
    return tables.in_order(pd.concat(parts))


def figure(every: pd.DataFrame) -> output.FigureOutput:
    """The diagnostics against the learning rate, LayerNorm and no norm."""
    rows = rate_levels(every, PANELS)
    caption = (
        "At the end of training, against the learning rate: means with 95 % intervals over the seeds that an arm has "
        f"at all its rates, n = {counted(rows.n)}."
    )
    drawn = draw_rates(rows.assign(best=False), PANELS)  # there is no best rank
    alt = f"From the lowest to the highest rate: {'; '.join(_lines(rows))}."
    return output.figure("rates-inside", drawn, alt=alt, caption=caption, data=rows.drop(columns="best"))


def summary(every: pd.DataFrame) -> output.Text:
    """From the lowest rate to the highest, what becomes of policy and features: a line each arm, and the collapsed."""
    lines = [*_lines(rate_levels(every, PANELS)), *_collapsed(every)]
    return output.Text("\n".join(f"- {line}." for line in lines))


def _collapsed(every: pd.DataFrame) -> list[str]:
    """In how many seeds of which arms the policy ends with a single action."""
    ended = every[every.outcome == "entropy"].groupby([*figures.ARM, "lr"], sort=False).value
    counts = ended.agg(lambda values: int((values < ONE_ACTION).sum()))
    return [
        f"{tables.arm(algorithm, core, norm)} at {rate_words(lr)}: in {count} of {seeds} seeds the policy ends with a "
        "single action"
        for (algorithm, core, norm, lr), count, seeds in zip(counts.index, counts, ended.size(), strict=True)
        if count
    ]


def _lines(rows: pd.DataFrame) -> list[str]:
    return [
        f"{tables.arm(*arm)}, {_rates(mine)}: the policy takes {_change(mine, 'policy_information', 2)} nats, the "
        f"effective rank is {_change(mine, 'core_rank_effective', 1)}"
        for arm, mine in rows.groupby(figures.ARM, sort=False)
    ]


def _rates(rows: pd.DataFrame) -> str:
    return f"{rate_words(rows.lr.min())} to {rate_words(rows.lr.max())}"


def _change(rows: pd.DataFrame, outcome: str, digits: int) -> str:
    mine = rows[rows.outcome == outcome].sort_values("lr")
    first, last = mine.iloc[0], mine.iloc[-1]
    return f"{tables.words(first, digits)} to {tables.words(last, digits)}"


# -- two ways to a policy that sees -----------------------------------------------------------------------------------


def two_ways(data: Data) -> pd.DataFrame:
    """What LayerNorm changes at the main rate, and what the next higher rate changes without it, paired by seed.

    Columns algorithm, core, way, outcome (of WAYS), estimate, low, high, n; both against no norm at the main rate.

    Raises:
        Missing: no agent has runs without norm at a higher rate and with it at the main one.
    """
    every = pd.concat([scores_by(data, "rates", "lr"), scores(data)])
    rows = []
    for algorithm, core in every[effects.PAIR].drop_duplicates().itertuples(index=False, name=None):
        for outcome in WAYS:
            ln, none = (by_rate(every, outcome, algorithm, core, norm) for norm in ("ln", "none"))
            rows += [(algorithm, core, way, outcome, *found) for way, found in _ways(ln, none).items()]
    if not rows:
        raise Missing(f"needs arms with and without LayerNorm at {MAIN}, and without it at a higher rate")
    return pd.DataFrame(rows, columns=[*effects.PAIR, "way", "outcome", "estimate", "low", "high", "n"])


def _ways(ln: pd.DataFrame, none: pd.DataFrame) -> dict[str, Interval]:
    main, higher = float(MAIN), [rate for rate in none if rate > float(MAIN)]
    seeds = ln.index.intersection(none.index)
    if main not in ln or main not in none or not higher or len(seeds) < 2:
        return {}
    before = none.loc[seeds, main]
    after = {f"LayerNorm at {MAIN}": ln.loc[seeds, main], f"no norm at {rate_words(higher[0])}": none[higher[0]][seeds]}
    return {way: paired_difference(values.to_numpy(), before.to_numpy()) for way, values in after.items()}


def ways_table(rows: pd.DataFrame) -> output.TableOutput:
    """The two ways beside each other."""
    named = rows.assign(agent=tables.pairs(rows), what=rows.outcome.map(WAYS))
    digits: dict[Any, int] = {"nats": 2}
    cells = named.assign(
        words=[tables.words(row, digits.get(row.what, 1)) for row in named.itertuples()],
    ).pivot(index=["agent", "way"], columns="what", values="words")
    order = pd.MultiIndex.from_frame(named[["agent", "way"]].drop_duplicates())
    shown = cells.reindex(order)[list(WAYS.values())].reset_index().rename_axis(columns=None)
    caption = (
        f"Changes against no norm at {MAIN}, at the end of training: return, what the policy takes from its "
        "observations (nats), effective rank of the heads' input. Paired by seed, 95 % intervals, "
        f"n = {counted(rows.n)} seeds."
    )
    return output.table("two-ways", shown, caption=caption, data=rows)


def ways_said(rows: pd.DataFrame) -> output.Text:
    """For whom the larger step lets the policy see more although its features stay narrow, and for whom not."""
    named = rows.assign(agent=tables.pairs(rows)).groupby("agent", sort=False)
    sorts: dict[bool, list[str]] = {True: [], False: []}
    for agent, mine in named:
        sorts[_sees_though_narrow(mine)].append(str(agent))
    lines = []
    if sorts[True]:
        lines.append(
            f"For {effects.listed(sorts[True])} the larger step lets the policy take more from its observations by "
            "over half of what LayerNorm does, and widens the features by less than half of what it does (each limit "
            "against the opposite one): narrow features alone do not blind it."
        )
    if sorts[False]:
        lines.append(f"For {effects.listed(sorts[False])} this is not shown.")
    return output.Text(" ".join(lines))


def _sees_though_narrow(rows: pd.DataFrame) -> bool:
    norm, rate = dict.fromkeys(rows.way)
    found = rows.set_index(["way", "outcome"])
    sees = found.low[rate, "policy_information"] > max(0.0, found.high[norm, "policy_information"] / 2)
    return bool(sees and found.high[rate, "core_rank_effective"] < found.low[norm, "core_rank_effective"] / 2)
