"""Trainers by name. A trainer is an iterator of reports and does no input or output."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lnlab.config import RunConfig
    from lnlab.trainers.a3c import ActorCriticTrainer


def make_trainer(config: "RunConfig", device: str = "cpu") -> "ActorCriticTrainer":
    """The trainer of a run. A3C and Individual differ in one number: how many workers share a learner."""
    from lnlab.trainers.a3c import ActorCriticTrainer

    return ActorCriticTrainer(config, device)
