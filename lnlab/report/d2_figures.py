"""Figures of document D2: every learner, return against velocity, LayerNorm's effects, time to a target.

The numbers are those of `lnlab.report.cells` and `lnlab.report.matrix`; nothing is computed here but what is drawn.
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.stats import interval, kaplan_meier
from lnlab.report import cells, d2, figures, matrix, output, style, tables
from lnlab.report.cells import MATRIX, NAME, arm
from lnlab.report.d2_claims import TARGET
from lnlab.report.evidence import Data

LINES = {"local": "always LOCAL", "offload": "always OFFLOAD", "uniform": "uniform random", "t12": "rule T12"}
PAIRS = [(who, *pair) for who in NAME for pair in (("both", "rnn"), ("ln", "neither"))]  # with LayerNorm, without


def learner_rows(data: Data, modes: Sequence[str] = ("greedy", "sampled"), cloud: str = "budget") -> pd.DataFrame:
    """Mean return over all velocities of every learner: algorithm, core, norm, mode, seed, worker, value."""
    found = []
    for who, cell in d2.ARMS:
        labels = {"algorithm": cells.WHO[who], "core": MATRIX[cell].core, "norm": MATRIX[cell].norm}
        for mode in modes:
            values = cells.cells(data, who, cell, mode=mode, cloud=cloud).mean(axis=1)  # (n_seeds, n_learners)
            seed, worker = np.indices(values.shape)
            parts = {"seed": seed.ravel(), "worker": worker.ravel(), "value": values.ravel()}
            found.append(pd.DataFrame(parts).assign(**labels, mode=mode))
    return tables.in_order(pd.concat(found, ignore_index=True))


def learners_figure(data: Data) -> output.FigureOutput:
    """Every learner as a dot, greedy and sampled, with the constant policies as lines."""
    found = learner_rows(data)
    n = cells.counted(found.groupby(figures.ARM).seed.nunique())
    lines = {LINES[name]: value for name, value in d2.references().items() if name in LINES}
    greedy, sampled = (found[found["mode"] == mode].value for mode in ("greedy", "sampled"))
    near = _near(greedy, [d2.references()[name] for name in ("local", "offload", "discard")])
    alt = (
        f"Mean return of each learner over {len(cells.EVERY)} velocities. Greedy, {100 * near:.0f} percent of the "
        f"learners lie within 2 of a constant policy; sampled, they have an SD of {sampled.std():.1f} "
        f"around {sampled.mean():.0f}."
    )
    caption = (
        f"Each dot is a learner: its mean return over {len(cells.EVERY)} velocities at C = 200, cloud "
        f"budget; n = {n} seeds an arm, five Individual learners a "
        f"seed. Lines: policies that learn nothing. Greedy, {100 * near:.0f} % of the learners lie within 2 "
        "of a constant policy."
    )
    return output.figure("learners", _strips(found, lines), alt=alt, caption=caption, data=found)


def _near(values: pd.Series, levels: Sequence[float]) -> float:
    """Share of the values within 2 of one of the levels."""
    return float(np.min(np.abs(values.to_numpy()[:, None] - np.array(levels)), axis=1).__le__(2).mean())


@style.styled
def _strips(found: pd.DataFrame, lines: dict[str, float]) -> Figure:
    names = list(dict.fromkeys(tables.pairs(found)))
    figure, axes = style.axes(1, 2, height=3.4, sharex=True, sharey=True)
    shift = {"none": -0.17, "ln": 0.17}
    for panel, mode in zip(axes, ("greedy", "sampled"), strict=True):
        for norm, mine in found[found["mode"] == mode].groupby("norm", sort=False):
            jitter = np.random.default_rng(0).uniform(-0.11, 0.11, len(mine))
            height = np.array([names.index(name) for name in tables.pairs(mine)]) + shift[str(norm)] + jitter
            label = style.NORM_LABEL[str(norm)] if mode == "greedy" else None
            panel.plot(
                mine.value, height, ".", color=style.NORM_COLOUR[str(norm)], markersize=4, alpha=0.6, label=label
            )
        for (name, value), dashes in zip(lines.items(), (":", "--", "-.", "-"), strict=False):
            panel.axvline(
                value, color=style.GREY, linewidth=1, linestyle=dashes, label=name if mode == "greedy" else None
            )
        panel.set_title(mode)
        panel.set_xlabel("mean test return")
        panel.grid(visible=False, axis="y")
    axes[0].set_yticks(range(len(names)), [name.replace(" ", "\n", 1) for name in names])
    axes[0].set_ylim(len(names) - 0.5, -0.5)
    _legend(figure, axes[0])
    return figure


def velocity_figure(data: Data, mode: str = "greedy", cloud: str = "budget") -> output.FigureOutput:
    """Return against velocity, each arm with its interval."""
    found = []
    for who, cell in d2.ARMS:
        values = cells.cells(data, who, cell, mode=mode, cloud=cloud).mean(axis=2)
        labels = {"algorithm": cells.WHO[who], "core": MATRIX[cell].core, "norm": MATRIX[cell].norm}
        for place, velocity in enumerate(cells.EVERY):
            found.append({**labels, "velocity": velocity, **interval(values[:, place])._asdict()})
    table = tables.in_order(pd.DataFrame(found))
    ends = table.groupby(figures.ARM, sort=False).estimate.agg(np.ptp)
    alt = (
        f"Mean {mode} return against velocity in four panels; over the velocities an arm's mean moves by "
        f"{ends.min():.1f} to {ends.max():.1f}."
    )
    caption = (
        f"Test return of the {mode} policies against velocity, C = 200, cloud {tables.CLOUD_LABEL[cloud]}: mean and "
        f"95 % interval over n = {cells.counted(table.n)} seeds. Vertical line: the fastest vehicle in "
        "training, 25 km/h."
    )
    return output.figure(f"velocity-{mode}", _velocities(table), alt=alt, caption=caption, data=table)


@style.styled
def _velocities(table: pd.DataFrame) -> Figure:
    figure, axes, panels = _four(table)
    for panel, here in zip(axes, panels, strict=True):
        for norm, mine in here.groupby("norm", sort=False):
            colour, label = style.NORM_COLOUR[str(norm)], style.NORM_LABEL[str(norm)]
            panel.plot(mine.velocity, mine.estimate, "o-", color=colour, markersize=3, label=label)
            panel.fill_between(mine.velocity, mine.low, mine.high, color=colour, alpha=0.25, linewidth=0)
        panel.axvline(25, color=style.GREY, linewidth=0.8, linestyle=":")
    _label(axes, "velocity, km/h", "test return")
    _legend(figure, axes[0])
    return figure


def effect_rows(data: Data, mode: str) -> pd.DataFrame:
    """LayerNorm against no norm for each pair of arms: outcome, algorithm, core, estimate, low, high, n."""
    found = []
    for who, ln, none in PAIRS:
        effects_of = {
            "mean": matrix.mean_difference(data, who, ln, none, mode),
            "SD between seeds, %": matrix.seed_spread_change(data, who, ln, none, mode),
            "worst velocity": matrix.worst_difference(data, who, ln, none, mode),
        }
        labels = {"algorithm": cells.WHO[who], "core": MATRIX[ln].core}
        found += [{"outcome": name, **labels, **value._asdict()} for name, value in effects_of.items()]
    return pd.DataFrame(found)


def effect_figure(data: Data, mode: str) -> output.FigureOutput:
    """What LayerNorm does to the mean, the spread between seeds and the worst velocity."""
    found = effect_rows(data, mode)
    panels = {
        str(outcome): mine.assign(norm="ln", name=tables.pairs(mine))
        for outcome, mine in found.groupby("outcome", sort=False)
    }
    caption = (
        f"What LayerNorm changes in the {mode} test return over {len(cells.EVERY)} velocities, cloud budget: the arm "
        f"with it against the arm without, paired over n = {cells.counted(found.n)} seeds, 95 % intervals. Mean and "
        "worst velocity of a learner in units of reward (right is better), SD between seeds in percent (left is "
        "steadier)."
    )
    drawn = figures.intervals(panels, "effect of LayerNorm", zero=True)
    return output.figure(f"effects-{mode}", drawn, alt=" ".join(statements(found, mode)), caption=caption, data=found)


WORDS = {
    "mean": "the mean return",
    "SD between seeds, %": "the spread between seeds",
    "worst velocity": "the worst velocity",
}


def statements(found: pd.DataFrame, mode: str) -> list[str]:
    """One sentence an outcome; where an interval lies says raises, lowers or no clear effect. Not corrected for several
    outcomes: the contrasts that are corrected are those of D1's page."""
    return [
        _statement(f"{what} ({mode})", found[found.outcome == name], " %" if "%" in name else "")
        for name, what in WORDS.items()
    ]


