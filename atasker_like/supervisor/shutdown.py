"""Shutdown: the order of the end, of ``TaskSupervisor.stop()`` and of the interpreter's exit alike.

::

    queue workers finish their items ─> refuse new tasks ─> stop schedulers ─> cancel delayed tasks
        ─> wait for the other tasks, until the deadline
        ─> past it: cancel queued tasks, end processes, abandon threads
        ─> close processes ─> stop loops ─> stop the timer ─> end workers, jobs ─> close threads
"""
from __future__ import annotations

from threading import get_ident
from time import monotonic

from .. import _modes
from .._checks import flag
from .._ids import short_id
from .._log import log
from .._threads import PackageThread, start_thread
from ..engine.blocking import block, deadline_of_stop
from ..engine.current import current, current_coroutine_task
from ..engine.wait_graph import LOOKED_AT, block_for
from ..errors import SupervisorError
from ..pools.cancelling import cancel_many
from .run_state import STOPPED, STOPPING
from .stats import StopReport, ended

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable

    from .._checks import Seconds
    from ..pools.base import Pool
    from .pool_manager import PoolManager
    from .run_state import RunState
    from .schedulers import ManagedWorker, SchedulerRegistry


#: Seconds that processes and coroutines get to end when the deadline of a stop has passed.
LAST_GRACE = 2.5
_STOPPED = "as its supervisor stopped"


