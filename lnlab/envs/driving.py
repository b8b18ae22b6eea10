"""Driving from images on CarRacing-v3's tracks, with the observations and the reward of the original CARLA experiment.

The physics are Gymnasium's (`lnlab.envs.track`), the pictures come from `lnlab.envs.road`, the reward from
`lnlab.envs.driving_reward`. The tests hold the car's motion equal to that of stock CarRacing-v3 to the last bit.
"""

import math
from collections import deque
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from lnlab.envs import driving_reward
from lnlab.envs.images import FRAMES, PAD, SIDE, Observation, image_space
from lnlab.envs.road import Painter, Pose, large_painter
from lnlab.envs.rules import check_choice, check_number
from lnlab.envs.track import HALF_WIDTH, PHYSICS_RATE, CentreLine, Position, Race, wrap

SCENARIOS = ("fixed", "varied")
RENDER_MODES = ("rgb_array",)
WAYPOINTS = 25
SIGHT = 50.0  # m: waypoints farther off are not observed
REACHED = 5.0  # m of route before a waypoint at which it counts as reached
SPEED_SCALE = 30.0  # m/s
VECTOR = 3 + 2 * WAYPOINTS
WRONG_WAY = -0.5  # cosine between velocity and heading


class Motion(NamedTuple):
    """The car at one moment."""

    pose: Pose
    velocity: tuple[float, float]  # m/s, on the plane
    speed: float  # m/s
    at: Position  # on the track
    heading_error: float  # rad, clockwise positive

    @property
    def off_lane(self) -> bool:
        """Whether the car's centre is off the road."""
        return abs(self.at.right) > HALF_WIDTH

    def in_car_frame(self, x: Any, y: Any) -> tuple[Any, Any]:
        """Vectors of the plane as (forward, right)."""
        cosine, sine = math.cos(self.pose[2]), math.sin(self.pose[2])
        return y * cosine - x * sine, x * cosine + y * sine


