"""TD3 and DDPG in their environment: random actions, then one update a step; a report each hundred steps.

A trainer does no input or output. Its state holds the actions of the episode under way instead of the simulator's own
state: resuming resets the environment with the episode's seed and repeats them, which gives the same state to the bit.
"""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from lnlab.columns import UPDATE
from lnlab.config import RECORD_STEPS, TD3Config
from lnlab.envs.images import make_env
from lnlab.trainers.monitor import EarlyStopping, validation_points
from lnlab.trainers.probe import Probe
from lnlab.trainers.replay import Replay
from lnlab.trainers.schedule import Purpose
from lnlab.trainers.steps import PHASES, Episode, Window
from lnlab.trainers.td3 import TD3, Seen
from lnlab.trainers.testing import drive, test

Report = dict[str, Any]
BIAS_STATES = 8  # of an episode, at which Q is compared to what followed


class OffPolicyTrainer:
    """One seed of TD3 or DDPG: an iterator of reports, each a row of the table `records`.

    The tables `returns`, `checks` and `drives` grow beside it, one dict a row, in `tables`.

    Raises:
        ValueError: settings of several seeds; each seed has a trainer of its own.
    """

    def __init__(self, config: TD3Config, device: str = "cpu") -> None:
        if config.seeds != 1:
            raise ValueError(f"a trainer of {config.algorithm} takes one seed; got {config.seeds}")
        self.config, self.seed, self.device = config, config.first_seed, device
        self.env = make_env(config.env)
        observations: Any = self.env.observation_space
        actions: Any = self.env.action_space
        self.learner = TD3(config, observations, actions, device)
        self.replay = Replay(config.capacity, observations, actions, device)
        self.probe = Probe(config, self._random_action)
        self.steps, self.stopping = 0, EarlyStopping(config.patience)
        self.tables: dict[str, list[dict[str, Any]]] = {"returns": [], "checks": [], "drives": []}
        self._window = Window()
        self._episode = self._begin_episode(0)

    @property
    def episode(self) -> int:
        """Reports so far: the count by which checkpoints go."""
        return self.steps // RECORD_STEPS

    @property
    def stopped_early(self) -> bool:
        return self.config.early_stopping and self.stopping.stopped

    @property
    def norm_layers(self) -> list[str]:
        """Norm layers found in the live networks, of whatever kind, such as actor.norm1."""
        cnns: dict[str, Any] = {"actor": self.learner.actor.cnn, "critic": self.learner.critic.cnn}
        return [f"{who}.{place}" for who, cnn in cnns.items() for place in cnn.norm_layers]

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """Where the learner was no longer finite, as `lnlab.trainers.divergence` has it; empty as long as it is."""
        if (found := self.learner.diverged) is None:
            return []
        step = self.config.learning_starts + found["update"]
        episode = sum(row["step"] < step for row in self.tables["returns"])
        return [{"seed": self.seed, "worker": -1, "episode": episode, "step": step, "what": found["what"]}]

    @property
    def parameter_count(self) -> int:
        """Trained numbers of actor and critics, without targets."""
        return sum(each.numel() for side in (self.learner.actor, self.learner.critic) for each in side.parameters)

    def __iter__(self) -> Iterator[Report]:
        if self.steps == 0:
            self._look("before")
        while self.steps < self.config.steps and not self.stopped_early:
            yield self._report()

    def _report(self) -> Report:
        """Train for a hundred steps; the numbers of the last update of critics and actor, and means over the steps."""
        seen: Seen = dict.fromkeys(UPDATE, math.nan)
        actor_left = self._left_after_actor_update(self.steps + RECORD_STEPS)
        for left in reversed(range(RECORD_STEPS)):
            self._step(seen if left in (0, actor_left) else None)
        self.learner.check_parameters()
        if self.steps == self.config.steps or self.stopped_early:
            self._look("after")
        row = {"step": self.steps, "updates": self.learner.updates, "exploration_noise": self._noise(self.steps)}
        row |= {"alive": self.learner.alive} | self._window.means() | seen | self.probe.measure(self.learner)
        return {"record": self.episode} | {name: np.array([[value]]) for name, value in row.items()}

    def _left_after_actor_update(self, end: int) -> int:
        """Steps up to `end` that follow the newest update of the actor: those of the critics alone."""
        return max(0, end - self.config.learning_starts) % self.config.policy_delay

    def _step(self, seen: Seen | None) -> None:
        """One step of the environment, and one update once learning has started."""
        at = self.steps + 1
        action, phase = self._action(at)
        obs, reward, terminated, truncated, info = self.env.step(action)
        ended = terminated or truncated
        self.replay.add(action, float(reward), terminated, obs, ended=ended)
        self._window.add(phase, action, float(reward), info)
        self._episode.add(obs, phase, action, float(reward), info)
        self.steps = at
        if at > self.config.learning_starts:
            self._update(seen)
        if ended:
            self._end_episode(terminated)
        if at in self._test_steps():
            self._test()

    def _action(self, at: int) -> tuple[np.ndarray, str]:
        if at < self.config.learning_starts:
            return self._random_action(np.random.default_rng([self.seed, Purpose.RANDOM_ACTION, at])), PHASES[0]
        draw = np.random.default_rng([self.seed, Purpose.EXPLORATION, at]).standard_normal(self._actions)
        noisy = self.learner.act(self._episode.obs) + self._noise(at) * draw
        return np.clip(noisy, -1, 1).astype(np.float32), PHASES[-1]

    @property
    def _actions(self) -> int:
        return int(self.env.action_space.shape[0])  # type: ignore[index]

    def _random_action(self, rng: np.random.Generator) -> np.ndarray:
        """Uniform; forward: the last action, the throttle, never below 0, as in the original."""
        action = rng.uniform(-1, 1, self._actions).astype(np.float32)
        if self.config.random_actions == "forward" and self._actions > 1:
            action[-1] = abs(action[-1])
        return action

    def _noise(self, at: int) -> float:
        """Standard deviation of the exploration noise at step `at`."""
        config = self.config
        passed = max(0, at - config.learning_starts)
        span = config.exploration_start - config.exploration_end
        return config.exploration_end + span * math.exp(-config.exploration_decay * passed)

    def _update(self, seen: Seen | None) -> None:
        config, update = self.config, self.learner.updates
        transitions = self.replay.sample(config.batch_size, np.random.default_rng([self.seed, Purpose.BATCH, update]))
        rng = np.random.default_rng([self.seed, Purpose.TARGET_NOISE, update])
        noise = rng.standard_normal((config.batch_size, self._actions), dtype=np.float32)
        self.learner.update(transitions, torch.from_numpy(noise), seen)

    def _begin_episode(self, number: int) -> Episode:
        obs, _ = self.env.reset(seed=self._episode_seed(number))
        self.replay.start(obs)
        return Episode(number, obs)

    def _episode_seed(self, number: int) -> int:
        return int(np.random.default_rng([self.seed, Purpose.EPISODE, number]).integers(2**31))

    def _end_episode(self, terminated: bool) -> None:
        row = {"seed": self.seed, "step": self.steps} | self._episode.row()
        row |= {"terminated": terminated, "q_bias": self._q_bias() if terminated else math.nan}
        self.tables["returns"].append(row)
        self.stopping.add(self.steps, row["return"])
        self._episode = self._begin_episode(self._episode.number + 1)

    def _q_bias(self) -> float:
        """Mean of Q1 minus the discounted return that followed, over states of the episode; NaN before learning."""
        if self.learner.updates == 0:
            return math.nan
        tail = self.replay.last_episode(BIAS_STATES)
        discounted = discounted_returns(tail.reward, self.config.gamma)[tail.steps]
        return float((self.learner.q1(tail.transitions) - discounted).mean())

    def _test_steps(self) -> set[int]:
        """Steps after which the greedy policy is tested."""
        config = self.config
        if not config.eval_episodes:
            return set()
        every = range(config.eval_every, config.steps + 1, config.eval_every) if config.eval_every else ()
        return {*every, *validation_points(config.steps), config.steps}

    def _test(self) -> None:
        rows = test(self.config, self.learner, self.config.eval_episodes)
        self.tables["checks"] += [{"seed": self.seed, "step": self.steps} | row for row in rows]

    def _look(self, moment: str) -> None:
        """Keep the track of one greedy episode, for the eye; before training also a first test."""
        if moment == "before" and self.config.eval_episodes:
            self._test()
        rows = drive(self.config, self.learner, self._episode_seed(0))
        self.tables["drives"] += [{"seed": self.seed, "moment": moment} | row for row in rows]

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on bit for bit on the same machine; valid between reports."""
        replay = self.replay.state_dict()
        arrays = {name: torch.from_numpy(value) for name, value in replay.items() if isinstance(value, np.ndarray)}
        actions = torch.from_numpy(np.array(self._episode.actions, dtype=np.float32).reshape(-1, self._actions))
        return {
            "episode": self.episode,
            "steps": self.steps,
            "learner": self.learner.state_dict(),
            "replay": replay | arrays,
            "number": self._episode.number,
            "actions": actions,
            "phases": list(self._episode.phases),
            "tables": self.tables,
            "stopping": self.stopping.state_dict(),
        }

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.steps, self.tables = kept["steps"], kept["tables"]
        self.stopping.load_state_dict(kept["stopping"])
        self.learner.load_state_dict(kept["learner"])
        obs, _ = self.env.reset(seed=self._episode_seed(kept["number"]))
        self._episode = Episode(kept["number"], obs)
        for action, phase in zip(kept["actions"].numpy(), kept["phases"], strict=True):
            obs, reward, _, _, info = self.env.step(action)
            self._episode.add(obs, phase, action, float(reward), info)
        self.replay.load_state_dict(kept["replay"])  # last: the reset above must not leave a trace in it


def discounted_returns(reward: np.ndarray, gamma: float) -> np.ndarray:
    """(T,) sum of the discounted rewards from each step to the episode's end.

    >>> discounted_returns(np.array([1.0, 0.0, 2.0]), 0.5).tolist()
    [1.5, 1.0, 2.0]
    """
    found = np.zeros(len(reward))
    following = 0.0
    for t in reversed(range(len(reward))):
        following = found[t] = reward[t] + gamma * following
    return found
