"""Settings of the test run: notebooks run small and leave their results in a temporary folder.

Kernels and subprocesses inherit these variables; they must be set before `lnlab.paths` is imported.
"""

import atexit
import os
import shutil
import tempfile

SCRATCH = tempfile.mkdtemp(prefix="lnlab-test-")
atexit.register(shutil.rmtree, SCRATCH, ignore_errors=True)

os.environ["LNLAB_SMALL"] = "1"  # notebooks/train.ipynb shrinks its seeds and episodes
os.environ["LNLAB_RESULTS"] = SCRATCH
os.environ.setdefault("OMP_NUM_THREADS", "1")
