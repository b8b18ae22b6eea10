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
from lnlab.report import evidence, figures, tables
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


def probability(p: float) -> str:
    """A p-value.

    >>> probability(0.00016), probability(0.0432), probability(1.0)
    ('< .001', '.043', '1')
    """
    if p < 0.001:
        return "< .001"
    return f"{p:.3f}".removeprefix("0") if p < 0.9995 else "1"


def sign(row: Any) -> int:
    """1 or −1 where an effect is clear: the corrected test rejects and the interval lies on that side; else 0."""
    if not row.p_holm < LEVEL:
        return 0
    return 1 if row.low > 0 else -1 if row.high < 0 else 0


def listed(items: Iterable[str]) -> str:
    """Words in a row.

    >>> listed(["A", "B", "C"]), listed(["A"])
    ('A, B and C', 'A')
    """
    *first, last = items
    return f"{', '.join(first)} and {last}" if first else last
