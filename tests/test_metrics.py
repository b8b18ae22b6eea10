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


def test_level_and_spread_over_rows():
    assert m.mean(LOSS) == 90.0
    assert m.maximum(LOSS) == 300.0
    assert m.sd_rows(column(1.0, 3.0)) == pytest.approx(math.sqrt(2.0))  # ddof = 1
    assert math.isnan(m.sd_rows(column(1.0)))


def test_an_explosion_is_above_100_in_a_row_or_in_the_worst_worker_of_an_episode():
    assert m.exploded_rows(LOSS) == 3 / 8  # 120, 101, 300; 100 itself is not above
    assert m.exploded_episodes(LOSS) == 2 / 4
    assert m.first_exploded(LOSS) == 1.0
    assert m.first_exploded(LOSS[:, :1]) == 3.0
    assert math.isnan(m.first_exploded(LOSS[3:]))
    assert m.exploded_rows(column(1.0, math.nan, math.inf, 2.0)) == 0.5


def test_last_episodes_pool_the_workers_and_need_their_window():
    returns = np.array([[1.0, 2.0], [3.0, 5.0], [7.0, 9.0]])
    assert m.mean_last(returns, 1) == 8.0
    assert m.mean_last(returns, 2) == 6.0
    assert m.sd_last(returns, 1) == pytest.approx(math.sqrt(2.0))
    assert math.isnan(m.mean_last(returns, 4))
    assert math.isnan(m.sd_last(returns, 4))


def test_the_final_return_is_that_of_the_last_tenth():
    assert m.mean_final(column(*range(2000))) == (1800 + 1999) / 2
    assert m.mean_final(column(1.0, 5.0)) == 5.0


def test_ratios_divide_means_not_rows():
    assert m.ratio(column(1.0, 3.0), column(10.0, 10.0)) == 0.2
    assert math.isnan(m.ratio(column(1.0), column(0.0)))
    loss, returns = column(*([0.0] * 500 + [2.0] * 500)), column(*([4.0] * 1000))
    assert m.sd_per_return(loss, returns) == pytest.approx(math.sqrt(1000 / 999) / 4)


def test_spread_windows_look_at_either_end():
    """SDs of the windows: 0, 0, 3 at the beginning and 0, 6, 0 at the end, each times sqrt(500 / 499)."""
    scale = np.repeat([0.0, 0.0, 3.0, 0.0, 6.0, 0.0], 500)
    rows = (scale * np.tile([-1.0, 1.0], 1500)).reshape(-1, 1)
    assert m.sd_windows(rows, late=False) == pytest.approx(1.0 * math.sqrt(500 / 499))
    assert m.sd_windows(rows, late=True) == pytest.approx(2.0 * math.sqrt(500 / 499))
    two_workers = np.tile([0.0, 2.0], (1500, 1))  # side by side, constant and apart by 2
    assert m.sd_windows(two_workers, late=False) == pytest.approx(math.sqrt(500 / 499))
    assert m.sd_tenth(two_workers, late=False) == 0.0  # the sound version looks within a worker
    assert math.isnan(m.sd_windows(two_workers[:-1], late=False))  # the two ends would overlap


def test_the_tenths_are_episodes():
    rows = column(*([0.0, 2.0] + [50.0] * 16 + [10.0, 14.0]))
    assert m.sd_tenth(rows, late=False) == pytest.approx(math.sqrt(2.0))
    assert m.sd_tenth(rows, late=True) == pytest.approx(math.sqrt(8.0))
    assert math.isnan(m.sd_tenth(rows[:19], late=True))  # a tenth is one episode: no spread


def test_policy_loss_windows_are_1000_rows():
    rows = np.repeat([1.0, 2.0, 3.0], [500, 100, 400]).reshape(200, 5)  # 1000 rows, 200 episodes
    both = np.concatenate([rows, rows + 10])
    assert m.mean_rows(both, late=False) == pytest.approx(1.9)
    assert m.mean_rows(both, late=True) == pytest.approx(11.9)
    assert math.isnan(m.mean_rows(rows, late=True))


def test_first_row_counts_from_0_in_order_of_arrival():
    returns = np.array([[10.0, 20.0], [30.0, 60.0], [80.0, 10.0]])
    assert m.row_above(returns, 50) == 3.0
    assert m.row_above(returns, 70) == 4.0
    assert math.isnan(m.row_above(returns, 90))


def test_first_episode_is_that_of_the_running_mean_of_100():
    returns = column(*([0.0] * 100 + [100.0] * 100))
    assert m.row_above(returns, 50) == 100.0
    assert m.episode_above(returns, 50) == 151.0  # 51 of the last 100 episodes at 100
    assert m.episode_above(np.hstack([returns, returns - 200.0]), 50) != 151.0  # the mean over workers counts
    assert math.isnan(m.episode_above(returns[:99] + 90, 50))


def test_the_first_dead_learner():
    alive = np.array([[True, True], [True, False], [False, False]])
    assert m.first_dead(alive) == 2.0
    assert m.first_dead(alive[:, :1]) == 3.0
    assert math.isnan(m.first_dead(alive[:1]))
    assert m.mean_last(alive[:2], 1) == 0.5


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
