"""Settings of the test run: its runs leave their results in a temporary folder.

Kernels and subprocesses inherit these variables; they must be set before `lnlab.paths` is imported.
"""

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from filelock import FileLock

if TYPE_CHECKING:
    from lnlab.runs import Study

SCRATCH = tempfile.mkdtemp(prefix="lnlab-test-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

os.environ["LNLAB_RESULTS"] = SCRATCH
os.environ.setdefault("OMP_NUM_THREADS", "1")


def once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that the first process of a test run to ask for it makes, and all others read."""
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    with FileLock(f"{folder}.lock"):
        if not (done := folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            make(folder)
            done.touch()
    return folder


@pytest.fixture(scope="session")
def tiny_study(tmp_path_factory: pytest.TempPathFactory) -> "Study":
    """Both algorithms with a GRU, with and without norm, two seeds of four episodes: enough for tables and pages."""
    from lnlab import runs
    from lnlab.config import RunConfig
    from lnlab.inside import run

    def train(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(runs, "RESULTS", folder)
            for algorithm, norm in itertools.product(("a3c", "individual"), ("none", "ln")):
                extent = {"seeds": 2, "episodes": 4, "eval_episodes": 1, "cores": 1, "device": "cpu", "profile": "tiny"}
                run(RunConfig(algorithm=algorithm, norm=norm, **extent), progress=False)

    return runs.load(once(tmp_path_factory, "results", train) / "tiny")


@pytest.fixture(scope="session")
def report(tiny_study: "Study", tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a report of the tiny study with the pages summary, D1 and claims: its book/ and _build/html/."""
    from lnlab.book import build, needs

    def lacking(pages: Iterable[str], folder: Path) -> dict[str, str]:
        kept = ("d1", "claims")
        return {name: lack if name in kept else lack or "time" for name, lack in every(pages, folder).items()}

    def make(folder: Path) -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(build, "RESULTS", tiny_study.dir.parent)
            patch.setattr(build, "BUILD", folder)
            patch.setattr(needs, "lacking", lacking)
            build.build("tiny")

    every = needs.lacking
    return once(tmp_path_factory, "build", make) / "report-tiny"


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The published book, built from a copy as `make book` builds it."""
    from lnlab.book import build
    from lnlab.paths import BOOK, ROOT

    def make(folder: Path) -> None:
        shutil.copytree(BOOK, folder / "book")
        for name in (build.CONFIG, "CHANGELOG.md"):
            shutil.copy(ROOT / name, folder / name)
        build.render(folder)

    return once(tmp_path_factory, "published", make)


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for the runs of one test, and one for what it publishes beside it."""
    from lnlab import paths, runs

    for module in (runs, paths):
        monkeypatch.setattr(module, "RESULTS", tmp_path / "results")
    monkeypatch.setattr(paths, "PUBLISHED", tmp_path / "book" / "data")
    monkeypatch.setenv("LNLAB_RESULTS", str(tmp_path / "results"))  # for processes that the test starts
    return tmp_path / "results"
