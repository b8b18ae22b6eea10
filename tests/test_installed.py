"""The package without its repository: a wheel trains into the working directory, and says what it cannot do."""

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from lnlab.paths import PACKAGE

SOURCES = ("pyproject.toml", "README.md", "LICENSE")
BUILD = "import setuptools.build_meta as backend; backend.build_wheel('dist')"
TRAIN = ["train", "seeds=1", "episodes=2", "workers=1", "hidden=8", "eval_episodes=0", "cores=1", "device=cpu"]


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with the unpacked wheel, as `pip install --target` leaves it; built offline from a copy."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("site-packages")
    for name in SOURCES:
        shutil.copy(PACKAGE.parent / name, source)
    shutil.copytree(PACKAGE, source / "lnlab", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run([sys.executable, "-c", BUILD], cwd=source, check=True, capture_output=True)
    (wheel,) = (source / "dist").glob("*.whl")
    zipfile.ZipFile(wheel).extractall(target)
    return target


def lnlab(installed: Path, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("LNLAB_")}
    return subprocess.run(
        [sys.executable, "-m", "lnlab", *words],
        cwd=folder,
        env=environment | {"PYTHONPATH": str(installed), "PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_results_lie_in_the_working_directory_and_never_in_the_installation(installed, tmp_path):
    before = files(installed)
    done = lnlab(installed, tmp_path, *TRAIN)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "scratch" / "a3c-gru-ln-w1-h8" / "episodes.parquet").exists()
    assert "complete" in lnlab(installed, tmp_path, "runs").stdout
    assert files(installed) == before


@pytest.mark.parametrize(
    "words",
    ["study quick", "study quick --list", "report quick", "publish paper", "publish paper --data-only", "bench"],
)
def test_what_needs_the_repository_says_so_in_one_line_before_any_work(installed, tmp_path, words):
    done = lnlab(installed, tmp_path, *words.split())
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"lnlab {words.split()[0]}: works in a clone of the repository only")
    assert not done.stdout
    assert not files(tmp_path)
