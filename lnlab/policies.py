"""Reference policies: what a score means is seen against them. No learning; checked against their measured scores.

Each takes a batch of observations (E, 48) and one uniform number per vehicle (E,) on [0, 1), and returns actions (E,)
int64. Nothing in them asks the device for a value.
"""

from collections.abc import Callable

import torch
from torch import Tensor

from lnlab.envs.rules import DISCARD, LOCAL, OFFLOAD, TASK_DURATION

FREE, LAST_SLOT_TIME, TASK_UNITS, TASK_TIME = 0, 41, 42, 43  # columns of an observation
SHORT, ACCEPTABLE = 12, 20  # steps; thresholds of the policies t12 and accept20

Policy = Callable[[Tensor, Tensor], Tensor]


def fits(observation: Tensor) -> Tensor:
    """Whether the vehicle can compute its task itself, (E,) bool: units and a slot are free (slots are packed)."""
    return (observation[:, FREE] >= observation[:, TASK_UNITS]) & (observation[:, LAST_SLOT_TIME] == 0)


def lasts_at_most(observation: Tensor, steps: int) -> Tensor:
    """Whether the task takes at most `steps` steps, (E,) bool."""
    return observation[:, TASK_TIME] < (steps + 0.5) / TASK_DURATION


def uniform(observation: Tensor, chance: Tensor) -> Tensor:
    """Each action with the same probability."""
    return (3 * chance).long().clamp_(max=DISCARD)


def constant(action: int) -> Policy:
    """The policy that always takes `action`."""
    return lambda observation, chance: torch.full_like(chance, action, dtype=torch.int64)


def fit(observation: Tensor, chance: Tensor) -> Tensor:
    """LOCAL if the task fits, else OFFLOAD."""
    return torch.where(fits(observation), LOCAL, OFFLOAD)


def t12(observation: Tensor, chance: Tensor) -> Tensor:
    """LOCAL if the task takes at most 12 steps and fits, else OFFLOAD."""
    return torch.where(fits(observation) & lasts_at_most(observation, SHORT), LOCAL, OFFLOAD)


def accept20(observation: Tensor, chance: Tensor) -> Tensor:
    """As `fit` with tasks of at most 20 steps; DISCARD the longer ones."""
    return torch.where(lasts_at_most(observation, ACCEPTABLE), fit(observation, chance), DISCARD)


POLICIES: dict[str, Policy] = {
    "uniform": uniform,
    "local": constant(LOCAL),
    "offload": constant(OFFLOAD),
    "discard": constant(DISCARD),
    "fit": fit,
    "t12": t12,
    "accept20": accept20,
}
