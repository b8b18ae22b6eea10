"""Trains a run to its end, whatever its algorithm: blocks of seeds over processes, checkpoints on the way, tables.

One process a core with one torch thread each: two threads in one process are slower, since the tensors of a block are
small. A stop (Ctrl-C, SIGTERM, SIGHUP, or the loss of the parent) ends every process after its current episode, with
a checkpoint.
"""

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.synchronize import Event
from queue import Empty
from typing import Any

import numpy as np
from tqdm.auto import tqdm

from lnlab.config import Config, ConfigError, GymConfig
from lnlab.memory import block, refuse_too_large
from lnlab.provenance import usable_cores
from lnlab.runs import Run, Shard
from lnlab.signals import ending_signals, on_ending
from lnlab.trainers import make_trainer
from lnlab.trainers.admission import refuse_impossible, require_norm
from lnlab.trainers.watchers import WATCHERS, LateWatcher, Watcher

CHECKPOINT_SECONDS = float(os.environ.get("LNLAB_CHECKPOINT_SECONDS", 15))  # least time between checkpoints
SHARE = 0.05  # most of the time that writing them may take
Report = dict[str, Any]
Listener = Callable[[Report], None]
Watchers = Sequence[type[Watcher] | LateWatcher]
GPUS = ("nvidiactl", "nvmap", "dxg", "kfd")  # in /dev: NVIDIA's, of its small boards, under Windows, AMD's
PROCESS = {  # environment of a training process
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MALLOC_MMAP_THRESHOLD_": "1000000000",  # what a CNN's backward pass frees it wants again: handing it back to the
    "MALLOC_TRIM_THRESHOLD_": "4000000000",  # system and taking it anew costs a tenth of the time
    "MALLOC_TOP_PAD_": "268435456",
}


def run(
    config: Config, *, progress: bool = True, on_report: Listener | None = None, watchers: Watchers = WATCHERS
) -> Run:
    """Train and test `config`, or what is left of it, and return its complete run directory.

    Args:
        config: the run's settings.
        progress: show a bar over environment steps.
        on_report: called with each report and its seeds under "seed"; blocks of seeds advance at their own pace.
        watchers: made for every block of seeds, in its process; `lnlab.run` adds those that look into the networks.

    Raises:
        ConfigError: the directory holds a run with other settings, the environment cannot carry this one, there is no
            such device, or too little memory.
        RuntimeError: the live networks lack the norm of the run's name.
        KeyboardInterrupt: stopped from outside; calling again goes on from the checkpoints.
    """
    refuse_impossible(config)
    device = "cpu" if isinstance(config, GymConfig) else resolve_device(config.device)
    cores = 1 if device == "cuda" else min(config.cores or usable_cores(), config.seeds)
    refuse_too_large(config, cores, device)
    directory = Run.open(config, block=block(config, cores, device))
    if directory.complete:
        return directory
    try:
        with _bar(directory, progress) as bar:
            _train_all(directory, device, cores, _listener(directory, bar, on_report), watchers)
        for shard in directory.shards:  # some may come from an earlier session
            require_norm(config, shard.manifest["facts"].get("norm_layers", []))
        directory.finish()
    except KeyboardInterrupt:
        directory.release()
        raise
    except BaseException as error:
        directory.fail(error)
        raise
    return directory


def resolve_device(device: str) -> str:
    """`auto` is the GPU where there is one.

    Torch is asked only where it can find one: it takes longer to load than all else, and where other processes train,
    this one needs it at the end alone.

    Raises:
        ConfigError: cuda is asked for and there is none.
    """
    no_gpu = sys.platform == "linux" and not any(os.path.exists(f"/dev/{name}") for name in GPUS)
    if device == "cpu" or (device == "auto" and no_gpu):
        return "cpu"
    import torch

    if device == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device='cuda' asked, but torch finds no GPU here; choose cpu or auto")
    return ("cuda" if torch.cuda.is_available() else "cpu") if device == "auto" else device


def train_shard(
    config: Config,
    shard: Shard,
    device: str,
    report: Listener,
    stopped: Callable[[], bool],
    watchers: Watchers = WATCHERS,
) -> bool:
    """Train one block of seeds from its last checkpoint, then test it; False if stopped before its end."""
    import torch

    torch.set_num_threads(1)
    config = config.with_seeds(shard.seeds)
    trainer = make_trainer(config, device)
    if (state := shard.load()) is not None:
        trainer.load_state_dict(state)
    if not trainer.done:
        shard.drop_tables(trainer.TABLES)
    require_norm(config, trainer.norm_layers)
    shard.record(device=device, norm_layers=trainer.norm_layers, parameter_count=trainer.parameter_count)
    if "backend" in config.changed:  # a stopped run may go on where there is no compiler: both are named
        before = shard.manifest["facts"].get("backend", [])
        shard.record(backend=[*dict.fromkeys([*before, getattr(trainer, "backend", "torch")])])
    with contextlib.ExitStack() as closing:
        watching = [each(trainer, shard) for each in watchers if each.wants(trainer)]
        for watcher in watching:
            closing.callback(watcher.close)
        due = time.monotonic() + CHECKPOINT_SECONDS
        for row in trainer:
            for watcher in watching:
                watcher(row)
            shard.append(row)
            shard.record(diverged=trainer.diverged)
            report(row | {"seed": np.array(shard.seeds)})
            if trainer.stopped_early is not None:
                shard.record(stopped_early=trainer.stopped_early)
            halt = stopped()
            if halt or trainer.done or time.monotonic() > due:
                begun = time.monotonic()
                shard.checkpoint(trainer.state_dict())
                now = time.monotonic()
                due = now + max(CHECKPOINT_SECONDS, (now - begun) / SHARE)
            if halt:
                return False
    require_norm(config, trainer.norm_layers)
    for name in trainer.TABLES:
        if shard.table(name) is None and (table := trainer.table(name)) is not None:
            shard.write_table(name, table)
    return True


