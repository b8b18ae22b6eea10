"""Document D4: the 2×2 matrix of RNN and LayerNorm, for A3C, for Individual learners and for the gap between them.

Figures and tables of notebooks/d4.ipynb: the matrix as D4 prints it and as it is, component effects with intervals and
their interaction, contributions to the gap, collapse. `lnlab.report.d4_words` has the rest.
"""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.stats import (
    Interval,
    clopper_pearson,
    contrast,
    factorial_weights,
    interval,
    performance_profile,
    std,
)
from lnlab.report import cells, d2, matrix, output, style, tables
from lnlab.report.cells import MATRIX, NAME
from lnlab.report.evidence import Data

GRID = (("both", "rnn"), ("ln", "neither"))  # rows: RNN or not; columns: LayerNorm or not
ROWS, COLUMNS = ("RNN", "no RNN"), ("LN", "no LN")
CLAIM = {"both": "D4.1", "rnn": "D4.2", "ln": "D4.3", "neither": "D4.4"}
LEVELS = [("neither", "rnn"), ("none", "ln")]  # low and high level of each factor, for `factorial_weights`
PLACE = {"neither-none": "neither", "neither-ln": "ln", "rnn-none": "rnn", "rnn-ln": "both"}
MODES = ("greedy", "sampled")

EFFECTS: dict[str, dict[str, float]] = {
    "LayerNorm, with the RNN": {"both": 1, "rnn": -1},
    "LayerNorm, without the RNN": {"ln": 1, "neither": -1},
    "RNN, with LayerNorm": {"both": 1, "ln": -1},
    "RNN, without LayerNorm": {"rnn": 1, "neither": -1},
    "LayerNorm, main effect": {PLACE[c]: w for c, w in factorial_weights(LEVELS, [1]).items()},
    "RNN, main effect": {PLACE[c]: w for c, w in factorial_weights(LEVELS, [0]).items()},
    "interaction": {PLACE[c]: w for c, w in factorial_weights(LEVELS, [0, 1]).items()},
}


# -- the matrix ------------------------------------------------------------------------------------------
def _printed() -> dict[str, dict[str, float]]:
    """What D4 prints: panel → cell → value."""
    values = {cell: matrix.printed(claim) for cell, claim in CLAIM.items()}
    panels = {"gap, %": {cell: float(each["gap_pct"]) for cell, each in values.items()}}
    for place, what in enumerate(("mean", "SD", "CV", "worst case")):
        for who, name in NAME.items():
            if what != "SD":
                panels[f"{name} {what}"] = {cell: float(each[who][place]) for cell, each in values.items()}
    return panels


def _here(data: Data, mode: str) -> dict[str, dict[str, float]]:
    """The same of our seeds, on one list of velocities."""
    panels: dict[str, dict[str, float]] = {name: {} for name in _printed()}
    for cell in MATRIX:
        arms = {who: matrix.common(data, who, cell, mode) for who in NAME}
        panels["gap, %"][cell] = float(cells.gap(arms["a3c"], arms["ind"]))
        for who, name in NAME.items():
            panels[f"{name} mean"][cell] = float(cells.mean(arms[who]))
            panels[f"{name} CV"][cell] = float(cells.cv(arms[who]))
            panels[f"{name} worst case"][cell] = float(cells.worst(arms[who]))
    return panels


def heat_maps(data: Data) -> output.FigureOutput:
    """The matrix as D4 prints it, and as measured greedily and with sampled policies."""
    found = {"D4 printed": _printed(), **{f"here, {mode}": _here(data, mode) for mode in MODES}}
    records = [
        {"source": source, "panel": panel, "configuration": MATRIX[cell].name, "value": value}
        for source, panels in found.items()
        for panel, values in panels.items()
        for cell, value in values.items()
    ]
    seeds = cells.counted(len(cells.seed_means(data, *each)) for each in d2.ARMS)
    gaps = "; ".join(
        f"{source}: " + ", ".join(f"{MATRIX[c].name} {tables.number(v, 0)} %" for c, v in panels["gap, %"].items())
        for source, panels in found.items()
    )
    caption = (
        "The 2×2 matrix as D4 prints it (five seeds), and here with greedy and with sampled policies, over n = "
        f"{seeds} seeds and {len(cells.EVERY)} velocities at C = 200, cloud budget. Gap: A3C over Individual. CV and "
        "worst case are those of all cells pooled, as in D4; intervals are in the tables below. Light is the better "
        "value of a row of panels."
    )
    alt = f"Heat maps of RNN by LayerNorm. The gap between A3C and Individual, {gaps}."
    return output.figure("matrix", _maps(found), alt=alt, caption=caption, data=pd.DataFrame(records))


