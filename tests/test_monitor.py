"""Alerts by hand and on the original's published numbers; early stopping; event files read back."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from lnlab.paths import BOOK
from lnlab.trainers.monitor import RULES, EarlyStopping, alerts, first_fired
from lnlab.trainers.watchers import EventWriter

BEFORE = {"actor_feature_norm_probe": 16.0, "critic_feature_norm_probe": 15.0}
HEALTHY = {
    "step": 1100,
    "alive": True,
    "td_error_1": 5.0,
    "td_error_2": 6.0,
    "q1_mean": 80.0,
    "q1_std": 4.0,
    "q_max": 90.0,
    "q_bound": 120.0,
    "actor_q": 82.0,
    "critic_q": 81.0,
    "actor_mlp_grad_norm": 0.3,
    "actor_grad_norm": 40.0,
    "saturation": 0.4,
    "actor_feature_norm_probe": 30.0,
    "critic_feature_norm_probe": 28.0,
}


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        ({"td_error_2": 50.1}, "td_error"),
        ({"td_error_1": 50.1, "td_error_2": np.nan}, "td_error"),  # DDPG has one critic
        ({"q1_mean": 1001.0}, "q_value"),
        ({"actor_q": 811.0}, "actor_critic_ratio"),
        ({"actor_q": -811.0}, "actor_critic_ratio"),
        ({"actor_q": 41.0, "critic_q": 0.0}, "actor_critic_ratio"),  # against the spread of Q, 4
        ({"actor_mlp_grad_norm": 0.0}, "actor_mlp_gradient"),
        ({"saturation": 0.91}, "saturation"),
        ({"actor_feature_norm_probe": 161.0}, "feature_growth"),
        ({"critic_feature_norm_probe": 151.0}, "feature_growth"),
        ({"actor_grad_norm": 1001.0}, "actor_gradient"),
        ({"alive": False}, "diverged"),
        ({"q_max": 120.02}, "q_bound"),
    ],
)
def test_each_rule_fires_just_past_its_limit_and_alone(change: dict[str, float], rule: str) -> None:
    assert alerts(HEALTHY | change, BEFORE) == [rule]


def test_a_healthy_row_and_numbers_that_are_missing_fire_nothing() -> None:
    assert alerts(HEALTHY, BEFORE) == alerts({"step": 100, "return": -499.0}) == []
    assert alerts(dict.fromkeys(HEALTHY, np.nan), BEFORE) == []
    assert alerts(HEALTHY | {"actor_feature_norm_probe": 1e12}) == []  # nothing to compare it with
    assert alerts({"step": 100}) == []


def test_the_first_step_of_each_rule_and_seed() -> None:
    rows = [{"seed": seed, **HEALTHY, "step": step} for seed in (0, 1) for step in (100, 200, 300)]
    records = pd.DataFrame(rows)
    records.loc[[1, 2], "saturation"] = 1.0
    records.loc[5, "critic_feature_norm_probe"] = 281.0
    records.loc[2, "critic_feature_norm_probe"] = 279.0
    returns = pd.DataFrame({"seed": [0, 1, 1], "step": [150, 80, 250], "return": [-1.0, -501.0, -600.0]})
    fired = first_fired(records, returns)
    assert len(fired) == 2 * len(RULES)
    assert {(row.rule, row.seed): row.step for row in fired.dropna().itertuples()} == {
        ("saturation", 0): 200,
        ("feature_growth", 1): 300,
        ("return", 1): 80,
    }


def test_on_the_originals_numbers_its_own_rules_stay_silent_and_the_others_fire_at_once() -> None:
    fired = first_fired(pd.read_csv(BOOK / "claims" / "d5-original.csv")).set_index(["seed", "rule"])["step"]
    plain, normed = fired[1].to_dict(), fired[2].to_dict()
    assert all(np.isnan(plain[rule]) for rule in ("td_error", "q_value", "return"))
    assert {rule: plain[rule] for rule in ("actor_critic_ratio", "actor_mlp_gradient", "actor_gradient")} == {
        "actor_critic_ratio": 1100,
        "actor_mlp_gradient": 1100,
        "actor_gradient": 1100,
    }
    assert plain["feature_growth"] == 5000  # the only time its features were printed
    assert "saturation" not in plain  # not recorded
    assert {rule: step for rule, step in normed.items() if not np.isnan(step)} == {
        "actor_critic_ratio": 3900,
        "actor_mlp_gradient": 1100,
    }


def stops_at(stopping: EarlyStopping, episodes: list[tuple[int, float]]) -> int | None:
    """The step of the episode at which it first said stop."""
    for step, episode_return in episodes:
        stopping.add(step, episode_return)
        if stopping.stopped:
            return step
    return None


@pytest.mark.parametrize(
    ("later", "at"),
    [
        ([(1000, 0.0), (1500, 0.0), (1999, 0.0), (2000, 0.0), (3000, 0.0)], 2000),  # the first mean, at 1000, is best
        ([(1000, 0.0), (1999, 999.0), (2000, 0.0)], 2000),  # the mean rises by 9.99
        ([(1000, 0.0), (1999, 1000.0), (2998, 0.0), (2999, 0.0)], 2999),  # by 10
    ],
)
def test_early_stopping_waits_for_a_gain(later: list[tuple[int, float]], at: int) -> None:
    silent = [(10 * n, 0.0) for n in range(1, 100)]  # under 100 episodes there is no mean
    assert stops_at(EarlyStopping(1000, 10.0), silent + later) == at


@pytest.mark.parametrize("lost", [np.nan, np.inf])
def test_early_stopping_looks_past_an_episode_without_a_return(lost: float) -> None:
    rising = [(10 * n, float(n)) for n in range(1, 400)]
    assert stops_at(EarlyStopping(1000, 10.0), rising) is None
    assert stops_at(EarlyStopping(1000, 10.0), [*rising[:150], (1505, lost), *rising[150:]]) is None
    flat = [(step, 0.0) for step, _ in rising]
    at = stops_at(EarlyStopping(1000, 10.0), flat)
    assert at == 2000
    assert stops_at(EarlyStopping(1000, 10.0), [*flat[:150], (1505, lost), *flat[150:]]) == at
    assert stops_at(EarlyStopping(1000, 10.0), [(step, lost) for step, _ in rising]) == 1000  # no return, no gain


def test_early_stopping_goes_on_where_it_was() -> None:
    returns = np.random.default_rng(0).normal(size=400).cumsum()
    episodes = [(10 * n, float(value)) for n, value in enumerate(returns)]
    whole, first, second = (EarlyStopping(300, 5.0) for _ in range(3))
    at = stops_at(whole, episodes)
    assert at is not None
    assert at > 1150
    assert stops_at(first, episodes[:115]) is None
    second.load_state_dict(first.state_dict())
    assert stops_at(second, episodes[115:]) == at
    first.load_state_dict(second.state_dict())
    first.add(at + 10, 1e9)
    assert first.stopped


pytest.importorskip("tensorboard")


def charts(folder: Path) -> dict[str, list[tuple[int, float]]]:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(folder))
    events.Reload()
    return {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"]}


def record(step: int, loss: float) -> dict[str, float | str]:
    return {"seed": 3, "step": step, "phase": "policy", "critic_loss": loss, "actor_q": float("nan")}


def test_tags_are_tables_and_columns_and_a_run_that_goes_on_from_a_checkpoint_repeats_nothing(tmp_path: Path) -> None:
    killed = EventWriter(tmp_path)
    for step in (100, 200, 300):  # the checkpoint was at 200
        killed.add("records", record(step, loss=step))
    killed.flush()
    resumed = EventWriter(tmp_path, step=200)
    for step in (300, 400):
        resumed.add("records", record(step, loss=-step))
    resumed.add("returns", {"seed": 3, "step": 317, "return": -4.0, "off_lane": True})
    resumed.close()
    assert charts(tmp_path) == {
        "records/critic_loss": [(100, 100), (200, 200), (300, -300), (400, -400)],
        "returns/return": [(317, -4.0)],
        "returns/off_lane": [(317, 1.0)],
    }
