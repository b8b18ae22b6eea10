"""Tasks as jobs of Slurm, through submitit: an array for each submission, with a time limit.

A job that is pre-empted or reaches its limit writes a checkpoint and waits in the queue again. Jobs outlive the study
that submitted them: the next one finds what they left.
"""

import math
import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnlab.config import ConfigError
from lnlab.executors.task import FAILED, Child, Outcome, Task

REQUEUES = 10_000  # submitit's own limit is three; each goes on from a checkpoint
WARNING = 60  # seconds before the limit in which a task ends its episode and writes


class Slurm:
    """Jobs of one core, and `gpus`, with a limit of `minutes`; cluster "local" is this machine, without Slurm.

    Raises:
        ConfigError: submitit is not installed, or there is no Slurm here.
    """

    def __init__(
        self, folder: Path, *, minutes: float = 60, gpus: int = 0, partition: str = "", cluster: str = "slurm"
    ) -> None:
        try:
            import submitit
        except ImportError:
            raise ConfigError("--on slurm needs submitit: pip install 'lnlab[cluster]'") from None
        if cluster == "slurm" and not shutil.which("sbatch"):
            raise ConfigError("--on slurm finds no Slurm here: there is no sbatch; run it on a login node")
        self._executor = submitit.AutoExecutor(folder, cluster=cluster, **{f"{cluster}_max_num_timeout": REQUEUES})
        given: dict[str, Any] = {"timeout_min": math.ceil(minutes), "cpus_per_task": 1, "gpus_per_node": gpus}
        given |= {"name": "lnlab", "slurm_signal_delay_s": WARNING}
        self._executor.update_parameters(**given, **({"slurm_partition": partition} if partition else {}))

    def submit(self, tasks: Sequence[Task]) -> list[Any]:
        with self._executor.batch():  # an array
            return [self._executor.submit(_Work(task)) for task in tasks]

    def poll(self, handle: Any) -> Outcome | None:
        if not handle.done():
            return None
        try:
            return handle.result()
        except Exception as error:  # of submitit: cancelled, killed, without result
            return Outcome(FAILED, str(error).strip().splitlines()[-1])

    def cancel(self, handle: Any) -> None:
        handle.cancel()


class _Work:
    """What a job runs; submitit calls `checkpoint` when Slurm warns it."""

    def __init__(self, task: Task) -> None:
        self.task = task
        self._child: Child | None = None

    def __call__(self) -> Outcome:
        self._child = child = Child(self.task)
        return child.wait()

    def checkpoint(self) -> Any:
        import submitit

        if self._child is not None:
            self._child.stop()
            while self._child.outcome() is None:  # not wait(): this interrupts it
                time.sleep(0.1)
        return submitit.helpers.DelayedSubmission(_Work(self.task))