@style.styled
def _maps(found: dict[str, dict[str, dict[str, float]]]) -> Figure:
    names = list(next(iter(found.values())))
    figure, axes = style.axes(len(names), len(found), height=1.05, sharex=True, sharey=True)
    for row, name in enumerate(names):
        every = [value for panels in found.values() for value in panels[name].values()]
        for column, (source, panels) in enumerate(found.items()):
            panel = axes[row * len(found) + column]
            _map(panel, panels[name], (min(every), max(every)), better_low="CV" in name)
            if row == 0:
                panel.set_title(source)
            if column == 0:
                title = name if name.startswith("gap") else name.replace(" ", "\n", 1)
                panel.set_ylabel(title, rotation=0, ha="right", va="center")
    return figure


def _map(panel: Axes, values: dict[str, float], limits: tuple[float, float], *, better_low: bool) -> None:
    grid = np.array([[values[cell] for cell in row] for row in GRID])
    low, high = limits
    colours = "viridis_r" if better_low else "viridis"
    panel.imshow(grid, cmap=colours, vmin=low, vmax=high, aspect="auto", interpolation="nearest")
    panel.set_xticks(range(2), COLUMNS)
    panel.set_yticks(range(2), ROWS)
    panel.tick_params(length=0)
    panel.grid(visible=False)
    panel.spines[:].set_visible(False)
    for (row, column), value in np.ndenumerate(grid):
        bright = (value - low) / (high - low or 1)
        dark = (1 - bright if better_low else bright) < 0.6
        text = f"{value:.3f}" if high < 5 else f"{value:.1f}"
        panel.text(column, row, text.replace("-", "−"), ha="center", va="center", color="white" if dark else "black")


def matrix_table(data: Data, mode: str) -> output.TableOutput:
    """Mean, spread between seeds and worst velocity of each configuration with intervals, and the gap."""
    records = [record for cell in MATRIX for who in NAME for record in _measured(data, who, cell, mode)]
    table = pd.DataFrame(records)
    shown = tables.pivot_words(table[table.what != "gap, %"], ["configuration", "who"], "what")
    gaps = {(row.configuration, row.who): tables.words(row) for row in table[table.what == "gap, %"].itertuples()}
    keys = zip(shown.configuration, shown.who, strict=True)
    shown["gap, %"] = [gaps.get(key, "") for key in keys]
    caption = (
        f"The matrix with its uncertainty: {mode} policies, {len(cells.EVERY)} velocities at C = 200, cloud budget, "
        f"95 % intervals over n = {cells.counted(table.n)} seeds. For scale: a uniformly random policy earns "
        f"{d2.references()['uniform']:.1f}, the rule T12 {d2.references()['t12']:.1f}."
    )
    return output.table(f"matrix-{mode}", shown, caption=caption, data=table)


def _measured(data: Data, who: str, cell: str, mode: str) -> list[dict[str, object]]:
    """Rows of one arm; the gap stands with A3C."""
    values = cells.cells(data, who, cell, mode=mode)
    seeds = values.mean(axis=(1, 2))
    found = {
        "mean": interval(seeds),
        "SD between seeds": cells.positive(seeds, std),
        "worst velocity": interval(cells.worst_learner_cells(values)),
    }
    if who == "a3c":
        found["gap, %"] = cells.percent(cells.mean, *(matrix.common(data, each, cell, mode) for each in NAME))
    labels = {"configuration": MATRIX[cell].name, "who": NAME[who]}
    return [{**labels, "what": what, **value._asdict()} for what, value in found.items()]


