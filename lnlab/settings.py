"""What the settings of all algorithms share: names, what counts as science, and errors that name the allowed values."""

import difflib
from decimal import Decimal
from typing import TYPE_CHECKING, Any, ClassVar

from pydantic import BaseModel, ConfigDict, ValidationInfo, field_validator, model_validator
from pydantic.fields import FieldInfo

EXTENT = {"seeds", "first_seed", "episodes", "steps", "eval_episodes"}  # how much is run, not what
EXECUTION = {"profile", "device", "cores", "resume", "tensorboard"}  # where and how it is run; changes no result
PROFILE, LONGEST_PROFILE = r"^[a-z0-9][a-z0-9_-]*$", 64  # names of profiles, which are folders
LONGEST_ID = 200  # letters; a folder's name may have 255, and more is put around it
LONGEST_VALUE = 60  # letters of a value that an error shows


class ConfigError(ValueError):
    """A parameter has a wrong name or a wrong value; the message names it and what is allowed."""


class Settings(BaseModel):
    """One arm of the study over all its seeds. Each algorithm's class declares the fields, with their defaults.

    A trainer yields `reports` reports for a seed, each over `steps_per_report` environment steps.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    ARM: ClassVar[tuple[str, ...]]  # settings that every run id spells out, in this order
    SHORT: ClassVar[dict[str, str]]  # how a setting that differs from its default shows in the run id
    ROWS: ClassVar[str]  # table that takes one row, or one for each worker, from each report

    if TYPE_CHECKING:  # declared by every subclass, in the order in which users read them
        algorithm: Any
        norm: Any
        seeds: int
        first_seed: int
        eval_episodes: int
        profile: str
        device: Any
        cores: int
        resume: bool

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
            raise ValueError(
                f"too many settings differ from the defaults: the run's name {shown(self.run_id)} would have "
                f"{len(self.run_id)} letters, and a folder's may have {LONGEST_ID}"
            )
        return self

    @property
    def reports(self) -> int:
        """Reports that training yields for each seed."""
        raise NotImplementedError

    @property
    def steps_per_report(self) -> int:
        """Environment steps of one seed behind a report."""
        raise NotImplementedError

    @property
    def run_id(self) -> str:
        """Readable name of the arm, shared by its folder, data, figures and page, e.g. `a3c-gru-ln-lr3e-4`."""
        return "-".join([*(str(getattr(self, name)) for name in self.ARM), *self._suffixes()])

    @property
    def labels(self) -> dict[str, str]:
        """The arm as columns of a table."""
        return {name: str(getattr(self, name)) for name in self.ARM}

    @property
    def seed_list(self) -> list[int]:
        return list(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def env_steps(self) -> int:
        """Environment steps of the whole run."""
        return self.seeds * self.reports * self.steps_per_report

    @property
    def science(self) -> dict[str, Any]:
        """What decides the numbers: every setting but those that only say where and how to run."""
        return self.model_dump(exclude=EXECUTION)

    def with_seeds(self, seeds: list[int]) -> Any:
        """The same arm over consecutive `seeds` only."""
        return self.model_copy(update={"first_seed": seeds[0], "seeds": len(seeds)})

    def _suffixes(self) -> list[str]:
        defaults = self.defaults()
        return [
            f"{short}{_short(getattr(self, k))}" for k, short in self.SHORT.items() if getattr(self, k) != defaults[k]
        ]

    def defaults(self) -> dict[str, Any]:
        """What every setting is where only the algorithm is given."""
        return {name: field.default for name, field in type(self).model_fields.items()}


def _short(value: object) -> str:
    """A number as people write it, with all its digits: 3e-4, 0.05, 2. Two numbers never look alike."""
    if not isinstance(value, float):
        return str(value)
    if 0 < value < 1e-2:
        return f"{Decimal(repr(value)).normalize():e}"
    return f"{value:g}" if float(f"{value:g}") == value else repr(value)


LIMITS = {  # of a field, by their names in pydantic
    "multiple_of": "a multiple of {:,}",
    "gt": "over {:,}",
    "ge": "{:,} or more",
    "le": "at most {:,}",
    "pattern": "as {}",
    "max_length": "at most {} letters",
}


def shown(value: object) -> str:
    """A value as an error names it: on one line, and the beginning only of a long one."""
    text = " ".join(repr(value).split())
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def limits(field: FieldInfo) -> str:
    """What a value must keep to, in words; empty where there is nothing to say.

    >>> from pydantic import Field
    >>> limits(Field(1, ge=1, le=10_000)), limits(Field(1.0, gt=0)), limits(Field(100, multiple_of=100, ge=100))
    ('1 to 10,000', 'over 0', '100 or more, a multiple of 100')
    """
    bounds = {name: getattr(each, name) for each in field.metadata for name in LIMITS if hasattr(each, name)}
    words = []
    if "ge" in bounds and "le" in bounds:
        words.append(f"{bounds.pop('ge'):,} to {bounds.pop('le'):,}")
    words += [LIMITS[name].format(bound) for name, bound in bounds.items() if bound is not None]
    return ", ".join(words)


def explain(problem: Any, fields: list[str]) -> str:
    """One validation problem in a sentence that names the parameter, the value and what is allowed."""
    name = str(problem["loc"][0]) if problem["loc"] else ""
    if problem["type"] == "extra_forbidden":
        near = difflib.get_close_matches(name, fields, n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        return f"unknown parameter {shown(name)}{hint}; allowed: {', '.join(fields)}"
    message = problem["msg"].removeprefix("Value error, ")
    if not name:
        return message
    return f"{name}={shown(problem['input'])} is not allowed: {message[0].lower()}{message[1:]}"
