"""Task: one call of a function, its record in the registry and its handle.

The state machine::

    QUEUED ──> STARTED ──> COMPLETED          QUEUED ──> DELAYED    a failure with retries left,
      │ ^         │  └───> CANCELED                ^        │       a delay, a point in time
      │ └─────────┘  sent to a pool process        └────────┤
      │              that died before it began              └─────> CANCELED, COMPLETED
      └──> CANCELED, COMPLETED (by mark_completed)

Every change goes through :meth:`Task._advance`, with the lock of the task's pool held. The first
finisher wins; for later finishers, it returns False.
"""
from __future__ import annotations

from collections import deque
from itertools import count
from operator import attrgetter
from threading import Lock
from time import perf_counter, time

from .._checks import cut_frames, ends_traceback, in_seconds
from .._core_errors import (InvalidArgumentError, SupervisorBusyError, SupervisorError,
                            TaskCancelledError, TaskRetryError, TaskTimeoutError, WaitTimeoutError)
from .._generics import T_co
from .._habits import Handle, check_callback
from .._ids import short_id
from .._retry import Attempt
from ..constants import TaskStatus, TaskType
from ..options import TaskOptions
from .blocking import EventView, deadline_of
from .callbacks import add_callback, call_late
from .current import current, current_task
from .loop_mailbox import FutureWaiter
from .result import Failure, TaskResult
from .spec import TaskSpec
from .task_fields import ExtraFields, Positions, cancelled_text, index_of
from .wait_graph import await_begins, await_ends, block_on, is_plain_thread, warn_of_idle_loop

TYPE_CHECKING = False
if TYPE_CHECKING:
    from concurrent.futures import Future
    from contextvars import Context
    from typing import Any, Callable, Generator, Iterable, NamedTuple

    from .._checks import Seconds

    class Progress(NamedTuple):
        """The last progress report of a task."""

        done: float
        total: float | None
        message: str | None
else:
    from collections import namedtuple

    Progress = namedtuple("Progress", "done total message")
    Progress.__doc__ = """The last progress report of a task. Any thread may use it.

    ``done`` and ``total`` are numbers in a unit of the function; ``total`` and ``message`` may be
    None.

    >>> @background_task
    ... def copy():
    ...     report_progress(1, 4, 'copying')
    >>> task = copy()
    >>> task.value(), task.progress.done, task.progress.message
    (None, 1, 'copying')
    """

__all__ = ["Progress", "Task", "number_tasks", "spec_of"]

QUEUED = int(TaskStatus.QUEUED)
DELAYED = int(TaskStatus.DELAYED)
STARTED = int(TaskStatus.STARTED)
COMPLETED = int(TaskStatus.COMPLETED)
CANCELED = int(TaskStatus.CANCELED)
FINAL = (COMPLETED, CANCELED)


