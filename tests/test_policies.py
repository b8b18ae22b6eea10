"""Reference policies: what they choose, and that their scores are those measured on the original environment."""

import pytest
import torch

from lnlab.envs.offloading import OffloadingBatch, draw_noise, training_velocities
from lnlab.envs.rules import DISCARD, LOCAL, OFFLOAD, STEPS
from lnlab.evaluation import SCENARIOS
from lnlab.policies import POLICIES, Policy

TESTED = {  # mean episode reward with the budget cloud: seen, intra, extra (measured on the original environment)
    "local": (30.4, 30.6, 18.7),
    "offload": (49.6, 49.6, 49.7),
    "discard": (0.0, 0.0, 0.0),
    "uniform": (70.2, 70.7, 60.5),
    "fit": (79.5, 79.8, 67.7),
    "t12": (111.0, 112.4, 81.2),
}
TRAINED = {"uniform": 55.4, "offload": 35.0, "fit": 64.6, "accept20": 113.3}  # in training: five vehicles, one cloud
ROUNDING = 0.05  # the measured scores have one decimal
MEASURED_EPISODES = 100  # assumed: how many episodes of each scenario the measured scores rest on is not recorded


def returns(policy: Policy, capacity, velocity, groups: int, cloud: str) -> torch.Tensor:
    """Episode returns (groups, members)."""
    batch = OffloadingBatch(capacity, velocity, groups=groups, cloud=cloud)
    chance = torch.rand(STEPS, batch.size, generator=torch.Generator().manual_seed(1))
    observation = batch.reset(draw_noise(range(groups), batch.members, 0, batch.capacity.numpy()))
    total = torch.zeros(batch.size)
    for numbers in chance:
        observation, reward = batch.step(policy(observation, numbers), out=observation)
        total += reward
    return total.view(groups, -1).double()


def tolerance(spread: torch.Tensor, episodes: int) -> float:
    """Four standard errors of the difference between a mean over `episodes` and one over MEASURED_EPISODES."""
    return 4 * (spread.pow(2) * (1 / episodes + 1 / MEASURED_EPISODES)).sum().sqrt().item() + ROUNDING


@pytest.mark.parametrize("policy", TESTED)
def test_scores_in_the_test_scenarios(policy):
    episodes, scenarios = 100, [each for group in SCENARIOS.values() for each in group]
    capacity, velocity = (list(column) * episodes for column in zip(*scenarios, strict=True))
    scores = returns(POLICIES[policy], capacity, velocity, episodes, "budget")
    for group, expected in zip(SCENARIOS, TESTED[policy], strict=True):
        own, scores = scores[:, : len(SCENARIOS[group])], scores[:, len(SCENARIOS[group]) :]
        error = tolerance(own.std(dim=0) / own.shape[1], episodes)
        assert own.mean().item() == pytest.approx(expected, abs=error), group


@pytest.mark.parametrize("policy", TRAINED)
def test_scores_in_training(policy):
    """Vehicles of a group share the pool, so the spread is that of the groups' means."""
    scores = returns(POLICIES[policy], 200, training_velocities(5) * 100, 100, "shared").mean(dim=1)
    assert scores.mean().item() == pytest.approx(TRAINED[policy], abs=tolerance(scores.std(), 100))


def situation(free: float, slot_taken: bool, units: float, duration: float) -> torch.Tensor:
    observation = torch.zeros(48)
    observation[0], observation[41] = free / 200, 0.02 * slot_taken
    observation[42], observation[43] = units / 200, duration / 50
    return observation


# free units, last slot taken, units, duration: actions of fit, t12, accept20
SITUATIONS = {
    (100, False, 100, 12): (LOCAL, LOCAL, LOCAL),
    (100, False, 100, 13): (LOCAL, OFFLOAD, LOCAL),
    (100, False, 101, 12): (OFFLOAD, OFFLOAD, OFFLOAD),
    (100, True, 1, 1): (OFFLOAD, OFFLOAD, OFFLOAD),
    (100, False, 1, 20): (LOCAL, OFFLOAD, LOCAL),
    (100, False, 1, 21): (LOCAL, OFFLOAD, DISCARD),
    (0, False, 1, 50): (OFFLOAD, OFFLOAD, DISCARD),
}


@pytest.mark.parametrize("column", range(3))
def test_thresholds_are_met_exactly(column):
    policy = POLICIES[("fit", "t12", "accept20")[column]]
    actions = policy(torch.stack([situation(*key) for key in SITUATIONS]), torch.zeros(len(SITUATIONS)))
    assert actions.tolist() == [expected[column] for expected in SITUATIONS.values()]


def test_uniform_turns_thirds_into_actions():
    chance = torch.tensor([0.0, 0.33, 0.34, 0.66, 0.67, 1 - 2**-24])
    assert POLICIES["uniform"](torch.zeros(6, 48), chance).tolist() == [0, 0, 1, 1, 2, 2]
