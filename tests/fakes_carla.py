"""CARLA's client without a server: it records every request in order, and can lack, delay and refuse what a server may.

Cars keep the last control: they drive along x, 2 m/s at full throttle. The town is a straight road of 400 m along x at
y = 0, with a fork after 350 m, and spawn points each 10 m. Names and signatures are those of the client 0.9.16, to
which `tests/test_carla.py` compares them where it is installed.
"""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np

TICK = 0.05


class Server:
    """What stands behind a client: the record, the world's state, and what goes wrong.

    Args:
        refuses: the number of the request that raises RuntimeError, counted from 0, and `dies`: all after it too.
        occupied: so many spawn points from the first on are taken.
        late: pictures come so many frames late.
    """

    def __init__(self, *, refuses: int = -1, dies: bool = False, occupied: int = 0, late: int = 0) -> None:
        self.record: list[str] = []
        self.refuses, self.dies, self.occupied, self.late = refuses, dies, occupied, late
        self.version, self.synchronous, self.frame = "0.9.16", False, 100
        self.alive: dict[str, Any] = {}
        self.extra_frames: list[int] = []  # pictures of other frames that come before that of the tick

    def asked(self, what: str) -> None:
        number = len(self.record)
        self.record.append(what)
        if number == self.refuses or (self.dies and 0 <= self.refuses < number):
            raise RuntimeError("time-out of 20000ms while waiting for the simulator")

    def settings(self) -> SimpleNamespace:
        return SimpleNamespace(
            synchronous_mode=self.synchronous, fixed_delta_seconds=TICK * self.synchronous, no_rendering_mode=False
        )


class Location(SimpleNamespace):
    def __init__(self, x: float = 0.0, y: float = 0.0, z: float = 0.0) -> None:
        super().__init__(x=x, y=y, z=z)


class Transform(SimpleNamespace):
    def __init__(self, location: Location | None = None, yaw: float = 0.0) -> None:
        super().__init__(location=location or Location(), rotation=SimpleNamespace(yaw=yaw))


class VehicleControl(SimpleNamespace):
    def __init__(self, throttle: float = 0.0, steer: float = 0.0, brake: float = 0.0) -> None:
        super().__init__(throttle=throttle, steer=steer, brake=brake)


class DestroyActor:
    def __init__(self, actor: "Actor") -> None:
        self.actor = actor


class Actor:
    bounding_box = SimpleNamespace(extent=SimpleNamespace(x=2.4, y=1.1, z=0.8))

    def __init__(self, server: Server, name: str, place: Transform) -> None:
        self.server, self.name, self.place, self.control = server, name, place, VehicleControl()
        self.callback: Callable[[Any], None] | None = None

    def get_transform(self) -> Transform:
        return self.place

    def get_location(self) -> Location:
        return self.place.location

    def get_velocity(self) -> SimpleNamespace:
        return SimpleNamespace(x=2 * self.control.throttle, y=0.0, z=0.0)

    def apply_control(self, control: VehicleControl) -> None:
        self.server.asked(f"control {self.name}")
        self.control = control

    def set_autopilot(self, enabled: bool = True, port: int = 8000) -> None:
        self.server.asked(f"autopilot {self.name} {port}")

    def listen(self, callback: Callable[[Any], None]) -> None:
        self.server.asked(f"listen {self.name}")
        self.callback = callback

    def stop(self) -> None:
        self.server.asked(f"stop {self.name}")
        self.callback = None


class Waypoint:
    lane_width = 4.0

    def __init__(self, x: float, y: float = 0.0, yaw: float = 0.0) -> None:
        self.transform = Transform(Location(x, y), yaw)

    def next(self, distance: float) -> "list[Waypoint]":
        place = self.transform.location
        ahead = Waypoint(place.x + distance, place.y)
        if ahead.transform.location.x > 400:
            return []
        return [Waypoint(place.x, distance, 90.0), ahead] if place.x > 350 else [ahead]


class Map:
    name = "Carla/Maps/Town01"

    def get_spawn_points(self) -> list[Transform]:
        return [Transform(Location(10.0 * index)) for index in range(40)]

    def get_waypoint(self, location: Location) -> Waypoint:
        return Waypoint(location.x)


class Blueprint:
    def __init__(self, name: str) -> None:
        self.id = name

    def set_attribute(self, id: str, value: str) -> None:
        assert isinstance(value, str)

    def get_attribute(self, id: str) -> Any:
        return SimpleNamespace(as_int=lambda: 2 if "bike" in self.id else 4)


