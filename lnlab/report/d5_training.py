"""D5's training: growth of the features with its exponent, losses and values, returns by quarter and by phase."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.stats import Interval, interval
from lnlab.envs.driving_reward import WEIGHTS
from lnlab.report import driving_figures, output, style, tables
from lnlab.report.cells import counted
from lnlab.report.d5 import shown
from lnlab.report.driving_data import (
    ARMS,
    MAIN,
    PHASES,
    Driving,
    Logged,
    growth_law,
    late_exponent,
    quarter_moments,
    quarters,
)
from lnlab.report.driving_figures import Panel
from lnlab.report.evidence import Array, Data, Missing

GROWING = {"actor_feature_norm_probe": "features of the actor's CNN", "actor_q": "Q that the actor maximises"}
DYNAMICS = (
    Panel("critic_loss", "critic loss", log=True),
    Panel("td_error_1", "TD error of the first critic", log=True),
    Panel("q1_mean", "Q1 on the replay batch"),
    Panel("critic_grad_norm", "critics' gradient before clipping", log=True),
    Panel("actor_cnn_grad_norm", "gradient of the actor's CNN before clipping", log=True),
    Panel("saturation", "share of saturated actions"),
)
PART = {"random": "random actions", "mixed": "both", "policy": "policy"}
PHASE_COLOUR = {"random": "#8a6fc2", "mixed": style.GREY, "policy": "#2f9e6e"}


# -- growth ------------------------------------------------------------------------------------------------------------
@shown
def growth_figure(data: Data) -> output.FigureOutput:
    """Features and the actor's Q over updates, both axes logarithmic: a power law is a straight line."""
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = pd.concat([_law_rows(runs, arm, column) for column in GROWING for arm in arms], ignore_index=True)
    words = "; ".join(
        f"{row.arm} {row.exponent:.2f}"
        for row in rows[rows.quantity == next(iter(GROWING))].drop_duplicates("arm").itertuples()
    )
    caption = (
        "Growth with the number of updates, both axes logarithmic; seeds thin, geometric means thick. Straight lines: "
        "the power law fitted to each arm's means; the exponential beside it, dotted, is fitted to the first arm. "
        f"n = {counted(rows.n)} seeds an arm; exponents with 95 % intervals are in the table below."
    )
    alt = f"Norm of the actor's features and the actor's Q over updates. Fitted exponents of the features: {words}."
    return output.figure("growth", _growth(runs, arms), alt=alt, caption=caption, data=rows)


def _law_rows(runs: Driving, arm: str, column: str) -> pd.DataFrame:
    """The drawn means of an arm with the exponent fitted to them."""
    logged = runs.logged(arm, column)
    law = growth_law(logged)
    rows = driving_figures.band(logged, log=True)
    return rows.assign(quantity=column, arm=ARMS[arm].says, exponent=float(law.exponent.mean()))


@style.styled
def _growth(runs: Driving, arms: list[str]) -> Figure:
    figure, axes = style.axes(1, len(GROWING), height=3.2)
    for axis, (column, title) in zip(axes, GROWING.items(), strict=True):
        axis.set_xscale("log")
        axis.set_yscale("log")
        axis.set_title(title)
        axis.set_xlabel("critic updates")
        for place, arm in enumerate(arms):
            _growing(axis, arm, runs.logged(arm, column), exponential=place == 0)
    driving_figures.legend(figure, axes[0])
    return figure


def _growing(axis: Axes, arm: str, logged: Logged, *, exponential: bool) -> None:
    kind = driving_figures.look(arm)
    axis.plot(logged.updates, np.abs(logged.values).T, linewidth=0.5, alpha=0.35, **kind)
    means = driving_figures.band(logged, log=True)["mean"].to_numpy()
    axis.plot(logged.updates, means, linewidth=1.8, label=ARMS[arm].says, **kind)
    for law, line in ((np.log10, "-"), (np.asarray, ":"))[: 1 + exponential]:
        x = law(logged.updates)
        fitted = np.polynomial.Polynomial.fit(x, np.log10(means), 1)
        axis.plot(logged.updates, 10 ** fitted(x), color=style.GREY, linewidth=1, linestyle=line)


