"""`python -m lnlab.papermill_job`, with papermill's own arguments: papermill that ends with the study that started it.

The study holds the other end of the standard input and writes nothing into it, so that it closes when the study is
gone, however it died. Papermill then hears Ctrl-C: it interrupts its kernel, and training writes a checkpoint. A kernel
that has lost its papermill ends by itself.
"""

import os
import signal
import threading
import time
from pathlib import Path

from lnlab import locks
from lnlab.signals import on_ending

STOP_SECONDS = 30.0  # for a stopped run to reach the end of its episode and write a checkpoint


def main() -> None:
    """Run papermill, hold the job's lock and watch the study meanwhile."""
    if folder := os.environ.get("LNLAB_JOB"):
        locks.keep(Path(folder), ".job")
    threading.Thread(target=_end_with_the_study, daemon=True).start()
    from papermill.cli import papermill

    with on_ending(signal.default_int_handler):  # as Ctrl-C: else the kernel would die with it, without a checkpoint
        papermill()


def _end_with_the_study() -> None:
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(STOP_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
