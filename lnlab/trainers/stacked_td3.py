"""TD3 and DDPG on vectors, all seeds of a run as one tensor program (Fujimoto et al. 2018, algorithm 1).

The algorithm of `lnlab.trainers.td3` without images: a learner's parameters are a row of a flat buffer, each product is
one batched matmul over all learners, each Adam one fused step. Checked against that module's update of one learner, and
in double precision against Stable-Baselines3's (tests/test_stacked_td3.py).

BatchNorm without a target network takes its statistics over both halves of a batch, (s, a) and (s', a') (CrossNorm and
CrossQ, arXiv 1902.05605). Acting, the actor's gradient and target networks take running ones, as in
Stable-Baselines3's CrossQ.
"""

import math
from collections.abc import Iterator
from typing import Any

import gymnasium
import numpy as np
import pandas as pd
import torch
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from torch import Tensor

from lnlab.columns import COLUMNS, UPDATE
from lnlab.config import RECORD_STEPS, TD3Config
from lnlab.envs.images import make_env
from lnlab.models.cnn import make_actor, make_critics
from lnlab.models.mlp import MLP
from lnlab.trainers.adam import Adam
from lnlab.trainers.monitor import EarlyStopping
from lnlab.trainers.replay import powers
from lnlab.trainers.schedule import Purpose
from lnlab.trainers.td3 import (
    BIAS_STATES,
    PHASES,
    SATURATED,
    Report,
    Steps,
    discounted_returns,
    exploration_noise,
    no_returns,
    outcome,
    random_action,
    tested_at,
)

Seen = dict[str, Tensor]  # what is noted about one update, (N,) each
BUFFERS = ("parameters", "target", "exp_avg", "exp_avg_sq", "step")


