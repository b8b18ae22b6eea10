"""Where a run comes from: the commit is that of the repository that holds the package, or unknown."""

import subprocess

import pytest

from lnlab.provenance import cpu_model, machine, source


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


def commit(folder):
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "x")


def test_a_committed_package_is_clean(package):
    commit(package)
    assert source(package) == {"commit": git(package, "rev-parse", "HEAD"), "dirty": False}


@pytest.mark.parametrize("change", ["config.py", "new.py"])
def test_a_change_inside_the_package_makes_it_dirty(package, change):
    commit(package)
    (package / change).write_text("a = 2\n")
    assert source(package)["dirty"]


def test_a_change_outside_the_package_does_not(package):
    commit(package)
    (package.parent / "notes.md").write_text("x")
    assert not source(package)["dirty"]


def test_a_copy_inside_somebody_elses_repository_is_unknown(package):
    assert source(package) == {"commit": "unknown", "dirty": True}


def test_the_machine_is_described_without_its_name_or_paths(tmp_path):
    facts = machine()
    assert facts["versions"]["torch"].startswith("2.")
    assert facts["machine_cores"] >= 1
    assert facts["cpu"] == cpu_model() != ""
    assert "/" not in facts["platform"]
