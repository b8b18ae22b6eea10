"""What happens inside the networks through training: the figures of notebooks/mechanism.ipynb.

From the table `diagnostics` (definitions in `lnlab.analysis.quantities`), measured at a dozen moments of training, and
from the learning curves. A seed is the mean of its learners; bands are pointwise 95 % intervals over seeds.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.metrics import EXPLOSION
from lnlab.analysis.quantities import QUANTITIES
from lnlab.analysis.stats import Survival, kaplan_meier
from lnlab.report import figures, output, style, tables
from lnlab.report.cells import counted
from lnlab.runs import Study

PAIR = ["algorithm", "core"]
FLAT = 0.5  # reward: a critic whose values have a smaller SD is a constant
BLIND = 0.1  # share of variance: a critic that explains less is little better than one
TICKS = [0, 10, 100, 1000]  # episodes; the axis is linear up to 10, then logarithmic


class Panel(NamedTuple):
    """A row of panels: a quantity of the table `diagnostics`, how to call it, and its axis."""

    quantity: str
    label: str
    log: bool = False


SATURATION = [
    Panel("state_saturated", "|h| > 0.99\n(share of units)"),
    Panel("new_saturated", "|candidate| > 0.99\n(share of units)"),
    Panel("update_shut", "state overwritten\n(share of gates)"),
    Panel("state_spread", "SD of h over time"),
]
FEATURES = [
    Panel("embed_norm_max", "largest feature norm,\nembedding"),
    Panel("core_norm_max", "largest feature norm,\nheads' input"),
    Panel("core_rank_effective", "effective rank,\nheads' input", log=True),
    Panel("core_dormant_025", "dormant units\n(share)"),
]
CRITIC = [
    Panel("value_mean", "mean V (reward)"),
    Panel("value_sd", "SD of V (reward)"),
    Panel("value_time_correlation", "correlation of V\nand steps left"),
    Panel("value_explained", "variance explained"),
    Panel("value_mse_last", "squared error, last\n20 steps (reward²)", log=True),
]
STEPS = [
    Panel("grad_norm.embed", "gradient norm,\nembedding", log=True),
    Panel("step", "|ΔW| / |W|", log=True),
    Panel("grad_cosine_episodes.value", "cosine of two episodes'\nvalue gradients"),
]
WORKERS = [
    Panel("grad_cosine_workers", "cosine of gradients,\ntwo workers"),
    Panel("grad_cosine_episodes", "cosine of gradients,\ntwo episodes"),
    Panel("grad_kept_workers", "norm kept by averaging\nthe workers"),
]
POLICY = [
    Panel("entropy", "entropy (nats)"),
    Panel("policy_information", "what the policy takes\nfrom observations (nats)"),
    Panel("probe_return", "return (reward)"),
]


def measurements(study: Study) -> pd.DataFrame:
    """The table `diagnostics` in the book's order of arms; its column step, which counts episodes, is named episode."""
    return tables.in_order(study.table("diagnostics")).rename(columns={"step": "episode"})


def through_training(rows: pd.DataFrame, name: str, panels: Sequence[Panel], says: str) -> output.FigureOutput:
    """Diagnostics through training, one row a quantity, one column an algorithm and network; from `measurements`.

    Arms that have none of the quantities get no column.
    """
    bands = {panel.quantity: diagnostic_band(rows, panel.quantity) for panel in panels}
    drawn = _grid(panels, bands)
    data = pd.concat([band.assign(quantity=quantity) for quantity, band in bands.items()], ignore_index=True)
    last = "; ".join(_last(panel, bands[panel.quantity]) for panel in panels)
    caption = (
        f"{says} Means over n = {counted(data.n)} seeds (of the learners of a seed first), pointwise 95 % intervals; "
        "episodes per worker on an axis that is linear up to 10."
    )
    return output.figure(name, drawn, alt=f"Through training, last values: {last}.", caption=caption, data=data)


def diagnostic_band(rows: pd.DataFrame, quantity: str) -> pd.DataFrame:
    """Mean over seeds of a diagnostic after each number of episodes, as `figures.band` gives it.

    A learner for which it is not defined is left out of its seed's mean: a constant critic correlates with nothing.

    Raises:
        KeyError: the quantity is unknown, or no run has it.
    """
    mine = rows[rows.quantity == quantity]
    if mine.empty:
        known = sorted(set(rows.quantity) & set(QUANTITIES))
        raise KeyError(f"no run has the diagnostic {quantity!r}; there are {', '.join(known)}")
    return tables.in_order(figures.band(mine, "value"))


def learners(rows: pd.DataFrame) -> pd.DataFrame:
    """The diagnostics of every learner after every number of episodes: one column a quantity."""
    index = [*figures.ARM, "seed", "worker", "episode"]
    return tables.in_order(rows.pivot(index=index, columns="quantity", values="value").reset_index())


