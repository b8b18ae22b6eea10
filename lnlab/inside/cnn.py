"""The CNNs of TD3 and DDPG on fixed observations, from before the first update to the end of training.

A norm on the replay batch also follows what the agent has seen; on the probe only the network changes.
"""

import math
from typing import Any

import numpy as np
import torch

from lnlab.envs.images import make_env
from lnlab.shards import Shard
from lnlab.trainers.schedule import Purpose
from lnlab.trainers.td3 import TD3, OffPolicyTrainer, feature_norm, observed, random_action
from lnlab.trainers.watchers import Watcher

OBSERVATIONS = 64
EVERY = 5  # steps of random driving between two of them


class CNNProbe(Watcher):
    """Adds its columns to every report; its observations are the same for every arm of a seed."""

    def __init__(self, trainer: OffPolicyTrainer, shard: Shard) -> None:
        super().__init__(trainer, shard)
        self.obs = observed(random_drive(trainer), trainer.learner.device)

    @staticmethod
    def wants(trainer: Any) -> bool:
        return isinstance(trainer, OffPolicyTrainer)

    def __call__(self, report: dict[str, Any]) -> None:
        found = self.measure(self.trainer.learner)
        report |= {name: np.array([[value]]) for name, value in found.items()}

    @torch.no_grad()
    def measure(self, learner: TD3) -> dict[str, float]:
        """Norms of features and layers on the probe, and spreads of the actor's weights; NaN without a CNN.

        A layer's norm is divided by √units: the root mean square of its activations, whatever its size.
        """
        found: dict[str, float] = {}
        for who, cnn in (("actor", learner.actor.cnn), ("critic", learner.critic.cnn)):
            *maps, features = cnn.stages(self.obs.image)  # type: ignore[operator]
            rms = [math.nan if each is None else each.double().square().mean().sqrt().item() for each in maps]
            found |= {f"{who}_conv{index}_rms": value for index, value in enumerate(rms, start=1)}
            found[f"{who}_feature_norm_probe"] = feature_norm(features)
        for part, module in (("cnn", learner.actor.cnn), ("mlp", learner.actor.heads)):
            values = [parameter.flatten() for parameter in module.parameters()]
            found[f"actor_{part}_weight_std"] = torch.cat(values).std().item() if values else math.nan
        return found


def random_drive(trainer: OffPolicyTrainer) -> list[dict[str, np.ndarray]]:
    """Observations of an own drive with the trainer's random actions."""
    rng = np.random.default_rng([trainer.seed, Purpose.PROBE])
    env = make_env(trainer.config.env)
    obs, _ = env.reset(seed=int(rng.integers(2**31)))
    kept: list[dict[str, np.ndarray]] = []
    while len(kept) < OBSERVATIONS:
        for _ in range(EVERY):
            obs, _, terminated, truncated, _ = env.step(random_action(trainer.config, trainer.width, rng))
            if terminated or truncated:
                obs, _ = env.reset(seed=int(rng.integers(2**31)))
        kept.append(obs)
    env.close()
    return kept
