"""Driving in CARLA, the documents' own simulator, with the observations, actions and reward of `lnlab.envs.route`.

Written for client and server 0.9.16 (Dosovitskiy et al. 2017, extra `carla`), of which the client alone was at hand:
`tests/test_carla.py` has a server's place taken by one that records what it is asked. Its wheel lacks the package
`agents`, so a route is where `Waypoint.next` leads. CARLA's plane has y to the right of x; here y is turned round.
"""

import atexit
import contextlib
import math
import queue
from collections.abc import Iterator
from typing import Any

import cv2
import gymnasium
import numpy as np

from lnlab.envs.driving_reward import WEIGHTS
from lnlab.envs.road import Pose
from lnlab.envs.route import SPACING, RouteEnv, Velocity, check_count, mirrored
from lnlab.envs.rules import check_choice, check_number
from lnlab.envs.track import WALK, CentreLine

VERSION = "0.9.16"
TICK = 0.05  # s
CAMERA = {"image_size_x": "256", "image_size_y": "144", "fov": "90"}  # pixels, degrees: the original's
AHEAD, ABOVE = 1.6, 1.5  # m from the car's centre to the camera
CAR = "vehicle.tesla.model3"
FREE = 20.0  # m around the car in which no other begins
SCENARIOS = ("fixed", "varied")
LEAVING = 2.0  # s that each request of a server may take when it is left

_holders: dict[tuple[str, int], "CarlaEnv"] = {}  # which environment of this process has a server's world


