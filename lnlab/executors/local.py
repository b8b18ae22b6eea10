"""Tasks on this machine, a few at a time."""

from collections.abc import Sequence

from lnlab.executors.task import STOPPED, Child, Outcome, Task


class Local:
    """`places` processes side by side, each with one task and one thread; the others wait."""

    def __init__(self, places: int) -> None:
        self.places = places
        self._waiting: list[Task] = []
        self._children: dict[Task, Child] = {}

    def submit(self, tasks: Sequence[Task]) -> list[Task]:
        self._waiting += tasks
        return list(tasks)

    def poll(self, handle: Task) -> Outcome | None:
        while self._waiting and len(self._children) < self.places:
            task = self._waiting.pop(0)
            self._children[task] = Child(task)
        if handle not in self._children:
            return None if handle in self._waiting else Outcome(STOPPED, "cancelled")
        if (found := self._children[handle].outcome()) is not None:
            del self._children[handle]
        return found

    def cancel(self, handle: Task) -> None:
        if handle in self._waiting:
            self._waiting.remove(handle)
        elif handle in self._children:
            self._children[handle].stop()
