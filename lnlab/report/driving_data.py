"""The TD3 and DDPG runs behind D5: arms by name, their tables as arrays with one row a seed, and D5's own definitions.

An arm is found by its settings, not by its run id, so that a report with another batch size or fewer steps has the same
arms. The runs lie in the main study of a report if that holds any, else in the study `driving` beside it. Checked
against arithmetic by hand on made tables (tests/test_d5.py).
"""

import functools
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from lnlab.config import EXTENT, TD3Config
from lnlab.report.evidence import DRIVING, Array, Data, Missing
from lnlab.runs import Run

ENV = "lnlab/Driving-v0"
PREFIXES = ("td3-", "ddpg-")
FREE = EXTENT | {"learning_starts", "batch_size", "capacity", "eval_every", "early_stopping"}  # not what an arm is
PHASES = ("random", "mixed", "policy")
PRINTED_STEPS, PRINTED_START = 5000, 1000  # of D5's run: environment steps, those before learning
LOGGED = 29  # updates that D5 summarises: one every 100 steps, the first 29 after learning began
FIRST, LAST = 7, 8  # of these 29: D5's trend is the mean of the last eight over that of the first seven
END = 0.25  # share of the logged updates over which the late values of a run are averaged
LATE = "last quarter of the logged updates"  # the same in words


class Arm(NamedTuple):
    """One way to train: a name for readers, and the settings that differ from the original's without LayerNorm."""

    says: str
    settings: dict[str, Any]


ARMS = {
    "none-leaky": Arm("no norm, leaky", {"norm": "none"}),
    "ln-leaky": Arm("LayerNorm, leaky", {"norm": "ln"}),
    "none-detached": Arm("no norm, detached", {"norm": "none", "actor_features": "detached"}),
    "ln-detached": Arm("LayerNorm, detached", {"norm": "ln", "actor_features": "detached"}),
    "activation": Arm("no norm, leaky, final activation", {"norm": "none", "final_activation": "leaky_relu"}),
    "norm-only": Arm("LayerNorm, leaky, no final activation", {"norm": "ln", "final_activation": "linear"}),
    "output": Arm("LayerNorm on the output only, leaky", {"norm": "ln_output"}),
    "none-slow": Arm("no norm, leaky, rate 3e-4", {"norm": "none", "lr": 3e-4}),
    "ln-slow": Arm("LayerNorm, leaky, rate 3e-4", {"norm": "ln", "lr": 3e-4}),
    "small-init": Arm("no norm, leaky, small final weights", {"norm": "none", "final_init": "small"}),
    "ddpg-none": Arm("DDPG, no norm, leaky", {"algorithm": "ddpg", "norm": "none"}),
    "ddpg-ln": Arm("DDPG, LayerNorm, leaky", {"algorithm": "ddpg", "norm": "ln"}),
}
MAIN = ("none-leaky", "ln-leaky", "none-detached", "ln-detached")
ORIGINAL = ("none-leaky", "ln-leaky")  # the two runs that D5 compares: before and after its fix
LEVELS = [("none", "ln"), ("leaky", "detached")]  # low and high level of the factors, for `factorial_weights`


class Logged(NamedTuple):
    """A column of the records at the updates that were logged."""

    updates: Array  # (n_logs,) critic updates done, rising
    values: Array  # (n_seeds, n_logs)


class Extent(NamedTuple):
    """What arms must share to be compared."""

    batch_size: int
    steps: int
    learning_starts: int


