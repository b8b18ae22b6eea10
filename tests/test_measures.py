"""Measures and pooled cells against arithmetic by hand, on made runs and made tables."""

import itertools
import math
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from lnlab.analysis.stats import rank_correlation
from lnlab.claims import pooled
from lnlab.claims.measures import constant, measure, named, over_time, quarters
from lnlab.claims.studies import Data, Missing
from lnlab.runs import load
from tests.by_hand import made


# -- tests and velocities of made runs --------------------------------------------------------------------------------
@pytest.fixture
def crews(tmp_path: Path) -> Data:
    """A3C returns 60 and 66 with 5 and 3 workers, 10 more with LayerNorm; Individual 50; greedy is twice that."""
    for (workers, seeds, a3c), (norm, more) in itertools.product(((5, 4, 60), (3, 3, 66)), (("none", 0), ("ln", 10))):
        for algorithm, level in (("a3c", a3c + more), ("individual", 50)):
            made(
                tmp_path / ("paper" if workers == 5 else "workers"),
                range(seeds),
                lambda quantity, seed, level=level: level * (1 + (quantity == "greedy")) * (1 + seed / 100),
                algorithm=algorithm,
                norm=norm,
                workers=workers,
            )
    return Data(load(tmp_path / "paper"))


@pytest.mark.parametrize(
    ("name", "seed_2"),
    [
        ("test.greedy", 122.4),
        ("test.sampled.extra", 61.2),
        ("test_by_group", 122.4),
        ("sweep.sampled", 61.2),
        ("sweep.greedy.75", 122.4),
        ("worst_velocity.greedy", 122.4),
        ("over_scenarios.greedy", 0.0),
        ("100*test.sampled", 6120.0),
        ("log10.test.greedy", math.log10(122.4)),
        ("return_mean", None),
    ],
)
def test_a_measure_of_a_made_run_has_the_value_it_was_made_with(crews: Data, name: str, seed_2: float | None) -> None:
    level = 60 * 1.02 if seed_2 is None else seed_2
    assert measure(crews, name, "a3c-gru-none")[2] == pytest.approx(level)
    assert len(measure(crews, name, "workers/a3c-gru-none-w3")) == 3


def test_the_gap_is_that_of_each_number_of_workers(crews: Data) -> None:
    gaps = {"a3c-gru-none": 20, "workers/a3c-gru-none-w3": 32, "a3c-gru-ln": 40, "workers/a3c-gru-ln-w3": 52}
    for (arm, gap), mode in itertools.product(gaps.items(), ("greedy", "sampled")):  # 100 (60 / 50 − 1) and so on
        how = named(f"gap.test.{mode}")
        assert how.statistic(how.values(crews, arm)) == pytest.approx(gap)


def test_a_group_that_was_not_tested_and_an_arm_that_was_not_run_are_missing(crews: Data) -> None:
    for name, arm in (("test_refilled.greedy", "a3c-gru-ln"), ("test.greedy", "a3c-ff-ln")):
        with pytest.raises(Missing):
            measure(crews, name, arm)


CELLS = np.random.default_rng(1).normal(50, 10, (7, 3, 2))  # seeds, velocities or scenarios, learners


def test_cells_are_pooled_over_seeds_velocities_and_learners() -> None:
    data = SimpleNamespace(sweep=lambda *_: CELLS)
    found = {name: named(f"cells.{name}") for name in ("mean", "sd", "cv")}
    pools = {name: float(how.statistic(how.values(data, "a3c-gru-ln").reshape(-1))) for name, how in found.items()}
    sd = CELLS.std(ddof=1)
    assert pools == pytest.approx({"mean": CELLS.mean(), "sd": sd, "cv": sd / CELLS.mean()})


