"""Curves of the TD3 runs: norms by colour, wiring by line, every seed thin, their mean thick, its interval shaded."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from lnlab.report import style
from lnlab.report.driving_data import ARMS, Driving, Logged
from lnlab.report.evidence import Missing

LINE = {"leaky": "-", "detached": (0, (4, 2))}


class Panel(NamedTuple):
    """A column of the records, how to call it, and whether its sizes are drawn on a logarithmic axis."""

    column: str
    label: str
    log: bool = False


def band(logged: Logged, *, log: bool = False, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds with a pointwise Student-t interval: updates, mean, low, high, n.

    With `log` they are those of log10 |value|, taken back: a geometric mean.
    """
    values = np.log10(np.maximum(np.abs(logged.values), 1e-12)) if log else logged.values
    n = len(values)
    half = student.ppf((1 + confidence) / 2, n - 1) * values.std(axis=0, ddof=1) / np.sqrt(n)
    mean = values.mean(axis=0)
    rows = pd.DataFrame({"mean": mean, "low": mean - half, "high": mean + half})
    rows = 10**rows if log else rows
    rows.insert(0, "updates", logged.updates)
    return rows.assign(n=n)


def bands(runs: Driving, arms: Sequence[str], panels: Sequence[Panel]) -> pd.DataFrame:
    """`band` of every panel and arm that has it, with the columns quantity and arm in front.

    Raises:
        Missing: no arm has any.
    """
    found = []
    for panel in panels:
        for arm in arms:
            if (logged := _seen(runs, arm, panel)) is not None:
                found.append(band(logged, log=panel.log).assign(quantity=panel.column, arm=ARMS[arm].says))
    if not found:
        raise Missing(f"needs {', '.join(panel.column for panel in panels)} of the arms {', '.join(arms)}")
    rows = pd.concat(found, ignore_index=True)
    return rows[["quantity", "arm", "updates", "mean", "low", "high", "n"]]


@style.styled
def grid(runs: Driving, arms: Sequence[str], panels: Sequence[Panel], *, share: str | bool = False) -> Figure:
    """One panel a quantity, two a row; the arms by colour and line."""
    figure, axes = style.axes(-(-len(panels) // 2), min(2, len(panels)), height=2.4, sharex=True, sharey=share)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_yscale("log" if panel.log else "linear")
        axis.set_title(panel.label)
        for arm in arms:
            _lines(axis, runs, arm, panel)
    for axis, panel in zip(axes, panels, strict=False):
        axis.set_ylim(axis.get_ylim())  # set by what was measured: the band of few seeds would dwarf it
        for arm in arms:
            _band(axis, runs, arm, panel)
    for axis in axes[len(panels) :]:
        axis.set_visible(False)
    for axis in axes[-2:]:
        axis.set_xlabel("critic updates")
    legend(figure, axes[0])
    return figure


def legend(figure: Figure, axis: Axes) -> None:
    """The lines of one panel, below all of them."""
    handles, labels = axis.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=min(2, len(labels)), fontsize=9)


def look(arm: str) -> dict[str, Any]:
    """Colour and line of an arm."""
    settings = ARMS[arm].settings
    norm = "none" if settings["norm"] == "none" else "ln"
    return {"color": style.NORM_COLOUR[norm], "linestyle": LINE[settings.get("actor_features", "leaky")]}


def _lines(axis: Axes, runs: Driving, arm: str, panel: Panel) -> None:
    if (logged := _seen(runs, arm, panel)) is None:
        return
    seeds, kind = np.abs(logged.values) if panel.log else logged.values, look(arm)
    axis.plot(logged.updates, seeds.T, linewidth=0.5, alpha=0.35, **kind)
    drawn = band(logged, log=panel.log)
    axis.plot(drawn.updates, drawn["mean"], linewidth=1.8, label=f"{ARMS[arm].says} (n={len(seeds)})", **kind)


def _band(axis: Axes, runs: Driving, arm: str, panel: Panel) -> None:
    if (logged := _seen(runs, arm, panel)) is not None:
        drawn = band(logged, log=panel.log)
        axis.fill_between(drawn.updates, drawn.low, drawn.high, color=look(arm)["color"], alpha=0.2, linewidth=0)


def _seen(runs: Driving, arm: str, panel: Panel) -> Logged | None:
    try:
        return runs.whole(arm, panel.column)
    except Missing:  # a frozen learner has no later values
        return None
