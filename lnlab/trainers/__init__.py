"""Trainers by name, and what all of them offer. A trainer does no input or output."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import pandas as pd

    from lnlab.config import Config


class Trainer(Protocol):
    """One block of seeds on its way. Iterating trains, and yields a report (columns by name) until it is `done`.

    `diverged` has one entry for each learner that did not stay finite, such as

        {"seed": 3, "worker": 1, "episode": 812, "what": "gradient"}

    seed, worker, episode: the first rollout that shows it, as in the table `episodes`; worker −1 where only the
    parameters of a shared model tell. what: "parameter", "loss" (a loss or the entropy) or "gradient"; where several
    were not finite, the first of these words; "observation" or "reward" where the environment gave what was not finite.
    An entry of TD3 or DDPG has worker −1 and says "critic loss", "actor gradient" and the like; its episode is the
    training episode under way, numbered as in the table `returns`, and "step", a fifth key, the environment step.
    """

    @property
    def config(self) -> Any: ...
    @property
    def TABLES(self) -> tuple[str, ...]: ...  # what it leaves beside the table of its reports

    @property
    def episode(self) -> int: ...  # reports so far
    @property
    def done(self) -> bool: ...
    @property
    def stopped_early(self) -> int | None: ...  # the environment step at which it chose to end before its last
    @property
    def norm_layers(self) -> list[str]: ...  # places with a norm of any kind, found in the live networks
    @property
    def parameter_count(self) -> int: ...
    @property
    def diverged(self) -> list[dict[str, Any]]: ...

    def __iter__(self) -> Iterator[dict[str, Any]]: ...

    def table(self, name: str) -> "pd.DataFrame | None":
        """One of TABLES, once it is done; None where the settings ask for none."""

    def state_dict(self) -> dict[str, Any]:
        """All that is needed to go on to the same bits, between two reports."""

    def load_state_dict(self, state: dict[str, Any], /) -> None:
        """Go on from `state`, also from the end of a shorter training: as one that was as long as `config` from the
        start."""


def make_trainer(config: "Config", device: str = "cpu") -> Trainer:
    """The trainer of a run. A3C and Individual differ in one number: how many workers share a learner.

    Raises:
        ValueError: several seeds of TD3 or DDPG; each has a trainer of its own.
    """
    from lnlab.config import GymConfig, RunConfig

    if isinstance(config, RunConfig):
        from lnlab.trainers.a3c import ActorCriticTrainer

        return ActorCriticTrainer(config, device)
    if isinstance(config, GymConfig):
        from lnlab.trainers.anywhere import AnywhereTrainer

        return AnywhereTrainer(config)
    from lnlab.envs.images import has_images

    if not has_images(config.env):
        from lnlab.trainers.stacked_td3 import StackedTrainer

        return StackedTrainer(config, device)
    from lnlab.trainers.td3 import OffPolicyTrainer  # needs the simulator's libraries

    return OffPolicyTrainer(config, device)