class CarlaEnv(RouteEnv):
    """Follow a lane of a CARLA town for 264 m among cars on autopilot; registered as `lnlab/Carla-v0`.

    Observation, action, reward and `info` are those of `lnlab.envs.driving.DrivingEnv`; deviations are from the centre
    of the lane. The picture is the original's, a camera on the car. The route goes straight on where a road forks.

    A server has one world, and a synchronous world moves when it is told to. So it takes one environment at a time: an
    episode that begins in a second one of this process truncates that of the first at its next step, with a reward of
    0. Another process is refused; train with `cores=1`. Traffic is no function of the seed to the last bit.

    Terminated: the goal is reached, the car has hit something, or (where chosen) its centre has left the lane.

    Args:
        host, port: of the server.
        traffic_port: of this environment's traffic manager.
        town: the map.
        scenario: "fixed", the same start each episode, or "varied", one drawn from the seed of the reset.
        cars: how many others there are; their places and the traffic manager's seed are drawn from that seed too.
        frame_skip: ticks of 0.05 s per decision.
        timeout: s that an answer or a picture may take.
        options: terminate_off_lane, standing_bonus, images, side, max_steps, route_length and render_mode of
            `DrivingEnv`; pictures for people are (144, 256, 3) uint8.

    Raises:
        gymnasium.error.DependencyNotInstalled: CARLA's client is not there.
        ConnectionError: the server does not answer, is of another version, or is driven by another process; the message
            names host and port. The world's settings are as before, where it can still be reached.
        ValueError: a value that is not allowed; on reset, no place for such a route or so many cars.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 2000,
        traffic_port: int = 8000,
        town: str = "Town01",
        scenario: str = "fixed",
        cars: int = 20,
        frame_skip: int = 1,
        timeout: float = 20.0,
        **options: Any,
    ) -> None:
        check_choice("scenario", scenario, SCENARIOS)
        check_count("cars", cars, least=0)
        check_count("frame_skip", frame_skip, least=1)
        check_number("timeout", timeout, 0.1, "s")
        super().__init__(half_width=math.nan, interval=frame_skip * TICK, **options)
        try:
            import carla
        except ImportError as error:
            message = f"it needs CARLA's client, the extra `carla`: pip install carla=={VERSION} (Python 3.10 to 3.12)"
            raise gymnasium.error.DependencyNotInstalled(message) from error
        self.carla, self.address, self.traffic_port = carla, (host, port), traffic_port
        self.town, self.scenario, self.cars, self.frame_skip, self.timeout = town, scenario, cars, frame_skip, timeout
        self._world: Any = None
        self._watched = self.images or self.render_mode is not None  # whether there is a camera
        self._world_undo, self._episode_undo = contextlib.ExitStack(), contextlib.ExitStack()
        with self._talking():
            self.client = carla.Client(host, port)
            self.client.set_timeout(timeout)
            here, there = self.client.get_client_version(), self.client.get_server_version()
            if here != there:
                raise self._error(f"the server is {there}, the client here {here}; start a server {here}")
            check_choice("town", town, sorted(name.rpartition("/")[2] for name in self.client.get_available_maps()))

    def step(self, action: np.ndarray) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """As of `RouteEnv`; truncated with a reward of 0 where another environment has taken the world meanwhile."""
        if self._running and _holders.get(self.address) is not self:
            self._running = False
            return self._observation(), 0.0, False, True, self._info() | {"reward": dict.fromkeys(WEIGHTS, 0.0)}
        return super().step(action)

    def close(self) -> None:
        """Leave the world as it was: sensors stopped, all cars gone, its settings restored."""
        self._running = False
        self._leave()

    @contextlib.contextmanager
    def _talking(self) -> Iterator[None]:
        """Leave the world whatever goes wrong; what CARLA says of it becomes a line."""
        try:
            yield
        except BaseException as error:
            self._running = False
            self._leave()
            if not isinstance(error, RuntimeError):
                raise
            start = f"./CarlaUE4.sh -RenderOffScreen -carla-rpc-port={self.address[1]}"
            raise self._error(
                f"{' '.join(str(error).split())}; see if it runs, else start it there: {start}"
            ) from error

    def _error(self, why: str) -> ConnectionError:
        return ConnectionError(f"CARLA at {self.address[0]}:{self.address[1]}: {why}")

    def _take(self) -> None:
        """Make the world synchronous; or, where it is so for this environment, take away the last episode's actors."""
        if (holder := _holders.get(self.address)) is self:
            self._episode_undo.close()
            self._world.tick(self.timeout)  # what is destroyed stands in the way until then
            return
        if holder:
            holder._leave()
        self._world = self.client.get_world()
        if self._world.get_map().name.rpartition("/")[2] != self.town:
            self._world = self.client.load_world(self.town)
        before, settings = self._world.get_settings(), self._world.get_settings()
        if before.synchronous_mode:
            raise self._error("another process drives it, and it takes one (cores=1); if that is dead, start it again")
        settings.synchronous_mode, settings.fixed_delta_seconds = True, TICK
        settings.no_rendering_mode = not self._watched
        _holders[self.address] = self
        self._world_undo.callback(_try, self._world.apply_settings, before)
        self._world.apply_settings(settings)
        if self.cars:
            self._manager = self.client.get_trafficmanager(self.traffic_port)
            self._world_undo.callback(_try, self._manager.set_synchronous_mode, False)
            self._manager.set_synchronous_mode(True)

    def _leave(self) -> None:
        """Undo all that was done to the world, in reverse order, as far as the server still answers."""
        if _holders.get(self.address) is self:
            del _holders[self.address]
            _try(self.client.set_timeout, LEAVING)
            self._episode_undo.close()
            self._world_undo.close()
            _try(self.client.set_timeout, self.timeout)

    def _place_car(self, seed: int | None) -> None:
        with self._talking():
            self._take()
            self._actors: list[Any] = []
            self._episode_undo.callback(self._destroy, self._actors)
            self._car = self._begin(self._world.get_map())
            self._actors.append(self._car)
            self._hits: list[Any] = []
            self._listen("sensor.other.collision", {}, self.carla.Transform(), self._hits.append)
            self._pictures: queue.SimpleQueue[Any] = queue.SimpleQueue()
            if self._watched:
                place = self.carla.Transform(self.carla.Location(x=AHEAD, z=ABOVE))
                self._listen("sensor.camera.rgb", CAMERA, place, self._pictures.put)
            self._others = self._add_cars() if self.cars else []
            self._tick()

    def _begin(self, town: Any) -> Any:
        """The car at the first free place of the town from which a whole route leads; and that route."""
        places = town.get_spawn_points()
        first = int(self.np_random.integers(len(places))) if self.scenario == "varied" else 0
        blueprint = self._world.get_blueprint_library().find(CAR)
        for place in [*places[first:], *places[:first]]:
            start = town.get_waypoint(place.location)
            line = route_line(start, self.route_length)
            if line and (car := self._world.try_spawn_actor(blueprint, place)) is not None:
                self.half_width = start.lane_width / 2
                self._follow(line)
                return car
        raise ValueError(
            f"route_length={self.route_length:g} m is not allowed: {self.town} has no free place with a route so long"
        )

    def _listen(self, name: str, attributes: dict[str, str], place: Any, callback: Any) -> None:
        """A sensor on the car."""
        blueprint = self._world.get_blueprint_library().find(name)
        for each, value in attributes.items():
            blueprint.set_attribute(each, value)
        sensor = self._world.spawn_actor(blueprint, place, attach_to=self._car)
        self._actors.append(sensor)
        self._episode_undo.callback(_try, sensor.stop)
        sensor.listen(callback)

    def _add_cars(self) -> list[Any]:
        """Other cars, on autopilot."""
        self._manager.set_random_device_seed(int(self.np_random.integers(2**31)))
        kinds = [each for each in self._world.get_blueprint_library().filter("vehicle.*")
                 if each.get_attribute("number_of_wheels").as_int() == 4]  # fmt: skip
        kinds.sort(key=lambda each: each.id)
        places, cars, own = self._world.get_map().get_spawn_points(), list[Any](), self._line.points[0]
        for index in self.np_random.permutation(len(places)):
            if len(cars) == self.cars:
                break
            at, kind = places[index].location, kinds[self.np_random.integers(len(kinds))]
            if math.dist(mirrored((at.x, at.y), 0.0)[:2], own) < FREE:
                continue
            if (car := self._world.try_spawn_actor(kind, places[index])) is not None:
                self._actors.append(car)
                cars.append(car)
                car.set_autopilot(True, self.traffic_port)
        if len(cars) < self.cars:
            raise ValueError(f"cars={self.cars} is not allowed: {self.town} had room for {len(cars)}")
        return cars

    def _destroy(self, actors: list[Any]) -> None:
        if actors:
            _try(self.client.apply_batch_sync, [self.carla.command.DestroyActor(each) for each in actors])

    def _drive(self, steer: float, throttle: float) -> None:
        with self._talking():
            control = self.carla.VehicleControl(throttle=max(throttle, 0.0), steer=steer, brake=max(-throttle, 0.0))
            self._car.apply_control(control)
            for _ in range(self.frame_skip):
                self._tick()

    def _tick(self) -> None:
        """Move the world on; then read where all cars are, and take the picture of this very tick."""
        frame = self._world.tick(self.timeout)
        place, velocity = self._car.get_transform(), self._car.get_velocity()
        pose = mirrored((place.location.x, place.location.y), math.radians(place.rotation.yaw))
        self._now: tuple[Pose, Velocity] = pose, (velocity.x, -velocity.y)
        places = [each.get_location() for each in self._others]
        self._places = [mirrored((each.x, each.y), 0.0)[:2] for each in places]
        while self._watched:
            try:
                image = self._pictures.get(timeout=self.timeout)
            except queue.Empty:
                raise RuntimeError(f"no picture of frame {frame} within {self.timeout:g} s") from None
            if image.frame > frame:
                raise RuntimeError(f"the camera is at frame {image.frame}, the world at {frame}")
            if image.frame == frame:  # older ones are of ticks before
                pixels = np.frombuffer(image.raw_data, np.uint8).reshape(image.height, image.width, 4)
                self._seen: np.ndarray = pixels[..., :3].copy()  # blue, green, red
                return

    def _where(self) -> tuple[Pose, Velocity]:
        return self._now

    def _traffic(self) -> tuple[float, bool]:
        size = self._car.bounding_box.extent  # halves
        return self._gap(self._places, 2 * size.x, 2 * size.y), bool(self._hits)

    def _frame(self) -> np.ndarray:
        return cv2.resize(
            cv2.cvtColor(self._seen, cv2.COLOR_BGR2GRAY), (self.side, self.side), interpolation=cv2.INTER_AREA
        )

    def _picture(self) -> np.ndarray:
        return cv2.cvtColor(self._seen, cv2.COLOR_BGR2RGB)


