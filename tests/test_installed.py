"""The lists of packages, and make: they agree, and say what they cannot do. The wheel: tests/test_wheel.py."""

import re
import subprocess
import tomllib

import yaml
from packaging.specifiers import SpecifierSet

from lnlab.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def split(requirement: str) -> tuple[str, str]:
    """Name in lower case and version range of a requirement, in pip's spelling or conda's (one `=`)."""
    name, versions = re.fullmatch(r"([A-Za-z0-9_.-]+?)(?:\[\w+\])?\s*([<>=!~].*)?", requirement).groups()
    return name.lower(), re.sub(r"^=(?!=)", "==", versions or "")


EXTRAS = PROJECT["optional-dependencies"]
DECLARED = dict(map(split, [*PROJECT["dependencies"], *EXTRAS["book"], *EXTRAS["test"]]))


def test_conda_environment_has_the_same_packages_and_ranges():
    listed = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    pip = next(item["pip"] for item in listed if isinstance(item, dict))
    assert "-e ." in pip
    conda = dict(split(item) for item in listed if isinstance(item, str))
    assert conda.pop("python") == PROJECT["requires-python"]
    assert conda.pop("pip") == ""
    assert conda | dict(split(item) for item in pip if not item.startswith("-e")) == DECLARED


def test_constraints_pin_every_package_within_its_range_and_no_build_of_it():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = dict(line.lower().replace("_", "-").split("==") for line in lines if line and not line.startswith("#"))
    for name, versions in (DECLARED | dict(map(split, EXTRAS["bench"]))).items():
        assert pins[name.replace("_", "-")] in SpecifierSet(versions), name
    assert not [name for name, version in pins.items() if "+" in version]


def test_make_refuses_an_old_python_with_a_way_out(tmp_path):
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    line = ["make", f"PYTHON={old}", f"VENV={tmp_path / 'venv'}", "test"]
    done = subprocess.run(line, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "3.11" in done.stderr
    assert "make PYTHON=" in done.stderr
