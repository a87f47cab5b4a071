"""Lifecycle: the transitions of a pool's tasks, and all that follows from each.

Every method that changes a task's state is one event::

    delay          QUEUED, STARTED ──> DELAYED              due        DELAYED ──> QUEUED
    start          QUEUED ──> STARTED                       revoke     STARTED ──> QUEUED
    retry          STARTED ──> QUEUED, DELAYED              finish     any but final ──> final
    settle_attempt STARTED ──> one of retry and finish

The recorder, the hooks, the timeouts, the counters and the history hear of each event here, once.
Three functions enter the start or the end of a plain task themselves, for speed:
``ThreadPool.start``, ``ThreadPool._thread_main`` and ``ResultReader._record``.

The pool's lock is held for all methods that are not marked otherwise.
"""
from __future__ import annotations

from time import perf_counter

from .._core_errors import RetryRequest, TaskCancelledError, TaskRetryError, TaskTimeoutError
from .._inspect import described
from .._log import log
from .callbacks import call_callbacks
from .registry import Registry
from .reports import observers
from .result import Failure
from .task import CANCELED, COMPLETED, DELAYED, FINAL, QUEUED, STARTED, Progress, Task
from .task_fields import index_of
from .timeouts import Timeouts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, List, Protocol

    from ..constants import TaskType
    from .timeouts import TimeoutOwner
    from .timer import Timer

    Waiters = List[Callable[[], None]]

    class Recorder(Protocol):
        """Records starts, retries, progress and ends of tasks. It only appends. (lock held)"""

        on_started: Callable[[Task[Any]], None]
        on_finished: Callable[[Task[Any]], None]

        def on_progress(self, task: Task[Any]) -> None: ...

    class Calls(Protocol):
        """The notifier of the pool."""

        def add(self, call: Callable[..., Any], *arguments: Any) -> None: ...
        def add_late_start(self, task: Task[Any], seconds: float) -> None: ...

    class Observed(Protocol):
        """The backpressure of the pool."""

        has_observers: bool

        def observe_end(self) -> Waiters: ...

    class LifecyclePool(TimeoutOwner, Protocol):
        """A pool as the lifecycle of its tasks sees it."""

        tt: TaskType
        timer: Timer
        accepting: bool

        @property
        def notifier(self) -> Calls: ...
        @property
        def backpressure(self) -> Observed: ...

        def _spawn(self, call: Callable[[], None]) -> None: ...
        def _delay_elapsed(self, task: Task[Any]) -> None: ...
        def arm_timeout(self, task: Task[Any]) -> None: ...
        def refuse_during_import(self) -> None: ...


#: The states in which each event may come. A final state stays, whatever comes.
ALLOWED: dict[str, tuple[int, ...]] = {
    "delay": (QUEUED, STARTED),
    "due": (DELAYED,),
    "start": (QUEUED,),
    "revoke": (STARTED,),
    "retry": (STARTED,),
    "finish": (QUEUED, DELAYED, STARTED),
}


