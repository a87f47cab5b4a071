"""Registry: a pool's live tasks by id, counters, and a history of times.

The registry holds no ended task. The pool's lock must be held for every use of it.
"""
from __future__ import annotations

from collections import deque

from .._ids import PREFIX, make_prefix
from ..errors import InvalidArgumentError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ..constants import TaskType
    from .task import Task


#: After this many tasks, their table is shrunk when no task is alive.
COMPACT_AFTER = 100_000

#: The number of latest tasks that the percentiles of waiting and running times cover.
HISTORY = 2048


def prefix_of(task_id: str) -> str:
    """Return the part of an id that all task ids of its registry share."""
    return task_id[:PREFIX]


class Registry:
    """Live tasks by id.

    An id is the registry's own prefix and the task's number in it; see :mod:`.._ids`.
    """

    __slots__ = ("tt", "prefix", "live", "named", "last", "failed", "cancelled", "retried",
                 "dropped_when_full", "history", "_shrunk")

    def __init__(self, tt: TaskType) -> None:
        self.tt: TaskType = tt
        self.prefix: str = make_prefix(tt)
        self.live: dict[int, Task[Any]] = {}      # by number
        self.named: dict[str, Task[Any]] = {}     # tasks with an id chosen by the caller, by id
        self.last: int = 0  # the last number assigned; breaks ties, and counts submitted tasks
        self.failed: int = 0
        self.cancelled: int = 0
        self.retried: int = 0
        self.dropped_when_full: int = 0  # tasks cancelled because the queue had no room for them
        self._shrunk = 0    # the value of last when compact() shrank the table last
        # The times, by perf_counter, when the latest tasks were queued, started and completed.
        self.history: deque[tuple[float, float, float]] = deque(maxlen=HISTORY)

    @property
    def succeeded(self) -> int:
        """The number of tasks that ended with a value, from the other counters."""
        return self.last - len(self.live) - self.failed - self.cancelled

    def task_id(self, number: int) -> str:
        """Return the id of the task with this number."""
        return f"{self.prefix}{number:012x}"

    def find(self, task_id: str) -> Task[Any] | None:
        """Return the live task with this id, or None."""
        if self.named:
            task = self.named.get(task_id)
            if task is not None:
                return task
        if len(task_id) == 32 and task_id.startswith(self.prefix):
            try:
                return self.live.get(int(task_id[PREFIX:], 16))
            except ValueError:
                return None
        return None

    def in_state(self, *statuses: int) -> list[Task[Any]]:
        """Return the live tasks in these states, in the order of their submission. (lock held)"""
        return [task for task in self.live.values() if task._status in statuses]

    def add(self, task: Task[Any]) -> None:
        """Add a task and assign its number.

        :raises InvalidArgumentError: the caller has chosen the id of a live task.
        """
        extra = task._extra
        chosen = None if extra is None else extra.task_id
        if chosen in self.named:
            raise InvalidArgumentError(f"task id {chosen!r} belongs to a live task; "
                                       "choose another one")
        task._number = number = self.last + 1
        self.live[number] = task
        self.last = number
        if chosen is not None:
            self.named[chosen] = task

    def drop(self, task: Task[Any]) -> None:
        """Forget a task that has just become final."""
        del self.live[task._number]
        extra = task._extra
        if extra is not None and extra.task_id is not None:
            self.named.pop(extra.task_id, None)
        if not self.live:
            self.compact()

    def compact(self) -> None:
        """Shrink the table if no task is alive after many."""
        if self.last - self._shrunk > COMPACT_AFTER and not self.live:
            self._shrunk = self.last
            self.live.clear()       # deletions of single entries do not shrink a dict
