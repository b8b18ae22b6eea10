"""Task offloading as a Gymnasium environment, for one vehicle: to try the world with any library or by hand.

The rules are those of `lnlab.envs.scalar`, which the tests hold equal to the batched world that the trainers use;
Gymnasium's own `check_env` passes.
"""

from typing import Any

import gymnasium
import numpy as np

from lnlab.envs import drawing
from lnlab.envs.rules import ACTIONS, OBSERVATION, STEPS, TASK_UNITS, check_choice
from lnlab.envs.scalar import Pool, Script, Vehicle

CLOUDS = {"budget": False, "refilled": True}  # whether finished tasks give their units back to the cloud
TIME_LIMITS = ("terminated", "truncated")
RENDER_MODES = ("rgb_array", "ansi")
TASK_UNITS_COLUMN = 42


class OffloadingEnv(gymnasium.Env[np.ndarray, np.int64]):
    """One vehicle and its cloud; registered as `lnlab/Offloading-v0`.

    Action: 0 compute the task locally, 1 offload it to the cloud, 2 discard it. Observation: 48 numbers in the order
    of the documents; all lie in [0, 1] but the units of the current task, at most 199 / capacity. Reward: units of
    the tasks finished in this step / 20. `info` tells what the policy does not see: `accepted`, `channel_good`,
    `cloud_units`. All randomness follows `reset(seed=...)`.

    Args:
        capacity: local units; 200 in training, 100 to 200 in the tests of the documents.
        velocity: km/h; the faster, the quicker the channel changes.
        cloud: "budget", 1000 units an episode (the documents' evaluation), or "refilled" by finished tasks.
        time_limit: what step 100 sets: "terminated", as the documents count it, or "truncated".
        render_mode: "rgb_array", "ansi" or None.

    Raises:
        ValueError: a value that is not among those named.
    """

    metadata: dict[str, Any] = {"render_modes": list(RENDER_MODES), "render_fps": 10}  # noqa: RUF012 (as in the base)

    def __init__(
        self,
        capacity: float = 200,
        velocity: float = 10.0,
        cloud: str = "budget",
        time_limit: str = "terminated",
        render_mode: str | None = None,
    ) -> None:
        check_choice("cloud", cloud, CLOUDS)
        check_choice("time_limit", time_limit, TIME_LIMITS)
        check_choice("render_mode", render_mode, (*RENDER_MODES, None))
        self.vehicle = Vehicle(capacity, velocity, Pool(CLOUDS[cloud]))
        self.time_limit, self.render_mode = time_limit, render_mode
        self.action_space = gymnasium.spaces.Discrete(len(ACTIONS))
        high = np.ones(OBSERVATION, dtype=np.float32)
        high[TASK_UNITS_COLUMN] = max(1.0, TASK_UNITS / capacity)
        self.observation_space = gymnasium.spaces.Box(np.zeros_like(high), high)
        self.history: list[drawing.Moment] = []

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode; `seed` restarts the random numbers, `options` are ignored."""
        super().reset(seed=seed)
        self.vehicle.pool.reset()
        self.vehicle.reset(Script.draw(self.np_random, self.vehicle.capacity))
        self.history.clear()
        return self.vehicle.observation(), self._info(accepted=False)

    def step(self, action: int | np.int64) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Observation, reward, terminated, truncated, info.

        Raises:
            ValueError: the action is not 0, 1 or 2.
            RuntimeError: the episode is over, or none has begun.
        """
        if action not in (0, 1, 2):
            raise ValueError(f"action {action!r} is not allowed; choose 0 (local), 1 (offload) or 2 (discard)")
        vehicle = self.vehicle
        if vehicle.t >= STEPS:
            raise RuntimeError("no episode is running: call reset() before step()")
        reward = vehicle.step(int(action))
        if self.render_mode is not None:
            self.history.append(drawing.Moment(ACTIONS[action], vehicle.accepted, vehicle.channel, reward))
        over = vehicle.t == STEPS
        terminated = over and self.time_limit == "terminated"
        return vehicle.observation(), reward, terminated, over and not terminated, self._info(vehicle.accepted)

    def render(self) -> np.ndarray | str | None:
        """The vehicle's slots, its cloud, the channel and the rewards: a picture (H, W, 3) or text."""
        if self.render_mode is None:
            gymnasium.logger.warn("render() does nothing: make the environment with render_mode 'rgb_array' or 'ansi'")
            return None
        show = drawing.picture if self.render_mode == "rgb_array" else drawing.text
        return show(self.vehicle, self.history)

    def _info(self, accepted: bool) -> dict[str, Any]:
        vehicle = self.vehicle
        return {"accepted": accepted, "channel_good": vehicle.channel, "cloud_units": vehicle.pool.units}
