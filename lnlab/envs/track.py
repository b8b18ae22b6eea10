"""CarRacing-v3's race without its drawing, and where a car is on the track's centre line.

`Race` runs Gymnasium's own reset and step, so the physics are those of the stock environment to the last bit, on the
first episode as on later ones that keep the track; `tests/test_driving.py` holds them side by side.
"""

import math
from collections.abc import Sequence
from functools import cached_property
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
from gymnasium.envs.box2d.car_dynamics import Car
from gymnasium.envs.box2d.car_racing import FPS, PLAYFIELD, TRACK_WIDTH, CarRacing

HALF_WIDTH = TRACK_WIDTH  # m from the centre line to the edge of the road: 6.667
PHYSICS_RATE = FPS  # physics steps per second: 50
WALK = 8  # segments

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
    """The closed line through CarRacing's track points, 3.5 m apart.

    A cross line, where two tiles meet, halves the bend at each point. Between two cross lines the station is shared in
    proportion to the distances from them: projected at right angles, it would leap by up to 2 m inside a bend.

    Args:
        track: CarRacing's list of (angle on the plane, heading, x, y).
    """

    def __init__(self, track: Sequence[tuple[float, float, float, float]]) -> None:
        self.points = [(float(x), float(y)) for _, _, x, y in track]
        self._headings = [float(heading) for _, heading, _, _ in track]
        self._across = [(-math.sin(heading), math.cos(heading)) for heading in self._headings]  # normals, forward
        following = [*self.points[1:], self.points[0]]
        self._lengths = [math.dist(a, b) for a, b in zip(self.points, following, strict=True)]
        self._directions = [
            ((b[0] - a[0]) / length, (b[1] - a[1]) / length)
            for a, b, length in zip(self.points, following, self._lengths, strict=True)
        ]
        *self.stations, self.length = accumulate(self._lengths, initial=0.0)  # m along the line

    def __len__(self) -> int:
        return len(self.points)

    def project(self, x: float, y: float, segment: int) -> Position:
        """Where a point is, looked for at most 28 m to either side of `segment`.

        A search over the whole track would jump to another part of it where two lie side by side.
        """
        segment = self._find(x, y, segment)
        lap, k = divmod(segment, len(self))
        past, left = self._past(x, y, segment), -self._past(x, y, segment + 1)
        share = min(max(past / (past + left), 0.0), 1.0) if past + left > 0 else 0.0
        (ax, ay), (ux, uy) = self.points[k], self._directions[k]
        turn = wrap(self._headings[(k + 1) % len(self)] - self._headings[k])
        return Position(
            segment=segment,
            station=lap * self.length + self.stations[k] + share * self._lengths[k],
            right=(x - ax) * uy - (y - ay) * ux,
            heading=self._headings[k] + share * turn,
        )

    def poses(self, stations: np.ndarray) -> np.ndarray:
        """Where the line is, (N, 3): x, y in m and heading in rad, at stations (N,) in m, which go on through laps."""
        known, *columns = self._closed
        x, y, ahead_x, ahead_y = (np.interp(stations % self.length, known, column) for column in columns)
        return np.stack([x, y, np.arctan2(-ahead_x, ahead_y)], axis=1)

    @cached_property
    def _closed(self) -> np.ndarray:
        """Station, x, y and the direction ahead of every point (5, P + 1), the first again at the end of the lap."""
        line = np.array([(*point, *ahead) for point, ahead in zip(self.points, self._across, strict=True)]).T
        return np.vstack([[*self.stations, self.length], np.append(line, line[:, :1], axis=1)])

    def _find(self, x: float, y: float, segment: int) -> int:
        """The segment between whose cross lines the point lies; they meet far off the road, so the walk has an end."""
        for _ in range(WALK):
            if self._past(x, y, segment + 1) >= 0:
                segment += 1
            elif self._past(x, y, segment) < 0:
                segment -= 1
            else:
                break
        return segment

    def _past(self, x: float, y: float, point: int) -> float:
        """Distance past a point's cross line, m."""
        (ax, ay), (nx, ny) = self.points[point % len(self)], self._across[point % len(self)]
        return (x - ax) * nx + (y - ay) * ny


def wrap(angle: float) -> float:
    """The same angle in [-π, π], rad."""
    return math.remainder(angle, math.tau)


def race_at_start(track_seed: int) -> Race:
    """A race on the track that stock CarRacing-v3 makes on `reset(seed=track_seed)`."""
    race = Race()
    race.reset(seed=track_seed)
    return race
