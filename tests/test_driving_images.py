"""The common layout of observations and actions, for environments of pictures and of numbers."""

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete

from lnlab.config import ConfigError
from lnlab.envs.images import PAD, ImageView, make_env


def test_driving_is_in_the_layout_already():
    env = make_env("lnlab/Driving-v0", scenario="varied")
    observation, _ = env.reset(seed=0)
    assert {name: (part.shape, part.dtype) for name, part in observation.items()} == {
        "image": ((4, 84, 84), np.uint8),
        "vector": ((53,), np.float32),
    }
    assert env.action_space == Box(-1, 1, (2,))
    assert env.unwrapped.scenario == "varied"


def test_stock_car_racing_is_made_grey_scaled_and_stacked():
    env, stock = make_env("CarRacing-v3"), gymnasium.make("CarRacing-v3")
    assert env.observation_space == Dict(image=Box(0, 255, (4, 84, 84), np.uint8))
    observation, _ = env.reset(seed=1)
    picture, _ = stock.reset(seed=1)
    frames = [np.full((84, 84), PAD)] * 3 + [frame(picture)]
    for _ in range(3):
        assert np.array_equal(observation["image"], frames[-4:])
        observation = env.step(np.array([0.5, 0.0, -1.0], np.float32))[0]
        frames.append(frame(stock.step(np.array([0.5, 0.5, 0.0], np.float32))[0]))  # gas and brake run from 0 to 1
    assert env.observation_space.contains(observation)


def frame(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)


def test_pendulum_keeps_its_numbers_and_takes_unit_actions():
    env, stock = make_env("Pendulum-v1"), gymnasium.make("Pendulum-v1")
    observation, expected = env.reset(seed=1)[0], stock.reset(seed=1)[0]
    for unit in (-1.0, 0.25, 1.0):
        assert set(observation) == {"vector"}
        assert np.array_equal(observation["vector"], expected)
        observation, reward, *_ = env.step(np.array([unit], np.float32))
        expected, paid, *_ = stock.step(np.array([2 * unit], np.float32))
        assert reward == paid
    assert env.action_space == Box(-1, 1, (1,))
    assert env.observation_space.contains(observation)


class Fake(gymnasium.Env):
    """An environment of given spaces."""

    def __init__(self, observation_space: gymnasium.Space, action_space: gymnasium.Space) -> None:
        self.observation_space, self.action_space = observation_space, action_space

    def reset(self, *, seed=None, options=None):
        return self.observation_space.sample(), {}


UNIT, PICTURE = Box(-1, 1, (2,)), Box(0, 255, (48, 40), np.uint8)


def test_grey_pictures_are_scaled_only():
    view = ImageView(Fake(PICTURE, UNIT))
    image = view.reset()[0]["image"]
    assert image.shape == (4, 84, 84)
    assert (image[:3] == PAD).all()


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (Discrete(3), UNIT, r"observes Discrete\(3\); needed: a Box of pictures"),
        (Box(0, 1, (84, 84, 3)), UNIT, "needed: a Box of pictures"),  # not uint8
        (Box(0, 255, (84, 84, 4), np.uint8), UNIT, "needed: a Box of pictures"),
        (Dict(image=PICTURE), UNIT, "needed: a Box of pictures"),
        (Dict(image=Box(0, 255, (4, 84, 84), np.uint8), depth=PICTURE), UNIT, "needed: a Box of pictures"),
        (PICTURE, Discrete(5), r"acts by Discrete\(5\); needed: a Box \(A,\) with finite bounds"),
        (PICTURE, Box(-np.inf, np.inf, (2,)), "with finite bounds"),
        (PICTURE, Box(-1, 1, (2, 2)), "with finite bounds"),
    ],
)
def test_other_environments_are_refused(observation, action, message, monkeypatch):
    monkeypatch.setitem(gymnasium.registry, "fake/Fake-v0", None)
    monkeypatch.setattr(gymnasium, "make", lambda name, **options: Fake(observation, action))
    with pytest.raises(ConfigError, match=f"env='fake/Fake-v0' is not allowed: .*{message}"):
        make_env("fake/Fake-v0")


@pytest.mark.parametrize(
    ("env", "message"),
    [
        ("NoSuch-v0", "no such environment; the nearest ids: "),
        ("pendulum-v1", "the nearest ids: Pendulum-v1,"),
        ("Pendulum-v0", "the nearest ids: .*Pendulum-v1"),  # withdrawn
        ("Pendulum", "the nearest ids: .*Pendulum-v1"),  # without a version it would be another environment some day
        ("lnlab/driving-v0", "the nearest ids: lnlab/Driving-v0,"),
        ("", "the nearest ids: "),
        ("../x", "the nearest ids: "),
        ("no_such_module:X-v0", "cannot be made here: No module named 'no_such_module'"),
        ("CartPole-v1", r"it acts by Discrete\(2\); needed: a Box"),
    ],
)
def test_an_environment_that_is_not_there_is_answered_in_one_line(env, message):
    with pytest.raises(ConfigError, match=message) as refused:
        make_env(env)
    assert str(refused.value).startswith(f"env={env!r} is not allowed: ")
    assert "\n" not in str(refused.value)
