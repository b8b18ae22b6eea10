"""Fixed observations on which the CNNs are measured through training: from before the first update, on the same input.

A norm on the replay batch also follows what the agent has seen; on the probe only the network changes.
"""

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from lnlab.config import TD3Config
from lnlab.envs.images import make_env
from lnlab.models.cnn import CNN, Batch, batch
from lnlab.trainers.schedule import Purpose
from lnlab.trainers.td3 import TD3, feature_norm

OBSERVATIONS = 64
EVERY = 5  # steps of random driving between two of them


class Probe:
    """`OBSERVATIONS` of an own drive with random actions, the same for every arm of a seed.

    Args:
        config: names the environment and the seed.
        choose: the random action of the trainer, from a generator.
    """

    def __init__(self, config: TD3Config, choose: Callable[[np.random.Generator], np.ndarray]) -> None:
        rng = np.random.default_rng([config.first_seed, Purpose.PROBE])
        env = make_env(config.env)
        obs, _ = env.reset(seed=int(rng.integers(2**31)))
        kept: list[dict[str, np.ndarray]] = []
        while len(kept) < OBSERVATIONS:
            for _ in range(EVERY):
                obs, _, terminated, truncated, _ = env.step(choose(rng))
                if terminated or truncated:
                    obs, _ = env.reset(seed=int(rng.integers(2**31)))
            kept.append(obs)
        env.close()
        self._image, self._vector = (_stacked(kept, name) for name in ("image", "vector"))

    @torch.no_grad()
    def measure(self, learner: TD3) -> dict[str, float]:
        """Norms of features and layers on the probe, and spreads of the actor's weights; NaN without a CNN.

        A layer's norm is divided by √units: the root mean square of its activations, whatever its size.
        """
        obs = batch(self._image, self._vector, learner.device)
        found: dict[str, float] = {}
        for who, side in (("actor", learner.actor), ("critic", learner.critic)):
            found |= _layers(who, side.cnn, obs)
        found["actor_cnn_weight_std"] = _spread(learner.actor.cnn)
        found["actor_mlp_weight_std"] = _spread(learner.actor.heads)
        return found


def _layers(who: str, cnn: nn.Module, obs: Batch) -> dict[str, float]:
    if not isinstance(cnn, CNN) or obs.image is None:
        empty = {f"{who}_conv{index}_rms": math.nan for index in (1, 2, 3)}
        return empty | {f"{who}_feature_norm_probe": math.nan}
    *maps, features = cnn.stages(obs.image)
    rms = {f"{who}_conv{i}_rms": each.double().square().mean().sqrt().item() for i, each in enumerate(maps, start=1)}
    return rms | {f"{who}_feature_norm_probe": feature_norm(features)}


def _spread(module: nn.Module) -> float:
    """Standard deviation over all parameters of a module, as the original logged it."""
    values = [parameter.flatten() for parameter in module.parameters()]
    return torch.cat(values).std().item() if values else math.nan


def _stacked(kept: list[dict[str, np.ndarray]], name: str) -> torch.Tensor | None:
    parts: list[Any] = [obs[name] for obs in kept if name in obs]
    return torch.from_numpy(np.stack(parts)) if parts else None
