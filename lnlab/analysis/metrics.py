"""The documents' training metrics, each beside the version we trust; computed per seed from the `episodes` table.

The documents count *rows* (one per worker and episode, in order of arrival) where they say episodes, and their losses
are those of the last rollout of an episode only. Both habits are kept here under their own names, so that their numbers
can be compared with ours; `value_loss_all…`, `…_final` and `episode_…` are the sound versions. Every function takes
arrays (episodes, workers) of one seed; applied to one column it gives the number of one worker. A window the run is
too short for gives NaN, and so does a NaN inside a window: a diverged learner is never left out in silence. Checked by
hand arithmetic in tests/test_metrics.py.
"""

from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import NamedTuple

import numpy as np
import pandas as pd

from lnlab.config import RunConfig

EXPLOSION = 100.0  # a value loss above this is an explosion (D1)
FAILED_LOSS = 1e5  # reward², for a value loss that is not finite: off by 316 at every step; the best rule earns 113
LOSSES = ("value_loss", "value_loss_all")  # the columns with a failure score; the others have no worse side
ALL_WORKERS = -1  # `worker` of a number that pools the workers of a seed
SPREAD_WINDOW, SPREAD_WINDOWS = 500, 3  # rows; D3 prints "1500 episodes"
POLICY_WINDOW = 1000  # rows
SMOOTHING = 100  # episodes


def mean(values: np.ndarray) -> float:
    """Mean over episodes and workers."""
    return float(values.mean(dtype=np.float64))


def maximum(values: np.ndarray) -> float:
    """Largest single row: one worker, one episode."""
    return float(values.max())


def sd_rows(values: np.ndarray) -> float:
    """Standard deviation over all rows, ddof = 1."""
    return float(values.std(ddof=1, dtype=np.float64)) if values.size > 1 else np.nan


def mean_last(values: np.ndarray, episodes: int) -> float:
    """Mean over the last `episodes` episodes and all workers."""
    return mean(values[-episodes:]) if len(values) >= episodes else np.nan


def sd_last(values: np.ndarray, episodes: int) -> float:
    """Standard deviation over the rows of the last `episodes` episodes, ddof = 1."""
    return sd_rows(values[-episodes:]) if len(values) >= episodes else np.nan