def test_the_worst_of_five_is_what_five_seeds_give_on_average() -> None:
    lowest = np.array([3.0, 9.0, 1.0, 4.0, 7.0, 5.0, 8.0])
    of = np.stack([lowest, lowest, lowest, np.ones(7)], axis=1)
    fives = [min(five) for five in itertools.combinations(lowest, 5)]
    assert pooled.STATISTICS["worst_of_five"](of.reshape(-1)) == pytest.approx(np.mean(fives))
    assert pooled.STATISTICS["worst_of_five"](of[:3].reshape(-1)) == 1.0  # fewer: the lowest of all
    data = SimpleNamespace(sweep=lambda *_: CELLS)
    inner, log = (named(name) for name in ("cells.worst_of_five", "log10.cells.worst_of_five"))
    flat = inner.values(data, "a3c-gru-ln").reshape(-1)
    assert log.statistic(flat) == pytest.approx(np.log10(inner.statistic(flat)))


def test_a_constant_policy_takes_one_action_more_than_99_times_in_100() -> None:
    shares = {"share_local": [[[0.995]], [[0.985]]], "share_offload": [[[0.005]], [[0.015]]]}
    data = SimpleNamespace(sweep=lambda *_, value: np.array(shares.get(value, [[[0.0]], [[0.0]]])))
    assert constant(data, "a3c-gru-ln", "greedy").tolist() == [[1], [0]]
    assert measure(data, "constant.greedy", "a3c-gru-ln").tolist() == [1, 0]


def test_own_velocity_and_extra_minus_seen() -> None:
    seen = np.array([[[10.0, 1, 2], [3, 20, 4], [5, 6, 30]]])
    data = SimpleNamespace(scenarios=lambda arm, groups=(), mode="": seen + 7 * (groups == ("extra",)))
    assert measure(data, "own_velocity.greedy", "") == pytest.approx([60 / 3 - 21 / 6])  # the diagonal minus the rest
    assert measure(data, "extra_minus_seen.greedy.2", "") == pytest.approx([7])


# -- training ---------------------------------------------------------------------------------------------------------
def test_parts_and_windows_of_training(tmp_path: Path) -> None:
    made(tmp_path / "paper", range(2), curve=lambda seed, episode: float(episode + seed), norm="ln")
    made(tmp_path / "paper", range(2), curve=lambda seed, episode: float(episode), norm="ln", algorithm="individual")
    data, arm = Data(load(tmp_path / "paper")), "a3c-gru-ln"
    assert measure(data, "return_first_quarter", arm) == pytest.approx([260, 261])  # 20, 40, … 500
    assert measure(data, "return_middle", arm) == pytest.approx([1010, 1011])  # 920, … 1100
    assert measure(data, "return_after.25000", arm) == pytest.approx([910, 911])  # of 1000 episodes the last 200
    assert measure(data, "return_after.5000", "individual-gru-ln") == pytest.approx([910, 910])  # five a model
    with pytest.raises(Missing, match="trained for 60,000 updates"):
        measure(data, "return_after.60000", arm)


class Training:
    """Diagnostics close together at first and far apart later; losses that explode; of two seeds."""

    levels = {0: 8.0, 10: 8.0, 100: 8.0, 500: 0.0, 2000: 0.0}  # noqa: RUF012

    def __init__(self, *, recovers: bool = True) -> None:
        self.recovers = recovers

    def run(self, arm: str) -> SimpleNamespace:
        learners = 5 if arm.startswith("individual") else 1
        return SimpleNamespace(config=SimpleNamespace(workers=5, learners_per_seed=learners, episodes=1000))

    def steps(self, arm: str) -> list[int]:
        return list(self.levels)

    def diagnostic(self, arm: str, quantity: str, step: int, *, empty: float | None = None) -> np.ndarray:
        return np.array([1.0, 10.0]) * self.levels[step]

    def curve(self, arm: str, quantity: str) -> tuple[np.ndarray, np.ndarray]:
        losses = np.where(np.arange(20) < np.array([2, 3])[:, None], 200.0, 9.0)
        losses[0, -1] = 9.0 if self.recovers else 200.0
        return 20 * np.arange(1, 21), losses

    def metric(self, arm: str, quantity: str, *, empty: float) -> np.ndarray:
        return np.array([300.0, empty])


