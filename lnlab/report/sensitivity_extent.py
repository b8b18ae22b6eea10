"""Does it depend on the settings? More episodes and other numbers of workers; see `lnlab.report.sensitivity`."""

import itertools
from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from lnlab.analysis.stats import Interval, paired_difference
from lnlab.report import beside, effects, figures, matched_rates, output, style, tables
from lnlab.report.best_rates import MAIN
from lnlab.report.cells import counted, paired
from lnlab.report.evidence import Array, Data, Missing
from lnlab.report.sensitivity import effects_by, rate_lines, whole_seeds

LONG = "long"
DOCUMENTS = 2000  # episodes of the documents' runs
WINDOW = 200  # episodes: the last tenth of those, and as many wherever returns at two moments are compared
PANELS = {"return": "return, last tenth", "value-loss": "value loss, %", "sampled": "test return, sampled"}
EFFECT = ["outcome", "algorithm", "core"]
TRENDS = ("return", "sampled")  # outcomes in units of reward, whose effects can be subtracted
READING = {
    (1, -1): "better (by less than before)",
    (1, 0): "better",
    (1, 1): "better (by more than before)",
    (0, -1): "faster",
}  # signs of the effect at the end and of its change


def in_short(rates: Any, rows: Any, workers: Any) -> output.Text:
    """A line each agent and setting, from what `beside.attempt` found of rates, `lengths` and workers."""
    lines = [
        *(rate_lines(rates) if isinstance(rates, pd.DataFrame) else []),
        *(_matched_lines(rates) if isinstance(rates, pd.DataFrame) else []),
        *(length_lines(rows) if isinstance(rows, pd.DataFrame) else []),
        *(worker_lines(workers) if isinstance(workers, pd.DataFrame) else []),
    ]
    return output.Text("\n".join(f"- {line}" for line in lines) or "This report has no runs with other settings.")


def _matched_lines(rates: pd.DataFrame) -> list[str]:
    try:
        return matched_rates.lines(matched_rates.factors(rates))
    except Missing:
        return []


# -- more episodes --------------------------------------------------------------------------------------------------


def before(ends: NDArray[np.int64], values: Array, episode: int) -> Array:
    """(n_seeds,) mean over the last WINDOW episodes up to `episode`, from a curve (n_seeds, n_points) of blocks.

    Raises:
        Missing: the curve does not reach that far, or its blocks are longer.
    """
    inside = (ends > episode - WINDOW) & (ends <= episode)
    if ends[-1] < episode or not inside.any():
        raise Missing(f"needs a curve of {episode} episodes in blocks of at most {WINDOW}; it ends at {ends[-1]}")
    return np.asarray(values[:, inside].mean(axis=1))


def lengths(data: Data) -> pd.DataFrame:
    """LayerNorm minus no norm on the return of the long runs: after the documents' 2000 episodes, at the end, change.

    Columns algorithm, core, after (episodes; 0 is the change), estimate, low, high, n.

    Raises:
        Missing: no pair of long runs is complete.
    """
    long = data.of(LONG)
    there = {run.id: beside.settings(run) for run in long.main.runs if run.complete}
    rows = []
    for name, config in there.items():
        other = name.replace("-none", "-ln")
        if config.norm == "none" and other in there and config.episodes > DOCUMENTS:
            both = [long.curve(each, "return") for each in (other, name)]
            early, late = ([before(*each, episode) for each in both] for episode in (DOCUMENTS, config.episodes))
            gains = [np.subtract(*paired(*arms)) for arms in (early, late)]
            found = {DOCUMENTS: _mean(gains[0]), config.episodes: _mean(gains[1]), 0: _mean(gains[1] - gains[0])}
            rows += [(config.algorithm, config.core, after, *each) for after, each in found.items()]
    if not rows:
        raise Missing(
            f"needs a pair of runs of the profile {LONG!r} with and without LayerNorm, of over {DOCUMENTS} episodes"
        )
    return pd.DataFrame(rows, columns=["algorithm", "core", "after", "estimate", "low", "high", "n"])


def _mean(differences: Array) -> Interval:
    return paired_difference(differences, np.zeros_like(differences))


