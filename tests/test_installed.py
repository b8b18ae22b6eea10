"""The package without its repository, the lists of packages, and make: they agree, and say what they cannot do."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml
from packaging.specifiers import SpecifierSet

from lnlab.paths import PACKAGE, ROOT

BUILD = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
TRAIN = ["train", "seeds=1", "episodes=2", "workers=1", "hidden=8", "eval_episodes=0", "cores=1", "device=cpu"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the unpacked wheel, as `pip install --target` leaves it; built offline from a copy."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    shutil.copytree(PACKAGE, source / "lnlab", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def lnlab(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LNLAB_")}
    environment |= {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"}
    command = [sys.executable, "-m", "lnlab", *words]
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_results_lie_in_the_working_directory_and_never_in_the_installation(installed, tmp_path):
    before = files(installed)
    done = lnlab(installed, tmp_path, *TRAIN)
    assert done.returncode == 0, done.stderr
    folder = tmp_path / "results" / "scratch" / "a3c-gru-ln-w1-h8"
    assert done.stdout == f"complete: {folder}\n"
    assert (folder / "episodes.parquet").exists()
    assert "complete" in lnlab(installed, tmp_path, "runs").stdout
    assert files(installed) == before


def test_what_needs_the_repository_says_so_in_one_line_before_any_work(installed, tmp_path):
    for words in ("study quick", "report quick", "publish paper --data-only", "bench"):
        done = lnlab(installed, tmp_path, *words.split())
        assert (done.returncode, done.stdout) == (2, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith(f"lnlab {words.split()[0]}: works in a clone of the repository only")
    assert not files(tmp_path)


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
