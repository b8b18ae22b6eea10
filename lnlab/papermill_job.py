"""`python -m lnlab.papermill_job`, with papermill's own arguments: papermill that ends with the study that started it.

It then hears Ctrl-C: it interrupts its kernel, and training writes a checkpoint. A kernel that has lost its papermill
ends by itself.
"""

import functools
import os
import signal
from pathlib import Path

from lnlab import locks
from lnlab.signals import end_with_input, on_ending


def main() -> None:
    """Run papermill, hold the job's lock and watch the study meanwhile."""
    if folder := os.environ.get("LNLAB_JOB"):
        locks.keep(Path(folder), ".job")
    end_with_input(functools.partial(os.kill, os.getpid(), signal.SIGINT), 1)
    from papermill.cli import papermill

    with on_ending(signal.default_int_handler):  # as Ctrl-C: else the kernel would die with it, without a checkpoint
        papermill()


if __name__ == "__main__":
    main()
