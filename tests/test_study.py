"""study.toml to runs, and their execution by papermill: one that fails or is stopped leaves the others alone.

A small notebook with a fake trainer stands for notebooks/train.ipynb.
"""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest

from lnlab import jobs, runs
from lnlab.config import ConfigError, parse
from lnlab.jobs import Job
from lnlab.paths import PACKAGE
from lnlab.runs import Run, load
from lnlab.study import execute, expand, profiles, select, stop, terminate_like_ctrl_c
from tests.fakes import train

STUDY = """
[profiles.tiny]
experiments = ["main"]
seeds = 2
episodes = 6
eval_episodes = 0

[experiments.main]
fixed = {workers = 2}
arms = {norm = ["none", "ln"]}
"""
PARAMETERS = """
algorithm = "a3c"
core = "gru"
norm = "ln"
profile = "x"
seeds = 1
episodes = 1
workers = 5
eval_episodes = 20
cores = 0
"""
TRAIN = """
import os, time
from lnlab.config import parse
from lnlab.runs import Run
from tests.fakes import train
names = ["algorithm", "core", "norm", "profile", "seeds", "episodes", "workers", "eval_episodes", "cores"]
run = Run.open(parse({name: globals()[name] for name in names}))
if run.id == os.environ.get("FAKE_FAILURE"):
    raise ValueError("broken on purpose")
if os.environ.get("FAKE_SLOWNESS"):
    train(run, until=2)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        train(run, until=4)
        raise
if not run.complete:
    train(run)
    run.finish()
assert run.id != os.environ.get("FAKE_LATE_FAILURE")
"""
DEAF = "import signal, time; signal.signal(signal.SIGINT, signal.SIG_IGN); print('ready', flush=True); time.sleep(60)"


@pytest.fixture
def root(tmp_path, monkeypatch) -> Path:
    """A repository with the study above and its notebook."""
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": python})
    notebook.cells = [nbformat.v4.new_code_cell(PARAMETERS), nbformat.v4.new_code_cell(TRAIN)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "train.ipynb")
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("LNLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    return tmp_path


def run_tiny(root: Path) -> list[str]:
    return execute("tiny", study=root / "study.toml", template=root / "notebooks" / "train.ipynb")


def study_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


# -- expansion --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("profile", ["smoke", "quick", "paper"])
def test_every_profile_has_the_eight_arms(profile):
    configs = expand(profile)
    offloading = [c for c in configs if c.algorithm in ("a3c", "individual")]
    assert len({(c.algorithm, c.core, c.norm) for c in offloading}) == len(offloading) == 8
    assert {c.profile for c in configs} == {profile}
    assert profiles()[profile]


def test_the_paper_profile_is_the_documents_length_with_seeds_enough():
    assert {(c.seeds, c.episodes, c.workers) for c in expand("paper")} == {(30, 2000, 5)}


def test_driving_has_the_documents_two_arms_and_the_corrected_wiring():
    configs = {config.run_id: config for config in expand("driving")}
    main = {f"td3-{norm}-{wiring}-b32" for norm in ("none", "ln") for wiring in ("leaky", "detached")}
    assert main <= set(configs)
    assert {(c.seeds, c.steps, c.learning_starts, c.batch_size) for c in configs.values()} == {(5, 5000, 1000, 32)}
    assert {configs[name].lr for name in main} == {1e-3}


def test_sizes_of_a_profile_reach_only_the_algorithms_that_have_them(tmp_path):
    text = """
[profiles.both]
experiments = ["one", "other"]
episodes = 7
steps = 700
seeds = 2
[experiments.one.fixed]
algorithm = "individual"
[experiments.other.fixed]
algorithm = "td3"
"""
    one, other = expand("both", study_file(tmp_path, text))
    assert (one.episodes, one.seeds) == (7, 2)
    assert (other.steps, other.seeds) == (700, 2)


def test_fixed_settings_and_extent_reach_every_run(tmp_path):
    configs = expand("tiny", study_file(tmp_path, STUDY))
    assert [c.run_id for c in configs] == ["a3c-gru-none-w2", "a3c-gru-ln-w2"]
    assert {(c.workers, c.seeds, c.episodes) for c in configs} == {(2, 2, 6)}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("seeds = 2", "seed = 2", r"\[profiles.tiny\] has the unknown key 'seed'; allowed: .*seeds"),
        ('["main"]', '["mian"]', r"unknown name 'mian' \(did you mean 'main'\?\) among the experiments"),
        ("norm = [", "nrom = [", "unknown parameter 'nrom'"),
        ('"ln"]', '"layer"]', "norm='layer' is not allowed"),
        ('["main"]', '["main", "main"]', "the same run twice: a3c-gru-ln-w2, a3c-gru-none-w2"),
    ],
)
def test_mistakes_in_the_file_are_named(tmp_path, before, after, message):
    with pytest.raises(ConfigError, match=message):
        expand("tiny", study_file(tmp_path, STUDY.replace(before, after)))


def test_an_unknown_profile_is_answered_with_the_known_ones():
    with pytest.raises(ConfigError, match=r"'quik' \(did you mean 'quick'\?\).*smoke, quick, paper"):
        expand("quik")


