"""The random numbers on which every learner is measured, and arithmetic shared by the diagnostics.

Nothing here keeps a random state: the numbers come from a seed's streams at an episode that no training and no test
reaches. The observation sequences are the same for every learner of every arm. Episodes that a learner plays itself are
the same for all arms and checkpoints, but not for all seeds: luck that all seeds share would look like an effect.
"""

from collections.abc import Sequence
from functools import cache

import torch
from torch import Tensor

from lnlab.config import EPISODE_STEPS
from lnlab.envs.offloading import OffloadingBatch, draw_noise, training_velocities
from lnlab.policies import uniform
from lnlab.trainers.a3c import CAPACITY
from lnlab.trainers.schedule import action_uniforms

PROBE_EPISODE = 2_000_000  # training counts from 0; tests are episode 1,000,000
SEQUENCES = 10  # probe episodes of a learner: two at each of the five training velocities
STRIDE = 1_000_000  # between the streams of one seed's probe episodes
VEHICLES = 5

Values = dict[str, Tensor]  # quantity → one number per learner, per worker or per seed


def probe_seeds(seeds: Sequence[int], replicates: int) -> list[int]:
    """Streams of `replicates` probe episodes for each seed, replicate-major.

    >>> probe_seeds([3, 4], 2)
    [3, 4, 1000003, 1000004]
    """
    return [seed + STRIDE * replicate for replicate in range(replicates) for seed in seeds]


@cache
def probe_observations() -> Tensor:
    """Observations (100, 10, 48) met by the uniform policy under the training rules: two groups of five vehicles."""
    groups = SEQUENCES // VEHICLES
    velocity = torch.tensor(training_velocities(VEHICLES), dtype=torch.float32).repeat(groups)
    env = OffloadingBatch(CAPACITY, velocity, groups=groups, cloud="shared")
    chances = action_uniforms(range(groups), VEHICLES, PROBE_EPISODE, EPISODE_STEPS)
    observations = [env.reset(draw_noise(range(groups), VEHICLES, PROBE_EPISODE, CAPACITY))]
    for chance in chances[:-1]:
        observations.append(env.step(uniform(observations[-1], chance))[0])
    return torch.stack(observations)


def pairwise_cosine(vectors: Tensor, dim: int) -> Tensor:
    """Mean cosine over all pairs of different vectors along `dim`; the last axis is theirs. A zero vector counts as 0.

    Needs no loop over pairs: |Σ u|² is the sum over all pairs of unit vectors u, each with itself included.

    >>> pairwise_cosine(torch.tensor([[1.0, 0.0], [0.0, 1.0], [0.0, -1.0]]), dim=0).item()  # cosines 0, 0 and −1
    -0.3333333432674408
    """
    count = vectors.shape[dim]
    unit = torch.nn.functional.normalize(vectors, dim=-1)
    own = unit.square().sum(-1).sum(dim)
    return (unit.sum(dim).square().sum(-1) - own) / (count * (count - 1))


def mean_ratio(vectors: Tensor, dim: int) -> Tensor:
    """Norm of the mean vector over the mean norm, along `dim`: 1 if all agree, about 1/√n for n unrelated ones."""
    return vectors.mean(dim).norm(dim=-1) / vectors.norm(dim=-1).mean(dim)


def where_finite(values: Values, numbers: Tensor) -> Values:
    """`values`, NaN for each learner with an infinity or NaN in its `numbers` (learners, …): shares would hide it."""
    finite = numbers.isfinite().flatten(1).all(1)
    return {name: torch.where(finite, value, torch.nan) for name, value in values.items()}
