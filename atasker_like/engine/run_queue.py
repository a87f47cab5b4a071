"""Which waiting task may start now. Pure policy: no thread, no lock, no clock.

Places are counted, not named. Tasks of low priority may occupy the first ``pool_size`` places, normal ones
``reserve_normal`` more, high ones ``reserve_high`` more again, and critical ones always find one::

    |<----- pool_size ----->|<-- reserve_normal -->|<-- reserve_high -->|  beyond
     LOW  NORMAL HIGH CRIT.   NORMAL HIGH CRITICAL    HIGH CRITICAL        CRITICAL

The more urgent a task, the more places it may use. So if the most urgent waiting task may not start, no
other may: one look at the head of the queue decides.

The tasks of a lane are stood in for by entries: see :mod:`.lanes`. A entry has a status of its own, so that it is met
only where a task that is not QUEUED any more would be.

Whoever uses an RunQueue holds the lock of the pool that it belongs to.
"""
from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from sys import maxsize
from weakref import WeakSet

from ..constants import Priority
from .lanes import LANE_ENTRY, LaneEntry
from .task import QUEUED

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence

    from .lanes import Lane
    from .spec import TaskSpec
    from .task import Task

__all__ = ["RunQueue"]

_CRITICAL, _HIGH, _NORMAL = int(Priority.CRITICAL), int(Priority.HIGH), int(Priority.NORMAL)


def _priority_class(priority: int) -> int:
    """Return how many classes there are above a priority's, CRITICAL aside."""
    return 2 if priority > _NORMAL else 1 if priority > _HIGH else 0


