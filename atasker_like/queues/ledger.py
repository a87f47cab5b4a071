"""Ledger: the tasks of a queue, in the order of their submission."""
from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, List

    from ..engine.task import Task

    Tasks = List[Task[Any]]
else:
    Tasks = list


class Ledger(Tasks):
    """The tasks since the last ``reset()``, which makes a new ledger.

    Any thread appends without a lock: that is one step, on a free-threaded build too. The queue's
    lock guards the numbers. A wait that a reset ends goes on with the old ledger, and so changes
    nothing of the new one.
    """

    __slots__ = ("settled", "cleared", "reported")

    def __init__(self) -> None:
        super().__init__()
        self.settled: int = 0       # so many tasks at the beginning are known to have ended
        self.cleared: int = 0       # how often the ledger has been shortened
        self.reported: int = 0      # the number of tasks in earlier summaries

    def rest(self) -> list[Task[Any]]:
        """Return the tasks that may not have ended. (no lock)"""
        while True:
            cleared = self.cleared
            found = self[self.settled:]
            if cleared == self.cleared:     # else it was shortened in between
                return found

    def clear_ended(self) -> None:
        """Forget the tasks that have ended. (the queue's lock held)"""
        seen = len(self)
        kept = [task for task in self[:seen] if not task.done()]
        self.reported -= sum(task.done() for task in self[:self.reported])
        # The numbers first, for rest(). In place and from the front, as other threads may append.
        self.settled = 0
        self.cleared += 1
        self[:seen] = kept
