"""Driving in CARLA, against a recording fake of its client: the order of requests, what is restored after whatever
goes wrong, and the lines that say so. Where the client is installed, its own classes and maps are asked too."""

import importlib.util
import math
import re
import sys

import gymnasium
import numpy as np
import pytest

from lnlab.cli import main
from lnlab.config import ConfigError
from lnlab.envs.carla import CarlaEnv, _holders, route_line
from lnlab.envs.images import make_env
from lnlab.runs import Run
from tests import fakes_carla
from tests.fakes_carla import Server, Waypoint

needs_client = pytest.mark.skipif(importlib.util.find_spec("carla") is None, reason="CARLA's client is not there")
GAS, STILL = np.array([0.0, 1.0]), np.zeros(2)
TRAFFIC = {"cars": 2, "traffic_port": 8005}


@pytest.fixture(autouse=True)
def _none_left():
    yield
    _holders.clear()


def made(monkeypatch: pytest.MonkeyPatch, server: Server, **options) -> CarlaEnv:
    monkeypatch.setitem(sys.modules, "carla", fakes_carla.module(server))
    return CarlaEnv(**{"cars": 0, "timeout": 0.2} | options)


def test_requests_come_in_order_and_all_is_undone_in_reverse(monkeypatch):
    server = Server()
    env = made(monkeypatch, server, **TRAFFIC)
    env.reset(seed=1)
    env.step(GAS)
    first = len(server.record)
    env.close()
    record = [re.sub(r"vehicle\.(van|audi)", "other", each) for each in server.record]
    seed = next(each for each in record if each.startswith("traffic seed"))
    assert record[:first] == [
        "client 127.0.0.1:2000", "timeout 0.2", "version",
        "world", "get settings", "get settings", "settings synchronous=True",
        "traffic manager 8005", "traffic synchronous=True",
        "spawn vehicle.tesla.model3",
        "spawn sensor.other.collision", "listen sensor.other.collision",
        "spawn sensor.camera.rgb", "listen sensor.camera.rgb",
        seed, "spawn other", "autopilot other 8005", "spawn other", "autopilot other 8005",
        "tick",
        "control vehicle.tesla.model3", "tick",
    ]  # fmt: skip
    assert record[first:] == [
        "timeout 2",
        "stop sensor.camera.rgb", "stop sensor.other.collision",
        "destroy vehicle.tesla.model3 sensor.other.collision sensor.camera.rgb other other",
        "traffic synchronous=False", "settings synchronous=False",
        "timeout 0.2",
    ]  # fmt: skip
    assert not server.alive


def test_the_next_episode_keeps_the_world_and_replaces_its_cars(monkeypatch):
    server = Server()
    env = made(monkeypatch, server)
    env.reset(seed=1)
    known = set(server.alive)
    first = len(server.record)
    env.reset()
    assert server.record[first : first + 4] == [
        "stop sensor.camera.rgb",
        "stop sensor.other.collision",
        "destroy vehicle.tesla.model3 sensor.other.collision sensor.camera.rgb",
        "tick",
    ]
    assert len(server.alive) == 3
    assert not known & set(server.alive)
    assert "settings synchronous=False" not in server.record


def test_the_world_is_restored_whichever_request_fails(monkeypatch):
    """From the first request to the last of a whole episode; then a new one succeeds with the same server."""

    def episode(env: CarlaEnv) -> None:
        env.reset(seed=1)
        env.step(GAS)
        env.reset()
        env.step(GAS)

    whole = Server()
    episode(made(monkeypatch, whole, **TRAFFIC))
    _holders.clear()
    for number in range(len(whole.record)):
        if whole.record[number].startswith(("timeout", "stop", "destroy")):  # which do not fail, or may
            continue
        server = Server(refuses=number)
        with pytest.raises(ConnectionError, match=r"^CARLA at 127\.0\.0\.1:2000: time-out of .* -carla-rpc-port=2000$"):
            episode(made(monkeypatch, server, **TRAFFIC))
        assert not server.alive, whole.record[number]
        assert not server.synchronous
        assert not _holders
        episode(made(monkeypatch, server, **TRAFFIC))
        _holders.clear()


