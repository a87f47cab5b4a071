"""The process pool, parent's side: starts processes, in a pool thread, while some are lacking.

A start that fails is tried again after a pause, as ``start_errors.py`` says. If no process can be
started, the waiting tasks fail.
"""
from __future__ import annotations

import threading
from contextlib import suppress
from errno import EAGAIN
from itertools import count
from time import perf_counter

from ..._inspect import text_of
from ..._log import log
from ..._patched import why_no_processes
from ..._threads import start_thread
from ...engine.deferred import run_deferred
from ...engine.lifecycle import failure_of
from ...engine.task import COMPLETED
from ...errors import PoolBrokenError, ProcessDiedError, SupervisorError
from . import child
from .io_thread import IOThread
from .main_module import (NO_GUARD, UnguardedMainError, end_if_pool_process, is_being_imported,
                          may_lack_guard, names_main, process_name, why_not_importable)
from .pool_process import PoolProcess, kill
from .serializer import Setup
from .spawn import launch
from .start_errors import START_TRIES, describe, tries

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from ...engine.deferred import Deferred
    from .child import Initializer
    from .exit_status import ExitStatus
    from .process_set import ProcessSet
    from .template import ForkTemplate


#: Seconds before a failed start is tried again; doubled each time, up to the second number.
START_PAUSE, START_PAUSE_MOST = 0.025, 5.0


