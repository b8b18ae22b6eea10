"""The driving environment: Gymnasium's own checks, what is observed, paid and told, seeding, scenarios and ends."""

import math
import subprocess
import sys
import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lnlab.envs  # noqa: F401  (registers the environment)
from lnlab.envs.driving import DrivingEnv
from lnlab.envs.images import PAD
from lnlab.envs.track import HALF_WIDTH, CentreLine, race_at_start

STILL, AHEAD = np.array([0.0, 0.0], np.float32), np.array([0.0, 0.2], np.float32)
RIGHT, BRAKE = np.array([1.0, 0.3], np.float32), np.array([0.0, -1.0], np.float32)

SETTINGS = [{}, {"scenario": "varied", "standing_bonus": False, "frame_skip": 1}, {"render_mode": "rgb_array"}]


@pytest.mark.parametrize("settings", SETTINGS)
def test_gymnasium_finds_no_fault(settings):
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*A Box observation space m..imum value is -?infinity")
        check_env(gymnasium.make("lnlab/Driving-v0", **settings).unwrapped)


def test_registering_loads_neither_physics_nor_pictures():
    code = "import sys, lnlab.envs; print({'Box2D', 'pygame', 'cv2', 'torch'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "set()\n"


def steered(env: DrivingEnv) -> np.ndarray:
    """An action that follows the road at a moderate speed, from what the vector says."""
    speed, _, _, *ahead = env._vector()
    forward, right = ahead[6], ahead[7]  # the fourth waypoint ahead, some 14 m off
    return np.array([np.clip(3 * math.atan2(right, max(forward, 1e-3)), -1, 1), 0.3 if speed < 0.3 else -0.1])


def test_a_driver_who_reads_the_waypoints_reaches_the_goal():
    """So waypoints, their frame and the signs of steering agree with the world; and the goal ends the episode."""
    for track_seed in (0, 1, 2):
        env = DrivingEnv(track_seed=track_seed)
        env.reset(seed=0)
        over = False
        while not over:
            _, _, terminated, truncated, info = env.step(steered(env))
            over = terminated or truncated
        assert (terminated, info["goal"], info["off_lane"]) == (True, True, False)
        assert info["reward"]["progress"] >= 200  # 2 × 100 at least
        assert -1 < info["route_left"] <= 5


def test_the_reward_is_the_sum_of_the_named_parts():
    env = DrivingEnv(terminate_off_lane=False)
    env.reset(seed=0)
    for t in range(100):
        _, reward, _, _, info = env.step(np.array([math.sin(t / 10) / 3, 0.4 * math.cos(t / 15)]))
        assert sum(info["reward"].values()) == reward
        assert list(info["reward"]) == ["efficiency", "lane_keeping", "comfort", "safety", "progress"]
    assert info["off_lane"]


def test_standing_pays_the_bonus_and_costs_the_fine():
    for bonus in (True, False):
        env = DrivingEnv(standing_bonus=bonus)
        _, info = env.reset(seed=0)
        rewards = [env.step(STILL)[1] for _ in range(5)]
        standing = 2 * 0.5 * 0.01 * info["route_left"] * bonus - 0.5
        assert rewards[0] == pytest.approx(20 - 0.5, abs=0.01)  # the start's waypoint, and no step before
        assert rewards[1] == pytest.approx(20 + standing, abs=0.01)  # the next one, 3.5 m ahead
        assert rewards[2:] == pytest.approx([standing] * 3, abs=0.01)


def test_the_vector_holds_what_the_info_tells():
    env = DrivingEnv()
    env.reset(seed=0)
    for t in range(30):
        observation, _, _, _, info = env.step(np.array([0.2 * math.sin(t / 5), 0.3]))
        expected = [info["speed"] / 30, info["lateral_deviation"] / HALF_WIDTH, info["heading_error"] / math.pi]
        assert observation["vector"][:3] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert env.observation_space.contains(observation)


def test_waypoints_lie_where_the_track_does():
    """Turned back into the plane they are track points, in order, up to 50 m off and to the end of the route."""
    env = DrivingEnv(route_length=60.0)
    env.reset(seed=0)
    points = np.array(CentreLine(race_at_start(0).track).points)
    for _ in range(40):
        observation, _, _, _, info = env.step(AHEAD)
        x, y, heading = info["pose"]
        ahead = observation["vector"][3:].reshape(25, 2) * 50  # (forward, right) m
        forward, right = (-math.sin(heading), math.cos(heading)), (math.cos(heading), math.sin(heading))
        place = (x, y) + ahead[:, :1] * forward + ahead[:, 1:] * right
        expected = points[env._next_waypoint : 18]  # 60 m hold 18 points, 3.5 m apart
        near = np.linalg.norm(expected - (x, y), axis=1) <= 50
        assert place[: len(expected)][near] == pytest.approx(expected[near], abs=1e-3)
        assert (ahead[: len(expected)][~near] == 0).all()
        assert (ahead[len(expected) :] == 0).all()


def test_right_is_positive():
    env = DrivingEnv(terminate_off_lane=False)
    env.reset(seed=0)
    for _ in range(25):
        observation, _, _, _, info = env.step(RIGHT)
    assert info["lateral_deviation"] > 1
    assert info["heading_error"] > 0.1
    assert observation["vector"][4] < 0  # the road is to the left


def test_throttle_is_gas_when_positive_and_brake_when_negative():
    env = DrivingEnv()
    env.reset(seed=0)
    speeds = [env.step(AHEAD)[4]["speed"] for _ in range(20)]
    assert speeds == sorted(speeds)
    slower = [env.step(BRAKE)[4]["speed"] for _ in range(5)]
    assert slower == sorted(slower, reverse=True)
    env.reset()
    assert all(env.step(BRAKE)[4]["speed"] < 0.1 for _ in range(5))  # no reverse gear


