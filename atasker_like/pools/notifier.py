"""Calls of a pool to the application beside the callbacks of tasks: late starts and hooks.

The pool notes each call with its lock held. A pool thread makes the calls, one at a time, in order
and with no lock held. The timer asks for this thread, since the noting thread holds the lock.
"""
from __future__ import annotations

from threading import get_ident

from .._log import log
from ..engine.blocking import Latch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ..engine.task import Task
    from ..engine.timer import Timer

__all__ = ["Telling"]


class Telling:
    """The part of every pool that makes these calls."""

    name: str
    lock: Any
    timer: Timer
    _spawn: Callable[[Callable[[], None]], None]

    def __init__(self) -> None:
        # seconds in the queue after which a start is late
        self.late_after: float = float("inf")
        self.tell_late: Callable[[list[tuple[Task[Any], float]]], None] = _nothing
        self._late_starts: list[tuple[Task[Any], float]] = []    # late starts, still to be reported
        self._pending: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []   # pending hook calls
        self._is_calling = False               # a pool thread runs _tell_all(), or is asked to
        self._calling = False               # hook calls are pending or being made
        self._flush_waiters: list[Callable[[], None]] = []  # called when all hook calls are made
        self._thread_id = 0                    # the id of the thread that makes the calls

    # -- noting: all with the lock held ------------------------------------------------------------

    def _started_late(self, task: Task[Any], now: float) -> None:
        """Note a task that started later than ``late_after`` after its submission."""
        if task._spec.lane is not None:
            return                          # a lane delays its tasks on purpose
        extra = task._extra
        waited = now - (task._queued if extra is None or extra.scheduled_at is None
                        else extra.scheduled_at)
        if waited > self.late_after:
            self._late_starts.append((task, waited))
            if not self._schedule():
                self._late_starts = []       # it would be a warning only

    def _tell(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Note a hook call. The timer has been started."""
        self._pending.append((call, arguments))
        self._calling = True
        self._schedule()

    def _tell_started(self, task: Task[Any]) -> None:
        """Note the start of a task with hooks, once an attempt, even if the task moves."""
        extra = task._extra_fields()
        if extra.starts_reported < extra.attempts:
            extra.starts_reported = extra.attempts
            self._tell(task._spec.hooks.started, task)

    def _schedule(self) -> bool:
        if not self._is_calling:               # else the running teller takes this call, too
            try:
                self.timer.start()
            except (RuntimeError, MemoryError):
                return False
            self._is_calling = True
            self.timer.call_at(0.0, self._spawn, self._tell_all)
        return True

    # -- telling: in a pool thread -----------------------------------------------------------------

    def _tell_all(self) -> None:
        while True:
            with self.lock:
                late, self._late_starts = self._late_starts, []
                calls, self._pending = self._pending, []
                self._is_calling = bool(late or calls)
                self._calling = bool(calls)
                waiters: list[Callable[[], None]] = []
                if not calls:
                    waiters, self._flush_waiters = self._flush_waiters, []
            for latch in waiters:
                latch()
            self._thread_id = get_ident()
            if late:
                try:
                    self.tell_late(late)
                except BaseException:
                    log.exception("%s: what is called with tasks that started late raised",
                                  self.name)
            for call, arguments in calls:
                try:
                    call(*arguments)
                except BaseException:
                    log.exception("%s: a hook raised; the task itself is not affected", self.name)
            self._thread_id = 0
            if not late and not calls:
                return
            del late, calls                 # they refer to tasks

    def flush(self, deadline: float | None) -> bool:
        """Block until all hook calls are made or the deadline. Return True if they are made."""
        latch = Latch()
        with self.lock:
            if not self._calling:
                return True
            self._flush_waiters.append(latch)
        return latch.wait(deadline)

    def call_after_pending(self, call: Callable[[], Any]) -> bool:
        """Run a call after all pending hook calls.

        Return False, without calling it, if none is pending, or if this thread makes the hook
        calls: it could not wait for a later one.
        """
        with self.lock:
            if not self._calling or self._thread_id == get_ident():
                return False
            self._pending.append((call, ()))
            return True

    def _forget_news(self) -> None:
        """Drop all pending calls in a forked process; the parent makes them."""
        self._late_starts, self._pending, self._flush_waiters = [], [], []
        self._thread_id = 0
        self._is_calling = self._calling = False


def _nothing(late: list[tuple[Task[Any], float]]) -> None:
    pass
