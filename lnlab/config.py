"""Settings of one run, typed and checked: a wrong name or value is refused with the allowed ones.

A setting stands in one place, with its default, its meaning, its part of the run id and its limits. Defaults are those
of the source documents (A3C and Individual: D1 to D4); for TD3 and DDPG those in force in the run that D5 reports,
faults included.
"""

import difflib
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, ClassVar, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

from lnlab.models.norms import ACTOR_CRITIC, NORMS, OFF_POLICY, USUAL, placed

OFFLOADING = "lnlab/Offloading-v0"  # the environment of A3C and Individual unless another is named
OWN = "own"  # of `steps_of`
STEPS_OF = (OWN, *ACTOR_CRITIC)
EPISODE_STEPS = 100  # length of an offloading episode, in environment steps
REPORT_STEPS = 1000  # about as many environment steps of a seed lie between two reports of A3C and Individual elsewhere
RECORD_STEPS = 100  # environment steps between two rows of the table `records`
DDPG = {"critics": 1, "policy_delay": 1, "target_noise": 0.0}  # what sets DDPG apart from TD3
EXTENT = {"seeds", "first_seed", "episodes", "steps", "eval_episodes", "ensemble"}  # how much is run, not what
EXECUTION = {"profile", "device", "cores", "resume", "tensorboard"}  # where and how it is run; changes no result
PROFILE, LONGEST_PROFILE = r"^[a-z0-9][a-z0-9_-]*$", 64  # names of profiles, which are folders
LONGEST_ID = 200  # letters; a folder's name may have 255, and more is put around it
LONGEST_VALUE = 60  # letters of a value that an error shows
ID: Any = {"pattern": r"^[A-Za-z0-9_.:/-]+$", "max_length": 100}  # of an environment
UP_TO_10_000: Any = {"ge": 1, "le": 10_000}
LIMITS = {  # of a field, by their names in pydantic
    "multiple_of": "a multiple of {:,}",
    "gt": "over {:,}",
    "ge": "{:,} or more",
    "le": "at most {:,}",
    "pattern": "as {}",
    "max_length": "at most {} letters",
}


class ConfigError(ValueError):
    """A parameter has a wrong name or a wrong value; the message names it and what is allowed."""


def _setting(default: Any, meaning: str, short: str = "", **limits: Any) -> Any:
    """A field with its default; `short` is how it shows in the run id where it has another value."""
    return Field(default, description=meaning, json_schema_extra={"short": short}, **limits)


