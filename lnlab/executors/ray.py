"""Tasks on a Ray cluster. Ray gives a task of a node that is gone to another one, which goes on from the checkpoint."""

import logging
import socket
from collections.abc import Sequence
from typing import Any

from lnlab.config import ConfigError
from lnlab.executors.task import FAILED, Child, Outcome, Task

RETRIES = 10  # of a task whose node or worker is gone, before it counts as failed
SECONDS = 5.0  # in which a cluster must answer


class Ray:
    """One core, and `gpus`, for each task.

    Args:
        address: HOST:PORT of the head, ray://HOST:PORT of its client server, or "auto", of a node's own cluster.

    Raises:
        ConfigError: Ray is not installed, or no cluster answers at `address`.
    """

    def __init__(self, address: str = "auto", *, gpus: float = 0) -> None:
        try:
            import ray
        except ImportError:
            raise ConfigError("--on ray needs Ray: pip install 'lnlab[cluster]'") from None
        self._ray = ray
        try:
            if address != "auto":
                host, _, port = address.removeprefix("ray://").rpartition(":")
                socket.create_connection((host, int(port)), SECONDS).close()  # Ray itself would try for minutes
            ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, OSError, ValueError, RuntimeError) as error:
            raise ConfigError(f"no Ray cluster answers at --address {address}: {error}") from None
        self._train = ray.remote(num_cpus=1, num_gpus=gpus, max_retries=RETRIES)(_train)

    def submit(self, tasks: Sequence[Task]) -> list[Any]:
        return [self._train.remote(task) for task in tasks]

    def poll(self, handle: Any) -> Outcome | None:
        ready, _ = self._ray.wait([handle], timeout=0)
        if not ready:
            return None
        try:
            return self._ray.get(handle)
        except Exception as error:  # of Ray: cancelled, out of memory, node gone too often
            return Outcome(FAILED, f"{type(error).__name__}: {str(error).strip().splitlines()[0]}")

    def cancel(self, handle: Any) -> None:
        self._ray.cancel(handle)


def _train(task: Task) -> Outcome:
    return Child(task).wait()
