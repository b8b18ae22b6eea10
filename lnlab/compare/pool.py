"""Runs side by side on the cores. A process trains one run after the other: its start, which takes seconds, is paid
once a core and not once a run."""

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Event
from queue import Empty
from typing import Any

from lnlab.config import Config, ConfigError, GymConfig
from lnlab.inside import run
from lnlab.memory import block, refuse_too_large
from lnlab.provenance import usable_cores
from lnlab.runs import Run
from lnlab.signals import STOP_SECONDS, end_with, on_ending
from lnlab.trainers.driver import one_thread, resolve_device

Counter = Callable[[int], object]


def shared_out(configs: Sequence[Config]) -> tuple[int, int]:
    """How many runs go side by side, and on how many cores each; on a GPU one at a time."""
    budget = configs[0].cores or usable_cores()
    gpu = not isinstance(configs[0], GymConfig) and resolve_device(configs[0].device) == "cuda"
    places = 1 if gpu else min(budget, len(configs))
    return places, budget // places


def train(configs: Sequence[Config], count: Counter) -> None:
    """Train what is left of the runs.

    Args:
        configs: runs that differ in arm and setting; `cores` of the first is for all together, 0 takes all.
        count: called with environment steps as they are made.

    Raises:
        ConfigError: too little memory, or a folder holds a run with other settings.
        RuntimeError: a run failed; the others have kept a checkpoint.
        KeyboardInterrupt: stopped; every run has kept a checkpoint.
    """
    if not (todo := [config for config in configs if not Run.at(config).answers(config)]):
        return
    places, cores = shared_out(todo)
    for config in todo:
        Run.at(config).refuse_other(config)
        refuse_too_large(config, places * min(cores, config.seeds), seeds=block(config, min(cores, config.seeds)))
    todo = [config.model_copy(update={"cores": cores}) for config in todo]
    if places == 1:
        for config in todo:
            run(config, progress=False, on_report=lambda report, config=config: count(_steps(report, config)))
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's locks
    waiting, back, halt = context.Queue(), context.Queue(), context.Event()
    for each in [*todo, *[None] * places]:
        waiting.put(each)
    workers = [context.Process(target=_work, args=(waiting, back, halt, os.getpid())) for _ in range(places)]
    with on_ending(signal.SIG_IGN, signal.SIGINT), one_thread():  # type: ignore[arg-type]
        for worker in workers:  # Ctrl-C reaches the whole group: until it trains, a worker does not hear it
            worker.start()
    with on_ending(signal.default_int_handler):
        try:
            for message in _messages(back, workers, len(todo)):
                count(message)
        except KeyboardInterrupt:
            raise KeyboardInterrupt("stopped; the same command goes on from the checkpoints") from None
        finally:
            halt.set()
            _stop(workers)


def _messages(back: Any, workers: Sequence[Any], runs: int) -> Iterator[int]:
    """Environment steps, until all runs are complete.

    Raises:
        ConfigError, RuntimeError: of a run, or its process died.
    """
    while runs:
        died = [worker.exitcode for worker in workers if worker.exitcode]
        try:
            message = back.get(timeout=0.2)
        except Empty:
            if died:
                raise RuntimeError(f"a training process died with exit code {died[0]}; run it again to go on") from None
            continue
        if isinstance(message, BaseException):
            raise message
        if message is None:
            runs -= 1
        else:
            yield message


def _stop(workers: Sequence[Any]) -> None:
    """Each stops its run at a checkpoint; asked again and again, since one that begins a run may not hear it."""
    for _ in range(int(STOP_SECONDS / 0.5)):
        if not any(worker.is_alive() for worker in workers):
            return
        for worker in workers:
            if worker.is_alive():
                os.kill(worker.pid, signal.SIGINT)
        for worker in workers:
            worker.join(timeout=0.5 / len(workers))
    for worker in workers:
        worker.kill()


def _work(waiting: Any, back: Any, halt: Event, parent: int) -> None:
    end_with(parent)
    while not halt.is_set() and (config := waiting.get()) is not None:
        try:
            run(config, progress=False, on_report=lambda report, config=config: back.put(_steps(report, config)))
            back.put(None)
        except KeyboardInterrupt:
            back.cancel_join_thread()  # nobody reads it any more
            return
        except ConfigError as error:
            back.put(ConfigError(f"{config.run_id}: {error}"))
        except Exception as error:
            back.put(RuntimeError(f"{Run.at(config).dir}: {type(error).__name__}: {error}"))


def _steps(report: Any, config: Config) -> int:
    return len(report["seed"]) * config.steps_per_report