def test_runs_are_selected_by_pattern_or_part_of_their_id():
    configs = expand("paper")
    assert len(select(configs, None)) == 8
    assert [c.run_id for c in select(configs, "ff-ln")] == ["a3c-ff-ln", "individual-ff-ln"]
    assert [c.run_id for c in select(configs, "a3c-*-none")] == ["a3c-gru-none", "a3c-ff-none"]
    with pytest.raises(ConfigError, match="no run matches 'td3'; there are a3c-gru-none"):
        select(configs, "td3")


def test_the_papermill_line_gives_text_as_text():
    """With -p, papermill would read the profile 2024 as a number, and parse would refuse it."""
    command = Job(parse({"profile": "2024", "norm": "none", "lr": 1e-5, "seeds": 3})).command
    line = " ".join(command)
    assert "-r profile 2024" in line
    assert "-r norm none" in line
    assert "-p lr 1e-05" in line
    assert "-p seeds 3" in line
    assert "episodes" not in line  # a default is left to the notebook


# -- execution --------------------------------------------------------------------------------------------------------


def test_failures_leave_the_others_alone_and_only_they_are_tried_again(root, monkeypatch, capfd):
    """Four runs: one succeeds, one fails in training, one after it, and one is being trained by another process."""
    good, broken, late, held = ids = ["a3c-gru-none-w2", "a3c-gru-ln-w2", "a3c-ff-none-w2", "a3c-ff-ln-w2"]
    study_file(root, STUDY.replace("arms = {", 'arms = {core = ["gru", "ff"], '))
    monkeypatch.setenv("FAKE_FAILURE", broken)
    monkeypatch.setenv("FAKE_LATE_FAILURE", late)
    other = Run.open(next(config for config in expand("tiny", root / "study.toml") if config.run_id == held))
    train(other, until=4)
    assert sorted(run_tiny(root)) == sorted([broken, late, held])
    said = capfd.readouterr().err
    study = load(root / "results" / "tiny")
    assert {run.id: run.status for run in study.runs} == dict(
        zip(ids, ["complete", "failed", "complete", "running"], strict=True)
    )
    assert "broken on purpose" in study[broken].provenance["error"]
    assert "ValueError: broken on purpose" in said
    assert "is being trained by another process" in said
    assert other.reports_done == 2 * 4

    other.release()
    monkeypatch.delenv("FAKE_FAILURE")
    monkeypatch.delenv("FAKE_LATE_FAILURE")
    kept = [study[good].dir / "page.ipynb", study[good].dir / "episodes.parquet", study[late].dir / "episodes.parquet"]
    written = [path.stat().st_mtime_ns for path in kept]
    assert run_tiny(root) == []
    assert all(Job(run.config).done for run in study.runs)
    assert [path.stat().st_mtime_ns for path in kept] == written  # no training was repeated, nor the good page


def test_other_settings_stop_the_study_before_anything_runs(root):
    Run.open(parse({"norm": "ln", "workers": 2, "seeds": 9, "profile": "tiny"})).release()
    with pytest.raises(ConfigError, match="episodes is 500 there, 6 asked"):
        run_tiny(root)
    assert not (root / "results" / "tiny" / "a3c-gru-none-w2").exists()


def test_sigterm_ends_a_study_like_ctrl_c():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(KeyboardInterrupt), terminate_like_ctrl_c():
        os.kill(os.getpid(), signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before


def test_jobs_that_do_not_stop_are_killed_each(monkeypatch):
    monkeypatch.setattr(jobs, "STOP_SECONDS", 0.1)
    deaf = [Job(parse({"norm": norm})) for norm in ("none", "ln")]
    for job in deaf:
        job._process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
        assert job._process.stdout
        assert job._process.stdout.readline()
    stop(deaf)
    assert [job._process.returncode for job in deaf if job._process] == [-signal.SIGKILL] * 2


# A shell starts what it puts in the background with Ctrl-C ignored; such a study is ended by SIGTERM.
@pytest.mark.parametrize(
    ("interrupts", "ending"), [(signal.SIG_DFL, signal.SIGINT), (signal.SIG_IGN, signal.SIGTERM)], ids=["front", "back"]
)
def test_stopped_runs_keep_a_checkpoint_and_the_same_command_goes_on(root, interrupts, ending):
    command = [sys.executable, "-m", "lnlab", "study", "tiny", "--jobs", "2"]
    environment = os.environ | {"LNLAB_ROOT": str(root)}
    slow = environment | {"FAKE_SLOWNESS": "1"}
    begin = functools.partial(signal.signal, signal.SIGINT, interrupts)
    with subprocess.Popen(command, env=slow, stderr=subprocess.PIPE, text=True, preexec_fn=begin) as process:
        wait_for_checkpoints(root / "results" / "tiny", 2)
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "lnlab study tiny" in said.splitlines()[-1]
    study = load(root / "results" / "tiny")
    assert [run.reports_done for run in study.runs] == [2 * 4, 2 * 4]
    assert [run.status for run in study.runs] == ["stopped", "stopped"]  # nobody holds them any more

    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "lnlab report tiny" in done.stdout
    assert all(run.complete for run in load(root / "results" / "tiny").runs)


def wait_for_checkpoints(folder: Path, number: int) -> None:
    deadline = time.monotonic() + 180  # seconds; a busy machine starts kernels slowly
    while len(list(folder.glob("*/shards/*/manifest.json"))) < number:
        assert time.monotonic() < deadline, "the runs wrote no checkpoint"
        time.sleep(0.1)
