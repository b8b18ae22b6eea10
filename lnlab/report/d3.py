"""Document D3, why A3C gains more from LayerNorm than Individual: the figures and tables of notebooks/d3.ipynb.

The nine panels follow D3's own figure, over all seeds; the rest sets the measure that answers each of D3's questions
beside the one it used.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.claims import Verdict
from lnlab.analysis.metrics import SMOOTHING
from lnlab.analysis.stats import Interval, interval, paired_difference, wilson
from lnlab.report import figures, ledger, output, style, tables
from lnlab.report.cells import counted, paired
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.mechanism import Panel
from lnlab.runs import Study

PATTERN = {"A3C": "a3c-gru-{}", "Individual": "individual-gru-{}"}  # the documents' arms are recurrent
NORMS = ("ln", "none")  # in D3's order
GROUPS = ("seen", "intra", "extra")
RATIOS = {
    "value_loss_per_return": "last rollouts",
    "value_loss_all_per_return": "all rollouts",
    "value_loss_all_final": "value loss, all rollouts, last tenth",
}
SPREADS = {
    "value_loss_sd_early": "last rollouts, first 1500 rows",
    "value_loss_sd_late": "last rollouts, last 1500 rows",
    "value_loss_all_sd_early": "all rollouts, first tenth",
    "value_loss_all_sd_late": "all rollouts, last tenth",
}
EXPLORATION = {
    "policy_loss_early": "policy loss, first 1000 rows",
    "policy_loss_late": "policy loss, last 1000 rows",
    "entropy_mean": "entropy, all episodes",
    "entropy_final": "entropy, last tenth",
}
CRITIC = [
    Panel("value_explained", "variance explained"),
    Panel("value_bias", "V minus return\n(reward)"),
    Panel("value_rmse", "root mean square of\nV minus return"),
]
Entries = Sequence[ledger.Entry]


def section(found: Entries, name: str) -> ledger.Attached:
    """The claims of one of D3's sections, each opening to its evidence, with a file of that evidence."""
    shown = ledger.cards([entry for entry in found if entry.claim["section"] == name])
    file = f"claims-d3-{name.replace(' ', '-')}"
    files = {kind: (f"{file}{Path(old).suffix}", content) for kind, (old, content) in shown.files.items()}
    return replace(shown, files=files)


def verdict_of(found: Entries, claim: str) -> Verdict:
    """What became of one claim."""
    return next(entry.verdict for entry in found if entry.id == claim)


def nine_panels(study: Study, data: Data) -> output.FigureOutput:
    """D3's figure over all seeds: value loss and return of A3C, and the tests of both algorithms."""
    curves = tables.in_order(study.table("curves"))
    curves = curves[(curves.algorithm == "a3c") & (curves.core == "gru")]
    rows = levels(data)
    change = rows[(rows.panel == "change") & (rows.who == "A3C")]
    words = ", ".join(f"{tables.TYPE_LABEL[row.group]} {tables.words(row)}" for row in change.itertuples())
    caption = (
        "The nine panels of D3's figure. Value loss of A3C over training with LayerNorm and without (seeds thin, their "
        "mean thick) and its mean; the return likewise, its mean over the last tenth; greedy test returns, and what "
        "LayerNorm changes in them. "
        f"Recurrent networks, n = {counted(rows.n)} seeds, 95 % intervals."
    )
    alt = f"Nine panels as in D3; LayerNorm changes the greedy test return of A3C by {words}."
    return output.figure("nine-panels", _nine(curves, rows), alt=alt, caption=caption, data=rows)


def levels(data: Data) -> pd.DataFrame:
    """The dots of `nine_panels`: panel, who, group, norm, estimate, low, high, n."""
    rows = []
    for panel, quantity in (("value loss", "value_loss_mean"), ("return", "return_final")):
        for norm in NORMS:
            rows.append((panel, "A3C", "all", norm, *interval(data.metric(PATTERN["A3C"].format(norm), quantity))))
    for who, pattern in PATTERN.items():
        for group in GROUPS:
            scores = {norm: data.test(pattern.format(norm), (group,)) for norm in NORMS}
            rows += [("test", who, group, norm, *interval(scores[norm])) for norm in NORMS]
            ln, none = paired(scores["ln"], scores["none"])
            rows.append(("change", who, group, "ln", *paired_difference(ln, none)))
    return pd.DataFrame(rows, columns=["panel", "who", "group", "norm", "estimate", "low", "high", "n"])


