"""Seeds that diverged: which, when, and how pages read them.

A learner diverges when its value loss or its gradient is no longer finite. It is frozen from then on and stays in all
results; book/methods.md has the rule (*Runs that fail, seeds that diverge*). Tables on disk stay as they were written.
"""

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnlab.analysis.metrics import FAILED_LOSS, LOSSES, with_failure_scores
from lnlab.runs import Run, Study


class Divergence(NamedTuple):
    """When a learner diverged, and what was not finite; of a run's provenance (`lnlab.trainers.divergence`)."""

    seed: int
    worker: int  # −1 where no single one can be told
    episode: int  # of training
    what: str
    step: int | None = None  # of the environment, for TD3 and DDPG


def divergences(run: Run) -> list[Divergence]:
    """The learners of a run that diverged, in the order of its seeds."""
    return [Divergence(**each) for each in run.provenance.get("diverged", [])]


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
