"""The contrasts that were chosen before the published runs: what LayerNorm changes in four outcomes of four agents.

Each is LayerNorm minus no norm over the seeds that both arms have, tested by flipping the signs of the seeds'
differences; Holm's method corrects for their number. D1's page, the landing page and the README state them. A
sentence's verb follows from that test and the interval.
"""

import itertools
from typing import Any, NamedTuple

import pandas as pd

from lnlab.analysis.stats import holm
from lnlab.book import output, plot, show, words
from lnlab.book.tidy import contrasts, minus, values
from lnlab.claims.studies import Data, labels, plain

LEVEL = 0.05  # of the tests together, by Holm's method


class Outcome(NamedTuple):
    """A measure, and how to speak of it."""

    measure: str
    title: str  # of a panel
    says: str  # in a sentence: "LayerNorm raises {says} of …"
    percent: bool = False  # of the arm without norm; otherwise in units of reward


OUTCOMES = {
    "return": Outcome(
        "return_final",
        "training return",
        "the return at the end of training (mean of the last tenth of the episodes)",
    ),
    "value-loss": Outcome(
        "value_loss_all_mean", "value loss, %", "the value loss (all rollouts of training)", percent=True
    ),
    "sampled": Outcome("test.sampled", "test return, sampled", "the test return of the sampled policy (18 scenarios)"),
    "greedy": Outcome("test.greedy", "test return, greedy", "the test return of the greedy policy (18 scenarios)"),
}


def pairs(data: Data) -> dict[str, str]:
    """The agents of a study with and without LayerNorm, by what readers call them: {"A3C GRU": "a3c-gru", …}."""
    there = {plain(run.id) for run in data.main.runs if run.complete}
    both = [
        (algorithm, core)
        for algorithm, core in itertools.product(("a3c", "individual"), ("gru", "ff"))
        if {f"{algorithm}-{core}-ln", f"{algorithm}-{core}-none"} <= there
    ]
    return {" ".join(list(labels("-".join([*each, "ln"])).values())[:2]): "-".join(each) for each in both}


def effects(data: Data) -> pd.DataFrame:
    """Every contrast: outcome, algorithm, core, agent, estimate, low, high, n, p, p_holm, sign.

    `p` is that of the paired sign-flip test, `p_holm` the same corrected for all rows. `sign` is 1 or −1 where the
    effect is clear, which means that the corrected test rejects and the interval lies on that side; else 0.
    """
    agents = pairs(data)
    arms = {f"{agent} {norm}": f"{run}-{norm}" for agent, run in agents.items() for norm in ("ln", "none")}
    changes = {agent: minus(f"{agent} ln", f"{agent} none") for agent in agents}
    parts = []
    for name, outcome in OUTCOMES.items():
        found = values(data, [outcome.measure], arms)
        parts.append(contrasts(found, changes, percent=outcome.percent, test=True).assign(outcome=name))
    table = pd.concat(parts, ignore_index=True).rename(columns={"effect": "agent"})
    table[["algorithm", "core"]] = [agents[agent].split("-") for agent in table.agent]
    table = table.assign(p_holm=holm(table.p), sign=lambda rows: [clear(row) for row in rows.itertuples()])
    columns = ["outcome", "algorithm", "core", "agent", "estimate", "low", "high", "n", "p", "p_holm", "sign"]
    return table[columns]


def clear(row: Any) -> int:
    """1 or −1 where an effect is clear, else 0."""
    if not row.p_holm < LEVEL:
        return 0
    return int(row.low > 0) - int(row.high < 0)


def figure(found: pd.DataFrame) -> output.FigureOutput:
    """The main figure of the book: every contrast, a panel an outcome, a line an agent."""
    titles = found.outcome.map({name: outcome.title for name, outcome in OUTCOMES.items()})
    rows = found.assign(measure=titles, norm="ln")
    caption = (
        "What LayerNorm changes: the arm with it minus the arm without, paired by seed. Returns in units of reward, "
        "value loss in percent."
    )
    better = {each.title: "lower" if name == "value-loss" else "higher" for name, each in OUTCOMES.items()}
    drawn = plot.dots(rows, xlabel="LayerNorm minus no norm", name="agent", zero=True, columns=2, better=better)
    return show.figure(drawn, "effects", alt=" ".join(statements(found)), caption=caption, data=found)


def summary(found: pd.DataFrame) -> str:
    """The sentences as a Markdown list, and by which test an effect is clear."""
    return "\n".join(f"- {sentence}" for sentence in statements(found)) + f"\n\n{criterion(found)}"


def criterion(found: pd.DataFrame) -> str:
    """When an effect is called clear; says so where there are too few seeds for any to be."""
    n, tests = int(found.n.min()), len(found)
    least = tests * 2.0 ** (1 - n)  # all seeds agree
    return (
        f"An effect is called clear if its interval excludes zero and p < {LEVEL:g} in a paired sign-flip test, "
        f"corrected by Holm's method for all {tests} contrasts, which were chosen before the published runs"
        f"{f'; {n} seeds are too few for any to be' if least >= LEVEL else ''}. "
        "The test asks whether the two arms are alike, the interval how far their means differ."
    )


def statements(found: pd.DataFrame) -> list[str]:
    """One sentence an outcome: for whom LayerNorm raises it, lowers it, or shows no clear effect."""
    return [_statement(outcome, found[found.outcome == name]) for name, outcome in OUTCOMES.items()]


def _statement(outcome: Outcome, rows: pd.DataFrame) -> str:
    clauses = []
    for verb, side in (("raises", 1), ("lowers", -1)):
        members = [f"{row.agent} by {_size(row, outcome)}" for row in rows.itertuples() if row.sign == side]
        clauses += [f"{verb} {outcome.says} of {words.listed(members)}"] if members else []
    unclear = [f"{row.agent} ({_said(row, outcome)})" for row in rows.itertuples() if row.sign == 0]
    what = "it" if clauses else outcome.says
    clauses += [f"shows no clear effect on {what} for {words.listed(unclear)}"] if unclear else []
    return f"LayerNorm {'; it '.join(clauses)} (n = {words.counted(rows.n)})."


def _size(row: Any, outcome: Outcome) -> str:
    """An effect without its sign, and its interval in rising order."""
    low, high = sorted((abs(row.low), abs(row.high)))
    return _said(row._replace(estimate=abs(row.estimate), low=low, high=high), outcome)


def _said(row: Any, outcome: Outcome) -> str:
    return words.estimate(row, 0) + " %" if outcome.percent else words.estimate(row)
