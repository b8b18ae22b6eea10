"""The figures of the book: learning curves, estimates with intervals, scenario heat maps.

Each takes tidy rows and gives back a Matplotlib figure in the style of `lnlab.report.style`; no global state. Estimates
come from `lnlab.analysis.stats`; nothing is computed here but the pointwise band of a curve.
"""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from lnlab.report import style

ARM = ["algorithm", "core", "norm"]


def band(curves: pd.DataFrame, quantity: str, confidence: float = 0.95) -> pd.DataFrame:
    """Mean over seeds of each arm's curve with a pointwise Student-t interval; a seed is the mean of its workers.

    Args:
        curves: columns algorithm, core, norm, seed, worker, episode and `quantity`.

    Returns:
        algorithm, core, norm, episode, mean, low, high (NaN bounds for one seed), n (seeds).
    """
    seeds = curves.groupby([*ARM, "seed", "episode"], as_index=False)[quantity].mean()
    rows = seeds.groupby([*ARM, "episode"])[quantity].agg(["mean", "sem", "count"]).reset_index()
    half = student.ppf((1 + confidence) / 2, np.maximum(rows["count"] - 1, 1)) * rows["sem"]
    rows = rows.assign(low=rows["mean"] - half, high=rows["mean"] + half)
    return rows.rename(columns={"count": "n"})[[*ARM, "episode", "mean", "low", "high", "n"]]


@style.styled
def learning_curves(curves: pd.DataFrame, quantity: str, label: str, *, log: bool = False) -> Figure:
    """One panel for each algorithm and core; norms by colour: every seed thin, the mean thick, its interval shaded."""
    means = band(curves, quantity)
    panels = list(curves[["algorithm", "core"]].drop_duplicates().itertuples(index=False, name=None))
    columns = min(2, len(panels))
    figure, axes = style.axes(-(-len(panels) // columns), columns, sharex=True, sharey=True)
    if log:
        axes[0].set_yscale("log")
    for panel, (algorithm, core) in zip(axes, panels, strict=False):
        here = {"algorithm": algorithm, "core": core}
        _lines(panel, _select(curves, here), _select(means, here), quantity)
        panel.set_title(f"{style.ALGORITHM_LABEL[algorithm]}, {style.CORE_LABEL[core]}")
    axes[0].set_ylim(axes[0].get_ylim())  # set by what was measured: the band of few seeds would dwarf it
    for panel, (algorithm, core) in zip(axes, panels, strict=False):
        _bands(panel, _select(means, {"algorithm": algorithm, "core": core}))
    _finish_curves(figure, axes, columns, label)
    return figure


@style.styled
def intervals(
    panels: Mapping[str, pd.DataFrame],
    label: str,
    *,
    references: Mapping[str, Mapping[str, float]] | None = None,
    zero: bool = False,
) -> Figure:
    """Dots with intervals, one panel a key, one line a name; norms beside each other on a line.

    Args:
        panels: title → rows with columns name, norm, estimate, low, high; names from top to bottom.
        label: of the common x axis, with its unit.
        references: title → name → value, drawn as vertical lines (policies that learn nothing).
        zero: draw the line of no effect.
    """
    names = list(dict.fromkeys(next(iter(panels.values())).name))
    columns = len(panels) if len(panels) <= 3 else 2
    figure, axes = style.axes(-(-len(panels) // columns), columns, height=0.9 + 0.4 * len(names), sharey=True)
    for panel, (title, rows) in zip(axes, panels.items(), strict=True):
        _dots(panel, rows, names)
        for (name, value), line in zip((references or {}).get(title, {}).items(), ("--", ":", "-."), strict=False):
            panel.axvline(value, color=style.GREY, linewidth=1.2, linestyle=line, label=name)
        if zero:
            panel.axvline(0, color=style.GREY, linewidth=1)
        panel.set_title(title)
        panel.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    for panel in axes[-columns:]:
        panel.set_xlabel(label)
    _legend(figure, axes[0])
    return figure


def _select(rows: pd.DataFrame, values: Mapping[str, str]) -> pd.DataFrame:
    return rows[(rows[list(values)] == pd.Series(values)).all(axis=1)]


def _lines(panel: Axes, seeds: pd.DataFrame, means: pd.DataFrame, quantity: str) -> None:
    for norm in dict.fromkeys(seeds.norm):
        colour = style.NORM_COLOUR[norm]
        lines = seeds[seeds.norm == norm].pivot_table(index="episode", columns="seed", values=quantity)
        mean = means[means.norm == norm]
        label = f"{style.NORM_LABEL[norm]} (n={mean.n.max()})"
        panel.plot(lines.index, lines.to_numpy(), color=colour, linewidth=0.5, alpha=0.3)
        panel.plot(mean.episode, mean["mean"], color=colour, linewidth=1.8, label=label)


def _bands(panel: Axes, means: pd.DataFrame) -> None:
    for norm, mean in means.groupby("norm"):
        panel.fill_between(mean.episode, mean.low, mean.high, color=style.NORM_COLOUR[norm], alpha=0.3, linewidth=0)


def _finish_curves(figure: Figure, axes: list[Axes], columns: int, label: str) -> None:
    for index, panel in enumerate(axes):
        if index % columns == 0:
            panel.set_ylabel(label)
        if index >= len(axes) - columns:
            panel.set_xlabel("episodes per worker")
    _legend(figure, axes[0])


def _legend(figure: Figure, panel: Axes) -> None:
    """What the first panel shows, below all of them."""
    handles, labels = panel.get_legend_handles_labels()
    if labels:
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=9)


def _dots(panel: Axes, rows: pd.DataFrame, names: list[str]) -> None:
    norms = list(dict.fromkeys(rows.norm))
    for place, norm in enumerate(norms):
        mine = rows[rows.norm == norm]
        height = [names.index(name) + 0.26 * (place - (len(norms) - 1) / 2) for name in mine.name]
        colour = style.NORM_COLOUR.get(norm, style.GREY)
        panel.hlines(height, mine.low, mine.high, color=colour, linewidth=2.2)
        label = style.NORM_LABEL[norm] if len(norms) > 1 else None
        panel.plot(mine.estimate, height, "o", color=colour, markersize=5, label=label)