def test_through_training_weighs_by_time_and_not_by_the_number_of_checkpoints() -> None:
    area = 8 * 100 + 4 * 400  # constant up to episode 100, then a straight line down to episode 500
    found = {name: measure(Training(), f"{name}.state_saturated", "a3c-gru-none")[0]
             for name in ("through", "through_500", "after_500")}  # fmt: skip
    assert found == pytest.approx({"through": area / 2000, "through_500": area / 500, "after_500": 0})
    assert over_time([300], np.array([[2.0, 3.0]])).tolist() == [2.0, 3.0]
    with pytest.raises(Missing, match="after 500 episodes"):
        measure(SimpleNamespace(steps=lambda arm: [0, 300]), "through_500.state_saturated", "a3c-gru-none")


def test_recovery_and_targets_are_counted_in_updates_and_episodes() -> None:
    assert measure(Training(), "updates_to_recovery", "a3c-ff-none").tolist() == [200.0, 300.0]
    assert measure(Training(), "updates_to_recovery", "individual-ff-none").tolist() == [40.0, 60.0]
    assert measure(Training(), "episodes_to_70", "a3c-ff-none").tolist() == [300, 1000]  # one that never gets there
    assert measure(Training(), "first_row_above.70", "a3c-ff-none").tolist() == [300, 5000]
    assert measure(Training(), "passes.70", "a3c-ff-none").tolist() == [1, 0]
    with pytest.raises(Missing, match="needs every seed of a3c-ff-none to explode and to recover"):
        measure(Training(recovers=False), "updates_to_recovery", "a3c-ff-none")


def test_rank_correlation_agrees_with_scipy_and_covers() -> None:
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(2, 25))
    assert rank_correlation(x, y).estimate == pytest.approx(stats.spearmanr(x, y).statistic)
    assert rank_correlation(np.exp(x), y) == pytest.approx(rank_correlation(x, y))  # ranks do not see the scale
    true, hits = 6 / np.pi * np.arcsin(0.6 / 2), []  # of a bivariate normal with Pearson's 0.6
    for _ in range(200):
        x, e = rng.normal(size=(2, 30))
        found = rank_correlation(x, 0.6 * x + 0.8 * e)
        hits.append(found.low <= true <= found.high)
    assert 0.9 <= np.mean(hits) <= 0.99
    for few in ([1.0] * 5, [1.0, 2.0, 3.0]):
        assert rank_correlation(few, np.arange(len(few)))[1:3] == (-1, 1)


# -- TD3 --------------------------------------------------------------------------------------------------------------
def table(**columns: object) -> SimpleNamespace:
    """Data with one table, of one seed twice."""
    rows = pd.concat([pd.DataFrame(columns).assign(seed=seed) for seed in (0, 1)])
    return SimpleNamespace(table=lambda arm, name: rows)


def test_growth_laws_are_found_with_their_exponents() -> None:
    updates = np.arange(0.0, 4001, 100)
    power, exponential = 3 * np.maximum(updates, 1) ** 4, np.exp(updates / 1000)
    data = table(step=updates, updates=updates, critic_loss=power, q1_mean=exponential)
    for name in ("power_fit.critic_loss", "exponential_fit.q1_mean"):
        assert measure(data, name, "") == pytest.approx([1, 1])
    assert measure(data, "exponent.critic_loss", "") == pytest.approx([4, 4])
    assert max(measure(data, name, "").max() for name in ("exponential_fit.critic_loss", "power_fit.q1_mean")) < 0.95
    jump = table(step=range(5), updates=[1, 2, 4, 5, 8], critic_loss=[1.0, 4, 16, 9, 9], td_error_1=1.0)
    assert measure(jump, "late_exponent.critic_loss", "") == pytest.approx([0, 0])
    assert measure(jump, "growth.critic_loss", "").tolist() == [9, 9]
    assert measure(jump, "largest.critic_loss", "").tolist() == [16, 16]
    with pytest.raises(Missing, match="that changes"):
        measure(jump, "power_fit.td_error_1", "")
    with pytest.raises(Missing, match="value of zero"):
        measure(table(step=[0, 1], updates=[1, 2], q1_mean=[0.0, 1.0]), "exponent.q1_mean", "")


