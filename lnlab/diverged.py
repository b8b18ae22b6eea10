"""Seeds that diverged: which, when, and how pages read them.

A learner diverges when its value loss or its gradient is no longer finite. It is frozen from then on and stays in all
results; book/methods.md has the rule (*Runs that fail, seeds that diverge*). Tables on disk stay as they were written.
"""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnlab.analysis.metrics import FAILED_LOSS, LOSSES, with_failure_scores
from lnlab.runs import Run, Study

WATCHED = [*LOSSES, "policy_loss", "entropy", "return", "grad_norm"]  # of the curves
WORDS = {"value_loss_all": "value loss", "grad_norm": "gradient", "alive": "gradient", "critic_loss": "value loss"}


class Divergence(NamedTuple):
    """When a learner diverged, and what was not finite; of a run's provenance (`lnlab.trainers.divergence`)."""

    seed: int
    worker: int  # −1 where no single one can be told
    episode: int  # of training
    what: str
    step: int | None = None  # of the environment, for TD3 and DDPG


def divergences(run: Run) -> list[Divergence]:
    """The learners of a complete run that diverged, by seed: as the run has noted it, else from its tables."""
    run = Run(run.dir)  # its tables as they were written
    noted = run.provenance.get("diverged")
    if noted is not None:
        return [Divergence(**each) for each in noted]
    name, find = ("curves", _in_curves) if run.config.ROWS == "episodes" else ("records", _in_records)
    return sorted(find(run)) if (run.dir / f"{name}.parquet").exists() else []


def _in_curves(run: Run) -> Iterator[Divergence]:
    """The workers of a seed share a learner in A3C: it is named once, by a worker whose numbers gave out."""
    curves = run.table("curves")
    lost = ~np.isfinite(curves[[name for name in WATCHED if name in curves]])
    rows = curves.assign(numbers=lost.any(axis=1), what=lost.idxmax(axis=1).where(lost.any(axis=1), "alive"))
    rows = rows[rows.numbers | (curves.get("alive", 1.0) < 1)]
    rows = rows.sort_values(["numbers", "worker"], ascending=[False, True])
    learner = ["seed"] if run.config.algorithm == "a3c" else ["seed", "worker"]
    for row in rows.sort_values("episode", kind="stable").drop_duplicates(learner).itertuples():
        yield Divergence(row.seed, row.worker, min(row.episode, _died(run, row.seed, row.worker)), _words(row.what))


def _died(run: Run, seed: int, worker: int) -> float:
    """The episode from which a learner was frozen, to the episode; curves tell the end of a block only."""
    rows = run.table("metrics")
    rows = rows[(rows.seed == seed) & (rows.worker == worker) & (rows.quantity == "died_first")]
    return int(rows.value.iloc[0]) if rows.value.notna().any() else np.inf


def _in_records(run: Run) -> Iterator[Divergence]:
    rows, played = run.table("records").sort_values("step"), run.table("returns")
    lost = ~np.isfinite(rows.critic_loss) & (rows.updates > 0)
    rows = rows.assign(what=np.where(rows.alive, "critic_loss", "alive"))[lost | ~rows.alive.astype(bool)]
    for row in rows.drop_duplicates("seed").itertuples():
        before = int(((played.seed == row.seed) & (played.step < row.step)).sum())
        yield Divergence(row.seed, -1, before, _words(row.what), row.step)


def _words(column: str) -> str:
    return WORDS.get(column, column.replace("_", " "))


class Scored(Run):
    """A run as pages read it: a number that a diverged seed lacks has its failure score."""

    def table(self, name: str) -> pd.DataFrame:
        """As of any run, but for what is not finite of diverged seeds.

        A value loss has the failure score of `lnlab.analysis.metrics`. What TD3 and DDPG record of a frozen learner
        keeps its last value: the learner does not change any more.
        """
        rows = super().table(name)
        if name not in ("metrics", "curves", "records"):
            return rows
        seeds = {each.seed for each in divergences(self)}
        if not seeds:
            return rows
        if name == "metrics":
            return with_failure_scores(rows, self.config, seeds)
        lost: pd.Series = rows.seed.isin(seeds)
        instead: Any = {each: FAILED_LOSS for each in LOSSES if each in rows}
        if name == "records":
            lost &= ~rows.alive.astype(bool)
            instead = rows.select_dtypes("number").replace([np.inf, -np.inf], np.nan).groupby(rows.seed).ffill()
        masked = {each: rows[each].mask(lost & ~np.isfinite(rows[each]), instead[each]) for each in instead}
        return rows.assign(**masked)


def scored(study: Study) -> Study:
    """The runs of a study that are complete and whole, as pages read them."""
    return Study(study.dir, [Scored(run.dir) for run in study.runs if run.whole])


def note(runs: Iterable[Run]) -> str:
    """A Markdown note that names run, seed, worker and episode of every learner that diverged; "" if none did."""
    lines = [f"- `{run.id}`: {sentence(run)}." for run in runs if divergences(run)]
    if not lines:
        return ""
    rule = "They are frozen from then on and stay in all results; {doc}`/methods` tells how they count."
    return "\n".join([":::{admonition} Seeds that diverged", ":class: warning", *lines, "", rule, ":::"])


def sentence(run: Run) -> str:
    """The learners of a run that diverged, in words; "" if none did."""
    words = []
    for seed, worker, episode, what, step in divergences(run):
        who = f"seed {seed}, worker {worker}" if worker >= 0 else f"seed {seed}"
        when = f"episode {episode}" if step is None else f"episode {episode} (step {step:,})"
        words.append(f"{who}, {when}: {what} not finite")
    return "; ".join(words)
