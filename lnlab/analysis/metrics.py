"""The documents' training metrics, each beside the version we trust; computed per seed from the `episodes` table.

The documents count *rows* (one per worker and episode, in order of arrival) where they say episodes, and their losses
are those of the last rollout of an episode only. Both habits are kept here under their own names, so that their numbers
can be compared with ours; `value_loss_all…`, `…_final` and `episode_…` are the sound versions. Every function takes
arrays (episodes, workers) of one seed; applied to one column it gives the number of one worker. A window the run is
too short for gives NaN, and so does a NaN inside a window: a diverged learner is never left out in silence. Checked by
hand arithmetic in tests/test_metrics.py.
"""

import tomllib
from collections.abc import Callable, Collection, Iterator
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

from lnlab.config import RunConfig
from lnlab.paths import PACKAGE

EXPLOSION = 100.0  # a value loss above this is an explosion (D1)
FAILED_LOSS = 1e9  # reward², for a value loss that is not finite; BatchNorm, which did not diverge, came to 4e7
LOSSES = ("value_loss", "value_loss_all")  # the columns with a failure score; the others have no worse side
ALL_WORKERS = -1  # `worker` of a number that pools the workers of a seed
SPREAD_WINDOW, SPREAD_WINDOWS = 500, 3  # rows; D3 prints "1500 episodes"
POLICY_WINDOW = 1000  # rows
SMOOTHING = 100  # episodes
TAIL = 0.1  # of a learning curve: its mean is the score of a run


def late(curve: ArrayLike) -> float:
    """Mean of the last tenth of a learning curve of any kind, at least its last value; NaN of none."""
    values = np.asarray(curve, dtype=float)
    return float(values[-max(1, round(TAIL * len(values))) :].mean()) if len(values) else np.nan


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


def _metric(of: str, columns: list[str], unit: str, meaning: str, **options: Any) -> Metric:
    """A row of lnlab/metrics.toml."""
    return Metric(partial(globals()[of], **options), tuple(columns), unit, meaning)


_rows = tomllib.loads((PACKAGE / "metrics.toml").read_text(encoding="utf-8"))
METRICS: dict[str, Metric] = {name: _metric(**row) for name, row in _rows.items()}


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