@shown
def growth_table(data: Data) -> output.TableOutput:
    """Growth exponents of every main arm with intervals over seeds, and how well either law fits."""
    runs = Driving.of(data)
    records = [
        {"arm": ARMS[arm].says, "what": column} | _law(runs, arm, column)
        for column in GROWING
        for arm in runs.arms(MAIN)
    ]
    table = pd.DataFrame(records)
    shown_ = pd.DataFrame({"quantity": table.what.map(GROWING), "arm": table.arm})
    shown_["exponent"] = [tables.words(Interval(*row), 2) for row in _bounds(table, "exponent")]
    shown_["second half"] = [tables.words(Interval(*row), 2) for row in _bounds(table, "late")]
    shown_["R², power law"] = [tables.number(value, 3) for value in table.power]
    shown_["R², exponential"] = [tables.number(value, 3) for value in table.exponential]
    caption = (
        "Exponent k of updates^k: least squares on the logarithms over all logged updates and over their second half, "
        "a value a seed, mean with 95 % interval. R²: of that line, and of one of the logarithm against updates, means "
        f"over n = {counted(table.n)} seeds; n/a for a constant."
    )
    return output.table("exponents", shown_, caption=caption, data=table)


def _bounds(table: pd.DataFrame, name: str) -> list[tuple[float, float, float, int]]:
    columns = [name, f"{name}_low", f"{name}_high", "n"]
    return list(table[columns].itertuples(index=False, name=None))


def _law(runs: Driving, arm: str, column: str) -> dict[str, object]:
    law = growth_law(runs.logged(arm, column))
    whole = interval(law.exponent)
    try:
        late = interval(late_exponent(runs, arm, column))
    except Missing:  # a short run has one logged update in its second half
        late = Interval(np.nan, np.nan, np.nan, whole.n)
    fits = {"power": float(law.power.mean()), "exponential": float(law.exponential.mean()), "n": whole.n}
    return _columns("exponent", whole) | _columns("late", late) | fits


def _columns(name: str, found: Interval) -> dict[str, object]:
    return {name: found.estimate, f"{name}_low": found.low, f"{name}_high": found.high}


# -- curves --------------------------------------------------------------------------------------------------------
@shown
def dynamics(data: Data) -> output.FigureOutput:
    """Loss, errors, values, gradients and saturation through training, the four main arms."""
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = driving_figures.bands(runs, arms, DYNAMICS)
    last = rows[rows.quantity == "critic_loss"].groupby("arm", sort=False).tail(1)
    words = "; ".join(f"{row.arm} {row.mean:.3g}" for row in last.itertuples())
    caption = (
        "Through training, at one update in a hundred: seeds thin, means thick (geometric on logarithmic axes), "
        f"pointwise 95 % intervals shaded; n = {counted(rows.n)} seeds an arm."
    )
    alt = f"Six panels over updates. Critic loss at the last record: {words}."
    drawn = driving_figures.grid(runs, arms, DYNAMICS)
    return output.figure("dynamics", drawn, alt=alt, caption=caption, data=rows)


# -- returns -----------------------------------------------------------------------------------------------------------
@shown
def returns_figure(data: Data) -> output.FigureOutput:
    """Return of every training episode, by who chose its actions; a panel a main arm."""
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = pd.concat([_episodes(runs, arm) for arm in arms], ignore_index=True)
    means = rows.groupby(["arm", "phase"], sort=False)["return"].mean().reset_index()
    words = "; ".join(f"{row.arm}, {PART[str(row.phase)]} {row[-1]:.0f}" for row in means.itertuples(index=False))
    n = counted(rows.groupby("arm").seed.nunique())
    caption = (
        "Return of every training episode by the step at which it ended, a line a seed, coloured by who chose its "
        f"actions; n = {n} seeds an arm. Means with 95 % intervals over seeds are in the tables below."
    )
    drawn = _scatter(rows, [ARMS[arm].says for arm in arms])
    return output.figure("returns", drawn, alt=f"Mean returns. {words}.", caption=caption, data=rows)


def _episodes(runs: Driving, arm: str) -> pd.DataFrame:
    rows = runs.table(arm, "returns")[["seed", "episode", "step", "length", "return", "phase"]]
    return rows.assign(arm=ARMS[arm].says)