class DrivingEnv(gymnasium.Env[Any, np.ndarray]):
    """Follow a route of about 264 m; registered as `lnlab/Driving-v0`, and without images as `lnlab/DrivingVector-v0`.

    Action: steer in [-1, 1], positive to the right; throttle in [-1, 1], positive gas, negative brake. Values outside
    are cut off.

    Observation: "image", the last four grey frames, (4, 84, 84) uint8, oldest first (`lnlab.envs.road` draws them);
    "vector", 53 numbers: speed / 30 m/s; lateral deviation / half the road's width; heading error / π; the next 25
    waypoints as (forward, right) / 50 m in the car's frame, (0, 0) for those farther than 50 m or beyond the route.

    The route starts where the car does and follows the centre of the road; its waypoints are the tiles' centres, 3.5 m
    apart. One is reached when the car's projection on the route is within 5 m of it, at most one a step; the last one
    is the goal.

    Reward: `driving_reward.components`, summed; the parts are in `info["reward"]`. `info` further holds speed (m/s),
    lateral_deviation (m, right positive), heading_error (rad, clockwise positive), route_left (m), off_lane, goal,
    and, for `road.redraw`, pose (x, y in m; heading in rad, 0 along +y, anticlockwise) and track_seed.

    Terminated: the goal is reached, the car has left the playfield, or (where chosen) the car's centre the road.
    Truncated: after `max_steps`.

    Args:
        scenario: "fixed", the same track each episode, or "varied", another one each: `reset(seed=s)` takes track s,
            the resets after it draw theirs from that seed.
        track_seed: the track of "fixed", the one stock CarRacing-v3 makes of this seed.
        terminate_off_lane: whether an episode ends off the road.
        standing_bonus: whether the reward pays for standing still, as the original's did.
        images: whether pictures are drawn and observed; without them "vector" is all there is.
        max_steps: decisions until truncation.
        frame_skip: physics steps of 0.02 s per decision; 2 is nearest to the original's 20 decisions a second.
        route_length: m.
        render_mode: "rgb_array", (400, 500, 3) uint8, or None.

    Raises:
        ValueError: a value that is not allowed; on reset, a route longer than the track.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 25}  # noqa: RUF012 (as in the base)

    def __init__(
        self,
        *,
        scenario: str = "fixed",
        track_seed: int = 0,
        terminate_off_lane: bool = True,
        standing_bonus: bool = True,
        images: bool = True,
        max_steps: int = 1000,
        frame_skip: int = 2,
        route_length: float = 264.0,
        render_mode: str | None = None,
    ) -> None:
        check_choice("scenario", scenario, SCENARIOS)
        check_choice("render_mode", render_mode, (*RENDER_MODES, None))
        check_choice("terminate_off_lane", terminate_off_lane, (True, False))
        check_choice("standing_bonus", standing_bonus, (True, False))
        check_choice("images", images, (True, False))
        _check_count("max_steps", max_steps, least=1)
        _check_count("frame_skip", frame_skip, least=1)
        _check_count("track_seed", track_seed, least=0)
        check_number("route_length", route_length, 1, "m")
        self.scenario, self.track_seed, self.route_length = scenario, track_seed, route_length
        self.terminate_off_lane, self.standing_bonus = terminate_off_lane, standing_bonus
        self.max_steps, self.frame_skip, self.render_mode = max_steps, frame_skip, render_mode
        self.metadata = self.metadata | {"render_fps": PHYSICS_RATE // frame_skip}
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        vector = Box(-np.inf, np.inf, (VECTOR,), np.float32)
        self.observation_space = Dict(image=image_space(), vector=vector) if images else Dict(vector=vector)
        self.images = images
        self.race = Race()
        self._built: int | None = None  # the seed of the track that stands
        self._running = False

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode at the start of the route; `options` are ignored."""
        super().reset(seed=seed)
        if self.scenario == "varied":
            self.track_seed = int(self.np_random.integers(2**31)) if seed is None else seed
        self._place_car()
        self._steps, self._next_waypoint, self._running = 0, 0, True
        self._acceleration = (0.0, 0.0)  # m/s², forward and right, in the step before
        self._motion = self._measure(segment=0)
        self._frames = deque([np.full((SIDE, SIDE), PAD, np.uint8)] * FRAMES, maxlen=FRAMES)
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
        for _ in range(self.frame_skip):
            self.race.step(np.array([steer, max(throttle, 0.0), max(-throttle, 0.0)]))
        before, self._motion = self._motion, self._measure(self._motion.at.segment)
        situation = self._situation(before)
        rewards = driving_reward.components(situation, standing_bonus=self.standing_bonus)
        self._steps += 1
        off_lane = situation.off_lane and self.terminate_off_lane
        terminated = situation.goal or off_lane or self.race.outside
        truncated = not terminated and self._steps >= self.max_steps
        self._running = not (terminated or truncated)
        told = self._info() | {"reward": rewards}
        return self._observation(), sum(rewards.values()), terminated, truncated, told

    def render(self) -> np.ndarray | None:
        """The view around the car in colour, (400, 500, 3) uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing: make the environment with render_mode 'rgb_array'")
            return None
        return large_painter(self.race.scenery).draw(*self._motion.pose)

    def _place_car(self) -> None:
        if self._built == self.track_seed:
            self.race.restart()
            return
        self.race.reset(seed=self.track_seed)
        self._built = self.track_seed
        self._line = CentreLine(self.race.track)
        self._painter = Painter(self.race.scenery, (SIDE, SIDE))
        self._route = _route(self._line, self.route_length)
        # Beyond all sight: what is asked for after the last waypoint.
        self._waypoints = np.concatenate([self._line.points[: len(self._route)], np.full((WAYPOINTS, 2), np.inf)])

    def _measure(self, segment: int) -> Motion:
        hull = self.race.car.hull
        (x, y), heading, (vx, vy) = hull.position, hull.angle, hull.linearVelocity
        at = self._line.project(x, y, segment)
        return Motion((x, y, heading), (vx, vy), math.hypot(vx, vy), at, wrap(at.heading - heading))

    def _situation(self, before: Motion) -> driving_reward.Situation:
        now = self._motion
        forward, _ = now.in_car_frame(*now.velocity)
        waypoint = now.at.station >= self._route[self._next_waypoint] - REACHED
        self._next_waypoint += waypoint
        return driving_reward.Situation(
            speed=now.speed,
            heading_error=now.heading_error,
            deviation=now.at.right / HALF_WIDTH,
            off_lane=now.off_lane,
            jerk=self._jerk(before),
            wrong_way=now.speed > driving_reward.MOVING and forward < WRONG_WAY * now.speed,
            route_left=self._route[-1] - now.at.station,
            route_left_before=self._route[-1] - before.at.station if self._steps else None,
            waypoint=waypoint,
            goal=self._next_waypoint == len(self._route),
        )

    def _jerk(self, before: Motion) -> float:
        """√(Δa_forward² + Δa_right²) / Δt, m/s³; the acceleration before an episode is 0."""
        interval = self.frame_skip / PHYSICS_RATE
        (vx, vy), (ux, uy) = self._motion.velocity, before.velocity
        acceleration = self._motion.in_car_frame((vx - ux) / interval, (vy - uy) / interval)
        jerk = math.dist(acceleration, self._acceleration) / interval
        self._acceleration = acceleration
        return jerk

    def _observation(self) -> Observation:
        if not self.images:
            return {"vector": self._vector()}
        self._frames.append(self._painter.draw(*self._motion.pose))
        return {"image": np.stack(self._frames), "vector": self._vector()}

    def _vector(self) -> np.ndarray:
        now = self._motion
        ahead = self._waypoints[self._next_waypoint : self._next_waypoint + WAYPOINTS] - now.pose[:2]  # (25, 2) m
        ahead[(ahead * ahead).sum(axis=1) > SIGHT**2] = 0.0
        vector = np.empty(VECTOR, np.float32)
        vector[:3] = now.speed / SPEED_SCALE, now.at.right / HALF_WIDTH, now.heading_error / math.pi
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
            "pose": now.pose,
            "track_seed": self.track_seed,
        }


def _route(line: CentreLine, length: float) -> list[float]:
    """Stations of the waypoints on the first `length` metres of the line, m, the start among them."""
    if length > line.length:
        raise ValueError(f"route_length={length:g} m is not allowed: the track is {line.length:.0f} m long")
    return [station for station in line.stations if station <= length]


def _check_count(name: str, value: Any, least: int) -> None:
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