def test_a_lost_connection_ends_in_one_line_and_asks_little_more(monkeypatch):
    server = Server()
    env = made(monkeypatch, server, **TRAFFIC, host="far", port=2004)
    env.reset(seed=1)
    server.refuses, server.dies = len(server.record), True
    with pytest.raises(ConnectionError, match=r"^CARLA at far:2004: time-out .*see if it runs, else start it there"):
        env.step(GAS)
    assert len(server.record) - server.refuses < 10  # each of them costs two seconds then
    with pytest.raises(RuntimeError, match="reset"):
        env.step(GAS)


def test_the_picture_is_that_of_the_tick(monkeypatch):
    server = Server()
    env = made(monkeypatch, server)
    for frames in ([], [90, 99]):  # older ones, still on their way
        server.extra_frames = frames
        observation, _ = env.reset(seed=1)
        assert (observation["image"][-1] == server.frame).all()
        observation = env.step(GAS)[0]
        assert (observation["image"][-1] == server.frame).all()
        assert (observation["image"][-2] == server.frame - 1).all()
        assert env.observation_space.contains(observation)


@pytest.mark.parametrize(
    ("late", "said"), [(1, "no picture of frame 101 within 0.2 s"), (-1, "the camera is at frame 102")]
)
def test_a_picture_that_never_comes_or_is_of_a_later_tick_is_an_error(monkeypatch, late, said):
    server = Server(late=late)
    with pytest.raises(ConnectionError, match=said):
        made(monkeypatch, server).reset(seed=1)
    assert not server.synchronous


def test_without_pictures_there_is_no_camera(monkeypatch):
    server = Server()
    env = made(monkeypatch, server, images=False)
    assert set(env.reset(seed=1)[0]) == {"vector"}
    assert not [each for each in server.record if "camera" in each]


def test_vector_reward_and_info_are_those_of_driving(monkeypatch):
    env = made(monkeypatch, Server(), route_length=35.0)
    observation, info = env.reset(seed=1)
    assert observation["vector"][:3] == pytest.approx([0, 0, 0])
    assert observation["vector"][3:9] == pytest.approx([0, 0, 3.5 / 50, 0, 7 / 50, 0])
    assert info["route_left"] == pytest.approx(35.0)
    env._car.place.location.y, env._car.place.rotation.yaw = 1.0, 9.0  # right of the centre, turned to the right
    observation, reward, terminated, truncated, info = env.step(GAS)
    assert observation["vector"][:3] == pytest.approx([2 / 30, 0.5, 9 / 180], abs=1e-6)  # 1 m of half a lane of 2 m
    assert info["route_left"] == pytest.approx(35.0 - 0.1)
    assert info["lateral_deviation"] == pytest.approx(1.0)
    assert (reward, terminated, truncated) == (sum(info["reward"].values()), False, False)
    env._car.place.location.x, env._car.place.location.y, env._car.place.rotation.yaw = 31.0, 0.0, 0.0
    for _ in range(12):  # a waypoint a step
        *_, terminated, truncated, info = env.step(STILL)
        if terminated:
            break
    assert (terminated, info["goal"], info["collision"]) == (True, True, False)


def test_off_the_lane_or_after_a_collision_the_episode_is_over(monkeypatch):
    env = made(monkeypatch, Server())
    env.reset(seed=1)
    env._car.place.location.y = -2.1
    *_, terminated, _, info = env.step(STILL)
    assert (terminated, info["off_lane"], info["reward"]["safety"]) == (True, True, -60)
    env.reset(seed=1)
    env._hits.append("a car")
    *_, terminated, _, info = env.step(STILL)
    assert (terminated, info["collision"]) == (True, True)
    assert info["reward"]["safety"] == -10
    env.reset(seed=1)
    assert not env.step(STILL)[4]["collision"]