def _statement(what: str, rows: pd.DataFrame, unit: str) -> str:
    signs = np.where(rows.low > 0, "raises", np.where(rows.high < 0, "lowers", "shows no clear effect on"))
    named = [
        f"{name} ({tables.words(row)}{unit})" for name, row in zip(tables.pairs(rows), rows.itertuples(), strict=True)
    ]
    clauses: list[str] = []
    for verb in ("raises", "lowers", "shows no clear effect on"):
        if members := [name for name, sign in zip(named, signs, strict=True) if sign == verb]:
            clauses.append(f"{verb} {'it' if clauses else what} for {', '.join(members)}")
    return f"LayerNorm {'; it '.join(clauses)} (n = {cells.counted(rows.n)})."


def summary(data: Data) -> output.Text:
    """The effects as a Markdown list, sampled policies first."""
    lines = [line for mode in ("sampled", "greedy") for line in statements(effect_rows(data, mode), mode)]
    return output.Text("\n".join(f"- {line}" for line in lines))


def target_rows(data: Data) -> pd.DataFrame:
    """Share of seeds that have reached a return of 70 by each episode: algorithm, core, norm, episode, share, low,
    high, n."""
    parts = []
    for who, cell in d2.ARMS:
        run = arm(who, cell)
        length = data.run(run).config.episodes
        first = data.metric(run, TARGET, empty=length + 1)
        found = kaplan_meier(np.minimum(first, length), first <= length)
        reached = {"episode": found.time, "share": 1 - found.share, "low": 1 - found.high, "high": 1 - found.low}
        labels = {"algorithm": cells.WHO[who], "core": MATRIX[cell].core, "norm": MATRIX[cell].norm}
        parts.append(pd.DataFrame(reached).assign(n=len(first), **labels))
    return tables.in_order(pd.concat(parts, ignore_index=True))


