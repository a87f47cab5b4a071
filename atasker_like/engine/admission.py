"""Which waiting task may start now. Pure policy: no thread, no lock, no clock.

Places are counted, not named. Tasks of low priority may occupy the first ``pool_size`` places, normal ones
``reserve_normal`` more, high ones ``reserve_high`` more again, and critical ones always find one::

    |<----- pool_size ----->|<-- reserve_normal -->|<-- reserve_high -->|  beyond
     LOW  NORMAL HIGH CRIT.   NORMAL HIGH CRITICAL    HIGH CRITICAL        CRITICAL

The more urgent a task, the more places it may use. So if the most urgent waiting task may not start, no
other may: one look at the head of the queue decides.

Whoever uses an Admission holds the lock of the pool that it belongs to.
"""
from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from sys import maxsize

from ..constants import Priority
from .task import QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Deque, Dict, Iterable, List, Optional, Sequence, Set

    from .task import Task, TaskSpec

__all__ = ["Admission"]

_CRITICAL, _HIGH, _NORMAL = int(Priority.CRITICAL), int(Priority.HIGH), int(Priority.NORMAL)


def _rank(priority: int) -> int:
    """Return how many classes there are above a priority's, CRITICAL aside."""
    return 2 if priority > _NORMAL else 1 if priority > _HIGH else 0


