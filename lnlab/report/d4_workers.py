"""Document D4's number of workers: the gap between A3C and Individual with three, five and ten of them.

For notebooks/d4.ipynb, from the profile `workers` beside the main one; the recurrent arms, on the 18 scenarios.
"""

import itertools

import pandas as pd
from matplotlib.figure import Figure

from lnlab.config import RunConfig
from lnlab.report import cells, output, style, tables
from lnlab.report.cells import NAME, arm
from lnlab.report.d4 import MODES
from lnlab.report.evidence import Data, Missing

USUAL = RunConfig.model_fields["workers"].default
CELL = {"none": "rnn", "ln": "both"}  # of the matrix
COLUMNS = ["norm", "mode", "workers", "estimate", "low", "high", "n"]


def gaps(data: Data) -> pd.DataFrame:
    """A3C over Individual in percent, by norm, mode of the test and number of workers: columns COLUMNS.

    Only numbers of workers for which both algorithms were run; with the usual number there are more seeds.

    Raises:
        Missing: there is none but the usual number.
    """
    others = data.of("workers")
    configs = [run.config for run in others.main.runs if run.complete and isinstance(run.config, RunConfig)]
    rows = []
    for workers, norm, mode in itertools.product(sorted({USUAL, *(c.workers for c in configs)}), CELL, MODES):
        source, end = (data, "") if workers == USUAL else (others, f"-w{workers}")
        try:
            scores = [source.test(arm(who, CELL[norm]) + end, mode=mode) for who in NAME]
        except Missing:
            continue
        found = cells.found(cells.gap, *(cells.summary(each[:, None]) for each in scores))
        rows.append((norm, mode, workers, *found))
    table = pd.DataFrame(rows, columns=COLUMNS)
    if table.workers.nunique() < 2:
        raise Missing("needs A3C and Individual with another number of workers")
    return table


def table(rows: pd.DataFrame) -> output.TableOutput:
    """The gap by the number of workers."""
    named = rows.assign(
        arms=[f"RNN, {style.NORM_LABEL[norm]}" for norm in rows.norm],
        heads=[f"{workers} workers" for workers in rows.workers],
    ).rename(columns={"mode": "policies"})
    shown = tables.pivot_words(named, ["arms", "policies"], "heads").fillna("n/a")
    caption = (
        "Gap of A3C over Individual in percent of Individual's mean return, by the number of workers: 18 scenarios, "
        f"cloud budget, 95 % intervals over n = {cells.counted(rows.n)} seeds."
    )
    return output.table("workers-gap", shown, caption=caption, data=rows)


def figure(rows: pd.DataFrame) -> output.FigureOutput:
    """The gap against the number of workers, a panel each mode of the test."""
    words = "; ".join(
        f"{row.mode}, {style.NORM_LABEL[row.norm]}, {row.workers} workers: {tables.words(row, 0)} %"
        for row in rows.itertuples()
    )
    caption = (
        "Gap of A3C over Individual against the number of workers, with the RNN: 18 scenarios, cloud budget, 95 % "
        f"intervals over n = {cells.counted(rows.n)} seeds."
    )
    return output.figure("workers", _draw(rows), alt=f"Gap. {words}.", caption=caption, data=rows)


@style.styled
def _draw(rows: pd.DataFrame) -> Figure:
    modes = list(dict.fromkeys(rows["mode"]))
    drawn, axes = style.axes(1, len(modes), height=2.2, sharex=True, sharey=True)
    for panel, mode in zip(axes, modes, strict=True):
        for place, (norm, mine) in enumerate(rows[rows["mode"] == mode].groupby("norm", sort=False)):
            errors = [mine.estimate - mine.low, mine.high - mine.estimate]
            at, colour = mine.workers + 0.15 * place, style.NORM_COLOUR[str(norm)]
            panel.errorbar(at, mine.estimate, errors, fmt="o-", color=colour, label=style.NORM_LABEL[str(norm)])
        panel.axhline(0, color=style.GREY, linewidth=0.8)
        panel.set_title(f"{mode} policies")
        panel.set_xticks(sorted(rows.workers.unique()))
        panel.set_xlabel("workers")
    axes[0].set_ylabel("gap, %")
    drawn.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize=9)
    return drawn
