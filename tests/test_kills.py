"""Real trainings and reports, killed at random moments: nothing is lost, no bit changes, no process and no
file is left. For publications see tests/test_publishing.py, for studies tests/test_cluster.py.

Four kills; with LNLAB_LONG_TESTS=1 in the environment over eighty, of more kinds of runs.
"""

import multiprocessing
import os
import random
import signal
import subprocess
import sys
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import psutil
import pytest

from lnlab import inside, locks, runs
from lnlab.columns import COLUMNS
from lnlab.config import parse
from lnlab.paths import PACKAGE, ROOT
from lnlab.runs import Run
from lnlab.trainers import driver
from tests.fakes import LONG, wait_until

SMALL: dict[str, Any] = {"hidden": 8, "device": "cpu", "seeds": 2, "cores": 1, "profile": "killed"}
A3C = SMALL | {"algorithm": "a3c", "eval_episodes": 1, "core": "ff", "norm": "ln", "episodes": 20, "workers": 2}
TD3 = SMALL | {"algorithm": "td3", "norm": "none", "env": "Pendulum-v1", "steps": 1500, "learning_starts": 100}
TD3 |= {"batch_size": 4, "eval_every": 500, "eval_episodes": 1, "tensorboard": False}
CARTPOLE = SMALL | {
    "core": "ff",
    "norm": "batch",
    "env": "CartPole-v1",
    "steps": 20_000,
    "workers": 2,
    "obs_norm": True,
}
KINDS = {"a3c": A3C, "a3c in two processes": A3C | {"cores": 2}, "td3": TD3, "cartpole": CARTPOLE}
PROCESSES = multiprocessing.get_context("forkserver")  # imports are done once
PROCESSES.set_forkserver_preload(["torch", "pyarrow.parquet", "lnlab.inside.actor_critic"])


def train(results: Path, settings: dict[str, Any], begun: Event | None = None) -> Run:
    runs.RESULTS = results
    if begun:  # in a process of its own
        driver.CHECKPOINT_SECONDS = 0.05
        begun.set()
    return inside.run(parse(settings), progress=False)


def kill(target: Any, *arguments: Any, within: float) -> None:
    """Start a process and kill it at a random moment, at most `within` seconds after it has begun its work."""
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=target, args=(*arguments, begun))
    process.start()
    assert begun.wait(180)  # seconds; machines are shared
    time.sleep(random.uniform(0, within))
    process.kill()
    process.join()


def wait_for_orphans(results: Path) -> None:
    """Training processes that have lost their parent end after their episode."""
    wait_until(lambda: not any(locks.locked(lock.parent) for lock in results.rglob(".lock")))


@pytest.mark.parametrize(
    ("kind", "kills"), [(kind, 6) for kind in KINDS for _ in range(3)] if LONG else [("a3c", 2), ("cartpole", 2)]
)
def test_a_training_that_is_killed_ends_with_the_same_bits(kind, kills, results):
    begin = time.monotonic()
    straight = train(results / "straight", KINDS[kind])
    seconds = time.monotonic() - begin
    done = [0]
    for _ in range(kills):
        kill(train, results, KINDS[kind], within=1.5 * seconds / kills)
        wait_for_orphans(results)
        for run in (Run(path) for path in runs.run_folders(results / "killed")):
            assert not [line for shard in run.shards for line in shard.damage()]
            done.append(run.reports_done)
    assert done == sorted(done)
    killed = train(results, KINDS[kind])
    assert killed.whole
    assert {name for name in COLUMNS if killed.has(name)} == {name for name in COLUMNS if straight.has(name)}
    for name in COLUMNS:
        if straight.has(name):
            assert straight.table(name).equals(killed.table(name)), name
    for shard in killed.shards:
        named = {*shard.manifest["files"], *shard.manifest["kept"], "manifest.json", ".lock"}
        assert {path.name for path in shard.dir.iterdir()} <= named
    assert not list(killed.dir.rglob("*.tmp"))


# Reports: what is killed is the command, or one of its processes.
SECONDS = 20.0  # within which kills fall; after the end there is nothing to kill


@pytest.fixture
def root(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the commands of a test find their study, notebooks and book, and leave their runs."""
    monkeypatch.setenv("LNLAB_ROOT", str(results.parent))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    return results.parent


def lnlab(*words: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "lnlab", *words]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def processes(root: Path) -> list[psutil.Process]:
    """All processes at work in `root`: their environment says so."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("LNLAB_ROOT") == str(root) and each.pid != os.getpid():
                found.append(each)
        except psutil.Error:  # of somebody else, or ended meanwhile
            continue
    return found


def wait_until_none_is_left(root: Path) -> None:
    wait_until(lambda: not processes(root))


def wound(process: "subprocess.Popen[str]", root: Path, number: int) -> None:
    """At a random moment kill a command or one of its processes, or close its terminal; then all end by themselves."""
    try:
        process.wait(random.uniform(0.05, 1) * SECONDS)
    except subprocess.TimeoutExpired:
        below = psutil.Process(process.pid).children(recursive=True)
        victim = random.choice([process, process, *below])  # the command more often
        ending = signal.SIGHUP if number % 5 == 4 and victim is process else signal.SIGKILL
        print(f"{ending.name} to {process.args if victim is process else victim.cmdline()}")
        victim.send_signal(ending)
        if victim is process and ending == signal.SIGKILL and number % 2:
            return  # the next one starts while orphans are still at work
    process.communicate(timeout=300)
    assert process.returncode in (0, 1, 130, -signal.SIGHUP, -signal.SIGKILL)
    wait_until_none_is_left(root)


@pytest.mark.slow
def test_a_report_that_is_killed_changes_nothing_and_leaves_no_process(root):
    for name in ("book", "notebooks", "benchmarks", "_config.yml", "CHANGELOG.md", "study.toml"):
        (root / name).symlink_to(ROOT / name)
    run = inside.run(parse(A3C | {"episodes": 4}), progress=False)
    there = {path: path.read_bytes() for path in run.dir.iterdir() if path.suffix in (".parquet", ".json")}
    for number in range(10 if LONG else 1):
        wound(lnlab("report", "killed"), root, number)
        wait_until_none_is_left(root)
        assert run.whole
        assert {path: path.read_bytes() for path in there} == there
    if LONG:
        assert lnlab("report", "killed").wait(600) == 0
        assert (root / "_build" / "report-killed" / "_build" / "html" / "summary.html").exists()