def _train_all(directory: Run, device: str, cores: int, listener: Listener, watchers: Watchers) -> None:
    shards, config = directory.shards, directory.config
    flag = threading.Event()  # Ctrl-C, SIGTERM or SIGHUP came: a run may stop only between episodes
    stopped = flag.is_set
    with on_ending(lambda *_: flag.set(), signal.SIGINT):
        if min(cores, len(shards)) == 1:
            left = (shard for shard in shards if not stopped())
            done = [train_shard(config, shard, device, listener, stopped, watchers) for shard in left]
        else:
            done = _train_in_processes((config, shards, device, watchers), cores, listener, stopped)
    if len(done) < len(shards) or not all(done):
        raise KeyboardInterrupt(f"{directory.dir} stopped at a checkpoint; run it again to go on")


def _train_in_processes(
    work: tuple[Config, list[Shard], str, Watchers], cores: int, listener: Listener, stopped: Callable[[], bool]
) -> list[bool]:
    """Each process takes shards until none is left; reports and results come back through one queue."""
    context = multiprocessing.get_context("spawn")  # a fork would inherit torch's locks
    halt, todo, back = context.Event(), context.Queue(), context.Queue()
    shards = work[1]
    for index in range(len(shards)):
        todo.put(index)
    with one_thread():
        workers = [context.Process(target=_work, args=(*work, todo, back, halt), daemon=True) for _ in range(cores)]
        for worker in workers:
            worker.start()
    done: list[bool] = []
    codes: list[int] = []  # of the processes that have ended
    try:
        while len(done) < len(shards) and not any(codes) and (len(codes) < len(workers) or not back.empty()):
            codes = [worker.exitcode for worker in workers if worker.exitcode is not None]
            if stopped():
                halt.set()
            with contextlib.suppress(Empty):
                _take(back.get(timeout=0.2), listener, done)
    finally:
        halt.set()
        for worker in workers:
            worker.join(timeout=30)
            worker.kill()
    if len(done) < len(shards) and not stopped():
        raise RuntimeError(_why_it_died(min(codes)))
    return done


def _why_it_died(code: int) -> str:
    if code >= 0:
        return (
            "the training processes died; their errors are above. A script that trains on several cores must keep its "
            "work under `if __name__ == '__main__':`, since each process imports it; or choose cores=1"
        )
    reason = ", as the system does when memory runs out" if code == -signal.SIGKILL else ""
    return (
        f"a training process was killed by {signal.Signals(-code).name}{reason}; run it again to go on from the last "
        "checkpoint"
    )


def _take(message: Any, listener: Listener, done: list[bool]) -> None:
    if isinstance(message, BaseException):
        raise message
    if isinstance(message, bool):
        done.append(message)
    else:
        listener(message)


def _work(
    config: Config, shards: list[Shard], device: str, watchers: Watchers, todo: Any, back: Any, halt: Event
) -> None:
    """A training process: signals, which reach the whole group, are the parent's business; without a parent it ends."""
    for each in [signal.SIGINT, *ending_signals()]:
        signal.signal(each, signal.SIG_IGN)
    parent = multiprocessing.parent_process()  # not os.getppid(): it may have died while this process was starting

    def stopped() -> bool:
        return halt.is_set() or parent is None or not parent.is_alive()

    try:
        while not stopped():
            back.put(train_shard(config, shards[todo.get(timeout=1.0)], device, back.put, stopped, watchers))
    except Empty:
        pass
    except Exception as error:
        back.put(error)


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Processes started here get one thread each, and keep their memory: their libraries read it when first loaded."""
    before = {name: os.environ.get(name) for name in PROCESS}
    os.environ.update(PROCESS)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.update({name: value})


def _bar(directory: Run, progress: bool) -> tqdm:
    total, done = directory.config.env_steps, directory.reports_done * directory.config.steps_per_report
    return tqdm(
        total=total,
        initial=done,
        desc=directory.id,
        unit="step",
        unit_scale=True,
        mininterval=0.5,
        disable=not progress,
    )


def _listener(directory: Run, bar: tqdm, on_report: Listener | None) -> Listener:
    recent: list[float] = []

    def listen(report: Report) -> None:
        name = "return" if "return" in report else "reward"
        recent.append(float(report[name].mean()))
        known = [each for each in recent[-100:] if np.isfinite(each)]  # there may be no whole episode yet
        bar.set_postfix({name: f"{np.mean(known):.1f}"} if known else {}, refresh=False)
        bar.update(len(report["seed"]) * directory.config.steps_per_report)
        if on_report:
            on_report(report)

    return listen
