"""The thread pool.

::

    submit ──> slot free? ──yes──> an idle thread, else a new one ──> runs the task
                   │                                                      │
                   no                                                     │ ends: one critical
                   └──> run queue <── takes the next task ────────────────┤ section frees the slot
                                                                          │ and takes the next task
                                                none may start ──> idle ──┘

A thread that ends a task takes the next one itself. So the pool needs no manager thread and no
hand-off between threads, and a busy pool wakes no thread. An idle thread sleeps on its own lock and
holds no task.

A thread that waits for another task lends its slot. It takes the slot back without waiting, which
may exceed the pool's size for a while. If it waited for a slot, it might hold a lock of the
application that the running tasks wait for: a deadlock.
"""
from __future__ import annotations

from contextvars import copy_context
from itertools import filterfalse
from operator import attrgetter
from sys import maxsize
from time import perf_counter

from .._atomics import release
from .._core_errors import RetryRequest, TaskCancelledError, TaskTimeoutError
from .._inspect import class_name, traceback_of
from .._log import log
from ..constants import TaskType
from ..engine.blocking import remaining
from ..engine.current import current
from ..engine.deferred import run_deferred
from ..engine.lifecycle import (before_end_of, drop_outcome, failure_of, is_cancellation,
                                report_late_error, retry_pause, run_callback)
from ..engine.result import with_traceback, without_first
from ..engine.run_queue import RunQueue
from ..engine.spec import TaskSpec
from ..engine.task import CANCELED, COMPLETED, QUEUED, STARTED, Task, number_tasks
from ..engine.task_fields import Positions
from .base import Pool
from .pool_thread import PoolThread
from .thread_starter import ThreadStarter

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Iterable, Sequence

    from ..engine.deferred import Deferred
    from ..engine.timer import Timer
    from .base import Waiters


#: Idle threads kept by a pool whose size is unlimited.
UNLIMITED_KEEPS = 64

#: The default number of threads that may be abandoned.
MAX_ABANDONED = 1000