def target_figure(data: Data) -> output.FigureOutput:
    """How soon the seeds of each arm reach a return of 70 in training."""
    found = target_rows(data)
    ends = found.groupby(figures.ARM, sort=False).share.max().reset_index()
    reached = "; ".join(f"{name} {share:.0%}" for name, share in zip(tables.arms(ends), ends.share, strict=True))
    caption = (
        "Share of the seeds whose mean training return of the last 100 episodes has exceeded 70 (Kaplan-Meier, "
        f"pointwise 95 % interval); n = {cells.counted(found.n)} seeds an arm. A random policy earns 55 in training."
    )
    alt = f"Share of seeds that reached a return of 70, by episode, in four panels; at the end: {reached}."
    return output.figure("target", _targets(found), alt=alt, caption=caption, data=found)


@style.styled
def _targets(found: pd.DataFrame) -> Figure:
    figure, axes, panels = _four(found)
    for panel, here in zip(axes, panels, strict=True):
        for norm, mine in here.groupby("norm", sort=False):
            colour = style.NORM_COLOUR[str(norm)]
            panel.step(mine.episode, mine.share, where="post", color=colour, label=style.NORM_LABEL[str(norm)])
            panel.fill_between(mine.episode, mine.low, mine.high, step="post", color=colour, alpha=0.25, linewidth=0)
        panel.set_ylim(-0.02, 1.02)
    _label(axes, "episodes per worker", "share of seeds")
    _legend(figure, axes[0])
    return figure


def _four(found: pd.DataFrame) -> tuple[Figure, list[Axes], list[pd.DataFrame]]:
    """A panel for each algorithm and core, titled, and its rows."""
    figure, axes = style.axes(2, 2, height=2.2, sharex=True, sharey=True)
    groups = list(found.groupby(["algorithm", "core"], sort=False))
    for panel, ((algorithm, core), _) in zip(axes, groups, strict=True):
        panel.set_title(f"{style.ALGORITHM_LABEL[str(algorithm)]}, {style.CORE_LABEL[str(core)]}")
    return figure, axes, [rows for _, rows in groups]


def _label(axes: list[Axes], x: str, y: str) -> None:
    for panel in axes[2:]:
        panel.set_xlabel(x)
    for panel in axes[::2]:
        panel.set_ylabel(y)


def _legend(figure: Figure, panel: Axes) -> None:
    handles, labels = panel.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(3, len(labels)), fontsize=9)
