"""Our seeds beside single runs of the original code: would one more of our seeds look like its run?

book/original.yml holds what the original code printed. A figure of one run *lies within* if it is in the 95 %
prediction interval for one new seed, mean ± t(n − 1) s √(1 + 1/n), as for the numbers of the documents. A3C is taken
with the original's carried gradient, Individual from the main profile: the protocol of the original.
"""

import functools
import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
import yaml
from matplotlib.figure import Figure
from numpy.typing import NDArray

from lnlab.analysis.claims import number
from lnlab.paths import BOOK
from lnlab.report import beside, figures, output, style, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Array, Data, Missing

SOURCES = {"again": "the original code, run again", "log": "the repository's log"}
NORMS = ("ln", "none")
BLOCKS = {"return": "return", "value_loss": "value loss, last rollouts"}
TICKS = [30, 100, 300]  # of the value loss


@functools.cache
def original() -> dict[str, Any]:
    """book/original.yml: episodes, arms, figures and blocks."""
    with (BOOK / "original.yml").open(encoding="utf-8") as file:
        return dict(yaml.safe_load(file))


def compare(data: Data) -> pd.DataFrame:
    """Every printed figure beside our seeds, in the order of the file.

    Columns algorithm, core, norm, figure, source, printed, estimate (mean of our seeds), low, high (of one new seed),
    lowest, highest (of our seeds), n, within (the interval), among (the seeds), position.

    Raises:
        Missing: runs of the original's protocol are not there, or have another length.
    """
    protocol = data.carried()
    for arm in original()["arms"]:
        _same_length(protocol, arm)
    return pd.DataFrame([row for figure in original()["figures"] for row in _rows(protocol, figure)])


def _same_length(data: Data, arm: str) -> None:
    ours, theirs = beside.settings(data.run(arm)).episodes, original()["episodes"]
    if ours != theirs:
        raise Missing(f"needs runs of {theirs} episodes, as the original's; those of {arm} have {ours}")


