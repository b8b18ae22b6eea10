"""A table of scores in place of runs, so that rows of evidence speak of other people's runs too."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from lnlab.analysis.choice import judged_apart
from lnlab.claims.names import plain
from lnlab.claims.studies import Array, Data, Missing, defined
from lnlab.runs import Run, Study

BEST = "its own best setting"


@dataclass(frozen=True)
class Scores(Data):
    """Scores by arm; `score` and `score_above` are all that is measured of them.

    An arm is called by its name in the table, or `TASK/ARM` where there are several tasks. Where it ran at several
    settings, `ARM@SETTING` is the arm at one of them, and `ARM` at its own best, chosen on one half of the seeds and
    judged on the other.
    """

    cells: Mapping[str, Array] = field(default_factory=dict, repr=False)  # by arm (n_seeds,)
    parts: Mapping[str, Mapping[str, str]] = field(default_factory=dict, repr=False)  # what readers call its parts

    @classmethod
    def of(cls, table: pd.DataFrame, where: Path) -> "Scores":
        """From columns task, setting, arm, seed, score, as `lnlab.compare.scores.read` gives them.

        Arms are paired by row. Rows are seeds: those that most arms have first, so that those of any two arms are the
        same for as long as both have some. Where no such order is, seeds that not all arms have are left out.
        """
        several = table.task.nunique() > 1
        wide = {
            (f"{task}/{arm}" if several else str(arm), str(task), str(arm)): part.pivot(
                index="seed", columns="setting", values="score"
            ).dropna()
            for (task, arm), part in table.groupby(["task", "arm"], sort=False)
        }
        order = _order([each.index for each in wide.values()])
        cells, parts = dict[str, Array](), dict[str, Mapping[str, str]]()
        for (name, task, arm), scores in wide.items():
            scores = scores.loc[[seed for seed in order if seed in scores.index]]
            values, one = scores.to_numpy(float), scores.shape[1] == 1
            cells[name] = judged_apart(values) if len(values) > 1 else values[:, 0]
            parts[name] = {"arm": arm, "task": task, "setting": "" if one else BEST}
            for setting in () if one else scores.columns:
                at = plain(f"{name}@{setting}")
                cells[at] = scores[setting].to_numpy(float)
                parts[at] = {"arm": arm, "task": task, "setting": str(setting)}
        return cls(Study(where, []), cells=cells, parts=parts)

    def score(self, arm: str) -> Array:
        """(n_seeds,)"""
        if self._needs:
            wanted = ", ".join(f"{name} = {value}" for name, value in self._needs)
            raise Missing(f"needs runs with {wanted}, and a table of scores tells no settings")
        arm = plain(arm)
        if arm not in self.cells:
            raise Missing(f"needs scores of {arm}, which are not there")
        self._used.append(arm)
        return defined(self.cells[arm], f"scores of {arm}")

    def seed_by_seed(self, arm: str) -> None:
        """Refused at an arm's own best setting: there scores are averages over choices, good for a mean alone."""
        if self.parts.get(arm, {}).get("setting") == BEST:
            raise Missing(f"needs one setting of {arm}, as in {arm}@SETTING")

    @property
    def paged(self) -> dict[str, str]:
        """No arm of a table has a page."""
        return {}

    def _found(self, arm: str) -> tuple[Run, str]:
        raise Missing(f"needs a run of {arm}, where there is a table of scores; of these only `score` is measured")


def _order(seeds: list[pd.Index]) -> list[object]:
    """Seeds of all arms in the order in which arms are paired."""
    having = pd.Series([seed for each in seeds for seed in each]).value_counts()
    order = sorted(having.index, key=lambda seed: (-having[seed], seed))
    if all(set(order[: len(each)]) == set(each) for each in seeds):
        return order
    return [seed for seed in order if having[seed] == len(seeds)]
