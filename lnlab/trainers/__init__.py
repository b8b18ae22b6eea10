"""Trainers by name. A trainer is an iterator of reports and does no input or output."""

from typing import TYPE_CHECKING, Union

if TYPE_CHECKING:
    from lnlab.config import Config
    from lnlab.trainers.a3c import ActorCriticTrainer
    from lnlab.trainers.off_policy import OffPolicyTrainer


def make_trainer(config: "Config", device: str = "cpu") -> Union["ActorCriticTrainer", "OffPolicyTrainer"]:
    """The trainer of a run. A3C and Individual differ in one number: how many workers share a learner.

    Raises:
        ValueError: several seeds of TD3 or DDPG; each has a trainer of its own.
    """
    from lnlab.config import RunConfig

    if isinstance(config, RunConfig):
        from lnlab.trainers.a3c import ActorCriticTrainer

        return ActorCriticTrainer(config, device)
    from lnlab.trainers.off_policy import OffPolicyTrainer

    return OffPolicyTrainer(config, device)
