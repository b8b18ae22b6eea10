"""What the page of a TD3 or DDPG run shows: returns, values, features, greedy tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lnlab.analysis.stats import interval
from lnlab.report import output, style
from lnlab.runs import Report, Run

PHASE_COLOUR = {"random": style.GREY, "mixed": "#8d5fb5", "policy": style.NORM_COLOUR["ln"]}
Lines = Mapping[str, Sequence[str]]  # title of a panel → columns drawn in it
COLOURS = (style.NORM_COLOUR["none"], style.NORM_COLOUR["ln"])


@style.styled
def live(rows: list[tuple[int, int, float]]) -> Figure:
    """Mean reward of each hundred steps so far, a line a seed; rows are (seed, step, reward)."""
    frame = pd.DataFrame(rows, columns=["seed", "step", "reward"])
    figure, (panel,) = style.axes()
    for seed, line in frame.groupby("seed"):
        panel.plot(line.step, line.reward, linewidth=1, label=f"seed {seed}")
    panel.set(xlabel="environment steps", ylabel="mean reward of 100 steps")
    figure.legend(loc="outside lower center", ncols=6, fontsize=9)
    return figure


class Rewards:
    """Collects the reports of a run for `live`."""

    def __init__(self) -> None:
        self.rows: list[tuple[int, int, float]] = []

    def add(self, report: Report) -> None:
        columns = report["seed"], report["step"][:, 0], report["reward"][:, 0]
        self.rows += [(int(seed), int(step), float(value)) for seed, step, value in zip(*columns, strict=True)]

    def draw(self) -> Figure:
        return live(self.rows)


def returns(run: Run) -> output.FigureOutput:
    """Every training episode by its end: where random actions end, and what the policy makes of it."""
    rows = run.table("returns")
    means = rows.groupby("phase")["return"].mean()
    told = ", ".join(f"{means[phase]:.4g} ({phase})" for phase in PHASE_COLOUR if phase in means) or "no episode ended"
    caption = (
        f"Return of every training episode of {run.id}, {rows.seed.nunique()} seeds, by who chose the actions. "
        f"Mean: {told}."
    )
    kept = rows[["seed", "episode", "step", "length", "return", "phase"]]
    return output.figure("return", _episodes(rows), alt=f"Dots: {caption}", caption=caption, data=kept)


def values(run: Run) -> output.FigureOutput:
    """Q as it stands in the actor's loss beside Q of the same actions as the critic sees them."""
    panels = {"|Q| in the actor loss": ["actor_q"], "|Q| on the critic's features": ["critic_q"]}
    what = "Mean |Q1| of the policy's actions on the replay batch, in the actor's loss and on the critic CNN's features"
    return _records(run, "values", panels, "|Q1|", what)


def features(run: Run) -> output.FigureOutput:
    """Feature norms of both CNNs on the fixed probe."""
    panels = {"actor CNN": ["actor_feature_norm_probe"], "critic CNN": ["critic_feature_norm_probe"]}
    return _records(
        run, "features", panels, "feature norm", "Mean L2 norm of the 512 features on 64 fixed observations"
    )


def tests(run: Run) -> output.TableOutput | output.Text:
    """Greedy test episodes on tracks that training did not see: mean over seeds with intervals."""
    if not run.config.eval_episodes:
        return output.Text("`eval_episodes=0`: this run was not tested.")
    rows = run.table("checks").assign(reached=lambda checks: checks.goal.astype(float))
    found = []
    for step, group in rows.groupby("step"):
        seeds = group.groupby("seed")[["return", "length", "off_lane", "reached"]].mean()
        found.append({"step": step} | {name: _words(seeds[name].to_numpy(float)) for name in seeds})
    shown = pd.DataFrame(found).rename(columns={"off_lane": "share that left the lane", "reached": "share at the goal"})
    caption = (
        f"Greedy tests of {run.id}: {run.config.eval_episodes} episodes on other tracks, mean over "
        f"{rows.seed.nunique()} seeds with 95 % intervals over seeds."
    )
    return output.table("test", shown, caption=caption, data=rows.drop(columns="reached"))


def _words(seeds: np.ndarray) -> str:
    found = interval(seeds)
    return f"{found.estimate:.4g} [{found.low:.4g}, {found.high:.4g}]" if len(seeds) > 1 else f"{seeds[0]:.4g}"


def _records(run: Run, name: str, panels: Lines, label: str, what: str) -> output.FigureOutput:
    rows = run.table("records")
    columns = [column for each in panels.values() for column in each]
    last = rows[rows.step == rows.step.max()][columns].abs().median()
    ends = ", ".join(f"{title} {last[each[0]]:.3g}" for title, each in panels.items())
    caption = f"{what}, {run.id}, a line for each of {rows.seed.nunique()} seeds. At the last record, median: {ends}."
    data = rows[["seed", "step", "updates", *columns]]
    return output.figure(name, _lines(rows, panels, label), alt=f"Curves: {caption}", caption=caption, data=data)


@style.styled
def _lines(rows: pd.DataFrame, panels: Lines, label: str) -> Figure:
    figure, axes = style.axes(1, len(panels), sharey=True)
    for panel, (title, columns), colour in zip(axes, panels.items(), COLOURS, strict=False):
        for _, line in rows.groupby("seed"):
            panel.plot(line.step, line[columns[0]].abs(), color=colour, linewidth=1)
        panel.set(title=title, xlabel="environment steps")
    axes[0].set(yscale="log", ylabel=label)
    return figure


@style.styled
def _episodes(rows: pd.DataFrame) -> Figure:
    figure, (panel,) = style.axes()
    for phase, colour in PHASE_COLOUR.items():
        here: Any = rows[rows.phase == phase]
        if len(here):
            panel.plot(here.step, here["return"], ".", color=colour, markersize=4, label=phase, alpha=0.6)
    panel.set(xlabel="environment steps", ylabel="return of the episode")
    if len(rows):
        figure.legend(loc="outside lower center", ncols=3, fontsize=9)
    return figure