def speed_table(data: Data) -> output.TableOutput:
    """D3's first rows above a return beside what tells speed: seeds whose smoothed return ever passes it."""
    rows = []
    for who, pattern in PATTERN.items():
        for norm in NORMS:
            arm = pattern.format(norm)
            for threshold in (50, 70, 90):
                rows.append(
                    {"arm": f"{who}, {style.NORM_LABEL[norm]}", "return": threshold} | _speed(data, arm, threshold)
                )
    table = pd.DataFrame(rows)
    n = counted(table.n)
    caption = (
        "When a return is passed. First row: of the log, five to an episode, as D3 counts (rows of the whole run where "
        "none passes). Seeds: those whose mean over 100 episodes and all workers passes it at all. "
        f"Recurrent arms, n = {n} seeds, 95 % intervals."
    )
    return output.table("speed", table.drop(columns=["n", "first_row_mean"]), caption=caption, data=table)


def _speed(data: Data, arm: str, threshold: int) -> dict[str, object]:
    config = data.run(arm).config
    row = interval(data.metric(arm, f"row_above_{threshold}", empty=float(config.episodes * config.workers)))
    passed = int((data.metric(arm, f"episode_above_{threshold}", empty=0.0) > 0).sum())
    share = wilson(passed, row.n)
    percent = tables.words(Interval(100 * share.estimate, 100 * share.low, 100 * share.high, row.n), 0)
    long = config.episodes >= SMOOTHING
    seeds = {"seeds": f"{passed} of {row.n}" if long else "n/a", "share of seeds, %": percent if long else "n/a"}
    return {"first row": tables.words(row, 0)} | seeds | {"n": row.n, "first_row_mean": row.estimate}


def measure_table(data: Data, name: str, quantities: dict[str, str], caption: str) -> output.TableOutput:
    """Metrics of the recurrent arms, all workers of a seed together; n/a where a run is too short for one."""
    rows = [
        {"arm": f"{who}, {style.NORM_LABEL[norm]}", "measure": words} | _measured(data, pattern.format(norm), quantity)
        for who, pattern in PATTERN.items()
        for norm in NORMS
        for quantity, words in quantities.items()
    ]
    table = pd.DataFrame(rows)
    shown = table.pivot(index="arm", columns="measure", values="here")
    shown = shown.loc[list(dict.fromkeys(table.arm)), list(quantities.values())].reset_index().rename_axis(columns=None)
    seeds = f"Recurrent arms, 95 % intervals over n = {counted(table.n)} seeds."
    return output.table(name, shown, caption=f"{caption} {seeds}", data=table.drop(columns="here"))


def _measured(data: Data, arm: str, quantity: str) -> dict[str, object]:
    try:
        found = interval(data.metric(arm, quantity))
    except Missing:
        found = Interval(np.nan, np.nan, np.nan, data.run(arm).config.seeds)
    row: dict[str, object] = {"here": ledger.interval_words(*found[:3])}
    return row | found._asdict()


def exploration_figure(data: Data) -> output.FigureOutput | output.Text:
    """D3's measure of exploration against the entropy: one point a seed; a sentence where runs are too short for it."""
    try:
        return _exploration_figure(data)
    except Missing as missing:
        return output.Text(f"Policy loss against entropy is not shown: it {missing}.")


def _exploration_figure(data: Data) -> output.FigureOutput:
    rows = [
        {"who": who, "norm": norm, "seed": seed, "policy_loss_change": change, "entropy_mean": entropy}
        for who, pattern in PATTERN.items()
        for norm in NORMS
        for seed, (change, entropy) in enumerate(_exploration(data, pattern.format(norm)))
    ]
    table = pd.DataFrame(rows)
    means = table.groupby(["who", "norm"], sort=False)[["entropy_mean"]].mean().reset_index()
    words = ", ".join(f"{r.who} {style.NORM_LABEL[r.norm]} {r.entropy_mean:.2f}" for r in means.itertuples())
    n = counted(table.groupby(["who", "norm"]).size())
    caption = (
        "Change of the policy loss from the first to the last 1000 rows, D3's measure of exploration, against the mean "
        f"entropy of the policy, which is a measure; one point a seed, n = {n} an arm. The line is a uniform policy, "
        "ln 3 = 1.10 nats. The 95 % intervals of the correlations are in the evidence on D3.8."
    )
    return output.figure("exploration", _points(table), alt=f"Mean entropy: {words}.", caption=caption, data=table)


def _exploration(data: Data, arm: str) -> Array:
    """(n_seeds, 2): change of the policy loss, mean entropy."""
    early, late = (data.metric(arm, f"policy_loss_{part}") for part in ("early", "late"))
    return np.stack([late - early, data.metric(arm, "entropy_mean")], axis=1)


def short_answer(found: Entries) -> output.Text:
    """What became of D3's five hypotheses, a line each."""
    lines = [
        f"- {question}: {', '.join(f'{claim} **{verdict_of(found, claim).verdict}**' for claim in claims)}."
        for question, claims in HYPOTHESES.items()
    ]
    return output.Text("\n".join(lines))


