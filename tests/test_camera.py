"""The camera's picture: where points of the ground and cars land by pinhole arithmetic, what is cut off and left out,
and that it depends on track, pose and cars alone."""

import math
import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

import lnlab.envs  # noqa: F401  (registers the environments)
from lnlab.envs import camera
from lnlab.envs.camera import Camera
from lnlab.envs.cars import FRONT, HALF_WIDTH, REAR
from lnlab.envs.driving import DrivingEnv
from lnlab.envs.track import race_at_start

WHITE = (255, 255, 255)
AHEAD = 1.6  # m from the car's centre
HORIZON, ACROSS, DOWN = 42, 42, 42 * 256 / 144 * 1.5  # rows, and pixels at 1 m: of 1 m to the right, of the ground
STILL = np.zeros(2, np.float32)


def tile(left: float, right: float, near: float, far: float) -> tuple[list[tuple[float, float]], tuple[int, int, int]]:
    """White ground, in metres right and ahead of a camera on a car at the origin that faces +y."""
    near, far = near + AHEAD, far + AHEAD
    return [(left, near), (right, near), (right, far), (left, far)], WHITE


def picture(*tiles, pose=(0.0, 0.0, 0.0), others=()) -> np.ndarray:
    return Camera(tiles, (84, 84)).draw(*pose, others).astype(int)


def extent(changed: np.ndarray) -> tuple[int, int, int, int]:
    """First and last row, first and last column."""
    rows, columns = np.nonzero(changed)
    return rows.min(), rows.max(), columns.min(), columns.max()


@pytest.mark.parametrize(("near", "far", "left", "right"), [(8.3, 21, -1, 2), (5, 60, 0.4, 1.7), (20, 30, -9, -4.1)])
def test_the_ground_lands_where_a_pinhole_puts_it(near, far, left, right):
    found = extent(picture(tile(left, right, near, far)) != picture())
    columns = [ACROSS + ACROSS * side / depth for side in (left, right) for depth in (near, far)]
    expected = HORIZON + DOWN / far, HORIZON + DOWN / near, min(columns), max(columns)
    assert found == pytest.approx([math.floor(each) for each in expected], abs=1)  # a line of a quarter of a pixel
    assert found[1] == math.floor(expected[1])


def test_a_car_is_a_box_from_the_ground_to_the_eye_and_hides_what_is_behind_it():
    depth = 12.0
    other = (0.0, AHEAD + depth - REAR, 0.0)
    found = picture(others=[other])
    half = ACROSS * HALF_WIDTH / depth
    expected = HORIZON, HORIZON + DOWN / depth, ACROSS - half, ACROSS + half
    assert extent(found != picture()) == tuple(math.floor(each) for each in expected)
    rear = found[HORIZON : math.floor(expected[1]), math.ceil(expected[2]) : math.floor(expected[3])]
    assert len(np.unique(rear)) == 1  # one side of it, down to its foot
    hidden = (0.3, other[1] + 10, 0.2)
    assert np.array_equal(picture(others=[hidden, other]), found)
    assert np.array_equal(picture(others=[other, hidden]), found)
    assert not np.array_equal(picture(others=[hidden]), picture())
    across = (
        0.0,
        AHEAD + depth + HALF_WIDTH,
        math.pi / 2,
    )  # it faces left: its near side is as far as the other's rear
    first, last, left, right = extent(picture(others=[across]) != picture())
    assert (first, last) == extent(found != picture())[:2]
    assert (left, right) == (
        math.floor(ACROSS - ACROSS * FRONT / depth),
        math.floor(ACROSS - ACROSS * REAR / depth),
    )


def test_left_and_right_are_mirrored():
    middle = 50 / 6  # the squares of grass are symmetric about this line

    def seen(side: int) -> np.ndarray:
        tiles = [(sorted((middle + side * 3, middle + side * 8)), (-20, 12)), ([middle - 2, middle + 2], (6, 40))]
        scenery = [([(a, n), (b, n), (b, f), (a, f)], WHITE) for (a, b), (n, f) in tiles]
        pose = (middle + side * 0.7, 0.0, -side * 0.3)
        return Camera(scenery, (84, 84)).draw(*pose, [(middle - side * 3, 9.0, side * 0.8)]).astype(int)

    one, other = seen(1), seen(-1)[:, ::-1]
    assert np.abs(one - other).mean() < 0.2
    assert np.abs(one - one[:, ::-1]).mean() > 5


