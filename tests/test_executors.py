"""Shards of a study on an engine: shared out, tried again, refused where bits would differ, gathered to the same bits.

For Ray, submitit and kills see tests/test_cluster.py.
"""

import functools
import json
import os
import re
import signal
import subprocess
import sys
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from lnlab import cli, inside, locks, provenance, runs, study
from lnlab.compare.plan import Plan, trained
from lnlab.config import Config, ConfigError
from lnlab.executors import fleet
from lnlab.executors.fleet import Fleet
from lnlab.executors.local import Local
from lnlab.executors.ray import Ray
from lnlab.executors.slurm import Slurm
from lnlab.executors.task import FAILED, HELD, REFUSED, STOPPED, TOKEN, TRAINED, Child, Outcome, Task
from lnlab.jobs import prepared
from lnlab.paths import BOOK, PACKAGE
from lnlab.runs import Run
from lnlab.trainers import driver
from tests.fakes import only_long, refusal, small, wait_until, write_template

SEEDS = 7  # two shards
FIXED = {"core": "ff", "hidden": 8, "workers": 2, "device": "cpu"}
STUDY = f"""
profiles.spread = {{experiments = ["main"], seeds = {SEEDS}, episodes = 8, eval_episodes = 1}}
experiments.main.fixed = {{{", ".join(f"{name} = {json.dumps(value)}" for name, value in FIXED.items())}}}
experiments.main.arms = {{norm = ["none", "ln"]}}
"""
PARAMETERS = f"""
algorithm, norm, profile, seeds, episodes, eval_episodes, cores = "a3c", "ln", "x", 1, 1, 20, 0
core, hidden, workers, device = {tuple(FIXED.values())}
"""
TRAIN = """
from lnlab import inside
from lnlab.config import parse
names = ["algorithm", "norm", "profile", "seeds", "episodes", "eval_episodes", "cores", "core", "hidden", "workers"]
inside.run(parse({name: globals()[name] for name in [*names, "device"]}), progress=False)
"""


def spread_study(root: Path, *, episodes: int = 8, arms: Sequence[str] = ("none", "ln")) -> None:
    """A repository with a study of two shards an arm, and its notebook."""
    write_template(root, PARAMETERS, TRAIN)
    text = STUDY.replace("episodes = 8", f"episodes = {episodes}").replace('["none", "ln"]', json.dumps([*arms]))
    (root / "study.toml").write_text(text)


