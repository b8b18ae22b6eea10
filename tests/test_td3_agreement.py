"""Two updates of TD3 against Stable-Baselines3's, from equal weights, on equal batches and noise.

The settings under which the two are the same algorithm: CNNs among the targets, the critic's own features in the
actor's loss, no clipping. The network is written out again for Stable-Baselines3, layer by layer.
"""

from collections.abc import Iterable
from typing import Any

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Dict
from torch import Tensor, nn

from lnlab.config import TD3Config
from lnlab.trainers.replay import Transitions
from lnlab.trainers.td3 import TD3

sb3 = pytest.importorskip("stable_baselines3")

from stable_baselines3.common.buffers import DictReplayBufferSamples  # noqa: E402
from stable_baselines3.common.logger import configure  # noqa: E402
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor  # noqa: E402

BATCH, HIDDEN, VECTOR, ACTIONS = 8, 32, 5, 2
SPACE = Dict(image=Box(0, 255, (4, 84, 84), np.uint8), vector=Box(-np.inf, np.inf, (VECTOR,), np.float32))
ACTION = Box(-1, 1, (ACTIONS,), np.float32)


class Spaces(gymnasium.Env[Any, Any]):
    """Spaces and nothing else: all that a model needs to be made."""

    observation_space, action_space = SPACE, ACTION


class Extractor(BaseFeaturesExtractor):  # type: ignore[misc]
    """The CNN of the study in plain layers, beside the vector; images come in as [0, 1]."""

    def __init__(self, space: Dict, norm: str) -> None:
        super().__init__(space, 512 + VECTOR)
        widths, shapes = (4, 32, 64, 64), ((32, 20, 20), (64, 9, 9), (64, 7, 7))
        layers: list[nn.Module] = []
        for index, (kernel, stride) in enumerate(((8, 4), (4, 2), (3, 1))):
            layers += [nn.Conv2d(widths[index], widths[index + 1], kernel, stride)]
            layers += [nn.LayerNorm(shapes[index])] * (norm == "ln") + [nn.LeakyReLU(0.01)]
        layers += [nn.Flatten(), nn.Linear(3136, 512)]
        layers += [nn.LayerNorm(512), nn.LeakyReLU(0.01)] if norm == "ln" else []
        self.layers = nn.Sequential(*layers)

    def forward(self, obs: dict[str, Tensor]) -> Tensor:
        return torch.cat([self.layers(2 * obs["image"] - 1), obs["vector"]], dim=1)


def make_theirs(config: TD3Config) -> Any:
    """Their model with our settings."""
    policy = {"net_arch": [HIDDEN, HIDDEN], "features_extractor_class": Extractor}
    policy["features_extractor_kwargs"] = {"norm": config.norm}
    settings = {"learning_rate": config.lr, "gamma": config.gamma, "tau": config.tau, "buffer_size": 2}
    settings |= {"target_policy_noise": config.target_noise, "target_noise_clip": config.noise_clip}
    model = sb3.TD3("MultiInputPolicy", Spaces(), policy_kwargs=policy, device="cpu", **settings)
    model.set_logger(configure(None, []))
    return model


def networks(learner: TD3, model: Any) -> dict[str, tuple[list[Tensor], list[Tensor]]]:
    """Parameters of ours and theirs in the same order: CNN, heads."""
    actor, critics, actor_cnn, critic_cnn = learner._targets
    ours = {"actor": learner.actor.parameters, "critic": learner.critic.parameters}
    ours |= {"actor_target": [*actor_cnn.parameters(), *actor.parameters()]}
    ours |= {"critic_target": [*critic_cnn.parameters(), *critics.parameters()]}
    return {name: (each, [*getattr(model, name).parameters()]) for name, each in ours.items()}


@torch.no_grad()
def make_equal(learner: TD3, model: Any) -> None:
    """Their weights become ours, with targets that differ from the online networks."""
    for name, (ours, theirs) in networks(learner, model).items():
        for mine, other in zip(ours, theirs, strict=True):
            if name.endswith("target"):
                mine += 0.1 * mine.std() * torch.randn_like(mine) if mine.numel() > 1 else 0.1
            other.copy_(mine)


def make_batch() -> Transitions:
    image, after = (torch.randint(0, 256, (BATCH, 4, 84, 84), dtype=torch.uint8) for _ in range(2))
    action = torch.rand(BATCH, ACTIONS) * 2 - 1
    vector, after_vector = torch.randn(2, BATCH, VECTOR)
    terminated = (torch.arange(BATCH) % 3 == 0).float()
    return Transitions(image, vector, action, torch.randn(BATCH), after, after_vector, terminated)


def update_theirs(model: Any, batch: Transitions, seed: int) -> None:
    """One step of `model.train` on `batch`; it draws its noise from torch's global generator."""
    obs = {"image": batch.image, "vector": batch.vector}
    after = {"image": batch.next_image, "vector": batch.next_vector}
    sample = DictReplayBufferSamples(obs, batch.action, after, batch.terminated[:, None], batch.reward[:, None])
    model.replay_buffer.sample = lambda *_, **__: sample
    torch.manual_seed(seed)
    model.train(gradient_steps=1, batch_size=BATCH)


def noise_of(seed: int) -> Tensor:
    """What they draw, before its scale."""
    torch.manual_seed(seed)
    return torch.empty(BATCH, ACTIONS).normal_()


def gradients(parameters: Iterable[Tensor]) -> list[Tensor]:
    return [parameter.grad.clone() for parameter in parameters if parameter.grad is not None]


def steady(*optimizers: torch.optim.Optimizer) -> None:
    """Let Adam's steps follow the gradient: by default it makes a full step of any, even of one that is rounding."""
    for optimizer in optimizers:
        for group in optimizer.param_groups:
            group["eps"] = 0.1


@pytest.mark.parametrize("norm", ["none", "ln"])
def test_critic_and_actor_steps_agree_with_stable_baselines3(norm: str) -> None:
    torch.manual_seed(0)
    settings = {"norm": norm, "actor_features": "detached", "target_cnn": True, "actor_clip": 0, "critic_clip": 0}
    config = TD3Config(seeds=1, hidden=HIDDEN, batch_size=BATCH, **settings)
    learner, model = TD3(config, SPACE, ACTION), make_theirs(config)
    make_equal(learner, model)
    steady(learner.actor.optimizer, learner.critic.optimizer, model.actor.optimizer, model.critic.optimizer)
    for update, stepped in enumerate(("critic", "actor"), start=1):  # the actor steps at the second update
        batch = make_batch()
        learner.update(batch, noise_of(update))
        update_theirs(model, batch, update)
        ours, theirs = networks(learner, model)[stepped]
        assert len(gradients(ours)) == len(ours)
        torch.testing.assert_close(gradients(ours), gradients(theirs), rtol=1e-3, atol=1e-6)
    for mine, other in networks(learner, model).values():
        pairs = [each.detach() for each in mine], [each.detach() for each in other]
        torch.testing.assert_close(*pairs, rtol=1e-5, atol=1e-3 * config.lr)  # a thousandth of a full step