class ProcessStarter:
    """Starts the processes of one pool."""

    def __init__(self, pool: ProcessSet) -> None:
        self._pool = pool
        self.is_busy: bool = False          # a thread starts processes, or was asked to
        self.is_running: bool = False       # that thread has begun
        self._failures = 0                  # processes in a row that did not get ready
        self._refusals = 0                  # starts in a row that raised
        self._pausing = False               # the timer will retry a failed start
        # Processes do not get ready: start none ahead of tasks until one does.
        self._is_broken = False
        self.ahead: bool = False            # start min_size processes before the pool is opened
        # True: start no second process before the first one is ready. None: not known yet.
        self._probing: bool | None = None
        # The start methods with which a process imports a main module that starts processes.
        self._unguarded: list[str | None] = []
        self._count = count(1)              # only one thread at a time uses it
        self.template: ForkTemplate | None = None
        self._template_lock = threading.Lock()      # guards template and the fork of a new one

    def grow(self) -> Deferred:
        """Start processes if processes are lacking. (lock held)"""
        if self.is_busy or self._pausing or self._pool._closing or not self.needs_process():
            return []
        self.is_busy = True
        return [self._request_thread]

    def _request_thread(self) -> None:
        """Start processes in a pool thread. Start the I/O thread before this call returns."""
        pool = self._pool
        # At the exit of the interpreter, which finishes the accepted tasks, it may be too late to
        # start a thread.
        if pool.start_method in self._unguarded or is_being_imported():
            self._refuse_to_start()
            return
        if pool.forks_from_template:
            with suppress(OSError):         # tried again with the start of a process
                self.ensure_template()      # in the thread of the submitter, usually the main one
        if pool._io_thread is None:
            try:
                pool.timer.start()          # for the same reason
                begun = threading.Lock()    # released when the I/O thread has started
                begun.acquire()
                # Not in the main thread, where an interrupt could come between opening and storing
                # a pipe.
                start_thread(self._start_watch_first, (begun.release,))
                begun.acquire()
            except (RuntimeError, MemoryError):     # tried again with the start of a process
                pass
        pool._spawn(self._start_while_lacking)

    def _refuse_to_start(self) -> None:
        """Fail the waiting tasks: the import of the main module starts processes."""
        if is_being_imported():
            end_if_pool_process()       # the pool that started this process fails its tasks
        with self._pool.lock:
            self.is_busy = False
            exited = self.all_exited()
        self._fail_waiting(None, str(UnguardedMainError()))
        run_deferred(exited)

    def needs_process(self) -> bool:
        """Return True if another process should be started. (lock held)"""
        pool = self._pool
        alive = pool._alive()
        if alive >= pool.run_queue.slots:
            return False
        if self._probing and alive:
            return False
        if alive < pool.min_size and (pool.accepting or self.ahead) and not self._is_broken:
            # A main module may set min_size when it is imported. A new process must not act on it.
            return not is_being_imported()
        if pool._idle:
            return False
        task = pool.run_queue.peek()
        if task is None:
            # A prefetched task may stand behind a task that takes long, or that waits for it. If a
            # slot is free, another process steals it.
            return (pool.run_queue.active < pool.run_queue.slots
                    and any(len(process.inflight) > 1 for process in pool._processes)
                    and all(process.ready or process.termination is not None
                            for process in pool._processes))
        coming = sum(1 for process in pool._processes
                     if not process.ready and process.termination is None)
        return (coming < pool.run_queue.waiting
                and pool.run_queue.active + coming < pool.run_queue.slot_limit(
                    pool.run_queue.head_priority()))

    def _start_while_lacking(self) -> None:
        """Start processes, one after the other. A pool thread runs it."""
        self.is_running = True
        while True:
            with self._pool.lock:
                unguarded = self._pool.start_method in self._unguarded
                if self._pool._closing or unguarded or not self.needs_process():
                    self.is_busy = self.is_running = False
                    exited = self.all_exited()
                    break
            try:
                self._start_one()
            except UnguardedMainError:
                self._tell_unguarded()
            except BaseException as error:
                self._start_failed(error)
                return
        if unguarded:
            self._refuse_to_start()         # fail the tasks that were submitted meanwhile
        run_deferred(exited)

    def _start_one(self) -> None:
        pool = self._pool
        self._start_watch()
        started = self._launch()
        with pool.lock:
            try:
                self._ensure_watch()        # again, since the I/O thread may have ended
            except BaseException:
                kill(started.process)
                pool._close_pipes(started)
                raise
            io_thread = pool._io_thread
            assert io_thread is not None
            pool._processes.append(started)
            if started.generation != pool._generation:
                started.retiring = True     # it may have the old settings
            if pool._closing:
                pool._close_when_idle(started)
        io_thread.add(started)
        pool._arm_ready_timeout(started)

    def _start_failed(self, error: BaseException) -> None:
        """Try again after a pause, or fail what waits, after a start has raised."""
        pool = self._pool
        allowed = tries(error)
        with pool.lock:
            self.is_busy = self.is_running = False
            self._failures += allowed is not None
            failures = self._failures
            hopeless = allowed is not None and failures >= allowed
            # If there is a usable process, it runs the waiting tasks.
            failing = hopeless and not any(
                process.ready and process.termination is None
                and not process.closed and not process.retiring for process in pool._processes)
            pause = self._next_pause()
            if hopeless:
                pause = START_PAUSE_MOST
            self._pausing = pausing = not failing and not pool._closing
            exited = self.all_exited()
        run_deferred(exited)
        log.warning(
            "%s could not start a process: %s; %s", pool.name, describe(error),
            "what waits is failed" if failing else f"it is tried again in {pause:g} s")
        if failing:
            why = describe(error)
            if allowed != 1:
                why = f"{failures} tries in a row failed, the last one with {why}"
            self._fail_waiting(error, why)
        elif pausing:
            try:
                pool.timer.start()
                pool.timer.call_later(pause, self._retry)
            except (RuntimeError, MemoryError):
                with pool.lock:
                    self._pausing = False
                self._fail_waiting(error, f"{describe(error)}; there is no thread for another try")

    def _next_pause(self) -> float:
        """Count a start that was refused; return the seconds until the next try. (lock held)"""
        self._refusals += 1
        return min(START_PAUSE * 2.0 ** self._refusals, START_PAUSE_MOST)

    def _retry(self) -> None:
        with self._pool.lock:
            self._pausing = False
            deferred = self.grow()
        run_deferred(deferred)

    def _launch(self) -> PoolProcess:
        """Start one process, from the template if the pool uses one."""
        pool = self._pool
        generation = pool._generation
        if (pool.initializer is not None and not pool.forks_from_template
                and pool.start_method != "fork" and pool.packer.serializer is None):
            source = why_not_importable()
            if source is not None and names_main(child.pickle_target(pool.initializer)):
                raise RuntimeError(
                    f"the initializer is defined in {source}, which a new process cannot import; "
                    "move it to a module (a .py file)")
        if self._probing is None:
            self._probing = (not pool.forks_from_template and pool.start_method != "fork"
                             and may_lack_guard())
        arguments = (process_name(pool.name, next(self._count)), pool.start_method,
                     pool.registry.prefix, self._setup(), pool.maxtasksperchild)
        if not pool.forks_from_template:
            started = launch(*arguments)
        else:
            template = self.ensure_template()
            try:
                started = launch(*arguments, template.start)
            except ConnectionError as error:
                if self.template is template:
                    log.warning("%s: %s; the program is forked again, as it is now",
                                pool.name, error)
                template = self.ensure_template()
                started = launch(*arguments, template.start)
            generation = min(generation, template.generation)
        started.generation = generation
        return started

    def _setup(self) -> Initializer:
        """Return what each process calls first."""
        pool = self._pool
        with pool.lock:
            serializer, call_first = pool.packer.serializer, (pool.initializer, pool.initargs)
        return call_first if serializer is None else (Setup(serializer, call_first), ())

    # -- how the starts go on ----------------------------------------------------------------------

    def got_ready(self) -> None:
        """A process is ready. (lock held)"""
        self._probing = False
        self._refusals = self._failures = 0
        self._is_broken = False

    def ended_early(self, refused: bool) -> None:
        """A process has ended before it was ready. (lock held)

        :param refused: the system ended it, so the start is tried again without limit.
        """
        if not refused:
            self._failures += 1
            return
        pause = self._next_pause()
        if not self._pausing:
            self._pausing = True
            self._pool.timer.call_later(pause, self._retry)

    def report_early_end(self, process: PoolProcess, status: ExitStatus) -> None:
        """Log that a process has ended before it was ready.

        If there are too many, fail what waits.
        """
        if status.code == NO_GUARD:
            self._tell_unguarded()
            return
        log.warning("%s: process %d ended before it was ready (%s)", self._pool.name, process.pid,
                    f"it ended {status}" if process.error is None else text_of(process.error))
        failures = self._failures
        if failures >= START_TRIES:
            last = process.error
            if last is None:
                last = ProcessDiedError(f"process {process.pid} ended {status} before it was ready",
                                        process.pid, status.code)
            self._fail_waiting(last, f"{failures} processes in a row did not get ready; "
                               f"the last one said: {text_of(last)}")

    def _fail_waiting(self, cause: BaseException | None, why: str) -> None:
        """Fail all waiting tasks, since no process can be started or gets ready.

        Each task gets its own error object.
        """
        pool = self._pool
        ended = []
        with pool.lock:
            self._failures = 0
            self._is_broken = True
            for task in pool.run_queue.take_all():
                error = PoolBrokenError(
                    f"{pool.name} could not start a process for task {task.name} "
                    f"({task.short_id}): {why}")
                error.__cause__ = cause
                held = task._references()
                ended.append((task, held, pool.lifecycle.finish(task, COMPLETED, perf_counter(),
                                                                failure_of(task, error))))
        for task, held, waiters in ended:
            pool.lifecycle.notify(task, waiters, inline=False)

    def all_exited(self) -> Deferred:
        """Return the calls to be made if no process is left and none is starting. (lock held)"""
        pool = self._pool
        if pool._processes or self.is_busy:
            return []
        exited, pool._exit_waiters = pool._exit_waiters, []
        return exited

    def undo_request(self) -> None:
        """Forget a request whose thread has not begun, after an interrupt. (lock held)"""
        if not self.is_running:
            self.is_busy = False

    def reopen(self) -> None:
        """Begin anew when the pool is opened. (lock held)"""
        self._pausing = False
        self._failures = self._refusals = 0

    def renew_locks(self) -> None:
        """Make a new lock after threads have been replaced."""
        self._template_lock = threading.Lock()

    def reset_after_fork(self) -> None:
        """Begin anew in a forked process; the template belongs to the parent."""
        self.renew_locks()
        self.reopen()
        self.is_busy = self.is_running = self._is_broken = self.ahead = False
        self.template = None

    def _tell_unguarded(self) -> None:
        """Fail the waiting tasks after a new process ended with NO_GUARD."""
        pool = self._pool
        error = UnguardedMainError()
        with pool.lock:
            known = pool.start_method in self._unguarded
            if not known:
                self._unguarded.append(pool.start_method)
            waits = pool.run_queue.waiting > 0
        if not waits and not known:         # no task can carry the error
            log.error("%s cannot start processes: %s", pool.name, error)
        self._fail_waiting(None, str(error))

    def start_now(self) -> None:
        """Start ``min_size`` processes before the pool is opened.

        With a template, fork it in this thread, and wait until they have been started.
        """
        pool = self._pool
        if not pool.forks_from_template:
            self.ahead = True
            with pool.lock:
                deferred = self.grow()
            run_deferred(deferred)
            return
        self.ensure_template()
        self.ahead = True
        with pool.lock:
            begin = not self.is_busy and not pool._closing and self.needs_process()
            self.is_busy = self.is_busy or begin
        if begin:
            started = threading.Lock()
            started.acquire()

            def start() -> None:
                try:
                    self._start_while_lacking()
                finally:
                    started.release()

            # Not in the main thread, where an interrupt may come between any two lines.
            pool._spawn(start)
            started.acquire()

    # -- the template ------------------------------------------------------------------------------

    def ensure_template(self) -> ForkTemplate:
        """Return the template. If there is none, fork it in this thread."""
        with self._template_lock:
            template = self.template
            if template is None or template.closed:
                from .template import ForkTemplate

                generation = self._pool._generation
                template = ForkTemplate(self._pool.name, self._setup())
                template.generation = generation
                self.template = template
            return template

    def drop_template(self, wait: bool) -> None:
        """End the template. The next start forks a new one."""
        with self._template_lock:
            template, self.template = self.template, None
        if template is not None:
            template.close(wait)

    # -- the I/O thread ----------------------------------------------------------------------------

    def _start_watch_first(self, done: Callable[[], None]) -> None:
        try:
            self._start_watch()
        except (OSError, SupervisorError) as error:
            # It is tried again with the start of a process.
            log.warning("%s could not start its thread: %s", self._pool.name, error)
        finally:
            done()

    def _start_watch(self) -> None:
        """Start the timer and the I/O thread if they do not run.

        :raises OSError: the system has no thread or no descriptor left.
        :raises SupervisorError: the application has patched functions that the pool needs.
        """
        with self._pool.lock:
            self._ensure_watch()

    def _ensure_watch(self) -> None:
        """Do the work of :meth:`_start_watch`. (lock held)"""
        try:
            self._pool.timer.start()
            if self._pool._io_thread is None:
                reason = why_no_processes(self._pool.start_method == "fork")
                if reason is not None:
                    raise SupervisorError(reason)
                self._pool._io_thread = IOThread(self._pool)
        except (RuntimeError, MemoryError) as error:
            raise BlockingIOError(EAGAIN, str(error)) from error
