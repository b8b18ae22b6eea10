"""Every complete run of a profile: learning curves, returns with intervals, and what a norm changes.

For notebooks/summary.ipynb, which needs nothing but a complete run, of any algorithm, environment, setting and number
of seeds. Runs that differ in the norm alone are compared seed by seed.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import t as student

from lnlab.analysis.stats import Interval, paired_difference
from lnlab.config import RunConfig
from lnlab.report import output, pages, style, tables
from lnlab.report.cells import counted
from lnlab.runs import Run, Study

BESIDE = {"norm", "seeds", "first_seed", "eval_episodes"}  # in which compared runs may differ
BLOCKS = 20  # of steps, over which training returns of TD3 and DDPG are averaged
MEASURES = ("return at the end", "value loss", "test return, greedy", "test return, sampled")
Family = list[Run]  # runs that differ in the norm alone


def families(study: Study) -> list[tuple[str, Family]]:
    """The runs by what they share, titled without their norm; norms in the order of their table."""
    found: dict[str, tuple[str, Family]] = {}
    order = list(style.NORM_LABEL)
    for run in sorted(study.runs, key=lambda run: order.index(run.config.norm)):
        key = str(sorted((name, value) for name, value in run.config.science.items() if name not in BESIDE))
        found.setdefault(key, (_title(run), []))[1].append(run)
    return sorted(found.values(), key=lambda each: each[0])


def _title(run: Run) -> str:
    labels = {name: value for name, value in run.config.labels.items() if name != "norm"}
    arm = ", ".join(pages.LABEL[name].get(value, value) for name, value in labels.items())
    changed = run.id.removeprefix("-".join(run.config.labels.values())).strip("-")
    return f"{arm} ({changed})" if changed else arm


def extent(study: Study) -> output.Text:
    """One sentence: which runs the page rests on."""
    runs = ", ".join(f"{{doc}}`{run.id} </runs/{run.id}>` ({run.config.seeds} seeds)" for run in study.runs)
    return output.Text(f"Complete runs of the profile {study.dir.name}: {runs}.".replace("(1 seeds)", "(1 seed)"))


# -- learning curves ------------------------------------------------------------------------------------------------
def curve(run: Run) -> pd.DataFrame:
    """Mean training return by seed: columns seed, x (episodes per worker, or environment steps), return."""
    if isinstance(run.config, RunConfig):
        rows = run.table("curves").rename(columns={"episode": "x"})
    else:
        rows, size = _episodes(run), -(-run.config.steps // BLOCKS)
        rows = rows.assign(x=((rows.step - 1) // size + 1) * size)
    return rows.groupby(["seed", "x"], as_index=False)["return"].mean()


def _episodes(run: Run) -> pd.DataFrame:
    """The training episodes of TD3 or DDPG; none where no episode ended."""
    there = (run.dir / "returns.parquet").exists()
    return run.table("returns") if there else pd.DataFrame({"seed": [], "step": [], "return": []}, dtype=float)


def curves(study: Study) -> output.FigureOutput | output.Text:
    """Learning curves, a panel for what runs share, a colour for each norm."""
    rows = [curve(run).assign(agent=title, norm=run.config.norm, run=run.id) for title, run in _members(study)]
    every = pd.concat(rows, ignore_index=True)
    if every.empty:
        return output.Text("No training episode ended in these runs, so there is no return to show.")
    points = every.groupby(["agent", "norm", "run", "x"], sort=False)["return"]
    bands = points.agg(["mean", "sem", "count"]).reset_index().sort_values("x", kind="stable")
    bands = bands[bands["count"] == bands.groupby("run")["count"].transform("max")]  # the mean of the same seeds
    half = student.ppf(0.975, np.maximum(bands["count"] - 1, 1)) * bands["sem"]
    bands = bands.assign(low=bands["mean"] - half, high=bands["mean"] + half).rename(columns={"count": "n"})
    ends = bands.groupby("run", sort=False).tail(1)
    words = "; ".join(f"{run} {mean:.3g}" for run, mean in zip(ends.run, ends["mean"], strict=True))
    caption = (
        "Return in training: every seed thin, the mean thick, its pointwise 95 % interval shaded; "
        f"n = {counted(bands.n)} seeds. Of TD3 and DDPG means of the episodes that ended in a twentieth of the steps."
    )
    data = bands[["agent", "norm", "run", "x", "mean", "low", "high", "n"]]
    drawn = _draw(study, every, bands)
    return output.figure("curves", drawn, alt=f"Last returns: {words}.", caption=caption, data=data)


def _members(study: Study) -> Iterator[tuple[str, Run]]:
    return ((title, run) for title, family in families(study) for run in family)


@style.styled
def _draw(study: Study, every: pd.DataFrame, bands: pd.DataFrame) -> Figure:
    groups = families(study)
    columns = min(2, len(groups))
    figure, axes = style.axes(-(-len(groups) // columns), columns)
    handles: dict[str, Any] = {}
    for panel, (title, family) in zip(axes, groups, strict=False):
        for run in family:
            _line(panel, every[every.run == run.id], bands[bands.run == run.id], run.config.norm)
        panel.set_title(title, fontsize=9)
        panel.set_xlabel("episodes per worker" if isinstance(family[0].config, RunConfig) else "environment steps")
        panel.set_ylabel("return")
        handles |= dict(zip(*panel.get_legend_handles_labels()[::-1], strict=True))
    for panel in axes[len(groups) :]:
        panel.set_visible(False)
    if handles:
        figure.legend(list(handles.values()), list(handles), loc="outside lower center", ncols=len(handles), fontsize=9)
    return figure


def _line(panel: Axes, seeds: pd.DataFrame, band: pd.DataFrame, norm: str) -> None:
    colour = style.NORM_COLOUR[norm]
    for _, line in seeds.groupby("seed"):
        panel.plot(line.x, line["return"], color=colour, linewidth=0.5, alpha=0.4)
    panel.plot(band.x, band["mean"], color=colour, linewidth=1.8, label=style.NORM_LABEL[norm])
    panel.fill_between(band.x, band.low, band.high, color=colour, alpha=0.25, linewidth=0)


# -- numbers by seed ------------------------------------------------------------------------------------------------
def scores(run: Run) -> dict[str, pd.Series]:
    """The measures that a run has, each a value for every seed; NaN where it is not defined."""
    found = _on_policy(run) if isinstance(run.config, RunConfig) else _off_policy(run)
    return {name: rows.reindex(run.config.seed_list).astype(float) for name, rows in found.items()}


def _on_policy(run: Run) -> dict[str, pd.Series]:
    metrics = run.table("metrics")
    whole = metrics[metrics.worker == -1].pivot(index="seed", columns="quantity", values="value")
    found = {"return at the end": whole.return_final, "value loss": whole.value_loss_all_mean}
    if (run.dir / "evaluation.parquet").exists():
        tests = run.table("evaluation")
        tests = tests[tests.cloud == "budget"]
        for mode, rows in tests.groupby("mode"):
            found[f"test return, {mode}"] = rows.groupby("seed").return_mean.mean()
    return found


def _off_policy(run: Run) -> dict[str, pd.Series]:
    episodes = _episodes(run)
    late = episodes[episodes.step > 0.9 * run.config.steps]
    found = {"return at the end": late.groupby("seed")["return"].mean()}
    if (run.dir / "checks.parquet").exists():
        tests = run.table("checks")
        found["test return, greedy"] = tests[tests.step == tests.step.max()].groupby("seed")["return"].mean()
    return found


EXPLAINED = (
    "Return at the end: training episodes of the last tenth. Value loss: all rollouts of training. Test returns of A3C "
    "and Individual: 18 scenarios, cloud budget; of TD3 and DDPG: the last test. n/a: not measured for every seed"
)


def level_table(study: Study) -> output.TableOutput:
    """Every measure of every run with its interval."""
    rows = [
        {"run": run.id, "measure": name, **tables.known(values.to_numpy())._asdict()}
        for _, run in _members(study)
        for name, values in scores(run).items()
    ]
    data = pd.DataFrame(rows)
    caption = f"{EXPLAINED}. Means with 95 % intervals over n = {counted(data.n)} seeds."
    return output.table("levels", _wide(data, "run"), caption=caption, data=data)


def difference_table(study: Study) -> output.TableOutput | output.Text:
    """Every norm minus the first of its family, no norm where there is one, over the seeds that both have."""
    rows = [row for title, family in families(study) for row in _differences(title, family)]
    if not rows:
        return output.Text("No two of these runs differ in the norm alone, so nothing is compared.")
    data = pd.DataFrame(rows)
    caption = (
        f"What a norm changes: differences paired by seed, with 95 % intervals over n = {counted(data.n)} seeds. "
        f"{EXPLAINED}."
    )
    return output.table("differences", _wide(data, "difference"), caption=caption, data=data)


def _differences(title: str, family: Family) -> Iterator[dict[str, object]]:
    first, *others = family
    base = scores(first)
    for run in others:
        what = f"{title}: {style.NORM_LABEL[run.config.norm]} minus {style.NORM_LABEL[first.config.norm]}"
        for name, values in scores(run).items():
            if name in base and len(shared := values.index.intersection(base[name].index)):
                found = _difference(values[shared].to_numpy(), base[name][shared].to_numpy())
                yield {"difference": what, "measure": name, **found._asdict()}


def _difference(new: np.ndarray, old: np.ndarray) -> Interval:
    if np.isfinite([new, old]).all():
        return paired_difference(new, old)
    return Interval(np.nan, np.nan, np.nan, len(new))


def _wide(data: pd.DataFrame, index: str) -> pd.DataFrame:
    """Intervals as words, a line each `index`, a column each measure that is there."""
    named = data.assign(words=[tables.words(row) for row in data.itertuples()])
    wide = named.pivot(index=index, columns="measure", values="words").reindex(data[index].unique())
    wide = wide[[name for name in MEASURES if name in wide]].fillna("n/a")
    return wide.reset_index().rename_axis(columns=None)
