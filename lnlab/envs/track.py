"""CarRacing-v3's race without its drawing, and where a car is on the track's centre line.

`Race` runs Gymnasium's own reset and step, so the physics are those of the stock environment to the last bit, on the
first episode as on later ones that keep the track; `tests/test_driving_physics.py` holds them side by side.
"""

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

from gymnasium.envs.box2d.car_dynamics import Car
from gymnasium.envs.box2d.car_racing import FPS, PLAYFIELD, TRACK_WIDTH, CarRacing

HALF_WIDTH = TRACK_WIDTH  # m from the centre line to the edge of the road: 6.667
PHYSICS_RATE = FPS  # physics steps per second: 50

Polygon = list[tuple[float, float]]


class Race(CarRacing):
    """The stock race with nothing drawn; `reset(seed=...)` and `step` are Gymnasium's, the observation is None.

    `scenery` holds the road as it was built: stock repaints a tile the car has touched, so its own list is no
    function of the track alone.
    """

    car: Any
    scenery: list[tuple[Polygon, tuple[int, int, int]]]

    def _create_track(self) -> bool:
        made: bool = super()._create_track()
        if made:
            self.scenery = [(corners, (int(c[0]), int(c[1]), int(c[2]))) for corners, c in self.road_poly]
        return made

    def _render(self, mode: str) -> None:
        """Draw nothing; stock draws and reads back a picture of 1000 × 800 pixels here, at every step."""

    def restart(self) -> None:
        """Put a new car at the start of the same track; a tenth of the work of `reset`, and the same race."""
        self.car.destroy()
        self.car = Car(self.world, *self.track[0][1:4])
        self.step(None)  # type: ignore[arg-type]  # as stock's reset does: one physics step without an action

    @property
    def outside(self) -> bool:
        """Whether the car has left the playfield, where stock ends the episode."""
        x, y = self.car.hull.position
        return abs(x) > PLAYFIELD or abs(y) > PLAYFIELD


class Position(NamedTuple):
    """Where a point is on a track."""

    segment: int  # counted on through laps, negative behind the start
    station: float  # m along the centre line from the start, negative behind it
    right: float  # m to the right of the centre line
    heading: float  # of the road, rad, as Box2D counts: 0 along +y, anticlockwise


class CentreLine:
    """The closed line through the tiles' centres, a point every 3.5 m.

    Args:
        track: CarRacing's list of (angle on the plane, heading, x, y) of each tile.
    """

    def __init__(self, track: Sequence[tuple[float, float, float, float]]) -> None:
        self.points = [(float(x), float(y)) for _, _, x, y in track]
        self._headings = [float(heading) for _, heading, _, _ in track]
        following = [*self.points[1:], self.points[0]]
        self._lengths = [math.dist(a, b) for a, b in zip(self.points, following, strict=True)]
        self._directions = [
            ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
            for a, b, length in zip(self.points, following, self._lengths, strict=True)
        ]
        self.stations = [0.0]  # m along the line
        for length in self._lengths[:-1]:
            self.stations.append(self.stations[-1] + length)
        self.length = self.stations[-1] + self._lengths[-1]

    def __len__(self) -> int:
        return len(self.points)

    def project(self, x: float, y: float, segment: int) -> Position:
        """The nearest point of the line that is reached downhill in distance from `segment`.

        A search over the whole track would jump to another part of it where two lie side by side.
        """
        while self._along(x, y, segment) > self._lengths[segment % len(self)]:
            segment += 1
        while self._along(x, y, segment) < 0:
            segment -= 1
        lap, k = divmod(segment, len(self))
        along = min(max(self._along(x, y, segment), 0.0), self._lengths[k])  # outside a bend: the corner itself
        (ax, ay), (ux, uy) = self.points[k], self._directions[k]
        ex, ey = x - (ax + along * ux), y - (ay + along * uy)
        right = math.copysign(math.hypot(ex, ey), ex * uy - ey * ux)
        turn = wrap(self._headings[(k + 1) % len(self)] - self._headings[k])
        heading = self._headings[k] + turn * along / self._lengths[k]
        return Position(segment, lap * self.length + self.stations[k] + along, right, heading)

    def _along(self, x: float, y: float, segment: int) -> float:
        (ax, ay), (ux, uy) = self.points[segment % len(self)], self._directions[segment % len(self)]
        return (x - ax) * ux + (y - ay) * uy


def wrap(angle: float) -> float:
    """The same angle in [-π, π], rad."""
    return math.remainder(angle, math.tau)


def race_at_start(track_seed: int) -> Race:
    """A race on the track that stock CarRacing-v3 makes on `reset(seed=track_seed)`."""
    race = Race()
    race.reset(seed=track_seed)
    return race
