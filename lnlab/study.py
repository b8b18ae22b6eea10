"""study.toml to runs: which arms, how many seeds, how long; and their execution, a few at a time.

A run that is complete is skipped, one that was stopped goes on from its checkpoint, one that fails leaves the others
alone.
"""

import difflib
import fnmatch
import itertools
import math
import signal
import sys
import threading
import time
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tqdm.auto import tqdm

from lnlab.config import EXTENT, Config, ConfigError, kind, parse
from lnlab.jobs import TEMPLATE, Job
from lnlab.paths import STUDY
from lnlab.provenance import usable_cores
from lnlab.runs import Run

COST = {"gru": 2.0, "ln": 1.2, "td3": 500.0, "ddpg": 500.0}  # of a step; only the order of starting depends on it
POLL_SECONDS = 0.5


def profiles(study: Path = STUDY) -> dict[str, str]:
    """Names of the profiles and what each is for."""
    return {name: table.get("about", "") for name, table in _read(study)["profiles"].items()}


def expand(profile: str, study: Path = STUDY) -> list[Config]:
    """The runs of a profile: for each of its experiments, every combination of the arms.

    Raises:
        ConfigError: a name or value in the file is not allowed, or two arms are the same run.

    >>> [config.run_id for config in expand("quick")][:3]
    ['a3c-gru-none', 'a3c-gru-ln', 'a3c-ff-none']
    """
    content = _read(study)
    extent = dict(_entry(content, "profiles", profile, {"about", "experiments", *EXTENT}))
    extent.pop("about", None)
    configs = [
        parse(_that_apply(extent, settings) | settings | {"profile": profile})
        for name in extent.pop("experiments")
        for settings in _combinations(_entry(content, "experiments", name, {"about", "arms", "fixed"}))
    ]
    ids = [config.run_id for config in configs]
    if len(ids) != len(set(ids)):
        twice = sorted({each for each in ids if ids.count(each) > 1})
        raise ConfigError(f"profile {profile!r} has the same run twice: {', '.join(twice)}")
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
    profile: str, jobs: int | None = None, only: str | None = None, *, study: Path = STUDY, template: Path = TEMPLATE
) -> list[str]:
    """Run what is left of a profile, `jobs` arms at a time, the slowest first; returns the ids of the runs that failed.

    Args:
        profile: name in study.toml.
        jobs: arms side by side; None is one for each core. The cores are shared out among them.
        only: pattern for the run ids, see `select`.

    Raises:
        ConfigError: a setting is wrong, or a run directory holds a run with other settings.
        KeyboardInterrupt: stopped; every run has kept a checkpoint.
    """
    configs = select(expand(profile, study), only)
    for config in configs:
        Run.at(config).refuse_other(config)
    todo = sorted((config for config in configs if not Job(config).done), key=_cost, reverse=True)
    side_by_side = max(1, min(jobs or usable_cores(), len(todo)))
    cores = max(1, usable_cores() // side_by_side)
    waiting = [Job(config.model_copy(update={"cores": cores}), template) for config in todo]
    with _bar(profile, configs, waiting) as bar, terminate_like_ctrl_c():
        return _run_all(waiting, side_by_side, bar)


def _run_all(waiting: list[Job], side_by_side: int, bar: tqdm) -> list[str]:
    running: list[Job] = []
    failed: list[str] = []
    try:
        while waiting or running:
            while waiting and len(running) < side_by_side:
                running.append(waiting.pop(0))
                running[-1].start()
            time.sleep(POLL_SECONDS)
            ended = [job for job in running if job.ended]
            bar.update(sum(job.new_steps() for job in running))
            running = [job for job in running if job not in ended]
            failed += [job.run.id for job in ended if not _report(job, bar)]
            bar.set_postfix_str(", ".join(f"{job.run.id} {job.share:.0%}" for job in running), refresh=_interactive())
    except KeyboardInterrupt:
        bar.write("stopping; the runs finish their episode and write a checkpoint", file=sys.stderr)
        raise
    finally:
        stop(running)
    return failed


def stop(jobs: Iterable[Job]) -> None:
    """Ask all to stop, then wait for each; kill those that do not."""
    jobs = list(jobs)
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


def _bar(profile: str, configs: Sequence[Config], waiting: Sequence[Job]) -> tqdm:
    """A bar over environment steps; steps of earlier sessions count as done but not for the speed."""
    total = sum(config.env_steps for config in configs)
    done = total - sum(job.steps_left for job in waiting)
    interval = 0.5 if _interactive() else 30.0  # a log file wants few lines
    return tqdm(
        total=total, initial=done, desc=profile, unit="step", unit_scale=True, smoothing=0, mininterval=interval
    )


def _interactive() -> bool:
    return sys.stderr.isatty()


def _cost(config: Config) -> float:
    return config.env_steps * math.prod(COST.get(label, 1.0) for label in config.labels.values())


@contextmanager
def terminate_like_ctrl_c() -> Iterator[None]:
    """SIGTERM, as batch systems and `timeout` send it, ends a study as cleanly as Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _read(study: Path) -> dict[str, Any]:
    with study.open("rb") as file:
        return tomllib.load(file)


def _entry(content: dict[str, Any], kind: str, name: str, allowed: set[str]) -> dict[str, Any]:
    """The table [kind.name], which may hold the `allowed` keys only."""
    table = content[kind].get(name)
    if table is None:
        near = difflib.get_close_matches(name, content[kind], n=1)
        hint = f" (did you mean {near[0]!r}?)" if near else ""
        raise ConfigError(
            f"unknown name {name!r}{hint} among the {kind} of study.toml; allowed: {', '.join(content[kind])}"
        )
    unknown = sorted(set(table) - allowed)
    if unknown:
        raise ConfigError(f"[{kind}.{name}] has the unknown key {unknown[0]!r}; allowed: {', '.join(sorted(allowed))}")
    return table


def _that_apply(extent: dict[str, Any], settings: dict[str, Any]) -> dict[str, Any]:
    """The sizes of a profile that the algorithm has: `episodes` are A3C's and Individual's, `steps` TD3's."""
    return {name: size for name, size in extent.items() if name in kind(settings.get("algorithm", "a3c")).model_fields}


def _combinations(experiment: dict[str, Any]) -> list[dict[str, Any]]:
    arms = experiment.get("arms", {})
    return [
        experiment.get("fixed", {}) | dict(zip(arms, values, strict=True))
        for values in itertools.product(*arms.values())
    ]
