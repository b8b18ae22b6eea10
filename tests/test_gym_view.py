"""The Gymnasium view: Gymnasium's own checks, the same episode as the batch, seeding, limits and pictures."""

import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.utils.env_checker import check_env

import lnlab.envs  # noqa: F401  (registers the environment)
from lnlab.envs.gym_view import OffloadingEnv
from lnlab.envs.offloading import Noise, OffloadingBatch
from lnlab.envs.rules import LOCAL, STEPS

SETTINGS = [
    {},
    {"capacity": 100, "velocity": 100.0, "cloud": "refilled", "time_limit": "truncated", "render_mode": "ansi"},
    {"capacity": 150, "velocity": 5.0, "render_mode": "rgb_array"},
]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gymnasium_finds_no_fault(settings):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_env(gymnasium.make("lnlab/Offloading-v0", **settings).unwrapped)


def as_noise(env: OffloadingEnv) -> Noise:
    """The random numbers of the running episode, as the batch takes them."""
    script = env.vehicle.script
    units, duration, channel = (torch.tensor(part)[:, None] for part in (script.units, script.duration, script.channel))
    return Noise(torch.tensor([script.channel0]), units, duration, channel, torch.zeros(STEPS, 1))


@pytest.mark.parametrize("cloud", ["budget", "refilled"])
@pytest.mark.parametrize(("capacity", "velocity"), [(200, 10.0), (100, 35.0), (150, 100.0)])
def test_an_episode_equals_that_of_the_batch(cloud, capacity, velocity):
    env = gymnasium.make("lnlab/Offloading-v0", capacity=capacity, velocity=velocity, cloud=cloud)
    observation, _ = env.reset(seed=5)
    batch = OffloadingBatch(capacity, velocity, groups=1, cloud=cloud)
    expected = batch.reset(as_noise(env.unwrapped))
    for t, action in enumerate(np.random.default_rng(1).integers(0, 3, STEPS)):
        assert np.array_equal(observation, expected[0].numpy()), t
        assert env.observation_space.contains(observation)
        observation, reward, terminated, truncated, info = env.step(action)
        expected, paid = batch.step(torch.tensor([action]))
        assert np.float32(reward) == paid.item(), t
        assert (info["channel_good"], info["cloud_units"]) == (batch.channel.item(), batch.pool.item())
        assert (terminated, truncated) == (t == STEPS - 1, False)


def test_seeds_decide_everything_and_episodes_differ():
    def episode(env: gymnasium.Env, seed: int | None) -> np.ndarray:
        observations = [env.reset(seed=seed)[0]] + [env.step(t % 3)[0] for t in range(STEPS)]
        return np.stack(observations)

    env = gymnasium.make("lnlab/Offloading-v0")
    first, second = episode(env, 3), episode(env, None)
    assert np.array_equal(first, episode(gymnasium.make("lnlab/Offloading-v0"), 3))
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, episode(env, 4))


def test_the_end_can_be_told_as_truncation():
    env = gymnasium.make("lnlab/Offloading-v0", time_limit="truncated")
    env.reset(seed=0)
    ends = [env.step(LOCAL)[2:4] for _ in range(STEPS)]
    assert ends == [(False, False)] * 99 + [(False, True)]


def test_out_of_range_tasks_stay_in_the_observation_space():
    space = OffloadingEnv(capacity=100).observation_space
    assert space.high[42] == pytest.approx(1.99)
    assert np.delete(space.high, 42).max() == 1


def test_pictures_show_the_slots_and_the_rewards():
    text, pixels = (gymnasium.make("lnlab/Offloading-v0", render_mode=mode) for mode in ("ansi", "rgb_array"))
    for env in (text, pixels):
        env.reset(seed=0)
    empty = pixels.render()
    total = sum(text.step(LOCAL)[1] for _ in range(30))
    for _ in range(30):
        pixels.step(LOCAL)
    units, left = text.unwrapped.vehicle.local[0]
    assert f"{units:g}:{left:g}" in text.render()
    assert f"return {total:.2f}" in text.render()
    assert "step  30/100" in text.render()
    full = pixels.render()
    assert full.shape == empty.shape == (480, 640, 3)
    assert full.dtype == np.uint8
    assert (full != empty).any(axis=2).mean() > 0.05


def test_wrong_settings_and_actions_are_named_with_the_right_ones():
    for name, value, allowed in (
        ("cloud", "shared", "budget, refilled"),
        ("time_limit", "never", "terminated, truncated"),
        ("render_mode", "human", "rgb_array, ansi, None"),
    ):
        with pytest.raises(ValueError, match=f"{name}='{value}' is not allowed; choose one of {allowed}"):
            OffloadingEnv(**{name: value})
    with pytest.raises(ValueError, match="capacity=0"):
        OffloadingEnv(capacity=0)
    env = OffloadingEnv()
    with pytest.raises(RuntimeError, match="call reset"):
        env.step(LOCAL)
    env.reset()
    with pytest.raises(ValueError, match="action 3 is not allowed"):
        env.step(3)


def test_making_the_environment_by_name_loads_no_torch():
    code = (
        "import sys, gymnasium; gymnasium.make('lnlab.envs:lnlab/Offloading-v0').reset(seed=0); "
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("first", ["import gymnasium, lnlab", "import lnlab.envs, gymnasium"])
def test_it_is_registered_by_importing_the_package(first: str) -> None:
    line = f"{first}; print(gymnasium.make('lnlab/Offloading-v0').reset(seed=1)[0].shape)"
    done = subprocess.run([sys.executable, "-c", line], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(48,)"