class ThreadPool(Pool):
    """Run tasks in threads, most urgent first, in the context of their submitter."""

    tt = TaskType.THREAD

    def __init__(self, name: str, timer: Timer, wake_up: Callable[[], None], pool_size: int,
                 reserve_normal: int, reserve_high: int) -> None:
        super().__init__(name, timer, wake_up, self.spawn,
                         RunQueue(pool_size, reserve_normal, reserve_high))
        self._idle: list[PoolThread] = []           # last idle, first used: its stack is warm
        self._threads: set[PoolThread] = set()
        self._abandoned: set[PoolThread] = set()
        self.starter: ThreadStarter = ThreadStarter(self)
        self.min_size: int = 0
        self.max_abandoned: int | None = MAX_ABANDONED
        self._max_idle = self._max_idle_for(None)   # the most idle threads that are kept

    # -- acceptance --------------------------------------------------------------------------------

    def is_reentrant(self) -> bool:
        return self.is_locked_here()    # it has no outer pools

    def start(self, spec: TaskSpec, args: tuple[Any, ...],
              kwargs: dict[str, Any] | None) -> Task[Any]:
        """See :meth:`Pool.start`. This is the fast path for plain tasks."""
        # Task(), written out
        task: Task[Any] = _new_task(Task)
        task._spec = spec
        task._args = args
        task._kwargs = kwargs
        task._context = copy_context()
        task._status = QUEUED
        task._waiters = None
        task._extra = None
        task._queued = perf_counter()
        if not spec.direct or self.is_reentrant():
            return task if Pool.submit(self, task) is None else task        # type: ignore
        registry = self.registry
        run_queue = self.run_queue
        plain = spec.fast_submit
        try:
            while True:
                pool_thread = None
                with self.lock:
                    try:
                        if (self.accepting
                                and (run_queue.waiting < run_queue.fast_limit
                                     or self.backpressure.has_room(spec))
                                and (plain or self._may_accept(spec))):
                            registry.last = task._number = number = registry.last + 1
                            registry.live[number] = task
                            if (run_queue.acquire_or_enqueue(task) if plain or spec.lane is None
                                    else run_queue.acquire_or_enqueue_in_lane(task, spec.lane)):
                                task._advance(STARTED, task._queued)
                                pool_thread = self._assign(task)
                                lifecycle = self.lifecycle
                                if lifecycle.recorder is not None:
                                    lifecycle.recorder.on_started(task)
                                if not spec.fast_finish:
                                    lifecycle.started(task)
                            else:
                                if self.parking.waiters:
                                    self.parking.unpark_one()
                                return task     # any thread may start it from here on
                    except BaseException:
                        self.rollback.kept += self.lock.acquire()
                        raise
                if pool_thread is not None:
                    break
                if not self.backpressure.reject(task):
                    continue
                return task
            if self.parking.waiters:
                self.parking.unpark_one()
            if pool_thread.thread is None and not self.starter.start(pool_thread):
                return task
            # One expression in one line, so that no interrupt can come between the release, which
            # lets the task run, and the return.
            return task if pool_thread.wake.release() is None else task
        except BaseException:
            self.rollback.undo(task)
            raise

    def _may_accept(self, spec: TaskSpec) -> bool:
        """Check the room of the lane, and start the timer that options need. (lock held)"""
        lane = spec.lane
        if lane is not None and lane.size is not None and not lane.has_room():
            return False
        if not self.timer.is_running:
            self.timer.start()      # now, so that nothing is accepted if it raises
        return True

    def start_many(self, spec: TaskSpec, calls: Sequence[tuple[Any, ...]],
                   first: int | None = None) -> list[Task[Any]]:
        """See :meth:`Pool.start_many`. The fast path for plain tasks takes the lock once."""
        if (not spec.fast_finish or self.is_reentrant()
                or (spec.lane is not None and spec.lane.size is not None)):
            return Pool.start_many(self, spec, calls, first)
        tasks: list[Task[Any]] = []
        append, now, shares = tasks.append, perf_counter(), spec.shares_context
        context = copy_context()
        positions = None if first is None else Positions(-first)
        for args in calls:
            task: Task[Any] = _new_task(Task)
            task._spec = spec
            task._args = args
            task._kwargs = None
            # _thread_main() copies a shared one
            task._context = context if shares else context.copy()
            task._status = QUEUED
            task._waiters = None
            task._extra = None
            task._queued = now
            task._index = positions     # one for all: half the time of a number for each
            append(task)
        try:
            while True:
                pool_threads = None
                with self.lock:
                    try:
                        unlimited = self.run_queue.fast_limit == maxsize
                        if unlimited and self.accepting:
                            pool_threads = self._accept_batch(spec, tasks, positions)
                    except BaseException:
                        self.rollback.kept += self.lock.acquire()
                        raise
                if pool_threads is not None or not unlimited:
                    break
                self._ensure_started()
            if pool_threads is None:
                if first is not None:
                    number_tasks(tasks, first)
                return tasks if self._submit_each(tasks) is None else tasks  # type: ignore
            start: Any = self.starter.start_and_wake    # called in one expression, as in start()
            return tasks if start(pool_threads) is None else tasks
        except BaseException:
            self.rollback.undo(*tasks)
            raise

    def _accept_batch(self, spec: TaskSpec, tasks: list[Task[Any]],
                      positions: Positions | None) -> list[PoolThread]:
        """Number tasks and let them wait; return the threads of those that start. (lock held)"""
        if spec.lane is not None:
            self.timer.start()      # for a rate; first, as it may raise
        registry = self.registry
        number = registry.last
        live = registry.live
        if positions is not None:
            positions.offset += number + 1
        for task in tasks:
            number += 1
            task._number = number
            live[number] = task
        registry.last = number
        self.run_queue.push_batch(spec.priority, tasks)
        return self._dispatch()

    def _enqueue(self, task: Task[Any]) -> Deferred:
        lane = task._spec.lane
        if lane is None or not lane.push_parked(task):
            self.run_queue.push(task)
        return self._dispatch_more()

    def _enqueue_many(self, tasks: Iterable[Task[Any]]) -> Deferred:
        self.run_queue.push_many(tasks)
        return self._dispatch_more()

    def _dispatch_more(self) -> Deferred:
        pool_threads = self._dispatch()
        deferred: Deferred = [pool_thread.wake.release for pool_thread in pool_threads]
        if any(pool_thread.thread is None for pool_thread in pool_threads):
            deferred.insert(0, lambda: self.starter.start_all(pool_threads))
        return deferred       # waking a pool_thread whose thread did not start is harmless

    def _dispatch(self) -> list[PoolThread]:
        """Give every task that may start to a thread, for the caller to launch. (lock held)"""
        pool_threads: list[PoolThread] = []
        pop = self.run_queue.pop
        while self.run_queue.waiting:
            task = pop()
            if task is None:
                break
            self.lifecycle.start(task, perf_counter())
            pool_threads.append(self._assign(task))
        self.backpressure.wake_submitters()
        return pool_threads

    def _assign(self, task: Task[Any]) -> PoolThread:
        """Give a task that has a slot to a thread. (lock held)"""
        if self._idle:
            pool_thread = self._idle[-1]
            # First: _resync() can repair an idle thread with a task, but not a lost thread.
            pool_thread.task = task
            self._idle.pop()
        else:
            pool_thread = PoolThread(self, task)
            self._threads.add(pool_thread)
        return pool_thread

    def _was_dispatched(self, task: Task[Any]) -> bool:
        return False        # the state decides: a thread that gets a cancelled task finds no call

    def _resync(self, tasks: set[Task[Any]]) -> Deferred:
        for pool_thread in list(self._threads):
            if pool_thread.task not in tasks:
                continue
            if pool_thread in self._idle:
                pool_thread.task = None
            elif pool_thread.thread is None or pool_thread.thread.ident is None:
                pool_thread.task = None
                pool_thread.detached = True
                self._threads.discard(pool_thread)
                if pool_thread.wake.locked():
                    pool_thread.wake.release()   # if its thread starts after all, it ends at once
            elif not pool_thread.awake and pool_thread.wake.locked():
                pool_thread.wake.release()       # it finds nothing to do and releases its slot
        running = [(one.lend_depth, one.task._spec.lane) for one in self._threads
                   if one.task is not None and not one.abandoned]
        self.run_queue.resync(sum(not lent for lent, _ in running),
                              [lane for lent, lane in running
                               if lane is not None and not (lent and lane.lends_slot)])
        return self._dispatch_more()

    # -- a pool thread -----------------------------------------------------------------------------

    def _thread_main(self, pool_thread: PoolThread) -> None:
        """Run tasks and jobs in a pool thread until it leaves the pool."""
        current.pool_thread = pool_thread
        acquire, release, parking = self.lock.acquire, self.lock.release, self.parking
        registry = self.registry
        live = registry.live
        history = registry.history
        lifecycle, backpressure = self.lifecycle, self.backpressure
        release_and_pop, release_and_pop_lane = (self.run_queue.release_and_pop,
                                                 self.run_queue.release_and_pop_lane)
        task: Task[Any] | None = None
        # Typed as Any, as each of them is set to None after its last use, to keep no object alive.
        spec: Any
        args: Any
        waiter: Any
        value: Any
        error: Any = None
        while True:
            if task is None:
                spec = value = error = extra = None
                if pool_thread.detached:
                    return
                pool_thread.wake.acquire()  # a new thread, too: the submission must be complete
                pool_thread.awake = True
                task = pool_thread.task
                if task is None and pool_thread.job is not None:
                    task = self._run_call(pool_thread)
                continue

            spec = task._spec
            brief = spec.fast_finish
            try:
                args = task._args
                kwargs = task._kwargs
                context = task._context
                if spec.shares_context and context is not None:
                    context = context.copy()
                if context is None:
                    value = None    # declared completed after its start
                elif kwargs:
                    value = context.run(spec.target, *args, **kwargs)
                else:
                    value = context.run(spec.target, *args)
            except BaseException as raised:
                value = None
                error = raised
                with_traceback(error, without_first(traceback_of(raised)))

            if error is None:
                if not brief and not pool_thread.abandoned:
                    self._returned(task, value)
                now = perf_counter()
                if not acquire(False):
                    parking.wait(acquire)
                try:
                    # A running task without extra fields is not final: every other finisher makes
                    # them first.
                    extra = task._extra
                    if extra is None or (task._status == STARTED and not extra.callbacks
                                         and not pool_thread.abandoned):
                        # Lifecycle.finish(), written out for a task without callbacks
                        pool_thread.task = following = (release_and_pop() if spec.lane is None
                                                   else release_and_pop_lane(spec.lane))
                        task._advance(COMPLETED, now, value, following)
                        if extra is None:
                            del live[task._number]
                        else:
                            registry.drop(task)
                            extra = None
                        history.append((task._queued, task._started, now))
                        waiters = task._waiters
                        if not brief:
                            if spec.timeout is not None:
                                lifecycle.timeouts.clear(task, spec.timeout)
                            if spec.hooks is not None:
                                self.notifier.add(spec.hooks.ended, task)
                        if lifecycle.is_watched:
                            recorder = lifecycle.recorder
                            if recorder is not None:
                                recorder.on_finished(task)
                                if following is not None:
                                    recorder.on_started(following)
                            if backpressure.has_observers:
                                waiters = (waiters or []) + backpressure.observe_end()
                        if following is None:
                            self._go_idle(pool_thread)
                        else:
                            if now - following._queued > lifecycle.late_after:
                                lifecycle.started_late(following, now)
                            if following._extra is not None or not following._spec.fast_finish:
                                lifecycle.started(following)
                        ended = True
                    else:
                        ended = False
                finally:
                    release()
                    if parking.waiters:
                        parking.unpark_one()
                # The last references of the pool: dropped with no lock held.
                args = kwargs = context = None
                if ended:
                    if waiters is not None:
                        for waiter in waiters:
                            waiter()
                        waiters = waiter = None
                    value = None
                    task = following
                    continue
            else:
                args = kwargs = context = None
            task = self._finish_slow(pool_thread, task, value, error)
            value = error = extra = None

    def _returned(self, task: Task[Any], value: Any) -> None:
        """Call the callback and the hook of a task that keeps its slot until they have returned."""
        run_callback(task, value)
        before_end = before_end_of(task)
        if before_end is not None:
            before_end(task, value)

    def _finish_slow(self, pool_thread: PoolThread, task: Task[Any], value: Any,
                 error: BaseException | None) -> Task[Any] | None:
        """End an attempt that failed, or that has callbacks. Return the next task, if any."""
        pause = None
        outcome = value
        cancelled = error is not None and is_cancellation(task, error)
        if error is not None and not cancelled:
            pause = retry_pause(task, error)
            outcome = failure_of(task, error)
            if pause is None and not pool_thread.abandoned:
                before_end = before_end_of(task)
                if before_end is not None:
                    before_end(task, outcome)
        held = task._references()
        waiters: Waiters | None = None
        observers: Waiters = []
        following = None
        takes_next = False
        deferred: Deferred = []
        is_late = False
        with self.lock:
            pool_thread.task = None
            abandoned = pool_thread.abandoned
            if abandoned:
                # The task has ended before, and its slot has been released.
                pool_thread.abandoned = False
                self._abandoned.discard(pool_thread)
                self.backpressure.set_fast_limit()
                self.backpressure.wake_submitters()
            else:
                is_late = task.done()       # it was completed early
                self.run_queue.release(task)
                waiters, ready = self.lifecycle.settle_attempt(task, outcome, pause, cancelled)
                if ready:
                    self.run_queue.push(task)
                # The callbacks may block, or submit and wait: the waiting tasks need other threads.
                takes_next = (waiters is None or task._extra is None or not task._extra.callbacks)
                if takes_next:
                    following = self._take(pool_thread)
                else:
                    deferred = self._dispatch_more()
                if self.backpressure.has_observers:
                    observers = self.backpressure.observe_end()
        if abandoned and error is not None:
            drop_outcome(outcome)
            # check_cancelled() raises the first two.
            if not issubclass(type(error), (TaskTimeoutError, TaskCancelledError, RetryRequest)):
                log.warning("task %s (%s) raised %s after it had been given up",
                            task.name, task.short_id, class_name(type(error)))
        elif error is not None and is_late:
            report_late_error(task, error)
        del held, value, outcome
        run_deferred([*deferred, *observers])
        self.lifecycle.notify(task, waiters)
        return following if takes_next else self._take_next(pool_thread)

    def _take_next(self, pool_thread: PoolThread) -> Task[Any] | None:
        """Take the next task, or go idle."""
        with self.lock:
            return self._take(pool_thread)

    def _take(self, pool_thread: PoolThread) -> Task[Any] | None:
        """Do the same. (lock held)"""
        pool_thread.task = task = self.run_queue.pop()
        if task is None:
            self._go_idle(pool_thread)
        else:
            self.lifecycle.start(task, perf_counter())
        return task

    def _go_idle(self, pool_thread: PoolThread) -> None:
        """Make a thread idle. If there are enough idle threads, it leaves the pool. (lock held)"""
        if pool_thread.exit_when_idle or not self.accepting or len(self._idle) >= self._max_idle:
            pool_thread.detached = True
            self._threads.discard(pool_thread)
        else:
            pool_thread.awake = False
            self._idle.append(pool_thread)
        self.registry.compact()

    def _run_call(self, pool_thread: PoolThread) -> Task[Any] | None:
        job, pool_thread.job = pool_thread.job, None
        try:
            assert job is not None
            job()
        except BaseException:
            log.exception("%s: a call beside the queues raised", self.name)
        del job
        return self._take_next(pool_thread)

    # -- slots lent and given up -------------------------------------------------------------------

    def _lend(self, pool_thread: PoolThread) -> None:
        self.is_reentrant()     # if there is no room for undo(), raise before the first change
        pool_threads: list[PoolThread] = []
        before = pool_thread.lend_depth
        try:
            with self.lock:
                pool_thread.lend_depth += 1
                if not before and pool_thread.task is not None and not pool_thread.abandoned:
                    self.run_queue.lend(pool_thread.task)
                    pool_threads = self._dispatch()
            self.starter.start_and_wake(pool_threads)
        except BaseException:
            pool_thread.lend_depth = before
            self.rollback.undo()
            raise

    def _reclaim(self, pool_thread: PoolThread) -> None:
        with self.lock:
            pool_thread.lend_depth -= 1
            if (pool_thread.lend_depth == 0 and pool_thread.task is not None
                    and not pool_thread.abandoned):
                self.run_queue.reclaim(pool_thread.task)

    def wants_slot(self) -> bool:
        """Return True if a waiting task could start in the slot of the calling thread."""
        with self.lock:
            run_queue = self.run_queue
            return (run_queue.peek() is not None
                    and run_queue.active <= run_queue.slot_limit(run_queue.head_priority()))

    def _thread_of(self, task: Task[Any]) -> PoolThread | None:
        for pool_thread in self._threads:
            if pool_thread.task is task and not pool_thread.abandoned:
                return pool_thread
        return None

    def _refusal_reason(self) -> str | None:
        if self.max_abandoned is None or len(self._abandoned) < self.max_abandoned:
            return None
        return (f"{len(self._abandoned)} threads of {self.name} still run tasks that were given up "
                "after their timeout (max_abandoned); have their functions call current_task()."
                "check_cancelled(), or raise max_abandoned")

    def limit_abandoned(self, most: int | None) -> None:
        """Set the number of abandoned threads at which the pool refuses tasks; None is no limit."""
        with self.lock:
            self.max_abandoned = most
            self.backpressure.set_fast_limit()

    def _abandon_task(self, pool_thread: PoolThread) -> None:
        """Abandon a thread and release its slot, so that another thread replaces it. (lock held)"""
        pool_thread.abandoned = True
        self._abandoned.add(pool_thread)
        self.backpressure.set_fast_limit()
        if pool_thread.task is not None:
            pool_thread.task._extra_fields()  # _thread_main() checks a task with extra fields again
            if pool_thread.lend_depth:
                self.run_queue.reclaim(pool_thread.task)
            self.run_queue.release(pool_thread.task)

    def abandon(self, task: Task[Any]) -> None:
        """See :meth:`Pool.abandon`. The thread goes on without a slot."""
        if self.is_reentrant():
            self.defer_to_thread(self.abandon, task)
            return
        waiters = None
        deferred: Deferred = []
        with self.lock:
            pool_thread = self._thread_of(task) if task._status == STARTED else None
            if pool_thread is not None:
                self._abandon_task(pool_thread)
                # The function may still use its arguments. The thread refers to them, so this
                # drops no last reference.
                waiters = self.lifecycle.finish(task, CANCELED, perf_counter())
                deferred = self._dispatch_more()
        self.lifecycle.notify(task, waiters, inline=False)
        run_deferred(deferred)

    @property
    def abandoned(self) -> int:
        """The number of threads that still run functions of tasks that were given up."""
        return len(self._abandoned)

    def _cancel_running(self, task: Task[Any]) -> Deferred:
        return []       # the request is noted; the function reads it by check_cancelled()

    def _timeout_running(self, task: Task[Any], error: TaskTimeoutError,
                         pause: float | None) -> Deferred:
        pool_thread = self._thread_of(task)
        if pool_thread is not None:
            self._abandon_task(pool_thread)
        return self._attempt_ended(task, failure_of(task, error), pause) + self._dispatch_more()

    def abandon_all(self) -> list[str]:
        """See :meth:`Pool.abandon_all`. The functions go on in abandoned threads."""
        ended = []
        with self.lock:
            for pool_thread in filter(PoolThread.has_task, list(self._threads)):
                task = pool_thread.task
                assert task is not None
                self._abandon_task(pool_thread)
                task._extra_fields().cancel_requested = True
                ended.append((task, self.lifecycle.finish(task, CANCELED, perf_counter())))
        for task, waiters in ended:
            self.lifecycle.notify(task, waiters, inline=False)
        return [task.id for task, waiters in ended if waiters is not None]

    # -- beside the queues -------------------------------------------------------------------------

    def spawn(self, job: Callable[[], None]) -> None:
        """Run a call in a pool thread at once. It is not a task and needs no slot."""
        with self.lock:
            if self._idle:
                pool_thread = self._idle.pop()
                pool_thread.job = job
            else:
                pool_thread = PoolThread(self, job=job)
                self._threads.add(pool_thread)
        self.starter.start_all((pool_thread,))
        release(pool_thread.wake)

    # -- size and end ------------------------------------------------------------------------------

    def resize(self, pool_size: int, reserve_normal: int, reserve_high: int, min_size: int,
               max_size: int | None) -> None:
        """Change the number of slots. Tasks that run go on."""
        leaving: list[PoolThread] = []
        with self.lock:
            self.run_queue.resize(pool_size, reserve_normal, reserve_high)
            self.min_size = min_size
            self._max_idle = self._max_idle_for(max_size)
            more = self.accepting and self.run_queue.waiting > 0
            for _ in range(len(self._idle) - max(self._max_idle, min_size)):
                pool_thread = self._idle.pop(0)
                pool_thread.detached = True
                self._threads.discard(pool_thread)
                leaving.append(pool_thread)
        if more:
            self._run_uninterruptible(self._start_more)
        for pool_thread in leaving:
            pool_thread.wake.release()
        if self.accepting:
            self.warm_up()

    def _max_idle_for(self, max_size: int | None) -> int:
        slots = self.run_queue.slots
        return (max_size if max_size is not None
                else UNLIMITED_KEEPS if slots >= maxsize
                else slots)

    def warm_up(self) -> None:
        """Start the threads that are missing to ``min_size``."""
        with self.lock:
            missing = self.min_size - len(self._threads)
            pool_threads = [PoolThread(self, job=lambda: None) for _ in range(missing)]
            self._threads.update(pool_threads)
        self.starter.start_and_wake(pool_threads)

    def close(self, deadline: float | None) -> None:
        self.starter.forget_retry()
        with self.lock:
            pool_threads = list(self._threads)
            for pool_thread in pool_threads:
                pool_thread.exit_when_idle = True
                pool_thread.detached |= pool_thread.is_idle()
            forgotten = list(filter(PoolThread.is_forgotten, pool_threads))
            self._idle = []
            abandoned = set(self._abandoned)
        for pool_thread in pool_threads:
            # An interrupted close() may have woken some of them already.
            if (pool_thread.detached or pool_thread in forgotten) and pool_thread.wake.locked():
                release(pool_thread.wake)
        me = current.pool_thread
        for pool_thread in pool_threads:
            thread = pool_thread.thread
            if thread is not None and thread.ident is None:
                continue                # an interrupt prevented its start
            if pool_thread is not me and pool_thread not in abandoned and thread is not None:
                thread.join(remaining(deadline))
        with self.lock:
            self._threads = set(filterfalse(attrgetter("detached"), self._threads))

    def reset_after_fork(self) -> None:
        """See :meth:`Pool.reset_after_fork`."""
        super().reset_after_fork()
        self._idle, self._threads, self._abandoned = [], set(), set()
        self.starter.forget_retry()
        self.backpressure.set_fast_limit()

    def thread_count(self) -> int:
        """Return the number of threads of the pool, with idle and abandoned ones."""
        return len(self._threads)


_new_task = Task.__new__
