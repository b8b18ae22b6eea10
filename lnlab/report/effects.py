"""What the norm changes: differences between arms that share everything else, paired by seed, and the sentences that
state them.

A pair is two arms of one algorithm and core, with LayerNorm and without. Its seeds see the same environment streams, so
the difference is taken seed by seed. The contrasts of `OUTCOMES` with the pairs were chosen before the published runs:
each is tested by flipping the signs of the seeds' differences, and Holm's method corrects for their number. A
sentence's verb follows from that test and the interval, never from an opinion.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnlab.analysis.stats import Interval, holm, paired_difference, sign_flip_test
from lnlab.report import cells, evidence, figures, output, tables
from lnlab.runs import Study

PAIR = ["algorithm", "core"]
CLOUD = "budget"  # the source documents' test rules
LEVEL = 0.05  # of the tests together, by Holm's method


class Outcome(NamedTuple):
    """A number per seed and arm, and how to speak of it."""

    name: str
    title: str  # of a panel
    what: str  # in a sentence: "LayerNorm raises {what} of …"
    unit: str
    relative: bool = False  # differences in percent of the arm without norm
    digits: int = 1


OUTCOMES = [
    Outcome(
        "return",
        "training return",
        "the return at the end of training (mean of the last tenth of the episodes)",
        "reward",
    ),
    Outcome("value-loss", "value loss, %", "the value loss (all rollouts of training)", " %", relative=True, digits=0),
    Outcome("sampled", "test return, sampled", "the test return of the sampled policy (18 scenarios)", "reward"),
    Outcome("greedy", "test return, greedy", "the test return of the greedy policy (18 scenarios)", "reward"),
]


def scores(study: Study) -> pd.DataFrame:
    """The outcomes of every seed: columns algorithm, core, norm, seed, outcome, value."""
    metrics, tests = study.table("metrics"), study.table("evaluation")
    whole = metrics[metrics.worker == -1]
    tests = tests[tests.cloud == CLOUD]
    parts = {
        "return": whole[whole.quantity == "return_final"],
        "value-loss": whole[whole.quantity == "value_loss_all_mean"],
        "sampled": tests[tests["mode"] == "sampled"].rename(columns={"return_mean": "value"}),
        "greedy": tests[tests["mode"] == "greedy"].rename(columns={"return_mean": "value"}),
    }
    every = [tables.per_seed(rows, figures.ARM, "value").assign(outcome=name) for name, rows in parts.items()]
    return tables.in_order(pd.concat(every))


def effects(study: Study) -> pd.DataFrame:
    """LayerNorm minus no norm for each outcome and pair: outcome, algorithm, core, estimate, low, high, n, p, p_holm.

    `p` is that of the paired sign-flip test, `p_holm` the same corrected for all rows. Over the seeds that both arms of
    a pair have; a pair that lacks an arm is left out.
    """
    every = scores(evidence.arms(study))
    every = every[every.norm.isin(["ln", "none"])]
    every = every[every.groupby(["outcome", *PAIR, "seed"]).norm.transform("nunique") == 2]
    rows = []
    for outcome in OUTCOMES:
        mine = every[every.outcome == outcome.name]
        for (algorithm, core), pair in mine.groupby(PAIR, sort=False):
            found = difference(pair, relative=outcome.relative)
            rows.append((outcome.name, algorithm, core, *found, sign_flip_test(*_paired(pair))))
    table = pd.DataFrame(rows, columns=["outcome", *PAIR, "estimate", "low", "high", "n", "p"])
    return table.assign(p_holm=holm(table.p))


def difference(pair: pd.DataFrame, *, relative: bool = False) -> Interval:
    """LayerNorm minus no norm over the seeds of one pair: columns norm, seed, value; in percent if `relative`.

    Raises:
        ValueError: an arm is missing, or the two have different seeds.
    """
    ln, none = _paired(pair)
    return percent_change(ln, none) if relative else paired_difference(ln, none)


def _paired(pair: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """The values with LayerNorm and without, (n_seeds,) each, row by row of the same seed."""
    wide = pair.pivot(index="seed", columns="norm", values="value").reindex(columns=["ln", "none"])
    if wide.isna().any(axis=None):
        lacking = {norm: wide.index[wide[norm].isna()].tolist() for norm in wide if wide[norm].isna().any()}
        raise ValueError(f"arms are compared seed by seed; without a value: {lacking}")
    return wide["ln"].to_numpy(), wide["none"].to_numpy()


def percent_change(new: np.ndarray, old: np.ndarray) -> Interval:
    """100 (mean(new) / mean(old) − 1) with its interval, both (n_seeds,), positive on average, and paired by seed.

    The interval is that of the logarithm of the ratio, so it never passes −100 %; unknown where a mean is zero.

    >>> percent_change(np.array([1.0, 3.0]), np.array([4.0, 4.0])).estimate
    -50.0
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = paired_difference(new, old, _log_mean)
        estimate, low, high = (float(100 * np.expm1(value)) for value in ratio[:3])
    unknown = not (np.isfinite(low) and np.isfinite(high))
    return Interval(estimate, np.nan if unknown else low, np.nan if unknown else high, ratio.n)


