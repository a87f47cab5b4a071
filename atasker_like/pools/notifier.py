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
    from typing import Any, Callable, Protocol

    from ..engine.deferred import Deferred
    from ..engine.lifecycle import Lifecycle, LifecyclePool
    from ..engine.registry import Registry
    from ..engine.run_queue import RunQueue
    from ..engine.task import Task

    class WholePool(LifecyclePool, Protocol):
        """A pool as its parts see it."""

        name: str
        run_queue: RunQueue
        lifecycle: Lifecycle
        registry: Registry

        def is_reentrant(self) -> bool: ...
        def defer_to_thread(self, call: Callable[..., Any], *arguments: Any) -> None: ...
        def _dispatch_more(self) -> Deferred: ...


class Notifier:
    """Makes these calls for one pool."""

    def __init__(self, pool: WholePool) -> None:
        self._pool = pool
        self.on_late_starts: Callable[[list[tuple[Task[Any], float]]], None] = lambda late: None
        self._late_starts: list[tuple[Task[Any], float]] = []   # still to be reported
        self._pending: list[tuple[Callable[..., Any], tuple[Any, ...]]] = []    # hook calls
        self._is_scheduled = False          # a pool thread makes the calls, or is asked to
        self.is_calling: bool = False       # hook calls are pending or being made
        self._flush_waiters: list[Callable[[], None]] = []  # called when all hook calls are made
        self.thread_id: int = 0             # the id of the thread that makes the calls

    # -- noting: all with the lock held ------------------------------------------------------------

    def add_late_start(self, task: Task[Any], seconds: float) -> None:
        """Note a task that waited for longer than the pool's ``late_after``."""
        self._late_starts.append((task, seconds))
        if not self._schedule():
            self._late_starts = []          # it would be a warning only

    def add(self, call: Callable[..., Any], *arguments: Any) -> None:
        """Note a hook call. The timer has been started."""
        self._pending.append((call, arguments))
        self.is_calling = True
        self._schedule()

    def _schedule(self) -> bool:
        if not self._is_scheduled:          # else the thread that makes calls takes this one, too
            pool = self._pool
            try:
                pool.timer.start()
            except (RuntimeError, MemoryError):
                return False
            self._is_scheduled = True
            pool.timer.call_at(0.0, pool._spawn, self._make_calls)
        return True

    # -- making the calls: in a pool thread --------------------------------------------------------

    def _make_calls(self) -> None:
        pool = self._pool
        while True:
            with pool.lock:
                late, self._late_starts = self._late_starts, []
                calls, self._pending = self._pending, []
                self._is_scheduled = bool(late or calls)
                self.is_calling = bool(calls)
                waiters: list[Callable[[], None]] = []
                if not calls:
                    waiters, self._flush_waiters = self._flush_waiters, []
                self.thread_id = get_ident() if late or calls else 0
            for latch in waiters:
                latch()
            if late:
                try:
                    self.on_late_starts(late)
                except BaseException:
                    log.exception("%s: what is called with tasks that started late raised",
                                  pool.name)
            for call, arguments in calls:
                try:
                    call(*arguments)
                except BaseException:
                    log.exception("%s: a hook raised; the task itself is not affected", pool.name)
            if not late and not calls:
                return
            del late, calls                 # they refer to tasks

    def flush(self, deadline: float | None) -> bool:
        """Block until all hook calls are made or the deadline. Return True if they are made."""
        latch = Latch()
        with self._pool.lock:
            if not self.is_calling:
                return True
            self._flush_waiters.append(latch)
            self._schedule()
        return latch.wait(deadline)

    def call_after_pending(self, call: Callable[[], Any]) -> bool:
        """Run a call after all pending hook calls.

        Return False, without calling it, if none is pending, or if this thread makes the hook
        calls: it could not wait for a later one.
        """
        with self._pool.lock:
            if not self.is_calling or self.thread_id == get_ident():
                return False
            self._pending.append((call, ()))
            if self._schedule():
                return True
            self._pending.pop()
            return False

    def timer_stopped(self) -> None:
        """Forget the timer's call, which a stop has dropped. (lock held)

        Late starts are dropped as well. Hook calls stay: the next add() or flush() has them made.
        """
        if not self.thread_id:
            self._is_scheduled = False
            self._late_starts = []

    def clear(self) -> None:
        """Drop all pending calls in a forked process; the parent makes them."""
        self._late_starts, self._pending, self._flush_waiters = [], [], []
        self.thread_id = 0
        self._is_scheduled = self.is_calling = False
