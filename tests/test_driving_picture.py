"""The fast picture against stock's own `state_pixels`, and against itself redrawn from poses alone."""

import math

import cv2
import numpy as np
import pytest
from gymnasium.envs.box2d.car_racing import FPS, CarRacing

from lnlab.envs.driving import DrivingEnv
from lnlab.envs.road import HEIGHT, WIDTH, Painter, Pose, redraw
from lnlab.envs.track import race_at_start

ABOVE_INDICATORS = 7 / 8  # share of the height: stock's row of indicators lies below
SEEDS = (3, 7)


def stock_drive(seed: int) -> list[tuple[np.ndarray, Pose]]:
    """Stock's pictures, (96, 96, 3), and the poses they show, after the second in which stock zooms in."""
    stock, rng, kept = CarRacing(), np.random.default_rng(seed), []
    stock.reset(seed=seed)
    for t in range(4 * FPS):
        if t % 10 == 0:
            steer, gas = rng.uniform((-0.4, 0.0), (0.4, 0.4))
        picture = stock.step(np.array([steer, gas, 0.0]))[0]
        if t >= FPS and t % 10 == 0:
            kept.append((picture, (*stock.car.hull.position, stock.car.hull.angle)))
    return kept


@pytest.fixture(scope="module")
def drives() -> dict[int, list[tuple[np.ndarray, Pose]]]:
    return {seed: stock_drive(seed) for seed in SEEDS}


def difference(painter: Painter, theirs: np.ndarray, pose: Pose) -> float:
    """Mean absolute difference above the indicators, in levels of 255."""
    ours = painter.draw(*pose)
    rows = math.floor(len(ours) * ABOVE_INDICATORS)
    return float(np.abs(theirs.astype(int) - ours)[:rows].mean())


def as_observed(picture: np.ndarray) -> np.ndarray:
    return cv2.resize(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY), (84, 84), interpolation=cv2.INTER_AREA)


@pytest.mark.parametrize("seed", SEEDS)
def test_grey_pictures_are_stocks(drives, seed):
    """0.5 levels on average; a car 0.7 m (a pixel) to the side or turned by 0.03 rad makes over three times as many."""
    painter = Painter(race_at_start(seed).scenery, (84, 84))
    pictures = [(as_observed(picture), pose) for picture, pose in drives[seed]]
    assert np.mean([difference(painter, picture, pose) for picture, pose in pictures]) < 0.6
    assert max(difference(painter, picture, pose) for picture, pose in pictures) < 0.8
    aside = [(p, (x + 0.7 * math.cos(angle), y + 0.7 * math.sin(angle), angle)) for p, (x, y, angle) in pictures]
    turned = [(p, (x, y, angle + 0.03)) for p, (x, y, angle) in pictures]
    for wrong in (aside, turned):
        assert np.mean([difference(painter, picture, pose) for picture, pose in wrong]) > 1.2


@pytest.mark.parametrize("seed", SEEDS)
def test_coloured_pictures_are_stocks(drives, seed):
    painter = Painter(race_at_start(seed).scenery, (96, 96), coloured=True)
    assert np.mean([difference(painter, picture, pose) for picture, pose in drives[seed]]) < 0.3


def test_car_and_road_lie_where_geometry_says():
    """A straight road of 8 m along +y in a view of 5 pixels per metre: 40 pixels wide; the car 3/4 down."""
    size = (round(WIDTH * 5), round(HEIGHT * 5))
    road = [([(-4.0, -100.0), (4.0, -100.0), (4.0, 100.0), (-4.0, 100.0)], (102, 102, 102))]
    painter = Painter(road, size)
    assert (painter.draw(0.0, 0.0, 0.0)[10] == 100).sum() == pytest.approx(40, abs=1)
    ahead, aside = painter.draw(0.0, 50.0, 0.0), painter.draw(8.0, 0.0, math.pi / 2)
    assert (ahead[10] == 100).sum() == pytest.approx(40, abs=1)
    assert (aside[:, 10] == 100).sum() == pytest.approx(40, abs=1)  # facing -x, the road lies across
    across = np.flatnonzero(aside[:, 10] == 100)
    assert size[1] * 3 / 4 - across.mean() == pytest.approx(8 * 5, abs=1.5)  # 8 m in front
    for picture in (ahead, aside):
        rows, columns = np.nonzero(picture == 60)  # the hull's red as grey: 0.299 × (204 - 2)
        assert columns.mean() == pytest.approx(size[0] / 2 - 0.5, abs=0.2)
        front, rear = size[1] * 3 / 4 - 2.6 * 5, size[1] * 3 / 4 + 2.4 * 5
        assert (rows.min(), rows.max() + 1) == pytest.approx((front, rear), abs=1)


def test_beyond_the_playfield_there_is_nothing():
    painter = Painter([], (84, 84))
    assert (painter.draw(1000.0, 0.0, 0.0)[:50] == 0).all()


def drive(env: DrivingEnv, steps: int = 25) -> tuple[list[Pose], list[np.ndarray], int]:
    """Poses and newest observed frames of an episode, and its track."""
    observation, info = env.reset(seed=4)
    poses, frames = [info["pose"]], [observation["image"][-1]]
    for t in range(steps):
        observation, _, _, _, info = env.step(np.array([0.4 * math.sin(t / 5), 0.3]))
        poses.append(info["pose"])
        frames.append(observation["image"][-1])
    return poses, frames, info["track_seed"]


@pytest.mark.parametrize("scenario", ["fixed", "varied"])
def test_poses_and_track_give_the_frames_of_the_episode(scenario):
    """Though the car has touched the tiles, which stock repaints."""
    env = DrivingEnv(scenario=scenario, terminate_off_lane=False, render_mode="rgb_array")
    poses, frames, track_seed = drive(env)
    painter = Painter(race_at_start(track_seed).scenery, (84, 84))
    assert all(np.array_equal(painter.draw(*pose), frame) for pose, frame in zip(poses, frames, strict=True))
    assert not np.array_equal(frames[5], frames[-1])
    pictures = redraw(track_seed, poses[-2:])
    assert pictures[0].shape == (400, 500, 3)
    assert np.array_equal(pictures[1], env.render())


def test_other_sizes_show_the_same_view():
    race = race_at_start(3)
    pose = (*race.car.hull.position, race.car.hull.angle)
    large = redraw(3, [pose], (960, 960))[0]
    small = redraw(3, [pose], (96, 96))[0]
    assert np.abs(cv2.resize(large, (96, 96), interpolation=cv2.INTER_AREA).astype(int) - small).mean() < 0.5
