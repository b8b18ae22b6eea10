"""Document D1, sections 1 to 3: stability, training reward and generalisation, over all arms of a study.

Figures and tables of notebooks/d1.ipynb. What D1 prints is read from book/claims.yml and set beside the same number of
ours; the definitions are D1's own (last rollout, greedy, cloud budget) where its numbers are quoted, and said so.
"""

import numpy as np
import pandas as pd

from lnlab.config import RunConfig
from lnlab.diverged import scored
from lnlab.paths import PUBLISHED, ROOT
from lnlab.report import cells, evidence, figures, output, style, tables
from lnlab.runs import Study, load

PROFILE = "paper"  # the published one
PAGE = "d1"  # whose figures other pages show too
LAST = {"value_loss_mean": "mean", "value_loss_max": "maximum", "explosion_episodes": "episodes above 100, %"}
ALL = {
    "value_loss_all_mean": "mean",
    "value_loss_all_max": "maximum",
    "explosion_episodes_all": "episodes above 100, %",
}
TRAINING = {"return_mean": "all episodes", "return_final": "last tenth", "entropy_final": "entropy, last tenth (nats)"}
LINES = {"uniform": "uniform random", "t12": "rule T12"}  # reference policies drawn in figures
PERCENT = {"explosion_episodes", "explosion_episodes_all"}  # kept as shares


def study(data: str = "") -> Study:
    """The arms of the runs below `data`, a folder seen from the repository; by default the published ones.

    Raises:
        FileNotFoundError: there are none.
    """
    return evidence.arms(scored(load(ROOT / data if data else PUBLISHED / PROFILE)))


def extent(runs: Study) -> output.Text:
    """One sentence: how many arms, seeds and episodes the page rests on."""
    configs = [run.config for run in runs.runs if run.complete and isinstance(run.config, RunConfig)]
    sizes = sorted({(config.seeds, config.episodes) for config in configs})
    each = " or ".join(f"{seeds} seeds of {episodes} episodes per worker" for seeds, episodes in sizes)
    return output.Text(f"{len(configs)} arms, each over {each}; profile {runs.dir.name}.")


def metric_table(runs: Study, name: str, quantities: dict[str, str], caption: str) -> output.TableOutput:
    """Metrics of each arm over its seeds, all workers together; columns as in `quantities`."""
    rows = metric_rows(runs, quantities)
    found = tables.estimates(rows, [*figures.ARM, "quantity"], "value").assign(arm=tables.arms)
    shown = tables.pivot_words(found, ["arm"], "quantity").rename(columns=quantities)
    return output.table(name, shown, caption=f"{caption} {_seeds(found)}", data=found)


def curves(runs: Study, quantity: str, label: str, *, log: bool = False) -> output.FigureOutput:
    """Learning curves of all arms."""
    rows = tables.in_order(runs.table("curves"))
    means = figures.band(rows, quantity)
    last = means[means.episode == means.episode.max()].assign(arm=tables.arms)
    ends = "; ".join(f"{row.arm} {row.mean:.3g}" for row in last.rename(columns={"mean": "mean"}).itertuples())
    caption = (
        f"{label[0].upper()}{label[1:]} over training: each seed thin (mean of its workers), their mean thick, "
        f"its pointwise 95 % interval shaded; n = {cells.counted(means.n)} seeds per arm."
    )
    alt = f"Learning curves of {label}, a panel for each algorithm and network; in the last block of episodes: {ends}."
    drawn = figures.learning_curves(rows, quantity, label, log=log)
    return output.figure(f"curve-{quantity.replace('_', '-')}", drawn, alt=alt, caption=caption, data=means)


def generalisation_figure(runs: Study, mode: str, cloud: str) -> output.FigureOutput:
    """Test returns by scenario group, one line an arm, with the reference policies as dotted lines."""
    found = _generalisation(runs, [mode], cloud)
    panels = {
        tables.TYPE_LABEL[kind]: found[found.type == kind].assign(name=tables.pairs)
        for kind in ("seen", "intra", "extra")
    }
    reference = tables.reference_policies()
    reference = reference[(reference.cloud == cloud) & reference.who.isin(list(LINES))]
    lines = {
        tables.TYPE_LABEL[kind]: dict(zip(rows.who.map(LINES), rows.estimate, strict=True))
        for kind, rows in reference.groupby("type")
    }
    drawn = figures.intervals(panels, f"test return, {mode}", references=lines)
    best = found[found.type == "all"].sort_values("estimate").assign(arm=tables.arms)
    ends = [f"{tables.number(row.estimate)} ({row.arm})" for row in best.iloc[[0, -1]].itertuples()]
    alt = f"Test return of the {mode} policies by scenario group; over all 18 scenarios from {ends[0]} to {ends[1]}."
    caption = (
        f"Mean test return of the {mode} policies, cloud {tables.CLOUD_LABEL[cloud]}; 95 % intervals over seeds. "
        f"{_seeds(found)} Lines: a uniformly random policy and the rule T12."
    )
    return output.figure(f"test-{mode}-{cloud}", drawn, alt=alt, caption=caption, data=found)