def reading(end: Any, change: Any) -> str:
    """Whether LayerNorm learns faster or better, from its effect at the end and the change of the effect.

    >>> reading(Interval(0.1, -1, 1, 9), Interval(-5, -6, -4, 9)), reading(Interval(3, 2, 4, 9), Interval(0, -1, 1, 9))
    ('faster', 'better')
    """
    return READING.get((_sign(end), _sign(change)), "open" if _sign(end) >= 0 else "worse")


def _sign(found: Any) -> int:
    return int(found.low > 0) - int(found.high < 0)


def length_lines(rows: pd.DataFrame) -> list[str]:
    """How LayerNorm learns, faster or better, in a sentence each agent."""
    return [
        f"{agent} with LayerNorm learns {word} at {MAIN}: its lead in training return is {tables.words(early)} "
        f"after {early.after} episodes and {tables.words(late)} after {late.after} (means of {WINDOW} episodes; "
        f"n = {late.n})."
        for agent, (early, late, _), word in agents(rows)
    ]


def agents(rows: pd.DataFrame) -> Iterator[tuple[str, list[Any], str]]:
    """Each agent of `lengths`: its name, its three rows, and how LayerNorm learns."""
    for (algorithm, core), mine in rows.groupby(["algorithm", "core"], sort=False):
        three = list(mine.itertuples())
        yield f"{style.ALGORITHM_LABEL[algorithm]} {style.CORE_LABEL[core]}", three, reading(*three[1:])


def length_table(rows: pd.DataFrame) -> output.TableOutput:
    """Faster or better: the effect on the return after 2000 episodes and at the end of the long runs."""
    end = rows.after.max()
    heads = [f"after {DOCUMENTS}", f"after {end}", "change"]
    shown = [
        {"agent": agent, **dict(zip(heads, map(tables.words, three), strict=True)), "LayerNorm learns": word}
        for agent, three, word in agents(rows)
    ]
    caption = (
        f"LayerNorm minus no norm on the return of {WINDOW} episodes, in the same runs after {DOCUMENTS} and after "
        f"{end} episodes per worker; paired over n = {counted(rows.n)} seeds, 95 % intervals. Better: still ahead at "
        "the end. Faster: not clearly ahead any more, and the lead has shrunk."
    )
    return output.table("length", pd.DataFrame(shown), caption=caption, data=rows)


def long_rows(data: Data) -> pd.DataFrame:
    """The table `curves` of the long runs. Raises Missing where there is none."""
    return tables.in_order(data.of(LONG).main.table("curves"))


def long_curves(rows: pd.DataFrame) -> output.FigureOutput:
    """Learning curves of the long runs."""
    means = figures.band(rows, "return")
    last = means[means.episode == means.episode.max()]
    ends = "; ".join(f"{arm} {mean:.3g}" for arm, mean in zip(tables.arms(last), last["mean"], strict=True))
    caption = (
        f"Return over {means.episode.max()} episodes per worker: each seed thin (mean of its workers), their mean "
        f"thick, its pointwise 95 % interval shaded; n = {counted(means.n)} seeds per arm."
    )
    drawn = figures.learning_curves(rows, "return", "return per episode")
    alt = f"Learning curves; in the last block of episodes: {ends}."
    return output.figure("long", drawn, alt=alt, caption=caption, data=means)


def length_tests(every: pd.DataFrame) -> output.TableOutput:
    """The effect after the documents' training and after the long one, each at its end, from scores by episodes."""
    rows = effects_by(every, "episodes")
    rows = rows[rows.outcome.isin(["return", "sampled", "greedy"])]
    what = [f"{outcome}, after {episodes}" for outcome, episodes in zip(rows.outcome, rows.episodes, strict=True)]
    shown = tables.pivot_words(rows.assign(agent=tables.pairs(rows), what=what), ["agent"], "what")
    caption = (
        "LayerNorm minus no norm after as many episodes of training, on the return at its end (last tenth of the "
        "episodes) and on the test return (18 scenarios, cloud budget); paired by seed, 95 % intervals; "
        f"n = {counted(rows.n)} seeds."
    )
    return output.table("length-tests", shown.fillna("n/a"), caption=caption, data=rows)


# -- other numbers of workers ---------------------------------------------------------------------------------------


