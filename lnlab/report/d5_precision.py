"""Does it matter that the CNN computes in bfloat16, which is faster? D5's four arms in both, for notebooks/d5.ipynb.

The margins are those that `lnlab.report.driving_predictions` has for arms that are alike; they and the one of the share
of saturated actions were written before the runs of the profile `driving-coarse`.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pandas as pd

from lnlab.analysis.claims import Direction
from lnlab.analysis.stats import Interval, interval
from lnlab.report import output, tables
from lnlab.report.cells import counted
from lnlab.report.driving_data import ARMS, MAIN, Driving, arm_of, end, extent_of, feature_growth, inflation, one_q
from lnlab.report.driving_pieces import more
from lnlab.report.driving_predictions import DOUBLE, TENFOLD
from lnlab.report.evidence import Array, Data, Missing

COARSE = "driving-coarse"


class Measure(NamedTuple):
    """What is compared: the name, a value a seed, and how far two arms that are alike may lie apart."""

    name: str
    of: Callable[[Driving, str], Array]
    margin: float


MEASURES = (
    Measure("growth", feature_growth, TENFOLD),
    Measure("inflation", inflation, DOUBLE),
    Measure("saturated", lambda runs, arm: end(runs.logged(arm, "saturation").values), 0.1),
)


def coarse(data: Data) -> Driving:
    """The runs in bfloat16 by the names of the arms that they are but for that, as long as the report's own.

    Raises:
        Missing: there are none.
    """
    there, extent = data.of(COARSE), Driving.of(data).extent
    runs = {arm_of(run, precision="float32"): run for run in there.main.runs if run.complete}
    same = {arm: run for arm, run in runs.items() if arm in ARMS and extent_of(run) == extent}
    if not same:
        raise Missing(f"needs runs of the profile {COARSE!r} with batches of {extent.batch_size}, {extent.steps} steps")
    return Driving(there, same, extent)


def compared(data: Data) -> pd.DataFrame:
    """Each arm and measure: columns arm, what, precision (float32, bfloat16, difference), estimate, low, high, n,
    outcome (of the difference against the margin).

    Raises:
        Missing: no arm was run in both.
    """
    usual, other = Driving.of(data), coarse(data)
    rows: list[tuple[object, ...]] = []
    for arm in (arm for arm in other.arms(MAIN) if arm in usual.runs):
        for measure in MEASURES:
            if measure.of is inflation and one_q(arm):
                continue
            values = {"float32": measure.of(usual, arm), "bfloat16": measure.of(other, arm)}
            rows += [(arm, measure.name, name, *interval(each), "") for name, each in values.items()]
            change = more(values["bfloat16"], values["float32"])
            rows.append((arm, measure.name, "difference", *change, _outcome(measure, change)))
    if not rows:
        raise Missing("needs an arm in float32 and in bfloat16")
    return pd.DataFrame(rows, columns=["arm", "what", "precision", "estimate", "low", "high", "n", "outcome"])


def _outcome(measure: Measure, change: Interval) -> str:
    return Direction(measure.name, change, "within", measure.margin).outcome


def table(rows: pd.DataFrame) -> output.TableOutput:
    """The four arms in both precisions, with the difference and whether it stays within its margin."""
    margins = "; ".join(f"{each.name} {each.margin:.2g}" for each in MEASURES)
    named = rows.assign(
        words=[_words(row) for row in rows.itertuples()], arms=[ARMS[str(arm)].says for arm in rows.arm]
    )
    wide = named.pivot(index=["what", "arms"], columns="precision", values="words")
    order = pd.MultiIndex.from_frame(named.sort_values("what", kind="stable")[["what", "arms"]].drop_duplicates())
    shown = wide.loc[order, ["float32", "bfloat16", "difference"]].reset_index().rename_axis(columns=None)
    caption = (
        "D5's four arms with the CNN's products in float32 and in bfloat16, by the measures of the table above. The "
        f"same holds if the interval of the difference stays within the margin ({margins}), paired by seed; the "
        f"inflation of detached arms, 0 by construction, is left out. 95 % intervals over n = {counted(rows.n)} seeds."
    )
    return output.table("precision", shown.rename(columns={"arms": "arm"}), caption=caption, data=rows)


def _words(row: object) -> str:
    outcome = f" {row.outcome}" if row.outcome else ""  # type: ignore[attr-defined]
    return f"{tables.words(row, 2)}{outcome}"


def counts(rows: pd.DataFrame) -> dict[str, int]:
    """How many differences hold, oppose and are open."""
    found = rows[rows.precision == "difference"].outcome.value_counts()
    return {name: int(found.get(name, 0)) for name in ("holds", "opposes", "open")}


def said(rows: pd.DataFrame) -> output.Text:
    """The table in a sentence."""
    found, n = counts(rows), int(np.sum(rows.precision == "difference"))
    beyond = f", {found['opposes']} lie beyond them" if found["opposes"] else ""
    undecided = f", {found['open']} are undecided" if found["open"] else ""
    return output.Text(
        f"Of {n} differences between the two precisions {found['holds']} stay within their margins{beyond}{undecided}."
    )
