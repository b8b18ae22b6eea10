"""A number beside the range expected of it, in words and drawn; and pages that stay whole where runs are missing.

A *position* tells where a number lies in its range: 0 is the middle, −1 and 1 are the ends.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.config import RunConfig
from lnlab.report import ledger, output, style
from lnlab.report.evidence import Missing
from lnlab.runs import Run

EDGE = 2.5  # positions beyond are drawn there, as triangles
MARKS = ("o", "s", "^")
COLOURS = ("#a05ab4", "#2e8b57", style.GREY)  # none of the norms' colours
ROW_HEIGHT = 0.19  # inches


def attempt(make: Callable[..., Any], *arguments: Any) -> Any:
    """What `make` gives, or a sentence on the runs that it lacks."""
    try:
        return make(*arguments)
    except Missing as missing:
        return output.Text(f"*Not in this report: it {missing}.*")


def show(found: Any, make: Callable[..., Any], *arguments: Any) -> Any:
    """`make` of what an `attempt` found, or the sentence on why there is nothing.

    >>> show([1, 2], sum), show(attempt(lambda: 3), float)
    (3, 3.0)
    """
    return found if isinstance(found, output.Text) else attempt(make, found, *arguments)


def also(found: Any, make: Callable[..., Any], *arguments: Any) -> Any:
    """As `show`, without telling once more why there is nothing."""
    return output.Text("") if isinstance(found, output.Text) else attempt(make, found, *arguments)


def position(value: float, middle: float, low: float, high: float) -> float:
    """Where a value lies in a range around its middle, each side measured by its own width; infinite if that is none.

    >>> position(13.0, middle=10.0, low=8.0, high=16.0), position(7.0, middle=10.0, low=8.0, high=16.0)
    (0.5, -1.5)
    """
    width = high - middle if value > middle else middle - low
    if value == middle:
        return 0.0
    return (value - middle) / width if width > 0 else math.copysign(math.inf, value - middle)


def range_words(middle: float, low: float, high: float) -> str:
    """A number with the range around it, with as many digits as the range supports."""
    return ledger.interval_words(middle, low, high)


def few(value: float) -> str:
    """A printed number as it was printed, with a true minus sign; n/a where there is none.

    >>> few(-0.0076), few(1199.0), few(float("nan"))
    ('−0.0076', '1199', 'n/a')
    """
    return "n/a" if math.isnan(value) else f"{value:.6g}".replace("-", "−")


def settings(run: Run) -> RunConfig:
    """The settings of a run of A3C or Individual.

    Raises:
        Missing: the run is of another algorithm.
    """
    if not isinstance(run.config, RunConfig):
        raise Missing(f"needs {run.id} to be a run of A3C or Individual")
    return run.config


def share(inside: pd.Series) -> str:
    """How many of a column of booleans are true: `20 of 23`."""
    return f"{int(inside.sum())} of {len(inside)}"


@style.styled
def positions(panels: Mapping[str, pd.DataFrame], label: str) -> Figure:
    """Dots at their positions, one panel a key, one line a name; the shaded range is the expected one.

    Args:
        panels: title → rows with columns name, series, position, and, where a second range is to be seen, from, to;
            names from top to bottom, the same in all panels.
        label: of the common x axis.
    """
    names = list(dict.fromkeys(name for rows in panels.values() for name in rows.name))
    series = list(dict.fromkeys(each for rows in panels.values() for each in rows.series))
    columns = min(2, len(panels))
    lines = -(-len(panels) // columns)
    figure, axes = style.axes(lines, columns, height=0.7 + ROW_HEIGHT * len(names), sharex=True, sharey=True)
    for panel, (title, rows) in zip(axes, panels.items(), strict=False):
        _dots(panel, rows, names, series)
        panel.set_title(title)
        panel.tick_params(axis="y", labelsize=8)
    axes[0].set_xlim(-EDGE - 0.3, EDGE + 0.3)
    axes[0].set_xticks(range(-2, 3))
    axes[0].set_yticks(range(len(names)), names)
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    for panel in axes[-columns:]:
        panel.set_xlabel(label)
    handles = {text: handle for panel in axes for handle, text in zip(*panel.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _dots(panel: Axes, rows: pd.DataFrame, names: list[str], series: list[str]) -> None:
    panel.axvspan(-1, 1, color=style.FAINT, linewidth=0, label="95 % range")
    panel.axvline(0, color=style.GREY, linewidth=0.8)
    panel.grid(visible=False, axis="x")
    if "from" in rows:
        place = [names.index(name) for name in rows.name]
        panel.hlines(place, rows["from"], rows["to"], color=style.GREY, linewidth=3, label="interval of the mean")
    for number, each in enumerate(series):
        mine = rows[rows.series == each]
        height = np.array([names.index(name) for name in mine.name]) + 0.25 * (number - (len(series) - 1) / 2)
        _marks(panel, mine.position.to_numpy(float), height, number, each)


def _marks(panel: Axes, position: np.ndarray, height: np.ndarray, number: int, label: str) -> None:
    """A series of dots; those beyond the edge as triangles that point away."""
    colour, inside = COLOURS[number % len(COLOURS)], np.abs(position) <= EDGE
    mark = MARKS[number % len(MARKS)]
    panel.plot(position[inside], height[inside], mark, color=colour, markersize=4, label=label)
    for side, arrow in ((1, ">"), (-1, "<")):
        beyond = ~inside & (np.sign(position) == side)
        panel.plot(np.full(beyond.sum(), side * EDGE), height[beyond], arrow, color=colour, markersize=5)
