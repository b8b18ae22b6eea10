"""A run as `lnlab.doctor` examines it: its network with the trained weights, and observations of its environment."""

from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from lnlab.config import TD3Config
from lnlab.envs.images import has_images
from lnlab.models import single
from lnlab.models.cnn import Batch, state
from lnlab.models.mlp import MLP
from lnlab.models.norms import NORMS
from lnlab.play import trained
from lnlab.policy import Policy
from lnlab.runs import Run
from lnlab.trainers.td3 import TD3

STEPS, OF_IMAGES = 256, 64  # observations that are collected; images are large


class Patient(NamedTuple):
    """What `lnlab.doctor.examine` takes."""

    module: nn.Module
    observations: Tensor  # (B, …)
    expects_norm: bool


def patient(run: Run, seed: int | None = None) -> Patient:
    """The learner of a seed, the first unless another is named, and what it meets while its policy is sampled.

    Of Individual it is that of the first worker. TD3 and DDPG come as a pair of actor and critics. Images and vectors
    of an observation lie side by side in a row.

    Raises:
        ConfigError: the run keeps no weights, or has no such seed.
        DamagedError: the run is damaged.
    """
    policy = trained(run, seed)
    shard = next(each for each in run.shards if policy.seed in each.seeds)
    return of(policy, shard.state() or {}, shard.seeds)


def of(policy: Any, state: dict[str, Any], seeds: list[int]) -> Patient:
    """The same from a policy and the state of the trainer of `seeds` that it was taken from."""
    config = policy.config
    off_policy = isinstance(config, TD3Config)
    images = off_policy and has_images(config.env)
    observations, states = _met(policy, OF_IMAGES if images else STEPS)
    if images:
        module: nn.Module = _image_pair(policy, state["learner"])
    elif off_policy:
        module = _vector_pair(policy, state["learner"], seeds)
    else:
        module = Met(policy.module(), torch.from_numpy(states))
    return Patient(module, torch.from_numpy(observations), NORMS[config.norm].normalises)


def _met(policy: Policy, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Observations (B, …) and recurrent states (B, S) at the steps of a few episodes, from the same seed always."""
    env, rng = policy.make_env(), np.random.default_rng(0)
    observations, states = [], []
    observed, _ = env.reset(seed=0)
    before = np.zeros(policy.state_size, np.float32)
    for _ in range(steps):
        observations.append(_row(policy, observed))
        states.append(before)
        action, before = policy.act(observed, before, greedy=False, rng=rng)
        observed, _, terminated, truncated, _ = env.step(action)
        if terminated or truncated:
            observed, _ = env.reset()
            before = np.zeros_like(before)
    env.close()
    return np.stack(observations), np.stack(states)


def _row(policy: Policy, observed: Any) -> np.ndarray:
    """An observation as the network takes it, flat."""
    rows, _ = policy._rows(observed)
    if not isinstance(rows, dict):
        return rows[0]
    image = rows["image"][0].astype(np.float32) * np.float32(2 / 255) - np.float32(1)
    return np.concatenate([image.ravel(), *(rows[name][0].ravel() for name in rows if name == "vector")])


class Met(nn.Module):
    """A network of A3C or Individual in the states in which it met the observations: (B, I) → outputs, values, and
    the states that follow if there are any."""

    def __init__(self, net: nn.Module, states: Tensor) -> None:
        super().__init__()
        self.net, self.states = net, states

    def forward(self, observations: Tensor) -> tuple[Tensor, ...]:
        return tuple(each for each in self.net(observations, self.states) if each.shape[-1])


class Critics(nn.Module):
    """Q of each critic (B, K) on vectors (B, V) and actions (B, A)."""

    def __init__(self, critics: list[nn.Module]) -> None:
        super().__init__()
        self.critics = nn.ModuleList(critics)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        both = torch.cat([observations, actions], 1)
        return torch.cat([critic(both) for critic in self.critics], 1)


class Pair(nn.Module):
    """Actor and critics of TD3 or DDPG."""

    def __init__(self, actor: nn.Module, critic: nn.Module) -> None:
        super().__init__()
        self.actor, self.critic = actor, critic


def _vector_pair(policy: Any, learners: dict[str, Any], seeds: list[int]) -> Pair:
    config, actor = policy.config, policy.module()
    norm = config.norm if config.norm_in != "actor" else "none"
    net = MLP(policy.width + actor.last.out_features, config.hidden, 1, norm)
    first = seeds.index(policy.seed) * config.critics
    rows = learners["critic"]["parameters"][first : first + config.critics].clone()
    views = [net.layout.views(rows[each : each + 1]) for each in range(config.critics)]
    return Pair(actor, Critics([single.mlp(net, each)[:-1] for each in views]))  # without the tanh of an actor


class ImagePair(Pair):
    """The same on images, by the trainer's own learner; observations are rows of image and vector."""

    def __init__(self, learner: TD3, shape: tuple[int, ...]) -> None:
        super().__init__(ImageActor(learner, shape), ImageCritics(learner, shape))
        self.learner, self.shape = learner, shape

    def actor_loss(self, observations: Tensor) -> Tensor:
        """What the trainer lets the actor descend."""
        return -self.learner.actor_value(_parts(observations, self.shape))[0].mean()


class ImageSide(nn.Module):
    """A CNN with its heads."""

    def __init__(self, side: Any, shape: tuple[int, ...]) -> None:
        super().__init__()
        self.cnn, self.heads, self.shape = side.cnn, side.heads, shape

    def state(self, observations: Tensor) -> Tensor:
        """Features and vector (B, S)."""
        parts = _parts(observations, self.shape)
        return state(self.cnn(parts.image), parts.vector)


class ImageActor(ImageSide):
    """Actions (B, A)."""

    def __init__(self, learner: TD3, shape: tuple[int, ...]) -> None:
        super().__init__(learner.actor, shape)

    def forward(self, observations: Tensor) -> Tensor:
        return torch.tanh(self.heads(self.state(observations)))


class ImageCritics(ImageSide):
    """Q of each critic (B, K)."""

    def __init__(self, learner: TD3, shape: tuple[int, ...]) -> None:
        super().__init__(learner.critic, shape)

    def forward(self, observations: Tensor, actions: Tensor) -> Tensor:
        both = torch.cat([self.state(observations), actions], 1)
        return torch.cat([critic(both) for critic in self.heads], 1)


def _parts(observations: Tensor, shape: tuple[int, ...]) -> Batch:
    """Rows of image and vector as the networks take them."""
    pixels = int(np.prod(shape))
    image, vector = observations.split([pixels, observations.shape[1] - pixels], 1)
    return Batch(image.view(-1, *shape), vector)


def _image_pair(policy: Any, learner_state: dict[str, Any]) -> ImagePair:
    env = policy.make_env()
    observed, actions = env.observation_space, env.action_space
    env.close()
    learner = TD3(policy.config.with_seeds([policy.seed]), observed, actions)
    learner.load_state_dict(learner_state)
    return ImagePair(learner, observed["image"].shape)
