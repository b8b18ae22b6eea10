"""Real studies and reports, of which any process is killed by SIGKILL at a random moment, or that a closed terminal
ends by SIGHUP: nothing is lost, no bit changes, and no process is left.

Four kills; with LNLAB_LONG_TESTS=1 in the environment thirty-six.
"""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pandas as pd
import psutil
import pytest

from lnlab import inside, runs
from lnlab.config import parse
from lnlab.paths import BOOK, NOTEBOOKS, PACKAGE, ROOT
from lnlab.runs import Run, load

LONG = bool(os.environ.get("LNLAB_LONG_TESTS"))
SETTINGS = {"core": "ff", "hidden": 8, "workers": 2, "seeds": 2, "episodes": 150, "eval_episodes": 1, "device": "cpu"}
STUDY = """
[profiles.killed]
experiments = ["main"]
seeds = 2
episodes = 150
eval_episodes = 1

[experiments.main]
fixed = {core = "ff", hidden = 8, workers = 2, device = "cpu"}
arms = {norm = ["none", "ln"]}
"""
PARAMETERS = "\n".join(f"{name} = {value!r}" for name, value in {**SETTINGS, "algorithm": "a3c", "norm": "ln"}.items())
TRAIN = f"""
from lnlab import inside
from lnlab.config import parse
from lnlab.trainers import driver
driver.CHECKPOINT_SECONDS = 0.05
names = {[*SETTINGS, "algorithm", "norm", "profile", "cores"]}
inside.run(parse({{name: globals()[name] for name in names}}), progress=False)
"""
SECONDS_OF_A_STUDY = 20.0  # within which kills fall; after the end there is nothing to kill
SECONDS_OF_A_REPORT = 40.0


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the study above and a notebook that trains for real."""
    python = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = nbformat.v4.new_notebook(metadata={"kernelspec": python})
    notebook.cells = [nbformat.v4.new_code_cell(each) for each in (f"{PARAMETERS}\nprofile = ''\ncores = 0", TRAIN)]
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (tmp_path / "notebooks").mkdir()
    nbformat.write(notebook, tmp_path / "notebooks" / "train.ipynb")
    (tmp_path / "study.toml").write_text(STUDY)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    monkeypatch.setenv("LNLAB_ROOT", str(tmp_path))
    monkeypatch.setenv("LNLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    return tmp_path


def study(jobs: int) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "lnlab", "study", "killed", "--jobs", str(jobs)]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)


def processes(root: Path) -> list[psutil.Process]:
    """All processes of the study in `root`: their environment says so."""
    found = []
    for each in psutil.process_iter():
        try:
            if each.environ().get("LNLAB_ROOT") == str(root) and each.pid != os.getpid():
                found.append(each)
        except psutil.Error:  # of somebody else, or ended meanwhile
            continue
    return found


def wait_until_none_is_left(root: Path, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while left := processes(root):
        assert time.monotonic() < deadline, [each.cmdline() for each in left]
        time.sleep(0.1)


def kill_one(root: Path, jobs: int, patient: bool) -> None:
    """Start the study and kill it, or one of its processes, at a random moment; where patient, see that all end."""
    process = study(jobs)
    try:
        process.wait(random.uniform(0, SECONDS_OF_A_STUDY))
    except subprocess.TimeoutExpired:
        below = psutil.Process(process.pid).children(recursive=True)
        victim = random.choice([process, process, *below])  # the study itself more often
        with_name = victim.args if victim is process else victim.cmdline()
        print(f"killed: {with_name}")
        victim.kill()
        if victim is process and not patient:
            return
    assert process.wait(120) in (0, 1, -9)
    wait_until_none_is_left(root, 30)


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_study_of_which_any_process_is_killed_ends_with_the_same_bits_and_leaves_no_process(root, jobs):
    for number in range(12 if LONG else 1):
        kill_one(root, jobs, patient=number % 2 == 0)
    last = study(jobs)
    said = last.communicate(timeout=240)[1]
    assert last.returncode == 0, said
    assert "FAILED" not in said
    wait_until_none_is_left(root, 10)
    found = load(root / "results" / "killed").runs
    assert [run.status for run in found] == ["complete", "complete"]
    for run in found:
        straight = inside.run(
            parse(SETTINGS | {"norm": run.config.norm, "profile": "straight", "cores": 1}), progress=False
        )
        assert_same_tables(straight, run)


def assert_same_tables(one: Run, other: Run) -> None:
    for name in ("episodes", "curves", "metrics", "evaluation", "sweep"):
        pd.testing.assert_frame_equal(one.table(name), other.table(name), check_exact=True)
    keys = ["seed", "step", "worker", "quantity"]
    inside = [run.table("diagnostics").sort_values(keys, ignore_index=True) for run in (one, other)]
    pd.testing.assert_frame_equal(
        *inside, rtol=1e-3, atol=1e-4
    )  # a block of two seeds rounds otherwise than two of one


@pytest.fixture
def shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with the book's prose and notebooks, and a complete run."""
    for path in (BOOK, NOTEBOOKS, ROOT / "_config.yml", ROOT / "CHANGELOG.md", ROOT / "study.toml"):
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.setattr(runs, "RESULTS", tmp_path / "results")
    inside.run(parse(SETTINGS | {"norm": "ln", "episodes": 4, "profile": "killed", "cores": 1}), progress=False)
    monkeypatch.setenv("LNLAB_ROOT", str(tmp_path))
    monkeypatch.setenv("LNLAB_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent))
    return tmp_path


def report() -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "lnlab", "report", "killed"]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


@pytest.mark.slow
def test_a_report_that_is_killed_changes_nothing_and_leaves_no_process(shown):
    (run,) = load(shown / "results" / "killed").runs
    there = {path: path.read_bytes() for path in run.dir.iterdir() if path.suffix in (".parquet", ".json")}
    for number in range(10 if LONG else 1):
        process = report()
        try:
            process.wait(random.uniform(1, SECONDS_OF_A_REPORT))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGHUP if number % 3 == 2 else signal.SIGKILL)
        process.wait(60)
        wait_until_none_is_left(shown, 30)
        assert run.whole
        assert {path: path.read_bytes() for path in there} == there
    assert report().wait(600) == 0
    assert (shown / "_build" / "report-killed" / "_build" / "html" / "summary.html").exists()


@pytest.mark.slow
def test_a_study_whose_terminal_is_closed_leaves_no_process_and_goes_on(root):
    for _ in range(2 if LONG else 1):
        process = study(jobs=2)
        try:
            process.wait(random.uniform(3, SECONDS_OF_A_STUDY))
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGHUP)
        process.communicate(timeout=120)
        wait_until_none_is_left(root, 30)
    assert study(jobs=2).wait(240) == 0
    assert [run.status for run in load(root / "results" / "killed").runs] == ["complete", "complete"]