def worker_figure(every: pd.DataFrame) -> output.FigureOutput:
    """The effect of LayerNorm by the number of workers, from scores by workers."""
    rows = effects_by(every, "workers")
    named = rows.assign(norm="ln", name=_names(rows))
    panels = {title: named[named.outcome == outcome] for outcome, title in PANELS.items()}
    words = "; ".join(f"{row.name_} {tables.words(row)}" for row in _of(named, "return"))
    caption = (
        "LayerNorm minus no norm by the number of workers: returns in units of reward, value loss in percent; paired "
        f"over n = {counted(rows.n)} seeds, 95 % intervals."
    )
    drawn = figures.intervals(panels, "difference", zero=True)
    return output.figure("workers", drawn, alt=f"Effect on the return: {words}.", caption=caption, data=rows)


def _names(rows: pd.DataFrame) -> list[str]:
    return [f"{style.ALGORITHM_LABEL[a]} {k} workers" for a, k in zip(rows.algorithm, rows.workers, strict=True)]


def _of(named: pd.DataFrame, outcome: str) -> Any:
    return named[named.outcome == outcome].rename(columns={"name": "name_"}).itertuples()


def trends(every: pd.DataFrame) -> pd.DataFrame:
    """The effect of LayerNorm with each number of workers minus that with the next smaller one, paired by seed.

    Columns outcome, algorithm, core, few, many, estimate, low, high, n. Steps, since the effect need not rise or fall
    throughout.

    Raises:
        Missing: there is one number of workers only.
    """
    rows = []
    for (outcome, algorithm, core), mine in every[every.outcome.isin(TRENDS)].groupby(EFFECT, sort=False):
        both = mine[mine.groupby("workers").norm.transform("nunique") == 2]
        for few, many in itertools.pairwise(sorted(both.workers.unique())):
            wide = whole_seeds(both[both.workers.isin([few, many])], ["workers", "norm"], f"the outcome {outcome!r}")
            if len(wide) > 1:
                larger, smaller = ((wide[each, "ln"] - wide[each, "none"]).to_numpy() for each in (many, few))
                rows.append((outcome, algorithm, core, few, many, *paired_difference(larger, smaller)))
    if not rows:
        raise Missing("needs the arms with and without LayerNorm for two numbers of workers, over two seeds")
    return pd.DataFrame(rows, columns=[*EFFECT, "few", "many", "estimate", "low", "high", "n"])


def worker_lines(every: pd.DataFrame) -> list[str]:
    """How the effect on the return changes with the number of workers, in a sentence each agent."""
    try:
        found = trends(every)
    except Missing:
        return []
    levels = effects_by(every, "workers").query("outcome == 'return'").set_index(["algorithm", "core"])
    return [
        _by_workers(tables.pairs(steps)[0], steps, levels.loc[[key]])
        for key, steps in found[found.outcome == "return"].groupby(["algorithm", "core"], sort=False)
    ]


def _by_workers(agent: str, steps: pd.DataFrame, levels: pd.DataFrame) -> str:
    each = [f"{tables.words(row)} with {row.workers}" for row in levels.itertuples()]
    changes = [f"{tables.words(step)} from {step.few} to {step.many}" for step in steps.itertuples()]
    return (
        f"LayerNorm changes the return of {agent} by {effects.listed(each)} workers; this effect changes by "
        f"{effects.listed(changes)} (n = {counted([*steps.n, *levels.n])})."
    )


def worker_table(every: pd.DataFrame) -> output.TableOutput:
    """How LayerNorm's effect changes with the number of workers. Raises Missing as `trends` does."""
    found = trends(every)
    shown = pd.DataFrame(
        {
            "outcome": found.outcome.map(PANELS),
            "agent": tables.pairs(found),
            "workers": [f"{row.many} against {row.few}" for row in found.itertuples()],
            "change of the effect": [tables.words(row) for row in found.itertuples()],
        }
    )
    caption = (
        "How much more LayerNorm gives with more workers: its effect with one number of workers minus its effect with "
        f"the next smaller one, paired over n = {counted(found.n)} seeds, 95 % intervals."
    )
    return output.table("worker-trend", shown, caption=caption, data=found)
