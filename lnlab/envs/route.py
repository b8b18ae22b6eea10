"""Following a route: what a car observes, is paid and told, in whatever world it drives.

Observation, actions and reward are those of the original CARLA experiment. A world says where its car is, moves it and
draws it: `lnlab.envs.driving` and its neighbours.
"""

import math
from collections import deque
from collections.abc import Iterable
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from lnlab.envs import driving_reward
from lnlab.envs.images import FRAMES, LEAST, PAD, SIDE, Observation, image_space
from lnlab.envs.road import Pose
from lnlab.envs.rules import check_choice, check_number
from lnlab.envs.track import CentreLine, Position, wrap

RENDER_MODES = ("rgb_array",)
WAYPOINTS = 25
SPACING = 3.5  # m between waypoints, where a world has none of its own
SIGHT = 50.0  # m: waypoints farther off are not observed
REACHED = 5.0  # m of route before a waypoint at which it counts as reached
SPEED_SCALE = 30.0  # m/s
VECTOR = 3 + 2 * WAYPOINTS
WRONG_WAY = -0.5  # cosine between velocity and heading

Velocity = tuple[float, float]  # m/s, on the plane


class Motion(NamedTuple):
    """The car at one moment."""

    pose: Pose
    velocity: Velocity
    speed: float  # m/s
    at: Position  # on the track
    heading_error: float  # rad, clockwise positive
    half_width: float  # of the road, m

    @property
    def deviation(self) -> float:
        """Distance to the centre line over half the road's width, right positive."""
        return self.at.right / self.half_width

    @property
    def off_lane(self) -> bool:
        """Whether the car's centre is off the road."""
        return abs(self.at.right) > self.half_width

    def in_car_frame(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Vectors of the plane as (forward, right)."""
        cosine, sine = math.cos(self.pose[2]), math.sin(self.pose[2])
        return y * cosine - x * sine, x * cosine + y * sine


class RouteEnv(gymnasium.Env[Any, np.ndarray]):
    """A car on a route, in the terms of `lnlab.envs.driving.DrivingEnv`. A world has methods of its own, and calls
    `_follow` with its centre line when it places the car.

    Args:
        half_width: m from the centre line to the edge of the road or lane.
        interval: s between two decisions.
        terminate_off_lane, standing_bonus, images, side, max_steps, route_length, render_mode: as in `DrivingEnv`.

    Raises:
        ValueError: a value that is not allowed; on reset, a route longer than the track.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 25}  # noqa: RUF012 (as in the base)

    def __init__(
        self,
        *,
        half_width: float,
        interval: float,
        terminate_off_lane: bool = True,
        standing_bonus: bool = True,
        images: bool = True,
        side: int = SIDE,
        max_steps: int = 1000,
        route_length: float = 264.0,
        render_mode: str | None = None,
    ) -> None:
        check_choice("render_mode", render_mode, (*RENDER_MODES, None))
        check_choice("terminate_off_lane", terminate_off_lane, (True, False))
        check_choice("standing_bonus", standing_bonus, (True, False))
        check_choice("images", images, (True, False))
        check_count("side", side, least=LEAST)
        check_count("max_steps", max_steps, least=1)
        check_number("route_length", route_length, 1, "m")
        self.half_width, self.interval, self.route_length = half_width, interval, route_length
        self.terminate_off_lane, self.standing_bonus = terminate_off_lane, standing_bonus
        self.max_steps, self.render_mode = max_steps, render_mode
        self.metadata = self.metadata | {"render_fps": int(1 / interval)}
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        vector = Box(-np.inf, np.inf, (VECTOR,), np.float32)
        self.observation_space = Dict(image=image_space(side), vector=vector) if images else Dict(vector=vector)
        self.images, self.side = images, side
        self._running = False

    def _place_car(self, seed: int | None) -> None:
        """Put the car at the start of its route, and `_follow` that; `seed` is that of the reset."""
        raise NotImplementedError

    def _drive(self, steer: float, throttle: float) -> None:
        """Move the world on by one decision; both in [-1, 1]."""
        raise NotImplementedError

    def _where(self) -> tuple[Pose, Velocity]:
        """The car as the world has it now."""
        raise NotImplementedError

    def _outside(self) -> bool:
        """Whether the episode ends for a reason of the world's own."""
        return False

    def _traffic(self) -> tuple[float, bool]:
        """Metres to the car ahead, infinite without one, and whether another car was hit, which ends the episode."""
        return math.inf, False

    def _frame(self) -> np.ndarray:
        """The grey picture of now, (side, side) uint8."""
        raise NotImplementedError

    def _picture(self) -> np.ndarray:
        """The picture of now for people, (H, W, 3) uint8."""
        raise NotImplementedError

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode at the start of the route; `options` are ignored."""
        super().reset(seed=seed)
        self._place_car(seed)
        self._steps, self._next_waypoint, self._running = 0, 0, True
        self._acceleration = (0.0, 0.0)  # m/s², forward and right, in the step before
        self._motion = self._measure(segment=0)
        self._frames = deque([np.full((self.side, self.side), PAD, np.uint8)] * FRAMES, maxlen=FRAMES)
        return self._observation(), self._info()

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info.

        Raises:
            RuntimeError: the episode is over, or none has begun.
            ValueError: the action is not two numbers, or holds a NaN, which the physics would carry into every later
                picture.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() before step()")
        steer, throttle = (min(max(number, -1.0), 1.0) for number in _numbers(action))
        self._drive(steer, throttle)
        before, self._motion = self._motion, self._measure(self._motion.at.segment)
        situation = self._situation(before)
        rewards = driving_reward.components(situation, standing_bonus=self.standing_bonus)
        self._steps += 1
        off_lane = situation.off_lane and self.terminate_off_lane
        terminated = situation.goal or situation.collision or off_lane or self._outside()
        truncated = not terminated and self._steps >= self.max_steps
        self._running = not (terminated or truncated)
        told = self._info() | {"collision": situation.collision, "reward": rewards}
        return self._observation(), sum(rewards.values()), terminated, truncated, told

    def render(self) -> np.ndarray | None:
        """The view around the car in colour, (H, W, 3) uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing: make the environment with render_mode 'rgb_array'")
            return None
        return self._picture()

    def _follow(self, line: CentreLine) -> None:
        """Take the first `route_length` metres of a line for the route."""
        self._line, self._route = line, _route(line, self.route_length)
        # Beyond all sight: what is asked for after the last waypoint.
        self._waypoints = np.concatenate([line.points[: len(self._route)], np.full((WAYPOINTS, 2), np.inf)])

    def _measure(self, segment: int) -> Motion:
        pose, velocity = self._where()
        at = self._line.project(pose[0], pose[1], segment)
        error = wrap(at.heading - pose[2])
        return Motion(pose, velocity, math.hypot(*velocity), at, error, self.half_width)

    def _situation(self, before: Motion) -> driving_reward.Situation:
        now = self._motion
        forward, _ = now.in_car_frame(*now.velocity)
        waypoint = now.at.station >= self._route[self._next_waypoint] - REACHED
        self._next_waypoint += waypoint
        gap, collision = self._traffic()
        return driving_reward.Situation(
            speed=now.speed,
            heading_error=now.heading_error,
            deviation=now.deviation,
            off_lane=now.off_lane,
            jerk=self._jerk(before),
            wrong_way=now.speed > driving_reward.MOVING and forward < WRONG_WAY * now.speed,
            route_left=self._route[-1] - now.at.station,
            route_left_before=self._route[-1] - before.at.station if self._steps else None,
            waypoint=waypoint,
            goal=self._next_waypoint == len(self._route),
            gap=gap,
            collision=collision,
        )

    def _gap(self, others: Iterable[tuple[float, float]], length: float, width: float) -> float:
        """Metres of route to the nearest of other cars ahead in the way, bumper to bumper; infinite without one.

        Args:
            others: x, y of their centres, m.
            length, width: of a car, m.
        """
        now, gap = self._motion.at, math.inf
        for x, y in others:
            if math.dist((x, y), self._motion.pose[:2]) < driving_reward.NEAR + 2 * length:  # a projection's reach
                at = self._line.project(x, y, now.segment)
                if at.station > now.station and abs(at.right - now.right) < width:
                    gap = min(gap, max(at.station - now.station - length, 0.0))
        return gap

    def _jerk(self, before: Motion) -> float:
        """√(Δa_forward² + Δa_right²) / Δt, m/s³; the acceleration before an episode is 0."""
        (vx, vy), (ux, uy) = self._motion.velocity, before.velocity
        acceleration = self._motion.in_car_frame((vx - ux) / self.interval, (vy - uy) / self.interval)
        jerk = math.dist(acceleration, self._acceleration) / self.interval
        self._acceleration = acceleration
        return jerk

    def _observation(self) -> Observation:
        if not self.images:
            return {"vector": self._vector()}
        self._frames.append(self._frame())
        return {"image": np.stack(self._frames), "vector": self._vector()}

    def _vector(self) -> np.ndarray:
        now = self._motion
        ahead = self._waypoints[self._next_waypoint : self._next_waypoint + WAYPOINTS] - now.pose[:2]  # (25, 2) m
        ahead[(ahead * ahead).sum(axis=1) > SIGHT**2] = 0.0
        vector = np.empty(VECTOR, np.float32)
        vector[:3] = now.speed / SPEED_SCALE, now.deviation, now.heading_error / math.pi
        vector[3::2], vector[4::2] = now.in_car_frame(ahead[:, 0] / SIGHT, ahead[:, 1] / SIGHT)
        return vector

    def _info(self) -> dict[str, Any]:
        now = self._motion
        return {
            "speed": now.speed,
            "lateral_deviation": now.at.right,
            "heading_error": now.heading_error,
            "route_left": self._route[-1] - now.at.station,
            "off_lane": now.off_lane,
            "goal": self._next_waypoint == len(self._route),
            "collision": False,
            "pose": now.pose,
        }


