"""The driving environment: Gymnasium's own checks, what is observed, paid and told, seeding, scenarios and ends; its
motion and pictures beside stock CarRacing-v3's; the reward by hand; the layout of other environments; its timing."""

import json
import math
import subprocess
import sys
import warnings
from functools import partial
from itertools import pairwise
from pathlib import Path

import cv2
import gymnasium
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import FPS, CarRacing
from gymnasium.spaces import Box, Dict, Discrete
from gymnasium.utils.env_checker import check_env

import lnlab.envs  # noqa: F401  (registers the environment)
from benchmarks import driving, machine
from lnlab.config import ConfigError
from lnlab.envs.driving import DrivingEnv
from lnlab.envs.driving_reward import (
    WEIGHTS,
    Situation,
    comfort,
    components,
    efficiency,
    lane_keeping,
    progress,
    safety,
)
from lnlab.envs.images import PAD, make_env
from lnlab.envs.road import Painter, Pose, redraw
from lnlab.envs.track import HALF_WIDTH, CentreLine, race_at_start

STILL, AHEAD = np.array([0.0, 0.0], np.float32), np.array([0.0, 0.2], np.float32)
RIGHT, BRAKE = np.array([1.0, 0.3], np.float32), np.array([0.0, -1.0], np.float32)


@pytest.mark.parametrize("settings", [{"render_mode": "rgb_array"}, {"scenario": "varied", "frame_skip": 1}])
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
    env = DrivingEnv(track_seed=1)
    env.reset(seed=0)
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(steered(env))
        over = terminated or truncated
        assert sum(info["reward"].values()) == reward
        expected = [info["speed"] / 30, info["lateral_deviation"] / HALF_WIDTH, info["heading_error"] / math.pi]
        assert observation["vector"][:3] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert env.observation_space.contains(observation)
    assert (terminated, info["goal"], info["off_lane"]) == (True, True, False)
    assert info["reward"]["progress"] >= 200  # 2 × 100 at least
    assert -1 < info["route_left"] <= 5


def test_standing_pays_the_bonus_and_costs_the_fine():
    for bonus in (True, False):
        env = DrivingEnv(standing_bonus=bonus)
        _, info = env.reset(seed=0)
        rewards = [env.step(STILL)[1] for _ in range(5)]
        standing = 2 * 0.5 * 0.01 * info["route_left"] * bonus - 0.5
        assert rewards[0] == pytest.approx(20 - 0.5, abs=0.01)  # the start's waypoint, and no step before
        assert rewards[1] == pytest.approx(20 + standing, abs=0.01)  # the next one, 3.5 m ahead
        assert rewards[2:] == pytest.approx([standing] * 3, abs=0.01)


def test_waypoints_lie_where_the_track_does():
    """Turned back into the plane they are track points, in order, up to 50 m off and to the end of the route."""
    env = DrivingEnv(route_length=60.0)
    env.reset(seed=0)
    points = np.array(CentreLine(race_at_start(0).track).points)
    for _ in range(25):
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


def test_right_is_positive_gas_speeds_up_and_the_brake_is_no_reverse_gear():
    env = DrivingEnv(terminate_off_lane=False)
    env.reset(seed=0)
    for _ in range(25):
        observation, _, _, _, info = env.step(RIGHT)
    assert info["lateral_deviation"] > 1
    assert info["heading_error"] > 0.1
    assert observation["vector"][4] < 0  # the road is to the left
    env.reset()
    speeds = [env.step(AHEAD)[4]["speed"] for _ in range(20)]
    assert speeds == sorted(speeds)
    slower = [env.step(BRAKE)[4]["speed"] for _ in range(5)]
    assert slower == sorted(slower, reverse=True)
    env.reset()
    assert all(env.step(BRAKE)[4]["speed"] < 0.1 for _ in range(5))


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
    for t in range(5):
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
    assert not same(first, episode(DrivingEnv(track_seed=6), seed=1))


def test_varied_draws_tracks_from_the_seed():
    env, other = DrivingEnv(scenario="varied"), DrivingEnv(scenario="varied")
    first, again = ([episode(each, seed=seed) for seed in (1, None)] for each in (env, other))
    assert all(same(a, b) for a, b in zip(first, again, strict=True))
    assert not same(first[0], first[1])
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


