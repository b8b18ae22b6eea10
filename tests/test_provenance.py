"""Where a run comes from: the commit is that of the repository that holds the package, or unknown."""

import subprocess

import pytest

from lnlab import provenance
from lnlab.cli import main
from lnlab.provenance import cpu_model, machine, other_versions, source
from lnlab.runs import Run
from tests.fakes import finished, small, train


@pytest.fixture
def package(tmp_path):
    folder = tmp_path / "repository" / "package"
    folder.mkdir(parents=True)
    (folder / "config.py").write_text("a = 1\n")
    git(folder, "init", "--quiet")
    return folder


def git(folder, *command):
    identity = ["-c", "user.name=t", "-c", "user.email=t@t"]
    done = subprocess.run(["git", *identity, *command], cwd=folder, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def test_the_commit_is_that_of_the_repository_that_holds_the_package(package):
    assert source(package) == {"commit": "unknown", "dirty": True}  # a copy inside somebody else's repository
    git(package, "add", ".")
    git(package, "commit", "--quiet", "-m", "x")
    (package.parent / "notes.md").write_text("x")  # outside the package
    assert source(package) == {"commit": git(package, "rev-parse", "HEAD"), "dirty": False}
    (package / "new.py").write_text("a = 2\n")
    assert source(package)["dirty"]
    (package / "new.py").unlink()
    (package / "config.py").write_text("a = 2\n")
    assert source(package)["dirty"]


def test_the_machine_is_described_without_its_name_or_paths(tmp_path):
    facts = machine()
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["machine_cores"] >= 1
    assert facts["cpu"] == cpu_model() != ""
    assert "/" not in facts["platform"]


def test_versions_besides_the_pinned_ones_are_named_whatever_their_build(tmp_path):
    pins = tmp_path / "constraints.txt"
    pins.write_text("# torch==1.0\nnumpy==2.4.6\ntorch==2.13.0\n")
    assert other_versions({"torch": "2.13.0+cu130", "numpy": "2.4.6", "pandas": "1"}, pins) == []
    assert other_versions({"torch": "2.6.0+cpu", "numpy": "2.4.6"}, pins) == ["torch 2.6.0+cpu, not 2.13.0"]
    assert other_versions({"torch": "2.13.0"}, tmp_path / "none.txt") == ["no none.txt to tell"]
    assert machine()["other_versions"] == []  # of the environment that make installs


def test_a_run_keeps_the_other_versions_of_every_session(results, monkeypatch, capsys):
    with monkeypatch.context() as patch:
        patch.setattr(provenance, "version", {"torch": "0.1"}.get)
        patch.setattr(provenance, "PACKAGES", ["torch"])
        run = Run.open(small())
        train(run, until=2)
        run.release()
    finished()
    assert machine()["other_versions"] == []
    assert run.provenance["other_versions"][0].startswith("torch 0.1, not ")
    assert main(["runs"]) == 0
    assert capsys.readouterr().out.endswith("  other versions\n")
