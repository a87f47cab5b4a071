"""Rollback: undoes a submission that an interrupt has cut short.

``docs/development/interrupts.rst`` has what is promised, and how. The pools differ in what they
know of a task that was being handed over; see the methods of :class:`RollbackPool`.
"""
from __future__ import annotations

import sys
from _thread import allocate_lock, get_ident, start_new_thread
from functools import partial
from time import perf_counter

from ..engine.deferred import run_deferred
from ..engine.task import CANCELED, QUEUED, STARTED
from ..errors import SupervisorError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Protocol

    from ..engine.deferred import Deferred
    from ..engine.task import Task
    from .notifier import WholePool

    class RollbackPool(WholePool, Protocol):
        """A pool as its rollback sees it. The methods are called with the lock held."""

        def _interrupted(self, thread: int) -> int: ...
        def _is_queued(self, task: Task[Any]) -> bool: ...
        def _was_dispatched(self, task: Task[Any]) -> bool: ...
        def _resync(self, tasks: set[Task[Any]]) -> Deferred: ...


#: More frames than undoing a submission needs. Before 3.10, Python grants 50 frames beyond the
#: limit after it has raised, and aborts the process at the next one.
FRAMES = 100 if sys.version_info >= (3, 10) else 20


class Rollback:
    """Undoes submissions to one pool."""

    def __init__(self, pool: RollbackPool) -> None:
        self._pool = pool
        #: How often the calling thread holds the lock for undo() beside its block. A critical
        #: section that raises takes the lock once more and counts it here. Else a thread that waits
        #: for the lock could start the task in between. Guarded by the lock.
        self.kept: int = 0

    def undo(self, *tasks: Task[Any], ended: Iterable[Task[Any]] = ()) -> None:
        """Undo a submission that is about to raise, so that its tasks do not run. (no lock)

        :param ended: tasks of the call that is about to raise. If they are final, wake their
            waiters.
        """
        # A refusal leaves nothing to repair.
        interrupted = not isinstance(sys.exc_info()[1], SupervisorError)
        lock = self._pool.lock
        try:
            _descend(FRAMES)
        except RecursionError:
            # Only this frame and calls of C fit in, as is_reentrant() did before the first change.
            # A new thread has room for the rest. This thread holds the lock for it.
            done = allocate_lock()
            done.acquire()
            lock.acquire()
            self.kept += 1
            try:
                start_new_thread(self._undo_for, (get_ident(), done, tasks, ended))
                done.acquire()
            finally:
                kept, self.kept = self.kept, 0
                for _ in range(kept):
                    lock.release()
            return
        with lock:
            undone, deferred = self._undo(tasks, interrupted, get_ident())
            kept, self.kept = self.kept, 0
            for _ in range(kept):
                lock.release()
        self._notify(undone, ended, deferred, True)

    def _undo_for(self, thread: int, done: Any, tasks: tuple[Task[Any], ...],
                  ended: Iterable[Task[Any]]) -> None:
        """Undo a submission for a thread that holds the lock and waits."""
        pool: Any = self._pool
        is_locked_here = pool.is_locked_here
        pool.is_locked_here = partial(bool, True)       # a finalizer here must not wait for it
        try:
            undone, deferred = self._undo(tasks, True, thread)
        finally:
            pool.is_locked_here = is_locked_here
            done.release()
        self._notify(undone, ended, deferred, False)

    def _undo(self, tasks: tuple[Task[Any], ...], interrupted: bool,
              thread: int) -> tuple[list[Task[Any]], Deferred]:
        """Undo a submission of a thread; return the tasks that are final now. (lock held)"""
        # An interrupt can come at any line, so each task may be in any state, and the pool's own
        # accounts may be incomplete.
        pool = self._pool
        undone: list[Task[Any]] = []
        if interrupted:
            self.kept += pool._interrupted(thread)
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
                pool.lifecycle.remove(task, task._status, perf_counter(), task._outcome)
            else:
                task._extra_fields().cancel_requested = True
                if task._status == STARTED:
                    if pool._was_dispatched(task):
                        continue            # too late: it runs to its end
                    pool.lifecycle.revoke(task)     # it has a slot, but no thread runs it
                elif task._status == QUEUED and not pool._is_queued(task):
                    continue
                pool.lifecycle.finish(task, CANCELED, perf_counter())
            undone.append(task)
        return undone, pool._resync(set(undone)) if interrupted else []

    def _notify(self, undone: list[Task[Any]], ended: Iterable[Task[Any]], deferred: Deferred,
                inline: bool) -> None:
        run_deferred(deferred)
        for task in [*undone, *ended]:
            if task.done():
                self._pool.lifecycle.notify(task, task._waiters or [], inline)


def _descend(frames: int) -> None:
    """Return after as many nested calls; :exc:`RecursionError` if there is no room for them."""
    if frames:
        _descend(frames - 1)
