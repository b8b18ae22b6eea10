"""Real engines: a Ray cluster of two nodes of which one dies, submitit with pre-emption, and kills of any process on
each engine. Nothing is lost, no bit changes, nothing is left running.
"""

import os
import random
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import psutil
import pytest

from lnlab import inside, locks, runs, study
from lnlab.jobs import prepared
from lnlab.paths import BOOK, PACKAGE
from lnlab.runs import Run
from tests.fakes import LONG, only_long, wait_until
from tests.test_executors import spread_study

pytestmark = pytest.mark.slow
EPISODES = 80  # of one arm in two shards: seconds of training, so that there is something to kill
NODE: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 100 * 2**20, "include_dashboard": False}
KILLS = {"": 14 if LONG else 1, "--shard": 1, "--on slurm": 1, "--on ray": 2}  # on each engine; "" is this machine


def fill(root: Path) -> Path:
    spread_study(root, episodes=EPISODES, arms=["ln"])
    return root / "study.toml"


@pytest.fixture
def root(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    fill(results.parent)
    for name, value in {
        "PYTHONPATH": str(PACKAGE.parent),
        "LNLAB_ROOT": str(results.parent),
        "LNLAB_CHECKPOINT_SECONDS": "0.2",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    }.items():
        monkeypatch.setenv(name, value)
    return results.parent


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> dict[str, pd.DataFrame]:
    """The tables of a run that one process trained without a break."""
    folder = tmp_path_factory.mktemp("straight")
    (config,) = study.expand("spread", fill(folder))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runs, "RESULTS", folder)
        prepared(config, folder)
        run = inside.run(config.model_copy(update={"cores": 1}), progress=False)
    return {name: run.table(name.removesuffix(".parquet")) for name in run.provenance["files"]}


@pytest.fixture
def cluster(root: Path) -> Iterator[Any]:
    """A head and a second node, each with one core."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args=NODE)
    made.add_node(**NODE)
    yield made
    made.shutdown()


def the_run(root: Path) -> Run:
    (config,) = study.expand("spread", root / "study.toml")
    return Run.at(config)


def assert_whole(root: Path, straight: dict[str, pd.DataFrame]) -> None:
    """The run is complete, every table is that of `straight` bit for bit, and no process is left."""
    run = the_run(root)
    assert run.whole
    assert run.provenance["files"].keys() == straight.keys()
    for name, table in straight.items():
        assert run.table(name.removesuffix(".parquet")).equals(table), name
    wait_until(lambda: not processes(root))


def at_work(root: Path) -> dict[Path, int]:
    """Shards with a checkpoint that are being trained, and the process of each."""
    if not the_run(root).begun:
        return {}
    found = {shard.dir: locks.holder(shard.dir) for shard in the_run(root).shards if shard.episode}
    return {folder: who.pid for folder, who in found.items() if who}


def processes(root: Path) -> list[psutil.Process]:
    """All processes at work in `root`, without those of Ray itself."""
    found = []
    for each in psutil.process_iter():
        try:
            here = each.environ().get("LNLAB_ROOT") == str(root) and each.pid != os.getpid()
            if here and {"lnlab", "lnlab.executors.task", "lnlab.papermill_job"} & {*each.cmdline()}:
                found.append(each)
        except psutil.Error:  # of somebody else, or ended meanwhile
            continue
    return found


def begin(*words: str) -> "subprocess.Popen[str]":
    return subprocess.Popen([sys.executable, "-m", "lnlab", *words], stderr=subprocess.PIPE, text=True)


def ended(process: "subprocess.Popen[str]") -> str:
    said = process.communicate(timeout=500)[1]
    assert process.returncode == 0, said
    return said


@only_long
def test_a_ray_cluster_that_loses_a_node_gives_the_bits_of_a_local_run(root, cluster, straight):
    process = begin("study", "spread", "--on", "ray", "--address", cluster.address)
    second = next(node for node in cluster.list_all_nodes() if not node.head)
    raylet = psutil.Process(second.all_processes["raylet"][0].process.pid)

    def on_second() -> set[int]:
        return {*at_work(root).values()} & {each.pid for each in raylet.children(recursive=True)}

    wait_until(lambda: on_second() or process.poll() is not None)
    (lost,) = on_second()
    cluster.remove_node(second, allow_graceful=False)
    cluster.add_node(**NODE)
    assert "FAILED" not in ended(process)
    assert not psutil.pid_exists(lost)
    assert_whole(root, straight)


def test_a_job_that_slurm_preempts_writes_a_checkpoint_and_is_queued_again(root, straight):
    pytest.importorskip("submitit")
    process = begin("study", "spread", "--on", "slurm", "--cluster", "local", "--time", "30m")
    wait_until(lambda: at_work(root) or process.poll() is not None)
    ((folder, pid), *_) = at_work(root).items()
    psutil.Process(pid).parent().send_signal(signal.SIGUSR2)
    ended(process)
    logs = [path.read_text() for path in (root / "results" / "spread" / ".engine").glob("*.err")]
    assert ["preempted" in log for log in logs].count(True) == 1
    assert len(logs) == 2  # it was queued again by itself, not submitted again
    assert (folder / "log.txt").read_text().count(f"seeds {folder.name}") == 2  # two beginnings
    assert_whole(root, straight)


GUIDE = (BOOK / "cluster.md").read_text(encoding="utf-8")


def command(engine: str) -> list[str]:
    """What book/cluster.md tells to type: to begin on an engine, or to go on after a kill."""
    (line,) = re.findall(rf"^(?:exec )?lnlab (study quick .*{engine}.*)$", GUIDE, re.MULTILINE)
    words = line.replace("quick", "spread").replace("$SLURM_ARRAY_TASK_ID/4", "1/1").split()
    return words + ["--cluster", "local"] * (engine == "--on slurm")


@pytest.mark.parametrize(
    "engine",
    [pytest.param(each, marks=[only_long] * (each in ("--shard", "--on slurm", "--on ray"))) for each in KILLS],
)
def test_whatever_process_is_killed_the_bits_are_the_same_and_none_is_left(root, engine, straight, request):
    """The command, a process that trains, one between them, a notebook, or a node; then the command again."""
    chance = random.Random(f"{engine} 17")
    words = command(engine) if engine else ["study", "spread"]
    nodes = request.getfixturevalue("cluster") if engine == "--on ray" else None
    if nodes:
        words[-1] = nodes.address
    for number in range(KILLS[engine]):
        process, wanted = begin(*words), chance.randrange(EPISODES)
        wait_until(lambda: process.poll() is not None or sum(_episodes(root)) >= wanted)  # noqa: B023
        if nodes and number == 0:
            nodes.remove_node(nodes.list_all_nodes()[-1], allow_graceful=False)
            nodes.add_node(**NODE)
        elif there := processes(root):
            chance.choice(sorted(there, key=lambda each: each.pid)).kill()
        process.communicate(timeout=300)
    ended(begin(*words))
    if engine == "--shard":
        ended(begin("gather", "spread"))
    watch = [sys.executable, "-m", "lnlab", "study", "spread", "--watch"]
    assert "complete" in subprocess.check_output(watch, text=True)
    assert_whole(root, straight)


def _episodes(root: Path) -> list[int]:
    return [shard.episode for shard in the_run(root).shards] if the_run(root).begun else [0]
