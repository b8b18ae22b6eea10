"""Any Gymnasium environment as rows that step together, one for each worker of each seed.

Rows run through Gymnasium's vector API with automatic resets off: what an ending step returns is the episode's true
last observation, and the row starts again at once, with a seed of its own. So a row depends on its own seeds alone, and
its state follows from the seed and the actions of the episode under way, which is what a checkpoint keeps.

A vector entry point is used where it resets row by row (`autoreset_mode` DISABLED, option `reset_mask`). CartPole's own
does not, and draws for all rows from one generator: `lnlab.envs.cartpole` gives each its own.
"""

from collections.abc import Callable
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv

from lnlab.config import ConfigError
from lnlab.envs.images import made

BY_ROW = {"gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv": "lnlab.envs.cartpole:CartPoleRows"}
MOST = 4096  # numbers of an observation; a picture has more, and wants a CNN
LIMIT = 10.0  # standard deviations that a normalised observation or reward shows at most
KEPT = ("number", "since", "score", "sum", "obs")  # arrays (N, …) of a checkpoint
Seed = Callable[[int, int], int]  # row, number of an episode → its seed


def make_one(name: str) -> gymnasium.Env[np.ndarray, Any]:
    """An environment by its id, with observations (I,) of numbers: Dict, Tuple and Discrete are flattened.

    Raises:
        ConfigError: Gymnasium does not know the id or cannot make the environment here, or it observes something else.
    """
    env = made(name, {"disable_env_checker": True})
    space = env.observation_space
    if not space.is_np_flattenable or spaces.flatdim(space) > MOST:
        needed = f"Box, Discrete, or a Dict or Tuple of them, at most {MOST:,} numbers in all"
        raise ConfigError(f"env={name!r} is not allowed: it observes {space}; needed: {needed}")
    plain = isinstance(space, spaces.Box) and len(space.shape) == 1
    return env if plain else gymnasium.wrappers.FlattenObservation(env)


def make_rows(name: str, rows: int) -> VectorEnv[Any, Any, Any]:
    """Environments side by side that are reset row by row: all in one where the id has such, else one after another."""
    spec = gymnasium.spec(name)
    entry = BY_ROW.get(str(spec.vector_entry_point), spec.vector_entry_point)
    creator: Any = gymnasium.envs.registration.load_env_creator(entry) if isinstance(entry, str) else entry
    if getattr(creator, "metadata", {}).get("autoreset_mode") == AutoresetMode.DISABLED:
        limit = {} if spec.max_episode_steps is None else {"max_episode_steps": spec.max_episode_steps}
        envs: VectorEnv[Any, Any, Any] = creator(num_envs=rows, **limit, **spec.kwargs)
        if isinstance(envs.single_observation_space, spaces.Box) and len(envs.single_observation_space.shape) == 1:
            return envs
    return SyncVectorEnv([lambda: make_one(name)] * rows, copy=False, autoreset_mode=AutoresetMode.DISABLED)


def fitting(space: Any, bounds: str, action: np.ndarray) -> Any:
    """Drawn actions (N, …) as environments of this space take them, (N, *space.shape).

    What is not a number counts as 0.

    Args:
        bounds: how drawn numbers fit a Box: "squash" by tanh, or "clip".
    """
    if not isinstance(space, spaces.Box):
        return action.reshape(len(action), *space.shape) + space.start
    drawn = np.nan_to_num(action).reshape(len(action), *space.shape)
    bounded = np.isfinite(space.low) & np.isfinite(space.high)
    low, high = np.where(bounded, space.low, -1.0), np.where(bounded, space.high, 1.0)
    unit = np.tanh(drawn) if bounds == "squash" else np.where(bounded, drawn.clip(-1, 1), drawn)
    fitted = low + (unit + 1) / 2 * (high - low)
    return fitted.clip(space.low, space.high).astype(space.dtype)


class Moments:
    """Mean and variance so far of what each learner sees, (L, …), in double precision (Chan et al. 1983)."""

    def __init__(self, *shape: int) -> None:
        self.count, self.mean, self.var = 1e-4, np.zeros(shape), np.ones(shape)

    def add(self, values: np.ndarray) -> None:
        """Take values (L, M, …), M of each learner."""
        many, mean, var = values.shape[1], values.mean(1), values.var(1)
        total, away = self.count + many, mean - self.mean
        self.var = (self.var * self.count + var * many + away**2 * self.count * many / total) / total
        self.mean = self.mean + away * many / total
        self.count = total

    @property
    def deviation(self) -> np.ndarray:
        return np.sqrt(self.var + 1e-8)


