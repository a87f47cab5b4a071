"""Admission to a pool: limits, blocked submitters, and the aging of waiting tasks.

::

    submit ──> room? ──yes──> accepted ──> run queue ──> rises one class per interval, with aging
                 │ no
                 ├── on_full='block': the submitter waits until a task has left the run queue,
                 │                    and tries again
                 ├── on_full='raise': QueueFullError
                 └── on_full='drop':  the task is accepted and cancelled at once

In a pool without limits all this costs one comparison: ``RunQueue.fast_limit`` is the number of
waiting tasks from which on a submission takes the path through this module. It is -1 if every
submission has to.
"""
from __future__ import annotations

from sys import maxsize
from threading import Lock
from time import perf_counter

from ..engine.blocking import block
from ..engine.deferred import run_deferred
from ..engine.task import CANCELED
from ..errors import QueueFullError, TaskTimeoutError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Protocol

    from ..engine.lanes import Lane
    from ..engine.spec import TaskSpec
    from ..engine.task import Task
    from ..engine.timer import TimerEntry
    from .notifier import WholePool

    class LimitedPool(WholePool, Protocol):
        """A pool as its backpressure sees it."""

        replacement: Any

        def _ensure_started(self) -> None: ...
        def _refusal_reason(self) -> str | None: ...

    class Submitter(Protocol):
        """A blocked submitter: a lock that it waits for, or the counterpart for a coroutine."""

        def release(self) -> None: ...

    Waiters = List[Callable[[], None]]