def constant_critic(rows: pd.DataFrame) -> tuple[float, float]:
    """Mean m and variance q of the returns of the last 20 steps, from learners whose critic is a constant V.

    Their squared error there is (V − m)² + q, so m and q follow by least squares from columns value_mean and
    value_mse_last.
    """
    value, error = rows.value_mean.to_numpy(), rows.value_mse_last.to_numpy()
    design = np.stack([-2 * value, np.ones_like(value)], axis=1)
    m, rest = np.linalg.lstsq(design, error - value**2, rcond=None)[0]
    return float(m), float(rest - m**2)


def explosion_figure(rows: pd.DataFrame) -> output.FigureOutput:
    """The logged value loss of every learner against its mean value, with that of a critic that knows nothing."""
    every = learners(rows)
    every = every[every.episode > 0]
    flat = every[every.value_sd < FLAT]
    fit = constant_critic(flat) if len(flat) > 2 else None
    among = every[every.value_mse_last > EXPLOSION]
    counts = every.groupby(figures.ARM).seed.nunique()
    blind = 100 * (among.value_explained < BLIND).mean() if len(among) else np.nan
    caption = (
        "Squared error of the critic over the last 20 steps against its mean value, one point a learner and moment of "
        f"training (n = {counted(counts)} seeds per arm). The line is a constant critic, fitted to the learners "
        f"whose V varies by less than {FLAT:g} (SD). Of the {len(among)} points above {EXPLOSION:g}, "
        f"{tables.number(blind, 0)} % explain less than {100 * BLIND:.0f} % of the variance of the returns."
    )
    alt = f"Scatter of squared error against mean value: {len(among)} of {len(every)} points lie above {EXPLOSION:g}."
    kept = [*figures.ARM, "seed", "worker", "episode", "value_mean", "value_sd", "value_explained", "value_mse_last"]
    return output.figure("explosion", _scatter(every, fit), alt=alt, caption=caption, data=every[kept])


def excursions(study: Study) -> pd.DataFrame:
    """When the value loss of a seed (last rollouts, mean of its workers) leaves and returns below 100 for good.

    Columns algorithm, core, norm, seed, onset, started, recovery, recovered: the end of the first block of episodes
    above 100, if there is one, and that of the last one, if blocks follow it. Where there is none, onset is the length
    of training, at which it is censored; recovery is the first block where there was no onset.
    """
    rows = tables.in_order(study.table("curves"))
    blocks = rows.groupby([*figures.ARM, "seed", "episode"], sort=False)["value_loss"].mean().reset_index()
    found = [(*key, *excursion(each)) for key, each in blocks.groupby([*figures.ARM, "seed"], sort=False)]
    return pd.DataFrame(found, columns=[*figures.ARM, "seed", "onset", "started", "recovery", "recovered"])


def excursion(blocks: pd.DataFrame) -> tuple[int, bool, int, bool]:
    """Onset, whether it is one, recovery, whether it is one, from columns episode and value_loss of one seed.

    >>> excursion(pd.DataFrame({"episode": [4, 8, 12, 16], "value_loss": [9.0, 200.0, 300.0, 20.0]}))
    (8, True, 12, True)
    """
    episode = blocks.sort_values("episode").episode.to_numpy()
    above = ~(blocks.sort_values("episode").value_loss.to_numpy() <= EXPLOSION)  # NaN is above
    if not above.any():
        return int(episode[-1]), False, int(episode[0]), True
    last = int(np.flatnonzero(above)[-1])
    return int(episode[above.argmax()]), True, int(episode[last]), last < len(episode) - 1


def survival_figure(study: Study) -> output.FigureOutput:
    """Kaplan-Meier curves: seeds that have not exploded yet, and seeds that have not recovered yet."""
    rows = excursions(study)
    figure = _survival(rows)
    counts = rows.groupby(figures.ARM, sort=False)[["started", "recovered"]].sum().reset_index()
    words = [
        f"{arm}: {each.started} exploded, {each.recovered} calm at the end"
        for arm, each in zip(tables.arms(counts), counts.itertuples(), strict=True)
    ]
    n = counted(rows.groupby(figures.ARM).size())
    caption = (
        f"Share of n = {n} seeds whose value loss (last rollouts, mean over a block of episodes and the workers) was "
        f"never above {EXPLOSION:g} so far (above), and of those for which it will be again (below); Kaplan-Meier with "
        "pointwise 95 % intervals. Seeds above at the end are censored: they may recover later."
    )
    return output.figure("survival", figure, alt="; ".join(words) + ".", caption=caption, data=rows)


def _last(panel: Panel, band: pd.DataFrame) -> str:
    ends = band[band.episode == band.episode.max()]
    words = ", ".join(f"{arm} {mean:.3g}" for arm, mean in zip(tables.arms(ends), ends["mean"], strict=True))
    return f"{panel.label.replace(chr(10), ' ')}: {words}"


def _pairs(rows: pd.DataFrame) -> list[tuple[str, str]]:
    return list(rows[PAIR].drop_duplicates().itertuples(index=False, name=None))