class Settings(BaseModel):
    """One arm of the study over all its seeds: what the settings of all algorithms share.

    A trainer yields `reports` reports for a seed, each over `steps_per_report` environment steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ARM: ClassVar[tuple[str, ...]]  # settings that every run id spells out, in this order
    ROWS: ClassVar[str]  # table that takes one row, or one for each worker, from each report

    algorithm: str
    norm: str
    seeds: int = _setting(5, "independent replications", ge=1, le=10_000)
    first_seed: int = _setting(0, "the seeds are first_seed, first_seed + 1, …", ge=0, le=10**9)
    profile: str = _setting("scratch", "folder of the run under results/", pattern=PROFILE, max_length=LONGEST_PROFILE)
    device: Literal["auto", "cpu", "cuda"] = _setting("auto", "auto takes a GPU where there is one")
    cores: int = _setting(0, "processes on a CPU, one thread each; 0 takes all cores", ge=0, le=1024)
    resume: bool = _setting(True, "continue a stopped run; false starts it again")

    @field_validator("*", mode="before")
    @classmethod
    def _numbers_are_no_booleans(cls, value: Any, info: ValidationInfo) -> Any:
        """Python takes True for 1, and so would `seeds` and `lr`."""
        if isinstance(value, bool) and cls.model_fields[info.field_name or ""].annotation in (int, float):
            raise ValueError("input should be a number, not true or false")
        return value

    @model_validator(mode="after")
    def _id_names_a_folder(self) -> Any:
        if len(self.run_id) > LONGEST_ID:
            many = f"too many settings differ from the defaults: the run's name {shown(self.run_id)} would have"
            raise ValueError(f"{many} {len(self.run_id)} letters, and a folder's may have {LONGEST_ID}")
        return self

    @classmethod
    def names(cls) -> list[str]:
        """All settings, those that name the arm first."""
        return [*cls.ARM, *(name for name in cls.model_fields if name not in cls.ARM)]

    @classmethod
    def short(cls) -> dict[str, str]:
        """How settings show in the run id where they are not the default: `lr{}`; without those that never do."""
        extra: dict[str, Any] = {name: field.json_schema_extra for name, field in cls.model_fields.items()}
        return {name: each["short"] for name, each in extra.items() if each and each["short"]}

    def defaults(self) -> dict[str, Any]:
        """What every setting is where only the algorithm is given."""
        return {name: field.default for name, field in type(self).model_fields.items()}

    @property
    def changed(self) -> dict[str, Any]:
        """The settings that are not the default."""
        defaults = self.defaults()
        return {name: value for name in self.names() if (value := getattr(self, name)) != defaults[name]}

    @property
    def run_id(self) -> str:
        """Readable name of the arm, shared by its folder, data, figures and page, e.g. `a3c-gru-ln-lr3e-4`.

        A tilde, which no environment's id holds, stands for the slash after its namespace: ids name folders.
        """
        changed = self.changed
        parts = [text.format(_short(changed[name])) for name, text in self.short().items() if name in changed]
        return "-".join([*self.labels.values(), *parts]).replace("/", "~")

    @property
    def labels(self) -> dict[str, str]:
        """The arm as columns of a table."""
        return {name: str(getattr(self, name)) for name in self.ARM}

    @property
    def reports(self) -> int:
        """Reports that training yields for each seed."""
        raise NotImplementedError

    @property
    def steps_per_report(self) -> int:
        """Environment steps of one seed behind a report."""
        raise NotImplementedError

    @property
    def env_steps(self) -> int:
        """Environment steps of the whole run."""
        return self.seeds * self.reports * self.steps_per_report

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def science(self) -> dict[str, Any]:
        """What decides the numbers: every setting but those that only say where and how to run."""
        return self.model_dump(exclude=EXECUTION)

    def with_seeds(self, seeds: list[int]) -> Any:
        """The same arm over consecutive `seeds` only."""
        return self.model_copy(update={"first_seed": seeds[0], "seeds": len(seeds)})


class ActorCriticConfig(Settings):
    """What A3C and Individual take in every environment.

    Sources: hyper-parameters of D1 to D4; the update rule is Mnih et al. 2016 (A3C) with n-step returns.
    """

    ARM: ClassVar[tuple[str, ...]] = ("algorithm", "core", "norm")
    ROWS: ClassVar[str] = "episodes"

    algorithm: Literal["a3c", "individual"] = _setting("a3c", "one model shared by all workers, or one each")
    core: Literal["gru", "ff"] = _setting("gru", "recurrent (GRU) or feedforward network")
    norm: Literal[ACTOR_CRITIC] = _setting(  # type: ignore[valid-type]  # a table's names are known when it runs
        "ln", "normalisation by name, the variable under study; ln_embed, ln_core: at one of its places"
    )
    norm_at: Literal["usual", "embed", "core", "heads"] = _setting(
        USUAL, "the only part that has the norm; usual: where its row in lnlab.models.norms says", "at-{}"
    )
    trunks: Literal["shared", "separate"] = _setting(
        "shared", "embedding and core of actor and critic: one for both, or one each", "{}"
    )
    norm_in: Literal["both", "actor", "critic"] = _setting("both", "the side that has the norm", "norm-{}")
    env: str = _setting(OFFLOADING, "Gymnasium id; numbers observed, choices or a Box acted", "{}", **ID)
    workers: int = _setting(
        5, "environments of a seed; offloading: vehicles, each with its speed", "w{}", **UP_TO_10_000
    )
    rollout: int = _setting(20, "steps between updates (T); offloading: must divide 100", "T{}", **UP_TO_10_000)
    hidden: int = _setting(128, "width of every hidden layer", "h{}", ge=1, le=8192)
    lr: float = _setting(1e-4, "Adam learning rate", "lr{}", gt=0)
    gamma: float = _setting(0.99, "discount per step", "gamma{}", ge=0, le=1)
    entropy_cost: float = _setting(0.05, "weight of the entropy bonus, nats", "ent{}", ge=0)
    value_cost: float = _setting(0.25, "weight of the squared value error", "val{}", ge=0)
    value_huber: float = _setting(
        0.0, "value error from which its loss grows linearly (Huber 1964), in reward; 0: never", "huber{}", ge=0
    )
    return_scale: bool = _setting(
        False, "values learned on returns of mean 0, deviation 1 (PopArt, van Hasselt et al. 2016)", "popart"
    )
    clip_norm: float = _setting(2.0, "largest L2 norm of a worker's gradient; 0 is no limit", "clip{}", ge=0)
    clip_percentile: float = _setting(
        0.0, "of a learner's gradient norms so far, the limit (AutoClip); 0: clip_norm is", "autoclip{}", ge=0, le=100
    )
    schedule: Literal["async", "sync"] = _setting("async", "A3C: one update per worker, or one per average", "{}")

    @model_validator(mode="before")
    @classmethod
    def _one_name_for_one_arm(cls, given: dict[str, Any]) -> dict[str, Any]:
        """LayerNorm at one of its two places is called ln_embed or ln_core, as in the published runs."""
        norm, at = given.get("norm", "ln"), given.get("norm_at")
        known = norm == "ln" and f"ln_{at}" in NORMS
        return given | {"norm": f"ln_{at}", "norm_at": USUAL} if known else given

    @model_validator(mode="after")
    def _norm_has_a_place(self) -> Any:
        allowed = (USUAL, *NORMS[self.norm].places)
        if self.norm_at not in allowed:
            choose = " or ".join(allowed)
            raise ValueError(f"norm_at={self.norm_at!r} has no meaning with norm={self.norm!r}; choose {choose}")
        if self.norm_in != "both":
            named = f"norm_in={self.norm_in!r} has no meaning with"
            if self.trunks == "shared":
                raise ValueError(f"{named} trunks='shared': actor and critic see the same features; choose separate")
            if self.norm == "none":
                raise ValueError(f"{named} norm='none': there is no norm; choose both or another norm")
        if self.core == "ff" and "core.gates" in placed(self.norm, self.norm_at):
            raise ValueError(f"norm={self.norm!r} stands in a GRU: core='ff' has none; choose core=gru or another norm")
        return self

    @model_validator(mode="after")
    def _one_limit_and_one_scale(self) -> Any:
        if self.clip_percentile and self.clip_norm != type(self).model_fields["clip_norm"].default:
            raise ValueError(f"clip_norm={self.clip_norm:g} has no meaning with clip_percentile, which sets the limit")
        held = {"weights", "heads"}.intersection(placed(self.norm, self.norm_at))
        if self.return_scale and held:
            raise ValueError(f"return_scale rescales the heads' weights, whose length norm={self.norm!r} sets")
        return self

    @model_validator(mode="after")
    def _one_worker_a_model(self) -> Any:
        if self.algorithm == "individual" and (getattr(self, "gradient_carry", False) or self.schedule == "sync"):
            raise ValueError(
                "gradient_carry and schedule='sync' belong to algorithm='a3c'; individual has one worker a model"
            )
        return self

    @property
    def learners_per_seed(self) -> int:
        return 1 if self.algorithm == "a3c" else self.workers


class RunConfig(ActorCriticConfig):
    """Settings of A3C and Individual in the task of D1 to D4, `lnlab/Offloading-v0`."""

    episodes: int = _setting(500, "episodes per worker, 100 environment steps each", ge=1, le=10**7)
    cloud: Literal["shared", "budget", "refilled"] = _setting("shared", "cloud pool in training", "cloud-{}")
    gradient_carry: bool = _setting(
        False, "A3C: keep the original's bug, adding the previous clipped gradient", "carry"
    )
    eval_episodes: int = _setting(20, "test episodes per scenario; 0 skips the evaluation", ge=0, le=10_000)
    ensemble: bool = _setting(False, "Individual: also test the learners of a seed together, by vote and mean policy")
    value_sees_time: bool = _setting(
        False, "the share of the episode that is left is shown to the value, and to it alone", "value-time"
    )
    steps_of: Literal[STEPS_OF] = _setting(  # type: ignore[valid-type]
        OWN, "size of a layer's step, |ΔW|/|W|: own, or as in an arm with this norm beside it",
        "steps-{}",
    )  # fmt: skip
    backend: Literal["torch", "native"] = _setting(
        "torch", "torch, or compiled code that is faster on a CPU; the same numbers but for rounding", "{}"
    )

    @model_validator(mode="after")
    def _consistent(self) -> "RunConfig":
        if self.env != OFFLOADING:
            raise ValueError(f"env={self.env!r} takes a GymConfig")
        if EPISODE_STEPS % self.rollout:
            allowed = [t for t in range(1, EPISODE_STEPS + 1) if EPISODE_STEPS % t == 0]
            raise ValueError(f"rollout={self.rollout} does not divide an episode of 100 steps; choose one of {allowed}")
        if self.ensemble and self.learners_per_seed == 1:
            raise ValueError("ensemble=True needs several learners a seed: algorithm='individual', workers over 1")
        return self

    @property
    def reports(self) -> int:
        return self.episodes

    @property
    def steps_per_report(self) -> int:
        return self.workers * EPISODE_STEPS


class GymConfig(ActorCriticConfig):
    """Settings of A3C and Individual in any other Gymnasium environment: of any length of episodes, a budget in steps.

    A report is of `updates` rollouts of every worker, about 1,000 steps of a seed.
    """

    gradient_carry: ClassVar[bool] = False  # a fault of the documents' code
    value_sees_time: ClassVar[bool] = False  # episodes have no fixed length

    device: Literal["auto", "cpu"] = _setting("auto", "these environments and their small networks run on the CPU")
    steps: int = _setting(100_000, "environment steps of a seed, rounded up to whole reports", ge=1, le=10**9)
    obs_norm: bool = _setting(False, "observations to mean 0, deviation 1, as seen so far by the learner", "obsnorm")
    reward_norm: bool = _setting(False, "rewards over the deviation of their discounted sums so far", "rewnorm")
    action_bounds: Literal["squash", "clip"] = _setting(
        "squash", "of a Box of actions: a tanh of the Gaussian's draw, or the draw cut off", "{}"
    )

    @property
    def updates(self) -> int:
        """Rollouts of a worker behind a report."""
        return max(1, round(REPORT_STEPS / (self.workers * self.rollout)))

    @property
    def steps_per_report(self) -> int:
        return self.updates * self.workers * self.rollout

    @property
    def reports(self) -> int:
        return -(-self.steps // self.steps_per_report)

    @property
    def episodes(self) -> int:
        """Rows of a worker in the table `episodes`, which are reports here."""
        return self.reports


class TD3Config(Settings):
    """Settings of TD3 and DDPG, on images or on vectors. DDPG is TD3 with one critic, an actor step after each critic
    step, and no noise on the target action.

    Sources: D5 and the code it reports on, where the two differ the code; the algorithm is Fujimoto et al. 2018.
    """

    ARM: ClassVar[tuple[str, ...]] = ("algorithm", "norm", "actor_features")
    ROWS: ClassVar[str] = "records"

    algorithm: Literal["td3", "ddpg"] = _setting("td3", "twin critics and delayed actor, or DDPG")
    norm: Literal[OFF_POLICY] = _setting(  # type: ignore[valid-type]
        "ln", "normalisation by name, in the CNN or, on vectors, in the hidden layers of actor and critics"
    )
    actor_features: Literal["leaky", "detached", "shared"] = _setting(
        "leaky", "the critic's state in the actor loss: the actor's features, or its own; shared: one CNN"
    )
    env: str = _setting(
        "lnlab/Driving-v0",
        "Gymnasium id; an image or vector observation, a Box action",
        "{}",
        **ID,
    )
    steps: int = _setting(5000, "environment steps of a seed", ge=RECORD_STEPS, le=10**8, multiple_of=RECORD_STEPS)
    norm_in: Literal["both", "actor", "critic"] = _setting("both", "the side that has the norm", "norm-{}")
    batch_size: int = _setting(256, "transitions in an update", "b{}", ge=1, le=10**6)
    reward_scale: float = _setting(
        1.0, "what rewards are multiplied by before they are learned from; tables have them as they are", "rs{}", gt=0
    )
    updates_per_step: int = _setting(1, "critic updates after each environment step", "u{}", ge=1, le=20)
    priming_updates: int = _setting(
        0, "critic updates on random steps, before the policy's first (Hussing et al. 2024)", "prime{}",
        ge=0, le=10**6,
    )  # fmt: skip
    n_steps: int = _setting(
        1, "steps of reward before the target's value (DrQ-v2, Yarats et al. 2021)", "n{}", ge=1, le=20
    )
    shift: int = _setting(
        0,
        "largest random shift of the images of a batch, pixels; 0 leaves them as they are (DrQ-v2)",
        "shift{}",
        ge=0,
        le=8,
    )
    final_activation: Literal["original", "linear", "leaky_relu"] = _setting(
        "original", "after the CNN's last layer; original: linear without norm, leaky_relu with one", "{}"
    )
    final_init: Literal["default", "small"] = _setting(
        "default", "the actor's last layer: ±1/√fan_in (original), or ±0.003 (Lillicrap et al. 2015)", "init-{}"
    )
    precision: Literal["float32", "bfloat16"] = _setting(
        "float32", "of the CNN's products; bfloat16 is coarser, and faster where the processor computes in it", "{}"
    )
    learning_starts: int = _setting(
        1000, "steps before the first update; all but the last are random (original)", "start{}", ge=1, le=10**8
    )
    capacity: int = _setting(97_000, "transitions the replay buffer keeps", "cap{}", ge=1, le=10**8)
    lr: float = _setting(1e-3, "Adam learning rate of actor and critics", "lr{}", gt=0)
    gamma: float = _setting(0.99, "discount per step", "gamma{}", ge=0, le=1)
    tau: float = _setting(
        0.005, "share by which targets, if there are any, move to the online networks", "tau{}", gt=0, le=1
    )
    target_network: bool = _setting(
        True, "targets by networks that follow slowly; false: by the online ones, without gradient", "notarget"
    )
    critics: int = _setting(2, "Q networks; the target takes the smaller value of two", "q{}", ge=1, le=2)
    policy_delay: int = _setting(2, "critic updates for each actor update", "delay{}", ge=1, le=10**6)
    target_noise: float = _setting(0.2, "standard deviation of the noise on the target action", "noise{}", ge=0)
    noise_clip: float = _setting(0.5, "largest noise on the target action", "nclip{}", ge=0)
    actor_clip: float = _setting(1.0, "largest L2 norm of the actor's gradient; 0 is no limit", "aclip{}", ge=0)
    critic_clip: float = _setting(10.0, "largest L2 norm of the critics' gradient; 0 is no limit", "cclip{}", ge=0)
    exploration_start: float = _setting(0.3, "standard deviation of the action noise at first", "explore{}", ge=0)
    exploration_end: float = _setting(0.1, "standard deviation of the action noise in the end", "end{}", ge=0)
    exploration_decay: float = _setting(2.5e-4, "rate of its exponential decay, per step", "decay{}", ge=0)
    random_actions: Literal["forward", "uniform"] = _setting(
        "forward", "before learning; forward: the last action, the throttle, never below 0 (original)", "{}"
    )
    target_cnn: bool = _setting(
        False, "targets with CNNs of their own; false: the online critic CNN, as the original", "targetcnn-{}"
    )
    hidden: int = _setting(256, "width of the two hidden layers of actor and critics", "h{}", ge=1, le=8192)
    eval_every: int = _setting(
        2500, "steps between greedy tests; 0: only at the validation points", "test{}", ge=0, le=10**8
    )
    eval_episodes: int = _setting(10, "episodes of a greedy test; 0 skips the tests", ge=0, le=10_000)
    early_stopping: bool = _setting(False, "stop when returns no longer rise, as D5 asks", "early-{}")
    patience: int = _setting(
        100_000, "steps without a gain after which early stopping ends the run", "patience{}", ge=1, le=10**8
    )
    tensorboard: bool = _setting(True, "write event files into the run's folder")

    @model_validator(mode="before")
    @classmethod
    def _ddpg(cls, given: dict[str, Any]) -> dict[str, Any]:
        return DDPG | given if given.get("algorithm") == "ddpg" else given

    @model_validator(mode="after")
    def _targets_are_there(self) -> Any:
        if self.target_cnn and not self.target_network:
            raise ValueError("target_cnn=True has no meaning with target_network=False: there are no targets")
        if self.actor_features == "shared" and self.norm_in != "both":
            raise ValueError(f"norm_in={self.norm_in!r} has no meaning with actor_features='shared': there is one CNN")
        if self.priming_updates and self.learning_starts == 1:
            raise ValueError("priming_updates learn from random steps, of which learning_starts=1 leaves none")
        return self

    def defaults(self) -> dict[str, Any]:
        """DDPG has its own, which go without saying in its run ids."""
        return super().defaults() | (DDPG if self.algorithm == "ddpg" else {})

    @property
    def reports(self) -> int:
        return self.steps // RECORD_STEPS

    @property
    def steps_per_report(self) -> int:
        return RECORD_STEPS

    @property
    def activation(self) -> str:
        """What follows the CNN's last layer: linear or leaky_relu. The original's fix changed it together with LN."""
        if self.final_activation != "original":
            return self.final_activation
        return "linear" if self.norm == "none" else "leaky_relu"

    @property
    def updates(self) -> int:
        """Critic updates of a seed in the whole run, which begin after the first `learning_starts` steps."""
        return self.updates_by(self.steps)

    def updates_by(self, step: int) -> int:
        """Critic updates of a seed in its first so many steps; priming comes right before step `learning_starts`."""
        primed = self.priming_updates if step >= self.learning_starts else 0
        return primed + max(0, step - self.learning_starts) * self.updates_per_step

    def step_of(self, update: int) -> int:
        """The environment step that brought an update, counted from 1.

        >>> config = TD3Config(priming_updates=10, updates_per_step=4, learning_starts=100)
        >>> [config.step_of(update) for update in (1, 10, 11, 14, 15)]
        [100, 100, 101, 101, 102]
        """
        return self.learning_starts + max(0, -((self.priming_updates - update) // self.updates_per_step))


Config = RunConfig | GymConfig | TD3Config
CLASSES: dict[str, type[Config]] = {
    name: cls for cls in (RunConfig, TD3Config) for name in get_args(cls.model_fields["algorithm"].annotation)
}


def kind(algorithm: object, env: object = None) -> type[Config]:
    """The class that holds an algorithm's settings; those of A3C and Individual depend on the environment.

    Raises:
        ConfigError: no algorithm has this name.
    """
    if isinstance(algorithm, str) and algorithm in CLASSES:
        elsewhere = CLASSES[algorithm] is RunConfig and env not in (None, OFFLOADING)
        return GymConfig if elsewhere else CLASSES[algorithm]
    raise ConfigError(f"algorithm={shown(algorithm)} is not allowed: choose one of {', '.join(CLASSES)}")


def parse(parameters: Mapping[str, Any]) -> Any:
    """A RunConfig, a GymConfig or a TD3Config from plain parameters, as papermill or the command line pass them.

    Raises:
        ConfigError: a name is unknown or a value is not allowed; the message names both.

    >>> parse({"norm": "ln", "seeds": 3}).run_id
    'a3c-gru-ln'
    >>> parse({"algorithm": "td3", "norm": "none"}).run_id
    'td3-none-leaky'
    >>> parse({"nrom": "ln"})
    Traceback (most recent call last):
    lnlab.config.ConfigError: unknown parameter 'nrom' (did you mean 'norm'?); allowed: algorithm, core, norm, ...
    """
    cls = kind(parameters.get("algorithm", "a3c"), parameters.get("env"))
    try:
        return cls(**parameters)
    except ValidationError as error:
        raise ConfigError("; ".join(_explain(problem, cls) for problem in error.errors())) from None


def _explain(problem: Any, cls: type[Config]) -> str:
    """One validation problem in a sentence that names the parameter, the value and what is allowed."""
    name, names = str(problem["loc"][0]) if problem["loc"] else "", cls.names()
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, names, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        if cls is GymConfig and name in RunConfig.model_fields:
            hint = f", which belongs to env={OFFLOADING!r}"
        if cls is RunConfig and name in GymConfig.model_fields:
            hint = f", which belongs to other environments than env={OFFLOADING!r}"
        return f"unknown parameter {shown(name)}{hint}; allowed: {', '.join(names)}"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"].startswith("bool_"):
        message = "choose true or false"
    if not name:
        return message
    return f"{name}={shown(problem['input'])} is not allowed: {message[0].lower()}{message[1:]}"


def shown(value: object) -> str:
    """A value as an error names it: on one line, and the beginning only of a long one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def limits(field: FieldInfo) -> str:
    """What a value must keep to, in words; empty where there is nothing to say.

    >>> limits(Field(1, ge=1, le=10_000)), limits(Field(1.0, gt=0)), limits(Field(100, multiple_of=100, ge=100))
    ('1 to 10,000', 'over 0', '100 or more, a multiple of 100')
    """
    bounds = {name: getattr(each, name) for each in field.metadata for name in LIMITS if hasattr(each, name)}
    words = []
    if "ge" in bounds and "le" in bounds:
        words.append(f"{bounds.pop('ge'):,} to {bounds.pop('le'):,}")
    words += [LIMITS[name].format(bound) for name, bound in bounds.items() if bound is not None]
    return ", ".join(words)


def _short(value: object) -> str:
    """A number as people write it, with all its digits: 3e-4, 0.05, 2. Two numbers never look alike."""
    if not isinstance(value, float):
        return str(value)
    if 0 < value < 1e-2:
        return f"{Decimal(repr(value)).normalize():e}"
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)
