"""LayerNorm's effect over more episodes and with other numbers of workers, in words and a table for the landing page.

From `lnlab.report.sensitivity_extent` and `workers_why`. Descriptions: the intervals are not corrected.
"""

from collections.abc import Callable
from typing import Any

import pandas as pd

from lnlab.analysis.stats import paired_difference
from lnlab.report import effects, output, tables
from lnlab.report.cells import counted, paired
from lnlab.report.evidence import Data, Missing
from lnlab.report.sensitivity import effects_by, scores
from lnlab.report.sensitivity_extent import DOCUMENTS, LONG, WINDOW, agents, lengths, trends
from lnlab.report.workers_why import ARM, SETTINGS, WHY

WAYS = {1: "grows", 0: "does not clearly change", -1: "shrinks"}
ALONE = "5 workers, a cloud each"
COLUMNS = ["pair", "setting", "estimate", "low", "high", "n"]


def landing(data: Data) -> str:
    """What changes, in two sentences, and the effects in a table; "" for a report without such runs."""
    found = effects_elsewhere(data)
    if found.empty:
        return ""
    cells = found.assign(words=[tables.words(row) for row in found.itertuples()])
    wide = cells.pivot(index="pair", columns="setting", values="words").fillna("n/a")
    shown = wide.loc[found.pair.unique(), found.setting.unique()].rename_axis(columns=None).reset_index()
    said = [sentence for sentence in (_attempt(_workers_said, data), _attempt(_lengths_said, data)) if sentence]
    note = (
        f"Return at the end of training (mean of the last tenth of the episodes), n = {counted(found.n)}; 95 % "
        "intervals, not corrected for their number."
    )
    return f"{' '.join([*said, note])}\n\n{output.markdown(shown.rename(columns={'pair': 'LayerNorm minus no norm'}))}"


def effects_elsewhere(data: Data) -> pd.DataFrame:
    """LayerNorm's effect on the return by agent and setting: columns COLUMNS, settings in the order they are shown."""
    parts = [_attempt(make, data) for make in (_by_workers, _alone, _by_length)]
    rows = [part for part in parts if isinstance(part, pd.DataFrame)]
    return pd.concat(rows, ignore_index=True) if rows else pd.DataFrame(columns=COLUMNS)


def _attempt(make: Callable[[Data], Any], data: Data) -> Any:
    try:
        return make(data)
    except Missing:
        return None


def _by_workers(data: Data) -> pd.DataFrame:
    rows = effects_by(scores(data, "workers", "workers"), "workers")
    rows = rows[rows.outcome == "return"]
    rows = rows.assign(pair=tables.pairs(rows), setting=[f"{workers} workers" for workers in rows.workers])
    return rows.sort_values("workers", kind="stable")[COLUMNS]


def _alone(data: Data) -> pd.DataFrame:
    """Five workers with a cloud each; with A3C GRU only."""
    alone, end = data.of(WHY), SETTINGS[ALONE].end
    ln, none = paired(*(alone.metric(ARM.format(norm=norm) + end, "return_final") for norm in ("ln", "none")))
    return pd.DataFrame([("A3C GRU", ALONE, *paired_difference(ln, none))], columns=COLUMNS)


def _by_length(data: Data) -> pd.DataFrame:
    rows = effects_by(scores(data, LONG, "episodes"), "episodes").query("outcome == 'return'")
    last = rows[(rows.episodes == rows.episodes.max()) & (rows.episodes > DOCUMENTS)]
    named = last.assign(pair=tables.pairs(last), setting=[f"5 workers, {many} episodes" for many in last.episodes])
    return named[COLUMNS]


def _workers_said(data: Data) -> str:
    found = trends(scores(data, "workers", "workers")).query("outcome == 'return'")
    return " ".join(
        f"With {tables.pairs(steps)[0]} LayerNorm's effect {effects.listed(_step(row) for row in steps.itertuples())}."
        for _, steps in found.groupby(["algorithm", "core"], sort=False)
    )


def _step(row: Any) -> str:
    return f"{WAYS[int(row.low > 0) - int(row.high < 0)]} from {row.few} to {row.many} workers"


def _lengths_said(data: Data) -> str:
    rows = lengths(data)
    clauses = [f"{word} with {agent}" for agent, _, word in agents(rows)]
    return (
        f"Over {rows.after.max()} episodes LayerNorm learns {effects.listed(clauses)}, by the return of {WINDOW} "
        f"episodes after {DOCUMENTS} and after {rows.after.max()}."
    )