def test_driving_the_wrong_way_is_fined():
    """Facing one way and sliding the other; ahead it is not."""
    for direction, fine in ((1.0, 0.0), (-1.0, -5.0)):
        env = DrivingEnv()
        env.reset(seed=0)
        heading = env.race.car.hull.angle
        for body in (env.race.car.hull, *env.race.car.wheels):
            body.linearVelocity = (-5 * direction * math.sin(heading), 5 * direction * math.cos(heading))
        assert env.step(STILL)[4]["reward"]["safety"] == fine


def test_an_action_that_is_not_a_number_is_refused_and_one_outside_is_cut_off():
    env, other = DrivingEnv(), DrivingEnv()
    env.reset(seed=0)
    other.reset(seed=0)
    with pytest.raises(ValueError, match=r"action array.*nan.* is not allowed; steer and throttle are numbers"):
        env.step(np.array([0.0, math.nan]))
    np.testing.assert_equal(env.step(np.array([9.0, math.inf])), other.step(np.array([1.0, 1.0])))  # as if not asked
    with pytest.raises(ValueError, match=r"route_length=5000 m is not allowed: the track is 1\d\d\d m long"):
        DrivingEnv(route_length=5000.0).reset(seed=0)


def test_smaller_pictures_show_the_same():
    large, small = DrivingEnv(), make_env("lnlab/DrivingSmall-v0")
    assert small.observation_space["image"] == Box(0, 255, (4, 42, 42), np.uint8)
    pictures = [env.reset(seed=1)[0]["image"][-1].astype(float) for env in (large, small)]
    merged = pictures[0].reshape(42, 2, 42, 2).mean((1, 3))
    assert np.abs(merged - pictures[1]).mean() < 1 < merged.std() / 10
    with pytest.raises(ValueError, match="side=35 is not allowed; it must be a whole number, 36 or more"):
        DrivingEnv(side=35)


def test_stock_car_racing_is_made_grey_scaled_and_stacked():
    assert make_env("lnlab/Driving-v0", scenario="varied").unwrapped.scenario == "varied"  # in the layout already
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


UNIT, PICTURE = Box(-1, 1, (2,)), Box(0, 255, (48, 40), np.uint8)


@pytest.mark.parametrize(
    ("observation", "action", "message"),
    [
        (Discrete(3), UNIT, r"observes Discrete\(3\); needed: a Box of pictures"),
        (Box(0, 1, (84, 84, 3)), UNIT, "needed: a Box of pictures"),  # not uint8
        (Dict(image=Box(0, 255, (4, 84, 84), np.uint8), depth=PICTURE), UNIT, "needed: a Box of pictures"),
        (PICTURE, Discrete(5), r"acts by Discrete\(5\); needed: a Box \(A,\) with finite bounds"),
        (PICTURE, Box(-np.inf, np.inf, (2,)), "with finite bounds"),
    ],
)
def test_other_environments_are_refused(observation, action, message, monkeypatch):
    env = gymnasium.Env()
    env.observation_space, env.action_space = observation, action
    monkeypatch.setitem(gymnasium.registry, "fake/Fake-v0", None)
    monkeypatch.setattr(gymnasium, "make", lambda name, **options: env)
    with pytest.raises(ConfigError, match=f"env='fake/Fake-v0' is not allowed: .*{message}"):
        make_env("fake/Fake-v0")


STEPS = 400


def motion(race: CarRacing) -> list[float]:
    """All that moves: pose, velocity and spin of hull and wheels, and what the wheels keep between steps."""
    hull = race.car.hull
    values = [*hull.position, hull.angle, *hull.linearVelocity, hull.angularVelocity]
    for w in race.car.wheels:
        values += [*w.position, w.angle, *w.linearVelocity, w.angularVelocity, w.omega, w.phase]
        values += [w.joint.angle, float(w.gas), float(w.brake), len(w.tiles)]
    return values


