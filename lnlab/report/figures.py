"""The figures of the book: learning curves, estimates with intervals, scenario heat maps.

Each takes tidy rows and gives back a Matplotlib figure in the style of `lnlab.report.style`; no global state. Estimates
come from `lnlab.analysis.stats`; nothing is computed here but the pointwise band of a curve.
"""

from collections.abc import Mapping, Sequence
from typing import Any

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
    panels = list(means.groupby(["algorithm", "core"], sort=False).groups)
    columns = min(2, len(panels))
    figure, axes = style.axes(-(-len(panels) // columns), columns, sharex=True, sharey=True)
    for panel, (algorithm, core) in zip(axes, panels, strict=False):
        here = {"algorithm": algorithm, "core": core}
        for norm in means[_where(means, here)].norm.unique():
            _curve(panel, _select(curves, here | {"norm": norm}), _select(means, here | {"norm": norm}), quantity)
        panel.set_title(f"{style.ALGORITHM_LABEL[algorithm]}, {style.CORE_LABEL[core]}")
    _finish_curves(axes, columns, label, log)
    return figure


@style.styled
def intervals(
    panels: Mapping[str, pd.DataFrame],
    label: str,
    *,
    references: Mapping[str, Mapping[str, float]] | None = None,
    zero: bool = False,
) -> Figure:
    """Dots with intervals, one panel a key, one line an arm.

    Args:
        panels: title → rows with columns name, norm, estimate, low, high (top row first).
        label: of the common x axis, with its unit.
        references: title → name → value, drawn as dotted vertical lines (reference policies).
        zero: draw the line of no effect.
    """
    tallest, columns = max(len(rows) for rows in panels.values()), len(panels) if len(panels) <= 3 else 2
    figure, axes = style.axes(-(-len(panels) // columns), columns, height=0.8 + 0.25 * tallest, sharey=True)
    for panel, (title, rows) in zip(axes, panels.items(), strict=True):
        _dots(panel, rows)
        _references(panel, (references or {}).get(title, {}))
        if zero:
            panel.axvline(0, color=style.GREY, linewidth=1)
        panel.set_title(title)
        panel.grid(visible=False, axis="y")
    axes[0].set_yticks(range(tallest), next(iter(panels.values())).name)
    axes[0].invert_yaxis()
    figure.supxlabel(label, fontsize=10, color=style.GREY)
    return figure


@style.styled
def heatmap(values: pd.DataFrame, label: str, *, separators: Sequence[int] = ()) -> Figure:
    """Numbers on colour: rows are scenarios, columns arms. `separators` are the rows above which a group starts."""
    figure, (panel,) = style.axes(width=6.6, height=0.9 + 0.24 * len(values))
    grid = values.to_numpy(dtype=float)
    image = panel.imshow(grid, aspect="auto", cmap="viridis", interpolation="nearest")
    panel.set_xticks(range(grid.shape[1]), values.columns)
    panel.set_yticks(range(grid.shape[0]), values.index)
    panel.xaxis.tick_top()
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    for row in separators:
        panel.axhline(row - 0.5, color=style.GREY, linewidth=1.5)
    _numbers(panel, grid, dark_below=np.nanmin(grid) + 0.6 * np.ptp(grid))
    figure.colorbar(image, label=label, shrink=0.8)
    return figure


def _where(rows: pd.DataFrame, values: Mapping[str, str]) -> pd.Series:
    return (rows[list(values)] == pd.Series(values)).all(axis=1)


def _select(rows: pd.DataFrame, values: Mapping[str, str]) -> pd.DataFrame:
    return rows[_where(rows, values)]


def _curve(panel: Axes, seeds: pd.DataFrame, mean: pd.DataFrame, quantity: str) -> None:
    norm = mean.norm.iloc[0]
    colour = style.NORM_COLOUR[norm]
    lines = seeds.pivot_table(index="episode", columns="seed", values=quantity)
    panel.plot(lines.index, lines.to_numpy(), color=colour, linewidth=0.5, alpha=0.25)
    panel.fill_between(mean.episode, mean.low, mean.high, color=colour, alpha=0.3, linewidth=0)
    panel.plot(
        mean.episode, mean["mean"], color=colour, linewidth=1.8, label=f"{style.NORM_LABEL[norm]} (n={mean.n.max()})"
    )


def _finish_curves(axes: list[Axes], columns: int, label: str, log: bool) -> None:
    for index, panel in enumerate(axes):
        if log:
            panel.set_yscale("log")
        if index % columns == 0:
            panel.set_ylabel(label)
        if index >= len(axes) - columns:
            panel.set_xlabel("episodes per worker")
    axes[0].legend(loc="best", fontsize=9)


def _dots(panel: Axes, rows: pd.DataFrame) -> None:
    for height, row in enumerate(rows.itertuples()):
        colour = style.NORM_COLOUR.get(row.norm, style.GREY)
        panel.plot([row.low, row.high], [height, height], color=colour, linewidth=2.2, solid_capstyle="round")
        panel.plot(row.estimate, height, "o", color=colour, markersize=5)


def _references(panel: Axes, values: Mapping[str, float]) -> None:
    for name, value in values.items():
        panel.axvline(value, color=style.GREY, linewidth=1, linestyle=":")
        where: dict[str, Any] = {"xy": (value, 1), "xycoords": ("data", "axes fraction"), "va": "top", "ha": "right"}
        panel.annotate(name, **where, xytext=(-1, -2), textcoords="offset points", rotation=90, fontsize=7.5)


def _numbers(panel: Axes, grid: np.ndarray, dark_below: float) -> None:
    for (row, column), value in np.ndenumerate(grid):
        colour = "white" if value < dark_below else "black"
        panel.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=8.5, color=colour)
