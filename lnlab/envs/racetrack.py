"""Driving in another world: highway-env's `racetrack-v1`, with observations, actions and reward of `lnlab.envs.route`.

Roads, the car's kinematic bicycle and the other cars' behaviour are highway-env's own (Leurent 2018, extra `highway`),
and so is the picture of the road. Its plane is mirrored, with y to the right of x: here y is turned round.
"""

import math
from collections.abc import Iterable
from typing import Any

import cv2
import gymnasium
import numpy as np

from lnlab.envs.road import SUBPIXEL, Colour, Pose, grey
from lnlab.envs.route import SPACING, RouteEnv, Velocity, check_count, mirrored
from lnlab.envs.track import CentreLine

RATE = 20  # physics steps per second: the original's 0.05 s
LANE_WIDTH = 5.0  # m, of racetrack-v1
ACCELERATION, STEERING = 5.0, np.pi / 4  # m/s² and rad of full throttle and full lock: highway-env's own
VIEW = 42.0  # m of road across a picture, the car in its middle, a quarter above the lower edge
RESOLUTION = 8  # pixels a metre, of the picture of the whole road
GROUND, CAR, OTHERS = (100, 100, 100), (50, 200, 0), (100, 200, 255)  # as highway-env paints them


class RacetrackEnv(RouteEnv):
    """Follow a lane of a racetrack of 350 to 380 m for 264 m; registered as `lnlab/Racetrack-v0`, and without images as
    `lnlab/RacetrackVector-v0`.

    Observation, action, reward and `info` are those of `lnlab.envs.driving.DrivingEnv`; deviations are from the centre
    of the lane, 5 m wide, in which the car starts. The brake stops the car, and no more. As racetrack-v1 has it, lane,
    place and the other cars, which drive by themselves, are drawn from the seed of the reset; the car starts at 10 m/s.

    Terminated: the goal is reached, the car has hit another, or (where chosen) its centre has left the lane.

    Args:
        cars: how many others there are, at most.
        frame_skip: physics steps of 0.05 s per decision.
        options: terminate_off_lane, standing_bonus, images, side, max_steps, route_length and render_mode of
            `DrivingEnv`; pictures for people are (336, 336, 3) uint8.

    Raises:
        gymnasium.error.DependencyNotInstalled: highway-env is not there.
        ValueError: a value that is not allowed; on reset, a route longer than the track.
    """

    def __init__(self, *, cars: int = 1, frame_skip: int = 1, **options: Any) -> None:
        check_count("cars", cars, least=0)
        check_count("frame_skip", frame_skip, least=1)
        super().__init__(half_width=LANE_WIDTH / 2, interval=frame_skip / RATE, **options)
        try:
            from highway_env.envs.racetrack_env import RacetrackEnv as Stock
        except ImportError as error:
            message = "it needs highway-env, the extra `highway`: pip install 'highway-env>=1.12'"
            raise gymnasium.error.DependencyNotInstalled(message) from error
        self.frame_skip = frame_skip
        nothing = {"type": "AttributesObservation", "attributes": []}
        both = {"type": "ContinuousAction", "longitudinal": True, "lateral": True}
        self.stock = Stock({"observation": nothing, "action": both, "other_vehicles": cars})
        self._painters: dict[bool, Painter] = {}  # the road is the same in all episodes

    def _place_car(self, seed: int | None) -> None:
        self.stock.reset(seed=seed)
        car = self.stock.vehicle
        begin, _, lane = car.lane_index
        at, _ = car.lane.local_coordinates(car.position)
        self._follow(CentreLine(lap(self.stock.road.network, begin, lane, at)))

    def _drive(self, steer: float, throttle: float) -> None:
        car, road = self.stock.vehicle, self.stock.road
        for _ in range(self.frame_skip):
            least = -max(car.speed, 0.0) * RATE  # m/s²: what stops it in this step
            car.act({"steering": steer * STEERING, "acceleration": max(throttle * ACCELERATION, least)})
            road.act()
            road.step(1 / RATE)

    def _where(self) -> tuple[Pose, Velocity]:
        car = self.stock.vehicle
        return mirrored(car.position, car.heading), (float(car.velocity[0]), -float(car.velocity[1]))

    def _traffic(self) -> tuple[float, bool]:
        car = self.stock.vehicle
        others = [mirrored(each.position, 0.0)[:2] for each in self.stock.road.vehicles if each is not car]
        return self._gap(others, car.LENGTH, car.WIDTH), bool(car.crashed)

    def _frame(self) -> np.ndarray:
        return self._painted(coloured=False)

    def _picture(self) -> np.ndarray:
        return self._painted(coloured=True)

    def _painted(self, *, coloured: bool) -> np.ndarray:
        if coloured not in self._painters:
            self._painters[coloured] = Painter(self.stock.road, self.side, coloured=coloured)
        return self._painters[coloured].draw(self.stock.vehicle, self.stock.road.vehicles)