class Lifecycle:
    """The transitions of the tasks of one pool."""

    def __init__(self, pool: LifecyclePool) -> None:
        self._pool = pool
        self.registry: Registry = Registry(pool.tt)
        self.timeouts: Timeouts = Timeouts(pool.timer, pool)
        self.recorder: Recorder | None = None      # set by record_with()
        self._is_observed = False
        #: True if an end concerns the recorder or observers: one check for the fast path.
        self.is_watched: bool = False
        # seconds in the queue after which a start is late
        self.late_after: float = float("inf")

    def record_with(self, recorder: Recorder | None) -> None:
        """Set what stores the results; None is nothing. (lock held)"""
        self.recorder = recorder
        self.is_watched = recorder is not None or self._is_observed

    def observe(self, is_needed: bool) -> None:
        """Note if ``Backpressure.observe_end()`` has to run at each end. (lock held)"""
        self._is_observed = is_needed
        self.is_watched = is_needed or self.recorder is not None

    def _set(self, event: str, task: Task[Any], status: int, now: float,
             outcome: Any = None) -> bool:
        """Change the state. Return False if the task is final already."""
        assert task._status in FINAL or task._status in ALLOWED[event], (event, task._status)
        return task._advance(status, now, outcome)

    # -- events ------------------------------------------------------------------------------------

    def delay(self, task: Task[Any], seconds: float) -> None:
        """Let a task wait until the timer makes it due."""
        pool = self._pool
        pool.refuse_during_import()
        now = perf_counter()
        extra = task._extra_fields()        # first: it counts the attempt that runs
        self._set("delay", task, DELAYED, now)
        extra.scheduled_at = now + seconds
        extra.timer = pool.timer.call_later(seconds, pool._delay_elapsed, task)

    def due(self, task: Task[Any]) -> bool:
        """Make a delayed task ready. Return False if it is not delayed any more."""
        if task._status != DELAYED:
            return False
        task._extra_fields().timer = None
        return self._set("due", task, QUEUED, perf_counter())

    def start(self, task: Task[Any], now: float) -> None:
        """Begin an attempt."""
        # _set(), inlined for speed
        assert task._status in ALLOWED["start"] or task._status in FINAL, task._status
        task._advance(STARTED, now)
        if self.recorder is not None:
            self.recorder.on_started(task)
        if now - task._queued > self.late_after:
            self.started_late(task, now)
        if task._extra is not None or not task._spec.fast_finish:
            self.started(task)

    def started(self, task: Task[Any]) -> None:
        """Arm the timeout, call the hook and wake the start waiters of an attempt that began."""
        spec = task._spec
        if spec.timeout is not None:
            self._pool.arm_timeout(task)
        if spec.hooks is not None:
            extra = task._extra_fields()
            if extra.starts_reported < extra.attempts:      # once an attempt, though it may move
                extra.starts_reported = extra.attempts
                self._pool.notifier.add(spec.hooks.started, task)
        extra_fields = task._extra
        if extra_fields is not None and extra_fields.on_start:
            for waiter in extra_fields.on_start:
                waiter()
            extra_fields.on_start = None

    def started_late(self, task: Task[Any], now: float) -> None:
        """Report a task that started later than ``late_after`` after it was ready."""
        if task._spec.lane is not None:
            return                          # a lane delays its tasks on purpose
        extra = task._extra
        waited = now - (task._queued if extra is None or extra.scheduled_at is None
                        else extra.scheduled_at)
        if waited > self.late_after:
            self._pool.notifier.add_late_start(task, waited)

    def revoke(self, task: Task[Any]) -> bool:
        """Take back an attempt that has not begun. Return True if the task is queued now."""
        if task._status == STARTED:
            self._set("revoke", task, QUEUED, perf_counter())
            self.disarm(task)
        return task._status == QUEUED

    def retry(self, task: Task[Any], pause: float, error: BaseException) -> bool:
        """Give a failed task another attempt. Return True if it may start now.

        :param pause: the seconds until then.
        """
        assert task._status in ALLOWED["retry"], task._status
        self.registry.retried += 1
        if task._spec.hooks is not None:
            self._pool.notifier.add(task._spec.hooks.retried, task, error)
        for observe in observers:
            observe(task)
        self.disarm(task)
        if pause > 0:
            self.delay(task, pause)
        else:
            extra = task._extra_fields()
            attempts = extra.attempts
            self._set("retry", task, QUEUED, perf_counter())
            extra.attempts = attempts       # _advance() does not count the failed attempt
        if self.recorder is not None:
            self.recorder.on_started(task)
        return pause <= 0

    def finish(self, task: Task[Any], status: int, now: float,
               outcome: Any = None) -> Waiters | None:
        """Make a task final. Return its waiters, or None if it was final already."""
        if outcome is None and status == COMPLETED:
            outcome = task._returned()
        if not self._set("finish", task, status, now, outcome):
            return None
        return self.remove(task, status, now, outcome)

    def remove(self, task: Task[Any], status: int, now: float, outcome: Any) -> Waiters:
        """Remove a final task from the registry and return its waiters."""
        extra = task._extra
        registry = self.registry
        registry.drop(task)
        if status == CANCELED:
            registry.cancelled += 1
        elif type(outcome) is Failure:
            registry.failed += 1
        if task._has_started():
            registry.history.append((task._queued, task._started, now))
        if self.recorder is not None:
            self.recorder.on_finished(task)
        waiters = task._waiters or []
        if task._spec.hooks is not None:
            self._pool.notifier.add(task._spec.hooks.ended, task)
        if task._spec.timeout is not None or extra is not None and extra.timer is not None:
            self.disarm(task)
        if extra is not None and extra.on_start:
            waiters = waiters + extra.on_start
            extra.on_start = None
        if self._pool.backpressure.has_observers:
            waiters = waiters + self._pool.backpressure.observe_end()
        if waiters:
            task._waiters = waiters     # kept in case an interrupt prevents notify()
        return waiters

    def settle_attempt(self, task: Task[Any], outcome: Any, pause: float | None,
                       cancelled: bool = False) -> tuple[Waiters | None, bool]:
        """Decide how an attempt that has ended goes on: another one, or the end of the task.

        :param outcome: the value, or the :class:`Failure`.
        :param pause: the result of :func:`retry_pause`.
        :param cancelled: True if the task ended because it was asked to.
        :return: the waiters of a task that is final now, else None; and True if the task may start
            again now.
        """
        waiters, ready = None, False
        if cancelled:
            waiters = self.finish(task, CANCELED, perf_counter())
        elif pause is not None and self.may_retry(task):
            ready = self.retry(task, pause, outcome.error)
        else:
            waiters = self.finish(task, COMPLETED, perf_counter(), outcome)
        if not (task.done() and task._outcome is outcome):
            drop_outcome(outcome)           # another attempt follows, or the task had another end
        return waiters, ready

    def may_retry(self, task: Task[Any]) -> bool:
        """Return True if a failed task may still have another attempt."""
        return (self._pool.accepting and task._status == STARTED
                and not (task._extra is not None and task._extra.cancel_requested))

    def disarm(self, task: Task[Any]) -> None:
        """Cancel the timeout and the delay of a task."""
        if task._spec.timeout is not None:
            self.timeouts.clear(task, task._spec.timeout)
        extra = task._extra
        if extra is not None and extra.timer is not None:
            self._pool.timer.cancel(extra.timer)
            extra.timer = None

    def progress(self, task: Task[Any], progress: Progress) -> None:
        """Store the progress that a running task has reported."""
        task._extra_fields().progress = progress
        if self.recorder is not None:
            self.recorder.on_progress(task)
        for observe in observers:
            observe(task)

    def reset_after_fork(self) -> None:
        """Make all tasks final in a forked process, since they belong to the parent."""
        now = perf_counter()
        for task in self.registry.live.values():
            task._advance(CANCELED, now)    # a waiter here must not hang
        self.registry = Registry(self._pool.tt)
        self.timeouts.reset()

    # -- without the lock --------------------------------------------------------------------------

    def notify(self, task: Task[Any], waiters: Waiters | None, inline: bool = True) -> None:
        """Wake the waiters of a task that has ended, and call its callbacks. (no lock)

        :param inline: True if the calling thread may run the callbacks; else a pool thread does.
        """
        if waiters is None:
            return
        outcome = task._outcome
        if type(outcome) is Failure:
            outcome.describe()
        while waiters:
            waiter = waiters.pop(0)     # removed first: after an interrupt, the others are woken
            try:
                waiter()
            except RecursionError:
                waiters[:0] = [waiter]      # no call: there is no room for any
                raise
        task._waiters = None
        extra = task._extra
        if extra is None:
            return
        if task._status == CANCELED and getattr(extra, "last_error", None):
            log.warning("task %s (%s) was cancelled, and is not tried again after an attempt that "
                        "raised %s", task.name, task.short_id, extra.last_error)
        if extra.callbacks:
            if inline:
                call_callbacks(task)
            else:
                self._pool._spawn(lambda: call_callbacks(task))


