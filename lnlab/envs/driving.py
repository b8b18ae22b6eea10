"""Driving from images on CarRacing-v3's tracks, with the observations and the reward of the original CARLA experiment.

The physics are Gymnasium's (`lnlab.envs.track.Race`); the pictures come from `lnlab.envs.road`, the reward from
`lnlab.envs.driving_reward`. The tests hold the car's motion equal to stock CarRacing-v3 to the last bit.
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict

from lnlab.envs import driving_reward
from lnlab.envs.images import SIDE, FrameStack, Observation, image_space
from lnlab.envs.road import Painter
from lnlab.envs.track import HALF_WIDTH, PHYSICS_RATE, CentreLine, Position, Race, wrap

SCENARIOS = ("fixed", "varied")
RENDER_MODES = ("rgb_array",)
RENDER_SIZE = (500, 400)
WAYPOINTS = 25
SIGHT = 50.0  # m: waypoints farther off are not observed
REACHED = 5.0  # m of route before a waypoint at which it counts as reached
SPEED_SCALE = 30.0  # m/s
VECTOR = 3 + 2 * WAYPOINTS


class DrivingEnv(gymnasium.Env[Any, np.ndarray]):
    """Follow a route of about 264 m; registered as `lnlab/Driving-v0`.

    Action: steer in [-1, 1], positive to the right; throttle in [-1, 1], positive gas, negative brake. Values outside
    are cut off.

    Observation: "image", the last four grey frames, (4, 84, 84) uint8, oldest first (`lnlab.envs.road` draws them);
    "vector", 53 numbers: speed / 30 m/s; lateral deviation / half the road's width; heading error / π; the next 25
    waypoints as (forward, right) / 50 m in the car's frame, (0, 0) for those farther than 50 m or beyond the route.

    The route starts where the car does and follows the centre of the road; its waypoints are the tiles' centres, 3.5 m
    apart. One is reached when the car's projection on the route is within 5 m of it, at most one a step.

    Reward: `driving_reward.components`, summed; the parts are in `info["reward"]`. `info` further holds speed (m/s),
    lateral_deviation (m, right positive), heading_error (rad, clockwise positive), route_left (m), off_lane, goal,
    pose (x, y in m, heading in rad as Box2D counts) and track_seed: what `road.redraw` needs.

    Terminated: the goal is reached, the car has left the playfield, or (where chosen) the car's centre the road.
    Truncated: after `max_steps`.

    Args:
        scenario: "fixed", the same track each episode, or "varied", another one each: `reset(seed=s)` takes track s,
            the resets after it draw theirs from that seed.
        track_seed: the track of "fixed", the one stock CarRacing-v3 makes of this seed.
        terminate_off_lane: whether an episode ends off the road.
        standing_bonus: whether the reward pays for standing still, as the original's did.
        max_steps: decisions until truncation.
        frame_skip: physics steps of 0.02 s per decision; 2 is nearest to the original's 20 decisions a second.
        route_length: m.
        render_mode: "rgb_array" (400, 500, 3) or None.

    Raises:
        ValueError: a value that is not allowed.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 25}  # noqa: RUF012 (as in the base)

    def __init__(
        self,
        *,
        scenario: str = "fixed",
        track_seed: int = 0,
        terminate_off_lane: bool = True,
        standing_bonus: bool = True,
        max_steps: int = 1000,
        frame_skip: int = 2,
        route_length: float = 264.0,
        render_mode: str | None = None,
    ) -> None:
        _check("scenario", scenario, SCENARIOS)
        _check("render_mode", render_mode, (*RENDER_MODES, None))
        _check_positive(max_steps=max_steps, frame_skip=frame_skip, route_length=route_length)
        self.scenario, self.track_seed, self.route_length = scenario, track_seed, route_length
        self.terminate_off_lane, self.standing_bonus = terminate_off_lane, standing_bonus
        self.max_steps, self.frame_skip, self.render_mode = max_steps, frame_skip, render_mode
        self.metadata = self.metadata | {"render_fps": PHYSICS_RATE // frame_skip}
        self.action_space = Box(-1.0, 1.0, (2,), np.float32)
        self.observation_space = Dict(image=image_space(), vector=Box(-np.inf, np.inf, (VECTOR,), np.float32))
        self.race = Race()
        self._built: int | None = None  # the seed of the track that stands
        self._stack = FrameStack()
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
        self._velocity, self._acceleration = (0.0, 0.0), (0.0, 0.0)
        self._route_left: float | None = None
        self._at = self._project(segment=0)
        vector = self._vector(self._at)
        return {"image": self._stack.start(self._painter.draw(*self.pose)), "vector": vector}, self._info(self._at)

    def step(self, action: np.ndarray) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info.

        Raises:
            RuntimeError: the episode is over, or none has begun.
        """
        if not self._running:
            raise RuntimeError("no episode is running: call reset() before step()")
        self._drive(float(action[0]), float(action[1]))
        self._at = at = self._project(self._at.segment)
        situation = self._situation(at)
        rewards = driving_reward.components(situation, standing_bonus=self.standing_bonus)
        self._steps, self._route_left = self._steps + 1, situation.route_left
        off_lane = situation.off_lane and self.terminate_off_lane
        terminated = situation.goal or off_lane or self.race.outside
        truncated = not terminated and self._steps >= self.max_steps
        self._running = not (terminated or truncated)
        observation = {"image": self._stack.push(self._painter.draw(*self.pose)), "vector": self._vector(at)}
        return observation, sum(rewards.values()), terminated, truncated, self._info(at) | {"reward": rewards}

    def render(self) -> np.ndarray | None:
        """The view around the car in colour, (400, 500, 3) uint8."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing: make the environment with render_mode 'rgb_array'")
            return None
        return Painter(self.race.scenery, RENDER_SIZE, coloured=True).draw(*self.pose)

    @property
    def pose(self) -> tuple[float, float, float]:
        """x and y in m; heading in rad, 0 along +y, anticlockwise."""
        hull = self.race.car.hull
        x, y = hull.position
        return x, y, hull.angle

    def _place_car(self) -> None:
        if self._built == self.track_seed:
            self.race.restart()
            return
        self.race.reset(seed=self.track_seed)
        self._built = self.track_seed
        self._line = CentreLine(self.race.track)
        self._painter = Painter(self.race.scenery, (SIDE, SIDE))
        self._route = _route(self._line, self.route_length)
        # A point beyond all sight for every waypoint that may be asked for after the last.
        self._waypoints = np.concatenate([self._line.points[: len(self._route)], np.full((WAYPOINTS, 2), np.inf)])

    def _drive(self, steer: float, throttle: float) -> None:
        steer, throttle = min(max(steer, -1.0), 1.0), min(max(throttle, -1.0), 1.0)
        action = np.array([steer, max(throttle, 0.0), max(-throttle, 0.0)])
        for _ in range(self.frame_skip):
            self.race.step(action)

    def _project(self, segment: int) -> Position:
        x, y = self.race.car.hull.position
        return self._line.project(x, y, segment)

    def _situation(self, at: Position) -> driving_reward.Situation:
        vx, vy = self.race.car.hull.linearVelocity
        forward, _ = self._in_car_frame(vx, vy)
        speed = float(np.hypot(vx, vy))
        waypoint = self._reach_waypoint(at)
        return driving_reward.Situation(
            speed=speed,
            heading_error=self._heading_error(at),
            deviation=at.right / HALF_WIDTH,
            off_lane=abs(at.right) > HALF_WIDTH,
            jerk=self._jerk(vx, vy),
            wrong_way=speed > driving_reward.MOVING and forward < -0.5 * speed,
            route_left=self._route[-1] - at.station,
            route_left_before=self._route_left,
            waypoint=waypoint,
            goal=self._next_waypoint == len(self._route),
        )

    def _reach_waypoint(self, at: Position) -> bool:
        reached = at.station > self._route[self._next_waypoint] - REACHED
        self._next_waypoint += reached
        return reached

    def _jerk(self, vx: float, vy: float) -> float:
        """√(Δa_forward² + Δa_right²) / Δt, m/s³; an episode starts from rest."""
        interval = self.frame_skip / PHYSICS_RATE
        before, self._velocity = self._velocity, (vx, vy)
        forward, right = self._in_car_frame((vx - before[0]) / interval, (vy - before[1]) / interval)
        change = (forward - self._acceleration[0], right - self._acceleration[1])
        self._acceleration = (forward, right)
        return float(np.hypot(*change)) / interval

    def _in_car_frame(self, x: float, y: float) -> tuple[float, float]:
        """A vector of the plane as (forward, right)."""
        heading = self.race.car.hull.angle
        cosine, sine = float(np.cos(heading)), float(np.sin(heading))
        return y * cosine - x * sine, x * cosine + y * sine

    def _heading_error(self, at: Position) -> float:
        return wrap(at.heading - self.race.car.hull.angle)

    def _vector(self, at: Position) -> np.ndarray:
        x, y, heading = self.pose
        ahead = self._waypoints[self._next_waypoint : self._next_waypoint + WAYPOINTS] - (x, y)  # (25, 2) m
        cosine, sine = np.cos(heading), np.sin(heading)
        seen = np.hypot(ahead[:, 0], ahead[:, 1]) <= SIGHT
        ahead[~seen] = 0.0
        speed = float(np.hypot(*self.race.car.hull.linearVelocity))
        vector = np.empty(VECTOR, np.float32)
        vector[:3] = speed / SPEED_SCALE, at.right / HALF_WIDTH, self._heading_error(at) / np.pi
        vector[3::2] = (ahead[:, 1] * cosine - ahead[:, 0] * sine) / SIGHT
        vector[4::2] = (ahead[:, 0] * cosine + ahead[:, 1] * sine) / SIGHT
        return vector

    def _info(self, at: Position) -> dict[str, Any]:
        return {
            "speed": float(np.hypot(*self.race.car.hull.linearVelocity)),
            "lateral_deviation": at.right,
            "heading_error": self._heading_error(at),
            "route_left": self._route[-1] - at.station,
            "off_lane": abs(at.right) > HALF_WIDTH,
            "goal": self._next_waypoint == len(self._route),
            "pose": self.pose,
            "track_seed": self.track_seed,
        }


def _route(line: CentreLine, length: float) -> list[float]:
    """Stations of the waypoints on the first `length` metres of the line, the start among them."""
    if length > line.length:
        raise ValueError(f"route_length={length:g} m is not allowed: the track is {line.length:.0f} m long")
    return [station for station in line.stations if station <= length]


def _check(name: str, value: Any, allowed: tuple[Any, ...]) -> None:
    if value not in allowed:
        raise ValueError(f"{name}={value!r} is not allowed; choose one of {', '.join(map(str, allowed))}")


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name}={value!r} is not allowed; it must be above 0")
