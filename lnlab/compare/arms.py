"""Two arms by their scores: what changes at each setting, and with each arm at its own best one.

Arms are paired by seed, which is the unit of replication.
"""

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy.stats import t as student

from lnlab.analysis.choice import judged_apart
from lnlab.analysis.stats import (
    ROUNDING,
    Array,
    Interval,
    interval,
    min_max_ipr90,
    paired_difference,
    sign_flip_test,
    wilson,
)
from lnlab.config import ConfigError

LEVEL = 0.05  # of the tests together
FEWEST = 3  # seeds of a comparison
TESTABLE = 6  # seeds from which on a sign-flip test can reject at 5 %
SWAPS = 999  # random ones in a test
MOST = 100_000  # seeds that are still worth naming


class Comparison(NamedTuple):
    """What was found; each table has a row a task, and a row a setting or an arm where it says so."""

    new: str
    old: str
    effects: pd.DataFrame  # task, setting: new − old at each setting that both have; estimate, low, high, n, p
    tuned: pd.DataFrame  # task: the same with each arm at its own best setting, chosen on the other seeds
    arms: pd.DataFrame  # task, arm: best setting, score there with interval, failed (share, low, high), ipr90
    sensitivity: pd.DataFrame  # arm: Φ of Adkins et al. 2024, empty for one task or one setting
    margin: float | None

    def sentences(self) -> list[str]:
        """The answer, one sentence a task."""
        return [self._sentence(row) for row in self.tuned.itertuples()]

    def _sentence(self, row: Any) -> str:
        found = Interval(row.estimate, row.low, row.high, row.n)
        where = f" on {row.task}" if row.task else ""
        how = ", each at its own best setting" if row.settings > 1 else ""
        said = f"{found}, p = {row.p:.3g}".replace("-", "−")
        if row.decision == "alike":
            alike = f"{self.new} and {self.old} make no difference that matters{where}{how}"
            return f"{alike}: {said}, within ±{self.margin:g}."
        if row.decision in ("higher", "lower"):
            return f"{self.new} scores {row.decision} than {self.old}{where}{how}: {said}."
        more = "no number of seeds" if row.wanted > MOST else f"about {row.wanted:,} seeds"
        return (
            f"These runs cannot tell whether {self.new} scores higher or lower than {self.old}{where}{how}: {said}. "
            f"If the difference is what it seems, {more} would."
        )


def compare(
    scores: pd.DataFrame, new: str, old: str, *, margin: float | None = None, failed_below: float | None = None
) -> Comparison:
    """`new` against `old`, paired by seed.

    Args:
        scores: of `read` or `checked`.
        margin: the largest difference that does not matter, in units of the score.
        failed_below: a seed with a lower score failed; None is a quarter of the way from the lowest score of the task
            to the median of the better arm.

    Raises:
        ConfigError: there is no such arm, or the arms share fewer than three seeds in a task.
    """
    there = sorted(scores.arm.unique())
    for arm in (new, old):
        if arm not in there:
            raise ConfigError(f"there is no arm {arm!r}; there are {', '.join(there)}")
    effects, tuned = [], []
    arms: list[dict[str, Any]] = []
    for task, part in scores.groupby("task", sort=False):
        both = {arm: _wide(part[part.arm == arm]) for arm in (new, old)}
        seeds = both[new].index.intersection(both[old].index)
        if len(seeds) < FEWEST:
            raise ConfigError(
                f"{new} and {old} share {len(seeds)} seeds{f' on {task}' if task else ''} that ran at every setting; "
                f"at least {FEWEST} are wanted, and {len(seeds)} tell nothing of the spread"
            )
        both = {arm: wide.loc[seeds] for arm, wide in both.items()}
        for setting in both[new].columns.intersection(both[old].columns):
            x, y = both[new][setting].to_numpy(), both[old][setting].to_numpy()
            effects.append({"task": task, "setting": setting, **_difference(x, y)})
        best = {arm: judged_apart(wide.to_numpy()) for arm, wide in both.items()}
        x, y = both[new].to_numpy(), both[old].to_numpy()
        tuned.append(
            {
                "task": task,
                "settings": max(wide.shape[1] for wide in both.values()),
                **_difference(best[new], best[old]),
                "p": swap_test(x, y),
                "decision": decided(x, y, margin=margin),
                "wanted": max(seeds_wanted(best[new] - best[old]), len(seeds) + 1),
            }
        )
        arms += _summaries(str(task), {arm: (both[arm], best[arm]) for arm in both}, failed_below)
    return Comparison(
        new, old, pd.DataFrame(effects), pd.DataFrame(tuned), pd.DataFrame(arms), sensitivity(scores), margin
    )


def _wide(part: pd.DataFrame) -> pd.DataFrame:
    """A row a seed that ran at every setting of its arm, a column a setting."""
    return part.pivot(index="seed", columns="setting", values="score").dropna()


def _difference(x: Array, y: Array) -> dict[str, float]:
    return paired_difference(x, y)._asdict() | {"p": sign_flip_test(x, y)}


