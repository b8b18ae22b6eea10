"""Settings of one run, typed and checked: a wrong name or value is refused with the allowed ones.

Defaults are the hyper-parameters of the source documents (A3C and Individual, D1 to D4).
"""

from collections.abc import Mapping
from typing import Any, ClassVar, Literal, get_args

from pydantic import Field, ValidationError, model_validator

from lnlab.config_td3 import ALGORITHMS as OFF_POLICY
from lnlab.config_td3 import TD3Config
from lnlab.models.norms import ACTOR_CRITIC
from lnlab.settings import EXECUTION, EXTENT, LONGEST_PROFILE, PROFILE, ConfigError, Settings, explain

__all__ = ["EPISODE_STEPS", "EXECUTION", "EXTENT", "Config", "ConfigError", "RunConfig", "TD3Config", "kind", "parse"]

EPISODE_STEPS = 100  # length of an offloading episode, in environment steps


class RunConfig(Settings):
    """One arm of A3C or Individual over all its seeds.

    Sources: hyper-parameters of D1 to D4; the update rule is Mnih et al. 2016 (A3C) with n-step returns.
    """

    ARM: ClassVar[tuple[str, ...]] = ("algorithm", "core", "norm")
    SHORT: ClassVar[dict[str, str]] = {
        "workers": "w",
        "rollout": "T",
        "hidden": "h",
        "lr": "lr",
        "gamma": "gamma",
        "entropy_cost": "ent",
        "value_cost": "val",
        "clip_norm": "clip",
        "schedule": "",
        "cloud": "cloud-",
    }
    ROWS: ClassVar[str] = "episodes"

    algorithm: Literal["a3c", "individual"] = Field("a3c", description="one model shared by all workers, or one each")
    core: Literal["gru", "ff"] = Field("gru", description="recurrent (GRU) or feedforward network")
    norm: Literal[ACTOR_CRITIC] = Field(  # type: ignore[valid-type]  # a table's names are known when it runs
        "ln",
        description="normalisation by name, the variable under study; ln_embed, ln_core: at one of its places",
    )
    seeds: int = Field(5, ge=1, le=10_000, description="independent replications, trained side by side")
    first_seed: int = Field(0, ge=0, le=10**9, description="the seeds are first_seed, first_seed + 1, …")
    episodes: int = Field(500, ge=1, le=10**7, description="episodes per worker, 100 environment steps each")
    workers: int = Field(5, ge=1, le=10_000, description="vehicles; each has its own speed")
    rollout: int = Field(20, ge=1, le=EPISODE_STEPS, description="steps between updates (T); must divide 100")
    hidden: int = Field(128, ge=1, le=8192, description="width of every hidden layer")
    lr: float = Field(1e-4, gt=0, description="Adam learning rate")
    gamma: float = Field(0.99, ge=0, le=1, description="discount per step")
    entropy_cost: float = Field(0.05, ge=0, description="weight of the entropy bonus, nats")
    value_cost: float = Field(0.25, ge=0, description="weight of the squared value error")
    clip_norm: float = Field(2.0, gt=0, description="largest L2 norm of a worker's gradient")
    schedule: Literal["async", "sync"] = Field("async", description="A3C: one update per worker, or one per average")
    gradient_carry: bool = Field(
        False, description="A3C: keep the original's bug, adding the previous clipped gradient"
    )
    cloud: Literal["shared", "budget", "refilled"] = Field("shared", description="cloud pool in training")
    eval_episodes: int = Field(20, ge=0, le=10_000, description="test episodes per scenario; 0 skips the evaluation")
    profile: str = Field(
        "scratch", pattern=PROFILE, max_length=LONGEST_PROFILE, description="folder of the run under results/"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    cores: int = Field(0, ge=0, le=1024, description="processes on a CPU, one thread each; 0 takes all cores")
    resume: bool = Field(True, description="continue a stopped run; false starts it again")

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if EPISODE_STEPS % self.rollout:
            allowed = [t for t in range(1, EPISODE_STEPS + 1) if EPISODE_STEPS % t == 0]
            raise ValueError(f"rollout={self.rollout} does not divide an episode of 100 steps; choose one of {allowed}")
        if self.algorithm == "individual" and (self.gradient_carry or self.schedule == "sync"):
            raise ValueError(
                "gradient_carry and schedule='sync' belong to algorithm='a3c'; individual has one worker a model"
            )
        return self

    @property
    def reports(self) -> int:
        return self.episodes

    @property
    def steps_per_report(self) -> int:
        return self.workers * EPISODE_STEPS

    @property
    def learners_per_seed(self) -> int:
        return 1 if self.algorithm == "a3c" else self.workers

    def _suffixes(self) -> list[str]:
        return super()._suffixes() + (["carry"] if self.gradient_carry else [])


Config = RunConfig | TD3Config


def kind(algorithm: object) -> type[RunConfig] | type[TD3Config]:
    """The class that holds an algorithm's settings.

    Raises:
        ConfigError: no algorithm has this name.
    """
    on_policy = get_args(RunConfig.model_fields["algorithm"].annotation)
    if algorithm in OFF_POLICY:
        return TD3Config
    if algorithm in on_policy:
        return RunConfig
    raise ConfigError(f"algorithm={algorithm!r} is not allowed: choose one of {', '.join((*on_policy, *OFF_POLICY))}")


def parse(parameters: Mapping[str, Any]) -> Any:
    """Build the run's settings from plain parameters, as papermill or the command line pass them.

    Returns:
        a RunConfig (algorithm a3c, individual) or a TD3Config (td3, ddpg).

    Raises:
        ConfigError: a name is unknown or a value is not allowed; the message names both.

    >>> parse({"norm": "ln", "seeds": 3}).run_id
    'a3c-gru-ln'
    >>> parse({"algorithm": "td3", "norm": "none"}).run_id
    'td3-none-leaky'
    >>> parse({"nrom": "ln"})
    Traceback (most recent call last):
    lnlab.settings.ConfigError: unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm, core, norm, ...
    """
    cls = kind(parameters.get("algorithm", "a3c"))
    try:
        return cls(**parameters)
    except ValidationError as error:
        raise ConfigError("; ".join(explain(problem, list(cls.model_fields)) for problem in error.errors())) from None