class Task(Handle[T_co], Attempt):
    """One call of one function: the record in the registry and the caller's handle.

    A call of a function decorated with ``@background_task`` makes a task, and so does
    ``task_supervisor.put_task``. Any thread may call the methods.

    >>> task = background_task(pow)(2, 3)
    >>> task.value(timeout=10), task.state, task.name
    (8, 'succeeded', 'pow')
    """

    # __init__ is short, since each call makes a task: the status tells if _started, _completed,
    # _outcome and _number are set. Only a task of a map has an _index, see index_of().
    __slots__ = ("_spec", "_args", "_kwargs", "_context", "_status", "_outcome", "_waiters",
                 "_extra", "_queued", "_started", "_completed", "_number", "_index", "__weakref__")

    def __init__(self, spec: TaskSpec, args: tuple[Any, ...], kwargs: dict[str, Any] | None,
                 context: Context | None) -> None:
        self._spec = spec
        self._args = args
        self._kwargs = kwargs
        #: The context to run in; for a task of the process pool, the pickled arguments.
        self._context: Any = context
        self._status = QUEUED
        self._waiters: list[Callable[[], None]] | None = None
        self._extra: ExtraFields | None = None
        self._queued = perf_counter()
        if TYPE_CHECKING:
            self._outcome: Any = None
            self._started = 0.0
            self._completed = 0.0
            self._number = 0
            self._index: int | Positions | None = None

    # -- the state machine -------------------------------------------------------------------------

    def _advance(self, status: int, now: float, outcome: Any = None,
                 following: Task[Any] | None = None) -> bool:
        """Change the status, here only. Return False if it is final already. (lock held)

        The outcome of a completed task is its value or a Failure. ``following`` is a task that gets
        the same slot, and is started in the same step. A final status drops the arguments. The
        caller keeps references to them until the lock is free: the last one runs finalizers.
        """
        # The statuses are literals, which are faster: this runs twice for every task.
        was = self._status
        if was == 200 or was == -1:
            return False
        extra = self._extra
        if status == 100:
            self._started = now
            self._status = 100
            if extra is not None:
                extra.attempts += 1
        elif status == 200 or status == -1:
            self._completed = now
            self._outcome = outcome
            self._context = None        # first: a thread reads it last, and runs nothing without it
            self._args = ()
            self._kwargs = None
            if extra is not None:
                extra.placement = None
                if outcome is None and status == 200:
                    self._outcome = self._returned()
            self._status = status       # last: readers without the lock read the status first
            if following is not None:
                following._started = now
                following._status = 100
                if following._extra is not None:
                    following._extra.attempts += 1
        else:
            self._status = status
            if was == 100 and status == 0 and extra is not None:
                # The pool process ended before it started the task: that is not an attempt.
                extra.attempts -= 1
        return True

    def _extra_fields(self) -> ExtraFields:
        """Return the _Extra, made on demand. (lock held, or the task is not shared yet)"""
        extra = self._extra
        if extra is None:
            extra = self._extra = ExtraFields()
            if self._status == STARTED:
                extra.attempts = 1
        return extra

    def _references(self) -> tuple[Any, ...]:
        """Return references to the arguments, for a caller about to end the task."""
        return self._args, self._kwargs, self._context

    def _add_waiter(self, waiter: Callable[[], None]) -> bool:
        """Call waiter() when the task is final. Return False if it already is."""
        pool = self._spec.pool
        if pool.is_reentrant():
            raise _cannot_wait(self)
        with pool.lock:
            status = self._status
            final = status == COMPLETED or status == CANCELED
            if not final:
                if self._waiters is None:
                    self._waiters = [waiter]
                else:
                    self._waiters.append(waiter)
        if pool.parking.waiters:
            pool.parking.unpark_one()
        return not final

    def _remove_waiter(self, waiter: Callable[[], None]) -> None:
        with self._spec.pool.lock:
            # Once the task is final, only its finisher uses the list, without the lock.
            if not self.done() and self._waiters is not None and waiter in self._waiters:
                self._waiters.remove(waiter)

    def _end(self, deadline: float | None) -> bool:
        # Block until the task is final or the deadline passes. Return True if it is final.
        ended_lock = Lock()
        ended_lock.acquire()
        if not self._add_waiter(ended_lock.release):
            return True
        ended = False
        try:
            spec = self._spec
            if spec.lane is not None or spec.loop is not None:
                self._warn_if_held_up()
            if deadline is None and current.pool_thread is None and is_plain_thread():
                ended = ended_lock.acquire()
            else:
                ended = block_on((self,), ended_lock.acquire, deadline, deadline is None)
        finally:
            if not ended:
                self._remove_waiter(ended_lock.release)
        return ended or self.done()

    def _warn_if_held_up(self) -> None:
        # Warn of a wait that has begun if the task's lane is paused or its loop does not run.
        spec = self._spec
        if self._status != QUEUED:
            return
        if spec.lane is not None and spec.lane.paused:
            spec.lane.warn_of_wait(f"task {self.name} ({self.short_id})")
        elif spec.loop is not None:
            loop = spec.pool.loop_of(self)
            if loop is not None and not loop.is_running() and not loop.is_closed():
                warn_of_idle_loop(self, loop)

    def _start(self, deadline: float | None) -> bool:
        # Block until the task is started or the deadline passes. Return is_started().
        started = Lock()
        started.acquire()
        if self._spec.pool.is_reentrant():
            raise _cannot_wait(self)
        with self._spec.pool.lock:
            if self.is_started():
                return True
            extra = self._extra_fields()
            if extra.on_start is None:
                extra.on_start = []
            extra.on_start.append(started.release)
        self._warn_if_held_up()
        return block_on((self,), started.acquire, deadline, deadline is None) or self.is_started()

    # -- identity and options ----------------------------------------------------------------------

    @property
    def id(self) -> str:
        """The task's id, unique across supervisors and processes."""
        extra = self._extra
        if extra is not None and extra.task_id is not None:
            return extra.task_id
        return self._spec.pool.task_id(self)

    @property
    def short_id(self) -> str:
        """The id for messages and screens, such as ``t-17``: pool kind and number."""
        return short_id(self.id)

    @property
    def task(self) -> Task[T_co]:
        """The task itself, for code that unwraps its arguments."""
        return self

    @property
    def name(self) -> str:
        """The name given in the options, else the function's qualified name."""
        return self._spec.name

    @property
    def target(self) -> Callable[..., Any] | None:
        """The function; None once the task has ended."""
        return None if self.done() else self._spec.function

    @property
    def args(self) -> tuple[Any, ...]:
        """The positional arguments; empty once the task has ended."""
        return self._args

    @property
    def kwargs(self) -> dict[str, Any]:
        """The keyword arguments; empty once the task has ended."""
        return dict(self._kwargs or ())

    @property
    def tt(self) -> TaskType:
        """The kind of pool that runs it: ``TT_THREAD``, ``TT_MP`` or ``TT_COROUTINE``."""
        return self._spec.tt

    @property
    def priority(self) -> int:
        """The priority; lower runs first."""
        return self._spec.priority

    @property
    def options(self) -> TaskOptions:
        """The options it was submitted with."""
        return self._spec.options

    @property
    def callback(self) -> Callable[[Any], Any] | None:
        """The function that is called with the result before the completion is announced."""
        return self._spec.callback

    @property
    def delay(self) -> float | None:
        """The delay before it may start, in seconds, or None."""
        return self._spec.options.delay

    @property
    def worker(self) -> Any:
        """The worker that produced it, or None."""
        return self._spec.worker

    @property
    def metadata(self) -> Any:
        """The object given in the options; None by default."""
        return self._spec.options.metadata

    # -- state -------------------------------------------------------------------------------------

    @property
    def status(self) -> TaskStatus:
        """The state as a number: 0 queued, 2 delayed, 100 started, 200 completed, -1 cancelled."""
        return _STATUS[self._status]

    @property
    def state(self) -> str:
        """The state as a word: pending, retrying, running, succeeded, failed or cancelled."""
        status = self._status
        if status == COMPLETED:
            return "failed" if type(self._outcome) is Failure else "succeeded"
        if status == STARTED:
            return "running"
        if status == CANCELED:
            return "cancelled"
        return "retrying" if status == DELAYED and self.attempts else "pending"

    @property
    def attempts(self) -> int:
        """The number of times that the function was started."""
        extra = self._extra
        if extra is not None:
            return extra.attempts
        return 1 if self._has_started() else 0

    def _has_started(self) -> bool:
        # The attribute is unset before the first start.
        return hasattr(self, "_started")

    @property
    def progress(self) -> Progress | None:
        """The last progress report of the task: ``(done, total, message)``, or None."""
        extra = self._extra
        return None if extra is None else extra.progress

    @property
    def time_queued(self) -> float:
        """The time of its submission, in epoch seconds."""
        return _epoch(self._queued)

    @property
    def time_started(self) -> float | None:
        """The time when its last attempt started, in epoch seconds; None before."""
        return _epoch(self._started) if self._has_started() else None

    @property
    def time_completed(self) -> float | None:
        """The time when it became final, in epoch seconds; None before."""
        return _epoch(self._completed) if self.done() else None

    @property
    def started(self) -> EventView:
        """The start of the task, with ``is_set()`` and ``wait(timeout)``."""
        return EventView(self.is_started, self._start)

    @property
    def completed(self) -> EventView:
        """The end of the task, with ``is_set()`` and ``wait(timeout)``."""
        return EventView(self.done, self._end)

    def is_started(self) -> bool:
        """Return True if the task has been started, or has ended."""
        return self._status not in (QUEUED, DELAYED)

    def is_completed(self) -> bool:
        """Return True if the task has ended, with or without a result."""
        return self.done()

    def done(self) -> bool:
        """Return True if the task is in a final state: succeeded, failed or cancelled."""
        status = self._status
        return status == COMPLETED or status == CANCELED

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self._status == CANCELED

    # -- outcome -----------------------------------------------------------------------------------

    @property
    def result(self) -> T_co | None:
        """The return value: None until the task has ended, and None if it failed.

        It can be assigned while the task runs, as the value for :meth:`mark_completed`.
        """
        outcome = self._outcome if self._status == COMPLETED else self._returned()
        return None if type(outcome) is Failure else outcome

    @result.setter
    def result(self, value: Any) -> None:
        if self.done():
            raise InvalidArgumentError(f"task {self.name} ({self.short_id}) has ended, and its "
                                       "result cannot change; assign it before mark_completed()")
        with self._spec.pool.lock:
            self._extra_fields().returned = (value,)

    def _returned(self) -> Any:
        # Return the value or Failure that the task is about to end with, or None.
        returned = getattr(self._extra, "returned", None)
        return None if returned is None else returned[0]

    def value(self, timeout: Seconds | None = None) -> T_co:
        """Block until the task has ended; return the function's value or raise its error.

        :param timeout: the longest wait in seconds (default: None, no limit); 0 does not wait.
        :raises WaitTimeoutError: the task has not ended in time; it goes on.
        :raises TaskCancelledError: the task was cancelled.
        """
        if self._status != COMPLETED or timeout is not None:
            try:
                self._wait_for_end(timeout)
            except SupervisorError as error:
                cut_frames(error)
                raise
        outcome = self._outcome
        if type(outcome) is Failure:
            try:
                outcome.reraise()
            except BaseException as error:
                cut_frames(error)
                raise
            finally:
                del self, outcome    # the error's traceback refers to this frame: leave no cycle
        value: T_co = outcome
        return value

    @ends_traceback
    def exception(self, timeout: Seconds | None = None) -> BaseException | None:
        """Block until the task has ended; return the function's error, or None.

        :param timeout: the longest wait in seconds (default: None, no limit); 0 does not wait.
        :raises WaitTimeoutError: the task has not ended in time; it goes on.
        :raises TaskCancelledError: the task was cancelled.
        """
        if self._status != COMPLETED or timeout is not None:
            self._wait_for_end(timeout)
        outcome = self._outcome
        if type(outcome) is Failure:
            return outcome.see()
        return None

    @ends_traceback
    def wait(self, timeout: Seconds | None = None) -> TaskResult[T_co]:
        """Wait for the end and return a :class:`TaskResult`. Raise no task error.

        :param timeout: the longest wait in seconds (default: None, no limit); 0 does not wait.
        :raises WaitTimeoutError: the task has not ended in time; it goes on.
        """
        self._wait_for_end(timeout, cancelled_raises=False)
        return self._summary()

    def _wait_for_end(self, timeout: Seconds | None, cancelled_raises: bool = True,
                      deadline: float | None = None) -> None:
        if timeout is not None and deadline is None:
            deadline = deadline_of(timeout)
        if self._status not in FINAL and not self._end(deadline):
            raise WaitTimeoutError(f"task {self.name} ({self.short_id}) is {self.state} after "
                                   f"{in_seconds(timeout)} of waiting; "
                                   + self._spec.way_out(self._status, "it goes on: wait again, "
                                                                      "or cancel() it"))
        if self._status == CANCELED and cancelled_raises:
            raise TaskCancelledError(
                f"task {self.name} ({self.short_id}) {cancelled_text(self)}, so it has no result")

    def _summary(self) -> TaskResult[T_co]:
        """Return the TaskResult of an ended task, and mark its error as seen."""
        outcome = self._outcome
        failure = outcome if type(outcome) is Failure else None
        error = None if failure is None else failure.see()
        options = self._spec.options
        started = self._started if self._has_started() else None
        extra = self._extra
        return TaskResult(
            task_id=self.id, name=self.name, status=self.state, value=None if failure else outcome,
            exception=error, attempts=self.attempts,
            priority=self.priority, must_complete=options.must_complete, group_id=options.group_id,
            detached=options.detached,
            scheduled_for=None if extra is None else extra.scheduled_at, metadata=options.metadata,
            created_at=self._queued, started_at=started, finished_at=self._completed,
            duration=0.0 if started is None else self._completed - started,
            message="" if failure is None else failure.message,
            index=index_of(self), item=None if failure is None else failure.item)

    def __await__(self) -> Generator[Any, None, T_co]:
        """Wait in a coroutine of any running loop; return the value or raise the error.

        Cancelling the waiting coroutine does not cancel the task: other code may wait for it, too.
        """
        if not self.done():
            waiter = FutureWaiter()
            if self._add_waiter(waiter):
                wait = None
                try:
                    if self._spec.lane is not None:     # later: a coroutine may resume it first
                        waiter.future.get_loop().call_soon(self._warn_if_held_up)
                    wait = await_begins((self,), waiter, True)
                    yield from waiter.future
                finally:
                    if wait is not None:
                        await_ends(wait)
                    if not self.done():
                        self._remove_waiter(waiter)
        try:
            return self.value()
        except BaseException as error:
            cut_frames(error)
            raise

    async def _co_end(self, deadline: float | None) -> bool:
        # Wait in a coroutine until the task is final or the deadline passes. Return done().
        waiter = FutureWaiter()
        if not self._add_waiter(waiter):
            return True
        wait = None
        try:
            if self._spec.lane is not None:
                waiter.future.get_loop().call_soon(self._warn_if_held_up)
            wait = await_begins((self,), waiter, deadline is None)
            return await waiter.wait(deadline) or self.done()
        finally:
            if wait is not None:
                await_ends(wait)
            if not self.done():
                self._remove_waiter(waiter)

    @ends_traceback
    def add_done_callback(self, callback: Callable[[Task[T_co]], Any]) -> None:
        """Call ``callback(task)`` when the task has ended.

        If it has ended already, the call is made before this method returns. Callbacks are called
        in order, by a thread of the supervisor or by the one that cancelled the task, with no lock
        held. Their errors are logged. If a callback calls ``exception()``, the task's error counts
        as seen.

        :param callback: it is called with the task.
        """
        check_callback(callback)
        if self._spec.pool.is_reentrant():
            self._spec.pool.defer_to_thread(self.add_done_callback, callback)
        elif not add_callback(self, callback):
            call_late(self, callback)

    def future(self) -> Future[T_co]:
        """Return a :class:`concurrent.futures.Future` of the task. Any thread may call it.

        All futures of a task are equal. Their ``cancel()`` does not stop a function that has begun.

        >>> from concurrent.futures import wait
        >>> wait([background_task(pow)(2, 5).future()]).done.pop().result()
        32
        """
        from .future import FutureView

        return FutureView(self)

    # -- requests and reports ----------------------------------------------------------------------

    def cancel(self) -> bool:
        """Ask the task to end. Return False only if it has ended already.

        A queued or delayed task never runs. If the task runs in a process, the process is ended and
        replaced, and then the task becomes cancelled. If it runs in a thread, the call is a
        request: the function sees it when it calls ``current_task().check_cancelled()``. A
        coroutine is cancelled at its next await.
        """
        return self._spec.pool.cancel(self)

    def mark_completed(self) -> bool:
        """Complete the task, with any assigned ``result``. Return False if it has ended."""
        return self._spec.pool.complete_early(self)

    def mark_started(self) -> bool:
        """Return True if started: the supervisor marks the start. Kept for old callers."""
        return self.is_started()

    def check_cancelled(self) -> None:
        """Raise an error if the task should stop. Call it inside of the task.

        :raises TaskCancelledError: ``cancel()`` was called.
        :raises TaskTimeoutError: the task ran longer than its ``timeout``.
        """
        pool_thread = current.pool_thread
        if (pool_thread is not None and pool_thread.task is self
                and getattr(pool_thread, "abandoned", False)):
            outcome = self._outcome if self.done() else None
            if type(outcome) is Failure and issubclass(type(outcome.error), TaskTimeoutError):
                raise TaskTimeoutError(str(outcome.error))
            raise TaskCancelledError(
                f"the supervisor no longer waits for task {self.name} ({self.short_id})")
        extra = self._extra
        if extra is not None and extra.cancel_requested:
            raise TaskCancelledError(
                f"task {self.name} ({self.short_id}) was asked to stop by cancel()")

    def report_progress(self, done: float, total: float | None = None,
                        message: str | None = None) -> None:
        """Report progress inside of the task. ``task.progress`` has the last report.

        :param done: how much is done, in any unit.
        :param total: how much there is, in the same unit (default: None).
        :param message: a short text (default: None).
        """
        self._spec.pool.report(self, Progress(done, total, message))

    @property
    def _retries(self) -> int:
        return self._spec.options.retries

    def _label(self) -> str:
        return f"{self.name} ({self.short_id})"

    def _check_inside(self) -> None:
        """See :meth:`Attempt._check_inside`."""
        if current_task() is not self:
            raise TaskRetryError(f"retry() was called outside of task {self._label()}; only the "
                                 "function that the task runs can ask for another attempt")
        self.check_cancelled()
        if self._status != STARTED:
            raise TaskRetryError(
                f"task {self._label()} is {self.state} already, and gets no other attempt")

    # -- order: for queues that return the most urgent task first ----------------------------------

    def __lt__(self, other: Any) -> bool:
        if isinstance(other, Task):
            return self._spec.priority < other._spec.priority
        return True if other is None else NotImplemented    # None ends such queues

    def __gt__(self, other: Any) -> bool:
        if isinstance(other, Task):
            return self._spec.priority > other._spec.priority
        return True if other is None else NotImplemented

    def __repr__(self) -> str:
        return f"<Task {self.name} {self.short_id} {self.state}>"