def test_a_place_that_is_taken_is_passed_over_and_without_any_a_line_says_so(monkeypatch):
    env = made(monkeypatch, Server(occupied=3))
    assert env.reset(seed=1)[1]["pose"][:2] == (30.0, 0.0)
    env.close()
    server = Server()
    with pytest.raises(ValueError, match=r"^route_length=500 m is not allowed: Town01 has no free place with a route"):
        made(monkeypatch, server, route_length=500.0).reset(seed=1)
    assert not server.synchronous
    with pytest.raises(
        ValueError, match=r"^cars=99 is not allowed: Town01 had room for 38$"
    ):  # 40 but two near the car
        made(monkeypatch, server, cars=99).reset(seed=1)
    assert not server.alive


def test_varied_draws_the_start_and_the_traffic_from_the_seed(monkeypatch):
    def begun(seed: int | None, env: CarlaEnv) -> tuple:
        place = env.reset(seed=seed)[1]["pose"]
        seeds = [each for each in env.client.server.record if each.startswith("traffic seed")]
        return place, seeds[-1], env._places

    env, other = (made(monkeypatch, Server(), cars=2, scenario="varied", port=port) for port in (2000, 2004))
    one = [begun(3, env), begun(None, env)]
    assert one == [begun(3, other), begun(None, other)]
    assert one[0] != one[1]


def test_a_second_environment_takes_the_world_and_the_first_is_told(monkeypatch):
    server = Server()
    first, second = (made(monkeypatch, server) for _ in range(2))
    first.reset(seed=1)
    second.reset(seed=1)
    assert len(server.alive) == 3
    observation, reward, terminated, truncated, info = first.step(GAS)
    assert (reward, terminated, truncated) == (0.0, False, True)
    assert sum(info["reward"].values()) == 0
    assert first.observation_space.contains(observation)
    first.reset()
    assert second.step(GAS)[3]
    second.close()  # which has nothing of its own any more
    assert server.synchronous
    first.close()
    assert not server.synchronous


def test_a_world_that_another_process_drives_is_left_alone(monkeypatch):
    server = Server()
    server.synchronous = True
    with pytest.raises(ConnectionError, match=r"^CARLA at .*:2000: another process drives it.*cores=1"):
        made(monkeypatch, server).reset(seed=1)
    assert server.synchronous
    assert not [each for each in server.record if each.startswith("settings")]


def test_another_version_or_town_is_named(monkeypatch):
    server = Server()
    server.version = "0.9.15"
    with pytest.raises(ConnectionError, match=r"^CARLA at .*:2000: the server is 0\.9\.15, the client here 0\.9\.16"):
        made(monkeypatch, server)
    with pytest.raises(ValueError, match=r"^town='Town99' is not allowed; choose one of Town01, Town02$"):
        made(monkeypatch, Server(), town="Town99")
    env = made(monkeypatch, Server(), town="Town02")
    env.reset(seed=1)
    assert "load Town02" in env.client.server.record


def test_without_the_client_a_line_says_what_to_install(monkeypatch, capsys, tmp_path):
    monkeypatch.setitem(sys.modules, "carla", None)
    with pytest.raises(ConfigError, match=r"extra `carla`: pip install carla==0\.9\.16 \(Python 3\.10 to 3\.12\)$"):
        make_env("lnlab/Carla-v0")
    monkeypatch.setattr("lnlab.runs.RESULTS", tmp_path)
    assert main(["train", "algorithm=td3", "env=lnlab/Carla-v0"]) != 0
    assert len(capsys.readouterr().err.splitlines()) == 1
    assert not [*tmp_path.iterdir()]


def test_td3_trains_on_it_with_tests_in_between_and_leaves_the_world_as_it_was(monkeypatch, tmp_path):
    """Each greedy test takes the world, so that the episode of training under way is cut off."""
    server = Server()
    monkeypatch.setitem(sys.modules, "carla", fakes_carla.module(server))
    monkeypatch.setattr("lnlab.runs.RESULTS", tmp_path)
    short = {"max_steps": 40, "cars": 2}
    spec = gymnasium.envs.registration.EnvSpec("short/Carla-v0", "lnlab.envs.carla:CarlaEnv", kwargs=short)
    monkeypatch.setitem(gymnasium.registry, "short/Carla-v0", spec)
    tiny = ["norm=none", "steps=300", "learning_starts=295", "batch_size=2", "seeds=1", "cores=1", "tensorboard=false"]
    assert main(["train", "algorithm=td3", "env=short/Carla-v0", "eval_episodes=1", "eval_every=100", *tiny]) == 0
    (folder,) = tmp_path.glob("scratch/td3*")
    run = Run(folder)
    assert run.complete
    assert set(run.table("checks").step) == {0, 100, 200, 300}
    returns = run.table("returns")
    assert {101, 201} <= set(returns.step[~returns.terminated])
    for holder in [*_holders.values()]:  # as when the process ends
        holder.close()
    assert (server.synchronous, server.alive) == (False, {})