class Driving:
    """The complete runs of one extent, by arm; of several extents the one that most arms have, then the longest."""

    def __init__(self, data: Data, runs: dict[str, Run], extent: Extent) -> None:
        self.data, self.runs, self.extent = data, runs, extent

    @classmethod
    def of(cls, data: Data) -> "Driving":
        """The runs that a report has.

        Raises:
            Missing: it has none.
        """
        there = data if any(run.id.startswith(PREFIXES) for run in data.main.runs) else data.of(DRIVING)
        found = [(arm, run) for run in there.main.runs if (arm := arm_of(run)) and run.complete]
        if not found:
            raise Missing(f"needs a run of TD3 in the profile {there.main.dir.name!r}, which has none that is complete")
        extents = Counter(extent_of(run) for _, run in found)
        extent = max(extents, key=lambda each: (extents[each], each.steps))
        return cls(there, {arm: run for arm, run in found if extent_of(run) == extent}, extent)

    @property
    def as_printed(self) -> bool:
        """Whether the runs are as long as D5's, so that printed levels of the end may stand beside theirs."""
        return (self.extent.steps, self.extent.learning_starts) == (PRINTED_STEPS, PRINTED_START)

    def run(self, arm: str) -> Run:
        """The run of an arm. Raises Missing where there is none."""
        if arm not in self.runs:
            raise Missing(f"needs the TD3 run of the arm {ARMS[arm].says!r}, which is not there")
        return self.data.run(self.runs[arm].id)

    def arms(self, wanted: Sequence[str] = tuple(ARMS)) -> list[str]:
        """Those of the wanted arms that are there, in their order."""
        return [arm for arm in wanted if arm in self.runs]

    def seeds(self, arm: str) -> int:
        return int(self.table(arm, "records").seed.nunique())

    def table(self, arm: str, name: str) -> pd.DataFrame:
        """records, returns, checks or drives of an arm."""
        return self.data.table(self.run(arm).id, name)

    def whole(self, arm: str, column: str) -> Logged:
        """A column of the records from the first step at which it is defined; its updates are 0 before learning.

        Raises:
            Missing: it is not there, or not defined for every seed.
        """
        rows = _column(self.table(arm, "records"), column, arm)
        wide = rows.pivot(index="seed", columns="step", values=column).sort_index(axis=1)
        wide = wide.loc[:, wide.notna().any()]
        updates = rows.groupby("step").updates.max().fillna(0).loc[wide.columns]
        return Logged(updates.to_numpy(float), _finite(wide.to_numpy(float), f"{column} of {ARMS[arm].says}"))

    def logged(self, arm: str, column: str, last: int | None = None) -> Logged:
        """A column of the records at the logged updates, all of them or the first `last`."""
        updates, values = self.whole(arm, column)
        learning = updates > 0
        if not learning.any():
            raise Missing(f"needs {column} of {ARMS[arm].says} after an update; the run ended before learning")
        return Logged(updates[learning][:last], values[:, learning][:, :last])

    def window(self, arm: str, column: str) -> Array:
        """(n_seeds, n_logs) at the updates that D5 summarises.

        Raises:
            Missing: there are too few for its first seven and last eight.
        """
        values = self.logged(arm, column, LOGGED).values
        if values.shape[1] < FIRST + LAST:
            raise Missing(f"needs {FIRST + LAST} logged updates of {ARMS[arm].says}; there are {values.shape[1]}")
        return values

    def by_phase(self, arm: str, phase: str, column: str = "return") -> Array:
        """(n_seeds,) mean over the training episodes of a phase: random, mixed or policy.

        Raises:
            Missing: a seed has no such episode.
        """
        rows = self.table(arm, "returns")
        means = rows[rows.phase == phase].groupby("seed")[column].mean().reindex(sorted(rows.seed.unique()))
        return _finite(means.to_numpy(float), f"episodes of phase {phase!r} of {ARMS[arm].says}")

    def episodes(self, arm: str, column: str = "return") -> list[Array]:
        """A column of the training episodes in their order, one array a seed."""
        rows = self.table(arm, "returns").sort_values(["seed", "episode"])
        return [each.to_numpy(float) for _, each in rows.groupby("seed")[column]]

    def greedy(self, arm: str, column: str = "return") -> Array:
        """(n_seeds,) mean over the episodes of the last greedy test."""
        rows = self.table(arm, "checks")
        means = rows[rows.step == rows.step.max()].groupby("seed")[column].mean().sort_index()
        return _finite(means.to_numpy(float), f"greedy tests of {ARMS[arm].says}")


# -- arms -----------------------------------------------------------------------------------------------------------
def arm_of(run: Run, **but_for: Any) -> str:
    """Name of the arm that a run is, or would be with other values of the settings `but_for`; "" if none of D5's."""
    if not isinstance(run.config, TD3Config):
        return ""
    return _names().get(_kind(run.config.model_copy(update=but_for)), "")


def extent_of(run: Run) -> Extent:
    config = run.config
    assert isinstance(config, TD3Config)
    return Extent(config.batch_size, config.steps, config.learning_starts)


@functools.cache
def _names() -> dict[frozenset[tuple[str, Any]], str]:
    return {_kind(TD3Config(**arm.settings)): name for name, arm in ARMS.items()}


def _kind(config: TD3Config) -> frozenset[tuple[str, Any]]:
    """The settings that make an arm; the final activation as it is, however it was asked for."""
    kept = {name: value for name, value in config.science.items() if name not in FREE}
    return frozenset((kept | {"final_activation": config.activation}).items())


# -- what is computed of a column ------------------------------------------------------------------------------------
def end(values: Array) -> Array:
    """(n_seeds,) mean over the last quarter of the logged updates (n_seeds, n_logs), at least one."""
    return np.asarray(values[:, -max(1, round(END * values.shape[1])) :].mean(axis=1))