def _summaries(
    task: str, both: dict[str, tuple[pd.DataFrame, Array]], failed_below: float | None
) -> Iterator[dict[str, Any]]:
    """Level, failures and spread of each arm at its best setting over all seeds."""
    everything = np.concatenate([wide.to_numpy().ravel() for wide, _ in both.values()])
    lowest, highest = float(everything.min()), float(everything.max())
    if failed_below is None:
        failed_below = lowest + (max(float(np.median(best)) for _, best in both.values()) - lowest) / 4
    for arm, (wide, best) in both.items():
        setting = wide.columns[wide.to_numpy().mean(axis=0).argmax()]
        scores = wide[setting].to_numpy()
        failed = wilson(int((scores < failed_below).sum()), len(scores))
        yield {
            "task": task,
            "arm": arm,
            "best": setting,
            "edge": wide.shape[1] > 1 and setting in (wide.columns.min(), wide.columns.max()),
            **interval(best)._asdict(),
            "failed": failed.estimate,
            "failed_low": failed.low,
            "failed_high": failed.high,
            "ipr90": min_max_ipr90(scores, lowest=lowest, highest=highest) if highest > lowest else 0.0,
        }


def sensitivity(scores: pd.DataFrame) -> pd.DataFrame:
    """Φ of each arm: how much tuning for each task by itself gains over one setting for all (Adkins et al. 2024).

    Φ = mean over tasks of the best setting's score − the best setting's mean score over tasks, of scores normalised by
    the 5th and 95th percentile of all arms and settings in a task. Empty for one task or one setting.
    """
    means = scores.groupby(["task", "arm", "setting"]).score.mean()
    ends = scores.groupby("task").score.quantile([0.05, 0.95]).unstack()
    width = (ends[0.95] - ends[0.05]).replace(0, np.nan)
    normed = (
        (means - means.index.get_level_values("task").map(ends[0.05])) / means.index.get_level_values("task").map(width)
    ).rename("score")
    rows = []
    for arm, part in normed.groupby("arm"):
        wide = part.droplevel("arm").unstack("setting").dropna(axis=1)
        if wide.shape[0] > 1 and wide.shape[1] > 1:
            rows.append(
                {
                    "arm": arm,
                    "phi": wide.max(axis=1).mean() - wide.mean(axis=0).max(),
                    "tasks": len(wide),
                    "settings": wide.shape[1],
                }
            )
    return pd.DataFrame(rows, columns=["arm", "phi", "tasks", "settings"])


# -- until it is decided ----------------------------------------------------------------------------------------------
def decided(
    x: ArrayLike, y: ArrayLike, *, margin: float | None = None, looks: int = 1, swaps: int = SWAPS
) -> str | None:
    """`higher`, `lower` or `alike` if the scores tell, at one of `looks` planned looks; None if they do not.

    x is higher if the swap test rejects at 5 % divided by the looks (Bonferroni's bound: the looks may depend on each
    other in any way) and Student's interval of that level agrees; alike if that interval lies within the margin.

    Args:
        x: scores (n_seeds, n_settings) of an arm, and `y` of the other, whose rows are the same seeds.
    """
    a, b = np.asarray(x, dtype=float), np.asarray(y, dtype=float)
    change = judged_apart(a) - judged_apart(b)
    n, middle = len(change), float(change.mean())
    half = student.ppf(1 - LEVEL / looks / 2, n - 1) * change.std(ddof=1) / np.sqrt(n)
    if abs(middle) > half and swap_test(a, b, swaps) <= LEVEL / looks:
        return "higher" if middle > 0 else "lower"
    if margin is not None and abs(middle) + half <= margin:
        return "alike"
    return None


def swap_test(x: Array, y: Array, swaps: int = SWAPS) -> float:
    """Two-sided p-value: how often the difference at best settings is as large with arms swapped within random seeds.

    All scores of a seed change sides together and the settings are chosen anew, so the test is exact where the arms
    are alike, whatever the distribution. With one setting it is the sign-flip test; so it is, of the scores at the
    best settings, where the arms ran at different ones.
    """
    if x.shape != y.shape or x.shape[1] == 1:
        return sign_flip_test(judged_apart(x), judged_apart(y))
    observed = abs(judged_apart(x).mean() - judged_apart(y).mean())
    rng, hits = np.random.default_rng(0), 1
    for _ in range(swaps):
        side = rng.random((len(x), 1)) < 0.5
        one, other = np.where(side, y, x), np.where(side, x, y)
        hits += abs(judged_apart(one).mean() - judged_apart(other).mean()) >= observed - ROUNDING * abs(observed)
    return hits / (swaps + 1)


def seeds_wanted(differences: ArrayLike) -> int:
    """Least number of seeds that would decide, were mean and SD of the differences as they are here.

    Student's 95 % interval then leaves out zero, and the sign-flip test can reject, which it cannot below six seeds.

    >>> seeds_wanted([1.0, 2.0, 3.0]), seeds_wanted([-1.0, 1.0, 0.0])
    (6, 100001)
    """
    values = np.asarray(differences, dtype=float)
    middle, sd = abs(values.mean()), values.std(ddof=1)
    if middle <= 0 or (1.96 * sd / middle) ** 2 > MOST:
        return MOST + 1
    sizes = np.arange(TESTABLE, int((2 * sd / middle) ** 2) + 2 * TESTABLE)
    enough = student.ppf(1 - LEVEL / 2, sizes - 1) * sd / np.sqrt(sizes) < middle
    return int(sizes[enough.argmax()])


def by_look(most: int, block: int) -> Sequence[int]:
    """Numbers of seeds at which a growing comparison looks: after 10, then each further block.

    >>> by_look(30, 10), by_look(12, 5)
    ([10, 20, 30], [10, 12])
    """
    return sorted({*range(10, most, block), max(10, most)})