class Admission:
    """The waiting tasks in order of priority, then of arrival; and the count of places in use."""

    __slots__ = ("active", "waiting", "most", "_low", "_normal", "_high", "_levels", "_order", "_dead")

    def __init__(self, pool_size: int = 1, reserve_normal: int = 0, reserve_high: int = 0) -> None:
        #: Places in use. Lent ones do not count; critical tasks may push it beyond every limit.
        self.active = 0
        #: Tasks that wait, those withdrawn not counted.
        self.waiting = 0
        #: A submission that finds fewer waiting needs no further look.
        self.most = maxsize
        self._levels: "Dict[int, Deque[Task[Any]]]" = {}    # by priority, each first in, first out
        self._order: "List[int]" = []                       # a heap of the priorities that have a level
        self._dead = 0                                      # withdrawn tasks that still stand in a level
        self.resize(pool_size, reserve_normal, reserve_high)

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int) -> None:
        """Set the number of places; a pool size of 0 is unlimited. What runs is not touched."""
        self._low = pool_size if pool_size else maxsize
        self._normal = self._low + reserve_normal
        self._high = self._normal + reserve_high

    def empty_copy(self) -> "Admission":
        """Return one with the same places, in which nothing waits or runs."""
        fresh = Admission()
        fresh._low, fresh._normal, fresh._high, fresh.most = self._low, self._normal, self._high, self.most
        return fresh

    @property
    def places(self) -> int:
        """How many places there are in all, critical tasks' aside; sys.maxsize or more when unlimited."""
        return self._high

    def limit(self, priority: int) -> int:
        """Return how many places may be in use, this one included, when a task of the priority runs.

        A number between two names has the rights of the less urgent one: 75 is NORMAL.
        """
        if priority > _NORMAL:
            return self._low
        if priority > _HIGH:
            return self._normal
        if priority > _CRITICAL:
            return self._high
        return maxsize

    def push(self, task: "Task[Any]", risen: "Optional[int]" = None) -> None:
        """Add a task behind those of its priority, or of the one that it has risen to."""
        priority = task._spec.priority if risen is None else risen
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.append(task)
        self.waiting += 1

    def push_run(self, priority: int, tasks: "Sequence[Task[Any]]") -> None:
        """Add many tasks of one priority, in their order."""
        if not tasks:
            return
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.extend(tasks)
        self.waiting += len(tasks)

    def push_back(self, tasks: "Iterable[Task[Any]]") -> None:
        """Put tasks that were taken, in the order in which they were taken, back where they stood."""
        for task in reversed(list(tasks)):
            priority = task._spec.priority
            level = self._levels.get(priority)
            if level is None:
                level = self._levels[priority] = deque()
                heappush(self._order, priority)
            level.appendleft(task)
            self.waiting += 1

    def peek(self) -> "Optional[Task[Any]]":
        """Return the task that is next, or None; it stays where it is."""
        if not self.waiting:
            return None
        order = self._order
        while True:
            level = self._levels[order[0]]
            while level:
                task = level[0]
                if task._status == QUEUED:
                    return task
                level.popleft()
                self._dead -= 1
            del self._levels[heappop(order)]

    def urgency(self) -> int:
        """Return the priority at which the task that :meth:`peek` has just returned stands: it may have risen."""
        return self._order[0]

    def age(self, now: float, interval: float) -> "Optional[float]":
        """Let waiting tasks rise one class per interval, up to HIGH.

        :param now: a perf_counter reading, as tasks note when they came.
        :return: the seconds until another one is to rise, or None when none that waits will.
        """
        soonest = None
        for priority in sorted(self._levels):       # the most urgent first, so that each rises once at most
            rank = _rank(priority)
            if not rank:
                continue
            level = self._levels[priority]
            while level:
                # Who stands behind came later, or has risen later: one look at the first decides.
                task = level[0]
                if task._status == QUEUED:
                    extra = task._extra
                    since = task._queued if extra is None or extra.due is None else extra.due
                    pause = since + interval * (_rank(task._spec.priority) - rank + 1) - now
                    if pause > 0:
                        soonest = pause if soonest is None else min(soonest, pause)
                        break
                    self.push(level.popleft(), _NORMAL if rank > 1 else _HIGH)
                    self.waiting -= 1
                    if rank > 1:
                        soonest = 0.0       # it may have waited for two intervals
                else:
                    level.popleft()
                    self._dead -= 1
        return soonest

    def offer(self, task: "Task[Any]") -> bool:
        """Occupy a place for a task that has just come, or let it wait; say whether it has a place.

        A task that may start need not look at those that wait: they may not, or they would have started.
        """
        priority = task._spec.priority
        # limit(), written out, here and in exchange(): these run once for every task
        if self.active < (self._low if priority > 100 else self._normal if priority > 50
                          else self._high if priority > 0 else maxsize):
            self.active += 1
            return True
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.append(task)
        self.waiting += 1
        return False

    def exchange(self) -> "Optional[Task[Any]]":
        """Give a place back and take the task that is next; the place is its own then. None when none may start."""
        if self.waiting:
            order = self._order
            while True:
                priority = order[0]
                level = self._levels[priority]
                if level:
                    if self.active > (self._low if priority > 100 else self._normal if priority > 50
                                      else self._high if priority > 0 else maxsize):
                        break
                    task = level.popleft()
                    if task._status == QUEUED:
                        self.waiting -= 1
                        return task
                    self._dead -= 1
                else:
                    # Emptied levels are dropped only when they are in the way: most often the next task is of
                    # the same priority.
                    del self._levels[heappop(order)]
        self.active -= 1
        return None

    def take_run(self, spec: "TaskSpec", most: int) -> "List[Task[Any]]":
        """Take the task that :meth:`peek` has just returned and those of the same function that follow it in its
        level, up to a number; no place is occupied."""
        level = self._levels[self._order[0]]
        taken: "List[Task[Any]]" = []
        while level and level[0]._spec is spec and len(taken) < most:
            task = level.popleft()
            if task._status == QUEUED:
                taken.append(task)
            else:
                self._dead -= 1
        self.waiting -= len(taken)
        return taken

    def pop(self) -> "Optional[Task[Any]]":
        """Take the task that is next and occupy a place for it; None when none may start."""
        self.active += 1
        return self.exchange()

    def withdrawn(self) -> None:
        """A task that waits here has just been given another state; its entry is skipped when met.

        Entries of withdrawn tasks are swept out when they are the larger part, so that a caller who submits
        and cancels for ever does not fill the memory.
        """
        self.waiting -= 1
        self._dead += 1
        if not self.waiting:
            self._levels.clear()
            self._order.clear()
            self._dead = 0
        elif self._dead > 64 and self._dead > self.waiting:
            levels = {priority: deque(task for task in level if task._status == QUEUED)
                      for priority, level in self._levels.items()}
            self._levels = {priority: level for priority, level in levels.items() if level}
            self._order = sorted(self._levels)      # a sorted list is a heap
            self._dead = 0

    def recount(self, active: int) -> None:
        """Set the accounts right after an interrupt that came at any line, from what stands in the levels."""
        levels = {priority: deque(task for task in level if task._status == QUEUED)
                  for priority, level in self._levels.items()}
        self._levels = {priority: level for priority, level in levels.items() if level}
        self._order = sorted(self._levels)
        self.waiting = sum(len(level) for level in self._levels.values())
        self._dead = 0
        self.active = active

    def standing(self) -> "Set[Task[Any]]":
        """Return the tasks that wait."""
        return {task for level in self._levels.values() for task in level if task._status == QUEUED}

    def take_all(self) -> "List[Task[Any]]":
        """Take every waiting task, most urgent first, occupying no place."""
        taken = []
        for priority in sorted(self._order):
            taken += [task for task in self._levels[priority] if task._status == QUEUED]
        self._levels.clear()
        self._order.clear()
        self.waiting = self._dead = 0
        return taken

    def depths(self) -> "Dict[int, int]":
        """Return how many tasks wait at each priority."""
        counts = {priority: sum(1 for task in self._levels[priority] if task._status == QUEUED)
                  for priority in sorted(self._order)}
        return {priority: count for priority, count in counts.items() if count}