class EnvStack:
    """N = learners · members rows; member m of learner l is row l · members + m.

    To read after a step: `ended` and `terminated` (N,) bool, `final` (N, I) the last observations of the episodes that
    ended, `finished` (E, 5) their row, number, steps, return and whether they terminated, and `broken`: row →
    "observation" or "reward", which was not a finite number first. The rewards of a broken row are NaN, so that its
    learner is frozen as one that diverged.

    Args:
        seed: of every episode.
        bounds: how drawn numbers fit a Box: "squash" by tanh, or "clip".
        obs_norm, reward_norm: scale by what the learner has seen so far, up to ten deviations.
        gamma: discount of the sums whose deviation scales rewards.
    """

    def __init__(
        self, name: str, learners: int, members: int, seed: Seed, *,
        bounds: str = "squash", obs_norm: bool = False, reward_norm: bool = False, gamma: float = 0.99,
    ) -> None:  # fmt: skip
        self.name, self.seed, self.bounds, self.gamma = name, seed, bounds, gamma
        self.shape, self.rows = (learners, members), learners * members
        self.envs = make_rows(name, self.rows)
        self.space, self.inputs = self.envs.single_action_space, spaces.flatdim(self.envs.single_observation_space)
        self.seen = Moments(learners, self.inputs) if obs_norm else None
        self.sums = Moments(learners) if reward_norm else None
        self.broken: dict[int, str] = {}
        self.tick, self.number = 0, np.full(self.rows, -1)  # steps so far; episode under way of each row
        self.since = np.zeros(self.rows, np.int64)  # the tick at which that began
        self.score, self.sum = np.zeros(self.rows), np.zeros(self.rows)  # its return, and discounted
        self.past: list[np.ndarray] = []  # actions since the oldest episode under way began
        self.ended = self.terminated = np.zeros(self.rows, bool)
        self.obs = self.final = np.zeros((self.rows, self.inputs), np.float32)
        self.finished = np.zeros((0, 5))

    def reset(self) -> np.ndarray:
        """Begin an episode in every row; observations (N, I) float32."""
        self._next_episode(np.ones(self.rows, bool))
        return self._shown(self.obs)

    def step(self, action: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """One step of every row, and a new episode where one ended.

        Args:
            action: (N, …) as drawn.

        Returns:
            what to act on next (N, I), and rewards (N,); both float32, normalised where asked.
        """
        self.past.append(action.copy())
        reward = self._advance(action)
        self.tick += 1
        self.score, self.sum = self.score + reward, self.gamma * self.sum + reward
        if self.seen:
            self.seen.add(self.obs.reshape(*self.shape, -1))
        if self.sums:
            self.sums.add(self.sum.reshape(self.shape))
            scaled = reward.reshape(self.shape) / self.sums.deviation[:, None]
            reward = scaled.clip(-LIMIT, LIMIT).ravel()
        if self.ended.any():
            self.final = self._shown(self.obs)
            self._next_episode(self.ended)
        return self._shown(self.obs), reward.astype(np.float32)

    def _advance(self, action: np.ndarray) -> np.ndarray:
        """Step the environments; rewards (N,)."""
        obs, reward, self.terminated, truncated, _ = self.envs.step(fitting(self.space, self.bounds, action))
        self.terminated, self.ended = np.array(self.terminated), self.terminated | truncated
        self.obs, reward = np.array(obs, np.float32), np.array(reward, np.float64)
        whole = {"observation": np.isfinite(self.obs).all(1), "reward": np.isfinite(reward)}
        for what, fine in whole.items():
            for row in np.flatnonzero(~fine):
                self.broken.setdefault(int(row), what)
                reward[row], self.obs[row] = np.nan, np.nan_to_num(self.obs[row])
        return reward

    def _next_episode(self, rows: np.ndarray) -> None:
        where = np.flatnonzero(rows & (self.number >= 0))
        told = where, self.number[where], self.tick - self.since[where], self.score[where], self.terminated[where]
        self.finished = np.stack([np.asarray(each, np.float64) for each in told], axis=1)
        self.number[rows] += 1
        self.since[rows], self.score[rows], self.sum[rows] = self.tick, 0.0, 0.0
        del self.past[: len(self.past) - (self.tick - int(self.since.min()))]
        self._begin(rows)

    def _begin(self, rows: np.ndarray) -> None:
        """Set these rows to the first state of their episodes."""
        seeds: Any = [self.seed(row, int(self.number[row])) if rows[row] else None for row in range(self.rows)]
        obs, _ = self.envs.reset(seed=seeds, options={"reset_mask": rows.copy()})
        self.obs = np.where(rows[:, None], np.asarray(obs, np.float32), self.obs)

    def _shown(self, obs: np.ndarray) -> np.ndarray:
        if not self.seen:
            return obs
        away = obs.reshape(*self.shape, -1) - self.seen.mean[:, None]
        return (away / self.seen.deviation[:, None]).clip(-LIMIT, LIMIT).reshape(obs.shape).astype(np.float32)

    def state_dict(self) -> dict[str, Any]:
        """Tensors and numbers; the environments themselves are made again of seeds and actions."""
        kept = {name: torch.tensor(getattr(self, name)) for name in KEPT}
        moments = [part and [part.count, torch.tensor(part.mean), torch.tensor(part.var)] for part in self._moments]
        past = torch.tensor(np.array(self.past))
        return kept | {"tick": self.tick, "past": past, "broken": dict(self.broken), "moments": moments}

    @property
    def _moments(self) -> tuple[Moments | None, Moments | None]:
        return self.seen, self.sums

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Play the episodes under way again, up to where `state_dict` was taken.

        Raises:
            RuntimeError: they came out differently, as an environment's do that is no function of seed and actions.
        """
        kept = {name: state[name].numpy().copy() for name in KEPT}
        self.number, self.since, self.past = kept["number"], kept["since"], list(state["past"].numpy())
        over = np.ones(self.rows, bool)
        for tick, action in enumerate(self.past, state["tick"] - len(self.past)):
            if (due := over | (self.since == tick)).any():  # a row whose episode is yet to begin plays anything
                self._begin(due)
            self._advance(action)
            over = self.ended
        if (due := self.since == state["tick"]).any():
            self._begin(due)
        if not np.array_equal(self.obs, kept["obs"]):
            raise RuntimeError(
                f"env={self.name!r} gives other states for the same seeds and actions, so that a stopped run cannot go "
                "on; resume=false starts it again"
            )
        self.tick, self.score, self.sum = state["tick"], kept["score"], kept["sum"]
        self.broken = dict(state["broken"])
        for part, moments in zip(self._moments, state["moments"], strict=True):
            if part:
                part.count, part.mean, part.var = moments[0], moments[1].numpy(), moments[2].numpy()
