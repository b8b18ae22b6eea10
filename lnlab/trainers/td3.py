"""TD3 and DDPG, whole: the update of the networks, the environment around it, greedy tests, what is recorded.

Sources: Fujimoto et al. 2018, algorithm 1; Lillicrap et al. 2015; Yarats et al. 2021 (arXiv 2107.09645) for returns of
several steps and shifted images. Checked against Stable-Baselines3: one update of
critics and actor from equal weights and batch (`actor_features` detached, `target_cnn`, no clipping). The other wiring
is the original's of D5, kept to be studied. The networks are those of `lnlab.models.cnn`.
"""

import copy
import math
from collections.abc import Callable, Iterator
from typing import Any

import cv2
import gymnasium
import numpy as np
import pandas as pd
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lnlab.columns import COLUMNS, UPDATE
from lnlab.config import RECORD_STEPS, TD3Config
from lnlab.envs.driving_reward import WEIGHTS
from lnlab.envs.images import make_env
from lnlab.models.cnn import Batch, batch, make_actor, make_cnn, make_critics, state, state_size
from lnlab.trainers.adam import Adam
from lnlab.trainers.captured import CapturedUpdate
from lnlab.trainers.monitor import EarlyStopping
from lnlab.trainers.replay import Replay, Transitions
from lnlab.trainers.schedule import Purpose

SATURATED = 0.99  # |action| above which tanh passes hardly any gradient
PHASES = ("random", "mixed", "policy")  # who chose the actions: chance, both within an episode, the actor with noise
REWARDS = {f"reward_{name}": name for name in WEIGHTS}  # columns of the parts of the driving reward
VALIDATION_POINTS = (10_000, 50_000, 100_000, 500_000, 1_000_000)  # steps at which D5 wants a run tested
BIAS_STATES = 8  # of an episode, at which Q is compared to what followed
DRIVING = ("lnlab/Driving-v0", "lnlab/DrivingCamera-v0", "lnlab/DrivingTraffic-v0")
OTHER_TRACKS = {env: {"scenario": "varied"} for env in DRIVING}  # options of the environment in tests
Seen = dict[str, float]  # what is noted about one update
Report = dict[str, Any]


# -- the update -------------------------------------------------------------------------------------------------------


class Side:
    """The CNN and the heads that one optimizer trains: the actor's, or the critics'.

    Args:
        own: the optimizer trains the CNN, too; an actor that takes the critics' CNN leaves it as it is.
    """

    def __init__(self, cnn: nn.Module, heads: nn.Module, lr: float, clip: float, *, own: bool = True) -> None:
        self.cnn, self.heads, self.clip, self.own = cnn, heads, clip or math.inf, own
        self.parameters = [*(cnn.parameters() if own else ()), *heads.parameters()]
        self.optimizer = Adam(self.parameters, lr=lr, fused=True)
        self.watch: Callable[[Tensor, Tensor], None] | None = None  # of a captured update, which asks the host nothing

    def descend(self, loss: Tensor, who: str, seen: Seen | None) -> bool:
        """One Adam step on the gradient of `loss`, clipped over CNN and heads together; False if it is not finite."""
        for parameter, gradient in zip(self.parameters, torch.autograd.grad(loss, self.parameters), strict=True):
            # the fused Adam walks both through memory side by side: with other strides it would mix up their elements
            alike = gradient.stride() == parameter.stride()
            parameter.grad = gradient if alike else torch.empty_like(parameter).copy_(gradient)
        if seen is not None:
            seen[f"{who}_cnn_grad_norm"] = grad_norm(self.cnn) if self.own else 0.0
            seen[f"{who}_mlp_grad_norm"] = grad_norm(self.heads)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if seen is not None:
            seen[f"{who}_grad_norm"] = norm.item()
            seen[f"{who}_clip_scale"] = min(1.0, self.clip / (norm.item() + 1e-6))  # as clip_grad_norm_ has it
        if self.watch is not None:
            self.watch(loss, norm)
        elif not norm.isfinite():
            return False
        self.optimizer.step()
        return True

    def finite(self) -> bool:
        """Whether all parameters are: the least and the greatest tell, in a fifth of the time of a look at each."""
        extremes = (torch.aminmax(each.detach()) for each in self.parameters)  # a NaN is both
        return all(bool(least.isfinite() & greatest.isfinite()) for least, greatest in extremes)

    def state_dict(self) -> dict[str, Any]:
        parts: dict[str, Any] = {"cnn": self.cnn, "heads": self.heads, "optimizer": self.optimizer}
        return {name: part.state_dict() for name, part in parts.items()}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        self.cnn.load_state_dict(kept["cnn"])
        self.heads.load_state_dict(kept["heads"])
        self.optimizer.load_state_dict(kept["optimizer"])