class Backpressure:
    """The limits of one pool, and its blocked submitters."""

    def __init__(self, pool: LimitedPool) -> None:
        self._pool = pool
        self.max_queued: int | None = None      # the most tasks that may wait; None is no limit
        self.on_full: str = "block"
        self.aging: float | None = None         # seconds after which a waiting task rises one class
        self._has_observers = False
        self.drain_waiters: list[Callable[[], None]] = []   # called when the last task has ended
        # These wait for room in the pool, each with the spec of its task, the first one first.
        self.blocked_submitters: dict[Submitter, TaskSpec] = {}
        self._full_lanes: set[Lane] = set()     # lanes with blocked submitters
        self._aging_entry: TimerEntry | None = None

    @property
    def has_observers(self) -> bool:
        """True if observe_end() has to run at each end."""
        return self._has_observers

    @has_observers.setter
    def has_observers(self, are_there: bool) -> None:
        self._has_observers = are_there
        self._pool.lifecycle.observe(are_there)

    def limit(self, max_queued: int | None, on_full: str, aging: float | None) -> None:
        """Set the limits for new submissions. Tasks that wait already stay."""
        with self._pool.lock:
            self.max_queued = max_queued
            self.on_full = on_full
            self.aging = aging
            self.set_fast_limit()
            if self._pool.run_queue.waiting:
                self.schedule_aging()
            self.wake_submitters()

    def set_fast_limit(self) -> None:
        """Set the number of waiting tasks from which on room has to be checked. (lock held)"""
        looked_at = self.aging is not None or self._pool._refusal_reason() is not None
        self._pool.run_queue.fast_limit = (-1 if looked_at
                                           else maxsize if self.max_queued is None
                                           else self.max_queued)

    def has_room(self, spec: TaskSpec) -> bool:
        """Return True if there is room for such a task beyond ``fast_limit``. (lock held)

        :raises TaskTimeoutError: too many threads are abandoned.
        """
        reason = self._pool._refusal_reason()
        if reason is not None:
            raise TaskTimeoutError(f"task {spec.name} was not accepted: {reason}")
        self.schedule_aging()
        run_queue = self._pool.run_queue
        return (self.max_queued is None or run_queue.waiting < self.max_queued
                or run_queue.active < run_queue.slot_limit(spec.priority))      # it need not wait

    def _has_room_for(self, spec: TaskSpec) -> bool:
        """Return True if there is room for such a task in the pool and in its lane. (lock held)

        Errors as :meth:`has_room`.
        """
        run_queue = self._pool.run_queue
        return ((run_queue.waiting < run_queue.fast_limit or self.has_room(spec))
                and (spec.lane is None or spec.lane.has_room()))

    def reject(self, task: Task[Any]) -> bool:
        """Handle a task that was not accepted. (no lock)

        Start the supervisor, or apply ``on_full``. Return False if the caller is to try again, and
        True if the task has been dropped or passed to the successor.

        :raises InvalidArgumentError: the lane was named, but never made, or limits another pool.
        :raises QueueFullError: there is no room, and ``on_full`` is 'raise'.
        :raises SupervisorStoppedError: the supervisor has been stopped.
        """
        pool = self._pool
        if pool.replacement is not None:
            pool.replacement.accept_redirected(task)
            return True
        lane = task._spec.lane
        if lane is not None and lane.find is not None:
            lane.give_way(task._spec, pool)
            return False
        refusal = None if lane is None or lane.refusal is None else lane.refusal()
        if refusal is not None:
            raise refusal
        if not pool.accepting:
            pool._ensure_started()
            return False
        with pool.lock:
            if self._has_room_for(task._spec):
                return False                # there is room now
            if lane is not None and lane.has_room():
                lane = None                 # the pool has no room, not the lane
        on_full = self.on_full if lane is None else lane.on_full
        if on_full == "raise":
            most, where, setting = ((self.max_queued, pool.name, "max_queued") if lane is None
                                    else (lane.size, f"lane {lane.name!r}", "size"))
            raise QueueFullError(f"task {task.name} was not accepted: {most} tasks wait for "
                                 f"{where} already; submit more slowly, raise {setting}, or set "
                                 "on_full to 'block' or 'drop'")
        if on_full == "drop":
            held = task._references()    # noqa: F841: dropped after the lock is released
            with pool.lock:
                if not pool.accepting or self._has_room_for(task._spec):
                    return False
                pool.registry.add(task)
                pool.registry.dropped_when_full += 1
                waiters = pool.lifecycle.finish(task, CANCELED, perf_counter())
            del held
            pool.lifecycle.notify(task, waiters)
            return True
        if lane is not None and lane.paused:
            lane.warn_of_wait(f"room for task {task.name}")
        released = Lock()
        released.acquire()
        if self.add_submitter(task._spec, lane, released):
            ended = False
            try:
                ended = block(released.acquire, None)
            finally:
                if not ended:
                    self.remove_submitter(lane, released)
        return False

    def add_submitter(self, spec: TaskSpec, lane: Lane | None, submitter: Submitter) -> bool:
        """Release a submitter when there may be room. Return False if there is room now.

        :param lane: the lane that has no room; None if the pool has none.
        """
        with self._pool.lock:
            if not self._pool.accepting or self._has_room_for(spec):
                return False
            if lane is None:
                self.blocked_submitters[submitter] = spec
            else:
                self._full_lanes.add(lane)
                lane.blocked_submitters.append(submitter)
            self.has_observers = True
            return True

    def remove_submitter(self, lane: Lane | None, submitter: Submitter) -> None:
        """Remove a submitter that waits no longer. If it has been released, release the next."""
        with self._pool.lock:
            if lane is not None and submitter in lane.blocked_submitters:
                lane.blocked_submitters.remove(submitter)
            elif lane is not None or self.blocked_submitters.pop(submitter, None) is None:
                self.wake_submitters()

    def observe_end(self) -> Waiters:
        """Admit submitters after a task has left the run queue. Return waiters. (lock held)"""
        waiters: Waiters = []
        if self.drain_waiters and not self._pool.registry.live:
            waiters, self.drain_waiters = self.drain_waiters, []
        self.wake_submitters()
        self.has_observers = bool(self.drain_waiters or self.blocked_submitters
                                  or self._full_lanes)
        return waiters

    def wake_submitters(self) -> None:
        """Have as many blocked submitters try again as there is room for. (lock held)"""
        accepting = self._pool.accepting
        if self.blocked_submitters:
            for submitter in self._admissible():
                del self.blocked_submitters[submitter]
                submitter.release()
        if self._full_lanes:
            for lane in list(self._full_lanes):
                room = (maxsize if lane.size is None or not accepting
                        else max(0, lane.size - lane.waiting))
                for _ in range(min(room, len(lane.blocked_submitters))):
                    lane.blocked_submitters.popleft().release()
                if not lane.blocked_submitters:
                    self._full_lanes.discard(lane)

    def _admissible(self) -> list[Submitter]:
        """Return the blocked submitters whose tasks have room, the first ones first. (lock held)"""
        if self.max_queued is None or not self._pool.accepting:
            return list(self.blocked_submitters)
        run_queue = self._pool.run_queue
        room = max(0, self.max_queued - run_queue.waiting)
        most = room + max(0, run_queue.slots - run_queue.active)
        found: list[Submitter] = []
        for submitter, spec in self.blocked_submitters.items():
            if len(found) >= most:
                break
            # A task with a free slot need not wait; see has_room().
            slots = max(0, run_queue.slot_limit(spec.priority) - run_queue.active)
            if len(found) < room + slots:
                found.append(submitter)
        return found

    def release_submitters(self, lane: Lane) -> None:
        """Have all blocked submitters of a lane try again.

        The submitters that wait for room in the pool are not sorted by lane, so all of them do.
        """
        with self._pool.lock:
            for _ in range(len(lane.blocked_submitters)):
                lane.blocked_submitters.popleft().release()
            for _ in range(len(self.blocked_submitters)):
                self.blocked_submitters.popitem()[0].release()
            self._full_lanes.discard(lane)

    def clear(self) -> None:
        """Drop all waiters and submitters in a forked process; they are the parent's."""
        self.drain_waiters = []
        self.blocked_submitters.clear()
        self._full_lanes.clear()
        self.has_observers = False
        self._aging_entry = None

    def timer_stopped(self) -> None:
        """Forget the timer's calls, which a stop has dropped. (lock held)"""
        self._aging_entry = None
        for lane in self._pool.run_queue.lanes:
            lane.rate_timer_fired()

    # -- aging -------------------------------------------------------------------------------------

    def schedule_aging(self) -> None:
        """Make sure that the timer will check how long tasks wait, if it should. (lock held)"""
        if self.aging is not None and self._aging_entry is None:
            self._pool.timer.start()
            self._aging_entry = self._pool.timer.call_later(self.aging, self._promote)

    def _promote(self) -> None:
        """Promote tasks that have waited long. The timer calls it."""
        pool = self._pool
        with pool.lock:
            self._aging_entry = None
            aging = self.aging
            if aging is None or not pool.registry.live:
                return                      # the next submission calls schedule_aging()
            pause = pool.run_queue.promote_aged(perf_counter(), aging)
            self._aging_entry = pool.timer.call_later(aging if pause is None else pause,
                                                      self._promote)
            deferred = pool._dispatch_more()
        run_deferred(deferred)