def _log_mean(values: np.ndarray, axis: int | None = None) -> np.ndarray:
    return np.log(np.mean(values, axis=axis))


def effect_figure(found: pd.DataFrame) -> output.FigureOutput:
    """The main figure: the effect of LayerNorm on each outcome, one line a pair."""
    panels = {}
    for outcome in OUTCOMES:
        rows = found[found.outcome == outcome.name]
        panels[outcome.title] = rows.assign(norm="ln", name=tables.pairs)
    n = cells.counted(found.n)
    drawn = figures.intervals(panels, "LayerNorm minus no norm", zero=True)
    caption = (
        f"What LayerNorm changes: the arm with it minus the arm without, paired over n = {n} seeds, with 95 % "
        "intervals. Returns in units of reward, value loss in percent. Right of zero LayerNorm raises the number; a "
        "lower value loss is better."
    )
    return output.figure("effects", drawn, alt=" ".join(statements(found)), caption=caption, data=found)


def contrast_table(found: pd.DataFrame) -> output.TableOutput:
    """Every contrast with its interval and its test."""
    outcome = {each.name: each for each in OUTCOMES}
    rows = [
        {
            "outcome": outcome[row.outcome].title,
            "agent": name,
            "LayerNorm minus no norm": tables.words(row, outcome[row.outcome].digits),
            "p": probability(row.p),
            "p, Holm": probability(row.p_holm),
            "clear": {1: "raised", -1: "lowered", 0: "no"}[sign(row)],
        }
        for name, row in zip(tables.pairs(found), found.itertuples(), strict=True)
    ]
    caption = (
        f"The {len(found)} contrasts chosen before the published runs, paired over n = {cells.counted(found.n)} "
        "seeds, with 95 % intervals; p of the paired sign-flip test of whether the two arms are alike, and corrected "
        "for all of them by Holm's method. The value loss is compared in percent."
    )
    return output.table("contrasts", pd.DataFrame(rows), caption=caption, data=found)


def probability(p: float) -> str:
    """A p-value.

    >>> probability(0.00016), probability(0.0432), probability(1.0)
    ('< .001', '.043', '1')
    """
    if p < 0.001:
        return "< .001"
    return f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def summary(found: pd.DataFrame) -> output.Text:
    """The statements as a Markdown list, and by which test an effect is clear."""
    sentences = "\n".join(f"- {sentence}" for sentence in statements(found))
    return output.Text(f"{sentences}\n\n{criterion(found)}")


def criterion(found: pd.DataFrame) -> str:
    """When an effect is called clear; says so where there are too few seeds for any to be."""
    n, tests = int(found.n.min()), len(found)
    least = tests * 2.0 ** (1 - n)  # all seeds agree
    return (
        f"An effect is called clear if its interval leaves out zero and p < {LEVEL:g} in a paired sign-flip test, "
        f"corrected by Holm's method for all {tests} contrasts, which were chosen before the published runs"
        f"{f'; {n} seeds are too few for any to be' if least >= LEVEL else ''}. "
        "The test asks whether the two arms are alike, the interval how far their means differ."
    )


def statements(found: pd.DataFrame) -> list[str]:
    """One sentence an outcome, whose verbs follow from the tests and intervals."""
    return [statement(outcome, found[found.outcome == outcome.name]) for outcome in OUTCOMES]


def statement(outcome: Outcome, rows: pd.DataFrame) -> str:
    """A sentence on one outcome: for whom LayerNorm raises it, lowers it, or shows no clear effect."""
    named = list(zip(tables.pairs(rows), rows.itertuples(), strict=True))
    clauses = []
    for verb, side in (("raises", 1), ("lowers", -1)):
        members = [f"{name} by {amount(row, outcome)}" for name, row in named if sign(row) == side]
        clauses += [f"{verb} {outcome.what} of {listed(members)}"] if members else []
    unclear = [
        f"{name} ({tables.words(row, outcome.digits)}{_suffix(outcome)})" for name, row in named if sign(row) == 0
    ]
    clauses += (
        [f"shows no clear effect on {'it' if clauses else outcome.what} for {listed(unclear)}"] if unclear else []
    )
    return f"LayerNorm {'; it '.join(clauses)} (n = {cells.counted(rows.n)})."


def sign(row: Any) -> int:
    """1 or −1 where an effect is clear: the corrected test rejects and the interval lies on that side; else 0."""
    if not row.p_holm < LEVEL:
        return 0
    return 1 if row.low > 0 else -1 if row.high < 0 else 0


def amount(row: Interval, outcome: Outcome) -> str:
    """The size of an effect without its sign, and its interval in rising order."""
    low, high = sorted((abs(row.low), abs(row.high)))
    return tables.words(Interval(abs(row.estimate), low, high, row.n), outcome.digits) + _suffix(outcome)


def _suffix(outcome: Outcome) -> str:
    return outcome.unit if outcome.relative else ""


def listed(items: Iterable[str]) -> str:
    """Words in a row.

    >>> listed(["A", "B", "C"]), listed(["A"])
    ('A, B and C', 'A')
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