class Library:
    def find(self, id: str) -> Blueprint:
        return Blueprint(id)

    def filter(self, wildcard_pattern: str) -> list[Blueprint]:
        return [Blueprint(name) for name in ("vehicle.van", "vehicle.bike", "vehicle.audi")]


class World:
    def __init__(self, server: Server) -> None:
        self.server = server

    def get_map(self) -> Map:
        return Map()

    def get_settings(self) -> SimpleNamespace:
        self.server.asked("get settings")
        return self.server.settings()

    def apply_settings(self, world_settings: SimpleNamespace) -> int:
        self.server.asked(f"settings synchronous={world_settings.synchronous_mode}")
        self.server.synchronous = world_settings.synchronous_mode
        return self.server.frame

    def get_blueprint_library(self) -> Library:
        return Library()

    def spawn_actor(self, blueprint: Blueprint, transform: Transform, attach_to: Actor | None = None) -> Actor:
        self.server.asked(f"spawn {blueprint.id}")
        place = Transform(Location(transform.location.x, transform.location.y), transform.rotation.yaw)
        actor = Actor(self.server, blueprint.id, place)
        self.server.alive[f"{blueprint.id} {len(self.server.record)}"] = actor
        return actor

    def try_spawn_actor(self, blueprint: Blueprint, transform: Transform) -> Actor | None:
        if transform.location.x < 10 * self.server.occupied:
            self.server.asked(f"no room for {blueprint.id}")
            return None
        return self.spawn_actor(blueprint, transform)

    def tick(self, seconds: float = 10.0) -> int:
        self.server.asked("tick")
        self.server.frame += 1
        for actor in list(self.server.alive.values()):
            actor.place.location.x += actor.get_velocity().x * TICK
        for actor in list(self.server.alive.values()):
            if actor.callback and "camera" in actor.name:
                for frame in [*self.server.extra_frames, self.server.frame - self.server.late]:
                    actor.callback(picture(frame))
        return self.server.frame


def picture(frame: int) -> SimpleNamespace:
    """A picture of one colour, which tells its frame: blue, green, red and alpha of each pixel."""
    pixels = np.full((144, 256, 4), frame % 256, np.uint8)
    return SimpleNamespace(frame=frame, width=256, height=144, raw_data=pixels.tobytes())


class TrafficManager:
    def __init__(self, server: Server) -> None:
        self.server = server

    def set_synchronous_mode(self, mode_switch: bool = True) -> None:
        self.server.asked(f"traffic synchronous={mode_switch}")

    def set_random_device_seed(self, value: int) -> None:
        self.server.asked(f"traffic seed {value}")


class Client:
    def __init__(self, server: Server, host: str, port: int) -> None:
        self.server = server
        self.server.asked(f"client {host}:{port}")

    def set_timeout(self, second: float) -> None:
        self.server.record.append(f"timeout {second:g}")

    def get_client_version(self) -> str:
        return "0.9.16"

    def get_server_version(self) -> str:
        self.server.asked("version")
        return self.server.version

    def get_available_maps(self) -> list[str]:
        return ["/Game/Carla/Maps/Town01", "/Game/Carla/Maps/Town02"]

    def get_world(self) -> World:
        self.server.asked("world")
        return World(self.server)

    def load_world(self, map_name: str) -> World:
        self.server.asked(f"load {map_name}")
        return World(self.server)

    def get_trafficmanager(self, client_connection: int = 8000) -> TrafficManager:
        self.server.asked(f"traffic manager {client_connection}")
        return TrafficManager(self.server)

    def apply_batch_sync(self, commands: list[DestroyActor], do_tick: bool = False) -> list[Any]:
        self.server.asked(f"destroy {' '.join(each.actor.name for each in commands)}")
        gone = [each.actor for each in commands]
        self.server.alive = {name: each for name, each in self.server.alive.items() if each not in gone}
        return []


def module(server: Server) -> SimpleNamespace:
    """What `import carla` gives."""
    return SimpleNamespace(
        Client=lambda host="127.0.0.1", port=2000, worker_threads=0: Client(server, host, port),
        Location=Location,
        Transform=Transform,
        VehicleControl=VehicleControl,
        command=SimpleNamespace(DestroyActor=DestroyActor),
    )


TWINS = {  # a class of the fake: the client's, in which every method and attribute used here must be
    Client: "Client",
    World: "World",
    Map: "Map",
    Waypoint: "Waypoint",
    TrafficManager: "TrafficManager",
    Blueprint: "ActorBlueprint",
    Library: "BlueprintLibrary",
    Location: "Location",
    VehicleControl: "VehicleControl",
}
