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