def test_a_route_goes_straight_on_and_projections_beyond_its_ends_are_sound():
    line = route_line(Waypoint(20.0), 264.0)
    assert line.points[75] == pytest.approx((20 + 75 * 3.5, 0.0))
    for x, station in ((20.0, 0.0), (5.0, -15.0), (300.0, 280.0)):
        at = line.project(x, -1.0, round((x - 20) / 3.5))
        assert at.station - line.length * (at.station > 1000) == pytest.approx(station)
        assert (at.right, at.heading) == pytest.approx((1.0, -math.pi / 2))
    assert route_line(Waypoint(200.0), 264.0) is None
    fork = route_line(Waypoint(340.0), 30.0)
    assert max(abs(y) for _, y in fork.points) < 1e-9


@needs_client
def test_the_fake_has_nothing_that_the_client_lacks():
    import carla

    for fake, name in fakes_carla.TWINS.items():
        twin = getattr(carla, name)
        used = {each for each in vars(fake) if not each.startswith("_")} - {"name"}
        assert not [each for each in used if not hasattr(twin, each)], name
    control = carla.VehicleControl(throttle=0.5, steer=-0.5, brake=0.0)
    assert (control.throttle, control.steer) == (0.5, -0.5)
    assert carla.Transform(carla.Location(x=1.6, z=1.5)).location.z == 1.5
    actors = {each for each in vars(fakes_carla.Actor) if not each.startswith("_")}
    assert not [each for each in actors if not any(hasattr(getattr(carla, n), each) for n in ("Vehicle", "Sensor"))]


@needs_client
def test_without_a_server_the_client_times_out_in_one_line():
    with pytest.raises(ConnectionError, match=r"^CARLA at 127\.0\.0\.1:9: time-out of 500ms while waiting .*port=9$"):
        CarlaEnv(port=9, timeout=0.5)


ROAD = """<?xml version="1.0"?><OpenDRIVE><header revMajor="1" revMinor="4" name="" version="1"/>
<road name="r" length="200" id="1" junction="-1"><link/><planView>
<geometry s="0" x="0" y="0" hdg="0" length="100"><line/></geometry>
<geometry s="100" x="100" y="0" hdg="0" length="100"><arc curvature="0.02"/></geometry></planView>
<elevationProfile/><lateralProfile/><lanes><laneSection s="0"><center><lane id="0" type="none" level="false"/></center>
<right><lane id="-1" type="driving" level="false"><link/><width sOffset="0" a="3.5" b="0" c="0" d="0"/></lane></right>
</laneSection></lanes></road></OpenDRIVE>"""


@needs_client
def test_a_route_on_a_map_of_the_client_lies_where_its_road_does():
    """100 m along x, then to the left with a radius of 50 m; the right lane's centre is 1.75 m beside. As in OpenDRIVE,
    y is to the left of x here, though it is to the right in CARLA."""
    import carla

    start = carla.Map("road", ROAD).get_waypoint(carla.Location(x=5.0, y=1.75))
    assert start.lane_width == 3.5
    line = route_line(start, 120.0)
    assert line.points[20] == pytest.approx((75.0, -1.75), abs=1e-3)
    x, y = line.points[34]
    assert math.hypot(x - 100, y - 50) == pytest.approx(51.75, abs=1e-3)
    at = line.project(*(np.array((100, 50)) + 50.75 / 51.75 * np.array((x - 100, y - 50))), 34)  # a metre to the left
    assert (at.right, at.heading) == pytest.approx((-1.0, -math.pi / 2 + 24 / 50), abs=2e-3)
    assert route_line(start, 190.0) is None
