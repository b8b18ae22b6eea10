"""The control: A3C the way it is usually written in PyTorch (Mnih et al. 2016).

One process and one module per worker, one observation at a time, shared parameters and Adam moments in shared memory
updated without a lock, autograd through a Python loop over the rollout. Same network, update rule, environment rules
and random numbers per seed as lnlab's trainers; one thread per process. With `shared=False` every worker has its own
parameters: the Individual learners. It is also the reference that the explicit schedule of lnlab.trainers.a3c must
agree with statistically.
"""

import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.multiprocessing as mp
from torch import Tensor, nn

from lnlab.config import EPISODE_STEPS, RunConfig
from lnlab.envs.offloading import training_velocities
from lnlab.envs.rules import CLOUD_UNITS
from lnlab.envs.scalar import Pool, Script, Vehicle


class ActorCritic(nn.Module):
    """48 → 128 → GRU or Linear 128 → policy and value, with LayerNorm where the study puts it."""

    def __init__(self, core: str, norm: str, hidden: int) -> None:
        super().__init__()
        self.recurrent = core == "gru"
        self.embed, self.embed_norm = nn.Linear(48, hidden), self._norm(norm, hidden)
        self.core: nn.Module = nn.GRUCell(hidden, hidden) if self.recurrent else nn.Linear(hidden, hidden)
        self.core_norm = self._norm(norm, hidden)
        self.policy, self.value = nn.Linear(hidden, 3), nn.Linear(hidden, 1)
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.orthogonal_(layer.weight)
                nn.init.zeros_(layer.bias)

    @staticmethod
    def _norm(norm: str, hidden: int) -> nn.Module:
        return nn.LayerNorm(hidden) if norm == "ln" else nn.Identity()

    def forward(self, obs: Tensor, h: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """obs (1, 48), h (1, H) → logits (1, 3), value (1,), next h (1, H)."""
        active = torch.relu(self.embed_norm(self.embed(obs)))
        if self.recurrent:
            h = self.core(active, h)
            active = self.core_norm(h)
        else:
            active = torch.relu(self.core_norm(self.core(active)))
        return self.policy(active), self.value(active).squeeze(-1), h


class SharedPool(Pool):
    """The cloud of several processes."""

    def __init__(self, context: Any) -> None:
        self.refill, self.value = True, context.Value("d", float(CLOUD_UNITS))

    def reset(self) -> None:
        with self.value.get_lock():
            self.value.value = float(CLOUD_UNITS)

    def take(self, units: float) -> bool:
        with self.value.get_lock():
            fits = units <= self.value.value
            self.value.value -= units * fits
        return fits

    def give_back(self, units: float) -> None:
        with self.value.get_lock():
            self.value.value = min(self.value.value + units, CLOUD_UNITS)


class SharedAdam(torch.optim.Adam):
    """Adam whose moments and step counts lie in shared memory."""

    def __init__(self, parameters: Any, lr: float) -> None:
        super().__init__(parameters, lr=lr)
        for group in self.param_groups:
            for p in group["params"]:
                self.state[p] = {
                    "step": torch.zeros(()).share_memory_(),
                    "exp_avg": torch.zeros_like(p).share_memory_(),
                    "exp_avg_sq": torch.zeros_like(p).share_memory_(),
                }


@dataclass
class Worker:
    """What one process needs."""

    config: RunConfig
    index: int
    model: ActorCritic
    optimizer: SharedAdam
    pool: SharedPool
    barrier: Any
    returns: Any  # queue of (worker, episode, return)

    def __call__(self) -> None:
        torch.set_num_threads(1)
        torch.manual_seed(1000 * self.config.first_seed + self.index)
        self.local = ActorCritic(self.config.core, self.config.norm, self.config.hidden)
        self.vehicle = Vehicle(200, training_velocities(self.config.workers)[self.index], self.pool)
        self.rng = np.random.default_rng([self.config.first_seed, self.index])
        for episode in range(self.config.episodes):
            self.returns.put((self.index, episode, self._episode()))

    def _episode(self) -> float:
        self.barrier.wait()
        if self.index == 0:
            self.pool.reset()
        self.barrier.wait()
        self.vehicle.reset(Script.draw(self.rng, 200))
        self.h, total = torch.zeros(1, self.config.hidden), 0.0
        for start in range(0, EPISODE_STEPS, self.config.rollout):
            total += self._update(terminal=start + self.config.rollout == EPISODE_STEPS)
        return total

    def _update(self, *, terminal: bool) -> float:
        self.local.load_state_dict(self.model.state_dict())
        first, observations, actions, rewards = self.h, [], [], []
        with torch.no_grad():
            for _ in range(self.config.rollout):
                obs = torch.from_numpy(self.vehicle.observation()).unsqueeze(0)
                logits, _, self.h = self.local(obs, self.h)
                action = int(torch.multinomial(torch.softmax(logits, -1), 1))
                observations.append(obs), actions.append(action), rewards.append(self.vehicle.step(action))
            last = torch.from_numpy(self.vehicle.observation()).unsqueeze(0)
            bootstrap = 0.0 if terminal else self.local(last, self.h)[1].item()
        self._learn(first, observations, torch.tensor(actions), self._returns(rewards, bootstrap))
        return sum(rewards)

    def _returns(self, rewards: list[float], bootstrap: float) -> Tensor:
        returns = []
        for reward in reversed(rewards):
            bootstrap = reward + self.config.gamma * bootstrap
            returns.insert(0, bootstrap)
        return torch.tensor(returns)

    def _learn(self, h: Tensor, observations: list[Tensor], actions: Tensor, returns: Tensor) -> None:
        outs = []
        for obs in observations:
            logits, value, h = self.local(obs, h)
            outs.append((logits, value))
        logits, values = torch.cat([out[0] for out in outs]), torch.cat([out[1] for out in outs])
        policy = torch.distributions.Categorical(logits=logits)
        advantage = (returns - values).detach()
        advantage = (advantage - advantage.mean()) / advantage.std().clamp_min(1e-8)
        loss = -(policy.log_prob(actions) * advantage).mean()
        loss = (
            loss
            + self.config.value_cost * (values - returns).square().mean()
            - self.config.entropy_cost * policy.entropy().mean()
        )
        self.local.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(self.local.parameters(), self.config.clip_norm)
        for shared, own in zip(self.model.parameters(), self.local.parameters(), strict=True):
            shared.grad = own.grad
        self.optimizer.step()


def train(config: RunConfig) -> tuple[np.ndarray, float]:
    """Train one seed (`config.first_seed`); returns the returns (workers, episodes) and the seconds, without the start
    of the processes."""
    context = mp.get_context("spawn")
    torch.manual_seed(config.first_seed)
    models = [
        ActorCritic(config.core, config.norm, config.hidden).share_memory() for _ in range(config.learners_per_seed)
    ]
    optimizers = [SharedAdam(model.parameters(), config.lr) for model in models]
    pool, barrier, queue = SharedPool(context), context.Barrier(config.workers + 1), context.Queue()
    workers = [
        Worker(config, i, models[i % len(models)], optimizers[i % len(models)], pool, barrier, queue)
        for i in range(config.workers)
    ]
    processes = [context.Process(target=worker, daemon=True) for worker in workers]
    for process in processes:
        process.start()
    start, returns = None, np.empty((config.workers, config.episodes))
    for _ in range(2 * config.episodes):  # the barrier counts the parent too, so that it can start the clock
        barrier.wait()
        start = start or time.perf_counter()
    for _ in range(returns.size):
        worker, episode, value = queue.get()
        returns[worker, episode] = value
    assert start is not None
    seconds = time.perf_counter() - start
    for process in processes:
        process.join()
    return returns, seconds
