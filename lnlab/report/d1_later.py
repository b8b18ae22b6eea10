"""Document D1, sections 4 to 7: why, variance across environments, advice, conclusion.

Figures and tables of notebooks/d1.ipynb, from the measurements inside the networks and from the 18 test scenarios.
"""

import itertools

import numpy as np
import pandas as pd
from matplotlib.figure import Figure

from lnlab.analysis.stats import interval, std
from lnlab.report import figures, output, style, tables
from lnlab.report.cells import counted
from lnlab.report.evidence import Array, Data, Missing

INSIDE = {  # diagnostics at the end of training, and what a reader calls them
    "entropy": "entropy (nats)",
    "policy_information": "entropy owed to the observation (nats)",
    "value_sd": "SD of the value",
    "embed_norm_mean": "norm of the features",
    "core_rank_effective": "effective rank",
    "state_saturated": "saturated state",
}
MODES = ("sampled", "greedy")
CLOUD = "budget"
SPREAD = {"mean": "mean", "across": "SD across scenarios", "relative": "SD / mean", "between": "SD between seeds"}


def arms(data: Data) -> list[dict[str, str]]:
    """The arms of the main study that are complete, in the book's order."""
    names = itertools.product(style.ALGORITHM_LABEL, style.CORE_LABEL, style.NORM_LABEL)
    there = {run.id for run in data.main.runs if run.complete}
    every = [dict(zip(figures.ARM, name, strict=True)) for name in names]
    return [arm for arm in every if "-".join(arm.values()) in there]


def inside(data: Data) -> output.TableOutput:
    """What is measured inside the networks at the end of training."""
    rows = []
    for arm, (quantity, name) in itertools.product(arms(data), INSIDE.items()):
        try:
            found = interval(data.diagnostic("-".join(arm.values()), quantity))
        except Missing:  # a feedforward network has no state
            continue
        rows.append({**arm, "arm": tables.arm(**arm), "quantity": name, **found._asdict()})
    found = pd.DataFrame(rows)
    shown = tables.pivot_words(found, ["arm"], "quantity").fillna("")
    caption = (
        "Inside the networks after training: mean over learners, then over seeds, with 95 % intervals. "
        f"n = {counted(found.n)} seeds per arm. Saturated: share of the GRU's units with |h| above 0.99; rank: of the "
        "features that the heads see, at most 128."
    )
    return output.table("inside", shown, caption=caption, data=found)


def spreads(data: Data, mode: str) -> pd.DataFrame:
    """Rows algorithm, core, norm, quantity, estimate, low, high, n: the spreads of the test return of one mode."""
    rows = []
    for arm in arms(data):
        cells = data.scenario_scores("-".join(arm.values()), mode=mode, cloud=CLOUD, per_worker=True)
        cells = cells.reshape(len(cells), -1)
        numbers = {
            "mean": interval(cells.mean(axis=1)),
            "across": interval(across(cells)),
            "relative": interval(np.stack([across(cells), cells.mean(axis=1)], axis=1), _relative),
            "between": interval(cells.mean(axis=1), std),
        }
        rows += [{**arm, "mode": mode, "quantity": name, **found._asdict()} for name, found in numbers.items()]
    return pd.DataFrame(rows)


def across(cells: Array) -> Array:
    """(n_seeds,) D1's measure: sample SD over all scenarios and learners of a seed; cells (n_seeds, n_cells)."""
    return np.asarray(cells.std(axis=1, ddof=1))


def _relative(pooled: Array, axis: int) -> Array:
    """Mean SD across scenarios over the mean return; pooled (reps, n_seeds · 2), the two of a seed side by side."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(pooled[..., ::2].mean(axis=axis) / pooled[..., 1::2].mean(axis=axis))


def spread_table(data: Data) -> output.TableOutput:
    """D1's spread across scenarios, the same relative to the mean, and that between seeds; fixed policies last."""
    found = pd.concat([spreads(data, mode) for mode in MODES], ignore_index=True)
    found = found.assign(policy=tables.arms)
    fixed = reference_spreads().melt(["policy"], var_name="quantity", value_name="estimate")
    rows = pd.concat([found, fixed.assign(mode="fixed", low=np.nan, high=np.nan, n=1)], ignore_index=True)
    shown = tables.pivot_words(rows.assign(quantity=rows.quantity.map(SPREAD)), ["policy", "mode"], "quantity")
    caption = (
        f"Mean and spreads of the test return, 18 scenarios, cloud {tables.CLOUD_LABEL[CLOUD]}, 95 % intervals over "
        f"n = {counted(found.n)} seeds. Last, policies that learn nothing, which have no seeds."
    )
    return output.table("spread", shown.fillna("n/a"), caption=caption, data=rows)


def spread_figure(data: Data, mode: str) -> output.FigureOutput:
    """Each seed as a dot: its mean test return, and D1's spread across scenarios."""
    rows = []
    for arm in arms(data):
        cells = data.scenario_scores("-".join(arm.values()), mode=mode, cloud=CLOUD)
        dots = zip(cells.mean(axis=1), across(cells), strict=True)
        rows += [{**arm, "seed": seed, "mean": mean, "across": sd} for seed, (mean, sd) in enumerate(dots)]
    dots = pd.DataFrame(rows)
    n = counted(dots.groupby(figures.ARM).seed.nunique())
    r = dots[["mean", "across"]].corr().iloc[0, 1]
    alt = (
        f"Scatter of {len(dots)} trained seeds: SD of the {mode} test return across scenarios against its mean; "
        f"over all of them the correlation is {tables.number(r, 2)}."
    )
    caption = (
        f"Spread across scenarios against competence: a dot each seed of each arm (n = {n} seeds per arm), {mode} "
        "policies, mean over the learners of a seed. Crosses: policies that learn nothing."
    )
    return output.figure(f"spread-{mode}", _scatter(dots, mode), alt=alt, caption=caption, data=dots)


def reference_spreads() -> pd.DataFrame:
    """policy, mean, across, relative: of the policies that learn nothing, over the 18 scenarios."""
    rows = tables.reference_scenarios()
    rows = rows[rows.cloud == CLOUD].groupby("policy", sort=False)["return_mean"].agg(["mean", "std"]).reset_index()
    rows = rows.rename(columns={"std": "across"}).assign(policy=lambda each: each.policy.map(tables.POLICY_LABEL))
    return rows.assign(relative=rows.across / rows["mean"].where(rows["mean"] > 0))


@style.styled
def _scatter(dots: pd.DataFrame, mode: str) -> Figure:
    figure, panels = style.axes(1, 2, height=3.0, sharex=True, sharey=True)
    fixed = reference_spreads()
    for panel, (core, rows) in zip(panels, dots.groupby("core", sort=False), strict=False):
        for norm, mine in rows.groupby("norm", sort=False):
            for algorithm, marker in (("a3c", "o"), ("individual", "^")):
                here = mine[mine.algorithm == algorithm]
                label = f"{style.ALGORITHM_LABEL[algorithm]}, {style.NORM_LABEL[norm]}"
                colour = style.NORM_COLOUR[norm]
                panel.scatter(here["mean"], here.across, s=18, marker=marker, color=colour, alpha=0.7, label=label)
        panel.scatter(fixed["mean"], fixed.across, s=30, marker="x", color=style.GREY, label="learns nothing")
        panel.set_title(style.CORE_LABEL[core])
        panel.set_xlabel(f"mean test return, {mode}")
    panels[0].set_ylabel("SD across scenarios")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, fontsize=9)
    return figure
