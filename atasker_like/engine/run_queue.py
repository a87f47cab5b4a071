"""RunQueue decides which waiting task may start.

Pure policy: no thread, no lock, no clock.

Slots are counted; they have no identity. Tasks of low priority may occupy the first ``pool_size``
slots, normal ones ``reserve_normal`` more, high ones ``reserve_high`` more again. A critical task
always finds a slot::

    |<----- pool_size ----->|<-- reserve_normal -->|<-- reserve_high -->|  beyond
     LOW  NORMAL HIGH CRIT.   NORMAL HIGH CRITICAL    HIGH CRITICAL        CRITICAL

The more urgent a task, the more slots it may use. So if the most urgent waiting task may not start,
no other may: one look at the head of the queue decides.

Entries represent the tasks of a lane: see :mod:`.lanes`. An entry has a status of its own. So the
code tests for an entry only after the test for a QUEUED task has failed.

The pool's lock must be held for every use of its RunQueue.
"""
from __future__ import annotations

from collections import deque
from heapq import heappop, heappush
from itertools import groupby
from sys import maxsize
from weakref import WeakSet

from ..constants import Priority
from .lanes import LANE_ENTRY, LaneEntry
from .task import QUEUED, spec_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Sequence

    from .lanes import Lane
    from .spec import TaskSpec
    from .task import Task


_CRITICAL, _HIGH, _NORMAL = int(Priority.CRITICAL), int(Priority.HIGH), int(Priority.NORMAL)


def _priority_class(priority: int) -> int:
    """Return the number of classes above that of a priority, without CRITICAL."""
    return 2 if priority > _NORMAL else 1 if priority > _HIGH else 0


