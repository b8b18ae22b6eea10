"""A block of seeds to train, as any machine that sees the run's folder can: `python -m lnlab.executors.task FOLDER …`.

Before work starts the machine must show that it sees the same folder, and has the same code and versions: else the bits
would differ. The process goes on from the last checkpoint, and stops at one when it is told to, or when the process
that started it is gone.
"""

import argparse
import contextlib
import os
import secrets
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from lnlab import locks, provenance
from lnlab.runs import Run
from lnlab.shards import Shard
from lnlab.signals import STOP_SECONDS, end_with_input, ending_signals, on_ending, preemption_signals

TRAINED, FAILED, REFUSED, HELD, STOPPED = 0, 1, 2, 75, 130  # how the process ends
LATENCY = 30.0  # seconds in which a network disk must show a new file
TOKEN = ".token"  # in the folder of a profile


class Outcome(NamedTuple):
    """How a task ended, and the last words of one that failed."""

    code: int
    said: str


class Task(NamedTuple):
    """Seeds `first` … `last` of the run in `folder`, which must lie beside a file with `token`."""

    folder: Path
    first: int
    last: int
    token: str
    mixed: bool = False  # also with other code or versions than the study's

    @classmethod
    def of(cls, run: Run, shard: Shard, *, mixed: bool = False) -> "Task":
        path = run.dir.parent / TOKEN
        if not path.exists():
            own = path.with_name(f"{TOKEN}.{secrets.token_hex(8)}.tmp")
            own.write_text(secrets.token_hex(8))
            with contextlib.suppress(FileExistsError):  # of the jobs of an array one is first, and its token is whole
                os.link(own, path)
            own.unlink()
        return cls(run.dir, shard.seeds[0], shard.seeds[-1], path.read_text(), mixed)

    def __str__(self) -> str:
        return f"{self.folder.name} seeds {self.first}-{self.last}"

    @property
    def log(self) -> Path:
        return self.folder / "shards" / f"{self.first}-{self.last}" / "log.txt"


class Child:
    """The process that trains a task's seeds."""

    def __init__(self, task: Task) -> None:
        from lnlab.trainers.driver import PROCESS

        command = [sys.executable, "-m", "lnlab.executors.task", *map(str, task[:4]), *["--allow-mixed"][: task.mixed]]
        out = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        self._process = subprocess.Popen(command, env=os.environ | PROCESS, text=True, **out)  # type: ignore[call-overload]
        self._stopping = 0.0

    def outcome(self) -> Outcome | None:
        """None while it is at work."""
        if self._stopping and time.monotonic() - self._stopping > STOP_SECONDS:
            self._process.kill()
        if (code := self._process.poll()) is None:
            return None
        said = self._process.stderr.read() if self._process.stderr and not self._process.stderr.closed else ""
        asked = self._stopping or -code in ending_signals() + preemption_signals()  # before it could listen
        return Outcome(code if code >= 0 else STOPPED if asked else FAILED, said.strip() or f"ended with status {code}")

    def wait(self) -> Outcome:
        """Its outcome; interrupted, it is stopped at a checkpoint."""
        try:
            while (found := self.outcome()) is None:
                time.sleep(0.2)
        except KeyboardInterrupt:
            self.stop()
            return self.wait()
        return found

    def stop(self) -> None:
        self._stopping = self._stopping or time.monotonic()
        self._process.terminate()


def unlike(run: Run) -> dict[str, Any]:
    """What of this machine's code and versions is not what the study was begun with."""
    told: Mapping[str, Any] = run.provenance.get("fingerprint", {})
    return {name: value for name, value in provenance.fingerprint().items() if told.get(name, value) != value}


def _refusal(task: Task) -> str | None:
    folder, host, until = task.folder, socket.gethostname(), time.monotonic() + LATENCY
    token = folder.parent / TOKEN
    while not ((folder / "config.json").exists() and token.exists() and token.read_text() == task.token):
        if time.monotonic() > until:
            return f"{host} does not see {folder.parent} as the study does: results must lie on a disk that all share"
        time.sleep(0.2)
    if (other := unlike(run := Run(folder))) and not task.mixed:
        told = "; ".join(f"{name} {value}, not {run.provenance['fingerprint'][name]}" for name, value in other.items())
        return f"{host} has {told}: bits would differ; make them equal, or allow it with --allow-mixed"
    return None


def train(task: Task) -> int:
    """Train and test the task's seeds from their last checkpoint on; returns how it ended.

    Raises:
        ConfigError: this machine cannot carry the run.
    """
    from lnlab.inside import WATCHERS
    from lnlab.memory import refuse_too_large
    from lnlab.trainers.admission import refuse_impossible
    from lnlab.trainers.driver import resolve_device, train_shard

    run = Run(task.folder)
    shard = next(shard for shard in run.shards if shard.seeds[0] == task.first)
    stopped = threading.Event()
    end_with_input(stopped.set, FAILED)
    with on_ending(lambda *_: stopped.set(), *preemption_signals()):
        until = time.monotonic() + locks.STALE + 2 * locks.BEAT  # in which the lock of a dead machine becomes free
        while locks.locked(shard.dir) or locks.locked(run.dir):
            if stopped.wait(0.2) or time.monotonic() > until:
                return STOPPED if stopped.is_set() else HELD
        config, device = run.config.with_seeds(shard.seeds), resolve_device(run.config.device)
        refuse_impossible(config)
        refuse_too_large(config, 1, device)
        shard.opening = f"{shard.opening} {locks.machine()}"  # clocks of machines differ
        here = {"seeds": f"{task.first}-{task.last}", "host": socket.gethostname(), "cpu": provenance.cpu_model()}
        for name, fact in {"hosts": here, "mixed": here | unlike(run) if task.mixed and unlike(run) else None}.items():
            earlier = shard.manifest["facts"].get(name, [])
            if fact and fact not in earlier:
                shard.record(**{name: [*earlier, fact]})
        try:
            done = train_shard(run.config, shard, device, lambda _: None, stopped.is_set, WATCHERS)
        except locks.HeldError:
            return HELD
        finally:
            locks.unlock(shard.dir)
    return TRAINED if done else STOPPED


def main() -> int:
    """Train the task of the command line; its log goes beside its checkpoints, one line of an error to stderr."""
    parser = argparse.ArgumentParser("python -m lnlab.executors.task")
    for name, kind in (("folder", Path), ("first", int), ("last", int), ("token", str)):
        parser.add_argument(name, type=kind)
    parser.add_argument("--allow-mixed", action="store_true", dest="mixed")
    task = Task(**vars(parser.parse_args()))
    try:
        refusal = _refusal(task)
    except (OSError, ValueError) as error:
        refusal = f"{socket.gethostname()}: {error}"
    if refusal:
        print(refusal, file=sys.stderr)
        return REFUSED
    task.log.parent.mkdir(parents=True, exist_ok=True)
    said = os.dup(2)
    with task.log.open("a") as log:
        os.dup2(log.fileno(), 2)
    print(f"{provenance.now()} {task} on {socket.gethostname()}", file=sys.stderr)
    try:
        return train(task)
    except Exception as error:
        import traceback

        traceback.print_exc()
        os.write(said, f"{type(error).__name__}: {error}\n".encode())
        return FAILED


if __name__ == "__main__":
    sys.exit(main())
