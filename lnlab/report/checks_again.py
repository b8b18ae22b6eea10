"""The published runs repeated twice, by the same code with other seeds: do their means fall where ours say?

Two intervals are asked. The 95 % interval of the published mean holds the *true* mean in 95 of 100 studies; the mean of
a repetition has an error of its own and falls inside less often (`promise`). The 95 % prediction interval for the mean
of as many new seeds is what a repetition should meet in 95 of 100 quantities. For a coefficient of variation both come
from resampled seeds, for a mean from Student's t.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pandas as pd
from scipy import stats

from lnlab.analysis.claims import Number, number
from lnlab.report import beside, cells, figures, matrix, output, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Array, Data, Missing

PROFILES = ("again-1", "again-2")
ARMS = {"a3c-gru-ln": "a3c", "individual-gru-ln": "ind"}  # and as `lnlab.report.cells` calls their algorithms
MODES = ("greedy", "sampled")
Measure = Callable[[Data, str], Array]  # (data, arm) to (n_seeds,)


def _metric(name: str, scale: float = 1.0) -> Measure:
    return lambda data, arm: scale * data.metric(arm, name)


def _test(mode: str, group: str) -> Measure:
    return lambda data, arm: data.test(arm, (group,), mode)


MEANS: dict[str, Measure] = {
    "return, last 200 episodes": _metric("return_last_200"),
    "value loss, all rollouts": _metric("value_loss_all_mean"),
    "episodes above 100, %": _metric("explosion_episodes", 100),
    **{f"test, {m}, {tables.TYPE_LABEL[g]}": _test(m, g) for m in MODES for g in ("seen", "intra", "extra")},
}


def compare(data: Data) -> pd.DataFrame:
    """Every quantity of every repetition that is there beside the published one.

    Columns profile, algorithm, core, norm, quantity, again, estimate (published), mean_low, mean_high (95 % of the
    published), low, high (95 % of a repetition), n (seeds published), m (seeds of the repetition), in_mean,
    in_prediction (whether `again` is), position (in the latter).

    Raises:
        Missing: no repetition is there, or its runs cannot be compared with the published ones.
    """
    rows = [row for profile in PROFILES if data.study(profile) for row in _rows(data, profile)]
    if not rows:
        raise Missing(f"needs the profiles {' or '.join(map(repr, PROFILES))}, which were not run")
    return pd.DataFrame(rows)


def _rows(data: Data, profile: str) -> Iterator[dict[str, Any]]:
    repeated = data.of(profile)
    there = {run.id for run in repeated.main.runs if run.complete}
    for arm in ARMS:
        if arm in there:
            _comparable(data, repeated, arm)
            labels = {"profile": profile} | dict(zip(figures.ARM, arm.split("-"), strict=True))
            yield from (labels | row(name, found) for name, found in _numbers(data, repeated, arm))


def _comparable(data: Data, repeated: Data, arm: str) -> None:
    """The runs differ in their seeds alone, and have none in common.

    Raises:
        Missing: they do not, or the published one is not there.
    """
    ours, theirs = data.run(arm).config, repeated.run(arm).config
    extent = {"seeds", "first_seed"}
    differing = [
        name for name, value in ours.science.items() if name not in extent and theirs.science.get(name) != value
    ]
    if differing:
        raise Missing(f"needs runs of {arm} that differ in the seeds alone; these do in {', '.join(differing)}")
    if shared := sorted(set(ours.seed_list) & set(theirs.seed_list)):
        raise Missing(f"needs other seeds than the published ones of {arm}; both have {shared}")


def _numbers(data: Data, repeated: Data, arm: str) -> Iterator[tuple[str, Number]]:
    """Each quantity with the published seeds as what is found, and the repetition as what is printed."""
    for name, measure in MEANS.items():
        again = measure(repeated, arm)
        yield name, number(name, float(again.mean()), measure(data, arm), runs=len(again))
    for mode in MODES:
        ours, theirs = (matrix.own(each, ARMS[arm], "both", mode) for each in (data, repeated))
        name = f"CV of D2's cells, {mode}"
        yield name, cells.repeated(name, float(cells.cv(theirs)), cells.cv, ours, runs=len(theirs))


def row(name: str, found: Number) -> dict[str, Any]:
    """A quantity as the columns of `compare` from `quantity` on."""
    middle, low, high, n = found.found
    return {
        "quantity": name, "again": found.printed, "estimate": middle, "mean_low": low, "mean_high": high,
        "low": found.low, "high": found.high, "n": n, "m": found.runs,
        "in_mean": bool(low <= found.printed <= high), "in_prediction": found.outcome == "agrees",
        "position": beside.position(found.printed, middle, found.low, found.high),
    }  # fmt: skip


def promise(n: int, m: int, confidence: float = 0.95) -> float:
    """How often the mean of m new seeds falls inside the confidence interval of the mean of n seeds, both normal.

    The difference of the means over s √(1/n + 1/m) follows Student's t with n − 1 degrees of freedom, and inside means
    that it is at most t √(m / (n + m)). With endless seeds in the repetition it is the confidence.

    >>> round(promise(30, 10), 2), round(promise(30, 10**9), 2)
    (0.69, 0.95)
    """
    quantile = stats.t.ppf((1 + confidence) / 2, n - 1)
    return float(2 * stats.t.cdf(quantile * math.sqrt(m / (n + m)), n - 1) - 1)


def summary(found: pd.DataFrame) -> output.Text:
    """How many quantities fall into which interval, and how many should."""
    expected = sum(promise(row.n, row.m) for row in found.itertuples())
    runs = found.drop_duplicates(["profile", *figures.ARM])
    lines = [
        f"{len(runs)} runs were repeated with other seeds (n = {counted(found.m)} each, against {counted(found.n)}), "
        f"{len(found)} quantities in all.",
        "",
        "- In the 95 % **prediction interval** for the mean of as many new seeds: "
        f"{beside.share(found.in_prediction)}; about {0.95 * len(found):.0f} should be.",
        f"- In the 95 % **interval of the published mean**: {beside.share(found.in_mean)}; about {expected:.0f} should "
        "be, since the repetition has its own error.",
    ]
    if outside := [_outside(row) for row in found[~found.in_prediction].itertuples()]:
        lines.append(f"- Outside the prediction interval: {'; '.join(outside)}.")
    return output.Text("\n".join(lines))


def _outside(row: Any) -> str:
    expected = beside.range_words(row.estimate, row.low, row.high)
    who = tables.arm(row.algorithm, row.core, row.norm)
    return f"{who}, {row.profile}, {row.quantity} ({tables.number(row.again, _digits(row))}, expected {expected})"


def _digits(row: Any) -> int:
    """As many decimals as the range supports."""
    size = (row.high - row.low) / 2
    return min(max(0, 1 - math.floor(math.log10(size))), 6) if size > 0 else 1


def position_figure(found: pd.DataFrame) -> output.FigureOutput:
    """Each repetition in the prediction interval, and the interval of the published mean inside it."""
    ends = {name: [beside.position(getattr(row, column), row.estimate, row.low, row.high) for row in found.itertuples()]
            for name, column in (("from", "mean_low"), ("to", "mean_high"))}  # fmt: skip
    rows = found.assign(arm=tables.arms(found), name=found.quantity, series=found.profile, **ends)
    panels = {str(arm): mine for arm, mine in rows.groupby("arm", sort=False)}
    caption = (
        f"Means of repetitions with n = {counted(found.m)} other seeds, in the 95 % prediction interval for such a "
        f"mean (shaded; 0 is the published mean of n = {counted(found.n)} seeds, ±1 are the ends). The grey bar is the "
        "95 % interval of the published mean."
    )
    alt = "Positions of the repeated means: " + "; ".join(
        f"{arm} {beside.share(mine.in_prediction)} in the prediction interval, {beside.share(mine.in_mean)} in the "
        "interval of the mean"
        for arm, mine in panels.items()
    )
    return output.figure("again", beside.positions(panels, "position"), alt=f"{alt}.", caption=caption, data=rows)


def quantity_table(found: pd.DataFrame, algorithm: str) -> output.TableOutput:
    """The numbers of one algorithm: published, expected of a repetition, repeated.

    Raises:
        Missing: it was not repeated.
    """
    mine = found[found.algorithm == algorithm]
    if mine.empty:
        raise Missing(f"needs a repetition of {tables.arm(algorithm, 'gru', 'ln')}, which was not made")
    first = mine.drop_duplicates("quantity")
    shown = pd.DataFrame({"quantity": first.quantity})
    shown["published"] = [beside.range_words(row.estimate, row.mean_low, row.mean_high) for row in first.itertuples()]
    shown["expected"] = [f"{_number(row, row.low)} to {_number(row, row.high)}" for row in first.itertuples()]
    for profile, rows in mine.groupby("profile", sort=False):
        words = {row.quantity: _number(row, row.again) + _marks(row) for row in rows.itertuples()}
        shown[str(profile)] = shown.quantity.map(words)
    caption = (
        f"{tables.arm(algorithm, 'gru', 'ln')}: the published mean with its 95 % interval (n = {counted(mine.n)} "
        f"seeds), the range expected of the mean of n = {counted(mine.m)} new seeds (95 %), and the repetitions. "
        "○: outside the interval of the published mean; ✗: outside the expected range too."
    )
    return output.table(f"again-{algorithm}", shown, caption=caption, data=mine)


def _number(row: Any, value: float) -> str:
    return tables.number(value, _digits(row))


def _marks(row: Any) -> str:
    return "" if row.in_mean else " ○" if row.in_prediction else " ✗"
