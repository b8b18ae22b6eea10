"""TD3 and DDPG: networks, targets and the update (Fujimoto et al. 2018, algorithm 1; Lillicrap et al. 2015).

Checked against Stable-Baselines3: one update of critics and actor from equal weights and batch (`actor_features`
detached, `target_cnn`, no clipping). The other wiring is the original's of D5, kept to be studied.
"""

import copy
import math
from typing import Any

import numpy as np
import torch
from gymnasium import spaces
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from lnlab.config import TD3Config
from lnlab.models.cnn import Batch, batch, make_actor, make_cnn, make_critics, state, state_size
from lnlab.trainers.replay import Transitions
from lnlab.trainers.schedule import Purpose

SATURATED = 0.99  # |action| above which tanh passes hardly any gradient
Seen = dict[str, float]  # what is noted about one update


class Side:
    """The CNN and the heads that one optimizer trains: the actor's, or the critics'."""

    def __init__(self, cnn: nn.Module, heads: nn.Module, lr: float, clip: float) -> None:
        self.cnn, self.heads, self.clip = cnn, heads, clip or math.inf
        self.parameters = [*cnn.parameters(), *heads.parameters()]
        self.optimizer = torch.optim.Adam(self.parameters, lr=lr, fused=True)

    def descend(self, loss: Tensor, who: str, seen: Seen | None) -> bool:
        """One Adam step on the gradient of `loss`, clipped over CNN and heads together; False if it is not finite."""
        for parameter, gradient in zip(self.parameters, torch.autograd.grad(loss, self.parameters), strict=True):
            parameter.grad = _laid_out_like(parameter, gradient)
        if seen is not None:
            seen[f"{who}_cnn_grad_norm"] = grad_norm(self.cnn)
            seen[f"{who}_mlp_grad_norm"] = grad_norm(self.heads)
        norm = nn.utils.clip_grad_norm_(self.parameters, self.clip)
        if seen is not None:
            seen[f"{who}_grad_norm"] = norm.item()
            seen[f"{who}_clip_scale"] = min(1.0, self.clip / (norm.item() + 1e-6))  # as clip_grad_norm_ has it
        if not norm.isfinite():
            return False
        self.optimizer.step()
        return True

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
            actor_parts = make_cnn(observations, config), make_actor(size, count, config)
            critic_parts = make_cnn(observations, config), make_critics(size, count, config)
        actor_cnn, actor, critic_cnn, critics = (part.to(self.device) for part in (*actor_parts, *critic_parts))
        self.actor = Side(actor_cnn, actor, config.lr, config.actor_clip)
        self.critic = Side(critic_cnn, critics, config.lr, config.critic_clip)
        self._pairs = [(online, copy.deepcopy(online)) for online in self._followed()]
        for _, target in self._pairs:
            target.requires_grad_(False)

    def _followed(self) -> list[nn.Module]:
        """The networks that have a target: heads always; CNNs only by `target_cnn`, as the original had none."""
        cnns = [self.actor.cnn, self.critic.cnn] if self.config.target_cnn else []
        return [self.actor.heads, self.critic.heads, *cnns]

    @property
    def _targets(self) -> list[nn.Module]:
        """Target actor, target critics, and the CNNs in front of them."""
        cnns = [] if self.config.target_cnn else [self.critic.cnn, self.critic.cnn]
        return [target for _, target in self._pairs] + cnns

    @torch.no_grad()
    def act(self, obs: dict[str, np.ndarray]) -> np.ndarray:
        """Greedy action (A,) in [−1, 1] for one observation; where a diverged learner has no number, 0."""
        one = batch(_one(obs.get("image")), _one(obs.get("vector")), self.device)
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
        if not self.alive:
            return
        obs = batch(transitions.image, transitions.vector, self.device)
        self._improve_critics(obs, transitions, self._target(transitions, noise.to(self.device)), seen)
        if self.alive and self.updates % self.config.policy_delay == 0:
            self._improve_actor(obs, seen)
            for online, target in self._pairs:
                soft_update(target, online, self.config.tau)

    @torch.no_grad()
    def _target(self, transitions: Transitions, noise: Tensor) -> Tensor:
        """r + γ (1 − terminated) min Q'(s', clip(π'(s') + clipped noise)), (B,)."""
        config, after = self.config, batch(transitions.next_image, transitions.next_vector, self.device)
        actor, critics, actor_cnn, critic_cnn = self._targets
        assert isinstance(critics, nn.ModuleList)
        features = critic_cnn(after.image)
        actor_features = features if actor_cnn is critic_cnn else actor_cnn(after.image)
        noise = (noise * config.target_noise).clamp(-config.noise_clip, config.noise_clip)
        action = (torch.tanh(actor(state(actor_features, after.vector))) + noise).clamp(-1, 1)
        state_action = torch.cat([state(features, after.vector), action], dim=1)
        smallest = torch.stack([critic(state_action).squeeze(1) for critic in critics]).amin(dim=0)
        reward, terminated = transitions.reward.to(self.device), transitions.terminated.to(self.device)
        return reward + config.gamma * (1 - terminated) * smallest

    def _improve_critics(self, obs: Batch, transitions: Transitions, target: Tensor, seen: Seen | None) -> None:
        features = self.critic.cnn(obs.image)
        values = self._q(features, obs, transitions.action.to(self.device))
        loss = torch.stack([mse_loss(each, target) for each in values]).sum()
        if seen is not None:
            seen |= {"critic_loss": loss.item(), "critic_feature_norm": feature_norm(features)}
            seen |= _values_seen(values, target)
        if not self.critic.descend(loss, "critic", seen):
            self._freeze("critic gradient" if loss.isfinite() else "critic loss")

    def _improve_actor(self, obs: Batch, seen: Seen | None) -> None:
        """−mean Q1. With leaky features the actor's CNN can raise Q1 itself: the critic takes its features as state."""
        pretanh, features = self._pretanh(obs)
        action = torch.tanh(pretanh)
        leaky = self.config.actor_features == "leaky"
        value = self._q(features if leaky else self._critic_features(obs), obs, action, first=True)[0]
        if seen is not None:
            seen |= {"actor_loss": -value.mean().item(), "actor_q": value.mean().item()}
            seen |= {"actor_feature_norm": feature_norm(features), "pretanh": pretanh.abs().mean().item()}
            seen["saturation"] = (action.abs() > SATURATED).float().mean().item()
            with torch.no_grad():
                seen["critic_q"] = self._q(self._critic_features(obs), obs, action, first=True)[0].mean().item()
        loss = -value.mean()
        if not self.actor.descend(loss, "actor", seen):
            self._freeze("actor gradient" if loss.isfinite() else "actor loss")

    def check_parameters(self) -> None:
        """Freeze a learner with a parameter that is not finite, as a step can leave one though its gradient was."""
        for who, side in (("critic", self.critic), ("actor", self.actor)):
            if self.alive and not all(map(finite, side.parameters)):
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
def soft_update(target: nn.Module, online: nn.Module, tau: float) -> None:
    """Move each target parameter a fraction `tau` of the way to the online one."""
    moved: list[Tensor] = [*target.parameters()]
    if moved:  # an environment without images has a CNN without parameters
        torch._foreach_lerp_(moved, list[Tensor](online.parameters()), tau)


