"""Other cars: where they start and how they drive, gaps and collisions by hand, what they cost, and that pictures show
them."""

import math

import numpy as np
import pytest
from PIL import Image

from lnlab import inside, runs
from lnlab.config import parse
from lnlab.envs.cars import CRUISE, FREE, HALF_WIDTH, LENGTH, MARGIN, Cars, overlap
from lnlab.envs.driving import VIEWS, DrivingEnv
from lnlab.envs.driving_reward import safety
from lnlab.envs.track import CentreLine, Position, race_at_start
from lnlab.play import play, trained
from tests.test_driving import SQUARE, but, steered

AWAY = Position(0, 0.0, 100.0, 0.0)  # off the road, in nobody's way


@pytest.fixture(scope="module")
def line() -> CentreLine:
    return CentreLine(race_at_start(0).track)


def at(station: float, right: float = 0.0) -> Position:
    return Position(0, station, right, 0.0)


def test_poses_lie_on_the_line_and_face_along_it(line):
    x, y, heading = CentreLine(SQUARE).poses(np.array([4.0, 15.0, -10.0, 44.0])).T
    assert x == pytest.approx([4, 10, 0, 4])
    assert y == pytest.approx([0, 5, 10, 0])
    assert heading[1] == pytest.approx(0)  # halfway between corners: along the side
    for station, (x, y, heading) in zip(range(0, 900, 7), line.poses(np.arange(0, 900, 7)), strict=False):
        there = line.project(x, y, int(station / 3.5))
        assert there.station == pytest.approx(station, abs=0.05)
        assert there.right == pytest.approx(0, abs=1e-6)
        assert math.remainder(there.heading - heading, math.tau) == pytest.approx(0, abs=0.01)


def test_cars_start_apart_and_cruise_at_a_speed_of_their_own(line):
    cars = Cars(line, 5, 20)
    start = cars.stations.copy()
    assert np.all(np.diff(start) > LENGTH + MARGIN)
    assert start[0] >= FREE
    assert start[-1] <= line.length - FREE
    assert not np.array_equal(start, Cars(line, 6, 20).stations)
    one = Cars(line, 5, 1)
    for _ in range(3):
        before = one.stations.copy()
        one.move(0.1, AWAY)
        speed = (one.stations - before) / 0.1
        assert CRUISE[0] <= speed <= CRUISE[1]
    assert one.stations == pytest.approx(before + 0.1 * speed)
    assert one.poses == [tuple(pose) for pose in line.poses(one.stations).tolist()]


@pytest.mark.parametrize("interval", [0.04, 3.0])
def test_cars_queue_behind_a_car_that_stands_and_never_touch(line, interval):
    cars, standing = Cars(line, 5, 20), at(300.0)
    pose = tuple(line.poses(np.array([300.0]))[0])
    for _ in range(int(200 / interval)):
        cars.move(interval, standing)
        assert not cars.hit(pose)
        gaps = np.diff(cars.stations, append=cars.stations[0] + line.length) - LENGTH
        assert gaps.min() > 0
    behind = (300 - cars.stations) % line.length
    assert behind.min() == pytest.approx(LENGTH + MARGIN, abs=0.1)
    assert np.sum(behind < 15 * (LENGTH + MARGIN)) > 10


def test_cars_pass_one_that_is_not_in_their_way(line):
    cars = Cars(line, 5, 20)
    for _ in range(2000):
        cars.move(0.04, at(300.0, right=2 * HALF_WIDTH + 0.1))
    assert cars.stations[0] > 300


def test_the_gap_is_from_bumper_to_bumper_round_the_lap(line):
    cars = Cars(line, 5, 3)
    first, second, last = cars.stations
    assert cars.gap(at(first - 30)) == pytest.approx(30 - LENGTH)
    assert cars.gap(at(first + 1)) == pytest.approx(second - first - 1 - LENGTH)
    assert cars.gap(at(last + 1)) == pytest.approx(line.length - last - 1 + first - LENGTH)
    assert cars.gap(at(first - 1)) == 0
    assert cars.gap(at(first - 30, right=-2 * HALF_WIDTH)) == math.inf
    assert Cars(line, 5, 0).gap(at(0.0)) == math.inf


@pytest.mark.parametrize(
    ("pose", "hit"),
    [
        ((0.0, 4.9, 0.0), True),  # a car is 5 m long
        ((0.0, 5.1, 0.0), False),
        ((0.0, -4.9, 0.0), True),
        ((0.0, -5.1, 0.0), False),
        ((2.7, 0.0, 0.0), True),  # and 2.76 m wide
        ((2.8, 0.0, 0.0), False),
        ((-2.7, 0.0, 0.0), True),
        ((0.0, 3.9, math.pi / 2), True),  # it faces left: 2.6 + 1.38 m
        ((0.0, 4.0, math.pi / 2), False),
        ((3.7, 0.0, math.pi / 2), True),  # 1.38 + 2.6 m to its front
        ((3.9, 0.0, -math.pi / 2), False),  # 1.38 + 2.4 m to its rear
        ((3.2, 4.2, math.pi / 4), False),  # no axis of the first separates them, one of the second does
    ],
)
def test_boxes_overlap(pose, hit):
    for turn in (0.0, 1.0):  # both turned about the origin
        x, y, heading = pose
        c, s = math.cos(turn), math.sin(turn)
        turned = (x * c - y * s, x * s + y * c, heading + turn)
        assert overlap((0.0, 0.0, turn), turned) == overlap(turned, (0.0, 0.0, turn)) == hit