@pytest.fixture
def root(results: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    spread_study(results.parent)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    monkeypatch.setattr(study, "STUDY", results.parent / "study.toml")
    return results.parent


def configs(root: Path) -> list[Config]:
    return study.expand("spread", root / "study.toml")


def in_root(root: Path) -> dict[str, Any]:
    return {"study": root / "study.toml", "template": root / "notebooks" / "train.ipynb"}


def assert_same_as_local(run: Run, results: Path) -> None:
    """Bit for bit the tables of a run that one process trained."""
    config = run.config.model_copy(update={"profile": "straight", "cores": 1})
    prepared(config, results)
    straight = inside.run(config, progress=False)
    assert run.whole
    assert run.provenance["files"].keys() == straight.provenance["files"].keys()
    for name in run.provenance["files"]:
        table = name.removesuffix(".parquet")
        assert straight.table(table).equals(run.table(table)), name


@pytest.mark.slow
def test_shares_of_a_study_make_up_the_whole_and_are_gathered_to_the_bits_of_a_local_run(root, results, capsys):
    file = root / "study.toml"
    assert study.train_share("spread", (1, 2), study=file) == []
    assert [shard.episode for run in map(Run.at, configs(root)) for shard in run.shards] == [8, 0, 8, 0]
    assert sorted(study.execute("spread", gather=True, **in_root(root))) == ["a3c-ff-ln-w2-h8", "a3c-ff-none-w2-h8"]
    assert study.train_share("spread", (2, 2), study=file) == []
    assert not any(run.complete for run in map(Run.at, configs(root)))
    assert study.execute("spread", gather=True, **in_root(root)) == []
    for run in map(Run.at, configs(root)):
        assert_same_as_local(run, results)
        assert [each["seeds"] for each in run.provenance["hosts"]] == ["0-4", "5-6"]
        assert "mixed" not in run.provenance


@only_long
@pytest.mark.slow
def test_a_comparison_whose_runs_are_trained_elsewhere_has_the_scores_of_one_here(results, monkeypatch, capsys):
    """Two at a time, in processes of their own, as an engine does it; here only what they left is gathered."""
    question = {"norm": "none,ln", "seeds": "3", "episodes": "3", "eval_episodes": "0"}
    plan = Plan.of(question | {name: str(value) for name, value in FIXED.items()})
    away = functools.partial(study.train_on, Local(2))
    monkeypatch.setattr(study, "RESULTS", results)
    there = trained(plan, away=away)
    (run, _) = (Run.at(config) for _, config in plan.runs(0, 3))
    assert [each["seeds"] for each in run.provenance["hosts"]] == ["0-2"]
    monkeypatch.setattr(runs, "RESULTS", results.parent / "here")
    monkeypatch.setenv("LNLAB_RESULTS", str(results.parent / "here"))  # of its processes
    here = trained(plan)
    pd.testing.assert_frame_equal(there[["arm", "seed", "score"]], here[["arm", "seed", "score"]], check_exact=True)


def test_blocks_of_seeds_do_not_depend_on_the_machine(root, results, monkeypatch):
    for cores in (1, 2, 64):
        monkeypatch.setattr(provenance, "usable_cores", lambda cores=cores: cores)
        config = configs(root)[0].model_copy(update={"profile": f"on{cores}"})
        assert [shard.dir.name for shard in prepared(config, results).shards] == ["0-4", "5-6"]


class Fake:
    """An engine on which tasks end as they are told to."""

    def __init__(self, ends: dict[Task, list[int]]) -> None:
        self.ends, self.submitted = ends, defaultdict[Task, int](int)

    def submit(self, tasks: Sequence[Task]) -> list[Task]:
        for task in tasks:
            self.submitted[task] += 1
        return list(tasks)

    def poll(self, handle: Task) -> Outcome:
        return Outcome(self.ends[handle].pop(0), "its reason")

    def cancel(self, handle: Task) -> None:
        self.ends[handle] = [STOPPED]


def test_a_shard_that_fails_three_times_is_given_up_and_the_others_go_on(results, monkeypatch):
    monkeypatch.setattr(fleet, "PAUSE", 0.0)
    run = Run.open(small(seeds=4), block=1)
    run.release()
    bad, held, stopped, twice = (Task.of(run, shard) for shard in run.shards)
    ends = {bad: [FAILED] * 9, held: [HELD] * 5 + [TRAINED], stopped: [STOPPED] * 5 + [TRAINED]}
    said: list[str] = []
    engine = Fake(ends | {twice: [FAILED, REFUSED, TRAINED]})
    here = Fleet(engine, [bad, held, stopped, twice], said.append)
    while here.busy:
        here.advance()
    assert here.failed == {bad: "its reason"}
    assert engine.submitted == {bad: 3, held: 6, stopped: 6, twice: 3}
    assert len(said) == 5
    assert all("its reason" in line for line in said)
    assert (run.status, run.provenance["error"]) == ("failed", f"{run.id} seeds 0-0: its reason")


@pytest.mark.slow
def test_a_study_ends_with_the_names_of_the_runs_that_an_engine_could_not_train(root, results):
    class Broken(Fake):
        def poll(self, handle: Task) -> Outcome:
            return Outcome(FAILED if "none" in handle.folder.name else TRAINED, "no luck")

    failed = study.execute("spread", engine=lambda _: Broken({}), **in_root(root))
    assert failed == ["a3c-ff-none-w2-h8"]
    assert Run.at(configs(root)[1]).complete  # gathering trains what an engine says it has, and has not


def carried_out(task: Task) -> tuple[int, str]:
    command = [sys.executable, "-m", "lnlab.executors.task", *map(str, task[:4])]
    done = subprocess.run(command, stderr=subprocess.PIPE, stdin=subprocess.PIPE, text=True)
    return done.returncode, done.stderr


def test_a_machine_with_another_folder_or_other_code_is_refused_before_it_trains(root, results, monkeypatch):
    run = prepared(configs(root)[0], results)
    task = Task.of(run, run.shards[1])
    run.record(fingerprint=provenance.fingerprint() | {"torch": "1.0", "code": "abc"})
    code, said = carried_out(task)
    assert code == REFUSED
    assert "torch 2" in said
    assert "not 1.0; " in said or "not abc; " in said
    assert "--allow-mixed" in said
    assert len(said.splitlines()) == 1
    assert not task.log.exists()
    assert Child(task._replace(mixed=True)).wait().code == TRAINED
    (mixed,) = run.shards[1].manifest["facts"]["mixed"]
    assert (mixed["seeds"], "torch" in mixed, "numpy" in mixed) == ("5-6", True, False)

    monkeypatch.setattr("lnlab.executors.task.LATENCY", 0.0)
    from lnlab.executors.task import _refusal

    (run.dir.parent / TOKEN).unlink()
    assert "results must lie on a disk that all share" in str(_refusal(task))
    (run.dir.parent / TOKEN).write_text("of another disk")
    assert "results must lie on a disk that all share" in str(_refusal(task))
    assert "results must lie on a disk that all share" in str(_refusal(task._replace(folder=root / "elsewhere" / "x")))


def test_a_task_waits_for_its_seeds_and_stops_at_a_checkpoint(root, results):
    config = configs(root)[0].model_copy(update={"episodes": 100_000})
    run = prepared(config, results)
    task = Task.of(run, run.shards[1])
    command = [sys.executable, "-m", "lnlab.executors.task", *map(str, task[:4])]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        wait_until(lambda: task.log.exists() and run.status == "running")
        process.terminate()
        assert process.wait(60) == STOPPED
    assert run.status == "stopped"
    assert 0 < run.shards[1].episode < 100_000


def test_progress_of_shards_is_seen_from_the_folder_alone(root, results, capsys):
    file = str(root / "study.toml")
    for config in configs(root):
        prepared(config, results)
    run = Run.at(configs(root)[1])
    shard = run.shards[0]
    place = shard.dir / ".lock"
    place.mkdir(parents=True)
    (place / "4").write_text(json.dumps({"host": "node9", "machine": "other", "pid": 77, "born": "1"}))
    from lnlab.executors import watch

    lines = [line.split() for line in watch.table([*map(Run.at, configs(root)), Run(results / "spread" / "later")])]
    assert lines[1][:4] == ["a3c-ff-none-w2-h8", "0-4", "waits", "0%"]
    assert lines[3][:4] == ["a3c-ff-ln-w2-h8", "0-4", "node9:77", "0%"]
    assert lines[-1] == ["later", "new"]
    run.fail("seeds 0-4: out of luck")
    shard.dir.joinpath("log.txt").write_text("\n".join(f"line {i}" for i in range(40)))
    assert cli.main(["runs", "spread", "--failed"]) == 0
    said = capsys.readouterr().out
    assert "seeds 0-4: out of luck" in said
    assert "line 39" in said
    assert "line 20" not in said
    assert "a3c-ff-none" not in said
    assert file


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard", "0/3"], "I/N with I from 1 to N"),
        (["--shard", "4/3"], "I/N with I from 1 to N"),
        (["--address", "head:6379"], "--address belongs to --on ray"),
        (["--on", "ray", "--time", "1h"], "--time belongs to --on slurm"),
        (["--on", "slurm", "--shard", "1/2"], "--shard belongs to --on local"),
        (["--on", "ray", "--address", "127.0.0.1:1"], "no Ray cluster answers at --address 127.0.0.1:1"),
        (["--on", "ray", "--address", "nonsense"], "no Ray cluster answers at --address nonsense"),
    ],
)
def test_bad_input_is_answered_in_one_line_and_leaves_nothing(words, said, results, capsys):
    assert said in refusal(capsys, "study", "smoke", *words)
    assert not results.exists()