def actions(seed: int) -> np.ndarray:
    """Steer and throttle that hold for ten steps each: enough to leave the road and to brake."""
    drawn = np.random.default_rng(seed).uniform((-0.5, -0.35), (0.5, 0.65), (STEPS // 10, 2))
    return drawn.repeat(10, axis=0)


def stock_action(action: np.ndarray) -> np.ndarray:
    return np.array([action[0], max(action[1], 0.0), max(-action[1], 0.0)])


@pytest.fixture
def undrawn(monkeypatch):
    """Stock without its pictures, which take most of its time and move nothing."""
    monkeypatch.setattr(CarRacing, "_render", lambda self, mode: None)


def test_the_car_moves_as_in_stock_on_and_off_the_road(undrawn):
    env, stock = DrivingEnv(track_seed=3, frame_skip=1, terminate_off_lane=False, route_length=800), CarRacing()
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.array([0.3, 0.8]))
    env.reset()  # on a track that stands
    stock.reset(seed=3)
    off_lane = 0
    for t, action in enumerate(actions(0)):
        stock.step(stock_action(action))
        info = env.step(action)[4]
        off_lane += info["off_lane"]
        assert motion(env.race) == motion(stock), t
    assert 50 < off_lane < STEPS - 50  # both grounds were driven on


def test_a_varied_episode_is_stocks_of_its_track_seed_and_a_decision_is_two_of_its_steps(undrawn):
    env = DrivingEnv(scenario="varied", terminate_off_lane=False)
    stock = CarRacing()
    for options in ({"seed": 11}, {}):
        _, info = env.reset(**options)
        stock.reset(seed=info["track_seed"])
        for t, action in enumerate(actions(2)[:20]):
            for _ in range(2):
                stock.step(stock_action(action))
            env.step(action)
            assert motion(env.race) == motion(stock), t


SQUARE = [  # of 10 m, driven anticlockwise from the origin along +x; at its corners the headings are the halves
    (0.0, -3 * math.pi / 4, 0.0, 0.0),
    (0.0, -math.pi / 4, 10.0, 0.0),
    (0.0, math.pi / 4, 10.0, 10.0),
    (0.0, 3 * math.pi / 4, 0.0, 10.0),
]


@pytest.mark.parametrize(
    ("x", "y", "start", "segment", "station", "right"),
    [
        (4.0, 0.0, 0, 0, 4.0, 0.0),
        (4.0, 1.0, 0, 0, 3.75, -1.0),  # inside the square is left; the cross lines are 3/√2 and 5/√2 away
        (4.0, -1.0, 0, 0, 10 * 5 / 12, 1.0),
        (9.0, 6.0, 0, 1, 10 + 10 * 5 / 8, -1.0),  # found from the segment before
        (13.0, -4.0, 1, 0, 10 * 17 / 18, 4.0),  # outside the corner, from the segment behind it
        (-1.0, 4.0, 0, -1, -10 * 5 / 12, 1.0),  # behind the start
        (4.0, -1.0, 4, 4, 40 + 10 * 5 / 12, 1.0),  # a lap later
    ],
)
def test_positions_on_a_square(x, y, start, segment, station, right):
    at = CentreLine(SQUARE).project(x, y, start)
    assert (at.segment, at.station, at.right) == pytest.approx((segment, station, right))
    if segment == 0 and y == 0:  # the heading turns evenly between the points
        assert at.heading == pytest.approx(-3 * math.pi / 4 + x / 10 * math.pi / 2)


@pytest.mark.parametrize("offset", [-0.95 * HALF_WIDTH, 0.95 * HALF_WIDTH])
def test_the_station_grows_without_leaps_along_either_edge_of_a_track(offset):
    race = race_at_start(5)
    line, places = CentreLine(race.track), []
    for (_, a, ax, ay), (_, b, bx, by) in pairwise(race.track):
        start = np.array([ax + offset * math.cos(a), ay + offset * math.sin(a)])
        end = np.array([bx + offset * math.cos(b), by + offset * math.sin(b)])
        places += [start + (end - start) * part / 10 for part in range(10)]
    stations, segment = [], 0
    for x, y in places:
        at = line.project(x, y, segment)
        segment = at.segment
        stations.append(at.station)
        assert at.right == pytest.approx(offset, abs=0.02 * HALF_WIDTH)
    assert np.diff(stations) == pytest.approx(0.35, abs=0.01)


ABOVE_INDICATORS = 7 / 8  # share of the height: stock's row of indicators lies below
SEED = 3


@pytest.fixture(scope="module")
def stock_drive() -> list[tuple[np.ndarray, Pose]]:
    """Stock's pictures, (96, 96, 3), and the poses they show, after the second in which stock zooms in."""
    stock, rng, kept = CarRacing(), np.random.default_rng(SEED), []
    stock.reset(seed=SEED)
    draw, stock._render = stock._render, lambda mode: draw(mode) if t >= FPS and t % 10 == 0 else None
    for t in range(4 * FPS):
        if t % 10 == 0:
            steer, gas = rng.uniform((-0.4, 0.0), (0.4, 0.4))
        picture = stock.step(np.array([steer, gas, 0.0]))[0]
        if t >= FPS and t % 10 == 0:
            kept.append((picture, (*stock.car.hull.position, stock.car.hull.angle)))
    return kept


def difference(painter: Painter, theirs: np.ndarray, pose: Pose) -> float:
    """Mean absolute difference above the indicators, in levels of 255."""
    ours = painter.draw(*pose)
    rows = math.floor(len(ours) * ABOVE_INDICATORS)
    return float(np.abs(theirs.astype(int) - ours)[:rows].mean())


def test_grey_pictures_are_stocks(stock_drive):
    """0.5 levels on average; a car 0.7 m (a pixel) to the side or turned by 0.03 rad makes over three times as many."""
    painter = Painter(race_at_start(SEED).scenery, (84, 84))
    pictures = [(frame(picture), pose) for picture, pose in stock_drive]
    assert np.mean([difference(painter, picture, pose) for picture, pose in pictures]) < 0.6
    assert max(difference(painter, picture, pose) for picture, pose in pictures) < 0.8
    aside = [(p, (x + 0.7 * math.cos(angle), y + 0.7 * math.sin(angle), angle)) for p, (x, y, angle) in pictures]
    turned = [(p, (x, y, angle + 0.03)) for p, (x, y, angle) in pictures]
    for wrong in (aside, turned):
        assert np.mean([difference(painter, picture, pose) for picture, pose in wrong]) > 1.2


def test_coloured_pictures_are_stocks(stock_drive):
    painter = Painter(race_at_start(SEED).scenery, (96, 96), coloured=True)
    assert np.mean([difference(painter, picture, pose) for picture, pose in stock_drive]) < 0.3


def test_poses_and_track_give_the_frames_of_the_episode():
    """Though the car has touched the tiles, which stock repaints."""
    env = DrivingEnv(scenario="varied", terminate_off_lane=False, render_mode="rgb_array")
    observation, info = env.reset(seed=4)
    poses, frames = [info["pose"]], [observation["image"][-1]]
    for t in range(25):
        observation, _, _, _, info = env.step(np.array([0.4 * math.sin(t / 5), 0.3]))
        poses.append(info["pose"])
        frames.append(observation["image"][-1])
    track_seed = info["track_seed"]
    painter = Painter(race_at_start(track_seed).scenery, (84, 84))
    assert all(np.array_equal(painter.draw(*pose), frame) for pose, frame in zip(poses, frames, strict=True))
    assert not np.array_equal(frames[5], frames[-1])
    pictures = redraw(track_seed, poses[-2:])
    assert pictures[0].shape == (400, 500, 3)
    assert np.array_equal(pictures[1], env.render())


CRUISING = Situation(
    speed=8.33,
    heading_error=0.0,
    deviation=0.0,
    off_lane=False,
    jerk=0.0,
    wrong_way=False,
    route_left=100.0,
    route_left_before=100.0,
    waypoint=False,
    goal=False,
)


def but(**changes: float | bool | None) -> Situation:
    return CRUISING._replace(**changes)


@pytest.mark.parametrize(
    ("part", "situation", "value"),
    [
        (efficiency, but(), 1.0),
        (efficiency, but(speed=4.165), 0.5),
        (efficiency, but(speed=20.0), 1.0),
        (efficiency, but(heading_error=math.pi / 3), 0.5),
        (efficiency, but(heading_error=math.pi, speed=40.0), -1.0),
        (lane_keeping, but(), 0.5),
        (lane_keeping, but(deviation=-0.5), (0.65 + 1.0) / 2 - 0.5),
        (lane_keeping, but(deviation=1.0, heading_error=0.1), 0.0),
        (lane_keeping, but(heading_error=-0.05), (1.0 + 0.85) / 2 - 0.5),
        (lane_keeping, but(heading_error=2.0), (1.0 + 0.7) / 2 - 0.5),
        (lane_keeping, but(speed=1.55), 0.25),  # half of the way from 0.1 to 3 m/s
        (lane_keeping, but(speed=0.09), 0.0),
        (lane_keeping, but(off_lane=True, speed=0.0), -1.0),
        (comfort, but(), 0.3),
        (comfort, but(jerk=2.5), 0.15),
        (comfort, but(jerk=7.5), -0.075),
        (comfort, but(jerk=1e6), -0.3),
        (comfort, but(speed=0.1 + 2.9 / 4), 0.15),  # √(1/4)
        (comfort, but(speed=0.05, jerk=1e6), 0.0),
        (safety, but(), 0.0),
        (safety, but(off_lane=True, speed=0.0), -60.0),  # standing counts on the road alone
        (safety, but(wrong_way=True, off_lane=True), -65.0),
        (safety, but(speed=0.4), -0.5),
        (safety, but(speed=0.4, route_left=10.0), -0.3),
        (safety, but(speed=0.4, route_left=5.0), -0.1),
        (progress, but(), 0.5),  # 0.5 · (100 - 99)
        (progress, but(route_left=99.9), 50 * 0.1 + 0.5 * (100 - 0.99 * 99.9)),
        (progress, but(route_left_before=None), 0.0),
        (progress, but(waypoint=True), 10.5),
        (progress, but(goal=True, waypoint=True, route_left_before=None), 110.0),
        (progress, but(route_left=90.0, waypoint=True), 110.0),
        (progress, but(route_left=101.0), -10.0),
        (partial(progress, standing_bonus=False), but(route_left=99.9), 5.0),
    ],
)
def test_the_parts_of_the_reward_by_hand(part, situation, value):
    assert part(situation) == pytest.approx(value)


def test_standing_at_the_originals_start_pays_what_the_original_logged():
    """2.2942 for progress and -0.5 for standing, at 229.42 m from the goal: 1.79 a step for doing nothing."""
    parts = components(but(speed=0.0, route_left=229.42, route_left_before=229.42))
    assert parts["progress"] == pytest.approx(2.2942)
    assert sum(parts.values()) == pytest.approx(1.7942)


def test_components_are_weighted_and_named():
    parts = components(but(jerk=2.5))
    assert list(parts) == list(WEIGHTS) == ["efficiency", "lane_keeping", "comfort", "safety", "progress"]
    assert list(parts.values()) == pytest.approx([1.0, 2 * 0.5, 0.5 * 0.15, 0.0, 2 * 0.5])


def test_all_take_turns_and_ratios_are_to_stock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(machine, "RESULTS", tmp_path)
    monkeypatch.setattr(driving, "envpool_version", lambda: None)
    reached = driving.main(rounds=1, seconds=0.0)
    printed, kept = capsys.readouterr().out, json.loads((tmp_path / "driving.json").read_text())
    speeds = {name: figures["steps_per_second"]["median"] for name, figures in kept["peers"].items()}
    for name, figures in kept["peers"].items():
        assert name in printed
        assert figures["ratio_stock"]["median"] == pytest.approx(speeds[name] / speeds[driving.STOCK])
    assert min(speeds.values()) > 0
    assert reached == (kept["peers"][driving.ALIKE]["ratio_stock"]["median"] >= kept["goal_ratio"])
    assert "EnvPool is not installed" in printed


def test_without_images_the_car_drives_and_earns_the_same():
    seen, blind = (DrivingEnv(images=images) for images in (True, False))
    starts = [env.reset(seed=0)[0] for env in (seen, blind)]
    assert set(starts[1]) == set(blind.observation_space.spaces) == {"vector"}
    for _ in range(5):
        first, second = (env.step(np.array([0.1, 0.5], np.float32)) for env in (seen, blind))
        np.testing.assert_array_equal(first[0]["vector"], second[0]["vector"])
        assert first[1:4] == second[1:4]