def _titles(axes: Sequence[Axes], pairs: Sequence[tuple[str, str]]) -> None:
    for panel, (algorithm, core) in zip(axes, pairs, strict=False):
        panel.set_title(f"{style.ALGORITHM_LABEL[algorithm]},\n{style.CORE_LABEL[core]}")


@style.styled
def _grid(panels: Sequence[Panel], rows: dict[str, pd.DataFrame]) -> Figure:
    pairs = _pairs(tables.in_order(pd.concat(rows.values())))
    figure, axes = style.axes(len(panels), len(pairs), height=1.45, sharex=True, sharey="row")
    for place, panel in enumerate(panels):
        line = axes[place * len(pairs) : (place + 1) * len(pairs)]
        for axis, pair in zip(line, pairs, strict=True):
            band = rows[panel.quantity]
            _draw_bands(axis, band[(band.algorithm == pair[0]) & (band.core == pair[1])], panel)
        line[0].set_ylabel(panel.label, fontsize=8)
    _titles(axes, pairs)
    for axis in axes[-len(pairs) :]:
        axis.set_xlabel("episodes")
    _legend(figure, axes)
    return figure


def _draw_bands(axis: Axes, band: pd.DataFrame, panel: Panel) -> None:
    axis.set_xscale("symlog", linthresh=10, linscale=0.5)
    axis.set_xticks(TICKS, [str(tick) for tick in TICKS], fontsize=8)
    axis.minorticks_off()
    axis.tick_params(axis="y", labelsize=8)
    if panel.log:
        axis.set_yscale("log")
    for norm, mean in band.groupby("norm", sort=False):
        colour = style.NORM_COLOUR[str(norm)]
        low = np.maximum(mean.low, mean["mean"] / 100) if panel.log else mean.low  # a log axis has no room below zero
        axis.plot(mean.episode, mean["mean"], color=colour, linewidth=1.6, label=style.NORM_LABEL[str(norm)])
        axis.fill_between(mean.episode, low, mean.high, color=colour, alpha=0.25, linewidth=0)


def _legend(figure: Figure, axes: Sequence[Axes]) -> None:
    found: dict[str, Any] = {}
    for axis in axes:
        handles, labels = axis.get_legend_handles_labels()
        found |= dict(zip(labels, handles, strict=True))
    figure.legend(list(found.values()), list(found), loc="outside lower center", ncols=max(len(found), 1), fontsize=9)


@style.styled
def _scatter(rows: pd.DataFrame, fit: tuple[float, float] | None) -> Figure:
    figure, axes = style.axes(1, 2, height=3.2, sharex=True, sharey=True)
    for axis, core in zip(axes, style.CORE_LABEL, strict=True):
        for norm, each in rows[rows.core == core].groupby("norm", sort=False):
            label = style.NORM_LABEL[str(norm)]
            colour = style.NORM_COLOUR[str(norm)]
            points = axis.plot(each.value_mean, each.value_mse_last, ".", color=colour, label=label)
            points[0].set(markersize=2.5, alpha=0.5, rasterized=True)  # thousands of points are a large SVG
        if fit is not None:
            value = np.linspace(rows.value_mean.min(), rows.value_mean.max(), 60)
            axis.plot(value, (value - fit[0]) ** 2 + fit[1], color=style.GREY, linewidth=1.2, label="constant critic")
        axis.set_title(style.CORE_LABEL[core])
        axis.set_xlabel("mean value V (reward)")
    axes[0].set_ylabel("squared error, last 20 steps (reward²)")
    _legend(figure, axes)
    return figure


@style.styled
def _survival(rows: pd.DataFrame) -> Figure:
    pairs = _pairs(rows)
    figure, axes = style.axes(2, len(pairs), height=1.7, sharex=True, sharey=True)
    for place, (time, event) in enumerate((("onset", "started"), ("recovery", "recovered"))):
        for axis, (algorithm, core) in zip(axes[place * len(pairs) :], pairs, strict=False):
            for norm, each in rows[(rows.algorithm == algorithm) & (rows.core == core)].groupby("norm", sort=False):
                found = kaplan_meier(each[time].to_numpy(float), each[event].to_numpy(bool))
                _draw_survival(axis, found, str(norm))
    _titles(axes, pairs)
    axes[0].set_ylim(-0.03, 1.03)
    axes[0].set_ylabel("not exploded")
    axes[len(pairs)].set_ylabel("not recovered")
    for axis in axes[-len(pairs) :]:
        axis.set_xlabel("episodes")
    _legend(figure, axes)
    return figure


def _draw_survival(axis: Axes, found: Survival, norm: str) -> None:
    colour = style.NORM_COLOUR[norm]
    axis.step(found.time, found.share, where="post", color=colour, linewidth=1.6, label=style.NORM_LABEL[norm])
    axis.fill_between(found.time, found.low, found.high, step="post", color=colour, alpha=0.2, linewidth=0)
    axis.tick_params(labelsize=8)