HYPOTHESES = {  # D3's explanations, and its claims on each
    "Value-function quality": ("D3.1", "D3.2", "D3.3"),
    "Learning speed and convergence": ("D3.4", "D3.5", "D3.6"),
    "Exploration": ("D3.7", "D3.8"),
    "Evolution of the spread of the value loss": ("D3.9", "D3.10"),
    "Over-stabilisation of Individual": ("D3.11", "D3.12", "D3.13"),
    "Synergy of the workers, which should tie them together": ("D3.14",),
    "The advice that follows": ("D3.15",),
}


@style.styled
def _nine(curves: pd.DataFrame, rows: pd.DataFrame) -> Figure:
    figure, axes = style.axes(3, 3, height=1.9)
    lines = (("value_loss", "value loss", "mean value loss"), ("return", "return", "return, last tenth"))
    for line, (quantity, label, span) in enumerate(lines):
        _curve_pair(axes[3 * line : 3 * line + 2], curves, quantity, f"A3C, {label}", log=line == 0)
        _dots(axes[3 * line + 2], rows[rows.panel == label].assign(name=""), f"A3C, {span}")
    for place, who in enumerate(PATTERN):
        mine = rows[(rows.panel == "test") & (rows.who == who)]
        _dots(axes[6 + place], mine.assign(name=mine.group.map(tables.TYPE_LABEL)), f"{who}, test return")
    change = rows[rows.panel == "change"].assign(norm=lambda each: each.who)
    _dots(axes[8], change.assign(name=change.group.map(tables.TYPE_LABEL)), "change with LayerNorm", _SHADE)
    axes[8].axhline(0, color=style.GREY, linewidth=1)
    handles, labels = (
        left + right for left, right in zip(*(axes[i].get_legend_handles_labels() for i in (6, 8)), strict=True)
    )
    figure.legend(handles, labels, loc="outside lower center", ncols=4, fontsize=9)
    return figure


_SHADE = {"A3C": style.GREY, "Individual": "#a05ab4"}


def _curve_pair(axes: Sequence[Axes], curves: pd.DataFrame, quantity: str, title: str, *, log: bool) -> None:
    """The curves of A3C with LayerNorm and without, on one scale."""
    means = figures.band(curves, quantity)
    for axis, norm in zip(axes, NORMS, strict=True):
        lines = curves[curves.norm == norm].pivot_table(index="episode", columns="seed", values=quantity)
        mean = means[means.norm == norm]
        colour = style.NORM_COLOUR[norm]
        axis.plot(lines.index, lines.to_numpy(), color=colour, linewidth=0.4, alpha=0.3)
        axis.plot(mean.episode, mean["mean"], color=colour, linewidth=1.8)
        axis.set_title(f"{title},\n{style.NORM_LABEL[norm]}", fontsize=9)
        axis.set_yscale("log" if log else "linear")
        axis.set_xlabel("episodes per worker", fontsize=8)
        axis.tick_params(labelsize=8)
    low, high = min(axis.get_ylim()[0] for axis in axes), max(axis.get_ylim()[1] for axis in axes)
    for axis in axes:
        axis.set_ylim(low, high)


def _dots(axis: Axes, rows: pd.DataFrame, title: str, colours: dict[str, str] = style.NORM_COLOUR) -> None:
    """Estimates with intervals: names from left to right, norms (or algorithms) beside each other."""
    names, kinds = list(dict.fromkeys(rows.name)), list(dict.fromkeys(rows.norm))
    for place, kind in enumerate(kinds):
        mine = rows[rows.norm == kind]
        x = [names.index(name) + 0.3 * (place - (len(kinds) - 1) / 2) for name in mine.name]
        axis.vlines(x, mine.low, mine.high, color=colours[kind], linewidth=2)
        axis.plot(x, mine.estimate, "o", color=colours[kind], markersize=4, label=style.NORM_LABEL.get(kind, kind))
    axis.set_xlim(-0.6, len(names) - 0.4)
    axis.set_xticks(range(len(names)), names)
    axis.set_title(title, fontsize=9)
    axis.tick_params(labelsize=8)
    axis.grid(visible=False, axis="x")


@style.styled
def _points(rows: pd.DataFrame) -> Figure:
    figure, axes = style.axes(1, 2, height=2.6, sharex=True, sharey=True)
    for axis, who in zip(axes, PATTERN, strict=True):
        for norm in NORMS:
            mine = rows[(rows.who == who) & (rows.norm == norm)]
            colour = style.NORM_COLOUR[norm]
            axis.plot(mine.policy_loss_change, mine.entropy_mean, "o", color=colour, label=style.NORM_LABEL[norm])
        axis.axhline(np.log(3), color=style.GREY, linewidth=1, linestyle="--")
        axis.set_title(who)
        axis.set_xlabel("change of the policy loss (nats)")
    axes[0].set_ylabel("mean entropy (nats)")
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=2, fontsize=9)
    return figure
