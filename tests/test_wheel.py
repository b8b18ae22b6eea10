"""The wheel in an environment and a folder of its own, far from the repository: what the commands do there."""

import os
import re
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

import pytest

from lnlab.paths import ROOT
from lnlab.study import expand
from tests.fakes import only_long

SOURCES = ("pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "constraints.txt")
BUILD = "from setuptools import build_meta; build_meta.build_sdist('dist'); print(build_meta.build_wheel('dist'))"
TINY = ["seeds=1", "episodes=2", "workers=1", "hidden=8", "eval_episodes=0", "device=cpu"]
STUDY = """
[profiles.first]
experiments = ["norms"]
seeds = 1
episodes = 2
eval_episodes = 0

[experiments.norms]
fixed = {workers = 1, hidden = 8}
arms = {norm = ["none", "ln"]}
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """An environment with the wheel, built from the source distribution; its libraries are those of the tests."""
    source, folder = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("environment")
    for name in SOURCES:
        shutil.copy(ROOT / name, source)
    for name in ("lnlab", "notebooks"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True)
    (archive,) = (source / "dist").glob("*.tar.gz")
    shutil.unpack_archive(archive, source / "unpacked")
    (unpacked,) = (source / "unpacked").iterdir()
    subprocess.run([sys.executable, "-c", BUILD], cwd=unpacked, check=True, capture_output=True)
    (wheel,) = (unpacked / "dist").glob("*.whl")
    venv.create(folder)
    (packages,) = folder.glob("lib/python*/site-packages")
    pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
    elsewhere = {
        name: value for name, value in os.environ.items() if name != "PYTHONPATH"
    }  # else pip may find this clone
    subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True, env=elsewhere)
    (packages / "libraries.pth").write_text(sysconfig.get_paths()["purelib"])
    (folder / "share").symlink_to(Path(sys.prefix, "share"))  # templates of nbconvert
    return folder


@pytest.fixture
def lnlab(installed, tmp_path, monkeypatch):
    """Runs a command in an empty folder; whatever it does, the environment must be as it was."""
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    for name in [name for name in os.environ if name.startswith("LNLAB_") or name == "PYTHONPATH"]:
        monkeypatch.delenv(name)
    (tmp_path / "home").mkdir()
    (tmp_path / "work").mkdir()
    before = files(installed)

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        line = [str(installed / "bin" / "lnlab"), *words]
        return subprocess.run(line, cwd=tmp_path / "work", capture_output=True, text=True, stdin=subprocess.DEVNULL)

    yield run
    assert files(installed) == before
    assert {path.name for path in tmp_path.iterdir()} <= {"home", "work"}
    assert not [path for path in files(tmp_path / "home") if "lnlab" in path]


def files(folder: Path) -> dict[str, float]:
    return {str(path.relative_to(folder)): path.stat().st_mtime for path in folder.rglob("*")}


def test_results_lie_in_the_working_directory(lnlab, tmp_path):
    done = lnlab("train", *TINY, "cores=1")
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "work" / "results" / "scratch" / "a3c-gru-ln-w1-h8"
    assert done.stdout == f"complete: {folder}\n"
    assert (folder / "episodes.parquet").exists()
    assert "complete" in lnlab("runs").stdout


def test_what_needs_the_repository_says_so_in_one_line_and_what_works_without_it(lnlab, tmp_path):
    for words in ("report quick", "publish paper --data-only", "bench"):
        done = lnlab(*words.split())
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"lnlab {words.split()[0]}: works in a clone of the repository only")
        assert all(name in line for name in ("train", "study", "compare", "doctor"))
    done = lnlab("study", "quick")
    assert done.returncode == 2
    assert "study.toml cannot be read: No such file or directory; name a study file of your own" in done.stderr
    assert not list((tmp_path / "work").iterdir())


def test_the_study_file_of_the_readme_has_the_runs_that_it_names(tmp_path):
    (text,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "my.toml").write_text(text)
    configs = expand("first", tmp_path / "my.toml")
    assert [(each.norm, each.lr, each.seeds, each.steps) for each in configs] == [
        (norm, lr, 5, 50_000) for norm in ("none", "ln") for lr in (3e-4, 1e-3)
    ]


@pytest.mark.slow
def test_a_study_file_of_ones_own_is_run_with_its_results_beside_it(lnlab, tmp_path):
    (mine := tmp_path / "work" / "mine").mkdir()
    (mine / "norms.toml").write_text(STUDY)
    done = lnlab("study", "mine/norms.toml")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"all done: {mine / 'results' / 'first'}\n"
    for run in ("a3c-gru-none-w1-h8", "a3c-gru-ln-w1-h8"):
        assert {"page.ipynb", "metrics.parquet"} <= {path.name for path in (mine / "results" / "first" / run).iterdir()}
    listed = lnlab("study", "mine/norms.toml", "first", "--list").stdout
    assert [line.split()[1:3] for line in listed.splitlines()[1:]] == [["complete", "100%"]] * 2
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"mine"}


@pytest.mark.slow
def test_arms_are_compared_and_a_network_is_looked_over(lnlab, tmp_path):
    words = ["env=CartPole-v1", "core=ff", "hidden=8", "norm=none,ln", "seeds=3", "steps=500"]
    done = lnlab("compare", *words)
    assert done.returncode == 0, done.stderr
    (page,) = (tmp_path / "work" / "comparisons").glob("*/page.html")
    assert "Which arm is better?" in page.read_text(encoding="utf-8")
    assert {path.name for path in (tmp_path / "work").iterdir()} == {"comparisons", "results"}
    (run, *_) = sorted((tmp_path / "work" / "results").glob("compare-*/*"))
    done = lnlab("play", str(run), "--episodes", "2")
    assert done.returncode == 0, done.stderr
    assert "return" in done.stdout
    (tmp_path / "work" / "net.py").write_text("import torch\nnet = torch.nn.Linear(4, 2)\n")
    done = lnlab("doctor", "net.py:net", "--expect-norm")
    assert done.returncode == 1
    assert "norm" in done.stdout


@only_long
@pytest.mark.slow
def test_claims_are_judged_on_scores_and_on_runs(lnlab, tmp_path):
    done = lnlab("judge", "--example")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[1] for line in lines[:5]] == ["true", "false", "cannot", "arithmetic", "not"]
    assert "mostly true" in (tmp_path / "work" / "judge-example" / "page.html").read_text(encoding="utf-8")
    assert lnlab("train", *TINY[1:], "seeds=3", "cores=1").returncode == 0
    claims = tmp_path / "work" / "claims.yml"
    row = "{value: x, of: score, arm: a3c-gru-ln-w1-h8, side: above, bound: -1}"
    claims.write_text(f"title: T\nclaims: {{A: {{kind: measured, says: it scores, evidence: [{row}]}}}}\n")
    done = lnlab("judge", "claims.yml", "results/scratch", "--out", "verdicts")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("A  true  it scores: x ")
