"""What is it about the number of workers? LayerNorm's lead in A3C after as many updates, and with a cloud each.

For notebooks/sensitivity.ipynb. Fewer workers make fewer updates of the shared model in as many episodes, and crowd the
cloud less. Three workers trained for longer make up the first; five with a cloud each take away the second alone. The
predictions and their margin were written before the runs of the profile `workers-why`.
"""

import functools
import itertools
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lnlab.analysis.claims import Direction
from lnlab.analysis.stats import interval
from lnlab.config import EPISODE_STEPS, RunConfig
from lnlab.report import beside, figures, hypotheses, output, style, tables
from lnlab.report.cells import counted, paired
from lnlab.report.driving_pieces import more
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.sensitivity_extent import LONG, WINDOW, before

WHY = "workers-why"
ARM = "a3c-gru-{norm}"
MARKS = (30_000, 50_000, 75_000, 100_000)  # updates: three and five workers' after 2000 episodes, and more
EQUAL = 50_000  # updates of five workers after the documents' 2000 episodes
MARGIN = 5.0  # of return: a third of the lead that is to be explained
EPISODES = 500  # of the reference policies


class Setting(NamedTuple):
    """Where the runs of a panel are: profiles, the first that has them, and the end of their ids."""

    profiles: tuple[str, ...]
    end: str


SETTINGS = {
    "3 workers": Setting((WHY, "workers"), "-w3"),
    "5 workers": Setting((LONG, ""), ""),
    "10 workers": Setting(("workers",), "-w10"),
    "5 workers, a cloud each": Setting((WHY,), "-cloud-refilled"),
}


