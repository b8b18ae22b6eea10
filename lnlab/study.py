"""study.toml to runs: which arms, how many seeds, how long; and their execution, a few at a time.

A run that is complete is skipped, one that was stopped goes on from its checkpoint, one that fails leaves the others
alone.
"""

import contextlib
import difflib
import fnmatch
import functools
import itertools
import math
import re
import signal
import sys
import time
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from tqdm.auto import tqdm

from lnlab.config import EXTENT, LONGEST_PROFILE, PROFILE, Config, ConfigError, kind, parse, shown
from lnlab.executors import Executor
from lnlab.executors.fleet import Fleet
from lnlab.executors.local import Local
from lnlab.executors.task import Task
from lnlab.jobs import TEMPLATE, Job, prepared
from lnlab.locks import HeldError
from lnlab.memory import refuse_too_large
from lnlab.paths import RESULTS, STUDY, results_of
from lnlab.provenance import usable_cores
from lnlab.runs import Run
from lnlab.signals import on_ending
from lnlab.trainers.admission import refuse_impossible

COST = {"gru": 2.0, "ln": 1.2, "td3": 500.0, "ddpg": 500.0}  # of a step; only the order of starting depends on it
POLL_SECONDS = 0.5
PATIENCE = 120  # polls in which somebody else makes a folder
MOST_RUNS = 1000  # of an experiment: more is a slip
DECIDED = {"profile", "cores", "resume"}  # settings that the study itself gives to its runs


class Profile(BaseModel):
    """A table [profiles.NAME] of a study file: how much is run."""

    model_config = ConfigDict(extra="forbid", strict=True)

    about: str = ""
    experiments: list[str] = Field(min_length=1)
    seeds: int | None = None
    first_seed: int | None = None
    episodes: int | None = None
    steps: int | None = None
    eval_episodes: int | None = None


class Experiment(BaseModel):
    """A table [experiments.NAME] of a study file: one run for every combination of the values under `arms`."""

    model_config = ConfigDict(extra="forbid", strict=True)

    about: str = ""
    arms: dict[str, Annotated[list[Any], Field(min_length=1)]] = {}
    fixed: dict[str, Any] = {}

    @model_validator(mode="after")
    def _consistent(self) -> "Experiment":
        if decided := DECIDED & {*self.arms, *self.fixed}:
            raise ValueError(f"{min(decided)} is decided when the study runs")
        if twice := self.arms.keys() & self.fixed.keys():
            raise ValueError(f"{min(twice)} stands in arms and in fixed")
        if (runs := math.prod(map(len, self.arms.values()))) > MOST_RUNS:
            raise ValueError(f"arms make {shown(runs)} runs; at most {MOST_RUNS} are allowed")
        return self


