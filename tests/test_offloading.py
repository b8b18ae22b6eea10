"""The batched offloading world: agreement with the plain Python rewriting, and laws that must hold at every step."""

import numpy as np
import pytest
import torch

from lnlab.envs.offloading import Noise, OffloadingBatch, channel_probabilities, draw_noise, training_velocities
from lnlab.envs.rules import CLOUD_UNITS, CLOUDS, DISCARD, LOCAL, OFFLOAD, SLOTS, STEPS
from lnlab.envs.scalar import Pool, Script, Vehicle

GROUPS, MEMBERS = 3, 5
SEEDS = [11, 12, 13]
VELOCITIES = [5.0, 25.0, 35.0, 78.0, 100.0]
CAPACITIES = [100.0, 150.0, 200.0, 90.0, 200.0]


def crowd(noise: Noise) -> Noise:
    """Long tasks of a few units, so that slots run out before units do."""
    return noise._replace(units=(noise.units / 25).ceil(), duration=(noise.duration / 10).ceil() + 45)


def rush(noise: Noise) -> Noise:
    """Tasks of one or two steps, so that most are given back in the step that takes them."""
    return noise._replace(duration=(noise.duration / 25).ceil())


def crave(noise: Noise) -> Noise:
    """Units in hundreds, so that the members of a group fight for the pool."""
    return noise._replace(units=(noise.units / 50).ceil() * 100)


VARIANTS = {"as drawn": lambda noise: noise, "crowded": crowd, "rushed": rush, "craving": crave}


def make_batch(cloud: str, groups: int = GROUPS) -> OffloadingBatch:
    return OffloadingBatch(CAPACITIES * groups, VELOCITIES * groups, groups=groups, cloud=cloud)


def make_vehicles(cloud: str, noise: Noise) -> list[Vehicle]:
    """The same vehicles in plain Python, at the start of the same episode."""
    shared = [Pool(refill=True) for _ in range(GROUPS)]
    pools = [shared[e // MEMBERS] if cloud == "shared" else Pool(cloud == "refilled") for e in range(GROUPS * MEMBERS)]
    vehicles = [Vehicle(c, v, pool) for c, v, pool in zip(CAPACITIES * GROUPS, VELOCITIES * GROUPS, pools, strict=True)]
    for e, vehicle in enumerate(vehicles):
        columns = (part[:, e].tolist() for part in (noise.units, noise.duration, noise.channel))
        vehicle.reset(Script(bool(noise.channel0[e]), *columns))
    return vehicles


def queue_order(noise: Noise, t: int) -> list[int]:
    """Vehicles in the order in which they go through step t: by group, then by priority."""
    return sorted(range(GROUPS * MEMBERS), key=lambda e: (e // MEMBERS, noise.priority[t, e].item()))


def random_actions(seed: int, size: int) -> torch.Tensor:
    """(T, E) actions, mostly OFFLOAD so that the cloud is contested."""
    rng = np.random.default_rng(seed)
    return torch.from_numpy(rng.choice([LOCAL, OFFLOAD, DISCARD], p=[0.3, 0.6, 0.1], size=(STEPS, size)))


@pytest.mark.parametrize("cloud", CLOUDS)
@pytest.mark.parametrize("variant", VARIANTS)
def test_batch_equals_plain_python_step_by_step(cloud, variant):
    noise = VARIANTS[variant](draw_noise(SEEDS, MEMBERS, 4, CAPACITIES * GROUPS))
    batch, vehicles = make_batch(cloud), make_vehicles(cloud, noise)
    observation = batch.reset(noise)
    for t, action in enumerate(random_actions(1, batch.size)):
        assert np.array_equal(observation.numpy(), np.stack([v.observation() for v in vehicles])), t
        observation, reward = batch.step(action)
        rewards = {e: vehicles[e].step(int(action[e])) for e in queue_order(noise, t)}
        assert reward.tolist() == [float(np.float32(rewards[e])) for e in range(batch.size)], t
        assert batch.channel.tolist() == [v.channel for v in vehicles], t
        assert batch.cloud_slots.tolist() == [SLOTS - len(v.cloud) for v in vehicles], t
        assert batch.pool.tolist() == [v.pool.units for v in vehicles[:: MEMBERS if cloud == "shared" else 1]], t
    assert np.array_equal(observation.numpy(), np.stack([v.observation() for v in vehicles]))