class RunQueue:
    """The waiting tasks in order of priority, then of arrival; and the count of places in use."""

    __slots__ = ("active", "waiting", "fast_limit", "lanes", "_low", "_normal", "_high", "_levels", "_order", "_stale")

    def __init__(self, pool_size: int = 1, reserve_normal: int = 0, reserve_high: int = 0) -> None:
        #: Places in use. Lent ones do not count; critical tasks may push it beyond every limit.
        self.active = 0
        #: Tasks that wait, those withdrawn and those of lanes that are closed not counted.
        self.waiting = 0
        #: The lanes in front of the pool; one that nobody knows any more, and has no task, is gone.
        self.lanes: WeakSet[Lane] = WeakSet()
        #: A submission that finds fewer waiting needs no further look.
        self.fast_limit = maxsize
        # By priority, each first in, first out; of tasks, and entries.
        self._levels: dict[int, deque[Any]] = {}
        self._order: list[int] = []                       # a heap of the priorities that have a level
        self._stale = 0                                      # withdrawn tasks that still stand in a level
        self.resize(pool_size, reserve_normal, reserve_high)

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int) -> None:
        """Set the number of places; a pool size of 0 is unlimited. What runs is not touched."""
        self._low = pool_size if pool_size else maxsize
        self._normal = self._low + reserve_normal
        self._high = self._normal + reserve_high

    def empty_copy(self) -> RunQueue:
        """Return one with the same places, in which nothing waits or runs."""
        fresh = RunQueue()
        fresh._low, fresh._normal, fresh._high, fresh.fast_limit = self._low, self._normal, self._high, self.fast_limit
        fresh.lanes = self.lanes
        for lane in self.lanes:
            lane.clear()
        return fresh

    @property
    def slots(self) -> int:
        """How many places there are in all, critical tasks' aside; sys.maxsize or more when unlimited."""
        return self._high

    def slot_limit(self, priority: int) -> int:
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

    def push(self, task: Task[Any]) -> None:
        """Add a task behind those of its priority."""
        priority = task._spec.priority
        lane = task._spec.lane
        if lane is not None:
            lane.push(task)
            self._add_entries(lane, 1, priority, task._queued)
            return
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.append(task)
        self.waiting += 1

    def push_batch(self, priority: int, tasks: Sequence[Task[Any]]) -> None:
        """Add many tasks of one function, in their order."""
        if not tasks:
            return
        lane = tasks[0]._spec.lane
        if lane is not None:
            lane.push_batch(tasks[0]._spec.lane_order, tasks)
            self._add_entries(lane, len(tasks), priority, tasks[0]._queued)
            return
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.extend(tasks)
        self.waiting += len(tasks)

    def _add_entries(self, lane: Lane, count: int, priority: int, since: float) -> None:
        level = self._level(priority)
        last = level[-1] if level else None
        if last is not None and last._status == LANE_ENTRY and last.lane is lane:
            last.count += count
        else:
            level.append(LaneEntry(lane, count, since))
        lane.entries += count
        self.waiting += count

    def _level(self, priority: int) -> deque[Any]:
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        return level

    def requeue(self, tasks: Iterable[Task[Any]]) -> None:
        """Put tasks that were taken, in the order in which they were taken, back where they stood. The places of
        their lanes are given back apart: see :meth:`free`."""
        for task in reversed(list(tasks)):
            priority = task._spec.priority
            level = self._level(priority)
            lane = task._spec.lane
            self.waiting += 1
            if lane is None:
                level.appendleft(task)
                continue
            lane.requeue(task)
            lane.entries += 1
            first = level[0] if level else None
            if first is not None and first._status == LANE_ENTRY and first.lane is lane:
                first.count += 1
            else:
                level.appendleft(LaneEntry(lane, 1, task._queued))

    # -- lanes -------------------------------------------------------------------------------------

    def _entry_task(self, level: deque[Any], holder: dict[Lane, int] | None = None) -> Task[Any] | None:
        """A entry stands at the head of the first level: return the task whose entry it is, which stays in its lane. Or
        take the entry out of the line, since there is none, and return None."""
        entry: LaneEntry = level[0]
        lane = entry.lane
        if lane.entries:
            if not lane.is_blocked(holder):
                task = lane.peek()
                assert task is not None
                return task
            self.waiting -= lane.park(self._order[0], entry)
        else:
            self._stale = max(0, self._stale - entry.count)
        level.popleft()
        return None

    def _pop_lane_entry(self, level: deque[Any], entry: LaneEntry) -> Task[Any] | None:
        """A entry has just been taken from the head of the first level: take the task whose entry it is, with a place of
        its lane, or return None, since there is none. The price of a lane is paid here: _entry_task(), written out."""
        lane = entry.lane
        if lane.entries:
            if lane.running < lane.fast_limit or not lane.is_blocked():
                lane.head_entry = None        # it would be a cycle, for as long as nothing waits
                if entry.count > 1:
                    entry.count -= 1
                    level.appendleft(entry)
                    lane.head_entry = entry
                lane.entries -= 1
                lane.running += 1
                self.waiting -= 1
                return lane.take()
            self.waiting -= lane.park(self._order[0], entry)
        else:
            self._stale = max(0, self._stale - entry.count)
        return None

    def release_lane(self, lane: Lane) -> None:
        """A place of a lane is free again."""
        lane.running -= 1
        if lane.parked:
            self.unpark_lane(lane)

    def unpark_lane(self, lane: Lane) -> None:
        """A lane may have opened: what was parked stands at the head of the line again."""
        self.waiting += lane.parked
        for priority, entry in lane.unpark().items():
            self._level(priority).appendleft(entry)

    def release(self, task: Task[Any]) -> None:
        """A task gives its place back."""
        self.active -= 1
        lane = task._spec.lane
        if lane is not None:
            self.release_lane(lane)

    def acquire(self, task: Task[Any]) -> None:
        """A task takes a place, whoever waits for one."""
        self.active += 1
        lane = task._spec.lane
        if lane is not None:
            lane.running += 1

    def lend(self, task: Task[Any]) -> None:
        """A task lends its place; that in its lane, too, if the lane does."""
        self.active -= 1
        lane = task._spec.lane
        if lane is not None and lane.lends_slot:
            self.release_lane(lane)

    def reclaim(self, task: Task[Any]) -> None:
        """A task takes back what it had lent, whoever has taken it meanwhile."""
        self.active += 1
        lane = task._spec.lane
        if lane is not None and lane.lends_slot:
            lane.running += 1

    def try_acquire(self, task: Task[Any]) -> bool:
        """Occupy a place for a task that has just come, where there are places without end and nothing of its lane comes
        before it; say whether it has one. If not, it has not been added either."""
        lane = task._spec.lane
        if lane is not None:
            if lane.running >= lane.fast_limit or lane.entries or lane.parked:
                return False
            lane.running += 1
        self.active += 1
        return True

    # -- what is next ------------------------------------------------------------------------------

    def peek(self, holder: dict[Lane, int] | None = None) -> Task[Any] | None:
        """Return the task that is next, or None; it stays where it is.

        :param holder: the lanes of which the process that asks has tasks.
        """
        order = self._order
        while self.waiting:
            level = self._levels[order[0]]
            while level:
                task = level[0]
                if task._status == QUEUED:
                    return task     # type: ignore[no-any-return]
                if task._status == LANE_ENTRY:
                    found = self._entry_task(level, holder)
                    if found is not None:
                        return found
                    continue
                level.popleft()
                self._stale -= 1
            del self._levels[heappop(order)]
        return None

    def head_priority(self) -> int:
        """Return the priority at which the task that :meth:`peek` has just returned stands: it may have risen."""
        return self._order[0]

    def promote_aged(self, now: float, interval: float) -> float | None:
        """Let waiting tasks rise one class per interval, up to HIGH.

        :param now: a perf_counter reading, as tasks note when they came.
        :return: the seconds until another one is to rise, or None when none that waits will.
        """
        soonest = None
        for priority in sorted(self._levels):       # the most urgent first, so that each rises once at most
            rank = _priority_class(priority)
            if not rank:
                continue
            level = self._levels[priority]
            while level:
                # Who stands behind came later, or has risen later: one look at the first decides.
                task = level[0]
                if task._status == QUEUED or task._status == LANE_ENTRY:
                    if task._status == QUEUED:
                        extra = task._extra
                        since = task._queued if extra is None or extra.scheduled_at is None else extra.scheduled_at
                        due = since + interval * (_priority_class(task._spec.priority) - rank + 1)
                    else:
                        due = task.since + interval
                    pause = due - now
                    if pause > 0:
                        soonest = pause if soonest is None else min(soonest, pause)
                        break
                    # Turns rise together: those of a lane that came one after another.
                    if task._status == LANE_ENTRY:
                        task.since = now
                    self._level(_NORMAL if rank > 1 else _HIGH).append(level.popleft())
                    if rank > 1:
                        soonest = 0.0       # it may have waited for two intervals
                else:
                    level.popleft()
                    self._stale -= 1
        return soonest

    def acquire_or_enqueue(self, task: Task[Any]) -> bool:
        """Occupy a place for a task that has just come, or let it wait; say whether it has a place.

        A task that may start need not look at those that wait: they may not, or they would have started.
        """
        priority = task._spec.priority
        # limit(), written out, here and in release_and_pop(): these run once for every task
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

    def release_and_pop_lane(self, lane: Lane) -> Task[Any] | None:
        """Give a place back that a task of a lane had, and take the task that is next: see :meth:`release_and_pop`.

        Most often the entry after it is its lane's own: then the place of the lane, too, passes on.
        """
        if lane.entries and lane.running <= lane.fast_limit:
            priority = self._order[0]
            level = self._levels[priority]
            entry = lane.head_entry
            if (level and level[0] is entry and entry.count > 1       # no None stands there
                    and self.active <= (self._low if priority > 100 else self._normal if priority > 50
                                        else self._high if priority > 0 else maxsize)):
                tasks = lane.cached_level
                if tasks:
                    task = tasks.popleft()
                    if task._status == QUEUED:
                        entry.count -= 1
                        lane.entries -= 1
                        self.waiting -= 1
                        return task
                    lane.note_stale()
        lane.running -= 1
        if lane.parked:
            self.unpark_lane(lane)
        return self.release_and_pop()

    def release_and_pop(self) -> Task[Any] | None:
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
                        return task     # type: ignore[no-any-return]
                    if task._status == LANE_ENTRY:
                        found = self._pop_lane_entry(level, task)
                        if found is not None:
                            return found
                        if not self.waiting:
                            break
                    else:
                        self._stale -= 1
                else:
                    # Emptied levels are dropped only when they are in the way: most often the next task is of
                    # the same priority.
                    del self._levels[heappop(order)]
        self.active -= 1
        return None

    def pop_batch(self, spec: TaskSpec, most: int, holder: dict[Lane, int]) -> list[Task[Any]]:
        """Take the task that :meth:`peek` has just returned and those of the same function that follow it in its
        level, up to a number; no place is occupied, but one of their lane.

        :param holder: the lanes of which the process that asks has tasks, with their number; brought up to date.
        """
        level = self._levels[self._order[0]]
        taken: list[Task[Any]] = []
        lane = spec.lane
        if lane is not None:
            if lane not in holder:
                holder[lane] = 0
                lane.running += 1
            while level and level[0]._status == LANE_ENTRY and level[0].lane is lane and len(taken) < most:
                if self._entry_task(level, holder) is None:
                    continue
                entry: LaneEntry = level[0]
                # With a rate, one at a time: the next one may be too early.
                run = lane.pop_batch(spec, 1 if lane.rate is not None else min(most - len(taken), entry.count, lane.entries))
                if not run:
                    break
                taken += run
                entry.count -= len(run)
                if not entry.count:
                    level.popleft()
                lane.entries -= len(run)
                self.waiting -= len(run)
            holder[lane] += len(taken)
            return taken
        while level and level[0]._spec is spec and len(taken) < most:
            task = level.popleft()
            if task._status == QUEUED:
                taken.append(task)
            else:
                self._stale -= 1
        self.waiting -= len(taken)
        return taken

    def pop(self) -> Task[Any] | None:
        """Take the task that is next and occupy a place for it; None when none may start."""
        self.active += 1
        return self.release_and_pop()

    def discard(self, task: Task[Any]) -> None:
        """A task that waits here has just been given another state; its entry is skipped when met.

        Entries of withdrawn tasks are swept out when they are the larger part, so that a caller who submits
        and cancels for ever does not fill the memory.
        """
        lane = task._spec.lane
        if lane is not None and not lane.discard():
            return
        self.waiting -= 1
        self._stale += 1
        if not self.waiting:
            self._levels.clear()
            self._order.clear()
            self._stale = 0
        elif self._stale > 64 and self._stale > self.waiting:
            self._sweep()

    def _sweep(self) -> None:
        """Keep the tasks that wait, and as many entries of each lane as count."""
        entries = {lane: lane.entries for lane in self.lanes}
        levels: dict[int, deque[Any]] = {}
        for priority in sorted(self._levels):
            kept: deque[Any] = deque()
            for one in self._levels[priority]:
                if one._status == QUEUED:
                    kept.append(one)
                elif one._status == LANE_ENTRY:
                    left = entries.get(one.lane, 0)       # the entries of a lane that was dropped count no more
                    one.count = min(one.count, left)
                    if one.count:
                        entries[one.lane] = left - one.count
                        kept.append(one)
            if kept:
                levels[priority] = kept
        self._levels = levels
        self._order = list(levels)      # a sorted list is a heap
        self._stale = 0

    def resync(self, active: int, lanes: Iterable[Lane]) -> None:
        """Set the accounts right after an interrupt that came at any line, from what stands in the levels.

        :param active: the places in use.
        :param lanes: the lane of each place that is one of a lane.
        """
        levels = {priority: deque(task for task in level if task._status == QUEUED)
                  for priority, level in self._levels.items()}
        self._levels = {priority: level for priority, level in levels.items() if level}
        self._order = sorted(self._levels)
        self.waiting = sum(len(level) for level in self._levels.values())
        self._stale = 0
        self.active = active
        for lane in self.lanes:
            counts = lane.resync()
            lane.entries = 0
            for priority in sorted(counts):
                self._add_entries(lane, counts[priority], priority, lane.since())
        for lane in lanes:
            lane.running += 1

    def waiting_tasks(self) -> set[Task[Any]]:
        """Return the tasks that wait."""
        found = {task for level in self._levels.values() for task in level if task._status == QUEUED}
        for lane in self.lanes:
            found.update(lane.tasks())
        return found

    def take_all(self) -> list[Task[Any]]:
        """Take every waiting task, most urgent first and then those of lanes, occupying no place."""
        taken: list[Task[Any]] = []
        for priority in sorted(self._order):
            taken += [task for task in self._levels[priority] if task._status == QUEUED]
        self._levels.clear()
        self._order.clear()
        self.waiting = self._stale = 0
        for lane in self.lanes:
            taken += lane.take_all()
        return taken

    def depths(self) -> dict[int, int]:
        """Return how many tasks wait at each priority."""
        counts = {priority: sum(1 for task in self._levels[priority] if task._status == QUEUED)
                  for priority in self._order}
        for lane in self.lanes:
            for task in lane.tasks():
                counts[task._spec.priority] = counts.get(task._spec.priority, 0) + 1
        return {priority: counts[priority] for priority in sorted(counts) if counts[priority]}

    def total_waiting(self) -> int:
        """Return how many tasks wait, those of closed lanes included."""
        return self.waiting + sum(lane.parked for lane in self.lanes)
