"""CartPole as a memory task, and CartPole's rows in one, each with random numbers of its own.

`lnlab/CartPoleMasked-v0` shows the cart's position and the pole's angle, not their velocities (Barto et al. 1983 with
the mask of Meng et al. 2021): what moves how fast must be remembered.
"""

from typing import Any

import numpy as np
from gymnasium import spaces
from gymnasium.envs.classic_control.cartpole import CartPoleEnv, CartPoleVectorEnv
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space

SHOWN = [0, 2]  # of position, velocity, angle, angular velocity
START = 0.05  # largest of each at first


class MaskedCartPole(CartPoleEnv):
    """One cart, without its velocities: observations (2,) float32, position and angle."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.observation_space = _masked(self.observation_space)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        obs, info = super().reset(**options)
        return obs[SHOWN], info

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        obs, *rest = super().step(action)
        return obs[SHOWN], *rest


class CartPoleRows(CartPoleVectorEnv):
    """Gymnasium's CartPole of many rows; each is reset alone, to what its own seed says."""

    state: Any
    metadata: dict[str, Any] = {**CartPoleVectorEnv.metadata, "autoreset_mode": AutoresetMode.DISABLED}  # noqa: RUF012

    def reset(self, *, seed: Any = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """Start the rows of options["reset_mask"], all by default, from the seeds of a list, one a row."""
        rows = (options or {}).get("reset_mask", np.ones(self.num_envs, bool))
        if self.state is None:
            self.state = np.zeros((4, self.num_envs))
        for row in np.flatnonzero(rows):
            own = np.random.default_rng(seed[row] if isinstance(seed, list) else seed)
            self.state[:, row] = own.uniform(-START, START, 4)
        self.steps[rows], self.prev_done[rows] = 0, False
        return self.state.T.astype(np.float32), {}


class MaskedCartPoleRows(CartPoleRows):
    """The same without velocities: (N, 2)."""

    def __init__(self, num_envs: int = 1, **options: Any) -> None:
        super().__init__(num_envs, **options)
        self.single_observation_space = _masked(self.single_observation_space)
        self.observation_space = batch_space(self.single_observation_space, num_envs)

    def reset(self, **options: Any) -> tuple[np.ndarray, dict[str, Any]]:
        obs, info = super().reset(**options)
        return obs[:, SHOWN], info

    def step(self, action: Any) -> Any:
        obs, *rest = super().step(action)
        return obs[:, SHOWN], *rest


def _masked(space: Any) -> spaces.Box:
    return spaces.Box(space.low[SHOWN], space.high[SHOWN], dtype=np.float32)
