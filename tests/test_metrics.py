"""The documents' metrics by hand arithmetic: windows, what counts as a row, ddof, and what a diverged learner does."""

import math

import numpy as np
import pandas as pd
import pytest

from lnlab.analysis import metrics as m
from lnlab.analysis.metrics import per_seed
from lnlab.config import parse

LOSS = np.array([[10.0, 120.0], [50.0, 100.0], [101.0, 300.0], [20.0, 19.0]])  # (4 episodes, 2 workers)


def column(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float64).reshape(-1, 1)


def pair(*rows: tuple[float, float]) -> np.ndarray:
    return np.array(rows, dtype=np.float64)


SCALE = np.repeat([0.0, 0.0, 3.0, 0.0, 6.0, 0.0], 500)  # of windows of 500 rows
WINDOWS = (SCALE * np.tile([-1.0, 1.0], 1500)).reshape(-1, 1)
APART = np.tile([0.0, 2.0], (1500, 1))  # two workers side by side, constant and apart by 2
TENTHS = column(*([0.0, 2.0] + [50.0] * 16 + [10.0, 14.0]))
ROWS = np.repeat([1.0, 2.0, 3.0], [500, 100, 400]).reshape(200, 5)  # 1000 rows, 200 episodes
BOTH = np.concatenate([ROWS, ROWS + 10])
RETURNS = pair((10.0, 20.0), (30.0, 60.0), (80.0, 10.0))
LAST = pair((1.0, 2.0), (3.0, 5.0), (7.0, 9.0))
STEP = column(*([0.0] * 100 + [100.0] * 100))
ALIVE = np.array([[True, True], [True, False], [False, False]])
NONE, ROOT = math.nan, math.sqrt(500 / 499)
CASES = [
    (m.mean(LOSS), 90.0),
    (m.maximum(LOSS), 300.0),
    (m.sd_rows(column(1.0, 3.0)), math.sqrt(2.0)),  # ddof = 1
    (m.sd_rows(column(1.0)), NONE),
    # an explosion is above 100, in a row or in the worst worker of an episode
    (m.exploded_rows(LOSS), 3 / 8),  # 120, 101, 300; 100 itself is not above
    (m.exploded_episodes(LOSS), 2 / 4),
    (m.first_exploded(LOSS), 1.0),
    (m.first_exploded(LOSS[:, :1]), 3.0),
    (m.first_exploded(LOSS[3:]), NONE),
    (m.exploded_rows(column(1.0, NONE, math.inf, 2.0)), 0.5),
    # the last episodes pool the workers and need their window; the final ones are a tenth
    (m.mean_last(LAST, 1), 8.0),
    (m.mean_last(LAST, 2), 6.0),
    (m.mean_last(LAST, 4), NONE),
    (m.mean_last(ALIVE[:2], 1), 0.5),
    (m.sd_last(LAST, 1), math.sqrt(2.0)),
    (m.sd_last(LAST, 4), NONE),
    (m.mean_final(column(*range(2000))), (1800 + 1999) / 2),
    (m.mean_final(column(1.0, 5.0)), 5.0),
    # ratios divide means, not rows
    (m.ratio(column(1.0, 3.0), column(10.0, 10.0)), 0.2),
    (m.ratio(column(1.0), column(0.0)), NONE),
    (m.sd_per_return(column(*([0.0] * 500 + [2.0] * 500)), column(*([4.0] * 1000))), math.sqrt(1000 / 999) / 4),
    # SDs of the windows: 0, 0, 3 at the beginning and 0, 6, 0 at the end, each times sqrt(500 / 499)
    (m.sd_windows(WINDOWS, late=False), 1.0 * ROOT),
    (m.sd_windows(WINDOWS, late=True), 2.0 * ROOT),
    (m.sd_windows(APART, late=False), ROOT),
    (m.sd_tenth(APART, late=False), 0.0),  # the sound version looks within a worker
    (m.sd_windows(APART[:-1], late=False), NONE),  # the two ends would overlap
    (m.sd_tenth(TENTHS, late=False), math.sqrt(2.0)),
    (m.sd_tenth(TENTHS, late=True), math.sqrt(8.0)),
    (m.sd_tenth(TENTHS[:19], late=True), NONE),  # a tenth is one episode: no spread
    (m.mean_rows(BOTH, late=False), 1.9),
    (m.mean_rows(BOTH, late=True), 11.9),
    (m.mean_rows(ROWS, late=True), NONE),
    # the first row counts from 0 in order of arrival, the first episode is that of the running mean of 100
    (m.row_above(RETURNS, 50), 3.0),
    (m.row_above(RETURNS, 70), 4.0),
    (m.row_above(RETURNS, 90), NONE),
    (m.row_above(STEP, 50), 100.0),
    (m.episode_above(STEP, 50), 151.0),  # 51 of the last 100 episodes at 100
    (m.episode_above(np.hstack([STEP, STEP - 200.0]), 50), NONE),  # the mean over workers counts
    (m.episode_above(STEP[:99] + 90, 50), NONE),
    (m.first_dead(ALIVE), 2.0),
    (m.first_dead(ALIVE[:, :1]), 3.0),
    (m.first_dead(ALIVE[:1]), NONE),
]


@pytest.mark.parametrize(("found", "expected"), CASES)
def test_the_metrics_by_hand(found: float, expected: float) -> None:
    assert found == pytest.approx(expected, nan_ok=True)


# -- the table --------------------------------------------------------------------------------------------------------


@pytest.fixture
def episodes() -> pd.DataFrame:
    """2 seeds, 2 workers, 4 episodes: value loss as `LOSS`, 1000 more in the second seed; return = worker."""
    seed, episode, worker = np.indices((2, 4, 2)).reshape(3, -1)
    loss = LOSS[episode, worker] + 1000 * (seed == 1)
    frame = pd.DataFrame(
        {"seed": seed + 7, "worker": worker, "episode": episode + 1, "value_loss": loss, "return": worker}
    )
    return frame.sample(frac=1.0, random_state=0)  # the order of the rows must not matter


CONFIG = parse({"first_seed": 7, "seeds": 2, "workers": 2, "episodes": 4})


def test_every_worker_and_all_together_are_rows_of_the_table(episodes):
    table = per_seed(episodes, CONFIG).set_index(["seed", "worker", "quantity"])["value"]
    assert table[7, -1, "value_loss_mean"] == 90.0
    assert table[7, 0, "value_loss_mean"] == 181 / 4
    assert table[8, 1, "value_loss_max"] == 1300.0
    assert table[7, -1, "explosion_episodes"] == 0.5
    assert table[7, 0, "explosion_episodes"] == 0.25
    assert table[8, 1, "return_last"] == 1.0
    assert math.isnan(table[7, -1, "return_last_200"])
    assert not any("entropy" in name or "all" in name for _, _, name in table.index)  # columns that are not there


def test_a_table_that_is_not_whole_is_refused(episodes):
    for damaged in (episodes[1:], pd.concat([episodes[1:], episodes[2:3]])):
        with pytest.raises(ValueError, match="expected 16"):
            per_seed(damaged, CONFIG)