def _laid_out_like(parameter: Tensor, gradient: Tensor) -> Tensor:
    """The fused Adam walks both through memory side by side: with other strides it would mix up their elements."""
    return gradient if gradient.stride() == parameter.stride() else torch.empty_like(parameter).copy_(gradient)


def finite(x: Tensor) -> bool:
    """Whether all numbers are: the least and the greatest tell, in a fifth of the time of a look at each."""
    least, greatest = torch.aminmax(x.detach())  # a NaN is both
    return bool(least.isfinite() & greatest.isfinite())


def grad_norm(module: nn.Module) -> float:
    """L2 norm over all gradients of a module; 0 where it has no parameters."""
    gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
    return float(nn.utils.get_total_norm(gradients)) if gradients else 0.0


def feature_norm(features: Tensor | None) -> float:
    """Mean over the batch of the L2 norm of each sample's features; NaN without a CNN.

    The documents mix it with the Frobenius norm of the whole batch, which grows with √B.
    """
    return math.nan if features is None else features.detach().norm(dim=1).mean().item()


def _values_seen(values: list[Tensor], target: Tensor) -> Seen:
    first, last = values[0].detach(), values[-1].detach()
    seen = {"q1_mean": first.mean(), "q1_std": first.std(), "q1_min": first.min(), "q1_max": first.max()}
    seen |= {"q2_mean": last.mean(), "target_q_mean": target.mean()}
    seen |= {"td_error_1": (first - target).abs().mean(), "td_error_2": (last - target).abs().mean()}
    return {name: value.item() for name, value in seen.items()}


def _one(part: np.ndarray | None) -> Tensor | None:
    return None if part is None else torch.from_numpy(part).unsqueeze(0)
