"""Watching a TD3 run: alerts, and early stopping.

The document asks for three alerts. In its own run without LayerNorm, where features reached 7e12, none of them fires
(book/claims/d5-original.csv has the few published numbers of that run and of the one with LayerNorm). The rules that
would have caught it compare quantities that must agree, or ask whether the policy can still learn.
"""

import tomllib
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import pandas as pd

from lnlab.paths import PACKAGE

WINDOW = 100  # episodes whose mean return early stopping follows
Row: TypeAlias = Mapping[str, Any] | pd.DataFrame  # a row of numbers, or a table of them


def _td_error(row: Row, before: Row) -> Any:
    return np.fmax(row["td_error_1"], row["td_error_2"])  # DDPG has no second critic: NaN there


def _ratio(row: Row, before: Row) -> Any:
    """|actor_q| over |critic_q|, or over the spread of Q in the batch where the mean happens to lie near zero."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.divide(np.abs(row["actor_q"]), np.fmax(np.abs(row["critic_q"]), row["q1_std"]))


def _growth(row: Row, before: Row) -> Any:
    actor, critic = (np.divide(row[f"{who}_feature_norm_probe"], before[f"{who}_feature_norm_probe"]) for who in WHO)
    return np.fmax(actor, critic)


WHO = ("actor", "critic")
MEASURES: dict[str, Callable[[Row, Row], Any]] = {
    "td_error": _td_error,
    "actor_critic_ratio": _ratio,
    "feature_growth": _growth,
    "diverged": lambda row, before: 1.0 - row["alive"],
    "q_bound": lambda row, before: np.divide(row["q_max"], row["q_bound"]),
}


class Rule(NamedTuple):
    """An alert of lnlab/alerts.toml: fires where its measure of a row, and of the values before learning, passes."""

    name: str
    columns: list[str]  # of the table `records` or `returns`, all it needs
    limit: float
    reason: str
    below: bool = False  # fires under the limit, not over it
    published: bool = False  # the document's own

    def fires(self, row: Row, before: Row) -> Any:
        """Whether the rule fires, for one row or for each of a table; a missing number never fires."""
        value = MEASURES[self.name](row, before) if self.name in MEASURES else row[self.columns[0]]
        return value < self.limit if self.below else value > self.limit


_rows = tomllib.loads((PACKAGE / "alerts.toml").read_text(encoding="utf-8"))
RULES = {name: Rule(name, **row) for name, row in _rows.items()}


def alerts(row: Mapping[str, Any], before: Mapping[str, Any] | None = None) -> list[str]:
    """Names of the rules that fire on one row of `records` or `returns`.

    Args:
        row: numbers by column; rules about other columns stay silent.
        before: the seed's row of `records` from before learning; without it growth is not judged.

    >>> alerts({"step": 300, "return": -612.0})
    ['return']
    """
    before = before or dict.fromkeys(row, np.nan)
    return [name for name, rule in RULES.items() if set(rule.columns) <= set(row) and bool(rule.fires(row, before))]


def first_fired(*tables: pd.DataFrame) -> pd.DataFrame:
    """The first step at which each rule fired, by rule and seed.

    Args:
        tables: `records` and `returns`, with the rows of every seed in the order of steps; the values before learning
            are each seed's first.

    Returns:
        rule, seed, step (NaN: never); a rule whose columns no table has is left out.
    """
    rows = []
    for name, rule in RULES.items():
        for table in (each for each in tables if set(rule.columns) <= set(each)):
            before = table.groupby("seed")[rule.columns].transform("first")
            steps = table["step"].where(rule.fires(table, before)).groupby(table["seed"]).min()
            rows += [{"rule": name, "seed": seed, "step": step} for seed, step in steps.items()]
    return pd.DataFrame(rows, columns=["rule", "seed", "step"])


class EarlyStopping:
    """Says when the mean return of the last 100 episodes has stopped rising.

    The document looks every 100,000 steps whether that mean has fallen under its best by a threshold that it leaves
    open (10 in its plan); here a run ends once it has gained less than the threshold over as many steps.

    Args:
        patience_steps: environment steps without a gain after which to stop.
        min_gain: least rise of the mean that counts as a gain, in units of the return.
    """

    def __init__(self, patience_steps: int = 100_000, min_gain: float = 10.0) -> None:
        self.patience_steps, self.min_gain = patience_steps, min_gain
        self._recent: deque[float] = deque(maxlen=WINDOW)
        self._best, self._best_step = -np.inf, 0
        self.stopped = False  # once True, it stays so

    def add(self, step: int, episode_return: float) -> None:
        """Take in an episode that ended at `step`, and set `stopped` if the run should end there.

        A return that is not finite counts as an episode without a return: the mean is over the others.
        """
        self._recent.append(episode_return)
        if len(self._recent) < WINDOW:
            return
        finite = [each for each in self._recent if np.isfinite(each)]  # one NaN would hide a hundred episodes' gains
        if finite and (mean := float(np.mean(finite))) >= self._best + self.min_gain:
            self._best, self._best_step = mean, step
        self.stopped = self.stopped or step - self._best_step >= self.patience_steps

    def state_dict(self) -> dict[str, Any]:
        best = {"best": self._best, "best_step": self._best_step}
        return best | {"recent": list(self._recent), "stopped": self.stopped}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self._recent = deque(state["recent"], maxlen=WINDOW)
        self._best, self._best_step, self.stopped = state["best"], state["best_step"], state["stopped"]
