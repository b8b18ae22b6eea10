"""One list of packages: environment.yml and constraints.txt say what pyproject.toml says. And the words of make."""

import os
import re
import subprocess
import tomllib

import pytest
import yaml

from lnlab.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def split(requirement: str) -> tuple[str, str]:
    """Name in lower case and version range of a requirement, in pip's spelling or conda's (one `=`)."""
    name, versions = re.fullmatch(r"([A-Za-z0-9_.-]+?)(?:\[\w+\])?\s*([<>=!~].*)?", requirement).groups()
    return name.lower(), re.sub(r"^=(?!=)", "==", versions or "")


def declared() -> dict[str, str]:
    extras = PROJECT["optional-dependencies"]
    return dict(split(item) for item in [*PROJECT["dependencies"], *extras["book"], *extras["test"]])


def test_conda_environment_has_the_same_packages_and_ranges():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    assert "-e ." in pip
    conda = dict(split(item) for item in listed if isinstance(item, str))
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    assert conda | dict(split(item) for item in pip if not item.startswith("-e")) == declared()


def constraints() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))


@pytest.mark.parametrize(
    ("name", "versions"),
    [*declared().items(), *map(split, PROJECT["optional-dependencies"]["bench"])],
)
def test_constraints_pin_every_package_within_its_range(name, versions):
    from packaging.specifiers import SpecifierSet

    assert constraints()[name.replace("_", "-")] in SpecifierSet(versions)


def test_no_pin_carries_a_local_tag_that_only_one_build_has():
    assert not [name for name, version in constraints().items() if "+" in version]


def test_make_help_explains_every_target():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", text, re.M)[1].split())
    done = subprocess.run(["make", "help"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert phony == set(re.findall(r"^  make (\w+) ", done.stdout, re.M))


def test_make_refuses_an_old_python_with_a_way_out(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    line = ["make", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "test"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "3.11" in done.stderr
    assert "make PYTHON=" in done.stderr


def test_continuous_integration_runs_what_a_reader_runs():
    script = ROOT / ".ci" / "run"
    assert os.access(script, os.X_OK)
    assert "make test" in script.read_text(encoding="utf-8")
