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

from collections import deque
from sys import maxsize
from threading import Lock
from time import perf_counter

from ..engine.blocking import block
from ..engine.deferred import run_deferred
from ..engine.task import CANCELED
from ..errors import QueueFullError, TaskTimeoutError
from .notifier import Telling

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Protocol

    from ..engine.deferred import Deferred
    from ..engine.lanes import Lane, LanePool
    from ..engine.registry import Registry
    from ..engine.run_queue import RunQueue
    from ..engine.spec import TaskSpec
    from ..engine.task import Task
    from ..engine.timer import TimerEntry

    class Successor(LanePool, Protocol):
        """The pool that has replaced another one."""

        def accept_redirected(self, task: Task[Any]) -> None: ...

    class Gate(Protocol):
        """Blocks a submitter until it is released: a lock, or the counterpart for a coroutine."""

        def release(self) -> None: ...

    Waiters = List[Callable[[], None]]

__all__ = ["Intake"]


class Intake(Telling):
    """The part of a pool in front of its run queue."""

    accepting: bool
    run_queue: RunQueue
    registry: Registry
    _ensure_started: Callable[[], None]
    _drained: list[Callable[[], None]]

    def __init__(self) -> None:
        super().__init__()
        self.max_queued: int | None = None      # the most tasks that may wait; None is no limit
        self.on_full: str = "block"
        self.aging: float | None = None         # seconds after which a waiting task rises one class
        self.replacement: Successor | None = None     # has replaced this pool, and takes its tasks
        self._has_observers = False  # True while _notify_observers() has to run at each end
        self._blocked_submitters: deque[Gate] = deque()     # those that wait for room in the pool
        self._full_lanes: set[Lane] = set()        # lanes with blocked submitters
        self._aging_entry: TimerEntry | None = None

    def limit(self, max_queued: int | None, on_full: str, aging: float | None) -> None:
        """Set the limits for new submissions. Tasks that wait already stay."""
        with self.lock:
            self.max_queued = max_queued
            self.on_full = on_full
            self.aging = aging
            self._set_fast_limit()
            if aging is not None and self.run_queue.waiting:
                self._schedule_aging()
            self._wake_submitters()

    def _set_fast_limit(self) -> None:
        """Set the number of waiting tasks from which on room has to be checked. (lock held)"""
        looked_at = self.aging is not None or self._refusal_reason() is not None
        self.run_queue.fast_limit = (-1 if looked_at
                                     else maxsize if self.max_queued is None
                                     else self.max_queued)

    def _refusal_reason(self) -> str | None:
        """Return the reason why the pool takes no task at all, or None. (lock held)"""
        return None

    def _has_room(self, spec: TaskSpec) -> bool:
        """Return True if there is room for such a task beyond ``fast_limit``. (lock held)

        :raises TaskTimeoutError: too many threads are abandoned.
        """
        barred = self._refusal_reason()
        if barred is not None:
            raise TaskTimeoutError(f"task {spec.name} was not accepted: {barred}")
        if self.aging is not None:
            self._schedule_aging()
        run_queue = self.run_queue
        return (self.max_queued is None or run_queue.waiting < self.max_queued
                or run_queue.active < run_queue.slot_limit(spec.priority))      # it need not wait

    def _has_room_for(self, spec: TaskSpec) -> bool:
        """Return True if there is room for such a task in the pool and in its lane. (lock held)

        Errors as :meth:`_has_room`.
        """
        return ((self.run_queue.waiting < self.run_queue.fast_limit or self._has_room(spec))
                and (spec.lane is None or spec.lane.has_room()))

    def _reject(self, task: Task[Any]) -> bool:
        """Handle a task that was not accepted. (no lock)

        Start the supervisor, or apply ``on_full``. Return False if the caller is to try again, and
        True if the task has been dropped or passed to the successor.

        :raises InvalidArgumentError: the lane of the task was named, but never made.
        :raises QueueFullError: there is no room, and ``on_full`` is 'raise'.
        :raises SupervisorStoppedError: the supervisor has been stopped.
        """
        if self.replacement is not None:
            self.replacement.accept_redirected(task)
            return True
        lane = task._spec.lane
        if lane is not None and lane.unknown is not None:
            raise lane.unknown()
        refusal = None if lane is None or lane.refusal is None else lane.refusal()
        if refusal is not None:
            raise refusal
        if not self.accepting:
            self._ensure_started()
            return False
        with self.lock:
            if self._has_room_for(task._spec):
                return False                # there is room now
            if lane is not None and lane.has_room():
                lane = None                 # the pool has no room, not the lane
        on_full = self.on_full if lane is None else lane.on_full
        if on_full == "raise":
            most, where, setting = ((self.max_queued, self.name, "max_queued") if lane is None
                                    else (lane.size, f"lane {lane.name!r}", "size"))
            raise QueueFullError(f"task {task.name} was not accepted: {most} tasks wait for "
                                 f"{where} already; submit more slowly, raise {setting}, or set "
                                 "on_full to 'block' or 'drop'")
        if on_full == "drop":
            held = task._references()    # noqa: F841: dropped after the lock is released
            with self.lock:
                if not self.accepting or self._has_room_for(task._spec):
                    return False
                self.registry.add(task)
                self.registry.dropped_when_full += 1
                waiters = self._finish(task, CANCELED, perf_counter())
            del held
            self._notify(task, waiters)
            return True
        if lane is not None and lane.paused:
            lane.warn_of_wait(f"room for task {task.name}")
        gate = Lock()
        gate.acquire()
        if self.stand_outside(task._spec, lane, gate):
            opened = False
            try:
                opened = block(gate.acquire, None)
            finally:
                if not opened:
                    self.leave_outside(lane, gate)
        return False

    def stand_outside(self, spec: TaskSpec, lane: Lane | None, gate: Gate) -> bool:
        """Register a gate to be released when there may be room. Return False if there is room now.

        :param lane: the lane that has no room; None if the pool has none.
        """
        with self.lock:
            if not self.accepting or self._has_room_for(spec):
                return False
            if lane is None:
                self._blocked_submitters.append(gate)
            else:
                self._full_lanes.add(lane)
                lane.blocked_submitters.append(gate)
            self._has_observers = True
            return True

    def leave_outside(self, lane: Lane | None, gate: Gate) -> None:
        """Remove the gate of a submitter that waits no longer, or pass its turn on."""
        outside = self._blocked_submitters if lane is None else lane.blocked_submitters
        with self.lock:
            if gate in outside:
                outside.remove(gate)
            else:
                self._wake_submitters()      # its gate was released: release the next one

    def _notify_observers(self) -> Waiters:
        """Admit submitters after a task has left the run queue. Return waiters. (lock held)"""
        waiters: Waiters = []
        if self._drained and not self.registry.live:
            waiters, self._drained = self._drained, []
        self._wake_submitters()
        self._has_observers = bool(self._drained or self._blocked_submitters or self._full_lanes)
        return waiters

    def _wake_submitters(self) -> None:
        """Have as many blocked submitters try again as there is room for. (lock held)"""
        outside = self._blocked_submitters
        if outside:
            run_queue = self.run_queue
            most = maxsize if self.max_queued is None else self.max_queued
            room = max(0, most - run_queue.waiting) + max(0, run_queue.slots - run_queue.active)
            for _ in range(min(room, len(outside)) if self.accepting else len(outside)):
                outside.popleft().release()
        if self._full_lanes:
            for lane in list(self._full_lanes):
                room = (maxsize if lane.size is None or not self.accepting
                        else max(0, lane.size - lane.waiting))
                for _ in range(min(room, len(lane.blocked_submitters))):
                    lane.blocked_submitters.popleft().release()
                if not lane.blocked_submitters:
                    self._full_lanes.discard(lane)

    def release_submitters(self, lane: Lane) -> None:
        """Have all blocked submitters of a lane try again.

        The submitters that wait for room in the pool are not sorted by lane, so all of them do.
        """
        with self.lock:
            for gates in lane.blocked_submitters, self._blocked_submitters:
                while gates:
                    gates.popleft().release()
            self._full_lanes.discard(lane)

    # -- aging -------------------------------------------------------------------------------------

    def _schedule_aging(self) -> None:
        """Make sure that the timer will check how long tasks have waited. (lock held)"""
        if self._aging_entry is None:
            assert self.aging is not None
            self.timer.start()
            self._aging_entry = self.timer.call_later(self.aging, self._promote)

    def _promote(self) -> None:
        """Promote tasks that have waited long. The timer calls it."""
        with self.lock:
            self._aging_entry = None
            aging = self.aging
            if aging is None or not self.registry.live:
                return                      # the next submission calls _schedule_aging()
            pause = self.run_queue.promote_aged(perf_counter(), aging)
            self._aging_entry = self.timer.call_later(aging if pause is None else pause,
                                                      self._promote)
            deferred = self._dispatch_more()
        run_deferred(deferred)

    def _dispatch_more(self) -> Deferred:
        """Start tasks after some have become more urgent or slots have become free. (lock held)"""
        raise NotImplementedError

    # -- implemented by Pool -----------------------------------------------------------------------

    def _finish(self, task: Task[Any], status: int, now: float,
                outcome: Any = None) -> Waiters | None:
        raise NotImplementedError

    def _notify(self, task: Task[Any], waiters: Waiters | None, inline: bool = True) -> None:
        raise NotImplementedError
