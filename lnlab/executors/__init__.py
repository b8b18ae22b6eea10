"""Engines that train the shards of a study: this machine, a Ray cluster, Slurm. What they share stands in `fleet`.

An engine is told to `submit` tasks, is asked how each went (`poll`), and can `cancel` one. It keeps nothing that
matters: run folders, on a disk that all machines share, are the only state.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:  # not loaded before it is run as a module
    from lnlab.executors.task import Outcome, Task


class Executor(Protocol):
    """What runs tasks, somewhere."""

    def submit(self, tasks: Sequence["Task"]) -> list[Any]:
        """Hand over tasks, as one array where the engine has arrays; returns a handle for each."""

    def poll(self, handle: Any) -> "Outcome | None":
        """How a task went; None while it waits or is at work."""

    def cancel(self, handle: Any) -> None:
        """Ask a task to end; it writes a checkpoint first, where it still can."""
