"""What the networks do at other learning rates: does a larger step free the policy, and does it widen the features?

For notebooks/sensitivity.ipynb, from the diagnostics at the end of training of the profile `rates`.
"""

import pandas as pd

from lnlab.report import figures, output, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Data
from lnlab.report.sensitivity import draw_rates, rate_levels, rate_words
from lnlab.report.sensitivity import scores as scores_by
from lnlab.runs import Study

PANELS = {
    "policy_information": "what the policy takes\nfrom observations (nats)",
    "core_rank_effective": "effective rank,\nheads' input",
    "entropy": "entropy of the\npolicy (nats)",
}
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
