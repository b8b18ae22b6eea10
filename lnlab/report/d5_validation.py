"""D5's first validation point: greedy tests of the runs of 10,000 steps, beside how far their actions are saturated."""

import pandas as pd

from lnlab.analysis.stats import interval
from lnlab.report import output, tables
from lnlab.report.cells import counted
from lnlab.report.d5_claims import AFTER, LONGER
from lnlab.report.driving_data import Driving
from lnlab.report.driving_pieces import greedy_at
from lnlab.report.evidence import Data, Missing

FIRST = 10_000  # steps, the first of D5's validation points
SATURATED = "saturated actions, %"


def tests(data: Data) -> pd.DataFrame:
    """Return of the greedy tests and share of saturated actions: columns step, what, estimate, low, high, n.

    From the report's own runs if they are long enough, else from those of the profile that was made for it.

    Raises:
        Missing: neither is there.
    """
    runs = Driving.of(data)
    if runs.extent.steps < FIRST:
        runs = Driving.of(data.of(LONGER))
    rows = []
    for step in sorted(runs.table(AFTER, "checks").step.unique()):
        rows.append((int(step), "greedy return", *interval(greedy_at(runs, AFTER, step))))
        if (saturated := _saturated(runs.table(AFTER, "records"), step)) is not None:
            rows.append((int(step), SATURATED, *interval(100 * saturated.to_numpy(float))))
    if not rows:
        raise Missing("needs greedy tests of the arm with LayerNorm")
    return pd.DataFrame(rows, columns=["step", "what", "estimate", "low", "high", "n"])


def _saturated(records: pd.DataFrame, step: int) -> pd.Series | None:
    """Each seed's share as logged last up to a step; none before learning."""
    rows = records[records.step <= step].dropna(subset="saturation").sort_values("step")
    return None if rows.empty else rows.groupby("seed").saturation.last()


def table(rows: pd.DataFrame) -> output.TableOutput:
    """The greedy return at each test."""
    shown = tables.pivot_words(rows.assign(step=[f"{step:,}" for step in rows.step]), ["step"], "what").fillna("n/a")
    caption = (
        "Greedy tests of the arm with LayerNorm and the original's wiring, on the same tracks each time, beside the "
        "share of the actor's actions beyond ±0.99 in the update logged last: means with 95 % intervals over "
        f"n = {counted(rows.n)} seeds."
    )
    return output.table("validation", shown, caption=caption, data=rows)
