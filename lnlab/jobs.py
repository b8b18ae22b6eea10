"""One arm of a study: `papermill notebooks/train.ipynb` in its own process, with its page in the run directory."""

import contextlib
import functools
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

from lnlab import locks, provenance
from lnlab.config import Config
from lnlab.files import read_json
from lnlab.memory import block
from lnlab.paths import BASE, NOTEBOOKS
from lnlab.runs import Run
from lnlab.signals import STOP_SECONDS

TEMPLATE = NOTEBOOKS / "train.ipynb"
GPUS = ("/dev/nvidiactl", "/dev/dxg")  # where one is, training decides on blocks, when it knows the device
LOG_LINES = 12  # shown of a failed run
ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",  # two kernels with a thread per core each take turns instead of running side by side
    "JUPYTER_PREFER_ENV_PATH": "1",  # the kernel of this Python, not one of the same name in the user's home
}


def prepared(config: Config, results: Path, device: str = "cpu") -> Run:
    """The folder of a run of a study, made by the first to come. Its blocks of seeds depend on its settings alone: on
    whatever machines they are trained, and beside how many others, the bits are the same.

    Args:
        device: cpu, or cuda, which takes all seeds in one block.

    Raises:
        ConfigError: the folder holds a run with other settings.
        HeldError: another process is training the run.
    """
    run = Run.open(config, block=block(config, 1, device), results=results)
    if not run.complete:
        run.record(fingerprint=provenance.fingerprint())
    run.release()
    return run


def last_lines(log: Path) -> str:
    """The end of a log, without colours and empty lines; "" where there is none."""
    text = log.read_text(encoding="utf-8", errors="replace") if log.exists() else ""
    plain = re.sub(r"\x1b\[[0-9;]*[A-Za-z]", "", text)
    return "\n".join(line for line in plain.splitlines()[-LOG_LINES:] if line.strip())


class Job:
    """The execution of one run. `start`, look at `ended`, then `settle`; or `interrupt` and `join`.

    One job at a time has a run, from its start until its papermill has ended, whatever becomes of the study.
    """

    def __init__(self, config: Config, template: Path = TEMPLATE, results: Path | None = None) -> None:
        self.config, self.template = config, template
        self.run = Run.at(config, results)
        self.page = self.run.dir / "page.ipynb"
        self.log = self.run.dir / "log.txt"
        self.held = False  # by another process, as `start` found
        self._process: subprocess.Popen[bytes] | None = None
        self._counted = self.run.reports_done

    @property
    def done(self) -> bool:
        """Whether the run is complete and its page was executed to the end."""
        if not self.run.answers(self.config):
            return False
        try:
            outcome = read_json(self.page).get("metadata", {}).get("papermill", {})
        except ValueError:  # half a page: papermill was killed
            return False
        return bool(outcome.get("end_time")) and not outcome.get("exception")

    @property
    def ended(self) -> bool:
        return self._process is not None and self._process.poll() is not None

    @property
    def steps_left(self) -> int:
        """Environment steps that had not reached the disk at the last count."""
        return max(0, self.config.seeds * self.config.reports - self._counted) * self.config.steps_per_report

    def new_steps(self) -> int:
        """Environment steps that reached the disk since the last call."""
        before, self._counted = self._counted, self.run.reports_done
        return (self._counted - before) * self.config.steps_per_report

    def start(self) -> bool:
        """Start papermill; False if another job or a training is still at work on the run, whose files stay as they
        are."""
        self.run.dir.mkdir(parents=True, exist_ok=True)
        try:
            if not locks.lock(self.run.dir, ".job"):
                return False
        except locks.HeldError:
            return False
        try:
            if self.run.busy:
                return False
            if self.config.device == "cpu" or not any(map(os.path.exists, GPUS)):
                with contextlib.suppress(ValueError):  # another run is there, or a damaged one: the notebook says so
                    prepared(self.config, self.run.dir.parent.parent)
            self.page.unlink(missing_ok=True)  # a page of an earlier attempt must not pass for this one
            with self.log.open("wb") as log:
                self._process = subprocess.Popen(
                    self.command,
                    cwd=BASE,
                    env=os.environ
                    | ENVIRONMENT
                    | {"LNLAB_RESULTS": str(self.run.dir.parent.parent), "LNLAB_JOB": str(self.run.dir)},
                    stdin=subprocess.PIPE,  # closes with this process, see lnlab/papermill_job.py
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,  # Ctrl-C in the terminal reaches the study only, which stops its runs
                    # in the background a shell has Ctrl-C ignored, and a process hands that on to those it starts
                    preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),
                )
            locks.hand_over(self.run.dir, ".job", self._process.pid)  # papermill holds it now
        finally:
            locks.unlock(self.run.dir / ".job")
        return True

    @property
    def command(self) -> list[str]:
        """The papermill line of this run: what names the arm, and every setting that is not the default."""
        told = {*self.config.ARM, "profile", *self.config.changed}
        settings = {name: getattr(self.config, name) for name in self.config.names() if name in told}
        # -r passes text as it stands; -p would read a profile named 2024 as a number
        parameters = [each for k, v in settings.items() for each in ("-r" if isinstance(v, str) else "-p", k, str(v))]
        papermill = [sys.executable, "-m", "lnlab.papermill_job", "--no-progress-bar", "-k", "python3"]
        return [*papermill, str(self.template), str(self.page), *parameters]

    def settle(self) -> str | None:
        """None if the ended job has done its work; else the last lines of its log, and the run is marked failed."""
        if self.done:
            return None
        error = (
            last_lines(self.log) or f"the notebook ended with exit status {self._process and self._process.returncode}"
        )
        if (self.run.dir / "config.json").exists() and self.run.status == "stopped":  # training did not record it
            self.run.fail(error)
        return error

    def interrupt(self) -> None:
        """Ask the notebook's kernel to stop: papermill interrupts it, training writes a checkpoint."""
        if self._process is not None and not self.ended:
            self._process.send_signal(signal.SIGINT)

    def join(self) -> None:
        """Wait for the end; kill it after `STOP_SECONDS`. A kernel that has lost its papermill ends by itself."""
        if self._process is None:
            return
        try:
            self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            pass  # others wait to be joined
        finally:
            if not self.ended:
                self._process.kill()
                self._process.wait()
