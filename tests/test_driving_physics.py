"""The car moves as in stock CarRacing-v3, to the last bit; its place on the track agrees with a full search."""

import math
from itertools import pairwise

import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import CarRacing

from lnlab.envs.driving import DrivingEnv
from lnlab.envs.track import HALF_WIDTH, CentreLine, race_at_start, wrap

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


@pytest.fixture(scope="module")
def env() -> DrivingEnv:
    """An environment that has already driven: its next episodes start on a track that stands."""
    env = DrivingEnv(track_seed=3, frame_skip=1, terminate_off_lane=False, route_length=800)
    env.reset(seed=0)
    for _ in range(30):
        env.step(np.array([0.3, 0.8]))
    return env


@pytest.mark.parametrize("seed", [0, 1])
def test_the_car_moves_as_in_stock_on_and_off_the_road(env, seed):
    stock = CarRacing()
    stock.reset(seed=3)
    env.reset()
    off_lane = 0
    for t, action in enumerate(actions(seed)):
        stock.step(stock_action(action))
        info = env.step(action)[4]
        off_lane += info["off_lane"]
        assert motion(env.race) == motion(stock), t
    assert 50 < off_lane < STEPS - 50  # both grounds were driven on


def test_a_varied_episode_is_stocks_of_its_track_seed_and_a_decision_is_two_of_its_steps():
    env = DrivingEnv(scenario="varied", terminate_off_lane=False)
    stock = CarRacing()
    for options in ({"seed": 11}, {}):
        _, info = env.reset(**options)
        stock.reset(seed=info["track_seed"])
        for t, action in enumerate(actions(2)[:40]):
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


def test_the_roads_heading_turns_evenly_between_the_points():
    line = CentreLine(SQUARE)
    headings = [line.project(x, 0.0, 0).heading for x in (0.0, 2.5, 5.0, 7.5)]
    assert headings == pytest.approx([-3 * math.pi / 4 + turn * math.pi / 2 for turn in (0, 0.25, 0.5, 0.75)])


@pytest.mark.parametrize("offset", [-0.95 * HALF_WIDTH, 0.0, 0.95 * HALF_WIDTH])
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


def nearest(points: np.ndarray, x: float, y: float) -> float:
    """Distance to a closed line, over all its segments."""
    ends = np.roll(points, -1, axis=0)
    along = ((((x, y) - points) * (ends - points)).sum(1) / ((ends - points) ** 2).sum(1)).clip(0, 1)
    return float(np.linalg.norm(points + along[:, None] * (ends - points) - (x, y), axis=1).min())


def test_following_a_real_track_finds_the_nearest_point_all_the_way_round():
    race = race_at_start(5)
    line = CentreLine(race.track)
    points, segment = np.array(line.points), 0
    offsets = 0.9 * HALF_WIDTH * np.sin(np.arange(len(line)))
    for k, (_, heading, x, y) in enumerate(race.track):
        x, y = x + offsets[k] * math.cos(heading), y + offsets[k] * math.sin(heading)
        at = line.project(x, y, segment)
        segment = at.segment
        assert abs(at.right) == pytest.approx(nearest(points, x, y), abs=0.02 * HALF_WIDTH), k
        assert at.right == pytest.approx(offsets[k], abs=0.02 * HALF_WIDTH), k  # cross lines stand askew in bends
        assert at.station == pytest.approx(line.stations[k], abs=1e-6), k
        assert wrap(at.heading - heading) == pytest.approx(0, abs=1e-6), k


def test_the_edge_of_the_road_is_where_the_tiles_end():
    """Wheel tiles are Box2D's own contacts: a car just inside the edge touches the road, one just outside does not."""
    race = race_at_start(5)
    _, heading, x, y = race.track[40]
    line = CentreLine(race.track)
    for offset, touches in ((HALF_WIDTH - 2.0, True), (HALF_WIDTH + 2.0, False)):
        for body in (race.car.hull, *(w for w in race.car.wheels)):
            body.position = (x + offset * math.cos(heading), y + offset * math.sin(heading))
        race.step(np.zeros(3))
        assert any(w.tiles for w in race.car.wheels) == touches
        assert line.project(*race.car.hull.position, 40).right == pytest.approx(offset, abs=0.2)
