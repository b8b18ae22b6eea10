"""study.toml to runs, and their execution by papermill: one that fails or is stopped leaves the others alone.

A small notebook with a fake trainer stands for notebooks/train.ipynb.
"""

import functools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest

from lnlab import jobs, runs
from lnlab.config import ConfigError, parse
from lnlab.files import try_lock
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


# Every place of a study file, its value as it should be, and the kinds of value that may stand there.
PLACES = {
    "profiles": ("{tiny = {experiments = ['main'], seeds = 2}}", set()),
    "profiles.tiny": ("{experiments = ['main'], seeds = 2}", set()),
    "profiles.tiny.about": ("'a test'", {"text"}),
    "profiles.tiny.experiments": ("['main']", set()),
    "profiles.tiny.seeds": ("2", {"number"}),
    "profiles.tiny.first_seed": ("2", {"number"}),
    "profiles.tiny.episodes": ("6", {"number"}),
    "profiles.tiny.eval_episodes": ("0", {"number"}),
    "experiments": ("{main = {fixed = {workers = 2}}}", {"table of tables"}),
    "experiments.main": ("{fixed = {workers = 2}}", {"empty table"}),
    "experiments.main.about": ("'a test'", {"text"}),
    "experiments.main.arms": ("{norm = ['none', 'ln']}", {"table of lists", "empty table"}),
    "experiments.main.arms.norm": ("['none', 'ln']", set()),
    "experiments.main.fixed": ("{workers = 2}", {"empty table"}),
    "experiments.main.fixed.core": ("'gru'", set()),
    "experiments.main.fixed.lr": ("1e-3", {"number", "fraction"}),
    "experiments.main.fixed.gradient_carry": ("true", {"truth"}),
}
KINDS = {
    "text": "'some text'",
    "number": "3",
    "negative number": "-3",
    "huge number": "1" + 400 * "0",
    "fraction": "0.5",
    "infinite": "inf",
    "no number": "nan",
    "truth": "true",
    "date": "2026-01-01",
    "list": "['gru', 1]",
    "empty list": "[]",
    "list of lists": "[['ln']]",
    "table of texts": "{some = 'text'}",
    "table of lists": "{lr = [1e-3, 1e-4]}",
    "table of tables": "{some = {}}",
    "empty table": "{}",
}


def malformed() -> Iterator[tuple[str, str, str]]:
    """Study files with a value of a wrong kind in one place: their text, that place, and the kind."""
    for place in PLACES:
        # what lies above the place or below it would be there twice
        others = [
            each for each in PLACES if not f"{each}.".startswith(f"{place}.") and not f"{place}.".startswith(f"{each}.")
        ]
        needed = {"profiles.tiny.experiments", "experiments.main.fixed"}
        lines = [f"{each} = {PLACES[each][0]}" for each in others if each in needed]
        for kind in sorted(KINDS.keys() - PLACES[place][1]):
            yield "\n".join([*lines, f"{place} = {KINDS[kind]}"]), place, kind


MALFORMED = list(malformed())


@pytest.mark.parametrize(
    ("text", "place"), [each[:2] for each in MALFORMED], ids=[f"{place}: {kind}" for _, place, kind in MALFORMED]
)
def test_a_value_of_a_wrong_kind_is_answered_in_one_line_that_names_file_and_key(tmp_path, text, place):
    key = "main" if place == "experiments.main.fixed" else place.split(".")[-1]  # its table may hold any key
    assert_refused(study_file(tmp_path, text), key)


