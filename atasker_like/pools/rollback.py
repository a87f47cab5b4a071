"""Rollback: undoes a submission that an interrupt has cut short.

``docs/development/interrupts.rst`` has what is promised, and how. The pools differ in what they
know of a task that was being handed over; see the methods of :class:`RollbackPool`.
"""
from __future__ import annotations

import sys
from time import perf_counter

from ..engine.deferred import run_deferred
from ..engine.task import CANCELED, QUEUED, STARTED
from ..errors import SupervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Protocol

    from ..engine.deferred import Deferred
    from ..engine.task import Task
    from .notifier import WholePool

    Waiters = List[Callable[[], None]]

    class RollbackPool(WholePool, Protocol):
        """A pool as its rollback sees it. The methods but the first are called with the lock held.
        """

        def _release_lock(self) -> None: ...
        def _interrupted(self) -> None: ...
        def _is_queued(self, task: Task[Any]) -> bool: ...
        def _was_dispatched(self, task: Task[Any]) -> bool: ...
        def _resync(self, tasks: set[Task[Any]]) -> Deferred: ...

__all__ = ["Rollback"]


class Rollback:
    """Undoes submissions to one pool."""

    def __init__(self, pool: RollbackPool) -> None:
        self._pool = pool
        self._kept = 0          # calls of keep_lock() before undo(); guarded by the lock

    def keep_lock(self) -> None:
        """Keep the lock until :meth:`undo`, as a critical section raises. (lock held)

        Else a thread that waits for the lock could start the task in between.
        """
        self._pool.lock.acquire()
        self._kept += 1

    def undo(self, *tasks: Task[Any]) -> None:
        """Undo a submission that is about to raise, so that its tasks do not run. (no lock)"""
        # An interrupt can come at any line, so each task may be in any state, and the pool's own
        # accounts may be incomplete.
        pool = self._pool
        undone: list[tuple[Task[Any], Waiters | None]] = []
        # A refusal leaves nothing to repair.
        interrupted = not isinstance(sys.exc_info()[1], SupervisorError)
        pool._release_lock()
        deferred: Deferred = []
        with pool.lock:
            if interrupted:
                pool._interrupted()
            registry = pool.registry
            for task in tasks:
                owner: Any = task._spec.pool
                if owner is not pool:
                    continue                # its successor has undone it
                number = getattr(task, "_number", None)
                if number is None or registry.live.get(number) is not task:
                    if number is not None and number == registry.last and not task.done():
                        registry.last -= 1
                    continue
                interrupted = True
                registry.last = max(registry.last, number)
                if task.done():
                    undone.append((task, pool.lifecycle.remove(task, task._status, perf_counter(),
                                                      task._outcome)))
                    continue
                task._extra_fields().cancel_requested = True
                if task._status == STARTED:
                    if pool._was_dispatched(task):
                        continue            # too late: it runs to its end
                    pool.lifecycle.revoke(task)     # it has a slot, but no thread runs it
                elif task._status == QUEUED and not pool._is_queued(task):
                    continue
                undone.append((task, pool.lifecycle.finish(task, CANCELED, perf_counter())))
            if interrupted:
                deferred = pool._resync({task for task, _ in undone})
            kept, self._kept = self._kept, 0
            for _ in range(kept):
                pool.lock.release()
        run_deferred(deferred)
        for task, waiters in undone:
            pool.lifecycle.notify(task, waiters)

    def finish_anyway(self, task: Task[Any], waiters: Waiters | None) -> None:
        """End a task although the call that was to end it was interrupted; wake its waiters."""
        self.undo(task)
        if task.done():
            self._pool.lifecycle.notify(task, waiters or task._waiters or [])