def _route(line: CentreLine, length: float) -> list[float]:
    """Stations of the waypoints on the first `length` metres of the line, m, the start among them."""
    if length > line.length:
        raise ValueError(f"route_length={length:g} m is not allowed: the track is {line.length:.0f} m long")
    return [station for station in line.stations if station <= length]


def mirrored(place: Iterable[float], heading: float) -> Pose:
    """A pose of a plane in which y is to the right of x, and headings are 0 along x and clockwise, in m and rad.

    >>> mirrored((2.0, 1.0), -math.pi / 2)
    (2.0, -1.0, 0.0)
    """
    x, y = place
    return float(x), -float(y), wrap(-float(heading) - math.pi / 2)


def check_count(name: str, value: Any, least: int) -> None:
    if not (isinstance(value, int | np.integer) and value >= least):
        raise ValueError(f"{name}={value!r} is not allowed; it must be a whole number, {least} or more")


def _numbers(action: Any) -> tuple[float, float]:
    """Steer and throttle."""
    try:
        steer, throttle = (float(each) for each in action)
    except (TypeError, ValueError):
        steer = throttle = math.nan
    if math.isnan(steer) or math.isnan(throttle):
        said = " ".join(repr(action).split())
        raise ValueError(f"action {said} is not allowed; steer and throttle are numbers in [-1, 1]")
    return steer, throttle