def test_an_engine_that_is_not_installed_or_not_there_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigError, match="no sbatch"):
        Slurm(tmp_path / "jobs")
    for name, engine in (("submitit", lambda: Slurm(tmp_path)), ("ray", Ray)):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=r"pip install 'lnlab\[cluster\]'"):
            engine()
    assert not (tmp_path / "jobs").exists()


def test_the_guide_says_what_the_code_does_and_its_job_array_covers_the_study(root, results, monkeypatch):
    guide = (BOOK / "cluster.md").read_text(encoding="utf-8")
    for said in (f"every {driver.CHECKPOINT_SECONDS:.0f} seconds", "touched every five seconds", "a minute of silence"):
        assert said in guide
    assert (locks.BEAT, locks.STALE, fleet.TRIES) == (5.0, 60.0, 3)
    lines = [line.split() for line in re.findall(r"^(?:exec )?lnlab (.+)$", guide, re.MULTILINE)]
    assert len(lines) == 6
    for words in lines:
        cli._parser().parse_args([word.replace("$SLURM_ARRAY_TASK_ID", "1") for word in words])
    (script,) = re.findall(r"^(#!/bin/bash\n.*?)^```", guide, re.MULTILINE | re.DOTALL)
    (root / "array.sh").write_text(script.replace("exec lnlab study quick", "echo"))
    told = [
        subprocess.run(["bash", root / "array.sh"], env={"SLURM_ARRAY_TASK_ID": str(number)}, stdout=subprocess.PIPE)
        for number in range(1, 5)
    ]
    shares = [cli._share(each.stdout.decode().split()[1]) for each in told]
    made = [prepared(config, results) for config in configs(root)]
    every = study.tasks(made, mixed=False)
    assert sorted(task for share in shares for task in study.tasks(made, False, share)) == sorted(every)


@pytest.mark.parametrize("whole_group", [False, True], ids=["papermill", "group"])
def test_sigterm_of_a_batch_system_reaches_the_kernel_which_writes_a_checkpoint(root, results, whole_group):
    """Slurm sends it to every process of a job; `timeout` to papermill alone."""
    from lnlab.jobs import Job

    job = Job(configs(root)[0].model_copy(update={"episodes": 100_000, "cores": 1}), in_root(root)["template"])
    assert job.start()
    assert job._process
    wait_until(lambda: [*job.run.dir.glob("shards/*/diagnostics*")])
    (os.killpg if whole_group else os.kill)(job._process.pid, signal.SIGTERM)
    wait_until(lambda: job.ended, 60)
    wait_until(lambda: not job.run.busy, 60)
    assert job.run.reports_done > 0
    assert job.settle() is not None