def _rows(data: Data, figure: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for place, arm in enumerate(original()["arms"]):
        printed = _values(figure, place)
        if not printed:
            continue
        try:
            seeds = _seeds(data, arm, figure)
        except Missing:  # such as the first row above a return that some seed never passes
            continue
        labels = dict(zip(figures.ARM, arm.split("-"), strict=True)) | {"figure": figure["says"]}
        yield from (labels | {"source": source} | numbers(value, seeds) for source, value in printed.items())


def _values(figure: dict[str, Any], place: int) -> dict[str, float]:
    """What each source prints for one arm, without those that print nothing."""
    columns = {source: figure[source][place] for source in SOURCES if source in figure}
    return {source: float(value) for source, value in columns.items() if value is not None}


def _seeds(data: Data, arm: str, figure: dict[str, Any]) -> Array:
    """(n_seeds,) our values of a figure."""
    if "test" in figure:
        mode, group = figure["test"]
        return data.test(arm, (group,), mode)
    return figure.get("scale", 1.0) * data.metric(arm, figure["metric"], figure.get("worker", -1))


def numbers(printed: float, seeds: Array) -> dict[str, Any]:
    """A printed figure of one run beside ours (n_seeds,): the columns of `compare` from `printed` on."""
    found = number("", printed, seeds)
    middle = found.found.estimate
    return {
        "printed": printed, "estimate": middle, "low": found.low, "high": found.high,
        "lowest": seeds.min(), "highest": seeds.max(), "n": len(seeds),
        "within": found.outcome == "agrees", "among": bool(seeds.min() <= printed <= seeds.max()),
        "position": beside.position(printed, middle, found.low, found.high),
    }  # fmt: skip


def summary(found: pd.DataFrame) -> output.Text:
    """How many figures lie within, an arm a line, and which do not."""
    lines = [_line(arm, rows) for arm, rows in found.assign(arm=tables.arms(found)).groupby("arm", sort=False)]
    text = (
        f"Of {len(found)} figures {int(found.within.sum())} lie in the 95 % prediction interval for one new seed of "
        f"ours, {int(found.among.sum())} between our lowest and highest seed. Were the original's runs seeds of ours, "
        f"about {0.05 * len(found):.0f} would be expected outside the intervals; the figures of one run go together, "
        "so their number may well be none or twice as many."
    )
    return output.Text("\n".join([text, "", *lines]))


def _line(arm: str, rows: pd.DataFrame) -> str:
    outside = [
        f"{row.figure} ({beside.few(row.printed)}, {SOURCES[row.source]}; one new seed here "
        f"{beside.range_words(row.estimate, row.low, row.high)})"
        for row in rows[~rows.within].itertuples()
    ]
    within = f"- **{arm}** (n = {counted(rows.n)}): {beside.share(rows.within)} within"
    return f"{within}; outside: {'; '.join(outside)}." if outside else f"{within}."


def position_figure(found: pd.DataFrame) -> output.FigureOutput:
    """Where the original's figures lie in our prediction intervals."""
    rows = found.assign(arm=tables.arms(found), name=found.figure, series=found.source.map(SOURCES))
    panels = {str(arm): mine for arm, mine in rows.groupby("arm", sort=False)}
    caption = (
        "Figures of single runs of the original code in the 95 % prediction interval for one new seed of ours "
        f"(shaded; 0 is our mean, ±1 are the ends), n = {counted(found.n)} seeds per arm; A3C with the original's "
        f"carried gradient. Triangles lie beyond {beside.EDGE:g}."
    )
    alt = "Positions of the original's figures: " + "; ".join(
        f"{arm} {beside.share(mine.within)} within" for arm, mine in panels.items()
    )
    drawn = beside.positions(panels, "position")
    return output.figure("original", drawn, alt=f"{alt}.", caption=caption, data=found)


def figure_table(found: pd.DataFrame, algorithm: str) -> output.TableOutput:
    """The figures of both arms of an algorithm in numbers."""
    mine = found[found.algorithm == algorithm]
    shown = pd.DataFrame({"figure": mine.figure.unique()})
    for norm in NORMS:
        label, arm = style.NORM_LABEL[norm], mine[mine.norm == norm]
        shown[f"{label}: original"] = [_printed(arm[arm.figure == name]) for name in shown.figure]
        shown[f"{label}: one new seed here"] = [_here(arm[arm.figure == name]) for name in shown.figure]
    caption = (
        f"{style.ALGORITHM_LABEL[algorithm]}: the original code run again and, after the stroke, the log of the "
        "repository's own run, one run each, beside the mean of our seeds with the 95 % prediction interval for one "
        f"new seed; n = {counted(mine.n)} seeds. ✗: outside the interval."
    )
    return output.table(f"original-{algorithm}", shown, caption=caption, data=mine)


def _printed(rows: pd.DataFrame) -> str:
    each = {row.source: beside.few(row.printed) + ("" if row.within else " ✗") for row in rows.itertuples()}
    return " / ".join(each.get(source, "–") for source in SOURCES) if each else "–"


def _here(rows: pd.DataFrame) -> str:
    if rows.empty:
        return "–"
    row = rows.iloc[0]
    return beside.range_words(row.estimate, row.low, row.high)


# -- through training -----------------------------------------------------------------------------------------------


def in_blocks(ends: NDArray[np.int64], values: Array, blocks: int) -> Array:
    """(n_seeds, blocks): means over equal parts of training from a curve of means (n_seeds, n_points) up to `ends`.

    A point of the curve that lies across a border counts on both sides, by its share of episodes there.

    >>> in_blocks(np.array([2, 4, 6]), np.array([[1.0, 4.0, 7.0]]), 2).tolist()  # 1 1 4 | 4 7 7
    [[2.0, 6.0]]
    """
    starts = np.concatenate([[0], ends[:-1]])
    borders = np.linspace(0, ends[-1], blocks + 1)
    upper = np.minimum(ends, borders[1:, None])  # (blocks, n_points)
    weights = np.clip(upper - np.maximum(starts, borders[:-1, None]), 0, None)
    return np.asarray(values @ (weights / weights.sum(axis=1, keepdims=True)).T)


def block_rows(data: Data) -> pd.DataFrame:
    """The original's course in eight blocks beside ours: algorithm, core, norm, quantity, episode, those of `numbers`.

    The value loss is compared by its logarithm, since it spreads over powers of ten.
    """
    protocol = data.carried()
    rows = []
    for quantity, arms in original()["blocks"].items():
        for arm, printed in arms.items():
            _same_length(protocol, arm)
            ends, values = protocol.curve(arm, quantity)
            labels = dict(zip(figures.ARM, arm.split("-"), strict=True)) | {"quantity": quantity}
            seeds = in_blocks(ends, values, len(printed))
            for place, value in enumerate(printed):
                episode = round(ends[-1] * (place + 1) / len(printed))
                rows.append(labels | {"episode": episode} | _block(value, seeds[:, place], quantity))
    return pd.DataFrame(rows)


def _block(printed: float, seeds: Array, quantity: str) -> dict[str, Any]:
    if quantity == "return":
        return numbers(printed, seeds)
    found = numbers(math.log(printed), np.log(seeds))
    lengths = ("printed", "estimate", "low", "high", "lowest", "highest")
    return found | {name: math.exp(found[name]) for name in lengths}


def block_figure(rows: pd.DataFrame) -> output.FigureOutput:
    """Return and value loss through training: our prediction bands for one new seed, and the original's run."""
    counts = [f"{BLOCKS[name]} {beside.share(each.within)}" for name, each in rows.groupby("quantity", sort=False)]
    caption = (
        "Means of blocks of 250 episodes: our mean (line; the value loss geometric) with the 95 % prediction interval "
        f"for one new seed (shaded), n = {counted(rows.n)} seeds per arm, and the original code run again, once an arm "
        "(dots). A3C with the carried gradient."
    )
    alt = f"Blocks of the original's run within the interval for one new seed: {'; '.join(counts)}."
    return output.figure("original-blocks", _draw_blocks(rows), alt=alt, caption=caption, data=rows)


@style.styled
def _draw_blocks(rows: pd.DataFrame) -> Figure:
    arms = list(rows[figures.ARM].drop_duplicates().itertuples(index=False, name=None))
    figure, axes = style.axes(len(BLOCKS), len(arms), height=1.9, sharex=True, sharey="row")
    for place, (quantity, label) in enumerate(BLOCKS.items()):
        line = axes[place * len(arms) : (place + 1) * len(arms)]
        for panel, (algorithm, core, norm) in zip(line, arms, strict=True):
            keys = {"quantity": quantity, "algorithm": algorithm, "core": core, "norm": norm}
            mine = rows[(rows[list(keys)] == pd.Series(keys)).all(axis=1)]
            colour = style.NORM_COLOUR[norm]
            panel.fill_between(mine.episode, mine.low, mine.high, color=colour, alpha=0.25, linewidth=0)
            panel.plot(mine.episode, mine.estimate, color=colour, linewidth=1.6)
            panel.plot(mine.episode, mine.printed, "o", color=style.GREY, markersize=4)
            panel.tick_params(labelsize=8)
            if place == 0:
                panel.set_title(f"{style.ALGORITHM_LABEL[algorithm]},\n{style.NORM_LABEL[norm]}")
        line[0].set_ylabel(label, fontsize=9)
    axes[-1].set_yscale("log")
    axes[-1].set_yticks(TICKS, [str(tick) for tick in TICKS])
    axes[-1].minorticks_off()
    for panel in axes[-len(arms) :]:
        panel.set_xlabel("episodes", fontsize=8)
    return figure