def test_the_trend_is_that_of_29_logged_updates_and_late_the_last_quarter() -> None:
    line = np.linspace(1, 3, 40)
    data = table(step=range(40), updates=range(1, 41), critic_loss=line)
    assert measure(data, "trend.critic_loss", "") == pytest.approx([line[21:29].mean() / line[:7].mean()] * 2)
    assert measure(data, "late.critic_loss", "") == pytest.approx([line[30:].mean()] * 2)
    assert measure(data, "rise.critic_loss", "") == pytest.approx([line[30:].mean()] * 2)


def test_quarters_are_cut_by_index_as_in_the_document() -> None:
    data = table(episode=range(7), phase=["random"] * 3 + ["policy"] * 4, **{"return": np.arange(7.0)})
    means, sds = quarters(data, "")  # [0], [1, 2], [3, 4], [5, 6]
    assert means[0].tolist() == [0, 1.5, 3.5, 5.5]
    assert sds[0].tolist() == [0, 0.5, 0.5, 0.5]  # divided by n
    assert [measure(data, f"quarter_policy.{number}", "")[0] for number in (1, 2, 3, 4)] == [0, 0, 1, 1]
    assert measure(data, "policy.return", "").tolist() == [4.5, 4.5]
    with pytest.raises(Missing, match="four training episodes"):
        quarters(table(episode=[0], phase="policy", **{"return": 1.0}), "")


def test_the_last_episodes_and_the_late_greedy_tests_are_means_of_a_seed() -> None:
    rows = pd.DataFrame({"seed": [1, 0, 1, 0, 1], "return": [9.0, 1.0, 2.0, 5.0, 4.0]})
    data: Any = SimpleNamespace(table=lambda arm, name: rows)
    assert measure(data, "last_episodes.2", "").tolist() == [
        3.0,
        3.0,
    ]  # of seed 1 the last two of three
    assert measure(data, "last_episodes.100", "").tolist() == [3.0, 5.0]  # all that there are
    checks = pd.DataFrame({"seed": [0] * 4, "step": [0, 75, 80, 100], "goal": [True, True, True, False]})
    run = SimpleNamespace(config=SimpleNamespace(steps=100))
    data = SimpleNamespace(table=lambda arm, name: checks, run=lambda arm: run)
    assert measure(data, "late_checks.goal", "").tolist() == [0.5]
    with pytest.raises(Missing, match="needs route_left of greedy tests"):
        measure(data, "late_checks.route_left", "")


def test_steps_to_a_share_of_the_way_count_until_the_mean_of_200_episodes_has_come_so_far(
    tmp_path: Path,
) -> None:
    """From 50 to 150 after episode 400: of ten blocks two lift the mean above 67, a fifth of the way; four above 84."""
    made(tmp_path / "paper", range(2), curve=lambda seed, episode: 150.0 if episode > 400 and seed == 0 else 50.0)
    data = Data(load(tmp_path / "paper"))
    assert measure(data, "steps_to.20", "a3c-gru-ln").tolist() == [440 * 5 * 100, 2000 * 5 * 100]
    assert measure(data, "steps_to.50", "a3c-gru-ln").tolist() == [480 * 5 * 100, 2000 * 5 * 100]
    assert measure(data, "reaches.20", "a3c-gru-ln").tolist() == [1, 0]
    with pytest.raises(ValueError, match="unknown measure"):
        named("steps_to.100")


def test_steps_to_a_share_of_the_way_need_200_episodes_in_blocks_that_are_shorter(tmp_path: Path) -> None:
    for episodes, workers in ((100, 5), (40_000, 3)):
        made(tmp_path / "paper", range(2), episodes=episodes, workers=workers)
    data = Data(load(tmp_path / "paper"))
    for run in data.main.runs:
        with pytest.raises(Missing, match="over 200 episodes"):
            measure(data, "reaches.20", run.id)
