"""A3C and Individual in any Gymnasium environment: the program of `lnlab.trainers.a3c` with episodes of any length.

Rollouts keep their length and go on over the ends of episodes. There the recurrent state starts from zero, no gradient
passes, and the return ends: with nothing where the episode terminated, with the value of its last observation where it
was cut off.
"""

from typing import Any

import numpy as np
import pandas as pd
import torch

from lnlab.columns import COLUMNS
from lnlab.config import GymConfig
from lnlab.envs.stack import EnvStack
from lnlab.trainers.a3c import ActorCriticTrainer, Report
from lnlab.trainers.actions import Actions, make_actions
from lnlab.trainers.returns import Boundaries
from lnlab.trainers.schedule import Purpose, action_draws, push_order


class AnywhereTrainer(ActorCriticTrainer):
    """Yields a report each `config.updates` rollouts; its return and length are the mean over the episodes that a
    worker ended in them, those of the last one before where it ended none, and NaN before its first.

    Environments step on the CPU, and so do the networks, which are small.
    """

    TABLES = ("finished",)
    env: EnvStack

    def __init__(self, config: GymConfig) -> None:
        super().__init__(config)
        self.over = torch.zeros(config.rollout, self.rows, dtype=torch.bool)
        self.after = torch.zeros(config.rollout, self.rows)
        self.cut: list[tuple[int, torch.Tensor, torch.Tensor, torch.Tensor]] = []  # step, rows, observations, states
        self.aside = self.net.tape(0, self.rows)  # for values beside the rollout
        self.newest = np.full((2, self.rows), np.nan)  # return and length of each row's last episode
        self.finished: list[np.ndarray] = []
        self.tape.obs[0].squeeze(1).copy_(torch.from_numpy(self.env.reset()))

    def _world(self) -> tuple[Any, int, Actions]:
        config = self.config
        norms = {"obs_norm": config.obs_norm, "reward_norm": config.reward_norm, "gamma": config.gamma}
        env = EnvStack(config.env, self.learners, self.members, self._seed, bounds=config.action_bounds, **norms)
        return env, env.inputs, make_actions(env.space)

    def _seed(self, row: int, number: int) -> int:
        seed, worker = divmod(row, self.workers)
        key = [self.seeds[seed], Purpose.EPISODE, worker, number]
        return int(np.random.SeedSequence(key).generate_state(1)[0] >> 1)

    def table(self, name: str) -> pd.DataFrame | None:
        """Every episode that ended in training."""
        rows = np.concatenate([np.zeros((0, len(COLUMNS[name]))), *self.finished])
        whole = dict.fromkeys(("seed", "worker", "step", "episode", "length"), int)
        return pd.DataFrame(rows, columns=list(COLUMNS[name])).astype(whole | {"terminated": bool})

    @torch.no_grad()
    def train_episode(self) -> Report:
        """The rollouts and updates of a report."""
        config, updates, told = self.config, self.config.updates, len(self.finished)
        span = updates * config.rollout
        shape, gaussian = self.actions.shape, self.actions.gaussian
        draws = action_draws(self.seeds, self.workers, self.episode, span, shape, gaussian=gaussian)
        order = push_order(self.seeds, self.workers, self.episode, updates)
        self.totals.zero_()
        for update, part in enumerate(draws.split(config.rollout)):
            self.tick(part, order[update], torch.ones(()))
        self.episode += 1
        of_workers = (len(self.seeds), self.workers)
        played = self._played(self.finished[told:]).reshape(2, *of_workers)
        ended = {"return": played[0].astype(np.float32), "length": played[1].astype(np.float32)}
        return self._report(updates) | ended | {"step": np.full(of_workers, self.env.tick * self.workers)}

    def _played(self, episodes: list[np.ndarray]) -> np.ndarray:
        """Mean return and length of the episodes of each row, the newest known where there is none (2, N)."""
        rows = np.concatenate([np.zeros((0, len(COLUMNS["finished"]))), *episodes])
        seed, worker = rows[:, 0].astype(int) - self.seeds[0], rows[:, 1].astype(int)
        row, many = seed * self.workers + worker, np.zeros(self.rows)
        np.add.at(many, row, 1)
        sums = np.zeros((2, self.rows))
        for total, values, newest in zip(sums, (rows[:, 5], rows[:, 4]), self.newest, strict=True):
            np.add.at(total, row, values)
            newest[row] = values  # in the order of time: the last one stays
        return np.where(many > 0, sums / np.maximum(many, 1), self.newest)

    def _step(self, t: int) -> None:
        obs, reward = self.env.step(self.action[t].numpy())
        self.reward[t] = torch.from_numpy(reward)
        self.tape.obs[t + 1].squeeze(1).copy_(torch.from_numpy(obs))
        ended = torch.from_numpy(self.env.ended)
        self.over[t] = ended
        if not self.env.ended.any():
            return
        if (cut := np.flatnonzero(self.env.ended & ~self.env.terminated)).size:
            rows, state = torch.from_numpy(cut), self.tape.state[t + 1].squeeze(1)
            self.cut.append((t, rows, torch.from_numpy(self.env.final[cut]), state[rows]))
        self.tape.state[t + 1][ended] = 0.0
        row, number, length, score, terminated = self.env.finished.T
        seed, worker = np.divmod(row.astype(int), self.workers)
        step = np.full(len(row), self.env.tick * self.workers)
        columns = (np.array(self.seeds)[seed], worker, step, number, length, score, terminated)
        self.finished.append(np.stack(columns, axis=1))

    def _boundaries(self) -> Boundaries | None:
        """Where episodes ended, and the values of the observations at which some were cut off."""
        self.net.keep = None
        if not self.over.any():
            return None
        self.net.keep = (~self.over).float().unsqueeze(-1)
        self.after.zero_()
        for t, rows, obs, state in self.cut:
            self.aside.obs[0, rows, 0] = obs
            self.aside.state[0, rows, 0] = state
            self.after[t, rows] = self.net.step(self.snapshot_views, self.aside, 0)[rows, 0, -1]
        self.cut.clear()
        return Boundaries(self.over, self.after)

    def _first_divergences(self, report: Report) -> list[dict[str, Any]]:
        """As everywhere; where an environment gave what was not finite, it is named."""
        found = super()._first_divergences(report)
        for entry in found:
            first = self.seeds.index(entry["seed"]) * self.workers
            own = range(first, first + self.workers) if self.members > 1 else [first + entry["worker"]]
            if (row := next((row for row in own if row in self.env.broken), None)) is not None:
                entry |= {"worker": row - first, "what": self.env.broken[row]}
        return found

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on to the same bits, also in the middle of episodes."""
        here = {"obs": self.tape.obs[0].clone(), "state": self.tape.state[0].clone()}
        rows = np.concatenate([np.zeros((0, len(COLUMNS["finished"]))), *self.finished])
        here |= {"newest": torch.tensor(self.newest), "finished": torch.tensor(rows)}
        return super().state_dict() | here | {"world": self.env.state_dict()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        self.env.load_state_dict(state["world"])
        self.tape.obs[0].copy_(state["obs"])
        self.tape.state[0].copy_(state["state"])
        self.newest, self.finished = state["newest"].numpy().copy(), [state["finished"].numpy()]