def retry_pause(task: Task[Any], error: BaseException) -> float | None:
    """Return the seconds until a failed task's next attempt, or None for no retry. (no lock)"""
    options = task._spec.options
    if not options.retries:
        return None
    extra = task._extra
    if extra is not None and extra.cancel_requested:
        return None
    attempts = max(1, task.attempts)
    if not options.wants_retry(error, attempts):
        return None
    # Text, since the end of a reference to an error can run code of the application.
    shown = error.error if type(error) is RetryRequest else error
    text = "" if shown is None else described(shown)
    with task._spec.pool.lock:
        task._extra_fields().last_error = text
    if type(error) is RetryRequest and error.countdown is not None:
        return error.countdown
    return options.retry_pause(attempts)


def before_end_of(task: Task[Any]) -> Callable[[Task[Any], Any], None] | None:
    """Return the hook to call with the outcome before a task ends by itself, or None."""
    hooks = task._spec.hooks
    return None if hooks is None else getattr(hooks, "before_end", None)


def failure_of(task: Task[Any], error: BaseException) -> Failure:
    """Return the outcome of a task whose function raised an error. (no lock)"""
    if type(error) is RetryRequest:
        if error.error is not None:
            error = error.error
        else:
            error = TaskRetryError(f"task {task._label()} asked for another attempt, "
                                   "without an error")
    index = index_of(task)
    spec = task._spec
    if index is None or not spec.keeps_items:
        return Failure(error, task.name, task.id, index)
    return Failure(error, task.name, task.id, index, (task._args, task._kwargs),
                   spec.unpacks_items and len(task._args) > 1)


def drop_outcome(outcome: Any) -> None:
    """Note that nothing will ask for the outcome of an attempt. (no lock)"""
    if type(outcome) is Failure:
        outcome.seen = True


def report_late_error(task: Task[Any], error: BaseException) -> None:
    """Log an error of the application that comes after the end of its task. (no lock)"""
    # check_cancelled() raises the first two.
    if not issubclass(type(error), (TaskTimeoutError, TaskCancelledError, RetryRequest)):
        log.warning("task %s (%s) raised %s after it had ended", task.name, task.short_id,
                    described(error))


def is_cancellation(task: Task[Any], error: BaseException) -> bool:
    """Return True if a task raised this error because it was asked to stop. (no lock)"""
    extra = task._extra
    if extra is None or not extra.cancel_requested:
        return False
    # A task that asks for another attempt after cancel() gets none: it is cancelled.
    return (issubclass(type(error), TaskCancelledError)
            or type(error) is RetryRequest and error.error is None)


def run_callback(task: Task[Any], value: Any) -> None:
    """Call the ``callback`` of a task with its result, before its end. (no lock)"""
    callback = task._spec.callback
    if callback is not None:
        try:
            callback(value)
        except BaseException:
            log.exception("the callback of task %s (%s) raised; the task itself succeeded",
                          task.name, task.short_id)
