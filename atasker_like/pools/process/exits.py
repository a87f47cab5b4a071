"""The end of pool processes: their tasks fail or wait again, and new processes replace them."""
from __future__ import annotations

from contextlib import suppress
from time import perf_counter

from ..._log import log
from ...engine.deferred import run_deferred
from ...engine.lifecycle import failure_of, retry_pause
from ...engine.task import CANCELED
from .child import wait_readable
from .exit_status import ExitStatus, disown, wait_for_end
from .io_thread import CLOSED
from .pool_process import RESULTS, TICKETS, kill
from .protocol import process_died_error
from .spawn import are_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from ...engine.deferred import Deferred
    from ...engine.task import Task
    from .io_thread import IOThread
    from .pool_process import PoolProcess
    from .process_set import ProcessSet
    from .starter import ProcessStarter


class ExitHandler:
    """Handles the ends of the processes of one pool. (no lock)"""

    def __init__(self, pool: ProcessSet, starter: ProcessStarter) -> None:
        self._pool = pool
        self._starter = starter

    def handle(self, process: PoolProcess, cause: str | None = None) -> None:
        """Fail the task that a dead process was running, requeue its other tasks, and replace it.

        :param cause: why the process was ended, if no I/O thread watches it any more.
        """
        pool = self._pool
        io_thread = pool._io_thread
        if io_thread is not None:
            io_thread.forget(process)
        status = _status_of(process, cause)
        refused = self._was_refused(process, status)
        with pool.lock:
            ending, process.termination = process.termination, None
            victims, undone = self._remove(process, status.code)
            early = not process.ready and not pool._closing
            if early:
                self._starter.ended_early(refused)
            pool._close_pipes(process)
        with suppress(OSError, ValueError):     # the application closes descriptors meanwhile
            process.process.close()
        for task in undone:
            self._cancel(task)
        for victim in victims:
            if ending is None or ending[0] is not victim:
                error: BaseException = process_died_error(process.pid, status, victim)
                pool._end_attempt(victim, failure_of(victim, error), retry_pause(victim, error))
            elif ending[1] is None:
                self._cancel(victim)
            else:
                pool._end_attempt(victim, failure_of(victim, ending[1]), ending[2])
        if early:
            self._starter.report_early_end(process, status)
        with pool.lock:
            deferred: Deferred = []
            if pool.accepting or pool.run_queue.waiting:
                pool._refill_idle()
                deferred = self._starter.grow()
            pool.backpressure.wake_submitters()
            deferred += self._starter.all_exited()
        run_deferred(deferred)

    def _was_refused(self, process: PoolProcess, status: ExitStatus) -> bool:
        """Return True if a process did not get ready, and is not the cause of that.

        For example, the system sends SIGKILL or SIGTERM when it is short of memory. So the start
        is tried again without limit.
        """
        if process.ready or not (status.cause != "" or (status.code in (-9, -15)
                                                        and self._pool.initializer is None)):
            return False
        try:
            self._pool.timer.start()
        except (RuntimeError, MemoryError):
            return False
        return True

    def _remove(self, process: PoolProcess,
                exitcode: int | None) -> tuple[list[Task[Any]], list[Task[Any]]]:
        """Remove a process from the pool, and requeue the tasks that it has not begun. (lock held)

        :return: the tasks that had begun, and those that are to be cancelled.
        """
        pool = self._pool
        pool._processes.remove(process)
        pool._departing = any(other.closed or other.termination is not None
                              for other in pool._processes)
        pool._leave_idle(process)
        pool.timer.cancel(process.ready_timer)
        process.closed = True
        if are_open([process.pipes[TICKETS]]):
            back = pool._revoke(process)
        else:
            # Its tickets cannot be read: only the unsent tasks certainly did not begin.
            back = pool._take_last(process, process.unsent)
        pool.run_queue.requeue(back)
        # If the tickets could be read, at most one task is left.
        victims = list(process.inflight)
        if victims:
            pool.run_queue.active -= 1
            process.inflight.clear()
            for lane in list(process.lanes):
                pool._leave_lane(process, lane, process.lanes[lane])
        if not process.draining:
            return victims, []
        # See _quarantine(): if the process exited by itself, it had begun none of these.
        begun = 0 if exitcode == 0 else 1
        undone = [task for task in victims[begun:]
                  if task._extra is not None and task._extra.cancel_requested]
        queued = [task for task in victims[begun:] if pool.lifecycle.revoke(task)]
        pool.run_queue.requeue([task for task in queued if task not in undone])
        return victims[:begun], undone

    def _cancel(self, task: Task[Any]) -> None:
        held = task._references()
        with self._pool.lock:
            waiters = self._pool.lifecycle.finish(task, CANCELED, perf_counter())
        del held
        self._pool.lifecycle.notify(task, waiters, inline=False)

    def replace_all(self, io_thread: IOThread, error: BaseException) -> None:
        """Replace all processes when the I/O thread ends; fail the tasks that they run."""
        pool = self._pool
        log.error("%s: its I/O thread ended (%s: %s); its processes are replaced, and what they "
                  "ran fails", pool.name, type(error).__name__, error)
        with pool.lock:
            if pool._io_thread is io_thread:
                pool._io_thread = None
            processes = list(pool._processes)
            for process in processes:
                process.closed = True       # it gets no more tasks
                pool._leave_idle(process)
        cause = str(error) or type(error).__name__
        for process in processes:
            kill(process.process)
        for process in processes:
            try:
                # The results that it has written still count. The last event is its end. A pool
                # thread may be reading a large one.
                reading = process.reading
                if reading is not None:
                    reading.wait(None)
                while process in pool._processes and are_open([process.pipes[RESULTS]]):
                    wait_readable(process.result_fd)
                    pool.on_readable(process, cause)
            except BaseException:
                log.exception("%s: the results of process %d cannot be read", pool.name,
                              process.pid)
            try:
                if process in pool._processes:
                    self.handle(process, cause)
            except BaseException:
                log.exception("%s: the end of process %d could not be handled", pool.name,
                              process.pid)


def _status_of(process: PoolProcess, cause: str | None) -> ExitStatus:
    """Wait for the end of a process, and return its exit status."""
    if not are_open(process.pipes):
        disown(process.process, process.server, process.files)
        return ExitStatus(None, cause=cause or CLOSED)
    status = wait_for_end(process.process, process.server)
    if cause is not None:
        status.cause = cause
    return status