class Shutdown:
    """Stops one supervisor. Any thread may call it, a signal handler too."""

    def __init__(self, state: RunState, pools: PoolManager, schedulers: SchedulerRegistry) -> None:
        self._state = state
        self._pools = pools
        self._schedulers = schedulers
        #: Queue workers finish their items if stop() is called without ``drain``; None decides by
        #: the mode of the package.
        self.drains_by_default: bool | None = None
        self._before = 0, 0, 0          # the numbers of ended() when the stop began
        self._finishing = False         # a thread is at work, and keeps the following deadline
        self._deadline: float | None = None
        #: The thread that calls the stop() of workers and schedulers, before another one finishes.
        self._caller: int | None = None
        self._called: list[Any] = []    # those whose stop() has been called in this stop
        self._finished = 0              # the number of stops that have ended
        self._drains = False            # queue workers finish their items in this stop
        self._items_left = 0            # in the queues of workers, at the end of the stop
        self._results_left = 0          # not stored in the backend, at the end of the stop

    def stop(self, supervisor: Any, wait: bool | Seconds, stop_schedulers: bool, cancel_tasks: bool,
             drain: bool | None) -> StopReport:
        """See ``TaskSupervisor.stop``.

        :param supervisor: kept alive until the end of the stop.
        """
        deadline = deadline_of_stop(wait)
        if drain is None:
            drain = self.drains_by_default
        drain = (not _modes.legacy if drain is None else flag("drain", drain)) and not cancel_tasks
        pools, state = self._pools, self._state
        if self.is_reentrant():
            # A signal handler or a finalizer came in between two lines of a critical section of
            # this thread, which must come to its end first.
            def stop_later() -> None:
                supervisor.stop(False, stop_schedulers, cancel_tasks, drain)

            start_thread(pools.threads.spawn, (stop_later,))
            return self._report()
        # The stop waits for this code, so this code must not wait for the stop.
        is_waited_for = (getattr(current.pool_thread, "pool", None) is pools.threads
                         or current_coroutine_task.get() is not None
                         or (pools.recorder is not None and pools.recorder.is_here()))
        with state.lock:
            # A new supervisor is stopped too, since loops may have been started by hand. A stop
            # that was interrupted before its thread was at work is begun again.
            begins = (state.phase != STOPPED and not self._finishing
                      and self._caller in (None, get_ident()))
            if begins:
                if state.phase != STOPPING:
                    self._before = ended(pools.by_kind.values())
                    self._called = []
                state.phase = STOPPING
                self._deadline = deadline
                self._drains, self._items_left, self._results_left = drain, 0, 0
                number = self._finished
                workers = self._schedulers.workers()
                if not (drain and self._schedulers.has_queue_workers()):
                    pools.refuse()
        if begins:
            how = (number, supervisor, workers, deadline, cancel_tasks, stop_schedulers,
                   wait is not False)
            try:
                if _modes.legacy and not drain:
                    self._call_stops(deadline, stop_schedulers,
                                     wait is not False and not is_waited_for
                                     and not cancel_tasks)
                self._start_to_finish(*how)
            except BaseException:       # an interrupt, at any line: the stop goes on all the same
                if self._caller == get_ident():
                    self._caller = None
                self._start_to_finish(*how)
                raise
        if wait is not False and not is_waited_for:
            # The thread that finishes keeps the deadline of its stop; a later caller has its own.
            self._wait(None if self._deadline == deadline else deadline)
        return self._report()

    def _wait(self, deadline: float | None) -> None:
        """Wait for the end of the stop; warn if a task of the supervisor waits for the caller."""
        stopped = self._state.stopped

        def acquire(blocking: bool = True, timeout: float = -1.0) -> bool:
            return stopped.wait(0 if not blocking else None if timeout < 0 else timeout)

        if current.pool_thread is None:
            block(acquire, deadline)
        else:
            tasks = [task for pool in self._pools.by_kind.values() for task in pool.all_tasks()]
            # Not certain: an error must not leave the supervisor in the middle of its stop.
            block_for(tasks[:LOOKED_AT], acquire, deadline, certain=False)

    def is_reentrant(self) -> bool:
        """Return True if the calling thread is inside a critical section of the supervisor."""
        return (self._state.lock._is_owned()         # type: ignore[attr-defined]
                or any(pool.is_locked_here() for pool in self._pools.by_kind.values()))

    def _report(self) -> StopReport:
        now = ended(self._pools.by_kind.values())
        finished, cancelled, killed = (new - old for new, old in zip(now, self._before))
        is_whole = (self._state.phase == STOPPED and not self._results_left
                    and not (self._drains and self._items_left))
        abandoned = sum(pool.abandoned for pool in self._pools.by_kind.values())
        return StopReport(finished=finished, cancelled=cancelled, abandoned=abandoned,
                          killed=killed, items_left=self._items_left,
                          results_left=self._results_left, complete=is_whole)

    def _call_stops(self, deadline: float | None, stop_schedulers: bool, wait: bool) -> None:
        """Stop workers and schedulers in the thread of the caller, which may hold locks of theirs.

        In the position of atasker, applications rely on that. If it is interrupted, the thread that
        finishes stops the others.
        """
        here = get_ident()
        try:
            with self._state.lock:
                if self._caller in (None, here):
                    self._caller = here
            # A signal handler in this thread may stop the supervisor meanwhile.
            if self._caller == here:
                self._schedulers.call_stops(stop_schedulers, self._called, deadline, wait)
        finally:
            if self._caller == here:
                self._caller = None

    # -- in a thread of its own ----------------------------------------------------------------

    def _start_to_finish(self, *arguments: Any) -> None:
        if self._caller is not None:        # another thread came first, and starts it
            return
        # The main thread may be interrupted at any line; a thread that only finishes is not.
        finisher = PackageThread(self._finish, arguments,
                                 f"supervisor_{self._state.supervisor_id}_stop")
        try:
            finisher.start()
        except (RuntimeError, SupervisorError):     # there is no thread to be had
            self._finish(*arguments)

    def _finish(self, number: int, supervisor: Any, workers: list[ManagedWorker],
                deadline: float | None, cancel_tasks: bool, stop_schedulers: bool,
                wait: bool) -> None:
        state, schedulers = self._state, self._schedulers
        with state.lock:
            # Two threads are started if the stop of the first was interrupted. The second may come
            # so late that it meets the next stop.
            if self._finishing or state.phase != STOPPING or number != self._finished:
                return
            self._finishing = True
        try:
            if self._drains and schedulers.has_queue_workers():
                schedulers.drain_workers(workers, deadline)
                self._pools.refuse()
            schedulers.stop_workers(workers, self._called)
            if stop_schedulers:
                schedulers.stop_schedulers(deadline, wait, self._called)
            self._end_all(deadline, cancel_tasks)
            self._items_left = schedulers.count_items_left()
        except Exception:
            log.exception("supervisor %s could not be stopped in order", state.supervisor_id)
        finally:
            with state.lock:
                state.phase = STOPPED
                self._finishing = False
                self._finished += 1
                self._called = []
            log.debug("supervisor %s stopped", state.supervisor_id)
            state.stopped.set()
            state.release_exit()

    def _end_all(self, deadline: float | None, cancel_tasks: bool) -> None:
        manager, pools = self._pools, self._pools.by_kind.values()
        delayed, advice = _cancel_held_back(pools)
        for pool in pools:
            pool.start_draining()
        if delayed:
            log.warning("supervisor %s stopped: %d delayed or paused task(s) cancelled%s",
                        self._state.supervisor_id, delayed, advice)
        if cancel_tasks:
            cancel_many([task for pool in pools for task in pool.all_tasks()], _STOPPED)
        manager.coroutines.abandon_closed()     # the application may have closed its own loops
        # All pools are drained before any is closed: a task of one may wait for one of another.
        # A list: every pool is drained, even after one that is not drained in time.
        in_time = all([pool.drain(deadline) for pool in pools])
        if not in_time:
            self._abandon()
            deadline = monotonic() + LAST_GRACE
        if manager.processes is not None:
            manager.processes.close(deadline)
        manager.loops.stop_all(deadline, cancel=not in_time)
        for pool in pools:
            if not pool.drain(deadline):
                pool.abandon_all()
        # The timer before the threads: it has them run calls, and may not while they are closed.
        manager.timer.stop()
        self._schedulers.end()
        manager.threads.close(deadline)
        manager.timer.stop()
        for pool in pools:
            with pool.lock:
                # Nothing runs, and the timer has dropped its calls.
                pool.lifecycle.timeouts.reset()
                pool.backpressure.timer_stopped()
                pool.notifier.timer_stopped()
        if manager.recorder is not None:
            # Last, so that every result is stored, if one second is enough for it.
            self._results_left = manager.recorder.close(
                None if deadline is None else max(deadline, monotonic() + 1))

    def _abandon(self) -> None:
        """Cancel all tasks, and abandon the threads that still run: the deadline has passed."""
        cancel_many([task for pool in self._pools.by_kind.values() for task in pool.all_tasks()],
                    _STOPPED)
        abandoned = self._pools.threads.abandon_all()
        if abandoned:
            log.warning("supervisor %s stopped: %d thread(s) still run and are abandoned "
                        "(tasks %s)", self._state.supervisor_id, len(abandoned),
                        ", ".join(map(short_id, abandoned)))

    def reset_after_fork(self) -> None:
        """Forget a stop of the parent, in a forked process."""
        self._finishing = False
        self._caller = None


def _cancel_held_back(pools: Iterable[Pool]) -> tuple[int, str]:
    """Cancel the tasks that are delayed or paused; return their number, and a text about one.

    This is not a part of the caller: no variable refers to the tasks while it waits.
    """
    tasks = [task for pool in pools for task in pool.held_back()]
    advice = f"; the first is {tasks[0].name} ({tasks[0].short_id})" if tasks else ""
    for task in tasks:
        needed = task._spec.way_out(task._status, "")
        if needed:
            advice = f"; the first is {task.name} ({task.short_id}), and {needed}"
            break
    return cancel_many(tasks, _STOPPED), advice
