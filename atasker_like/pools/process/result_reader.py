"""Reads the results of pool processes and finishes their tasks.

The I/O thread calls :meth:`ResultReader.read`; a pool thread reads a large result.
"""
from __future__ import annotations

import os
from time import perf_counter

from ...engine.blocking import Latch
from ...engine.deferred import run_deferred
from ...engine.lifecycle import before_end_of, failure_of, retry_pause, run_callback
from ...engine.task import COMPLETED, QUEUED
from .child import ERROR, LOG, PROGRESS, READY, RESULT, PipeReader, wait_readable
from .protocol import decode, decode_large

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from ...engine.task import Task
    from ..base import Waiters
    from .io_thread import IOThread
    from .pool_process import PoolProcess
    from .process_set import ProcessSet
    from .protocol import Result
    from .starter import ProcessStarter


#: The number of bytes that one call reads from a result pipe.
READ_SIZE = 1 << 16


class ResultReader:
    """Reads the results of the processes of one pool."""

    def __init__(self, pool: ProcessSet, starter: ProcessStarter,
                 on_exit: Callable[[PoolProcess, str | None], None]) -> None:
        self._pool = pool
        self._starter = starter
        self._on_exit = on_exit

    def read(self, process: PoolProcess, cause: str | None = None) -> None:
        """Read a result pipe that has data, or handle the end of its process.

        :param cause: why the process was ended, if that is known.
        """
        pool = self._pool
        try:
            data = os.read(process.result_fd, READ_SIZE)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._on_exit(process, cause)
            return
        if process.partial:
            data = process.partial + data
        results: list[Result] = []
        large = None
        position, end = 0, len(data)
        unpack, header = RESULT.unpack_from, RESULT.size
        while end - position >= header:
            number, length, seconds, kind = unpack(data, position)
            start = position + header
            if length:
                if end - start < length:
                    if length >= READ_SIZE:
                        large = number, kind, seconds, PipeReader(
                            process.result_fd, length, data[start:],
                            lambda: wait_readable(process.result_fd))
                        position = end
                    break
                position = start + length
                results.append(decode(number, kind, seconds, data[start:position], process))
            else:
                position = start
                results.append((number, kind, seconds, None))
        process.partial = data[position:] if position < end else b""
        if results:
            self._on_results(results, process)
        if large is not None:
            # A pool thread reads it, without a copy, while this thread serves the other processes.
            assert pool._io_thread is not None
            pool._io_thread.pause(process)
            process.reading = Latch()
            io_thread, arriving = pool._io_thread, large
            pool._spawn(lambda: self._take_large(arriving, process, io_thread))

    def _take_large(self, large: tuple[int, int, float, PipeReader], process: PoolProcess,
                    io_thread: IOThread) -> None:
        number, kind, seconds, reader = large
        try:
            result = decode_large(number, kind, seconds, reader, process)
            reader.skip()
            self._on_results([result], process)
        except (EOFError, OSError):
            pass        # the process died: the I/O thread reports that after add()
        finally:
            over, process.reading = process.reading, None
            assert over is not None
            over()
            io_thread.add(process)

    def _on_results(self, results: list[Result], process: PoolProcess) -> None:
        """Finish the tasks of some results, feed the process, and wake the waiters."""
        pool = self._pool
        late: list[tuple[Task[Any], int, Any]] = []
        waiters: Waiters = []
        held: list[Any] = []
        acquire = pool.lock.acquire
        if not acquire(False):
            pool.parking.wait(acquire)
        try:
            self._record(process, results, late, waiters, held)
            # Checked only after a task: each process must run at least one.
            if (pool.max_age is not None or pool.max_memory is not None) \
                    and results[-1][1] <= ERROR and pool._should_recycle(process):
                pool._recycle(process)
            if process.inflight:
                if len(process.inflight) * 2 <= pool._allowed(
                        process.inflight[0]._spec.expected_runtime):
                    pool._refill(process)
                if pool._idle and pool.run_queue.waiting:
                    pool._refill_idle()           # a lane has a free slot again
            elif process.ready and pool.run_queue.waiting:
                pool._refill_idle()
            elif process.ready and pool._idle and len(pool._processes) > 1:
                pool._steal()
            # A process that just got ready may have taken all waiting tasks, while others stand
            # behind a running task. A dismissed process may need long to exit.
            deferred = (self._starter.grow()
                        if (pool.run_queue.waiting or len(process.inflight) > 1
                            or results[0][1] > ERROR or process.closed)
                        else [])
            if pool.log_forwarder.records:
                deferred = deferred + pool.log_forwarder.deferred()
            if pool.backpressure.has_observers:
                waiters += pool.backpressure.observe_end()
        finally:
            pool.lock.release()
            if pool.parking.waiters:
                pool.parking.unpark_one()
        del held, results
        for waiter in waiters:
            waiter()
        run_deferred(deferred)
        for task, kind, outcome in late:
            self._finish_slow(task, kind, outcome)

    def _record(self, process: PoolProcess, results: list[Result],
               late: list[tuple[Task[Any], int, Any]],
               waiters: Waiters, held: list[Any]) -> None:
        """Store results in their tasks. (lock held)

        :param late: receives the tasks with a callback, hooks, retries or an error.
        :param waiters: receives the waiters.
        :param held: receives the references of the tasks, to be dropped without the lock.
        """
        pool, inflight = self._pool, process.inflight
        lifecycle, registry = pool.lifecycle, pool.registry
        live, history, recorder = registry.live, registry.history, lifecycle.recorder
        now = perf_counter()
        timed = None
        for number, kind, seconds, outcome in results:
            if kind > ERROR:
                self._record_report(process, number, kind, outcome)
                continue
            task = inflight.popleft()
            following = inflight[0] if inflight else None
            spec = task._spec
            if spec is not timed:       # one measurement of a function is enough for each batch
                timed = spec
                spec.note_runtime(seconds)
            if task._context is not None:
                held.append(task._references())
            if spec.lane is not None:
                if process.lanes.get(spec.lane, 0) > 1:
                    process.lanes[spec.lane] -= 1
                else:
                    pool._leave_lane(process, spec.lane, 1)
            # Lifecycle.finish(), inlined: every other finisher of a running task makes extra fields
            if task._extra is None and kind != ERROR and spec.fast_finish:
                if following is not None and (following._extra is not None
                                              or following._status != QUEUED
                                              or not following._spec.fast_finish
                                              or now - following._queued > lifecycle.late_after):
                    pool._begin(following, now)
                    task._advance(COMPLETED, now, outcome)
                else:
                    task._advance(COMPLETED, now, outcome, following)
                    if recorder is not None and following is not None:
                        recorder.on_started(following)
                del live[number]
                history.append((task._queued, task._started, now))
                if recorder is not None:
                    recorder.on_finished(task)
                if task._waiters is not None:
                    waiters += task._waiters
            else:
                late.append((task, kind, outcome))
                if following is not None:
                    pool._begin(following, now)
                if kind == ERROR and issubclass(type(outcome), MemoryError):
                    process.retiring = True     # it may stay short of memory
            if following is None:
                pool._becomes_idle(process)
            elif process.retiring:
                pool.run_queue.requeue(pool._revoke(process))

    def _record_report(self, process: PoolProcess, number: int, kind: int, outcome: Any) -> None:
        """Handle a message of a process that is no result: progress, log record, readiness."""
        pool = self._pool
        if kind == PROGRESS:
            running = pool.registry.live.get(number)
            if running is not None:
                pool.lifecycle.progress(running, outcome)
        elif kind == LOG:
            pool.log_forwarder.add(number, outcome)
        elif kind == READY:
            process.ready = True
            pool.timer.cancel(process.ready_timer)
            self._starter.got_ready()
            if not process.closed:
                if process.retiring:
                    pool._close_when_idle(process)      # configure() was called while it started
                else:
                    pool._idle.append(process)
        else:
            process.error = outcome

    def _finish_slow(self, task: Task[Any], kind: int, outcome: Any) -> None:
        """Finish a task with a callback, hooks, retries or an error after its result arrived."""
        pool = self._pool
        pause = None
        failed = kind == ERROR
        if failed:
            pause = retry_pause(task, outcome)
            outcome = failure_of(task, outcome)
        before_end = None if pause is not None else before_end_of(task)
        if before_end is None and (failed or task._spec.callback is None):
            pool._end_attempt(task, outcome, pause)
            return

        def end() -> None:
            if not failed:
                run_callback(task, outcome)
            if before_end is not None:
                before_end(task, outcome)
            pool._end_attempt(task, outcome)

        if before_end is None:
            pool._spawn(end)
        else:
            with pool.lock:
                pool.notifier.add(end)         # after the hook call for its start