def test_actions_beyond_the_box_are_cut_off():
    ends = []
    for action in ([1.0, 1.0], [7.0, 3.0]):
        env = DrivingEnv(terminate_off_lane=False)
        env.reset(seed=0)
        ends.append([env.step(np.array(action))[4]["pose"] for _ in range(20)])
    assert ends[0] == ends[1]


def test_frames_are_stacked_and_padded_and_kept():
    env = DrivingEnv()
    observation, _ = env.reset(seed=0)
    assert (observation["image"][:3] == PAD).all()
    newest, kept = [observation["image"][3]], observation["image"].copy()
    for _ in range(5):
        last, observation = observation, env.step(AHEAD)[0]
        newest.append(observation["image"][3])
        assert np.array_equal(observation["image"][:3], last["image"][1:])
    assert np.array_equal(observation["image"], newest[-4:])
    again, _ = env.reset()
    assert np.array_equal(again["image"], kept)


def episode(env: gymnasium.Env, seed: int | None) -> tuple[np.ndarray, np.ndarray, list[float]]:
    observations, rewards = [env.reset(seed=seed)[0]], []
    for t in range(20):
        observation, reward, *_ = env.step(np.array([0.1 * math.sin(t), 0.3], np.float32))
        observations.append(observation)
        rewards.append(reward)
    return np.stack([o["image"] for o in observations]), np.stack([o["vector"] for o in observations]), rewards


def same(a: tuple, b: tuple) -> bool:
    return all(np.array_equal(x, y) for x, y in zip(a, b, strict=True))


def test_fixed_repeats_one_track_whatever_the_seed():
    env = DrivingEnv(track_seed=5)
    first = episode(env, seed=1)
    assert same(first, episode(env, seed=2))
    assert same(first, episode(env, seed=None))
    assert same(first, episode(DrivingEnv(track_seed=5), seed=None))
    assert not same(first, episode(DrivingEnv(track_seed=6), seed=1))


def test_varied_draws_tracks_from_the_seed():
    env, other = DrivingEnv(scenario="varied"), DrivingEnv(scenario="varied")
    first = [episode(env, seed=1), episode(env, seed=None), episode(env, seed=None)]
    again = [episode(other, seed=1), episode(other, seed=None), episode(other, seed=None)]
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1])
    assert not same(first[1], first[2])
    assert same(first[0], episode(DrivingEnv(track_seed=1), seed=None))


def test_leaving_the_road_ends_the_episode_where_chosen():
    env = DrivingEnv()
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, _, terminated, truncated, info = env.step(RIGHT)
        assert terminated == info["off_lane"] == (abs(info["lateral_deviation"]) > HALF_WIDTH)
        assert not truncated
    assert info["reward"]["safety"] + info["reward"]["lane_keeping"] == -62
    with pytest.raises(RuntimeError, match="reset"):
        env.step(RIGHT)
    lasting = DrivingEnv(terminate_off_lane=False, max_steps=60)
    lasting.reset(seed=0)
    ends = [lasting.step(RIGHT)[2:4] for _ in range(60)]
    assert set(ends[:-1]) == {(False, False)}
    assert ends[-1] == (False, True)


def test_the_playfield_ends_every_episode():
    env = DrivingEnv(terminate_off_lane=False)
    env.reset(seed=0)
    env.race.car.hull.position = (400.0, 0.0)
    assert env.step(STILL)[2]


def test_driving_the_wrong_way_is_fined():
    """Facing one way and sliding the other; ahead it is not."""
    for direction, fine in ((1.0, 0.0), (-1.0, -5.0)):
        env = DrivingEnv()
        env.reset(seed=0)
        heading = env.race.car.hull.angle
        for body in (env.race.car.hull, *env.race.car.wheels):
            body.linearVelocity = (-5 * direction * math.sin(heading), 5 * direction * math.cos(heading))
        assert env.step(STILL)[4]["reward"]["safety"] == fine


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scenario": "town"}, "scenario='town' is not allowed; choose one of fixed, varied"),
        ({"render_mode": "human"}, "render_mode='human' is not allowed; choose one of rgb_array"),
        ({"frame_skip": 0}, "frame_skip=0 is not allowed; it must be a whole number, 1 or more"),
        ({"frame_skip": 1.5}, "frame_skip=1.5 is not allowed"),
        ({"frame_skip": math.nan}, "frame_skip=nan is not allowed"),
        ({"max_steps": math.inf}, "max_steps=inf is not allowed"),
        ({"route_length": math.nan}, "route_length=nan is not allowed"),
        ({"max_steps": -1}, "max_steps=-1 is not allowed"),
    ],
)
def test_nonsense_is_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        DrivingEnv(**settings)


@pytest.mark.parametrize("action", [(math.nan, 1.0), (0.0, math.nan), (math.nan, math.nan)])
def test_an_action_that_is_not_a_number_is_refused_and_leaves_the_car_where_it_is(action):
    env, other = DrivingEnv(), DrivingEnv()
    env.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(
        ValueError, match=r"action array.*nan.* is not allowed; steer and throttle are numbers in \[-1, 1"
    ):
        env.step(np.array(action))
    np.testing.assert_equal(env.step(np.array([9.0, math.inf])), other.step(np.array([1.0, 1.0])))  # cut off


def test_a_route_longer_than_the_track_is_refused():
    env = DrivingEnv(route_length=5000.0)
    with pytest.raises(ValueError, match=r"route_length=5000 m is not allowed: the track is 1\d\d\d m long"):
        env.reset(seed=0)
