"""Greedy episodes: tests on tracks that training does not see, and one on the training track to be watched."""

from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np

from lnlab.config import TD3Config
from lnlab.envs.images import make_env
from lnlab.trainers.schedule import Purpose
from lnlab.trainers.steps import outcome
from lnlab.trainers.td3 import TD3

DRIVING = "lnlab/Driving-v0"
OTHER_TRACKS = {DRIVING: {"scenario": "varied"}}  # options of the environment in tests


def test(config: TD3Config, learner: TD3, episodes: int) -> list[dict[str, Any]]:
    """Rows of `checks`. The test episodes are the same for every seed and arm: their seeds depend on nothing else."""
    env = make_env(config.env, **OTHER_TRACKS.get(config.env, {}))
    rows = []
    for number in range(episodes):
        seed = int(np.random.default_rng([Purpose.TEST_EPISODE, number]).integers(2**31))
        rewards, last = [], (False, dict[str, Any]())
        for _, _, reward, terminated, info in greedy(env, learner, seed):
            rewards.append(reward)
            last = terminated, info
        row = {"episode": number, "return": float(np.sum(rewards)), "length": len(rewards), "terminated": last[0]}
        rows.append(row | outcome(last[1]))
    env.close()
    return rows


def drive(config: TD3Config, learner: TD3, seed: int) -> list[dict[str, Any]]:
    """Rows of `drives`: where the car was in one greedy episode on the training track; none without a car."""
    if config.env != DRIVING:
        return []
    env = make_env(config.env)
    rows = []
    for t, action, _, _, info in greedy(env, learner, seed):
        x, y, heading = info["pose"]
        place = {"t": t, "track_seed": info["track_seed"], "x": x, "y": y, "heading": heading, "speed": info["speed"]}
        rows.append(place | {"steer": float(action[0]), "throttle": float(action[1])})
    env.close()
    return rows


def greedy(
    env: gymnasium.Env[Any, Any], learner: TD3, seed: int
) -> Iterator[tuple[int, np.ndarray, float, bool, dict[str, Any]]]:
    """One episode of the policy without noise: time, action, reward, terminated, info."""
    obs, _ = env.reset(seed=seed)
    ended, t = False, 0
    while not ended:
        action = learner.act(obs)
        obs, reward, terminated, truncated, info = env.step(action)
        t, ended = t + 1, terminated or truncated
        yield t, action, float(reward), terminated, info
