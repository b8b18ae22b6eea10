"""Real trainings and publications, killed by SIGKILL at random moments: nothing is lost, nothing left, no bit changes.

Five kills; with LNLAB_LONG_TESTS=1 in the environment seventy, over more kinds of runs.
"""

import multiprocessing
import os
import shutil
import time
from multiprocessing.synchronize import Event
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnlab import files, inside, runs
from lnlab.columns import COLUMNS
from lnlab.config import parse
from lnlab.runs import Run, load, publish
from lnlab.trainers import driver

LONG = bool(os.environ.get("LNLAB_LONG_TESTS"))
SMALL: dict[str, Any] = {"hidden": 8, "device": "cpu", "eval_episodes": 1}
A3C = SMALL | {"core": "ff", "seeds": 2, "episodes": 20, "workers": 2, "cores": 1}
TD3 = SMALL | {"algorithm": "td3", "norm": "none", "env": "Pendulum-v1", "seeds": 2, "steps": 1500, "cores": 1}
TD3 |= {"learning_starts": 100, "batch_size": 4, "eval_every": 500, "tensorboard": False}
KINDS = {"a3c": A3C, "a3c in two processes": A3C | {"cores": 2}, "td3": TD3}
PROCESSES = multiprocessing.get_context("forkserver")  # imports are done once
PROCESSES.set_forkserver_preload(["torch", "pyarrow.parquet", "lnlab.inside.actor_critic"])


def train(results: Path, settings: dict[str, Any], begun: Event | None = None) -> None:
    runs.RESULTS = results
    driver.CHECKPOINT_SECONDS = 0.05
    config = parse(settings | {"profile": "killed"})
    if begun:
        begun.set()
    inside.run(config, progress=False)


def publish_runs(source: Path, target: Path, begun: Event) -> None:
    begun.set()
    publish(source, target, allow_dirty=True)


def kill(target: Any, *arguments: Any, within: float) -> None:
    """Start a process and kill it at a random moment, at most `within` seconds after it has begun its work."""
    begun = PROCESSES.Event()
    process = PROCESSES.Process(target=target, args=(*arguments, begun))
    process.start()
    assert begun.wait(60)
    time.sleep(random.uniform(0, within))
    process.kill()
    process.join()


random = np.random.default_rng()  # other moments each time


def wait_for_orphans(results: Path) -> None:
    """Training processes that have lost their parent end after their episode."""
    deadline = time.monotonic() + 60
    while any(files.locked(lock.parent) for lock in results.rglob(".lock")):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def leftovers(run: Run) -> set[str]:
    """Files of the shards that no manifest names."""
    found = set()
    for shard in run.shards:
        named = {*shard.manifest["files"], *shard.manifest["kept"], "manifest.json", ".lock"}
        found |= {path.name for path in shard.dir.iterdir()} - named
    return found | {path.name for path in run.dir.rglob("*.tmp")}


@pytest.mark.parametrize(("kind", "kills"), [(kind, 6) for kind in KINDS for _ in range(3)] if LONG else [("a3c", 3)])
def test_a_training_that_is_killed_ends_with_the_same_bits(kind: str, kills: int, tmp_path: Path) -> None:
    settings = KINDS[kind]
    begin = time.monotonic()
    train(tmp_path / "straight", settings)
    seconds = time.monotonic() - begin
    done = [0]
    for _ in range(kills):
        kill(train, tmp_path / "killed", settings, within=1.5 * seconds / kills)
        wait_for_orphans(tmp_path / "killed")
        for run in (Run(path) for path in runs.run_folders(tmp_path / "killed" / "killed")):
            assert not [line for shard in run.shards for line in shard.damage()]
            done.append(run.reports_done)
    assert done == sorted(done)
    train(tmp_path / "killed", settings)
    (straight,), (killed,) = (load(tmp_path / name / "killed").runs for name in ("straight", "killed"))
    assert killed.complete
    assert not killed.damage()
    assert {name for name in COLUMNS if killed.has(name)} == {name for name in COLUMNS if straight.has(name)}
    for name in COLUMNS:
        if straight.has(name):
            assert straight.table(name).equals(killed.table(name)), name
    assert leftovers(killed) == set()


def test_a_publication_that_is_killed_leaves_the_old_run_or_the_new_one(tmp_path: Path) -> None:
    train(tmp_path / "results", A3C | {"episodes": 2})
    source, target = tmp_path / "results" / "killed", tmp_path / "book" / "data" / "killed"
    publish(source, target, allow_dirty=True)
    (run,) = load(source).runs
    for version in range(16 if LONG else 2):
        shutil.rmtree(tmp_path / "whole", ignore_errors=True)
        before = (target / run.id / "provenance.json").read_bytes()
        run.record(version=version)
        begin = time.monotonic()
        publish(source, tmp_path / "whole", allow_dirty=True)
        kill(publish_runs, source, target, within=2 * (time.monotonic() - begin))
        (published,) = load(target).runs
        assert not published.damage()
        assert len(published.provenance["files"]) >= 5
        after = (tmp_path / "whole" / run.id / "provenance.json").read_bytes()
        assert (published.dir / "provenance.json").read_bytes() in (before, after)
        publish(source, target, allow_dirty=True)
        assert (published.dir / "provenance.json").read_bytes() == after
        assert [path.name for path in target.iterdir()] == [run.id]