class RunQueue:
    """The waiting tasks, by priority and arrival, and the number of slots in use."""

    __slots__ = ("active", "waiting", "fast_limit", "lanes", "slots", "_low", "_normal", "_levels",
                 "_order", "_stale")

    def __init__(self, pool_size: int = 1, reserve_normal: int = 0, reserve_high: int = 0) -> None:
        #: Slots in use, without lent ones. Critical tasks may raise it above every limit.
        self.active: int = 0
        #: Waiting tasks, without withdrawn tasks and those of blocked lanes.
        self.waiting: int = 0
        #: The lanes in front of the pool. A lane without references and tasks drops out.
        self.lanes: WeakSet[Lane] = WeakSet()
        #: While fewer tasks wait, a submission needs no further check.
        self.fast_limit: int = maxsize
        # By priority, each first in, first out; tasks and entries.
        self._levels: dict[int, deque[Any]] = {}
        self._order: list[int] = []     # a heap of the priorities that have a level
        self._stale = 0                 # withdrawn tasks still in a level
        self.resize(pool_size, reserve_normal, reserve_high)

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int) -> None:
        """Set the number of slots; a pool size of 0 is unlimited.

        Running tasks are not affected.
        """
        self._low = pool_size if pool_size else maxsize
        self._normal = self._low + reserve_normal
        #: The number of slots, but for critical tasks; sys.maxsize or more if unlimited.
        self.slots: int = self._normal + reserve_high

    def empty_copy(self) -> RunQueue:
        """Return a run queue with the same slots and lanes, without any task."""
        fresh = RunQueue()
        fresh._low, fresh._normal, fresh.slots, fresh.fast_limit = (
            self._low, self._normal, self.slots, self.fast_limit)
        fresh.lanes = self.lanes
        for lane in self.lanes:
            lane.clear()
        return fresh

    def slot_limit(self, priority: int) -> int:
        """Return how many slots may be in use, including that of a task of a priority.

        A number between two named priorities has the rights of the less urgent one: 75 is NORMAL.
        """
        if priority > _NORMAL:
            return self._low
        if priority > _HIGH:
            return self._normal
        if priority > _CRITICAL:
            return self.slots
        return maxsize

    def push(self, task: Task[Any]) -> None:
        """Add a task behind those of its priority."""
        priority = task._spec.priority
        lane = task._spec.lane
        if lane is not None:
            lane.push(task)
            self._add_entries(lane, 1, priority, task._queued)
            return
        self._level(priority).append(task)
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
        self._level(priority).extend(tasks)
        self.waiting += len(tasks)

    def push_many(self, tasks: Iterable[Task[Any]]) -> int | None:
        """Add tasks in their order, those of one function at once.

        Return the most urgent priority of them, or None if there are none.
        """
        urgent: int | None = None
        for spec, same in groupby(tasks, spec_of):
            self.push_batch(spec.priority, list(same))
            if urgent is None or spec.priority < urgent:
                urgent = spec.priority
        return urgent

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
        """Put taken tasks back at the head, in the order in which they were taken.

        The caller releases the slots of their lanes: see :meth:`release_lane`.
        """
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

    def _entry_task(self, level: deque[Any],
                    holder: dict[Lane, int] | None = None) -> Task[Any] | None:
        # An entry is at the head of the first level. Return the task that it represents, which
        # stays in its lane. If the lane has none or is blocked, remove the entry and return None.
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
        # The caller has taken an entry from the head of the first level. Take the task that it
        # represents, with a slot of its lane, or return None if there is none. This repeats
        # _entry_task() inline, since it runs once for each task of a lane.
        lane = entry.lane
        if lane.entries:
            if lane.running < lane.fast_limit or not lane.is_blocked():
                # lane and entry refer to each other: leave no cycle behind
                lane.head_entry = None
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
        """Release a slot of a lane."""
        lane.running -= 1
        if lane.parked:
            self.unpark_lane(lane)

    def unpark_lane(self, lane: Lane) -> None:
        """Put the parked entries of a lane that may start tasks back at the head."""
        self.waiting += lane.parked
        for priority, entry in lane.unpark().items():
            self._level(priority).appendleft(entry)

    def release(self, task: Task[Any]) -> None:
        """Release the slot of a task."""
        self.active -= 1
        lane = task._spec.lane
        if lane is not None:
            self.release_lane(lane)

    def acquire(self, task: Task[Any]) -> None:
        """Occupy a slot for a task, even if other tasks wait for one."""
        self.active += 1
        lane = task._spec.lane
        if lane is not None:
            lane.running += 1

    def lend(self, task: Task[Any]) -> None:
        """Lend the slot of a task, and its slot of the lane if the lane lends slots."""
        self.active -= 1
        lane = task._spec.lane
        if lane is not None and lane.lends_slot:
            self.release_lane(lane)

    def reclaim(self, task: Task[Any]) -> None:
        """Take back the slots that a task has lent, even if other tasks use them."""
        self.active += 1
        lane = task._spec.lane
        if lane is not None and lane.lends_slot:
            lane.running += 1

    def try_acquire(self, task: Task[Any]) -> bool:
        """Occupy a slot for a new task of a pool without a limit.

        Return True if it has a slot.

        Return False, without adding the task, if its lane is full or has tasks that wait.
        """
        lane = task._spec.lane
        if lane is not None:
            if lane.running >= lane.fast_limit or lane.entries or lane.parked:
                return False
            lane.running += 1
        self.active += 1
        return True

    # -- the next task -----------------------------------------------------------------------------

    def peek(self, holder: dict[Lane, int] | None = None) -> Task[Any] | None:
        """Return the next task, or None, without taking it.

        :param holder: the lanes whose tasks the asking process has.
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
        """Return the current priority of the task that :meth:`peek` has just returned.

        Aging may have raised it.
        """
        return self._order[0]

    def promote_aged(self, now: float, interval: float) -> float | None:
        """Raise waiting tasks by one class per interval, up to HIGH.

        :param now: the time by perf_counter, as in the submission times of tasks.
        :return: the seconds until the next task rises, or None if no waiting task will rise.
        """
        soonest = None
        # The most urgent level first, so that each task rises at most once in a call.
        for priority in sorted(self._levels):
            rank = _priority_class(priority)
            if not rank:
                continue
            level = self._levels[priority]
            while level:
                # Tasks behind the first came or rose later: one look at the first decides.
                task = level[0]
                if task._status == QUEUED or task._status == LANE_ENTRY:
                    if task._status == QUEUED:
                        extra = task._extra
                        since = (task._queued if extra is None or extra.scheduled_at is None
                                 else extra.scheduled_at)
                        due = since + interval * (_priority_class(task._spec.priority) - rank + 1)
                    else:
                        due = task.since + interval
                    pause = due - now
                    if pause > 0:
                        soonest = pause if soonest is None else min(soonest, pause)
                        break
                    # The tasks that one LaneEntry represents rise together.
                    if task._status == LANE_ENTRY:
                        task.since = now
                    self._level(_NORMAL if rank > 1 else _HIGH).append(level.popleft())
                    if rank > 1:
                        soonest = 0.0       # the task may have waited for two intervals
                else:
                    level.popleft()
                    self._stale -= 1
        return soonest

    def acquire_or_enqueue(self, task: Task[Any]) -> bool:
        """Occupy a slot for a new task without a lane, or enqueue it. Return True if it has a slot.

        If a task that waited before may start, the timer is about to start it. For example, the
        pool has just been enlarged.
        """
        priority = task._spec.priority
        # slot_limit() is repeated inline here and in release_and_pop(): these run for every task
        if self.active < (self._low if priority > 100 else self._normal if priority > 50
                          else self.slots if priority > 0 else maxsize):
            if not self.waiting:
                self.active += 1
                return True
            self.push(task)
            return self.peek() is task and self.pop() is not None
        level = self._levels.get(priority)
        if level is None:
            level = self._levels[priority] = deque()
            heappush(self._order, priority)
        level.append(task)
        self.waiting += 1
        return False

    def acquire_or_enqueue_in_lane(self, task: Task[Any], lane: Lane) -> bool:
        """Do the same as :meth:`acquire_or_enqueue` for a new task of a lane."""
        has_slot = self.active < self.slot_limit(task._spec.priority)
        is_alone = not self.waiting and not lane.parked
        if is_alone and has_slot and lane.running < lane.fast_limit:
            self.active += 1
            lane.running += 1
            return True
        if lane.push_parked(task):
            return False
        self.push(task)
        if not has_slot:
            return False
        # The timer may also be about to start a task of the lane: its rate allows it by now, or it
        # has just been changed.
        if not is_alone and self.peek() is not task:
            return False
        return self.waiting > 0 and self.pop() is not None

    def release_and_pop_lane(self, lane: Lane) -> Task[Any] | None:
        """Release the slots of a lane's task and take the next, as release_and_pop().

        Most often the next entry is one of the same lane. Then the lane's slot, too, passes to the
        next task.
        """
        if lane.entries and lane.running <= lane.fast_limit:
            priority = self._order[0]
            level = self._levels[priority]
            entry = lane.head_entry
            if (level and level[0] is entry and entry.count > 1       # a level contains no None
                    and self.active <= (self._low if priority > 100
                                        else self._normal if priority > 50
                                        else self.slots if priority > 0 else maxsize)):
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
        """Release a slot and take the next task, which gets it.

        Return None if none may start.
        """
        if self.waiting:
            order = self._order
            while True:
                priority = order[0]
                level = self._levels[priority]
                if level:
                    if self.active > (self._low if priority > 100 else self._normal if priority > 50
                                      else self.slots if priority > 0 else maxsize):
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
                    # An empty level is dropped only here: most often the next task has the same
                    # priority.
                    del self._levels[heappop(order)]
        self.active -= 1
        return None

    def pop_batch(self, spec: TaskSpec, most: int, holder: dict[Lane, int]) -> list[Task[Any]]:
        """Take up to ``most`` tasks, beginning with the result of the last peek().

        Only tasks of the same function in the same level are taken. They occupy no slot but one of
        their lane.

        :param holder: the lanes whose tasks the asking process has, with their numbers; updated.
        """
        level = self._levels[self._order[0]]
        taken: list[Task[Any]] = []
        lane = spec.lane
        if lane is not None:
            if lane not in holder:
                holder[lane] = 0
                lane.running += 1
            while (level and level[0]._status == LANE_ENTRY and level[0].lane is lane
                   and len(taken) < most):
                if self._entry_task(level, holder) is None:
                    continue
                entry: LaneEntry = level[0]
                # With a rate, one task at a time: the rate may not allow the next one yet.
                run = lane.pop_batch(spec, 1 if lane.rate is not None
                                     else min(most - len(taken), entry.count, lane.entries))
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
        """Take the next task and occupy a slot for it. Return None if none may start."""
        self.active += 1
        return self.release_and_pop()

    def discard(self, task: Task[Any]) -> None:
        """Withdraw a waiting task, whose state has just changed.

        It stays in its level until met.

        Withdrawn tasks are removed when they are the larger part, so that endless submissions and
        cancellations do not fill the memory.
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
        # Keep the waiting tasks, and as many entries of each lane as the lane has in the run queue.
        entries = {lane: lane.entries for lane in self.lanes}
        levels: dict[int, deque[Any]] = {}
        for priority in sorted(self._levels):
            kept: deque[Any] = deque()
            for one in self._levels[priority]:
                if one._status == QUEUED:
                    kept.append(one)
                elif one._status == LANE_ENTRY:
                    left = entries.get(one.lane, 0)     # a dropped lane has no entries
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
        """Recompute the counts from the levels after an interrupt that came at any line.

        :param active: the slots in use.
        :param lanes: the lanes of the slots in use, one for each slot that belongs to a lane.
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
        """Return the waiting tasks, those of lanes included."""
        found = {task for level in self._levels.values() for task in level
                 if task._status == QUEUED}
        for lane in self.lanes:
            found.update(lane.tasks())
        return found

    def take_all(self) -> list[Task[Any]]:
        """Take all waiting tasks without slots: most urgent first, then those of lanes."""
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
        """Return the number of waiting tasks for each priority."""
        counts = {priority: sum(1 for task in self._levels[priority] if task._status == QUEUED)
                  for priority in self._order}
        for lane in self.lanes:
            for task in lane.tasks():
                counts[task._spec.priority] = counts.get(task._spec.priority, 0) + 1
        return {priority: counts[priority] for priority in sorted(counts) if counts[priority]}

    def total_waiting(self) -> int:
        """Return the number of waiting tasks, those of blocked lanes included."""
        return self.waiting + sum(lane.parked for lane in self.lanes)