def lap(network: Any, begin: str, lane: int, at: float) -> list[tuple[float, float, float, float]]:
    """A lane's centre, once round, as `CentreLine` takes it: points 3.5 m apart, in this package's plane.

    Args:
        network: highway-env's, one road after another in a ring, with lanes of the same numbers.
        begin: node at which the first road begins.
        lane: number of the lane.
        at: m along the first road of the first point, which is the last one's neighbour.
    """
    points: list[tuple[float, float, float, float]] = []
    node, station, end = begin, at, None
    while True:
        (following,) = network.graph[node]
        road = network.get_lane((node, following, lane))
        if end is not None:  # roads overlap a little, or leave a gap
            station += road.local_coordinates(end)[0]
        closing = end is not None and node == begin
        while station < (at - SPACING / 2 if closing else road.length):
            x, y, heading = mirrored(road.position(station, 0.0), road.heading_at(station))
            points.append((0.0, heading, x, y))
            station += SPACING
        if closing:
            return points
        node, station, end = following, station - road.length, road.position(road.length, 0.0)


class Painter:
    """Pictures of the car on its road, forward up: (side, side) grey, or (336, 336, 3) RGB for people, uint8.

    Args:
        road: highway-env's; its own drawing of the lanes is made once.
        side: pixels of the grey picture, each way.
        coloured: for people.
    """

    def __init__(self, road: Any, side: int, *, coloured: bool) -> None:
        drawn, corner = _lanes(road)
        self._coloured, self._size = coloured, (side, side)
        if not coloured:
            halves = drawn.shape[1] // 2, drawn.shape[0] // 2
            drawn = cv2.resize(cv2.cvtColor(drawn, cv2.COLOR_RGB2GRAY), halves, interpolation=cv2.INTER_AREA)
        self._scale = RESOLUTION if coloured else RESOLUTION // 2  # pixels a metre, of `drawn` and of the canvas
        self._drawn, self._origin = drawn, corner + 0.5 / self._scale  # where the centre of its first pixel is, m
        self._side = round(VIEW * self._scale)

    def draw(self, car: Any, cars: Iterable[Any]) -> np.ndarray:
        """The picture around one of highway-env's cars, and all cars in it."""
        cosine, sine = math.cos(car.heading), math.sin(car.heading)
        turn = np.array([[-sine, cosine], [-cosine, -sine]])  # from x, y to right, backward
        middle = np.array([0.5, 0.75]) * self._side - 0.5
        moved = np.column_stack([turn, middle + turn @ (self._origin - car.position) * self._scale])
        ground, size = self._ink(GROUND), (self._side, self._side)
        canvas = cv2.warpAffine(self._drawn, moved, size, flags=cv2.INTER_LINEAR, borderValue=ground)
        for each in cars:
            corners = middle + (each.polygon()[:4] - car.position) @ turn.T * self._scale
            ink = self._ink(CAR if each is car else OTHERS)
            cv2.fillConvexPoly(canvas, np.rint(corners * (1 << SUBPIXEL)).astype(np.int32), ink, shift=SUBPIXEL)
        return canvas if self._coloured else cv2.resize(canvas, self._size, interpolation=cv2.INTER_AREA)

    def _ink(self, colour: Colour) -> Any:
        return colour if self._coloured else grey(colour)


def _lanes(road: Any) -> tuple[np.ndarray, np.ndarray]:
    """highway-env's drawing of a road without cars, (H, W, 3) uint8, and x, y of its corner, m."""
    import pygame
    from highway_env.road.graphics import RoadGraphics, WorldSurface

    points = np.array(
        [lane.position(s, 0.0) for lane in road.network.lanes_list() for s in np.linspace(0, lane.length)]
    )
    corner = np.floor(points.min(axis=0)) - 2 * LANE_WIDTH
    width, height = ((np.ceil(points.max(axis=0)) + 2 * LANE_WIDTH - corner) * RESOLUTION).astype(int).tolist()
    surface = WorldSurface((width, height), 0, pygame.Surface((width, height), 0, 32))
    surface.origin, surface.scaling = corner, float(RESOLUTION)
    RoadGraphics.display(road, surface)
    return pygame.surfarray.array3d(surface).swapaxes(0, 1).copy(), corner
