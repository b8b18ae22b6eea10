"""Settings of one run, typed and checked: a wrong name or value is refused with the allowed ones.

Defaults are the hyper-parameters of the source documents (A3C and Individual, D1 to D4).
"""

import difflib
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

EPISODE_STEPS = 100  # length of an offloading episode, in environment steps
SHORT = {  # how a setting that differs from its default shows in the run id
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
EXTENT = {"seeds", "first_seed", "episodes", "eval_episodes"}  # how much is run, not what
EXECUTION = {"profile", "device", "cores", "resume"}  # where and how it is run; changes no result


class ConfigError(ValueError):
    """A parameter has a wrong name or a wrong value; the message names it and what is allowed."""


class RunConfig(BaseModel):
    """One arm of the study over all its seeds.

    Sources: hyper-parameters of D1 to D4; the update rule is Mnih et al. 2016 (A3C) with n-step returns.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    algorithm: Literal["a3c", "individual"] = Field("a3c", description="one model shared by all workers, or one each")
    core: Literal["gru", "ff"] = Field("gru", description="recurrent (GRU) or feedforward network")
    norm: Literal["none", "ln"] = Field("ln", description="normalisation by name; the variable under study")
    seeds: int = Field(5, ge=1, description="independent replications, trained side by side")
    first_seed: int = Field(0, ge=0, description="the seeds are first_seed, first_seed + 1, …")
    episodes: int = Field(500, ge=1, description="episodes per worker, 100 environment steps each")
    workers: int = Field(5, ge=1, description="vehicles; each has its own speed")
    rollout: int = Field(20, ge=1, description="steps between updates (T); must divide 100")
    hidden: int = Field(128, ge=1, description="width of every hidden layer")
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
    eval_episodes: int = Field(20, ge=0, description="test episodes per scenario; 0 skips the evaluation")
    profile: str = Field("scratch", pattern=r"^[a-z0-9][a-z0-9_-]*$", description="folder of the run under results/")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    cores: int = Field(0, ge=0, description="processes on a CPU, one thread each; 0 takes all cores")
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
    def run_id(self) -> str:
        """Readable name of the arm, shared by its folder, data, figures and page, e.g. `a3c-gru-ln-lr3e-4`."""
        return "-".join([self.algorithm, self.core, self.norm, *self._suffixes()])

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def learners_per_seed(self) -> int:
        return 1 if self.algorithm == "a3c" else self.workers

    @property
    def science(self) -> dict[str, Any]:
        """What decides the numbers: every setting but those that only say where and how to run."""
        return self.model_dump(exclude=EXECUTION)

    def with_seeds(self, seeds: list[int]) -> "RunConfig":
        """The same arm over consecutive `seeds` only."""
        return self.model_copy(update={"first_seed": seeds[0], "seeds": len(seeds)})

    def _suffixes(self) -> list[str]:
        changed = {k for k, f in type(self).model_fields.items() if getattr(self, k) != f.default}
        parts = [f"{SHORT[k]}{_short(getattr(self, k))}" for k in SHORT if k in changed]
        return parts + (["carry"] if self.gradient_carry else [])


def _short(value: object) -> str:
    """A number as people write it: 3e-4, 0.05, 2."""
    if not isinstance(value, float):
        return str(value)
    mantissa, exponent = f"{value:e}".split("e")
    return f"{float(mantissa):g}e{int(exponent)}" if 0 < value < 1e-2 else f"{value:g}"


def parse(parameters: Mapping[str, Any]) -> RunConfig:
    """Build the run's settings from plain parameters, as papermill or the command line pass them.

    Raises:
        ConfigError: a name is unknown or a value is not allowed; the message names both.

    >>> parse({"norm": "ln", "seeds": 3}).run_id
    'a3c-gru-ln'
    >>> parse({"nrom": "ln"})
    Traceback (most recent call last):
    lnlab.config.ConfigError: unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm, core, norm, ...
    """
    try:
        return RunConfig(**parameters)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem) for problem in error.errors())) from None


def _explain(problem: Any) -> str:
    """One validation problem in a sentence that names the parameter, the value and what is allowed."""
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, RunConfig.model_fields, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown parameter {name!r}{hint}; allowed: {', '.join(RunConfig.model_fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}={problem['input']!r} is not allowed: {message[0].lower()}{message[1:]}"
