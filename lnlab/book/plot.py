"""The plots of the book: tidy rows in, a Matplotlib figure out, one panel a value of the column `panel`.

Colours and line names come from the column `hue` (norms have colours of their own). Nothing is computed here.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from lnlab.book import style

Lines = Mapping[str, float]  # reference → value: policies that learn nothing, a threshold, no effect
LIGHT = ListedColormap(colormaps["viridis"](np.linspace(0.45, 1, 256)))
FEW = 6  # values on an axis that are each a tick
DASHES = ("--", ":", "-.")
ARROW = {"higher": "better →", "lower": "← better"}
EPISODES = [0, 10, 100, 1000]  # ticks of an axis that is linear up to 10, then logarithmic


# -- against x --------------------------------------------------------------------------------------------------------
@style.styled
def curves(
    rows: pd.DataFrame, mean: pd.DataFrame, *, y: str, x: str = "episode", xlabel: str = "episodes per worker",
    panel: str = "arm", hue: str = "norm", log: bool = False, references: Lines | None = None, width: float = 6.6,
    height: float = 2.6, columns: int = 2, sharex: bool = True, sharey: bool = True,
) -> Figure:  # fmt: skip
    """Every seed thin, the mean thick, its interval shaded.

    Args:
        rows: columns x, seed, value, `panel` and `hue`; empty draws no seeds.
        mean: columns x, mean, low, high, `panel` and `hue` (`lnlab.book.tidy.bands`).
    """
    figure, axes, names = _grid(mean, panel, columns, width, height, sharex=sharex, sharey=sharey)
    if log:
        axes[0].set_yscale("log")
    for axis, name in zip(axes, names, strict=False):
        for kind, part in rows[rows[panel] == name].groupby(hue, sort=False):
            lines = part.pivot_table(index=x, columns="seed", values="value")
            thin = axis.plot(lines.index, lines.to_numpy(), color=style.colour(str(kind)), linewidth=0.5, alpha=0.3)
            for line in thin:
                line.set_rasterized(len(rows) > 2000)  # thousands of points are a large SVG
        for kind, part in mean[mean[panel] == name].groupby(hue, sort=False):
            _line(axis, part, x, str(kind), y="mean")
        _refer(axis, references)
    if log:
        _powers(axes[0])
        plain_ticks(axes[0])
    if len(rows):
        axes[0].set_ylim(axes[0].get_ylim())  # set by what was measured: the band of few seeds would dwarf it
    for axis, name in zip(axes, names, strict=False):
        for kind, part in mean[mean[panel] == name].groupby(hue, sort=False):
            low = np.maximum(part.low, part["mean"] / 100) if log else part.low  # a log axis has no room below zero
            colour = style.colour(str(kind))
            axis.fill_between(part[x], low, part.high, color=colour, alpha=0.3, linewidth=0)
    return _finish(figure, axes, columns, xlabel, y)


@style.styled
def grid(
    mean: pd.DataFrame, *, line: str = "quantity", column: str = "panel", hue: str = "norm", log: Sequence[str] = (),
    x: str = "episode", xlabel: str = "episodes", height: float = 1.45,
) -> Figure:  # fmt: skip
    """Bands through training, a line of panels each value of `line`, whose own y axis they share.

    Args:
        mean: columns x, mean, low, high, and those named (`lnlab.book.tidy.bands`).
        log: values of `line` with a logarithmic axis.
    """
    lines, names = list(mean[line].unique()), list(mean[column].unique())
    figure, axes = style.axes(len(lines), len(names), height=height, sharex=True, sharey="row")
    for place, axis in enumerate(axes):
        says, name = lines[place // len(names)], names[place % len(names)]
        if says in log:
            axis.set_yscale("log")
        for kind, part in mean[(mean[line] == says) & (mean[column] == name)].groupby(hue, sort=False):
            low = np.maximum(part.low, part["mean"] / 100) if says in log else part.low
            _line(axis, part, x, str(kind), y="mean")
            axis.fill_between(part[x], low, part.high, color=style.colour(str(kind)), alpha=0.25, linewidth=0)
        if says in log:
            _powers(axis)
            plain_ticks(axis)
        if x == "episode":
            axis.set_xscale("symlog", linthresh=10, linscale=0.5)
            axis.set_xticks(EPISODES, [str(tick) for tick in EPISODES])
            axis.minorticks_off()
        if place % len(names) == 0:
            axis.set_ylabel(says)
        if place < len(names):
            axis.set_title(name)
        if place >= len(axes) - len(names):
            axis.set_xlabel(xlabel)
    return _legend(figure, axes)


@style.styled
def lines(
    rows: pd.DataFrame, *, x: str, xlabel: str, ylabel: str, panel: str = "measure", hue: str = "norm",
    log: bool = False, logy: bool = False, references: Lines | None = None, columns: int = 2, height: float = 2.6,
    sharey: bool = False,
) -> Figure:  # fmt: skip
    """Estimates with intervals against x, joined by lines: rates, numbers of workers, velocities."""
    figure, axes, names = _grid(rows, panel, columns, 6.6, height, sharex=True, sharey=sharey)
    tried = sorted(rows[x].unique())
    for axis, name in zip(axes, names, strict=False):
        for kind, part in rows[rows[panel] == name].groupby(hue, sort=False):
            axis.vlines(part[x], part.low, part.high, color=style.colour(str(kind)), linewidth=1.5)
            _line(axis, part, x, str(kind), y="estimate", marker="o")
        _refer(axis, references)
        axis.set_xscale("log" if log else "linear")
        axis.set_yscale("log" if logy else "linear")
        if log and len(tried) <= FEW:  # a power of ten alone would leave the reader to guess the rates between
            axis.set_xticks(tried)
            axis.set_xticks([], minor=True)
        _powers(axis)
    return _finish(figure, axes, columns, xlabel, ylabel)


@style.styled
def steps(
    rows: pd.DataFrame, *, x: str, y: str, xlabel: str, ylabel: str, panel: str = "arm", hue: str = "norm",
    columns: int = 2, height: float = 2.2,
) -> Figure:  # fmt: skip
    """Steps with a shaded interval: shares of seeds over time. Columns x, y, low, high, `panel`, `hue`."""
    figure, axes, names = _grid(rows, panel, columns, 6.6, height, sharex=True, sharey=True)
    for axis, name in zip(axes, names, strict=False):
        for kind, part in rows[rows[panel] == name].groupby(hue, sort=False):
            colour, label = style.colour(str(kind)), style.label(str(kind))
            axis.step(part[x], part[y], where="post", color=colour, linewidth=1.6, label=label)
            axis.fill_between(part[x], part.low, part.high, step="post", color=colour, alpha=0.2, linewidth=0)
    axes[0].set_ylim(-0.03, 1.03)
    return _finish(figure, axes, columns, xlabel, ylabel)


# -- estimates and points ---------------------------------------------------------------------------------------------
@style.styled
def dots(
    rows: pd.DataFrame, *, xlabel: str, name: str = "arm", panel: str = "measure", hue: str = "norm",
    references: Mapping[str, Lines] | None = None, zero: bool = False, sharex: bool = False, columns: int = 3,
    better: Mapping[str, str] | None = None, seeds: pd.DataFrame | None = None,
) -> Figure:  # fmt: skip
    """Estimates with intervals: one line a value of `name`, from top to bottom; hues beside each other on a line.

    Args:
        references: panel → name → value, drawn as vertical lines.
        zero: draw the line of no effect.
        better: panel → higher or lower, where one is better; told by an arrow.
        seeds: columns value, `name`, `panel` and `hue`; each is a faint dot.
    """
    names, hues = list(rows[name].unique()), list(rows[hue].unique())
    each = 0.24 + 0.16 * len(hues)
    figure, axes, titles = _grid(rows, panel, columns, 6.6, 0.9 + each * len(names), sharey=True, sharex=sharex)
    for axis, title in zip(axes, titles, strict=False):
        for place, kind in enumerate(hues):
            part = rows[(rows[panel] == title) & (rows[hue] == kind)]
            offset = 0.26 * (place - (len(hues) - 1) / 2)
            height = [names.index(line) + offset for line in part[name]]
            if seeds is not None:
                own = seeds[(seeds[panel] == title) & (seeds[hue] == kind)]
                lines = [names.index(line) + offset + 0.1 for line in own[name]]
                axis.plot(own.value, lines, ".", color=style.colour(kind), alpha=0.35, markersize=6, zorder=0)
            axis.hlines(height, part.low, part.high, color=style.colour(kind), linewidth=2.2)
            label = style.label(kind) if len(hues) > 1 else None
            axis.plot(part.estimate, height, "o", color=style.colour(kind), markersize=5, label=label)
        _refer(axis, (references or {}).get(title), vertical=True)
        if zero:
            axis.axvline(0, color=style.GREY, linewidth=1)
        if better and title in better:
            axis.set_title(f"{title}\n{ARROW[better[title]]}")
        axis.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    return _finish(figure, axes, columns, xlabel, "")


@style.styled
def points(
    rows: pd.DataFrame, *, x: str, y: str, xlabel: str, ylabel: str, panel: str = "arm", hue: str = "norm",
    references: Lines | None = None, logy: bool = False, draw: Callable[[Axes], None] | None = None, columns: int = 2,
    height: float = 2.8, size: float = 5,
) -> Figure:  # fmt: skip
    """One point a row; many points become a picture inside the SVG. `draw` adds to every panel."""
    figure, axes, names = _grid(rows, panel, columns, 6.6, height, sharex=True, sharey=True)
    if logy:
        axes[0].set_yscale("log")
    for axis, name in zip(axes, names, strict=False):
        for kind, part in rows[rows[panel] == name].groupby(hue, sort=False):
            colour, label = style.colour(str(kind)), style.label(str(kind))
            dots = axis.plot(part[x], part[y], "o", color=colour, markersize=size, alpha=0.6, label=label)
            dots[0].set_rasterized(len(rows) > 1000)
        _refer(axis, references)
        if draw:
            draw(axis)
    return _finish(figure, axes, columns, xlabel, ylabel)


@style.styled
def heatmap(grid: pd.DataFrame, label: str, *, separators: Sequence[int] = (), digits: int = 0) -> Figure:
    """Numbers on colour, named by the frame. `separators` are the lines above which a group starts.

    The colours are light enough for black numbers, on the dark page too, which brightens them.
    """
    figure, (axis,) = style.axes(height=0.9 + 0.24 * len(grid))
    numbers = grid.to_numpy(dtype=float)
    image = axis.imshow(numbers, aspect="auto", cmap=LIGHT, interpolation="nearest")
    axis.set_xticks(range(numbers.shape[1]), grid.columns)
    axis.set_yticks(range(numbers.shape[0]), grid.index)
    axis.xaxis.tick_top()
    axis.tick_params(length=0)
    axis.grid(visible=False)
    axis.spines[:].set_visible(False)
    for line in separators:
        axis.axhline(line - 0.5, color=style.GREY, linewidth=1.5)
    for (line, column), value in np.ndenumerate(numbers):
        axis.text(column, line, f"{value:.{digits}f}", ha="center", va="center", fontsize=9, color="black")
    figure.colorbar(image, label=label, shrink=0.8)
    return figure


# -- parts ------------------------------------------------------------------------------------------------------------
def _grid(
    rows: pd.DataFrame, panel: str, columns: int, width: float, height: float, **share: object
) -> tuple[Figure, list[Axes], list[str]]:
    """A figure with a titled panel for each value of the column `panel`; what is left of the last line is empty."""
    names = [str(name) for name in rows[panel].unique()]
    columns = min(columns, len(names))
    figure, axes = style.axes(-(-len(names) // columns), columns, width=width, height=height, **share)
    for axis, name in zip(axes, names, strict=False):
        axis.set_title(name)
    for axis in axes[len(names) :]:
        axis.set_visible(False)
    return figure, axes, names


def _line(axis: Axes, rows: pd.DataFrame, x: str, hue: str, *, y: str, marker: str = "") -> None:
    label, colour = style.label(hue), style.colour(hue)
    axis.plot(rows[x], rows[y], color=colour, linewidth=1.8, marker=marker, markersize=4.5, label=label)


def _refer(axis: Axes, references: Lines | None, *, vertical: bool = False) -> None:
    draw = axis.axvline if vertical else axis.axhline
    for (name, value), dash in zip((references or {}).items(), DASHES, strict=False):
        draw(value, color=style.GREY, linewidth=1.2, linestyle=dash, label=name)


def plain_ticks(axis: Axes) -> None:
    """1, 3, 10, … on a logarithmic axis of less than three decades; 1, 2, 5, 10, … on one of about one."""
    low, high = axis.get_ylim()
    if high < 1000 * low:
        axis.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 40 * low else (1, 3)))
        axis.yaxis.set_major_formatter("{x:g}")
        axis.yaxis.set_minor_formatter(NullFormatter())


def _powers(axis: Axes) -> None:
    """Powers of ten as the command line takes them, 1e-4: the exponent of 10⁻⁴ is too small to read."""
    for each in (axis.xaxis, axis.yaxis):
        if each.get_scale() == "log":
            each.set_major_formatter(FuncFormatter(_power))
            each.set_minor_formatter(NullFormatter())


def _power(value: float, _: object = None) -> str:
    """A tick of a logarithmic axis.

    >>> _power(1e-4), _power(100), _power(1e12)
    ('1e-4', '100', '1e12')
    """
    if 0.01 <= value < 1e4:
        return f"{value:g}"
    return f"{value:.0e}".replace("e+", "e").replace("e0", "e").replace("e-0", "e-")


def _finish(figure: Figure, axes: list[Axes], columns: int, xlabel: str, ylabel: str) -> Figure:
    shown = [axis for axis in axes if axis.get_visible()]
    columns = min(columns, len(shown))
    for place, axis in enumerate(shown):
        if place % columns == 0:
            axis.set_ylabel(ylabel)
        if place >= len(shown) - columns:
            axis.set_xlabel(xlabel)
            axis.tick_params(labelbottom=True)
    return _legend(figure, shown)


def _legend(figure: Figure, axes: list[Axes]) -> Figure:
    """What any panel shows, once, below all of them."""
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= {label: handle for label, handle in zip(labels, handles, strict=True) if label not in found}
    for columns in range(min(len(found), 4), 0, -1):
        legend = figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=columns)
        if columns == 1 or legend.get_window_extent().width <= 1.01 * figure.bbox.width:  # its border is empty
            break
        legend.remove()  # long names would be cut off
    return figure