class TD3:
    """One learner: `act`, `update`, and the numbers of an update where asked.

    Args:
        config: its settings; `config.first_seed` draws the weights, equal in all arms where shapes agree.
        observations: Dict with image (uint8) and vector, or one of them.
        actions: Box within ±1.
    """

    def __init__(self, config: TD3Config, observations: spaces.Dict, actions: spaces.Box, device: str = "cpu") -> None:
        self.config, self.device, self.updates, self.alive = config, torch.device(device), 0, True
        self.diverged: dict[str, Any] | None = None  # at which update, and what was not finite first
        size, count = state_size(observations), actions.shape[0]
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(np.random.default_rng([config.first_seed, Purpose.INIT]).integers(2**62)))
            actor_parts = make_cnn(observations, config, "actor"), make_actor(size, count, config)
            critic_parts = make_cnn(observations, config, "critic"), make_critics(size, count, config)
        actor_cnn, actor, critic_cnn, critics = (part.to(self.device) for part in (*actor_parts, *critic_parts))
        if self.shared:  # the actor's was drawn all the same: the other weights are those of the other arms
            actor_cnn = critic_cnn
        self.actor = Side(actor_cnn, actor, config.lr, config.actor_clip, own=not self.shared)
        self.critic = Side(critic_cnn, critics, config.lr, config.critic_clip)
        own = config.target_cnn or not config.target_network  # the original had no targets of the CNNs
        cnns = [critic_cnn] if self.shared else [actor_cnn, critic_cnn]
        parts = (actor, critics, *(cnns if own else []))
        self.tau: float | Tensor = config.tau
        self._pairs = [(online, copy.deepcopy(online) if config.target_network else online) for online in parts]
        if config.target_network:
            for _, target in self._pairs:
                target.requires_grad_(False)

    @property
    def _targets(self) -> list[nn.Module]:
        """Target actor, target critics, and the CNNs in front of them."""
        actor, critics, *cnns = (target for _, target in self._pairs)
        cnns = cnns or [self.critic.cnn]
        return [actor, critics, cnns[0], cnns[-1]]

    @property
    def shared(self) -> bool:
        """Whether the actor takes the critics' CNN, which their loss alone trains (Yarats et al. 2021)."""
        return self.config.actor_features == "shared"

    @torch.no_grad()
    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Greedy action (A,) in [−1, 1] for one observation; where a diverged learner has no number, 0."""
        one = observed([obs], self.device)
        return torch.tanh(self._pretanh(one)[0]).nan_to_num_(nan=0.0).cpu().numpy()[0]

    @torch.no_grad()
    def q1(self, transitions: Transitions) -> np.ndarray:
        """(B,) first critic's value of the actions taken."""
        obs = batch(transitions.image, transitions.vector, self.device)
        return self._q(self.critic.cnn(obs.image), obs, transitions.action.to(self.device))[0].cpu().numpy()

    def update(self, transitions: Transitions, noise: Tensor, seen: Seen | None = None) -> None:
        """One critic step, and each `policy_delay` of them an actor step and a step of the targets.

        A learner whose gradient is no longer finite stays as it is from then on: `alive` is False, and `diverged` says
        since when.

        Args:
            transitions: a batch from the replay buffer.
            noise: (B, A) standard normal, for the target action.
            seen: takes the numbers of this update, by their names in the table `records`; costs a little time.
        """
        self.updates += 1
        if self.alive:
            self.improve(transitions, noise, seen, acts=self.updates % self.config.policy_delay == 0)

    def improve(self, transitions: Transitions, noise: Tensor, seen: Seen | None = None, *, acts: bool) -> None:
        """The work of an update; `acts`: with a step of actor and targets."""
        obs = batch(transitions.image, transitions.vector, self.device)
        features = self._improve_critics(obs, transitions, self._target(transitions, noise.to(self.device)), seen)
        if self.alive and acts:
            self._improve_actor(obs, features, seen)
            for online, target in self._pairs:
                if target is not online:
                    soft_update(target, online, self.tau)

    @torch.no_grad()
    def _target(self, transitions: Transitions, noise: Tensor) -> Tensor:
        """Reward + discount · min Q'(s', clip(π'(s') + clipped noise)), (B,)."""
        config, after = self.config, batch(transitions.next_image, transitions.next_vector, self.device)
        actor, critics, actor_cnn, critic_cnn = self._targets
        assert isinstance(critics, nn.ModuleList)
        features = critic_cnn(after.image)
        actor_features = features if actor_cnn is critic_cnn else actor_cnn(after.image)
        noise = (noise * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        action = (torch.tanh(actor(state(actor_features, after.vector))) + noise).clamp(-1, 1)
        state_action = torch.cat([state(features, after.vector), action], dim=1)
        smallest = torch.stack([critic(state_action).squeeze(1) for critic in critics]).amin(dim=0)
        return transitions.reward.to(self.device) + transitions.discount.to(self.device) * smallest

    def _improve_critics(
        self, obs: Batch, transitions: Transitions, target: Tensor, seen: Seen | None
    ) -> Tensor | None:
        """One step down; the features (B, 512) of their CNN before it, without gradient."""
        features = self.critic.cnn(obs.image)
        values = self._q(features, obs, transitions.action.to(self.device))
        loss = torch.stack([mse_loss(each, target) for each in values]).sum()
        if seen is not None:
            first, last = values[0].detach(), values[-1].detach()
            numbers = {"critic_loss": loss, "q1_mean": first.mean(), "q1_std": first.std(), "q1_min": first.min()}
            numbers |= {"q1_max": first.max(), "q2_mean": last.mean(), "target_q_mean": target.mean()}
            numbers |= {"td_error_1": (first - target).abs().mean(), "td_error_2": (last - target).abs().mean()}
            numbers["q_max"] = torch.stack(values).abs().max()
            seen |= {name: value.item() for name, value in numbers.items()}
            seen["critic_feature_norm"] = feature_norm(features)
        if not self.critic.descend(loss, "critic", seen):
            self._freeze("critic gradient" if loss.isfinite() else "critic loss")
        return None if features is None else features.detach()

    def _improve_actor(self, obs: Batch, critic_features: Tensor | None, seen: Seen | None) -> None:
        """−mean Q1. With leaky features the actor's CNN can raise Q1 itself: the critic takes its features as state.

        With a shared CNN those of the critics' step serve again, which saves a pass (Yarats et al. 2021).
        """
        value, action, pretanh, features = self.actor_value(obs, critic_features)
        loss = -value.mean()
        if seen is not None:
            with torch.no_grad():
                asked = self._q(self._critic_features(obs), obs, action, first=True)[0]
            numbers = {"actor_loss": loss, "actor_q": value.mean(), "critic_q": asked.mean()}
            numbers |= {"pretanh": pretanh.abs().mean(), "saturation": (action.abs() > SATURATED).float().mean()}
            seen |= {name: number.item() for name, number in numbers.items()}
            seen["actor_feature_norm"] = feature_norm(features)
        if not self.actor.descend(loss, "actor", seen):
            self._freeze("actor gradient" if loss.isfinite() else "actor loss")

    def actor_value(
        self, obs: Batch, critic_features: Tensor | None = None
    ) -> tuple[Tensor, Tensor, Tensor, Tensor | None]:
        """What the actor maximises, Q1 (B,), with its action, the action before tanh, and its CNN's features.

        Args:
            critic_features: with a shared CNN, its features of `obs`, if they are there.
        """
        if self.shared:
            features = self._critic_features(obs) if critic_features is None else critic_features
            pretanh = self.actor.heads(state(features, obs.vector))
        else:
            pretanh, features = self._pretanh(obs)
        action = torch.tanh(pretanh)
        own = self.config.actor_features == "detached"
        value = self._q(self._critic_features(obs) if own else features, obs, action, first=True)[0]
        return value, action, pretanh, features

    def check_parameters(self) -> None:
        """Freeze a learner with a parameter that is not finite, as a step can leave one though its gradient was."""
        for who, side in (("critic", self.critic), ("actor", self.actor)):
            if self.alive and not side.finite():
                self._freeze(f"{who} parameter")

    def _freeze(self, what: str) -> None:
        self.alive, self.diverged = False, {"update": self.updates, "what": what}

    @torch.no_grad()
    def _critic_features(self, obs: Batch) -> Tensor | None:
        return self.critic.cnn(obs.image)

    def _pretanh(self, obs: Batch) -> tuple[Tensor, Tensor | None]:
        """Action before its tanh (B, A), and the actor CNN's features (B, 512)."""
        features = self.actor.cnn(obs.image)
        return self.actor.heads(state(features, obs.vector)), features

    def _q(self, features: Tensor | None, obs: Batch, action: Tensor, *, first: bool = False) -> list[Tensor]:
        """Values (B,) of every critic, or of the first only."""
        state_action = torch.cat([state(features, obs.vector), action], dim=1)
        assert isinstance(self.critic.heads, nn.ModuleList)
        critics = [*self.critic.heads]
        return [critic(state_action).squeeze(1) for critic in (critics[:1] if first else critics)]

    def state_dict(self) -> dict[str, Any]:
        """Everything but the settings; a plain dict."""
        targets = [target.state_dict() for _, target in self._pairs]
        sides = {"actor": self.actor.state_dict(), "critic": self.critic.state_dict()}
        return sides | {"targets": targets, "updates": self.updates, "alive": self.alive, "diverged": self.diverged}

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        self.actor.load_state_dict(kept["actor"])
        self.critic.load_state_dict(kept["critic"])
        for (_, target), values in zip(self._pairs, kept["targets"], strict=True):
            target.load_state_dict(values)
        self.updates, self.alive, self.diverged = kept["updates"], kept["alive"], kept.get("diverged")


@torch.no_grad()
def soft_update(target: nn.Module, online: nn.Module, tau: float | Tensor) -> None:
    """Move each target parameter a fraction `tau` of the way to the online one."""
    moved: list[Tensor] = [*target.parameters()]
    if moved:  # an environment without images has a CNN without parameters
        share: Any = [tau] * len(moved) if isinstance(tau, Tensor) else tau
        torch._foreach_lerp_(moved, list[Tensor](online.parameters()), share)


def shifted(image: Tensor, by: np.ndarray) -> Tensor:
    """Each image (B, F, H, W) moved by whole pixels, all its frames alike (Yarats et al. 2021, section 3.1).

    What comes in repeats the edge, as if the image had been padded with copies of it.

    Args:
        by: (B, 2), rows that the image moves up, columns that it moves to the left.

    >>> shifted(torch.arange(6).view(1, 1, 2, 3), np.array([[1, -1]])).tolist()
    [[[[3, 3, 4], [3, 3, 4]]]]
    """
    count, frames, height, width = image.shape
    down, right = torch.from_numpy(by).to(image.device).unsqueeze(-1).unbind(1)  # (B, 1) each
    rows = (torch.arange(height, device=image.device) + down).clamp_(0, height - 1)
    columns = (torch.arange(width, device=image.device) + right).clamp_(0, width - 1)
    places = (rows.unsqueeze(2) * width + columns.unsqueeze(1)).view(count, 1, -1).expand(-1, frames, -1)
    return image.flatten(2).gather(2, places).view_as(image)


def grad_norm(module: nn.Module) -> float:
    """L2 norm over all gradients of a module; 0 where it has no parameters."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0


def feature_norm(features: Tensor | None) -> float:
    """Mean over the batch of the L2 norm of each sample's features; NaN without a CNN.

    The documents mix it with the Frobenius norm of the whole batch, which grows with √B.
    """
    return math.nan if features is None else features.detach().norm(dim=1).mean().item()


def observed(obs: list[dict[str, np.ndarray]], device: torch.device) -> Batch:
    """Observations as the networks take them."""
    parts = ([each[name] for each in obs if name in each] for name in ("image", "vector"))
    image, vector = (torch.from_numpy(np.stack(part)) if part else None for part in parts)
    return batch(image, vector, device)


# -- the steps of the environment -------------------------------------------------------------------------------------


class Steps:
    """Steps of the environment, added up over an episode or over the hundred steps of a report."""

    def __init__(self) -> None:
        self.phases: list[str] = []
        self.actions: list[np.ndarray] = []
        self.rewards: list[float] = []
        self.parts: list[list[float]] = []
        self.speeds: list[float] = []

    def add(self, phase: str, action: np.ndarray, reward: float, info: dict[str, Any]) -> None:
        self.phases.append(phase)
        self.actions.append(action)
        self.rewards.append(reward)
        parts = info.get("reward", {})
        self.parts.append([float(parts.get(name, math.nan)) for name in REWARDS.values()])  # NaN: it does not tell
        self.speeds.append(float(info.get("speed", math.nan)))

    @property
    def phase(self) -> str:
        """random or policy where all steps agree, else mixed."""
        return self.phases[0] if len(set(self.phases)) == 1 else PHASES[1]

    def controls(self) -> dict[str, float]:
        """Mean steer and throttle; NaN where there are other actions than these two."""
        mean = np.mean(self.actions, axis=0).tolist()
        return dict(zip(("steer", "throttle"), mean if len(mean) == 2 else [math.nan] * 2, strict=True))

    def means(self) -> dict[str, Any]:
        """Columns of `records`."""
        parts = dict(zip(REWARDS, np.mean(self.parts, axis=0).tolist(), strict=True))
        row = {"phase": self.phase, "reward": float(np.mean(self.rewards))} | parts
        return row | {"speed": float(np.mean(self.speeds))} | self.controls()

    def sums(self, info: dict[str, Any]) -> dict[str, Any]:
        """Columns of `returns`; `info` is that of the episode's last step."""
        parts = dict(zip(REWARDS, np.sum(self.parts, axis=0).tolist(), strict=True))
        row = {"length": len(self.rewards), "return": math.fsum(self.rewards), "phase": self.phase}
        return row | outcome(info) | parts | self.controls()


def outcome(info: dict[str, Any]) -> dict[str, Any]:
    """How an episode ended, as far as the environment tells."""
    ends = {name: bool(info.get(name, False)) for name in ("off_lane", "goal")}
    return ends | {"route_left": float(info.get("route_left", math.nan))}


class OffPolicyTrainer:
    """One seed of TD3 or DDPG: random actions, then one update a step; a report, a row of `records`, each 100 steps.

    The tables `returns`, `checks` and `drives` grow beside it, one dict a row, in `rows`. The state holds the actions
    of the episode under way, not the simulator's own: resuming resets the environment with the episode's seed and
    repeats them, which gives the same state to the bit.

    Raises:
        ValueError: settings of several seeds; each seed has a trainer of its own.
    """

    TABLES = ("returns", "checks", "drives")

    def __init__(self, config: TD3Config, device: str = "cpu") -> None:
        if config.seeds != 1:
            raise ValueError(f"a trainer of {config.algorithm} takes one seed; got {config.seeds}")
        cv2.setNumThreads(1)  # pictures are small, and the other cores belong to the other seeds
        self.config, self.seed, self.env = config, config.first_seed, make_env(config.env)
        observations: Any = self.env.observation_space
        actions: Any = self.env.action_space
        self.width = actions.shape[0]
        self.learner = TD3(config, observations, actions, device)
        self.replay = Replay(config.capacity, observations, actions, device, gamma=config.gamma, n_steps=config.n_steps)
        self.steps, self.stopping = 0, EarlyStopping(config.patience)
        self.rows: dict[str, list[dict[str, Any]]] = {name: [] for name in self.TABLES}
        self._window = Steps()
        self._captured: CapturedUpdate | None = None
        self._begin_episode(0)

    @property
    def episode(self) -> int:
        """Reports so far: the count by which checkpoints go."""
        return self.steps // RECORD_STEPS

    @property
    def stopped_early(self) -> int | None:
        """The step at which early stopping ended the run."""
        return self.steps if self.config.early_stopping and self.stopping.stopped else None

    @property
    def done(self) -> bool:
        return self.steps == self.config.steps or self.stopped_early is not None

    @property
    def norm_layers(self) -> list[str]:
        """Norm layers found in the live networks, of whatever kind, such as actor.norm1."""
        cnns: dict[str, Any] = {"actor": self.learner.actor.cnn, "critic": self.learner.critic.cnn}
        return [f"{who}.{place}" for who, cnn in cnns.items() for place in cnn.norm_layers]

    @property
    def parameter_count(self) -> int:
        """Trained numbers of actor and critics, without targets."""
        return sum(each.numel() for side in (self.learner.actor, self.learner.critic) for each in side.parameters)

    @property
    def diverged(self) -> list[dict[str, Any]]:
        """Where the learner was no longer finite, as `lnlab.trainers.Trainer` has it."""
        if (found := self.learner.diverged) is None:
            return []
        step = found.get("step") or self.config.step_of(found["update"])
        episode = sum(row["step"] < step for row in self.rows["returns"])
        return [{"seed": self.seed, "worker": -1, "episode": episode, "step": step, "what": found["what"]}]

    def table(self, name: str) -> pd.DataFrame | None:
        """A table of the whole training; None where it has no row, but for the columns of `returns`."""
        return pd.DataFrame(self.rows[name]) if self.rows[name] else no_returns() if name == "returns" else None

    def __iter__(self) -> Iterator[Report]:
        if self.steps == 0:
            self._look("before")
        while not self.done:
            yield self._report()

    def _report(self) -> Report:
        """Train for a hundred steps; the numbers of the last update of critics and actor, and means over the steps."""
        seen: Seen = dict.fromkeys(UPDATE, math.nan)
        after = self.steps + RECORD_STEPS
        updates_left = self.config.updates_by(after) % self.config.policy_delay
        actor_left = updates_left // self.config.updates_per_step  # steps after that of the actor's last update
        actor_left = min(actor_left, max(0, after - self.config.learning_starts))  # which may be in priming
        for left in reversed(range(RECORD_STEPS)):
            self._step(seen if left in (0, actor_left) else None)
        if self._captured:
            self._captured.look()
        self.learner.check_parameters()
        if self.done:
            self._look("after")
        row = {
            "step": self.steps,
            "updates": self.learner.updates,
            "exploration_noise": exploration_noise(self.config, self.steps),
        }
        row |= {"alive": self.learner.alive} | self._window.means() | seen
        self._window = Steps()
        return {"record": self.episode} | {name: np.array([[value]]) for name, value in row.items()}

    def _step(self, seen: Seen | None) -> None:
        """One step of the environment, and one update once learning has started."""
        at = self.steps + 1
        if at == self.config.learning_starts:
            for left in reversed(range(self.config.priming_updates)):
                self._update(seen if left < self.config.policy_delay else None)
        action, phase = self._action(at)
        self._obs, reward, terminated, truncated, info = self.env.step(action)
        self._freeze_if_broken(float(reward))
        ended = terminated or truncated
        self.replay.add(action, float(reward) * self.config.reward_scale, terminated, self._obs, ended=ended)
        for steps in (self._window, self._episode):
            steps.add(phase, action, float(reward), info)
        self.steps = at
        if at > self.config.learning_starts:
            for _ in range(self.config.updates_per_step):
                self._update(seen)
        if ended:
            self._end_episode(terminated, info)
        if tested_at(self.config, at):
            self._test()

    def _freeze_if_broken(self, reward: float = 0.0) -> None:
        """Nothing can be learned from an observation or a reward that is no finite number."""
        seen = all(np.isfinite(each).all() for each in self._obs.values())
        if self.learner.alive and not (seen and math.isfinite(reward)):
            what = "reward" if seen else "observation"
            self.learner.alive = False
            self.learner.diverged = {"update": self.learner.updates, "what": what, "step": self.steps + 1}

    def _action(self, at: int) -> tuple[np.ndarray, str]:
        if at < self.config.learning_starts:
            rng = np.random.default_rng([self.seed, Purpose.RANDOM_ACTION, at])
            return random_action(self.config, self.width, rng), PHASES[0]
        draw = np.random.default_rng([self.seed, Purpose.EXPLORATION, at]).standard_normal(self.width)
        noisy = self.learner.act(self._obs) + exploration_noise(self.config, at) * draw
        return np.clip(noisy, -1, 1).astype(np.float32), PHASES[-1]

    def _update(self, seen: Seen | None) -> None:
        size, update = self.config.batch_size, self.learner.updates
        transitions = self.replay.sample(size, np.random.default_rng([self.seed, Purpose.BATCH, update]))
        if most := self.config.shift:
            rng = np.random.default_rng([self.seed, Purpose.SHIFT, update])
            image, following = (
                None if each is None else shifted(each, rng.integers(-most, most + 1, (size, 2)))
                for each in (transitions.image, transitions.next_image)
            )
            transitions = transitions._replace(image=image, next_image=following)
        rng = np.random.default_rng([self.seed, Purpose.TARGET_NOISE, update])
        noise = torch.from_numpy(rng.standard_normal((size, self.width), dtype=np.float32))
        if self.learner.device.type != "cuda" or seen is not None:
            self.learner.update(transitions, noise, seen)
            return
        self._captured = self._captured or CapturedUpdate(self.learner, transitions, noise)
        self._captured(transitions, noise)

    def _begin_episode(self, number: int) -> None:
        self._obs, _ = self.env.reset(seed=self._episode_seed(number))
        self._freeze_if_broken()
        self.replay.start(self._obs)
        self._number, self._episode = number, Steps()

    def _episode_seed(self, number: int) -> int:
        return int(np.random.default_rng([self.seed, Purpose.EPISODE, number]).integers(2**31))

    def _end_episode(self, terminated: bool, info: dict[str, Any]) -> None:
        row = {"seed": self.seed, "step": self.steps, "episode": self._number} | self._episode.sums(info)
        row |= {"terminated": terminated, "q_bias": self._q_bias() if terminated else math.nan}
        self.rows["returns"].append(row)
        self.stopping.add(self.steps, row["return"])
        self._begin_episode(self._number + 1)

    def _q_bias(self) -> float:
        """Mean of Q1 minus the discounted return that followed, over states of the episode; NaN before learning."""
        if self.learner.updates == 0:
            return math.nan
        tail = self.replay.last_episode(BIAS_STATES)
        discounted = discounted_returns(tail.reward, self.config.gamma)[tail.steps]
        return float((self.learner.q1(tail.transitions) - discounted).mean())

    def _test(self) -> None:
        """Greedy episodes on tracks that training does not see, the same for every seed and arm."""
        env = make_env(self.config.env, **OTHER_TRACKS.get(self.config.env, {}))
        for number in range(self.config.eval_episodes):
            seed = int(np.random.default_rng([Purpose.TEST_EPISODE, number]).integers(2**31))
            steps = list(greedy(env, self.learner, seed))
            _, _, terminated, info = steps[-1]
            total = float(np.sum([reward for _, reward, _, _ in steps]))
            row = {"seed": self.seed, "step": self.steps, "episode": number, "return": total, "length": len(steps)}
            self.rows["checks"].append(row | {"terminated": terminated} | outcome(info))
        env.close()

    def _look(self, moment: str) -> None:
        """Where the car goes in one greedy episode on the training track, for the eye; before training also a test."""
        if moment == "before" and self.config.eval_episodes:
            self._test()
        if self.config.env not in DRIVING:
            return
        env = make_env(self.config.env)
        for t, (action, _, _, info) in enumerate(greedy(env, self.learner, self._episode_seed(0)), start=1):
            row = {"seed": self.seed, "moment": moment, "t": t, "track_seed": info["track_seed"]}
            row |= dict(zip(("x", "y", "heading"), info["pose"], strict=True)) | {"speed": info["speed"]}
            self.rows["drives"].append(row | {"steer": float(action[0]), "throttle": float(action[1])})
        env.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything to go on bit for bit on the same machine; valid between reports."""
        actions = np.array(self._episode.actions, dtype=np.float32).reshape(-1, self.width)
        return {
            "episode": self.episode,
            "steps": self.steps,
            "learner": self.learner.state_dict(),
            "replay": self.replay.state_dict(),
            "number": self._number,
            "actions": torch.from_numpy(actions),
            "phases": list(self._episode.phases),
            "tables": self.rows,
            "stopping": self.stopping.state_dict(),
        }

    def load_state_dict(self, kept: dict[str, Any]) -> None:
        """Go on from `state_dict`."""
        self.steps, self.rows = kept["steps"], kept["tables"]
        self.stopping.load_state_dict(kept["stopping"])
        checks = self.rows["checks"]
        self.rows["checks"] = [row for row in checks if tested_at(self.config, row["step"])]  # none of a shorter run
        self.rows["drives"] = [row for row in self.rows["drives"] if self.done or row["moment"] == "before"]
        self.learner.load_state_dict(kept["learner"])
        self._captured = None  # Adam's moments have moved
        self._begin_episode(kept["number"])
        for action, phase in zip(kept["actions"].numpy(), kept["phases"], strict=True):
            self._obs, reward, _, _, info = self.env.step(action)
            self._episode.add(phase, action, float(reward), info)
        self.replay.load_state_dict(kept["replay"])  # last: the beginning above must not leave a trace in it


def tested_at(config: TD3Config, step: int) -> bool:
    """Whether the greedy policy is tested after this step; 0 is before the first."""
    regular = step in (0, config.steps) or (config.eval_every > 0 and step % config.eval_every == 0)
    return config.eval_episodes > 0 and (regular or step in VALIDATION_POINTS)


def greedy(
    env: gymnasium.Env[Any, Any], learner: TD3, seed: int
) -> Iterator[tuple[np.ndarray, float, bool, dict[str, Any]]]:
    """One episode of the policy without noise: action, reward, terminated, info of each step."""
    obs, _ = env.reset(seed=seed)
    ended = False
    while not ended:
        action = learner.act(obs)
        obs, reward, terminated, truncated, info = env.step(action)
        ended = terminated or truncated
        yield action, float(reward), terminated, info


def random_action(config: TD3Config, width: int, rng: np.random.Generator) -> np.ndarray:
    """Uniform (width,); forward: the last action, the throttle, never below 0, as in the original."""
    action = rng.uniform(-1, 1, width).astype(np.float32)
    if config.random_actions == "forward" and width > 1:
        action[-1] = abs(action[-1])
    return action


def exploration_noise(config: TD3Config, at: int) -> float:
    """Standard deviation of the exploration noise at step `at`."""
    passed = max(0, at - config.learning_starts)
    span = config.exploration_start - config.exploration_end
    return config.exploration_end + span * math.exp(-config.exploration_decay * passed)


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


def no_returns() -> pd.DataFrame:
    """The table of a seed in which no episode ended: its columns, of the types they have in others."""
    kinds = {"seed": int, "step": int, "episode": int, "length": int, "phase": str}
    columns = COLUMNS["returns"].items()
    kinds |= {name: bool if column.unit == "bool" else float for name, column in columns if name not in kinds}
    return pd.DataFrame({name: pd.Series(dtype=kinds[name]) for name, _ in columns})