class Pair(NamedTuple):
    """A3C GRU in one setting, without LayerNorm and with it."""

    workers: int
    cloud: str
    per_episode: int  # updates of the shared model: one a worker and rollout
    episodes: np.ndarray  # (n_points,) ends of the blocks
    returns: dict[str, Array]  # by norm, (n_seeds, n_points)

    @property
    def updates(self) -> np.ndarray:
        """(n_points,) made by the ends of the blocks."""
        return self.episodes * self.per_episode

    def lead(self, updates: int) -> Array:
        """(n_seeds,) LayerNorm minus no norm in the return of the last WINDOW episodes up to so many updates.

        Raises:
            Missing: the runs are shorter.
        """
        ends = [before(self.episodes, self.returns[norm], updates // self.per_episode) for norm in ("ln", "none")]
        return np.subtract(*paired(*ends))


def pairs(data: Data) -> dict[str, Pair]:
    """The settings whose two runs are complete, by name.

    Raises:
        Missing: there is none but the documents' five workers.
    """
    found = {name: pair for name, each in SETTINGS.items() if (pair := _pair(data, each))}
    if set(found) <= {"5 workers"}:
        raise Missing(f"needs A3C GRU with and without LayerNorm in the profile {WHY!r} or 'workers'")
    return found


def _pair(data: Data, setting: Setting) -> Pair | None:
    for profile in setting.profiles:
        try:
            there = data.of(profile) if profile else data
            names = {norm: ARM.format(norm=norm) + setting.end for norm in ("none", "ln")}
            curves = {norm: there.curve(name, "return") for norm, name in names.items()}
            config = beside.settings(there.run(names["ln"]))
        except Missing:
            continue
        return make_pair(config, curves["ln"][0], {norm: curve[1] for norm, curve in curves.items()})
    return None


def make_pair(config: RunConfig, episodes: np.ndarray, returns: dict[str, Array]) -> Pair:
    """The curves of runs that share the settings `config`, but for the norm."""
    updates = config.workers * EPISODE_STEPS // config.rollout
    return Pair(config.workers, config.cloud, updates, episodes, returns)


# -- the lead after as many updates -----------------------------------------------------------------------------------
def leads(found: dict[str, Pair]) -> pd.DataFrame:
    """LayerNorm's lead by setting and updates: columns setting, updates, estimate, low, high, n."""
    rows: list[tuple[Any, ...]] = []
    for (name, pair), updates in itertools.product(found.items(), MARKS):
        if updates <= pair.updates[-1]:
            rows.append((name, updates, *interval(pair.lead(updates))))
    return pd.DataFrame(rows, columns=["setting", "updates", "estimate", "low", "high", "n"])


def lead_table(found: dict[str, Pair]) -> output.TableOutput:
    """The lead in each setting, after as many updates of the shared model."""
    rows = leads(found)
    named = rows.assign(heads=[f"after {updates:,}" for updates in rows.updates])
    caption = (
        f"LayerNorm minus no norm in the return of {WINDOW} episodes, A3C GRU at 1e-4, after as many updates of the "
        f"shared model; n/a: not trained for so long. Paired by seed, 95 % intervals, n = {counted(rows.n)} seeds."
    )
    shown = tables.pivot_words(named, ["setting"], "heads").fillna("n/a")
    return output.table("updates", shown[["setting", *sorted(shown.columns[1:], key=len)]], caption=caption, data=rows)


# -- predictions ------------------------------------------------------------------------------------------------------
HYPOTHESES = {
    "3 workers": "Updates: three workers lack updates only; after as many, LayerNorm leads by as much as with five",
    "5 workers, a cloud each": "No crowd needed: LayerNorm leads by as much when five workers have a cloud each",
}


def tested(found: dict[str, Pair]) -> hypotheses.Tested:
    """Each hypothesis with what it predicts: the same lead as with five workers and one cloud, within MARGIN."""
    usual = found.get("5 workers")
    return {says: _same_lead(name, found.get(name), usual) for name, says in HYPOTHESES.items()}


def _same_lead(name: str, pair: Pair | None, usual: Pair | None) -> list[Direction] | str:
    if pair is None or usual is None or min(pair.updates[-1], usual.updates[-1]) < EQUAL:
        return f"needs runs of {EQUAL:,} updates"
    change = more(pair.lead(EQUAL), usual.lead(EQUAL))
    return [Direction(f"lead after {EQUAL:,} updates: {name} minus 5 workers", change, "within", MARGIN)]


def predictions(found: dict[str, Pair]) -> output.TableOutput:
    """What is predicted beside what was found. Raises Missing where nothing can be tested."""
    says = (
        f"Predictions written before the runs, with their margin of {MARGIN:g}, a third of the lead to be explained: "
        "an interval within it holds, one beyond it opposes. Paired by seed, 95 % intervals"
    )
    return hypotheses.table(tested(found), "updates-predictions", says)


# -- learning curves --------------------------------------------------------------------------------------------------
def curves(found: dict[str, Pair]) -> output.FigureOutput:
    """Return against updates in each setting, beside policies that learn nothing."""
    rows = _bands(found)
    lines = {name: references(pair) for name, pair in found.items()}
    last = rows.groupby(["setting", "norm"], sort=False).tail(1)
    ends = "; ".join(f"{row.setting}, {style.NORM_LABEL[row.norm]} {row.mean:.3g}" for row in last.itertuples())
    caption = (
        "Return in training against updates of the shared model: seeds thin, means thick, pointwise 95 % intervals "
        f"shaded; n = {counted(rows.n)} seeds an arm. Lines: policies that learn nothing, under the same rules."
    )
    alt = f"At the last point: {ends}."
    return output.figure("updates", _draw(found, rows, lines), alt=alt, caption=caption, data=rows)


def _bands(found: dict[str, Pair]) -> pd.DataFrame:
    """setting, norm, updates, mean, low, high, n."""
    parts = []
    for (name, pair), norm in itertools.product(found.items(), ("none", "ln")):
        long = pd.DataFrame(pair.returns[norm], columns=pair.updates).rename_axis("seed").reset_index()
        long = long.melt("seed", var_name="episode", value_name="return").assign(algorithm="a3c", core="gru", norm=norm)
        parts.append(figures.band(long, "return").assign(setting=name))
    rows = pd.concat(parts, ignore_index=True).rename(columns={"episode": "updates"})
    return rows[["setting", "norm", "updates", "mean", "low", "high", "n"]]


def references(pair: Pair) -> dict[str, float]:
    """Return of the uniform policy and of the best rule that learns nothing, under the pair's rules."""
    return dict(_references(pair.workers, pair.cloud, EPISODES))


@functools.cache
def _references(workers: int, cloud: str, episodes: int) -> dict[str, float]:
    from lnlab.evaluation import policies_in_training

    returns = policies_in_training(episodes, workers=workers, cloud=cloud).set_index("policy").return_mean
    return {"uniform policy": float(returns["uniform"]), "best simple rule": float(returns.max())}


@style.styled
def _draw(found: dict[str, Pair], rows: pd.DataFrame, references: dict[str, dict[str, float]]) -> Figure:
    figure, axes = style.axes(-(-len(found) // 2), 2, height=2.3, sharex=True)
    for panel, (name, pair) in zip(axes, found.items(), strict=False):
        for norm, mine in rows[rows.setting == name].groupby("norm", sort=False):
            _curve(panel, pair, str(norm), mine)
        for (label, value), line in zip(references[name].items(), ("--", ":"), strict=True):
            panel.axhline(value, color=style.GREY, linewidth=1, linestyle=line, label=label)
        panel.set_title(name)
    for panel in axes[len(found) :]:
        panel.set_axis_off()
    for panel in axes[-2:]:
        panel.set_xlabel("updates, thousands")
    figure.supylabel("return per episode", color=style.GREY, fontsize=10)
    figure.legend(*axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=4, fontsize=9)
    return figure


def _curve(panel: Axes, pair: Pair, norm: str, mean: pd.DataFrame) -> None:
    colour, at = style.NORM_COLOUR[norm], pair.updates / 1000
    panel.plot(at, pair.returns[norm].T, color=colour, linewidth=0.4, alpha=0.3)
    panel.fill_between(at, mean.low, mean.high, color=colour, alpha=0.3, linewidth=0)
    panel.plot(at, mean["mean"], color=colour, linewidth=1.6, label=style.NORM_LABEL[norm])
