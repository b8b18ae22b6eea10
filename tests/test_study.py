"""study.toml to runs, and their execution by papermill: one that fails or is stopped leaves the others alone.

A small notebook with a fake trainer stands for notebooks/train.ipynb.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from lnlab import jobs
from lnlab.config import ConfigError, parse
from lnlab.jobs import Job
from lnlab.locks import lock, unlock
from lnlab.paths import PACKAGE
from lnlab.runs import Run, load
from lnlab.signals import on_ending
from lnlab.study import execute, expand, select, stop
from tests.fakes import train, wait_until, write_template

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
algorithm, core, norm, profile = "a3c", "gru", "ln", "x"
seeds, episodes, workers, eval_episodes, cores = 1, 1, 5, 20, 0
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
    try:
        train(run, until=2)
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
def root(results, monkeypatch) -> Path:
    """A repository with the study above and its notebook."""
    root = results.parent
    write_template(root, PARAMETERS, TRAIN)
    study_file(root, STUDY)
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    return root


def run_tiny(root: Path) -> list[str]:
    return execute("tiny", study=root / "study.toml", template=root / "notebooks" / "train.ipynb")


def study_file(folder: Path, text: str) -> Path:
    path = folder / "study.toml"
    path.write_text(text)
    return path


def test_fixed_settings_reach_every_run_and_sizes_the_algorithms_that_have_them(tmp_path):
    text = 'profiles.both = {experiments = ["one", "other"], episodes = 7, steps = 700, seeds = 2}\n'
    text += 'experiments = {one.fixed.algorithm = "individual", other.fixed.algorithm = "td3"}'
    one, other = expand("both", study_file(tmp_path, text))
    assert (one.episodes, one.seeds) == (7, 2)
    assert (other.steps, other.seeds) == (700, 2)
    configs = expand("tiny", study_file(tmp_path, STUDY))
    assert [c.run_id for c in configs] == ["a3c-gru-none-w2", "a3c-gru-ln-w2"]
    assert {(c.workers, c.seeds, c.episodes) for c in configs} == {(2, 2, 6)}


def assert_refused(path: Path, *said: str) -> None:
    with pytest.raises(ConfigError) as error:
        expand("tiny", path)
    message = str(error.value)
    assert all(each in message for each in (str(path), *said)), message
    assert "\n" not in message
    assert len(message) < 1000 + len(str(path))


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ("seeds = 2", "seed = 2", "[profiles.tiny] has the unknown key 'seed'; allowed: about, experiments, seeds"),
        ('["main"]', '["mian"]', "unknown name 'mian' (did you mean 'main'?) among the experiments"),
        ('["main"]', '["main", "main"]', "the same run twice: a3c-gru-ln-w2, a3c-gru-none-w2"),
        ("episodes = 6", "steps = 100", "gives steps, which none of its runs has"),
        ("[experiments.main]", "[experiment.main]", "[experiments] is missing"),
        ("{workers = 2}", '{profile = "other"}', "profile is decided when the study runs"),
        ("{workers = 2}", '{norm = "ln"}', "norm stands in arms and in fixed"),
        ('{norm = ["none", "ln"]}', f"{{lr = {[1] * 40}, hidden = {[1] * 39}}}", "1560 runs"),
    ],
)
def test_a_mistake_in_the_file_is_answered_in_one_line_that_names_it(tmp_path, before, after, said):
    assert_refused(study_file(tmp_path, STUDY.replace(before, after)), said)


def test_a_study_file_that_cannot_be_read_is_named(tmp_path):
    assert_refused(tmp_path / "not there.toml", "No such file")
    assert_refused(tmp_path, "directory")
    for content in ("about = 'é'".encode("latin-1"), b"a = " + 5000 * b"[" + 5000 * b"]"):
        (tmp_path / "study.toml").write_bytes(content)
        assert_refused(tmp_path / "study.toml", "TOML")
    with pytest.raises(ConfigError, match=r"'quik' \(did you mean 'quick'\?\).*smoke, quick, paper"):
        expand("quik")


def test_runs_are_selected_by_pattern_or_part_of_their_id():
    configs = expand("paper")
    assert [c.run_id for c in select(configs, "ff-ln")] == ["a3c-ff-ln", "individual-ff-ln"]
    assert [c.run_id for c in select(configs, "a3c-*-none")] == ["a3c-gru-none", "a3c-ff-none"]
    with pytest.raises(ConfigError, match="no run matches 'td3'; there are a3c-gru-none"):
        select(configs, "td3")


def test_the_papermill_line_gives_text_as_text():
    """With -p, papermill would read the profile 2024 as a number, and parse would refuse it."""
    line = " ".join(Job(parse({"profile": "2024", "norm": "none", "lr": 1e-5, "seeds": 3})).command)
    assert all(part in line for part in ("-r profile 2024", "-r norm none", "-p lr 1e-05", "-p seeds 3"))
    assert "episodes" not in line  # a default is left to the notebook


def test_failures_leave_the_others_alone_and_only_they_are_tried_again(root, monkeypatch, capfd):
    """Three runs: one fails in training, one after it, and one waits for another process to let it go, and succeeds."""
    held, broken, late = ids = ["a3c-gru-none-w2", "a3c-gru-ln-w2", "a3c-gru-ln_core-w2"]
    study_file(root, STUDY.replace('"ln"]', '"ln", "ln_core"]'))
    monkeypatch.setenv("FAKE_FAILURE", broken)
    monkeypatch.setenv("FAKE_LATE_FAILURE", late)
    other = Run.open(next(config for config in expand("tiny", root / "study.toml") if config.run_id == held))
    train(other, until=4)
    release = threading.Thread(target=release_after, args=(other, root / "results" / "tiny" / late))
    release.start()
    assert sorted(run_tiny(root)) == sorted([broken, late])
    release.join()
    said = capfd.readouterr().err
    study = load(root / "results" / "tiny")
    assert {run.id: run.status for run in study.runs} == dict(zip(ids, ["complete", "failed", "complete"], strict=True))
    assert "broken on purpose" in study[broken].provenance["error"]
    assert "ValueError: broken on purpose" in said
    assert said.count(f"waiting {held}  another process is at work on it") == 1

    monkeypatch.delenv("FAKE_FAILURE")
    monkeypatch.delenv("FAKE_LATE_FAILURE")
    kept = [study[held].dir / "page.ipynb", study[held].dir / "episodes.parquet", study[late].dir / "episodes.parquet"]
    written = [path.stat().st_mtime_ns for path in kept]
    assert run_tiny(root) == []
    assert all(Job(run.config).done for run in study.runs)
    assert [path.stat().st_mtime_ns for path in kept] == written  # no training was repeated, nor the good page


def release_after(run: Run, other: Path) -> None:
    """Let a run go once another one is complete."""
    wait_until(lambda: Run(other).status == "complete")
    assert run.reports_done == 2 * 4
    run.release()


def test_other_settings_stop_the_study_before_anything_runs(root):
    Run.open(parse({"norm": "ln", "workers": 2, "seeds": 9, "profile": "tiny"})).release()
    with pytest.raises(ConfigError, match="episodes is 500 there, 6 asked"):
        run_tiny(root)
    assert not (root / "results" / "tiny" / "a3c-gru-none-w2").exists()


def test_sigterm_and_sighup_end_a_study_like_ctrl_c_but_sighup_not_under_nohup():
    for ending in (signal.SIGTERM, signal.SIGHUP):
        before = signal.getsignal(ending)
        with pytest.raises(KeyboardInterrupt), on_ending(signal.default_int_handler):
            signal.raise_signal(ending)
        assert signal.getsignal(ending) == before
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with on_ending(signal.default_int_handler):
        signal.raise_signal(signal.SIGHUP)
    signal.signal(signal.SIGHUP, before)


def test_a_job_leaves_the_files_of_one_that_is_at_work(root):
    """Whoever is at work on the run: papermill, whose kernel does not train yet, a training, or its last process."""
    job = Job(parse({"profile": "tiny"}), root / "notebooks" / "train.ipynb")
    shard = job.run.dir / "shards" / "0-4"
    shard.mkdir(parents=True)
    for path in (job.page, job.log):
        path.write_text("of another")
    for folder, name in ((job.run.dir, ".job"), (job.run.dir, ".lock"), (shard, ".lock")):
        lock(folder, name)
        assert not job.start()
        assert [path.read_text() for path in (job.page, job.log)] == ["of another"] * 2
        unlock(folder)


def test_jobs_that_do_not_stop_are_killed_each(monkeypatch):
    monkeypatch.setattr(jobs, "STOP_SECONDS", 0.1)
    deaf = [Job(parse({"norm": norm})) for norm in ("none", "ln")]
    for job in deaf:
        job._process = subprocess.Popen([sys.executable, "-c", DEAF], stdout=subprocess.PIPE)
        assert job._process.stdout.readline()
    stop(deaf)
    assert [job._process.returncode for job in deaf if job._process] == [-signal.SIGKILL] * 2


# A shell starts what it puts in the background with Ctrl-C ignored; such a study is ended by SIGTERM.
@pytest.mark.parametrize(
    ("interrupts", "ending"), [(signal.SIG_DFL, signal.SIGINT), (signal.SIG_IGN, signal.SIGTERM)], ids=["front", "back"]
)
def test_a_stopped_run_keeps_a_checkpoint_and_is_told_how_to_go_on(root, interrupts, ending):
    command = [sys.executable, "-m", "lnlab", "study", "tiny", "--only", "none"]
    slow = os.environ | {"LNLAB_ROOT": str(root), "FAKE_SLOWNESS": "1"}
    begin = functools.partial(signal.signal, signal.SIGINT, interrupts)
    with subprocess.Popen(command, env=slow, stderr=subprocess.PIPE, text=True, preexec_fn=begin) as process:
        wait_until(lambda: list(root.glob("results/tiny/*/shards/*/manifest.json")))
        process.send_signal(ending)
        _, said = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "lnlab study tiny" in said.splitlines()[-1]
    (run,) = load(root / "results" / "tiny").runs
    assert (run.reports_done, run.status) == (2 * 4, "stopped")  # nobody holds it any more