def generalisation_table(runs: Study, cloud: str) -> output.TableOutput:
    """Test returns of every arm, sampled and greedy, by scenario group, with the reference policies below."""
    found = _generalisation(runs, ["sampled", "greedy"], cloud)
    found = found.assign(policy=tables.arms)
    reference = tables.reference_policies()
    reference = reference[reference.cloud == cloud].assign(policy=reference.who.map(tables.POLICY_LABEL), mode="fixed")
    rows = pd.concat([found, reference.drop(columns=["who"])], ignore_index=True)
    caption = (
        f"Mean test return, cloud {tables.CLOUD_LABEL[cloud]}, 95 % intervals over seeds. {_seeds(found)} "
        f"Last, reference policies that learn nothing ({tables.REFERENCE_EPISODES} episodes a scenario, no interval)."
    )
    return output.table(
        f"test-{cloud}", tables.pivot_words(rows, ["policy", "mode"], "type"), caption=caption, data=rows
    )


def scenario_heatmap(runs: Study, mode: str, cloud: str) -> output.FigureOutput:
    """Mean test return of each arm on each of the 18 scenarios."""
    rows = test_rows(runs, mode, cloud)
    rows = rows.assign(
        place=[f"{g} C={c} v={v}" for g, c, v in zip(rows.group, rows.capacity, rows.velocity, strict=True)]
    )
    short = [f"{_SHORT[a]}\n{c.upper()}\n{n}" for a, c, n in zip(rows.algorithm, rows.core, rows.norm, strict=True)]
    grid = (
        rows.assign(arm=short)
        .pivot_table(index=["scenario", "place"], columns="arm", values="return_mean", sort=False)
        .sort_index()
    )
    starts = [5, 11]  # the first Intra and the first Extra scenario
    values = grid.droplevel("scenario")
    n = cells.counted(rows.groupby(figures.ARM).seed.nunique())
    low, high = values.min(axis=None), values.max(axis=None)
    alt = f"Heat map of mean {mode} test return, 18 scenarios by {values.shape[1]} arms, from {low:.0f} to {high:.0f}."
    caption = (
        f"Mean test return of the {mode} policies on each scenario, cloud {tables.CLOUD_LABEL[cloud]}; "
        f"means over n = {n} seeds. C is the local capacity, v the velocity in km/h."
    )
    drawn = figures.heatmap(values, "test return", separators=starts)
    return output.figure(f"scenarios-{mode}", drawn, alt=alt, caption=caption, data=values.reset_index())


def worker_gaps(runs: Study, mode: str, cloud: str) -> output.TableOutput:
    """Extra minus Seen for each Individual worker: D1's measure of generalisation."""
    found = tables.estimates(gaps(runs, mode, cloud), ["core", "norm", "worker"], "gap")
    arm = [f"{style.CORE_LABEL[c]}, {style.NORM_LABEL[n]}" for c, n in zip(found.core, found.norm, strict=True)]
    shown = tables.pivot_words(found.assign(arm=arm, worker=[f"W{w}" for w in found.worker]), ["worker"], "arm")
    caption = (
        f"Individual, {mode}: test return on Extra minus Seen scenarios for each worker, 95 % intervals over seeds. "
        f"{_seeds(found)}"
    )
    return output.table(f"gaps-{mode}", shown, caption=caption, data=found)


def gaps(runs: Study, mode: str, cloud: str) -> pd.DataFrame:
    """Extra minus Seen of each Individual learner: core, norm, seed, worker, gap."""
    rows = test_rows(runs, mode, cloud)
    rows = rows[rows.algorithm == "individual"]
    means = rows.pivot_table(
        index=["core", "norm", "seed", "worker"], columns="group", values="return_mean", sort=False
    )
    return (means["extra"] - means["seen"]).rename("gap").reset_index()


def metric_rows(runs: Study, quantities: dict[str, str]) -> pd.DataFrame:
    """Metrics of whole seeds (all workers together), in the order of `quantities`; shares of explosions in percent."""
    rows = runs.table("metrics")
    rows = rows[(rows.worker == -1) & rows.quantity.isin(list(quantities))]
    value = np.where(rows.quantity.isin(list(PERCENT)), 100 * rows.value, rows.value)
    order = {name: place for place, name in enumerate(quantities)}
    return tables.in_order(
        rows.assign(value=value).sort_values("quantity", key=lambda names: names.map(order), kind="stable")
    )


def test_rows(runs: Study, mode: str, cloud: str) -> pd.DataFrame:
    """Evaluation rows of one mode and cloud."""
    rows = tables.in_order(runs.table("evaluation"))
    return rows[(rows["mode"] == mode) & (rows.cloud == cloud)]


_SHORT = {"a3c": "A3C", "individual": "Ind."}


def _generalisation(runs: Study, modes: list[str], cloud: str) -> pd.DataFrame:
    rows = pd.concat([test_rows(runs, mode, cloud) for mode in modes])
    return tables.estimates(tables.by_group(rows), [*figures.ARM, "mode", "type"], "return_mean")


def _seeds(found: pd.DataFrame) -> str:
    low, high = int(found.n.min()), int(found.n.max())
    return f"n = {high} seeds per arm." if low == high else f"n = {low} to {high} seeds per arm."