def mean_final(values: np.ndarray) -> float:
    """Mean over the last tenth of the episodes (at least one): of 2000 episodes, the last 200."""
    return mean(values[-max(1, len(values) // 10) :])


def mean_rows(values: np.ndarray, *, late: bool) -> float:
    """Mean over the first or last 1000 rows (200 episodes of 5 workers)."""
    rows = _end(values, POLICY_WINDOW, late=late)
    return np.nan if rows is None else mean(rows)


def sd_windows(values: np.ndarray, *, late: bool) -> float:
    """Mean of the SDs (ddof = 1) of three windows of 500 rows, at the beginning or the end.

    The windows cover 300 episodes of 5 workers, and mix the spread between workers with that over time.
    """
    rows = _end(values, SPREAD_WINDOW * SPREAD_WINDOWS, late=late)
    if rows is None:
        return np.nan
    return float(rows.reshape(SPREAD_WINDOWS, SPREAD_WINDOW).std(axis=1, ddof=1, dtype=np.float64).mean())


def sd_tenth(values: np.ndarray, *, late: bool) -> float:
    """SD (ddof = 1) over the first or last tenth of the episodes within each worker, then the mean over workers."""
    size = len(values) // 10
    if size < 2:
        return np.nan
    tenth = values[-size:] if late else values[:size]
    return float(tenth.std(axis=0, ddof=1, dtype=np.float64).mean())


def exploded_rows(values: np.ndarray) -> float:
    """Share of rows above 100; NaN counts as above."""
    return mean(_exploded(values))


def exploded_episodes(values: np.ndarray) -> float:
    """Share of episodes with the largest value over the workers above 100 (D1); grows with the number of workers."""
    return mean(np.any(_exploded(values), axis=1))


def first_exploded(values: np.ndarray) -> float:
    """First episode, from 1, in which a worker is above 100; NaN (censored at the end of the run) if none is."""
    return _first(np.any(_exploded(values), axis=1), start=1)


def ratio(loss: np.ndarray, returns: np.ndarray) -> float:
    """Mean loss over mean return, each over all rows."""
    return mean(loss) / mean(returns) if mean(returns) else np.nan


def sd_per_return(loss: np.ndarray, returns: np.ndarray) -> float:
    """SD of the loss over all rows (ddof = 1) / mean return of the last 1000 episodes: D3's "ratio" of Individual."""
    last = mean_last(returns, 1000)
    return sd_rows(loss) / last if last else np.nan


def row_above(returns: np.ndarray, threshold: float) -> float:
    """Index, from 0, of the first row above the threshold (one worker, one episode: mostly chance); NaN if none is."""
    return _first(returns.ravel() > threshold, start=0)


def episode_above(returns: np.ndarray, threshold: float) -> float:
    """First episode, from 1, with the mean of the last 100 episodes of all workers above; NaN if there is none."""
    if len(returns) < SMOOTHING:
        return np.nan
    total = np.concatenate([[0.0], returns.mean(axis=1, dtype=np.float64).cumsum()])
    return _first((total[SMOOTHING:] - total[:-SMOOTHING]) / SMOOTHING > threshold, start=SMOOTHING)


def first_dead(alive: np.ndarray) -> float:
    """First episode, from 1, in which a learner was no longer alive; NaN if all lived to the end."""
    return _first(np.any(alive == 0, axis=1), start=1)


def _end(values: np.ndarray, rows: int, *, late: bool) -> np.ndarray | None:
    """The first or last `rows` rows in episode-major order; None if the two ends would overlap."""
    flat = values.ravel()
    if flat.size < 2 * rows:
        return None
    return flat[-rows:] if late else flat[:rows]


def _exploded(values: np.ndarray) -> np.ndarray:
    return ~(values <= EXPLOSION)


def _first(condition: np.ndarray, start: int) -> float:
    return float(condition.argmax() + start) if condition.any() else np.nan


class Metric(NamedTuple):
    function: Callable[..., float]
    columns: tuple[str, ...]  # of the episodes table, in the order of the function's arguments
    unit: str
    meaning: str

    @property
    def failure_score(self) -> float:
        """What a seed counts for whose number is not finite because it diverged; NaN where no side is the worse one."""
        return FAILED_LOSS if set(LOSSES) & set(self.columns) else np.nan

    def defined(self, episodes: int, workers: int) -> bool:
        """Whether a learner that does not diverge has this number after so many episodes."""
        return bool(np.isfinite(self.function(*[np.ones((episodes, workers))] * len(self.columns))))


_VL, _ALL, _R, _PL = ("value_loss",), ("value_loss_all",), ("return",), ("policy_loss",)
_SQ, _RW, _EP, _SHARE = "reward²", "reward", "episode", "share"
_SD_EARLY, _SD_LATE = partial(sd_windows, late=False), partial(sd_windows, late=True)
_TENTH_EARLY, _TENTH_LATE = partial(sd_tenth, late=False), partial(sd_tenth, late=True)
_ROW_50, _ROW_70, _ROW_90 = (partial(row_above, threshold=above) for above in (50, 70, 90))
_EPISODE_50, _EPISODE_70, _EPISODE_90 = (partial(episode_above, threshold=above) for above in (50, 70, 90))
_LAST_1, _LAST_20, _LAST_200, _LAST_1000 = (partial(mean_last, episodes=n) for n in (1, 20, 200, 1000))

METRICS: dict[str, Metric] = {
    # value loss; without "all" it is that of the last rollout of an episode
    "value_loss_mean": Metric(mean, _VL, _SQ, "D1: mean over all rows"),
    "value_loss_max": Metric(maximum, _VL, _SQ, "D1: largest row"),
    "value_loss_sd": Metric(sd_rows, _VL, _SQ, "D3 (worker 0): SD over all rows"),
    "value_loss_sd_early": Metric(_SD_EARLY, _VL, _SQ, "D3: mean SD of three 500-row windows, first 1500 rows"),
    "value_loss_sd_late": Metric(_SD_LATE, _VL, _SQ, "D3: mean SD of three 500-row windows, last 1500 rows"),
    "value_loss_all_mean": Metric(mean, _ALL, _SQ, "mean over all rollouts"),
    "value_loss_all_max": Metric(maximum, _ALL, _SQ, "largest row of the mean over an episode's rollouts"),
    "value_loss_all_final": Metric(mean_final, _ALL, _SQ, "mean over all rollouts, last tenth of the episodes"),
    "value_loss_all_sd_early": Metric(_TENTH_EARLY, _ALL, _SQ, "SD within a worker, first tenth of the episodes"),
    "value_loss_all_sd_late": Metric(_TENTH_LATE, _ALL, _SQ, "SD within a worker, last tenth of the episodes"),
    # explosions: a value loss above 100
    "explosion_rows": Metric(exploded_rows, _VL, _SHARE, "share of rows whose last rollout exploded"),
    "explosion_episodes": Metric(exploded_episodes, _VL, _SHARE, "D1: share of episodes whose worst worker exploded"),
    "explosion_first": Metric(first_exploded, _VL, _EP, "first episode with an explosion; empty if there was none"),
    "explosion_rows_all": Metric(exploded_rows, _ALL, _SHARE, "share of rows whose mean over the rollouts exploded"),
    "explosion_episodes_all": Metric(
        exploded_episodes, _ALL, _SHARE, "share of episodes whose worst worker's mean did"
    ),
    "explosion_first_all": Metric(first_exploded, _ALL, _EP, "first episode in which a mean did; empty if none did"),
    # value loss against return
    "value_loss_per_return": Metric(ratio, _VL + _R, _RW, "D3 (A3C): mean value loss / mean return"),
    "value_loss_sd_per_return": Metric(sd_per_return, _VL + _R, _RW, "D3 (worker 0): SD of value loss / final return"),
    "value_loss_all_per_return": Metric(ratio, _ALL + _R, _RW, "mean value loss over all rollouts / mean return"),
    # return
    "return_mean": Metric(mean, _R, _RW, "D1: mean over all rows"),
    "return_max": Metric(maximum, _R, _RW, "D3: best single episode of a single worker"),
    "return_last": Metric(_LAST_1, _R, _RW, "D2: the very last episode"),
    "return_last_20": Metric(_LAST_20, _R, _RW, "D2 (ablations): mean of the last 20 episodes"),
    "return_last_200": Metric(_LAST_200, _R, _RW, "D3 (A3C): mean of the last 200 episodes, 1000 rows of 5 workers"),
    "return_last_1000": Metric(_LAST_1000, _R, _RW, "D3 (worker 0): mean of the last 1000 episodes"),
    "return_sd_last_1000": Metric(
        partial(sd_last, episodes=1000), _R, _RW, "D3 (worker 0): SD of the last 1000 episodes"
    ),
    "return_final": Metric(mean_final, _R, _RW, "mean of the last tenth of the episodes"),
    "row_above_50": Metric(_ROW_50, _R, "row", "D3: first row above 50; says nothing about learning speed"),
    "row_above_70": Metric(_ROW_70, _R, "row", "D3: first row above 70"),
    "row_above_90": Metric(_ROW_90, _R, "row", "D3: first row above 90"),
    "episode_above_50": Metric(_EPISODE_50, _R, _EP, "first episode with the mean of the last 100 above 50"),
    "episode_above_70": Metric(_EPISODE_70, _R, _EP, "first episode with the mean of the last 100 above 70"),
    "episode_above_90": Metric(_EPISODE_90, _R, _EP, "first episode with the mean of the last 100 above 90"),
    # policy
    "policy_loss_mean": Metric(mean, _PL, "nats", "D3: mean over all rows, last rollouts; its expectation is about 0"),
    "policy_loss_sd": Metric(sd_rows, _PL, "nats", "D3 (worker 0): SD over all rows"),
    "policy_loss_early": Metric(partial(mean_rows, late=False), _PL, "nats", "D3: mean of the first 1000 rows"),
    "policy_loss_late": Metric(partial(mean_rows, late=True), _PL, "nats", "D3: mean of the last 1000 rows"),
    "entropy_mean": Metric(mean, ("entropy",), "nats", "mean over all rows; a uniform policy has ln 3 = 1.099"),
    "entropy_final": Metric(mean_final, ("entropy",), "nats", "mean of the last tenth of the episodes"),
    # updates
    "grad_norm_mean": Metric(mean, ("grad_norm",), "", "mean L2 norm of the gradient before clipping"),
    "clipped_mean": Metric(mean, ("clipped",), _SHARE, "share of the updates that were clipped"),
    "alive_final": Metric(_LAST_1, ("alive",), _SHARE, "share of workers whose learner lived to the end"),
    "died_first": Metric(first_dead, ("alive",), _EP, "first episode with a dead learner; empty if all lived"),
}


def per_seed(episodes: pd.DataFrame, config: RunConfig) -> pd.DataFrame:
    """Every metric for each worker of each seed, and for all workers of a seed together (worker −1).

    Args:
        episodes: the whole `episodes` table of the run; metrics whose columns it lacks are left out.
        config: settings of the run; the table must hold all its seeds, workers and episodes.

    Returns:
        Rows seed, worker, quantity, value, in that order of sorting with the quantities as in `METRICS`.

    Raises:
        ValueError: the table is not whole.
    """
    rows = config.seeds * config.episodes * config.workers
    if len(episodes) != rows or episodes[["seed", "worker", "episode"]].duplicated().any():
        raise ValueError(f"{config.run_id}: {len(episodes)} rows; expected {rows}, each (seed, worker, episode) once")
    ordered = episodes.sort_values(["seed", "episode", "worker"])
    shape = (config.seeds, config.episodes, config.workers)
    columns = {name: ordered[name].to_numpy().reshape(shape) for name in ordered.columns}
    by_seed = [{name: values[i] for name, values in columns.items()} for i in range(config.seeds)]
    records = [record for arrays in by_seed for record in _records(arrays)]
    return pd.DataFrame(records, columns=["seed", "worker", "quantity", "value"])


def with_failure_scores(metrics: pd.DataFrame, config: RunConfig, diverged: Collection[int]) -> pd.DataFrame:
    """The table `metrics` with the failure score of every number that a diverged seed lacks.

    Diverged seeds are results: without them the arm that diverges would look the better one. A number for which the
    run is too short stays empty, and so does one that has no worse side, such as the policy loss.

    Args:
        diverged: seeds with a learner that diverged.
    """
    lost = metrics.seed.isin(diverged) & ~np.isfinite(metrics.value)
    if not lost.any():
        return metrics
    scores = {
        (name, pooled): metric.failure_score if metric.defined(config.episodes, workers) else np.nan
        for name, metric in METRICS.items()
        for pooled, workers in ((True, config.workers), (False, 1))
    }
    value = metrics.value.astype(float)
    value[lost] = [scores[row.quantity, row.worker == ALL_WORKERS] for row in metrics[lost].itertuples()]
    return metrics.assign(value=value)


def _records(arrays: dict[str, np.ndarray]) -> Iterator[tuple[int, int, str, float]]:
    """The numbers of one seed; arrays (episodes, workers)."""
    seed = int(arrays["seed"][0, 0])
    views = {ALL_WORKERS: slice(None)} | {int(w): slice(i, i + 1) for i, w in enumerate(arrays["worker"][0])}
    for worker, view in views.items():
        for name, metric in METRICS.items():
            if all(column in arrays for column in metric.columns):
                yield seed, worker, name, metric.function(*(arrays[column][:, view] for column in metric.columns))
