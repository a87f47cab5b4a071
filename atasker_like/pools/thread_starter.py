"""Starts the threads of a thread pool, also when the system refuses one for a while.

A task whose thread cannot start goes back into the run queue. A thread that becomes idle takes it,
or the timer tries the start again every START_RETRY seconds. Only if no thread can ever take it,
not even one of the timer, the task fails.
"""
from __future__ import annotations

from collections import deque
from operator import methodcaller
from time import perf_counter

from .._atomics import release
from .._log import log
from .._threads import PackageThread
from ..engine.lifecycle import failure_of
from ..engine.task import COMPLETED, QUEUED
from ..errors import PoolBrokenError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterable, Protocol

    from ..engine.task import Task
    from .backpressure import Backpressure
    from .notifier import WholePool
    from .pool_thread import PoolThread

    class StartingPool(WholePool, Protocol):
        """The pool, as its starter uses it."""

        backpressure: Backpressure
        _threads: set[PoolThread]
        _idle: list[PoolThread]
        _abandoned: set[PoolThread]

        def _thread_main(self, pool_thread: PoolThread) -> None: ...
        def _dispatch(self) -> list[PoolThread]: ...
        def _assign(self, task: Task[Any]) -> PoolThread: ...


#: Seconds until a pool that could not start a thread tries again.
START_RETRY = 0.1

_release = methodcaller("release")


class ThreadStarter:
    """Starts and wakes the threads of one pool."""

    def __init__(self, pool: StartingPool) -> None:
        self._pool = pool
        self._number = 0
        self._retry_at = 0.0                # the earliest time of the next start retry

    def forget_retry(self) -> None:
        """Let the next failed start schedule a retry of its own."""
        self._retry_at = 0.0

    def start_and_wake(self, pool_threads: Iterable[PoolThread]) -> None:
        """Wake or start threads that have a task or a job. (no lock)"""
        self.start_all(pool_threads)
        # One line without Python bytecode between two releases: an interrupt comes before the first
        # or after the last.
        deque(map(_release, [pool_thread.wake for pool_thread in pool_threads]), 0)

    def start_all(self, pool_threads: Iterable[PoolThread]) -> None:
        """Start the missing threads. If a thread cannot start, its task waits in the run queue."""
        failed: list[PoolThread] = []
        error: BaseException | None = None
        for pool_thread in pool_threads:
            if pool_thread.thread is None:
                if error is None:           # after one refusal, do not ask the system again
                    error = self._launch(pool_thread)
                if error is not None:
                    failed.append(pool_thread)
        for pool_thread in reversed(failed):     # so that the tasks wait in their old order
            self._start_failed(pool_thread, error)

    def start(self, pool_thread: PoolThread) -> bool:
        """Start a thread, which sleeps at first. If this fails, let its task wait; return False."""
        error = self._launch(pool_thread)
        if error is None:
            return True
        self._start_failed(pool_thread, error)
        return False

    def _launch(self, pool_thread: PoolThread) -> BaseException | None:
        """Start the thread, which sleeps at first. Return the system's error, if any."""
        pool = self._pool
        self._number += 1           # for the name only, so two equal numbers are harmless
        thread = PackageThread(pool._thread_main, (pool_thread,), f"{pool.name}_{self._number}")
        thread.runs_tasks = True
        pool_thread.thread = thread
        try:
            thread.start()
        except (RuntimeError, MemoryError) as error:
            return error
        return None

    def _start_failed(self, pool_thread: PoolThread, error: BaseException | None) -> None:
        """Take the task of a thread that could not start back into the run queue. (no lock)"""
        pool = self._pool
        pool_threads: list[PoolThread] = []
        with pool.lock:
            pool._threads.discard(pool_thread)
            pool_thread.thread = None
            task, pool_thread.task = pool_thread.task, None
            if task is not None:
                if pool_thread.abandoned:
                    pool._abandoned.discard(pool_thread)
                    pool.backpressure.set_fast_limit()
                else:
                    pool.run_queue.release(task)
                    if pool.lifecycle.revoke(task):
                        pool.run_queue.requeue((task,))
            if pool._idle:
                pool_threads = pool._dispatch()      # a thread has become idle meanwhile
            # A running thread that does not wait will take a task from the run queue.
            alone = all(other.lend_depth or other.abandoned or other in pool._idle
                        for other in pool._threads)
        if pool.timer.clock() >= self._retry_at:         # one warning a retry for all tasks
            log.warning("%s could not start a thread (%s); waiting tasks go on when one of its "
                        "threads is free, and it is tried again every %s s",
                        pool.name, error, START_RETRY)
        if task is None:
            job = pool_thread.job
            if job is not None:
                job()               # no other thread will run it
        elif pool_threads:
            self.start_and_wake(pool_threads)
        else:
            try:
                pool.timer.start()
                self._schedule_retry()
            except (RuntimeError, MemoryError):
                if alone:           # no thread will ever take it
                    self._fail_task(task, error)

    def _fail_task(self, task: Task[Any], error: BaseException | None) -> None:
        """Fail a task for which no thread can start, not even that of the timer."""
        pool = self._pool
        waiters = None
        broken = failure_of(task, PoolBrokenError(
            f"{pool.name} could not start a thread for task {task.name} ({task.short_id}): "
            f"{error}; the system's limit on threads or memory is reached"))
        held = task._references()
        with pool.lock:
            if task._status == QUEUED:
                waiters = pool.lifecycle.finish(task, COMPLETED, perf_counter(), broken)
                pool.run_queue.discard(task)
        del held
        pool.lifecycle.notify(task, waiters)

    def _schedule_retry(self) -> None:
        """Have the timer try again, once for all waiting tasks."""
        pool = self._pool
        # Before _retry_at, the retry that was scheduled last is still to come.
        if pool.timer.clock() >= self._retry_at:
            self._retry_at = pool.timer.call_later(START_RETRY, self._retry_start).deadline

    def _retry_start(self) -> None:
        """Start threads for the waiting tasks, one by one, until the system refuses one."""
        pool = self._pool
        while True:
            with pool.lock:
                task = pool.run_queue.pop()
                if task is None:
                    pool.backpressure.wake_submitters()
                    return
                pool.lifecycle.start(task, perf_counter())
                pool_thread = pool._assign(task)
            if pool_thread.thread is None and not self.start(pool_thread):
                return
            release(pool_thread.wake)