def route_line(start: Any, length: float) -> CentreLine | None:
    """Where a CARLA waypoint leads, straight on at forks, for `length` metres; None where the road ends before.

    A projection may look as far beyond either end as the points go on there: past the goal along the road, and behind
    the start along a straight line, whose points come last, since the line is closed.
    """
    poses, at = [_pose(start)], start
    for _ in range(math.ceil(length / SPACING) + WALK):
        if not (ways := at.next(SPACING)):
            return None
        at = min(ways, key=lambda way: abs(math.remainder(_pose(way)[2] - poses[-1][2], math.tau)))
        poses.append(_pose(at))
    x, y, heading = poses[0]
    back = [distance * SPACING for distance in range(WALK, 0, -1)]
    poses += [(x + math.sin(heading) * each, y - math.cos(heading) * each, heading) for each in back]
    return CentreLine([(0.0, heading, x, y) for x, y, heading in poses])


def _pose(waypoint: Any) -> Pose:
    place = waypoint.transform
    return mirrored((place.location.x, place.location.y), math.radians(place.rotation.yaw))


def _try(undo: Any, *given: Any) -> None:
    """An undoing that a dead server, or an actor already gone, may refuse."""
    with contextlib.suppress(RuntimeError):
        undo(*given)


@atexit.register
def _leave_all() -> None:
    for holder in [*_holders.values()]:
        holder._leave()
