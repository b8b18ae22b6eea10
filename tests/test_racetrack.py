"""The other driving world: highway-env's racetrack in the terms of `lnlab/Driving-v0`. Tests of the world itself are
skipped without the extra `highway`; its arithmetic, and what is said without it, are not."""

import hashlib
import importlib.util
import math
import subprocess
import sys
import warnings
from pathlib import Path

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from lnlab import runs
from lnlab.cli import main
from lnlab.config import ConfigError
from lnlab.envs.images import make_env
from lnlab.envs.racetrack import RacetrackEnv, lap
from lnlab.envs.track import CentreLine

needs_highway = pytest.mark.skipif(importlib.util.find_spec("highway_env") is None, reason="highway-env is not there")
AHEAD, BRAKE = np.array([0.0, 0.2]), np.array([0.0, -1.0])


class Straight:
    """A lane of highway-env's from one point to another: y to the right of x."""

    def __init__(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        self.begin, self.way = np.array(begin), np.subtract(end, begin)
        self.length = float(np.linalg.norm(self.way))
        self.way = self.way / self.length

    def position(self, station: float, right: float) -> np.ndarray:
        return self.begin + station * self.way

    def local_coordinates(self, position: np.ndarray) -> tuple[float, float]:
        away = position - self.begin
        return float(away @ self.way), float(away @ (-self.way[1], self.way[0]))

    def heading_at(self, station: float) -> float:
        return math.atan2(self.way[1], self.way[0])


class Ring:
    """A square of 28 m, driven to the right, its roads joined."""

    corners = ((0.0, 0.0), (28.0, 0.0), (28.0, 28.0), (0.0, 28.0))

    def __init__(self) -> None:
        self.graph = {"a": {"b": [0]}, "b": {"c": [0]}, "c": {"d": [0]}, "d": {"a": [0]}}

    def get_lane(self, index: tuple[str, str, int]) -> Straight:
        return Straight(self.corners["abcd".index(index[0])], self.corners["abcd".index(index[1])])


def test_a_lap_begins_at_the_car_and_ends_before_it_with_y_turned_round() -> None:
    points = lap(Ring(), "a", 0, at=7.0)
    assert len(points) == 32  # 4 × 28 m / 3.5 m
    assert [point[2:] for point in points[:3]] == [(7.0, 0.0), (10.5, 0.0), (14.0, 0.0)]
    assert points[-1][2:] == pytest.approx((3.5, 0.0))
    assert points[8][2:] == pytest.approx((28.0, -7.0))  # a turn to the right leads to smaller y
    line = CentreLine(points)
    assert line.length == pytest.approx(4 * 28)
    at = line.project(12.0, -1.0, 0)  # right of the first road
    assert (at.station, at.right, at.heading) == pytest.approx((5.0, 1.0, -math.pi / 2))


def test_without_highway_env_a_line_says_what_to_install_and_nothing_is_made(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in [each for each in sys.modules if each.startswith("highway_env")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "highway_env", None)
    line = r"it needs highway-env, the extra `highway`: pip install 'highway-env>=1.12'"
    with pytest.raises(ConfigError, match=f"^env='lnlab/Racetrack-v0' is not allowed: .* {line}$"):
        make_env("lnlab/Racetrack-v0")
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    assert main(["train", "algorithm=td3", "env=lnlab/RacetrackVector-v0", "steps=300"]) != 0
    assert [each.endswith(line) for each in capsys.readouterr().err.splitlines()] == [True]
    assert list(tmp_path.iterdir()) == []


def steered(env: RacetrackEnv) -> np.ndarray:
    """An action that follows the lane at 8 m/s, from what the vector says: pure pursuit of a waypoint near ahead."""
    speed, _, _, *ahead = env._vector().astype(float)
    forward, right = 50 * np.array(ahead[2:4] if ahead[2] else ahead[:2])
    slip = math.asin(np.clip(5 * right / (forward**2 + right**2), -0.9, 0.9))  # of a car 5 m long
    return np.clip([math.atan(2 * math.tan(slip)) / (math.pi / 4), 20 * (8 / 30 - speed)], -1, 1)


@needs_highway
def test_gymnasium_finds_no_fault() -> None:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning)
        warnings.filterwarnings("ignore", message=".*A Box observation space m..imum value is -?infinity")
        check_env(gymnasium.make("lnlab/Racetrack-v0", render_mode="rgb_array").unwrapped)


@needs_highway
@pytest.mark.parametrize("seed", [0, 1])  # each lane once
def test_a_driver_who_reads_the_waypoints_reaches_the_goal(seed: int) -> None:
    """So waypoints, their frame and the signs of steering agree with the world."""
    env = RacetrackEnv(cars=0)
    observation, info = env.reset(seed=seed)
    assert (info["speed"], info["lateral_deviation"]) == pytest.approx((10.0, 0.0), abs=1e-9)
    assert observation["vector"][3:5] == pytest.approx([0.0, 0.0], abs=1e-6)  # the first waypoint is where it starts
    over = False
    while not over:
        observation, reward, terminated, truncated, info = env.step(steered(env))
        over = terminated or truncated
        assert sum(info["reward"].values()) == reward
        expected = [info["speed"] / 30, info["lateral_deviation"] / 2.5, info["heading_error"] / math.pi]
        assert observation["vector"][:3] == pytest.approx(expected, rel=1e-6, abs=1e-6)
        assert env.observation_space.contains(observation)
        lane, place = env.stock.vehicle.lane, env.stock.vehicle.position
        assert abs(info["lateral_deviation"]) == pytest.approx(abs(lane.local_coordinates(place)[1]), abs=0.5)
    assert (terminated, info["goal"], info["off_lane"], info["collision"]) == (True, True, False, False)


@needs_highway
def test_all_cars_move_as_in_stock() -> None:
    """racetrack-v1 itself, with the same seed and actions, throttle first, at 20 steps a second."""
    from highway_env.envs.racetrack_env import RacetrackEnv as Stock

    env = RacetrackEnv(cars=3, images=False, terminate_off_lane=False)
    both = {"type": "ContinuousAction", "longitudinal": True, "lateral": True}
    others = {"other_vehicles": 3, "simulation_frequency": 20, "policy_frequency": 20}
    stock = Stock({"action": both, "observation": {"type": "AttributesObservation", "attributes": []}, **others})
    for seed in (5, None):
        env.reset(seed=seed)
        stock.reset(seed=seed)
        for t in range(60):
            steer, throttle = 0.05 * math.sin(t / 5), 0.2
            env.step(np.array([steer, throttle]))
            stock.step(np.array([throttle, steer]))
            ours, theirs = (
                [(*car.position, car.heading, car.speed) for car in each.road.vehicles] for each in (env.stock, stock)
            )
            assert len(ours) > 1
            assert np.array(ours) == pytest.approx(np.array(theirs), rel=1e-9)


@needs_highway
def test_right_is_positive_and_ends_off_the_lane_and_the_brake_is_no_reverse_gear() -> None:
    env = RacetrackEnv(images=False, cars=0)
    env.reset(seed=0)
    speeds = [env.step(BRAKE)[4]["speed"] for _ in range(60)]
    assert speeds[0] == pytest.approx(10 - 5 / 20)  # 5 m/s² for 0.05 s
    assert (speeds == sorted(speeds, reverse=True), speeds[-1]) == (True, 0.0)
    assert env.step(AHEAD)[4]["speed"] == pytest.approx(0.2 * 5 / 20)
    env.reset(seed=0)
    terminated = False
    while not terminated:
        _, _, terminated, _, info = env.step(np.array([0.2, 0.0]))
    assert info["lateral_deviation"] > 2.5
    assert info["heading_error"] > 0
    assert (info["off_lane"], info["reward"]["safety"]) == (True, -60)


@needs_highway
def test_a_car_ahead_is_seen_and_nears_and_is_hit() -> None:
    """A car put 8 m ahead leaves a gap of 3 m, bumper to bumper; driving into it ends the episode."""
    env = RacetrackEnv(cars=0)
    env.reset(seed=0)
    car, road = env.stock.vehicle, env.stock.road
    empty = env._frame()
    other = type(car)(road, car.lane.position(car.lane.local_coordinates(car.position)[0] + 8, 0), car.heading, 0.0)
    road.vehicles.append(other)
    assert env._traffic() == (pytest.approx(3.0), False)
    changed = np.argwhere(env._frame() != empty).mean(axis=0)
    assert changed == pytest.approx([63 - 8 * 2, 42], abs=1)  # straight ahead, 2 pixels a metre
    other.position = other.position + 3 * np.array([-math.sin(car.heading), math.cos(car.heading)])  # a lane aside
    assert env._traffic() == (math.inf, False)
    other.position = other.position - 3 * np.array([-math.sin(car.heading), math.cos(car.heading)])
    terminated = False
    while not terminated:
        *_, terminated, _, info = env.step(AHEAD)
    assert info["collision"]
    assert info["reward"]["safety"] < -10


def drive(seed: int, frames: int = 30) -> str:
    """A digest of all that a drive among other cars gives."""
    env, digest = RacetrackEnv(cars=5), hashlib.sha256()
    for episode in (seed, None):
        observation, _ = env.reset(seed=episode)
        for t in range(frames):
            digest.update(observation["image"].tobytes() + observation["vector"].tobytes())
            observation, reward, terminated, _, _ = env.step(np.array([0.1 * math.sin(t), 0.1]))
            digest.update(repr((reward, terminated)).encode())
            if terminated:
                break
    return digest.hexdigest()


@needs_highway
def test_seed_and_actions_give_the_same_bits_in_another_process_too() -> None:
    code = "from tests.test_racetrack import drive; print(drive(3))"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert drive(3) == elsewhere
    assert drive(4) != elsewhere


@needs_highway
def test_td3_trains_on_it_and_its_policy_plays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setattr("lnlab.play.RESULTS", tmp_path / "results")
    for env, more in (("lnlab/RacetrackVector-v0", ["hidden=8"]), ("lnlab/RacetrackSmall-v0", ["batch_size=2"])):
        tiny = ["steps=300", "learning_starts=298", "eval_episodes=1", "seeds=1", "cores=1", "tensorboard=false", *more]
        assert main(["train", "algorithm=td3", "norm=none", f"env={env}", *tiny]) == 0
        (run,) = (tmp_path / "results" / "scratch").glob(f"*{env.partition('/')[2]}*")
        capsys.readouterr()
        film = tmp_path / "film.mp4"
        assert main(["play", str(run), "--episodes", "1", "--video", str(film)]) == 0
        told = capsys.readouterr().out.splitlines()[0]
        check = runs.Run(run).table("checks").iloc[-1]
        assert told == f"episode 1: return {check['return']:.6g}, {check['length']} steps"
        assert film.stat().st_size > 1000


@needs_highway
def test_closing_one_environment_leaves_others_their_pictures() -> None:
    one, other = RacetrackEnv(), RacetrackEnv()
    before = one.reset(seed=1)[0]["image"]
    other.reset(seed=1)
    other.close()
    assert np.array_equal(one.reset(seed=1)[0]["image"], before)
    third = RacetrackEnv()
    assert np.array_equal(third.reset(seed=1)[0]["image"], before)
