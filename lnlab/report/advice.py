"""Advice to whoever builds such an agent, by one rule for all agents.

For each algorithm and core, over the returns (end of training; tests of the sampled policy): LayerNorm is advised if it
clearly raises one and lowers none, advised against if it clearly lowers one and raises none; else the return does not
decide. The value loss is told beside it. The greedy test is left out: it tells which action is most likely, not how
well the policy does. Where there are runs at other learning rates, what is left with each arm at its best one stands
behind.
"""

import pandas as pd

from lnlab.report import best_rates, effects, output, tables

RETURNS = ("return", "sampled")
ADVICE = {
    1: "use LayerNorm",
    -1: "leave LayerNorm out",
    0: "the return speaks neither for LayerNorm nor against it",
}


def advice(found: pd.DataFrame, best: pd.DataFrame) -> output.Text:
    """A line each algorithm and core, from the tables of `effects.effects` and `best_rates.table`."""
    pairs = found.assign(pair=tables.pairs(found)).groupby("pair", sort=False)
    return output.Text("\n".join(f"- **{name}**: {line(rows, best, str(name))}" for name, rows in pairs))


def line(rows: pd.DataFrame, best: pd.DataFrame, pair: str) -> str:
    """What to do with one algorithm and core, and why: rows of all outcomes."""
    returns = rows[rows.outcome.isin(RETURNS)]
    decided = verdict({effects.sign(row) for row in returns.itertuples()})
    loss = rows[rows.outcome == "value-loss"].iloc[0]
    reasons = "; ".join([*(reason(row) for row in returns.itertuples()), reason(loss)])
    at_best = best_rates.sign(best, pair)
    if at_best is None:
        return f"{ADVICE[decided]}: {reasons}."
    where = f" at a learning rate of {best_rates.MAIN}" if decided and at_best != decided else ""
    return f"{ADVICE[decided]}{where}: {reasons}. {best_rates.advice(best, pair)}"


def verdict(signs: set[int]) -> int:
    """1 for LayerNorm, −1 against it, 0 where clear effects are absent or disagree.

    >>> verdict({0, 1}), verdict({-1}), verdict({1, -1}), verdict({0})
    (1, -1, 0, 0)
    """
    return sum({1, -1} & signs)


def reason(row: pd.Series) -> str:
    """An outcome in a few words: `training return +8.1 [7.0, 9.2]`."""
    outcome = next(each for each in effects.OUTCOMES if each.name == row.outcome)
    plus = "+" if row.estimate > 0 else ""
    clear = "" if effects.sign(row) else ", not clear"
    unit = " %" if outcome.relative else ""
    return f"{outcome.title.removesuffix(', %')} {plus}{tables.words(row, outcome.digits)}{unit}{clear}"
