"""Settings of TD3 and DDPG on images. Defaults are those in force in the run that D5 reports, faults included.

DDPG is TD3 with one critic, an actor step after each critic step, and no noise on the target action.
"""

from typing import Any, ClassVar, Literal

from pydantic import Field, model_validator

from lnlab.models.norms import CNN
from lnlab.settings import LONGEST_PROFILE, PROFILE, Settings

ALGORITHMS = ("td3", "ddpg")
RECORD_STEPS = 100  # environment steps between two rows of the table `records`
DDPG = {"critics": 1, "policy_delay": 1, "target_noise": 0.0}


class TD3Config(Settings):
    """One arm of TD3 or DDPG over all its seeds.

    Sources: D5 and the code it reports on, where the two differ the code; the algorithm is Fujimoto et al. 2018.
    """

    ARM: ClassVar[tuple[str, ...]] = ("algorithm", "norm", "actor_features")
    SHORT: ClassVar[dict[str, str]] = {
        "env": "",
        "batch_size": "b",
        "final_activation": "",
        "final_init": "init-",
        "precision": "",
        "learning_starts": "start",
        "capacity": "cap",
        "lr": "lr",
        "gamma": "gamma",
        "tau": "tau",
        "critics": "q",
        "policy_delay": "delay",
        "target_noise": "noise",
        "noise_clip": "nclip",
        "actor_clip": "aclip",
        "critic_clip": "cclip",
        "exploration_start": "explore",
        "exploration_end": "end",
        "exploration_decay": "decay",
        "random_actions": "",
        "target_cnn": "targetcnn-",
        "hidden": "h",
        "eval_every": "test",
        "early_stopping": "early-",
        "patience": "patience",
    }
    ROWS: ClassVar[str] = "records"

    algorithm: Literal["td3", "ddpg"] = Field("td3", description="twin critics and delayed actor, or DDPG")
    norm: Literal[CNN] = Field(  # type: ignore[valid-type]  # a table's names are known when it runs
        "ln", description="normalisation in the CNN by name: nowhere, after every layer, after the last only"
    )
    actor_features: Literal["leaky", "detached"] = Field(
        "leaky",
        description="the critic's state in the actor loss: the actor's features with gradient, or its own",
    )
    final_activation: Literal["original", "linear", "leaky_relu"] = Field(
        "original", description="after the CNN's last layer; original: linear without norm, leaky_relu with one"
    )
    precision: Literal["float32", "bfloat16"] = Field(
        "float32",
        description="of the CNN's products; bfloat16 is coarser, and faster where the processor computes in it",
    )
    final_init: Literal["default", "small"] = Field(
        "default", description="the actor's last layer: ±1/√fan_in (original), or ±0.003 (Lillicrap et al. 2015)"
    )
    env: str = Field(
        "lnlab/Driving-v0",
        pattern=r"^[A-Za-z0-9_.:/-]+$",
        max_length=100,
        description="Gymnasium id; an image or vector observation, a Box action",
    )
    seeds: int = Field(5, ge=1, le=10_000, description="independent replications, one process each")
    first_seed: int = Field(0, ge=0, le=10**9, description="the seeds are first_seed, first_seed + 1, …")
    steps: int = Field(
        5000, ge=RECORD_STEPS, le=10**8, multiple_of=RECORD_STEPS, description="environment steps of a seed"
    )
    learning_starts: int = Field(
        1000, ge=1, le=10**8, description="steps before the first update; all but the last are random (original)"
    )
    batch_size: int = Field(256, ge=1, le=10**6, description="transitions in an update")
    capacity: int = Field(97_000, ge=1, le=10**8, description="transitions the replay buffer keeps")
    lr: float = Field(1e-3, gt=0, description="Adam learning rate of actor and critics")
    gamma: float = Field(0.99, ge=0, le=1, description="discount per step")
    tau: float = Field(0.005, gt=0, le=1, description="share by which targets move to the online networks")
    critics: int = Field(2, ge=1, le=2, description="Q networks; the target takes the smaller value of two")
    policy_delay: int = Field(2, ge=1, le=10**6, description="critic updates for each actor update")
    target_noise: float = Field(0.2, ge=0, description="standard deviation of the noise on the target action")
    noise_clip: float = Field(0.5, ge=0, description="largest noise on the target action")
    actor_clip: float = Field(1.0, ge=0, description="largest L2 norm of the actor's gradient; 0 is no limit")
    critic_clip: float = Field(10.0, ge=0, description="largest L2 norm of the critics' gradient; 0 is no limit")
    exploration_start: float = Field(0.3, ge=0, description="standard deviation of the action noise at first")
    exploration_end: float = Field(0.1, ge=0, description="standard deviation of the action noise in the end")
    exploration_decay: float = Field(2.5e-4, ge=0, description="rate of its exponential decay, per step")
    random_actions: Literal["forward", "uniform"] = Field(
        "forward", description="before learning; forward: the last action, the throttle, never below 0 (original)"
    )
    target_cnn: bool = Field(
        False, description="targets with CNNs of their own; false: the online critic CNN, as the original"
    )
    hidden: int = Field(256, ge=1, le=8192, description="width of the two hidden layers of actor and critics")
    eval_every: int = Field(
        2500, ge=0, le=10**8, description="steps between greedy tests; 0: only at the validation points"
    )
    eval_episodes: int = Field(10, ge=0, le=10_000, description="episodes of a greedy test; 0 skips the tests")
    early_stopping: bool = Field(False, description="stop when returns no longer rise, as D5 asks")
    patience: int = Field(
        100_000, ge=1, le=10**8, description="steps without a gain after which early stopping ends the run"
    )
    tensorboard: bool = Field(True, description="write event files into the run's folder")
    profile: str = Field(
        "scratch", pattern=PROFILE, max_length=LONGEST_PROFILE, description="folder of the run under results/"
    )
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto takes a GPU where there is one")
    cores: int = Field(0, ge=0, le=1024, description="processes on a CPU, one thread each; 0 takes all cores")
    resume: bool = Field(True, description="continue a stopped run; false starts it again")

    @model_validator(mode="before")
    @classmethod
    def _ddpg(cls, given: dict[str, Any]) -> dict[str, Any]:
        return DDPG | given if given.get("algorithm") == "ddpg" else given

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
        """Critic updates of a seed in the whole run: one for each step after the first `learning_starts`."""
        return max(0, self.steps - self.learning_starts)

    def defaults(self) -> dict[str, Any]:
        """DDPG has its own, which go without saying in its run ids."""
        return super().defaults() | (DDPG if self.algorithm == "ddpg" else {})

    def _suffixes(self) -> list[str]:
        """A tilde, which no environment's id holds, stands for the slash after its namespace: ids name folders."""
        return [each.replace("/", "~") for each in super()._suffixes()]