@pytest.mark.parametrize("turn", [0.0, 0.5, -1.2])
def test_nothing_behind_the_camera_is_drawn_and_what_passes_it_is_cut(turn):
    pose = (0.0, 0.0, turn)
    behind = tile(-50, 50, -30, -20)
    assert np.array_equal(picture(behind, pose=(0.0, 0.0, turn / 10)), picture(pose=(0.0, 0.0, turn / 10)))
    whole = picture(tile(-4, 4, -12, 30), pose=pose)
    parts = picture(*(tile(-4, 4, start, start + 1.5) for start in np.arange(-12, 30, 1.5)), pose=pose)
    assert np.abs(whole - parts).mean() < 0.1
    assert not np.array_equal(whole, picture(pose=pose))
    passed = (math.sin(turn) * 6, -math.cos(turn) * 6, turn)
    assert np.array_equal(picture(pose=pose, others=[passed]), picture(pose=pose))


def test_a_car_beside_the_camera_is_cut_where_it_passes_it():
    first, last, left, right = extent(picture(others=[(3.0, AHEAD, 0.0)]) != picture())
    assert right == 83
    assert left == math.floor(ACROSS + ACROSS * (3 - HALF_WIDTH) / FRONT)
    assert (first, last) == (HORIZON, 83)


def test_what_is_left_out_would_lie_in_the_row_below_the_horizon(monkeypatch):
    race = race_at_start(0)
    painter = Camera(race.scenery, (84, 84))
    poses = [(x, y, heading + 0.3) for _, heading, x, y in race.track[::20]]
    others = [(x, y, heading) for _, heading, x, y in race.track[5::20]]
    kept = [painter.draw(*pose, others) for pose in poses]
    monkeypatch.setattr(camera, "_in_view", lambda centres, radius: np.ones(len(centres), bool))
    everything = [painter.draw(*pose, others) for pose in poses]
    rows = {row for a, b in zip(kept, everything, strict=True) for row in np.nonzero(a != b)[0]}
    assert rows == {HORIZON}


def test_frames_of_a_standing_car_are_equal_and_render_shows_the_same_view():
    env = gymnasium.make("lnlab/DrivingCamera-v0", render_mode="rgb_array").unwrapped
    start, info = env.reset(seed=0)
    for _ in range(4):
        observation, _, _, _, info = env.step(STILL)
    assert all(np.array_equal(frame, start["image"][-1]) for frame in observation["image"])
    assert not np.array_equal(start["image"], DrivingEnv().reset(seed=0)[0]["image"])
    large = env.render()
    assert large.shape == (288, 512, 3)
    assert np.array_equal(large, Camera.large(race_at_start(0).scenery).draw(*info["pose"]))
    for _ in range(5):
        observation = env.step(np.array([0.1, 0.3], np.float32))[0]
    assert not np.array_equal(observation["image"][0], observation["image"][3])


@pytest.mark.parametrize("name", ["lnlab/DrivingCamera-v0", "lnlab/DrivingTraffic-v0"])
@pytest.mark.filterwarnings("ignore:.*A Box observation space m..imum value is -?infinity")
def test_gymnasium_finds_no_fault(name):
    check_env(gymnasium.make(name, render_mode="rgb_array").unwrapped)


EPISODE = """
import hashlib
import gymnasium, numpy as np
import lnlab.envs
env, told = gymnasium.make("lnlab/DrivingTraffic-v0", scenario="varied").unwrapped, hashlib.sha256()
for seed in (3, None):
    observation = env.reset(seed=seed)[0]
    for t in range(40):
        told.update(observation["image"].tobytes() + observation["vector"].tobytes())
        observation, reward, terminated, _, info = env.step(np.array([0.05 * np.sin(t / 5), 0.15], np.float32))
        told.update(repr((reward, info)).encode())
        if terminated:
            break
"""


def test_another_process_sees_the_same_to_the_bit():
    here: dict[str, Any] = {}
    exec(EPISODE, here)
    there = subprocess.run([sys.executable, "-c", EPISODE + "print(told.hexdigest())"], capture_output=True, text=True)
    assert there.stdout.strip() == here["told"].hexdigest()


def test_an_unknown_view_is_answered_with_the_two():
    with pytest.raises(ValueError, match=r"^view='side' is not allowed; choose one of above, camera$"):
        gymnasium.make("lnlab/Driving-v0", view="side")