def _cannot_wait(task: Task[Any]) -> SupervisorBusyError:
    return SupervisorBusyError(
        f"cannot wait for task {task.name} ({task.short_id}) here: this code, a signal handler or "
        "a finalizer, came in between two steps of the supervisor, which go on when it returns; "
        "use add_done_callback")


def number_tasks(tasks: Iterable[Task[Any]], first: int) -> None:
    """Set the positions of tasks in their map, before they are submitted."""
    deque(map(_set_index, tasks, count(first)), 0)


#: Returns the spec of a task; for the loops of C code.
spec_of: Callable[[Task[Any]], TaskSpec] = attrgetter("_spec")

_set_index: Callable[[Task[Any], int], None] = vars(Task)["_index"].__set__

_STATUS = {int(status): status for status in TaskStatus}


# The wall clock minus perf_counter; a value for each conversion could reverse a task's times.
_wall_offset = time() - perf_counter()


def _epoch(reading: float) -> float:
    """Convert a perf_counter reading into epoch seconds, by the current wall clock."""
    global _wall_offset
    before = perf_counter()
    now = time()
    exact = perf_counter() - before < 0.001
    # The difference changes by 10 ms only if the wall clock was set. If the thread was suspended
    # between the readings, it seems to change, so such readings are ignored.
    if exact and abs(now - before - _wall_offset) > 0.01:
        _wall_offset = now - before
    return _wall_offset + reading
