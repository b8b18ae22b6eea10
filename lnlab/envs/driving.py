"""Driving from images on CarRacing-v3's tracks, with the observations and the reward of the original CARLA experiment.

The physics are Gymnasium's (`lnlab.envs.track`), the pictures come from `lnlab.envs.road` and `lnlab.envs.camera`,
other cars from `lnlab.envs.cars`, what follows from them from `lnlab.envs.route`. The tests hold the car's motion equal
to that of stock CarRacing-v3 to the last bit.
"""

from typing import Any

import numpy as np

from lnlab.envs.camera import Camera
from lnlab.envs.cars import Cars
from lnlab.envs.road import Painter, Pose
from lnlab.envs.route import RouteEnv, Velocity, check_count
from lnlab.envs.rules import check_choice
from lnlab.envs.track import HALF_WIDTH, PHYSICS_RATE, CentreLine, Race

SCENARIOS = ("fixed", "varied")
VIEWS = {"above": Painter, "camera": Camera}


class DrivingEnv(RouteEnv):
    """Follow a route of about 264 m; registered as `lnlab/Driving-v0`, and without images as `lnlab/DrivingVector-v0`,
    which is the task of `lnlab/DrivingSmall-v0` too, with pictures of 42 × 42.

    `lnlab/DrivingCamera-v0` differs from the first in the view alone: "camera". `lnlab/DrivingTraffic-v0` has 20 cars
    as well, as D5 had.

    Action: steer in [-1, 1], positive to the right; throttle in [-1, 1], positive gas, negative brake. Values outside
    are cut off.

    Observation: "image", the last four grey frames, (4, side, side) uint8, oldest first; "vector", 53 numbers: speed /
    30 m/s; lateral deviation / half the road's width; heading error / π; the next 25 waypoints as (forward, right) /
    50 m in the car's frame, (0, 0) for those farther than 50 m or beyond the route.

    The route starts where the car does and follows the centre of the road; its waypoints are the tiles' centres, 3.5 m
    apart. One is reached when the car's projection on the route is within 5 m of it, at most one a step; the last one
    is the goal.

    Reward: `driving_reward.components`, summed; the parts are in `info["reward"]`. `info` further holds speed (m/s),
    lateral_deviation (m, right positive), heading_error (rad, clockwise positive), route_left (m), off_lane, goal,
    collision, and, for `road.redraw`, pose (x, y in m; heading in rad, 0 along +y, anticlockwise) and track_seed.

    Terminated: the goal is reached, the car has hit another or left the playfield, or (where chosen) its centre the
    road. Truncated: after `max_steps`.

    Args:
        scenario: "fixed", the same track each episode, or "varied", another one each: `reset(seed=s)` takes track s,
            the resets after it draw theirs from that seed.
        track_seed: the track of "fixed", the one stock CarRacing-v3 makes of this seed.
        terminate_off_lane: whether an episode ends off the road.
        standing_bonus: whether the reward pays for standing still, as the original's did.
        view: "above", around the car (`lnlab.envs.road`), or "camera", from the car, as in the original
            (`lnlab.envs.camera`).
        cars: how many others are on the track (`lnlab.envs.cars`); only pictures show them.
        images: whether pictures are drawn and observed; without them "vector" is all there is.
        side: pixels a side of the observed picture, 84 in the original, 36 or more.
        max_steps: decisions until truncation.
        frame_skip: physics steps of 0.02 s per decision; 2 is nearest to the original's 20 decisions a second.
        route_length: m.
        render_mode: "rgb_array", (400, 500, 3) uint8 or, by the camera, (288, 512, 3); or None.

    Raises:
        ValueError: a value that is not allowed; on reset, a route longer than the track, or more cars than it holds.
    """

    def __init__(
        self,
        *,
        scenario: str = "fixed",
        track_seed: int = 0,
        view: str = "above",
        cars: int = 0,
        frame_skip: int = 2,
        **options: Any,
    ) -> None:
        check_choice("scenario", scenario, SCENARIOS)
        check_choice("view", view, VIEWS)
        check_count("cars", cars, least=0)
        check_count("frame_skip", frame_skip, least=1)
        check_count("track_seed", track_seed, least=0)
        super().__init__(half_width=HALF_WIDTH, interval=frame_skip / PHYSICS_RATE, **options)
        self.scenario, self.track_seed, self.frame_skip = scenario, track_seed, frame_skip
        self.view, self.cars = view, cars
        self.race = Race()
        self._built: int | None = None  # the seed of the track that stands

    def _place_car(self, seed: int | None) -> None:
        if self.scenario == "varied":
            self.track_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        if self._built == self.track_seed:
            self.race.restart()
        else:
            self.race.reset(seed=self.track_seed)
            self._built = self.track_seed
            self._painter = VIEWS[self.view](self.race.scenery, (self.side, self.side))
            self._follow(CentreLine(self.race.track))
        self._others = Cars(self._line, self.track_seed, self.cars)

    def _drive(self, steer: float, throttle: float) -> None:
        for _ in range(self.frame_skip):
            self.race.step(np.array([steer, max(throttle, 0.0), max(-throttle, 0.0)]))
        self._others.move(self.interval, self._motion.at)

    def _traffic(self) -> tuple[float, bool]:
        return self._others.gap(self._motion.at), self._others.hit(self._motion.pose)

    def _where(self) -> tuple[Pose, Velocity]:
        hull = self.race.car.hull
        (x, y), (vx, vy) = hull.position, hull.linearVelocity
        return (x, y, hull.angle), (vx, vy)

    def _outside(self) -> bool:
        return self.race.outside

    def _frame(self) -> np.ndarray:
        return self._painter.draw(*self._motion.pose, self._others.poses)

    def _picture(self) -> np.ndarray:
        return VIEWS[self.view].large(self.race.scenery).draw(*self._motion.pose, self._others.poses)

    def _info(self) -> dict[str, Any]:
        return super()._info() | {"track_seed": self.track_seed}