# -- components ------------------------------------------------------------------------------------------
def effect_table(data: Data, mode: str) -> output.TableOutput:
    """What each component does to the mean of A3C, of Individual, and to the gap; simple, main and interaction."""
    scores = {who: matrix.four_means(data, who, mode) for who in NAME}
    records = []
    for effect, weights in EFFECTS.items():
        for who, name in NAME.items():
            records.append({"effect": effect, "on": f"{name}, reward", **contrast(scores[who], weights)._asdict()})
        gap = matrix.gap_contrast(data, weights, mode)
        records.append({"effect": effect, "on": "gap, points", **gap._asdict()})
    table = pd.DataFrame(records)
    caption = (
        f"Effects of the components on the mean {mode} return and on the gap (A3C over Individual, percent): "
        f"differences paired by seed, 95 % intervals, n = {cells.counted(table.n)} seeds. A main effect is the mean of "
        f"the two lines of its kind, the interaction their difference. Of {len(table)} intervals about one is expected "
        "to miss its value."
    )
    shown = tables.pivot_words(table, ["effect"], "on")
    return output.table(f"component-effects-{mode}", shown, caption=caption, data=table)


def contributions(data: Data) -> output.TableOutput:
    """Shares of the gap as D4 reckoned them, with intervals: what the gap of RNN+LN loses without a component."""
    weights = {
        "RNN": {"both": 1.0, "ln": -1.0},
        "LayerNorm": {"both": 1.0, "rnn": -1.0},
        "both together": {"both": 1.0, "neither": -1.0},
        "neither (the gap that remains)": {"neither": 1.0},
        "whole gap of RNN+LN": {"both": 1.0},
    }
    printed = {cell: matrix.printed(claim)["gap_pct"] for cell, claim in CLAIM.items()}
    records = []
    for name, each in weights.items():
        theirs = sum(weight * printed[cell] for cell, weight in each.items())
        for mode in MODES:
            found = matrix.gap_contrast(data, each, mode)
            records.append({"component": name, "policies": mode, "D4": theirs, **found._asdict()})
    table = pd.DataFrame(records)
    shown = table[table.policies == "greedy"][["component", "D4"]].reset_index(drop=True)
    shown["D4"] = [tables.number(value) for value in shown["D4"]]
    for mode in MODES:
        mine = table[table.policies == mode]
        shown[f"here, {mode}"] = [tables.words(row) for row in mine.itertuples()]
    caption = (
        "Contributions to the gap in points of percent, reckoned as D4 does: the gap of RNN+LN minus that without the "
        f"component; 95 % intervals over n = {cells.counted(table.n)} seeds."
    )
    return output.table("contributions", shown, caption=caption, data=table)


# -- collapse --------------------------------------------------------------------------------------------
def collapse_table(data: Data) -> output.TableOutput:
    """Share of learners whose policy takes one action more than 99 times in 100."""
    records = []
    for who, cell in d2.ARMS:
        for mode in MODES:
            flags = matrix.constant(data, who, cell, mode)
            records.append({"arm": d2.name_of(who, cell), "policies": mode, **_share(flags)._asdict()})
    table = pd.DataFrame(records)
    percent = table.assign(**{name: 100 * table[name] for name in ("estimate", "low", "high")})
    shown = pd.DataFrame({"arm": list(dict.fromkeys(table.arm))})
    for mode in MODES:
        shown[f"{mode}, %"] = [tables.words(row, 0) for row in percent[percent.policies == mode].itertuples()]
    caption = (
        f"Share of learners that take one action more than 99 times in 100, over {len(cells.EVERY)} velocities, cloud "
        f"budget; n = {cells.counted(table.n)} seeds, one A3C model and five Individual learners a seed. 95 % "
        "intervals: of Clopper and Pearson for A3C; of Wilson for Individual, with as many learners as are worth "
        "independent ones."
    )
    return output.table("collapse", shown, caption=caption, data=table)


def _share(flags: np.ndarray) -> Interval:
    """Share of the learners (n_seeds, n_learners), those of a seed not being independent."""
    if flags.shape[1] == 1:
        return clopper_pearson(int(flags.sum()), len(flags))
    profile = performance_profile(flags, [0.5])
    return Interval(float(profile.share[0]), float(profile.low[0]), float(profile.high[0]), profile.n)