def assert_refused(path: Path, key: str) -> None:
    with pytest.raises(ConfigError) as error:
        expand("tiny", path)
    said = str(error.value)
    assert str(path) in said
    assert key in said
    assert "\n" not in said
    assert len(said) < 1000 + len(str(path))


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("", "profiles"),
        ("profiles", "TOML: Expected '='"),
        ("[profiles.tiny", "TOML"),
        ("[profiles.tiny]\nseeds = 1\nseeds = 2", "TOML: Cannot overwrite a value"),
        ("[profiles.tiny]\nseeds = ", "TOML: Invalid value"),
        ("a = " + 5000 * "[" + 5000 * "]", "TOML"),
        ("a = " + 5000 * "1", "TOML"),
        (STUDY.replace("[profiles.tiny]", "[profile.tiny]"), "profile"),
        (STUDY.replace("[profiles.tiny]", "[profiles.Tiny]"), "Tiny"),
        (STUDY.replace("[profiles.tiny]", f"[profiles.{300 * 'a'}]"), "aaa"),
        (STUDY.replace("[profiles.tiny]", "[profiles.other]"), "tiny"),
        (STUDY.replace("[experiments.main]", "[experiments.other]"), "main"),
        (STUDY.replace("[experiments.main]", "[experiment.main]"), "experiment"),
        (STUDY.replace('["main"]', '[""]'), "''"),
        (STUDY.replace("arms =", "arm ="), "arm"),
        (STUDY.replace("fixed =", '"fi\\nxed" ='), "fi"),
        (STUDY.replace("{workers = 2}", '{profile = "other"}'), "profile"),
        (STUDY.replace("{workers = 2}", "{cores = 1}"), "cores"),
        (STUDY.replace("{workers = 2}", "{resume = false}"), "resume"),
        (STUDY.replace("{workers = 2}", '{norm = "ln"}'), "norm"),
        (STUDY.replace('norm = ["none", "ln"]', 'profile = ["a", "b"]'), "profile"),
        (
            STUDY.replace('norm = ["none", "ln"]', f"lr = {[1 + i for i in range(40)]}, hidden = {list(range(1, 40))}"),
            "1560",
        ),
        (STUDY.replace('"none", "ln"', '"ln", "ln"'), "a3c-gru-ln-w2"),
        (STUDY.replace("episodes = 6", "steps = 100"), "steps"),
        (STUDY.replace("seeds = 2", "seeds = 1000000000"), "seeds"),
        (STUDY.replace("workers = 2", "rollout = 30"), "rollout"),
    ],
)
def test_a_study_file_that_makes_no_sense_is_answered_in_one_line_that_names_file_and_key(tmp_path, text, key):
    assert_refused(study_file(tmp_path, text), key)


def test_a_study_file_that_cannot_be_read_is_named(tmp_path):
    assert_refused(tmp_path / "not there.toml", "No such file")
    assert_refused(tmp_path, "directory")
    (tmp_path / "latin.toml").write_bytes("about = 'é'".encode("latin-1"))
    assert_refused(tmp_path / "latin.toml", "TOML")


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
    """Four runs: one succeeds, one fails in training, one after it, and one waits for another process to let it go."""
    good, broken, late, held = ids = ["a3c-gru-none-w2", "a3c-gru-ln-w2", "a3c-ff-none-w2", "a3c-ff-ln-w2"]
    study_file(root, STUDY.replace("arms = {", 'arms = {core = ["gru", "ff"], '))
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
    assert {run.id: run.status for run in study.runs} == dict(
        zip(ids, ["complete", "failed", "complete", "complete"], strict=True)
    )
    assert "broken on purpose" in study[broken].provenance["error"]
    assert "ValueError: broken on purpose" in said
    assert said.count(f"waiting {held}  another process is at work on it") == 1

    monkeypatch.delenv("FAKE_FAILURE")
    monkeypatch.delenv("FAKE_LATE_FAILURE")
    kept = [study[good].dir / "page.ipynb", study[good].dir / "episodes.parquet", study[late].dir / "episodes.parquet"]
    written = [path.stat().st_mtime_ns for path in kept]
    assert run_tiny(root) == []
    assert all(Job(run.config).done for run in study.runs)
    assert [path.stat().st_mtime_ns for path in kept] == written  # no training was repeated, nor the good page


def release_after(run: Run, other: Path) -> None:
    """Let a run go once another one is complete."""
    deadline = time.monotonic() + 180
    while Run(other).status != "complete" and time.monotonic() < deadline:
        time.sleep(0.1)
    assert run.reports_done == 2 * 4
    run.release()


def test_other_settings_stop_the_study_before_anything_runs(root):
    Run.open(parse({"norm": "ln", "workers": 2, "seeds": 9, "profile": "tiny"})).release()
    with pytest.raises(ConfigError, match="episodes is 500 there, 6 asked"):
        run_tiny(root)
    assert not (root / "results" / "tiny" / "a3c-gru-none-w2").exists()


@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_and_sighup_end_a_study_like_ctrl_c(ending):
    before = signal.getsignal(ending)
    with pytest.raises(KeyboardInterrupt), terminate_like_ctrl_c():
        os.kill(os.getpid(), ending)
    assert signal.getsignal(ending) == before


def test_a_study_under_nohup_goes_on_when_the_terminal_closes():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with terminate_like_ctrl_c():
            os.kill(os.getpid(), signal.SIGHUP)
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_job_leaves_the_files_of_one_that_is_at_work(root):
    """Whoever is at work on the run: papermill, whose kernel does not train yet, a training, or its last process."""
    job = Job(parse({"profile": "tiny"}), root / "notebooks" / "train.ipynb")
    shard = job.run.dir / "shards" / "0-4"
    shard.mkdir(parents=True)
    for path in (job.page, job.log):
        path.write_text("of another")
    for held in (job.run.dir / ".job", job.run.dir / ".lock", shard / ".lock"):
        lock = try_lock(held)
        assert lock is not None
        assert not job.start()
        assert [path.read_text() for path in (job.page, job.log)] == ["of another"] * 2
        os.close(lock)


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