def trend(values: Array) -> Array:
    """(n_seeds,) D5's trend as a ratio: mean of the last eight over the mean of the first seven of its window.

    >>> trend(np.array([[1.0] * 7 + [5.0] * 14 + [3.0] * 8])).tolist()
    [3.0]
    """
    return np.asarray(values[:, -LAST:].mean(axis=1) / values[:, :FIRST].mean(axis=1))


def quarters(values: Array) -> list[Array]:
    """The episodes (n,) of a run in D5's four slices, [int(n k / 4) : int(n (k + 1) / 4)].

    >>> [len(each) for each in quarters(np.zeros(187))]
    [46, 47, 47, 47]
    """
    ends = [int(len(values) * k / 4) for k in range(5)]
    return [values[a:b] for a, b in itertools.pairwise(ends)]


def quarter_moments(episodes: Sequence[Array]) -> tuple[Array, Array]:
    """Mean and standard deviation (ddof 0, as D5) of each quarter of each seed: two (n_seeds, 4).

    Raises:
        Missing: a seed has fewer than four episodes.
    """
    if min(map(len, episodes)) < 4:
        raise Missing("needs four training episodes of every seed; there are fewer")
    parts = [quarters(each) for each in episodes]
    means = np.array([[part.mean() for part in seed] for seed in parts])
    return means, np.array([[part.std() for part in seed] for seed in parts])


class Growth(NamedTuple):
    """Two laws fitted to the logarithm of a quantity, a value a seed."""

    exponent: Array  # (n_seeds,) k of updates^k, the slope on doubly logarithmic axes
    power: Array  # (n_seeds,) R² of that line
    exponential: Array  # (n_seeds,) R² of the line of log value against updates


def growth_law(logged: Logged, start: float = 0.0) -> Growth:
    """Least squares on log10 |value|, from the share `start` of the last update on; R² is NaN for a constant.

    Raises:
        Missing: fewer than two logged updates are left, or a value is zero.
    """
    chosen = logged.updates > start * logged.updates[-1]
    updates, values = logged.updates[chosen], np.abs(logged.values[:, chosen])
    if len(updates) < 2 or not (values > 0).all():
        raise Missing("needs a growth exponent: two logged updates or more, none of them with a value of zero")
    y, power = np.log10(values), np.log10(updates)
    return Growth(_slope(power, y), _squared_correlation(power, y), _squared_correlation(updates, y))


def _slope(x: Array, y: Array) -> Array:
    """(n_seeds,) least-squares slope of y (n_seeds, n) on x (n,)."""
    centred = x - x.mean()
    return np.asarray(y @ centred / (centred @ centred))


def _squared_correlation(x: Array, y: Array) -> Array:
    """(n_seeds,) R² of the least-squares line."""
    a, b = x - x.mean(), y - y.mean(axis=1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray((b @ a) ** 2 / ((a @ a) * (b**2).sum(axis=1)))


def one_q(arm: str) -> bool:
    """Whether the Q that the actor maximises is the critic's by construction: detached arms compute it from the same
    features and actions."""
    return ARMS[arm].settings.get("actor_features") == "detached"


def feature_growth(runs: Driving, arm: str, column: str = "actor_feature_norm_probe") -> Array:
    """(n_seeds,) log10 of a feature norm at the last record over that at the first."""
    values = runs.whole(arm, column).values
    return np.asarray(np.log10(values[:, -1] / values[:, 0]))


def inflation(runs: Driving, arm: str) -> Array:
    """(n_seeds,) log10 of |the Q that the actor maximises| over |Q of the same actions on the critic's features|.

    Means of the absolute values over the last quarter of the logged updates.

    Raises:
        ValueError: both are one by construction in this arm, which no run can tell.
    """
    if one_q(arm):
        raise ValueError(f"{ARMS[arm].says}: the actor's Q is the critic's by construction")
    actor, critic = (np.abs(runs.logged(arm, f"{who}_q").values) for who in ("actor", "critic"))
    return np.asarray(np.log10(end(actor) / end(critic)))


def late_exponent(runs: Driving, arm: str, column: str = "actor_feature_norm_probe") -> Array:
    """(n_seeds,) growth exponent over the second half of the updates: 0 where growth has ended."""
    return growth_law(runs.logged(arm, column), 0.5).exponent


def _column(rows: pd.DataFrame, column: str, arm: str) -> pd.DataFrame:
    if column not in rows or rows[column].isna().all():
        raise Missing(f"needs {column} of {ARMS[arm].says}, which was not recorded")
    return rows[["seed", "step", "updates", column]]


def _finite(values: Array, what: str) -> Array:
    """The values of two seeds or more, all of them finite."""
    if len(values) < 2:
        raise Missing(f"needs {what} over two seeds or more; there are {len(values)}")
    if not np.isfinite(values).all():
        raise Missing(f"needs {what}, which is not there or not finite for every seed")
    return values