class Side:
    """Actors or critics of all learners, K networks each, on flat buffers (N · K, size): with targets and Adam."""

    def __init__(
        self, net: MLP, networks: list[Any], learners: int, config: TD3Config, clip: float, like: Tensor
    ) -> None:
        self.net, self.learners, self.clip = net, learners, clip or math.inf
        self.parameters = like.new_zeros(len(networks), net.layout.size)
        net.start(self.parameters, networks)
        self.target = self.parameters.clone() if config.target_network else self.parameters
        self.gradient = torch.zeros_like(self.parameters)
        self.parameters.grad = self.gradient
        views = [net.layout.views(each) for each in (self.parameters, self.target, self.gradient)]
        self.p, self.behind, self.g = views
        self.adam = Adam([self.parameters], lr=config.lr, fused=True)
        self.adam.step()  # makes the moments; a zero gradient moves nothing
        self.moments["step"].zero_()
        self.hold = net.projection(self.parameters)

    @property
    def moments(self) -> dict[str, Tensor]:
        return self.adam.state[self.parameters]

    def rows(self, x: Tensor) -> Tensor:
        """What belongs to learners, (N, …), for each of their networks, (N · K, …)."""
        return x.repeat_interleave(len(self.parameters) // self.learners, 0)

    def step(self, alive: Tensor) -> Tensor:
        """Clip each learner's gradient and take an Adam step where it is finite; its norms before clipping (N,).

        `alive` (N,) changes: a learner whose gradient is not finite is frozen, here and by `freeze`.
        """
        norm = torch.linalg.vector_norm(self.gradient.view(self.learners, -1), dim=1)
        alive &= norm.isfinite()
        if self.clip < math.inf:
            self.gradient.mul_(self.rows((self.clip / (norm + 1e-6)).clamp_max(1.0)).unsqueeze(1))
        if not alive.all():
            self.gradient.masked_fill_(self.rows(~alive).unsqueeze(1), 0.0)
            self.freeze(~alive)
        self.adam.step()
        if self.hold is not None:
            self.hold(self.p)
        self.net.move_statistics(self.p, self.rows(alive))
        return norm

    def freeze(self, dead: Tensor) -> None:
        """No momentum: without a gradient there is no step either."""
        for name in ("exp_avg", "exp_avg_sq"):
            self.moments[name].masked_fill_(self.rows(dead).unsqueeze(1), 0.0)

    def follow(self, tau: float, alive: Tensor) -> None:
        """Move the targets a fraction `tau` of the way to the online networks; those of frozen learners stay."""
        if self.target is self.parameters:
            return
        if alive.all():
            self.target.lerp_(self.parameters, tau)
        else:
            moved = torch.lerp(self.target, self.parameters, tau)
            self.target.copy_(torch.where(self.rows(alive).unsqueeze(1), moved, self.target))

    def state_dict(self) -> dict[str, Tensor]:
        buffers = {"parameters": self.parameters, "target": self.target} | self.moments
        return {name: buffers[name].detach().cpu().clone() for name in BUFFERS}

    def load_state_dict(self, kept: dict[str, Tensor]) -> None:
        buffers = {"parameters": self.parameters, "target": self.target} | self.moments
        for name in BUFFERS:
            buffers[name].data.copy_(kept[name])


class StackedTD3:
    """The learners of all seeds: `act`, `update`, and the numbers of an update where asked.

    Args:
        config: its settings; each seed draws its weights as a learner of `lnlab.trainers.td3` does.
        width: of the observation, V.
        actions: A, each within ±1.
    """

    def __init__(
        self, config: TD3Config, width: int, actions: int, device: str = "cpu", dtype: torch.dtype = torch.float32
    ) -> None:
        self.config, self.width, self.updates = config, width, 0
        count = len(config.seed_list)
        like = torch.zeros(0, device=device, dtype=dtype)
        actors, critics = [], []
        with torch.random.fork_rng(devices=[]):
            for seed in config.seed_list:
                torch.manual_seed(int(np.random.default_rng([seed, Purpose.INIT]).integers(2**62)))
                actors.append(make_actor(width, actions, config))
                critics += [*make_critics(width, actions, config)]
        norms = {side: config.norm if config.norm_in in ("both", side) else "none" for side in ("actor", "critic")}
        actor = MLP(width, config.hidden, actions, norms["actor"])
        critic = MLP(width + actions, config.hidden, 1, norms["critic"])
        self.actor = Side(actor, actors, count, config, config.actor_clip, like)
        self.critic = Side(critic, critics, count, config, config.critic_clip, like)
        self.first = critic.layout.views(self.critic.parameters[:: config.critics])
        self.scratch = critic.layout.views(torch.empty_like(self.critic.parameters[:: config.critics]))
        self.alive = torch.ones(count, dtype=torch.bool, device=device)
        self.diverged: list[dict[str, Any] | None] = [None] * count  # at which update, and what was not finite first

    @torch.no_grad()
    def act(self, obs: np.ndarray) -> np.ndarray:
        """Greedy actions (N, B, A) in [−1, 1] for observations (N, B, V); where a diverged learner has no number, 0."""
        given = torch.as_tensor(obs, dtype=self.actor.parameters.dtype, device=self.alive.device)
        return torch.tanh(self.actor.net.forward(self.actor.p, given)[0]).nan_to_num_(nan=0.0).cpu().numpy()

    @torch.no_grad()
    def q1(self, obs: Tensor, action: Tensor) -> Tensor:
        """Values (N, B) of the first critics."""
        return self.critic.net.forward(self.first, torch.cat([obs, action], -1))[0].squeeze(-1)

    @torch.no_grad()
    def update(self, batch: Tensor, noise: Tensor, seen: Seen | None = None) -> None:
        """One critic step, and each `policy_delay` of them an actor step and a step of the targets.

        Args:
            batch: (N, B, 2 V + A + 2), as the replay buffer draws it: observation, action, sum of rewards, discount of
                the next value, next observation.
            noise: (N, B, A) standard normal, for the target action.
            seen: takes the numbers of this update, by their names in the table `records`; costs a little time.
        """
        self.updates += 1
        width, actions = self.width, noise.shape[-1]
        state_action, reward, discount, after = batch.split([width + actions, 1, 1, width], -1)
        following = torch.cat([after, self._next_action(after, noise)], -1)
        alive = self.alive.clone()
        found: Seen | None = None if seen is None else {}
        loss, norm = self._improve_critics(state_action, following, reward, discount, found)
        self._note("critic", loss, norm, found, alive)
        if self.updates % self.config.policy_delay == 0:
            alive.copy_(self.alive)
            acted: Seen | None = None if seen is None else {}
            loss, norm = self._improve_actors(state_action[..., :width], acted)
            self._note("actor", loss, norm, acted, alive)
            found = None if found is None or acted is None else found | acted
            for side in (self.actor, self.critic):
                side.follow(self.config.tau, self.alive)
        if seen is not None and found is not None:
            seen |= found

    def _next_action(self, after: Tensor, noise: Tensor) -> Tensor:
        """clip(π'(s') + clipped noise), (N, B, A)."""
        most = self.config.noise_clip
        noise = (noise * self.config.target_noise).clamp_(-most, most)
        return self.actor.net.forward(self.actor.behind, after)[0].tanh_().add_(noise).clamp_(-1, 1)

    def _improve_critics(
        self, state_action: Tensor, following: Tensor, reward: Tensor, discount: Tensor, seen: Seen | None
    ) -> tuple[Tensor, Tensor]:
        """Sum over critics of the mean squared error to reward + discount · min Q'; losses, norms of the gradient (N,).

        Args:
            state_action: s, a (N, B, V + A).
            following: s', a', in the same form.
        """
        critic, batch = self.critic, state_action.shape[1]
        if critic.net.over_batch and not self.config.target_network:
            # one pass with the statistics of both halves, as Bhatt et al. 2024 have it; the gradient goes
            # through them, but not through the second half's values
            both, passes = critic.net.forward(
                critic.p, critic.rows(torch.cat([state_action, following], 1)), train=True
            )
            values, later = both.split(batch, 1)
        else:
            later = critic.net.forward(critic.behind, critic.rows(following))[0]
            values, passes = critic.net.forward(critic.p, critic.rows(state_action), train=True)
        target = torch.addcmul(reward, discount, later.reshape(len(reward), self.config.critics, -1, 1).amin(1))
        errors = (values - critic.rows(target)).view(len(target), self.config.critics, -1)  # (N, K, B)
        slope = (2 / batch) * errors.view(len(values), batch, 1)
        if passes[0].inputs.shape[1] > batch:
            slope = torch.cat([slope, torch.zeros_like(slope)], 1)
        critic.net.backward(critic.p, critic.g, passes, slope)
        loss = errors.square().mean(-1).sum(-1)
        if seen is not None:
            values = values.reshape(errors.shape)
            bound = critic.net.bound(critic.p).view(len(values), -1)
            seen |= {"q_max": values.abs().amax((1, 2)), "q_bound": bound.amax(1)}
            first, last = values[:, 0], values[:, -1]
            seen |= {"critic_loss": loss, "q1_mean": first.mean(1), "q1_std": first.std(1), "q1_min": first.amin(1)}
            seen |= {"q1_max": first.amax(1), "q2_mean": last.mean(1), "target_q_mean": target.mean((1, 2))}
            seen |= {"td_error_1": errors[:, 0].abs().mean(1), "td_error_2": errors[:, -1].abs().mean(1)}
        return loss, critic.step(self.alive)

    def _improve_actors(self, obs: Tensor, seen: Seen | None) -> tuple[Tensor, Tensor]:
        """−mean Q1 of the policy's actions; losses and norms of the gradient, (N,)."""
        actor, critic = self.actor, self.critic.net
        pretanh, passes = actor.net.forward(actor.p, obs, train=True)
        action = torch.tanh(pretanh)
        value, through = critic.forward(self.first, torch.cat([obs, action], -1))
        dq = torch.full_like(value, -1 / value.shape[1])
        d_action = critic.input_gradient(self.first, self.scratch, through, dq)[..., self.width :]
        actor.net.backward(actor.p, actor.g, passes, torch.ops.aten.tanh_backward(d_action, action))
        loss = -value.mean((1, 2))
        if seen is not None:
            seen |= {"actor_loss": loss, "actor_q": -loss, "critic_q": -loss, "pretanh": pretanh.abs().mean((1, 2))}
            seen["saturation"] = (action.abs() > SATURATED).to(loss.dtype).mean((1, 2))
        return loss, actor.step(self.alive)

    def _note(self, who: str, loss: Tensor, norm: Tensor, seen: Seen | None, alive: Tensor) -> None:
        """What both sides note; of learners that were frozen before the step, no number."""
        side = self.actor if who == "actor" else self.critic
        if seen is not None:
            clip = torch.full_like(norm, side.clip)
            seen |= {f"{who}_grad_norm": norm, f"{who}_mlp_grad_norm": norm, f"{who}_cnn_grad_norm": norm * 0.0}
            seen[f"{who}_clip_scale"] = (clip / (norm + 1e-6)).clamp_max(1.0)
            seen |= {name: value.where(alive, math.nan) for name, value in seen.items()}
        if not self.alive.all():
            for row in (~self.alive).nonzero().flatten().tolist():
                self._froze(row, f"{who} gradient" if loss[row].isfinite() else f"{who} loss")

    def check_parameters(self) -> None:
        """Freeze learners with a parameter that is not finite, as a step can leave one though its gradient was."""
        for who, side in (("critic", self.critic), ("actor", self.actor)):
            finite = side.parameters.isfinite().view(len(self.alive), -1).all(1)
            for row in (self.alive & ~finite).nonzero().flatten().tolist():
                self.alive[row] = False
                self._froze(row, f"{who} parameter")

    def freeze(self, broken: np.ndarray, what: str, step: int) -> None:
        """Freeze the learners whose environment gave no finite number at a step; broken (N,) bool."""
        for row in np.flatnonzero(broken).tolist():
            self.alive[row] = False
            self._froze(row, what, step=step)

    def _froze(self, row: int, what: str, **at: int) -> None:
        if self.diverged[row] is None:
            self.diverged[row] = {"update": self.updates, "what": what} | at
            for side in (self.actor, self.critic):
                side.freeze(~self.alive)

    def state_dict(self) -> dict[str, Any]:
        """Everything but the settings; a plain dict."""
        sides = {"actor": self.actor.state_dict(), "critic": self.critic.state_dict()}
        return sides | {"updates": self.updates, "alive": self.alive.cpu().clone(), "diverged": [*self.diverged]}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        self.actor.load_state_dict(kept["actor"])
        self.critic.load_state_dict(kept["critic"])
        self.alive.copy_(kept["alive"])
        self.updates, self.diverged = kept["updates"], [*kept["diverged"]]


class VectorReplay:
    """The transitions of all seeds in one array, (capacity, N, 2 V + A + 2): all seeds step together.

    A step holds both of its observations, so that a truncated episode bootstraps from its true last one.

    Args:
        gamma: discount per step.
        n_steps: of a transition that is drawn (Yarats et al. 2021, section 3.1); fewer where the episode ends before,
            or the newest step comes before, as in Stable-Baselines3.
    """

    def __init__(
        self, capacity: int, learners: int, width: int, actions: int, device: str = "cpu", *,
        gamma: float = 0.99, n_steps: int = 1,
    ) -> None:  # fmt: skip
        self.capacity, self.filled, self.at = capacity, 0, 0
        self.n_steps, self.powers = n_steps, powers(gamma, n_steps).to(device)
        self.data = torch.empty(capacity, learners, 2 * width + actions + 2, device=device)  # memory as it fills
        self.ended = np.zeros((capacity, learners), bool)  # the step was the last of its episode
        self.reward = width + actions  # its column

    def add(self, *parts: np.ndarray, ended: np.ndarray) -> None:
        """A step of every seed: observation (N, V), action (N, A), reward and terminated (N, 1), next one (N, V).

        Args:
            ended: (N,) bool, terminated or truncated.
        """
        self.data[self.at] = torch.from_numpy(np.concatenate(parts, axis=1, dtype=np.float32))
        self.ended[self.at] = ended
        self.at, self.filled = (self.at + 1) % self.capacity, min(self.filled + 1, self.capacity)

    def sample(self, uniform: np.ndarray) -> Tensor:
        """Transitions (N, B, 2 V + A + 2) drawn with replacement, by numbers (N, B) in [0, 1).

        Observation, action, discounted sum of rewards, discount of the next value, 0 where the episode terminated, and
        the observation that the steps led to.
        """
        slots = (uniform * self.filled).astype(np.int64)
        batch = self._rows(slots)
        steps: np.ndarray | int = 1
        if self.n_steps > 1:
            steps, batch[..., self.reward] = self._sums(slots)
            batch[..., self.reward + 1 :] = self._rows((slots + steps - 1) % self.capacity)[..., self.reward + 1 :]
        batch[..., self.reward + 1] = self.powers[steps] * (1 - batch[..., self.reward + 1])
        return batch

    def _rows(self, slots: np.ndarray) -> Tensor:
        """Steps of every learner, (N, B, …), in its slots (N, B)."""
        flat = self.data.flatten(0, 1)
        places = slots * len(slots) + np.arange(len(slots))[:, None]
        return flat.index_select(0, torch.from_numpy(places.ravel()).to(flat.device)).view(*slots.shape, -1)

    def _sums(self, slots: np.ndarray) -> tuple[np.ndarray, Tensor]:
        """How many steps there are from each slot on, up to `n_steps`, and their discounted rewards, (N, B) each."""
        ahead, learner = np.arange(self.n_steps), np.arange(len(slots))[:, None, None]
        window = (slots[..., None] + ahead) % self.capacity  # (N, B, n)
        farthest = np.minimum((self.at - 1 - slots) % self.capacity, self.n_steps - 1)  # the newest step, or the n-th
        steps = (self.ended[window, learner] | (ahead >= farthest[..., None])).argmax(-1) + 1  # up to the first such
        reward = self.data[torch.from_numpy(window), torch.from_numpy(learner), self.reward] * self.powers[:-1]
        inside = torch.from_numpy(ahead < steps[..., None]).to(reward.device)
        return steps, reward.where(inside, 0.0).sum(-1)

    def last(self, learner: int, count: int) -> Tensor:
        """The newest `count` transitions of a learner, oldest first, or those that are left of them."""
        count = min(count, self.filled)
        return self.data[torch.arange(self.at - count, self.at) % self.capacity, learner]

    def state_dict(self) -> dict[str, Any]:
        ended = torch.from_numpy(self.ended[: self.filled].copy())
        return {"at": self.at, "data": self.data[: self.filled].cpu().clone(), "ended": ended}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        self.at, self.filled = kept["at"], len(kept["data"])
        self.data[: self.filled] = kept["data"].to(self.data.device)
        if "ended" in kept:  # not in what older versions kept, whose transitions are of one step
            self.ended[: self.filled] = kept["ended"]


class StackedTrainer:
    """All seeds of TD3 or DDPG side by side; a report each 100 steps of every seed, arrays (seeds, 1).

    The tables `returns` and `checks` grow beside it, one dict a row, in `rows`. As in `OffPolicyTrainer`, the state
    holds the actions of the episodes under way: resuming repeats them.
    """

    TABLES = ("returns", "checks")

    def __init__(self, config: TD3Config, device: str = "cpu") -> None:
        self.config, self.seeds = config, config.seed_list
        makers = [lambda: make_env(config.env)] * len(self.seeds)
        self.envs = SyncVectorEnv(makers, copy=False, autoreset_mode=AutoresetMode.DISABLED)
        space: Any = self.envs.single_observation_space
        action_space: Any = self.envs.single_action_space
        sizes = space["vector"].shape[0], action_space.shape[0]
        self.learner = StackedTD3(config, *sizes, device)
        shape = config.capacity, len(self.seeds), *sizes
        self.replay = VectorReplay(*shape, device, gamma=config.gamma, n_steps=config.n_steps)
        self.actions, self.steps = sizes[1], 0
        self.stopping = [EarlyStopping(config.patience) for _ in self.seeds]
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self.TABLES}
        self.numbers, self._episodes = [0] * len(self.seeds), [Steps() for _ in self.seeds]
        self._windows = [Steps() for _ in self.seeds]
        self._obs = self._reset(np.ones(len(self.seeds), bool))

    @property
    def episode(self) -> int:
        """Reports so far: the count by which checkpoints go."""
        return self.steps // RECORD_STEPS

    @property
    def stopped_early(self) -> int | None:
        """The step at which early stopping ended the run, of which there is one seed then."""
        stopped = self.config.early_stopping and all(each.stopped for each in self.stopping)
        return self.steps if stopped else None

    @property
    def done(self) -> bool:
        return self.steps == self.config.steps or self.stopped_early is not None

    @property
    def norm_layers(self) -> list[str]:
        """Norm layers found in the live networks, of whatever kind, such as actor.first.norm."""
        sides = {"actor": self.learner.actor, "critic": self.learner.critic}
        return [f"{who}.{place}" for who, side in sides.items() for place in side.net.norm_layers]

    @property
    def parameter_count(self) -> int:
        """Trained numbers of a learner's actor and critics, without targets."""
        return self.learner.actor.net.layout.count + self.config.critics * self.learner.critic.net.layout.count

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """Where a learner was no longer finite, as `lnlab.trainers.Trainer` has it."""
        entries = []
        for seed, found in zip(self.seeds, self.learner.diverged, strict=True):
            if found is not None:
                step = found.get("step") or self.config.step_of(found["update"])
                episode = sum(row["seed"] == seed and row["step"] < step for row in self.rows["returns"])
                entries.append({"seed": seed, "worker": -1, "episode": episode, "step": step, "what": found["what"]})
        return entries

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of the whole training; None where it has no row, but for the columns of `returns`."""
        if not self.rows[name]:
            return no_returns() if name == "returns" else None
        return pd.DataFrame(self.rows[name]).sort_values("seed", kind="stable", ignore_index=True)

    def __iter__(self) -> Iterator[Report]:
        if self.steps == 0 and self.config.eval_episodes:
            self._test()
        while not self.done:
            yield self._report()

    def _report(self) -> Report:
        """Train for a hundred steps; the numbers of the last update of critics and actors, and means over the steps."""
        config = self.config
        seen: Seen = {}
        updates_then = config.updates_by(self.steps + RECORD_STEPS)
        actor_left = updates_then % config.policy_delay // config.updates_per_step
        actor_left = min(actor_left, max(0, self.steps + RECORD_STEPS - config.learning_starts))  # it may be in priming
        streams = {purpose: self._streams(purpose) for purpose in (Purpose.RANDOM_ACTION, Purpose.EXPLORATION)}
        self._draws = [self._streams(purpose) for purpose in (Purpose.BATCH, Purpose.TARGET_NOISE)]
        for left in reversed(range(RECORD_STEPS)):
            self._step(streams, seen if left in (0, actor_left) else None)
        self.learner.check_parameters()
        means = pd.DataFrame([each.means() for each in self._windows])
        self._windows = [Steps() for _ in self.seeds]
        columns: dict[str, Any] = {"step": self.steps, "updates": self.learner.updates}
        columns |= {
            "exploration_noise": exploration_noise(config, self.steps),
            "alive": self.learner.alive.cpu().numpy(),
        }
        columns |= {name: means[name].to_numpy() for name in means}
        columns |= {name: seen[name].double().cpu().numpy() if name in seen else math.nan for name in UPDATE}
        columns |= {name: math.nan for name in COLUMNS["records"] if name not in {"seed", *columns}}  # of a CNN
        columns["actor_mlp_weight_std"] = self._weight_std()
        shape = (len(self.seeds), 1)
        return {"record": self.episode} | {
            n: np.broadcast_to(np.reshape(v, (-1, 1)), shape) for n, v in columns.items()
        }

    def _streams(self, purpose: Purpose) -> list[np.random.Generator]:
        """A generator of each seed for the hundred steps of a report."""
        return [np.random.default_rng([seed, purpose, self.episode]) for seed in self.seeds]

    def _weight_std(self) -> np.ndarray:
        views = self.learner.actor.p
        parts = [
            views[f"{layer}.{part}"].flatten(1) for layer in ("first", "second", "last") for part in ("weight", "bias")
        ]
        return torch.cat(parts, 1).std(1).double().cpu().numpy()

    def _step(self, streams: dict[Purpose, list[np.random.Generator]], seen: Seen | None) -> None:
        """One step of every environment, and the updates after it once learning has started."""
        at, before = self.steps + 1, self._obs
        if at == self.config.learning_starts:
            for left in reversed(range(self.config.priming_updates)):
                self._update(seen if left < self.config.policy_delay else None)
        action, phase = self._action(at, streams)
        observed, reward, terminated, truncated, _ = self.envs.step(action)
        after, ended = np.array(observed["vector"]), terminated | truncated
        self.learner.freeze(~np.isfinite(after).all(1), "observation", at)
        self.learner.freeze(~np.isfinite(reward), "reward", at)
        learned = self.config.reward_scale * reward[:, None]
        self.replay.add(before, action, learned, terminated[:, None], after, ended=ended)
        self.steps, self._obs = at, after
        for steps in (self._windows, self._episodes):
            for each, own, gained in zip(steps, action, reward.tolist(), strict=True):
                each.add(phase, own, gained, {})
        if at > self.config.learning_starts:
            for _ in range(self.config.updates_per_step):
                self._update(seen)
        if ended.any():
            self._end_episodes(ended, terminated)
        if tested_at(self.config, at):
            self._test()

    def _action(self, at: int, streams: dict[Purpose, list[np.random.Generator]]) -> tuple[np.ndarray, str]:
        """Actions (N, A) of step `at`, and whose they are."""
        if at < self.config.learning_starts:
            drawn = [random_action(self.config, self.actions, rng) for rng in streams[Purpose.RANDOM_ACTION]]
            return np.stack(drawn), PHASES[0]
        draws = np.stack([rng.standard_normal(self.actions) for rng in streams[Purpose.EXPLORATION]])
        noisy = self.learner.act(self._obs[:, None])[:, 0] + exploration_noise(self.config, at) * draws
        return np.clip(noisy, -1, 1).astype(np.float32), PHASES[-1]

    def _update(self, seen: Seen | None) -> None:
        size, (choice, noise) = self.config.batch_size, self._draws
        batch = self.replay.sample(np.stack([rng.random(size) for rng in choice]))
        drawn = np.stack([rng.standard_normal((size, self.actions), dtype=np.float32) for rng in noise])
        self.learner.update(batch, torch.from_numpy(drawn).to(batch.device), seen)

    def _episode_seed(self, row: int) -> int:
        rng = np.random.default_rng([self.seeds[row], Purpose.EPISODE, self.numbers[row]])
        return int(rng.integers(2**31))

    def _reset(self, chosen: np.ndarray) -> np.ndarray:
        """Begin an episode of the chosen seeds (N,); the observations (N, V) of all."""
        seeds: list[int | None] = [self._episode_seed(row) for row in range(len(self.seeds))]
        observed, _ = self.envs.reset(seed=seeds, options={"reset_mask": chosen})
        first = np.array(observed["vector"])
        self.learner.freeze(~np.isfinite(first).all(1), "observation", self.steps + 1)
        return first

    def _end_episodes(self, ended: np.ndarray, terminated: np.ndarray) -> None:
        for row in np.flatnonzero(ended).tolist():
            found: dict[str, Any] = {"seed": self.seeds[row], "step": self.steps, "episode": self.numbers[row]}
            found |= self._episodes[row].sums({}) | {"terminated": bool(terminated[row])}
            found["q_bias"] = self._q_bias(row, found["length"]) if terminated[row] else math.nan
            self.rows["returns"].append(found)
            self.stopping[row].add(self.steps, found["return"])
            self.numbers[row] += 1
            self._episodes[row] = Steps()
        self._obs = self._reset(ended)

    def _q_bias(self, row: int, length: int) -> float:
        """Mean of Q1 minus the discounted return that followed, over states of the episode; NaN before learning."""
        if self.learner.updates == 0:
            return math.nan
        tail, width = self.replay.last(row, length), self._obs.shape[1]
        chosen = np.unique(np.linspace(0, len(tail) - 1, min(BIAS_STATES, len(tail))).round().astype(np.int64))
        discounted = discounted_returns(tail[:, width + self.actions].cpu().numpy(), self.config.gamma)[chosen]
        states = tail[torch.from_numpy(chosen)][:, : width + self.actions].expand(len(self.seeds), -1, -1)
        values = self.learner.q1(states[..., :width], states[..., width:])[row].cpu().numpy()
        return float((values - discounted).mean())

    def _test(self) -> None:
        """Greedy episodes of every seed at once, from the same starts for every seed and arm."""
        count = self.config.eval_episodes
        starts = [int(np.random.default_rng([Purpose.TEST_EPISODE, each]).integers(2**31)) for each in range(count)]
        envs: list[gymnasium.Env[Any, Any]] = [make_env(self.config.env) for _ in range(count * len(self.seeds))]
        first = [env.reset(seed=starts[place % count])[0]["vector"] for place, env in enumerate(envs)]
        obs, rewards = np.stack(first), [list[float]() for _ in envs]
        ends: dict[int, tuple[bool, dict[str, Any]]] = {}
        while len(ends) < len(envs):
            action = self.learner.act(obs.reshape(len(self.seeds), count, -1)).reshape(len(envs), -1)
            for place in set(range(len(envs))) - ends.keys():
                observed, reward, terminated, truncated, info = envs[place].step(action[place])
                obs[place] = observed["vector"]
                rewards[place].append(float(reward))
                if terminated or truncated:
                    ends[place] = terminated, info
        for place, env in enumerate(envs):
            row: dict[str, Any] = {"seed": self.seeds[place // count], "step": self.steps, "episode": place % count}
            row |= {"return": float(np.sum(rewards[place])), "length": len(rewards[place])}
            self.rows["checks"].append(row | {"terminated": ends[place][0]} | outcome(ends[place][1]))
            env.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on bit for bit on the same machine; valid between reports."""
        taken = [np.array(each.actions, dtype=np.float32).reshape(-1, self.actions) for each in self._episodes]
        return {
            "episode": self.episode,
            "steps": self.steps,
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
            "numbers": [*self.numbers],
            "actions": [torch.from_numpy(each) for each in taken],
            "phases": [list(each.phases) for each in self._episodes],
            "tables": self.rows,
            "stopping": [each.state_dict() for each in self.stopping],
        }

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.steps, self.rows, self.numbers = kept["steps"], kept["tables"], [*kept["numbers"]]
        checks = self.rows["checks"]
        self.rows["checks"] = [row for row in checks if tested_at(self.config, row["step"])]  # none of a shorter run
        self.learner.load_state_dict(kept["learner"])
        self.replay.load_state_dict(kept["replay"])
        self._obs, self._episodes = self._reset(np.ones(len(self.seeds), bool)), [Steps() for _ in self.seeds]
        for row, (actions, phases) in enumerate(zip(kept["actions"], kept["phases"], strict=True)):
            self.stopping[row].load_state_dict(kept["stopping"][row])
            for action, phase in zip(actions.numpy(), phases, strict=True):
                observed, reward, *_ = self.envs.envs[row].step(action)
                self._obs[row] = observed["vector"]
                self._episodes[row].add(phase, action, float(reward), {})