@style.styled
def _scatter(rows: pd.DataFrame, arms: list[str]) -> Figure:
    figure, axes = style.axes(-(-len(arms) // 2), min(2, len(arms)), height=2.1, sharex=True, sharey=True)
    for axis, arm in zip(axes, arms, strict=False):
        for phase in PHASES:
            mine = rows[(rows.arm == arm) & (rows.phase == phase)]
            lines = mine.pivot_table(index="step", columns="seed", values="return")
            for place, seed in enumerate(lines):  # a marker an episode would be half a megabyte
                axis.plot(lines[seed].dropna(), color=PHASE_COLOUR[phase], linewidth=0.7, alpha=0.6,
                          marker="." if phase == "mixed" else "", label=None if place else PART[phase])  # fmt: skip
        axis.set_title(arm)
    for axis in axes[-2:]:
        axis.set_xlabel("environment steps")
    axes[0].set_ylabel("return")
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=9)
    return figure


@shown
def quarter_table(data: Data) -> output.TableOutput:
    """D5's quarters of the episodes: mean and standard deviation, and what share of each the policy chose."""
    runs = Driving.of(data)
    rows = [row for arm in runs.arms(MAIN) for row in _quarter_rows(runs, arm)]
    table = pd.DataFrame(rows)
    wide = tables.pivot_words(table, ["arm", "what"], "quarter")
    caption = (
        "Returns by quarter of a seed's training episodes, cut by index as in D5 (at n k / 4, rounded down; SD divided "
        "by n), and the share of the quarter's episodes in which the policy chose every action; 95 % intervals over "
        f"n = {counted(table.n)} seeds."
    )
    return output.table("quarters", wide, caption=caption, data=table)


def _quarter_rows(runs: Driving, arm: str) -> list[dict[str, object]]:
    means, sds = quarter_moments(runs.episodes(arm))
    of_policy = [
        np.asarray(rows == "policy", dtype=float) for _, rows in runs.table(arm, "returns").groupby("seed").phase
    ]
    shares = np.array([[100 * part.mean() for part in quarters(seed)] for seed in of_policy])
    found = {"mean": means, "SD": sds, "policy, %": shares}
    return [
        {"arm": ARMS[arm].says, "what": what, "quarter": f"Q{k + 1}", **interval(values[:, k])._asdict()}
        for what, values in found.items()
        for k in range(4)
    ]


@shown
def phase_table(data: Data) -> output.TableOutput:
    """Return, length and return per step by who chose the actions."""
    runs = Driving.of(data)
    arms = runs.arms()
    rows = _phase_rows(runs, arms[0], "random") + [row for arm in arms for row in _phase_rows(runs, arm, "policy")]
    table = pd.DataFrame(rows)
    caption = (
        "Training episodes by who chose their actions: random ones before learning, alike in all arms, and those of "
        "the policy with its noise after; the one episode of both is left out. Means of the seeds' means, 95 % "
        f"intervals over n = {counted(table.n)} seeds."
    )
    wide = tables.pivot_words(table, ["arm", "actions"], "what")
    return output.table("phases", wide, caption=caption, data=table)


def _phase_rows(runs: Driving, arm: str, phase: str) -> list[dict[str, object]]:
    try:
        value, length = (runs.by_phase(arm, phase, name) for name in ("return", "length"))
    except Missing:
        return []
    left, steer = 100 * runs.by_phase(arm, phase, "off_lane"), runs.by_phase(arm, phase, "steer")
    found = {"return": value, "steps": length, "return per step": value / length, "left the lane, %": left,
             "mean steering": steer}  # fmt: skip
    label = _label(arm, phase)
    return [{**label, "what": what, **interval(values)._asdict()} for what, values in found.items()]


@shown
def component_table(data: Data) -> output.TableOutput:
    """The break-down of the return that D5 asks for: what an episode's components add, by who chose the actions."""
    runs = Driving.of(data)
    arms = runs.arms(MAIN)
    rows = _component_rows(runs, arms[0], "random") if arms else []
    rows += [row for arm in arms for row in _component_rows(runs, arm, "policy")]
    if not rows:
        raise Missing("needs the components of the reward, which were not recorded")
    table = pd.DataFrame(rows)
    caption = (
        "The return of an episode by component, weighted, summed over all of its steps (the original logged single "
        f"steps); 95 % intervals over n = {counted(table.n)} seeds."
    )
    wide = tables.pivot_words(table, ["arm", "actions"], "component")
    return output.table("components", wide, caption=caption, data=table)


def _component_rows(runs: Driving, arm: str, phase: str) -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name in WEIGHTS:
        try:
            values: Array = runs.by_phase(arm, phase, f"reward_{name}")
        except Missing:
            continue
        found.append(_label(arm, phase) | {"component": name.replace("_", " "), **interval(values)._asdict()})
    return found


def _label(arm: str, phase: str) -> dict[str, object]:
    """Random actions do not depend on the arm: seeds meet the same ones on the same road."""
    return {"arm": "any" if phase == "random" else ARMS[arm].says, "actions": PART[phase]}
