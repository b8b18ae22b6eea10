"""The shards of a study on an engine: submitted, watched, tried again."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from lnlab.executors import Executor
from lnlab.executors.task import HELD, STOPPED, TRAINED, Task
from lnlab.runs import Run
from lnlab.signals import STOP_SECONDS

TRIES = 3  # of a shard that fails
PAUSE = 10.0  # seconds before another try of a shard that somebody else is at work on


class Fleet:
    """Tasks on their way. `advance` again and again until it is not `busy`; or `stop`.

    Args:
        say: takes a line for the user.
    """

    def __init__(self, engine: Executor, tasks: Sequence[Task], say: Callable[[str], None]) -> None:
        self.engine, self._say = engine, say
        self._due = dict.fromkeys(tasks, 0.0)  # when to submit what is not at work
        self._working: dict[Task, Any] = {}
        self._failures: Counter[Task] = Counter()
        self.failed: dict[Task, str] = {}  # what was said last of tasks that were tried often enough

    @property
    def busy(self) -> set[Path]:
        """Folders of the runs that have tasks left."""
        return {task.folder for task in (*self._due, *self._working)}

    def advance(self) -> None:
        """Look at what has ended, and submit what is due."""
        for task, handle in list(self._working.items()):
            if (outcome := self.engine.poll(handle)) is None:
                continue
            del self._working[task]
            if outcome.code == TRAINED:
                continue
            if outcome.code not in (HELD, STOPPED):
                self._failures[task] += 1
                self._say(f"FAILED  {task}, try {self._failures[task]} of {TRIES}  (log: {task.log})\n{outcome.said}")
            if self._failures[task] == TRIES:
                self.failed[task] = outcome.said
                Run(task.folder).fail(f"{task}: {outcome.said}")
            else:
                self._due[task] = time.monotonic() + (PAUSE if outcome.code == HELD else 0)
        if due := [task for task, when in self._due.items() if when <= time.monotonic()]:
            self._working |= zip(due, self.engine.submit(due), strict=True)
            for task in due:
                del self._due[task]

    def stop(self) -> None:
        """Cancel all, and wait until they have written their checkpoints, for a while."""
        self._due = {}
        for handle in self._working.values():
            self.engine.cancel(handle)
        until = time.monotonic() + STOP_SECONDS
        while self._working and time.monotonic() < until:
            self._working = {task: each for task, each in self._working.items() if self.engine.poll(each) is None}
            time.sleep(0.2)
