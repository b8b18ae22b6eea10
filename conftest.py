"""Settings of the test run: notebooks run small and leave their results in a temporary folder.

Kernels and subprocesses inherit these variables; they must be set before `lnlab.paths` is imported.
"""

import atexit
import itertools
import os
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from lnlab.runs import Study

SCRATCH = tempfile.mkdtemp(prefix="lnlab-test-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

os.environ["LNLAB_SMALL"] = "1"  # notebooks/train.ipynb shrinks its seeds and episodes
os.environ["LNLAB_RESULTS"] = SCRATCH
os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def tiny_study() -> "Study":
    """All eight arms, two seeds of four episodes each: enough for every table and page to exist."""
    from lnlab.config import RunConfig
    from lnlab.inside import run
    from lnlab.runs import load

    arms = itertools.product(("a3c", "individual"), ("gru", "ff"), ("none", "ln"))
    for algorithm, core, norm in arms:
        arm = {"algorithm": algorithm, "core": core, "norm": norm}
        config = RunConfig(**arm, seeds=2, episodes=4, eval_episodes=1, cores=1, device="cpu", profile="tiny")
        run(config, progress=False)
    return load(Path(SCRATCH) / "tiny")