class Study(BaseModel):
    """A study file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    profiles: dict[Annotated[str, Field(pattern=PROFILE, max_length=LONGEST_PROFILE)], Profile] = Field(min_length=1)
    experiments: dict[str, Experiment] = Field(min_length=1)


def profiles(study: Path = STUDY) -> dict[str, str]:
    """Names of the profiles and what each is for."""
    return {name: profile.about for name, profile in _read(study).profiles.items()}


def expand(profile: str, study: Path = STUDY) -> list[Config]:
    """The runs of a profile: for each of its experiments, every combination of the arms.

    Raises:
        ConfigError: the file cannot be read, a name or value in it is not allowed, or two arms are the same run.

    >>> [config.run_id for config in expand("quick")][:3]
    ['a3c-gru-none-native', 'a3c-gru-ln-native', 'a3c-ff-none-native']
    """
    content = _read(study)
    found = _named(content.profiles, profile, "profiles", study)
    extent = found.model_dump(include=EXTENT, exclude_none=True)
    configs = []
    for name in found.experiments:
        experiment = _named(content.experiments, name, "experiments", study)
        for values in itertools.product(*experiment.arms.values()):
            settings = experiment.fixed | dict(zip(experiment.arms, values, strict=True)) | {"profile": profile}
            try:
                known = kind(
                    settings.get("algorithm", "a3c"), settings.get("env")
                ).model_fields  # `episodes` of A3C, `steps` of TD3
                configs.append(parse({key: size for key, size in extent.items() if key in known} | settings))
            except ConfigError as error:
                raise ConfigError(f"{study}: [experiments.{name}] in [profiles.{profile}]: {error}") from None
    if idle := [name for name in extent if not any(name in type(config).model_fields for config in configs)]:
        raise ConfigError(f"{study}: [profiles.{profile}] gives {idle[0]}, which none of its runs has")
    ids = [config.run_id for config in configs]
    if len(ids) != len(set(ids)):
        twice = sorted({each for each in ids if ids.count(each) > 1})
        raise ConfigError(f"{study}: [profiles.{profile}] has the same run twice: {', '.join(twice)}")
    return configs


def select(configs: Sequence[Config], only: str | None) -> list[Config]:
    """The runs whose id matches a pattern such as `*-gru-*`; text without a wildcard may stand anywhere in the id.

    Raises:
        ConfigError: none does.
    """
    if only is None:
        return list(configs)
    pattern = only if set(only) & set("*?[") else f"*{only}*"
    chosen = [config for config in configs if fnmatch.fnmatch(config.run_id, pattern)]
    if not chosen:
        raise ConfigError(f"no run matches {only!r}; there are {', '.join(config.run_id for config in configs)}")
    return chosen


def execute(
    profile: str,
    jobs: int | None = None,
    only: str | None = None,
    *,
    study: Path = STUDY,
    template: Path = TEMPLATE,
    engine: Callable[[Path], Executor] | None = None,
    gpus: bool = False,
    mixed: bool = False,
    gather: bool = False,
) -> list[str]:
    """Run what is left of a profile, `jobs` arms at a time, the slowest first; returns the ids of the runs that failed.

    Args:
        jobs: arms side by side; None is one for each core. The cores are shared out among them.
        only: pattern for the run ids, see `select`.
        study: the file; runs of somebody's own file go into results/ beside it.
        engine: makes, of the folder for its own files, what trains the shards; the notebooks then run here. None
            trains here, in the notebooks.
        gpus: whether the engine's machines train on GPUs.
        mixed: also on machines with other code or versions.
        gather: only runs whose shards are all trained: their tables and pages are made.

    Raises:
        ConfigError: a setting is wrong, an environment or the memory cannot carry its run, a run directory holds a
            run with other settings, or the engine is not there.
        KeyboardInterrupt: stopped; every run has kept a checkpoint.
    """
    configs, results = select(expand(profile, study), only), results_of(study)
    for config in configs:
        Run.at(config, results).refuse_other(config)
    left = [config for config in configs if not Job(config, template, results).done]
    todo = sorted((each for each in left if not gather or trained(each, results)), key=_cost, reverse=True)
    side_by_side = max(1, min(jobs or usable_cores(), len(todo)))
    cores = max(1, usable_cores() // side_by_side)
    for config in todo:
        refuse_impossible(config)
        if engine is None and config.device != "cuda":
            refuse_too_large(config, min(cores, config.seeds))
    waiting = [Job(config.model_copy(update={"cores": cores}), template, results) for config in todo]
    made = engine(results / profile / ".engine") if engine and todo else None
    with _progress(profile, configs, waiting) as bar, on_ending(signal.default_int_handler):
        if made is None:
            failed = _run_all(waiting, side_by_side, bar)
        else:
            runs = [prepared(config, results, "cuda" if gpus else "cpu") for config in todo]
            say = functools.partial(bar.write, file=sys.stderr)
            fleet = Fleet(made, tasks(runs, mixed), say)
            failed = _run_all(waiting, side_by_side, bar, fleet)
    return failed + [config.run_id for config in left if gather and config not in todo]


def train_share(
    profile: str,
    share: tuple[int, int],
    jobs: int | None = None,
    only: str | None = None,
    *,
    study: Path = STUDY,
    mixed: bool = False,
) -> list[str]:
    """Train every n-th shard of a profile on this machine, from the i-th on; returns the names of those that failed.

    Args:
        share: i and n, 1 ≤ i ≤ n. All that run the same profile with the same n have shares that do not overlap.
        jobs: shards side by side; None is one for each core.

    Raises:
        ConfigError, KeyboardInterrupt: as `execute`.
    """
    configs, results = select(expand(profile, study), only), results_of(study)
    for config in configs:
        Run.at(config, results).refuse_other(config)
        refuse_impossible(config)
    runs = [_found_or_prepared(config, results) for config in configs]
    mine = tasks(runs, mixed, share)
    folders = {task.folder for task in mine}
    watched = [Job(run.config, results=results) for run in runs if run.dir in folders]
    label = f"{profile} {share[0]}/{share[1]}"
    with _progress(label, configs, watched) as bar, on_ending(signal.default_int_handler):
        return _away(Local(jobs or usable_cores()), mine, watched, bar)


def train_on(
    engine: Executor, configs: Sequence[Config], bar: tqdm, *, gpus: bool = False, mixed: bool = False
) -> None:
    """Train the shards of runs that are left on an engine; their tables are made by whoever opens the runs next.

    Raises:
        RuntimeError: a shard failed.
        KeyboardInterrupt: stopped; every run has kept a checkpoint.
    """
    for config in configs:
        Run.at(config).refuse_other(config)
    runs = [prepared(config, RESULTS, "cuda" if gpus else "cpu") for config in configs]
    with on_ending(signal.default_int_handler):
        if failed := _away(engine, tasks(runs, mixed), [Job(run.config) for run in runs], bar):
            raise RuntimeError(f"failed: {', '.join(failed)}; give the command again to try once more")


def _away(engine: Executor, left: Sequence[Task], jobs: Sequence[Job], bar: tqdm) -> list[str]:
    """The names of the tasks that failed, once all have ended; `jobs` are those whose steps are counted."""
    fleet = Fleet(engine, left, functools.partial(bar.write, file=sys.stderr))
    try:
        while fleet.busy:
            fleet.advance()
            time.sleep(POLL_SECONDS)
            bar.update(sum(job.new_steps() for job in jobs))
    finally:
        fleet.stop()
    return [str(task) for task in fleet.failed]


def tasks(runs: Sequence[Run], mixed: bool, share: tuple[int, int] = (1, 1)) -> list[Task]:
    """Every n-th shard of the runs from the i-th on, without those that are trained."""
    every = [(run, shard) for run in runs for shard in run.shards]
    mine = every[share[0] - 1 :: share[1]]
    return [Task.of(run, shard, mixed=mixed) for run, shard in mine if not run.complete and not run.trained(shard)]


def trained(config: Config, results: Path) -> bool:
    """Whether every shard of a run has been trained to its end."""
    run = Run.at(config, results)
    return run.begun and run.config.seeds >= config.seeds and all(map(run.trained, run.shards))


def _found_or_prepared(config: Config, results: Path) -> Run:
    """Of the jobs of an array that begin together, one makes the folder; the others wait for it."""
    for _ in range(PATIENCE):
        run = Run.at(config, results)
        if "fingerprint" in run.provenance and run.config.seeds >= config.seeds:
            return run
        with contextlib.suppress(HeldError):
            return prepared(config, results)
        time.sleep(POLL_SECONDS)
    raise RuntimeError(f"{run.dir} is being trained by another process; wait for it or stop it")


def _progress(label: str, configs: Sequence[Config], left: Sequence[Job]) -> tqdm:
    total = sum(config.env_steps for config in configs)
    done = total - sum(job.steps_left for job in left)  # in earlier sessions; does not count for the speed
    interval = 0.5 if sys.stderr.isatty() else 30.0  # a log file wants few lines
    show: dict[str, Any] = {"desc": label, "unit": "step", "unit_scale": True, "smoothing": 0}
    return tqdm(total=total, initial=done, mininterval=interval, **show)


def _run_all(waiting: list[Job], side_by_side: int, bar: tqdm, fleet: Fleet | None = None) -> list[str]:
    """Run the jobs; of those whose shards are trained by a fleet, when it has done its part."""
    running: list[Job] = []
    failed: list[str] = []
    away = waiting if fleet else []
    waiting = [] if fleet else waiting
    try:
        while waiting or running or away:
            if fleet:
                fleet.advance()
                lost = {task.folder for task in fleet.failed}
                back = [job for job in away if job.run.dir not in fleet.busy]
                waiting += [job for job in back if job.run.dir not in lost]
                failed += [job.run.id for job in back if job.run.dir in lost]
                away = [job for job in away if job not in back]
            running += _start(waiting, side_by_side - len(running), bar)
            time.sleep(POLL_SECONDS)
            ended = [job for job in running if job.ended]
            bar.update(sum(job.new_steps() for job in running + away))
            running = [job for job in running if job not in ended]
            failed += [job.run.id for job in ended if not _report(job, bar)]
            shares = [f"{job.run.id} {1 - job.steps_left / job.config.env_steps:.0%}" for job in running]
            bar.set_postfix_str(", ".join(shares), refresh=sys.stderr.isatty())
    except KeyboardInterrupt:
        bar.write("stopping; the runs finish their episode and write a checkpoint", file=sys.stderr)
        raise
    finally:
        if fleet:
            fleet.stop()
        stop(running)
    return failed


def _start(waiting: list[Job], places: int, bar: tqdm) -> list[Job]:
    """Start as many of the waiting jobs as there are places; one that another process is at work on waits on."""
    started: list[Job] = []
    for job in list(waiting):
        if len(started) == places:
            break
        if job.held and job.done:  # by the other process
            waiting.remove(job)
        elif job.start():
            started.append(job)
            waiting.remove(job)
        elif not job.held:
            job.held = True
            bar.write(f"waiting {job.run.id}  another process is at work on it", file=sys.stderr)
    return started


def stop(jobs: Sequence[Job]) -> None:
    """Ask all to stop, then wait for each; kill those that do not."""
    for job in jobs:
        job.interrupt()
    for job in jobs:
        job.join()


def _report(job: Job, bar: tqdm) -> bool:
    """Say how an ended job went; False if it failed."""
    error = job.settle()
    if error is None:
        speed = job.run.provenance["steps_per_second"]
        bar.write(f"done    {job.run.id}  {speed:,.0f} steps/s", file=sys.stderr)
    else:
        bar.write(f"FAILED  {job.run.id}  (all of it: {job.log})\n{error}", file=sys.stderr)
    return error is None


def _cost(config: Config) -> float:
    return config.env_steps * math.prod(COST.get(label, 1.0) for label in config.labels.values())


def _read(study: Path) -> Study:
    """The study file, in the structure that it must have.

    Raises:
        ConfigError: it cannot be read, is not TOML, or has another structure; the message names file and key.
    """
    try:
        return _parsed(study.read_text(encoding="utf-8"))
    except OSError as error:
        yours = "; name a study file of your own: lnlab study FILE.toml" if study == STUDY else ""
        raise ConfigError(f"{study} cannot be read: {error.strerror}{yours}") from None
    except ValidationError as error:
        raise ConfigError(f"{study}: {_explain(error.errors()[0])}") from None
    except (ValueError, RecursionError) as error:  # of TOML, of its encoding, of numbers and nests without end
        raise ConfigError(f"{study} is not TOML: {error}") from None


@functools.cache
def _parsed(text: str) -> Study:
    return Study.model_validate(tomllib.loads(text))


def _explain(problem: Any) -> str:
    """One fault of the structure in a sentence that names the table and the key."""
    path = [str(each) if re.fullmatch(r"[\w-]{1,64}", str(each)) else shown(each) for each in problem["loc"]]
    table, key = ".".join(path[:2]), ".".join(path[2:])
    if problem["type"] == "extra_forbidden":
        cls: Any = {"profiles": Profile, "experiments": Experiment}[path[0]] if key else Study
        where, unknown = (f"[{table}] has the", key) if key else ("it has the", table)
        return f"{where} unknown key {unknown!r}; allowed: {', '.join(cls.model_fields)}"
    if problem["type"] == "missing":
        return f"[{table}] has no {key}" if key else f"[{table}] is missing"
    message = problem["msg"].removeprefix("Value error, ")
    if problem["type"] == "value_error":
        return f"[{table}]: {message}"
    if problem["type"] == "model_type":
        message = "Input should be a table"
    named = f"[{table}] {key}" if key else table
    return f"{named} = {shown(problem['input'])} is not allowed: {message[0].lower()}{message[1:]}"


def _named(tables: dict[str, Any], name: str, kind: str, study: Path) -> Any:
    """The table [kind.name] of the study file."""
    if name in tables:
        return tables[name]
    near = difflib.get_close_matches(name, tables, n=1)
    hint = f" (did you mean {near[0]!r}?)" if near else ""
    raise ConfigError(f"unknown name {shown(name)}{hint} among the {kind} of {study}; allowed: {', '.join(tables)}")