@pytest.mark.parametrize(
    ("situation", "value"),
    [
        (but(gap=10.0), 0.0),
        (but(gap=8.0, speed=2.0), -1 / 8),  # 4 s
        (but(gap=8.0, speed=4.0), -1 / 8 - 0.5 / 2),
        (but(gap=0.2, speed=0.08, route_left=5.0), -2 - 0.1),  # nearer than half a metre; a standing car takes no time
        (but(gap=0.2, speed=10.0), -2 - 5),  # 0.02 s
        (but(collision=True, gap=0.0, speed=10.0), -2 - 5 - 10),
        (but(collision=True, speed=0.2), -10.0),  # a collision is not fined as standing too
        (but(collision=True, off_lane=True), -70.0),
    ],
)
def test_what_cars_cost_by_hand(situation, value):
    assert safety(situation) == pytest.approx(value)


def test_driving_into_the_car_ahead_costs_its_gap_and_time_and_ends_the_episode():
    env = DrivingEnv(cars=20)
    _, info = env.reset(seed=0)
    assert not info["collision"]
    fined, terminated = 0, False
    while not terminated:
        _, _, terminated, _, info = env.step(np.array([0.0, 0.3]))
        gap, speed = env._others.gap(env._motion.at), info["speed"]
        expected = -10.0 * info["collision"]
        if gap < 10:
            fined += 1
            expected -= 1 / max(gap, 0.5) + 0.5 / max(gap / speed, 0.1) * (gap / speed < 3)
        elif speed < 0.5:
            expected -= 0.5
        assert info["reward"]["safety"] == pytest.approx(expected)
    assert info["collision"]
    assert not info["off_lane"]
    assert fined > 3


def test_a_driver_who_keeps_his_distance_hits_nobody():
    env = DrivingEnv(cars=20, max_steps=300)
    env.reset(seed=0)
    truncated = False
    while not truncated:
        slow = env._motion.speed < min(5.0, env._others.gap(env._motion.at) / 4)
        _, _, terminated, truncated, info = env.step(np.array([steered(env)[0], 0.2 if slow else -0.5]))
        assert not terminated
    assert info["route_left"] < 230


@pytest.mark.parametrize("view", VIEWS)
def test_pictures_show_the_cars_and_the_vector_does_not(view):
    env, empty = (DrivingEnv(view=view, cars=cars, render_mode="rgb_array") for cars in (20, 0))
    seen, alone = (each.reset(seed=0)[0] for each in (env, empty))
    assert np.array_equal(seen["vector"], alone["vector"])
    ahead = env._others.gap(env._motion.at)
    assert ahead < 40  # in both views
    darker = seen["image"][-1].astype(int) - alone["image"][-1] < -30
    rows = np.nonzero(darker)[0]
    assert len(rows) >= 6
    assert rows.max() < 63 if view == "above" else rows.min() >= 42  # ahead of the car; below the horizon
    assert not np.array_equal(env.render(), empty.render())


def test_an_episode_depends_on_track_and_actions_alone():
    def told(env: DrivingEnv) -> list[object]:
        env.reset(seed=7)
        steps = [env.step(np.array([0.02, 0.2])) for _ in range(25)]
        return [(each[0]["image"].tobytes(), each[1], each[4]) for each in steps]

    env = DrivingEnv(scenario="varied", cars=20)
    first = told(env)
    assert told(env) == first == told(DrivingEnv(scenario="varied", cars=20))


def test_bad_numbers_of_cars_are_refused(line):
    for bad in (-1, 2.5, "many"):
        with pytest.raises(ValueError, match=r"^cars=.* is not allowed; it must be a whole number, 0 or more$"):
            DrivingEnv(cars=bad)
    env = DrivingEnv(cars=500)
    with pytest.raises(ValueError, match=r"^cars=500 is not allowed: the track has room for \d\d\d?$"):
        env.reset(seed=0)


def test_td3_trains_in_traffic_and_its_policy_plays(tmp_path, monkeypatch):
    monkeypatch.setattr(runs, "RESULTS", tmp_path)
    settings = {"algorithm": "td3", "env": "lnlab/DrivingTraffic-v0", "norm": "none", "seeds": 1, "cores": 1}
    small = {"steps": 100, "learning_starts": 98, "batch_size": 4, "eval_episodes": 1, "tensorboard": False}
    run = inside.run(parse(settings | small), progress=False)
    assert set(run.table("drives").track_seed) == {0}
    (episode,) = play(trained(run), 1, video=tmp_path / "out.gif")
    assert episode.length > 1
    with Image.open(tmp_path / "out.gif") as film:
        assert film.size == (512, 288)
