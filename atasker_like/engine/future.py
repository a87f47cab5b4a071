"""FutureView: the :class:`concurrent.futures.Future` of a task.

::

    cancel, done, running, result, exception, callbacks ───────────> the task
    concurrent.futures.wait, as_completed ──> fields of the view <── a waiter of the task

The task is the only source of truth. Its state changes with the lock of its pool held, so
``cancel()`` and the start of the function cannot both win. Functions of ``concurrent.futures``
read fields of a future under its condition. A view has these fields only after something has read
one of them. Then they follow the task:

* They become final once, under the condition, after the task is final. In the same step, the
  standard waiters are woken.
* A call of the view that reports the end makes the fields final first. So a later ``wait()`` does
  not deny the end that an earlier ``done()`` has reported.
* The condition may be held when the lock of the pool is taken, but not the other way round: pools
  call waiters with no lock held.
"""
from __future__ import annotations

from concurrent.futures._base import (CANCELLED_AND_NOTIFIED, FINISHED, PENDING, Future,
                                      InvalidStateError)
from functools import partial
from threading import Condition
from weakref import ref

from .._checks import plain
from ..constants import TaskStatus
from .blocking import deadline_of
from .current import current
from .result import Failure
from .wait_graph import block_on

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, Generic, List, Protocol, TypeVar

    from .._checks import Seconds
    from .callbacks import CallbackTask

    T = TypeVar("T")

    class ViewedTask(CallbackTask, Protocol):
        """The part of a task's interface that its future uses."""

        _status: int
        _outcome: Any

        def value(self, timeout: Seconds | None = None) -> Any: ...
        def exception(self, timeout: Seconds | None = None) -> BaseException | None: ...
        def add_done_callback(self, callback: Callable[[Any], Any]) -> None: ...
        def _wait_for_end(self, timeout: Seconds | None, cancelled_raises: bool = True) -> None: ...
        def _add_waiter(self, waiter: Callable[[], None]) -> bool: ...

    class _FutureOf(Future[T], Generic[T]):
        pass

    _List = List[Any]
else:
    T = "T"
    _List = list

    class _FutureOf:
        # A Future has no type parameter on Python 3.8.

        def __class_getitem__(cls, item):
            return Future


STARTED = int(TaskStatus.STARTED)
COMPLETED = int(TaskStatus.COMPLETED)
CANCELED = int(TaskStatus.CANCELED)

#: The fields that a new future of this Python has.
_FIELDS = frozenset(vars(Future()))
#: Those of them whose first value all futures share. The list of callbacks stays empty.
_SHARED_FIRST_VALUES = [(name, value) for name, value in vars(Future()).items()
                 if name not in ("_condition", "_waiters")]


class FutureView(_FutureOf[T]):
    """The future of a task. Two futures of the same task are equal. Any thread may call it."""

    _task: ViewedTask

    def __init__(self, task: ViewedTask) -> None:
        # Future.__init__() is not called: __getattr__() makes the fields on demand.
        self._task = task

    def __getattr__(self, name: str) -> Any:
        if name in _FIELDS:
            self._follow_task()
            return object.__getattribute__(self, name)
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")

    def _follow_task(self) -> None:
        """Make the fields of a standard future, and have the end of the task set them."""
        # Two threads, or a signal handler, may come in between: each step is atomic, on a
        # free-threaded build too, and may be made twice. The condition comes last: if it is there,
        # so are the other fields.
        task = self._task
        make = vars(self).setdefault
        waiters = make("_waiters", _StandardWaiters())
        waiters.task = task
        for name, value in _SHARED_FIRST_VALUES:
            make(name, value)
        condition = Condition()
        with condition:     # so that no thread finds a task that has ended without its outcome
            if make("_condition", condition) is condition and task.done():
                self._copy_outcome()
        if task.done() or not task._add_waiter(partial(_notify_future, ref(self))):
            self._copy_outcome()

    def _copy_outcome(self) -> None:
        """Set the fields to the outcome of the ended task, once, and wake the standard waiters."""
        task = self._task
        outcome = task._outcome
        if type(outcome) is Failure:
            outcome.describe()
        with self._condition:
            if self._state != PENDING:
                return
            # The state comes last, as asyncio reads the fields without the condition.
            if task._status == CANCELED:
                self._state, wake = CANCELLED_AND_NOTIFIED, "add_cancelled"
            elif type(outcome) is Failure:
                self._exception = outcome.error
                self._state, wake = FINISHED, "add_exception"
            else:
                self._result = outcome
                self._state, wake = FINISHED, "add_result"
            for waiter in self._waiters:
                getattr(waiter, wake)(self)
            self._condition.notify_all()

    @property
    def task(self) -> Any:
        """The task."""
        return self._task

    # -- the interface of a future -----------------------------------------------------------------

    def cancel(self) -> bool:
        """Cancel the task if its function has not begun.

        Return True if the task is cancelled, and False if its function runs or has ended. To stop
        one that runs, use ``task.cancel()``.
        """
        task = self._task
        return task._spec.pool.cancel(task, begun=False) or self.cancelled()

    def cancelled(self) -> bool:
        """Return True if the task was cancelled."""
        return self.done() and self._task._status == CANCELED

    def running(self) -> bool:
        """Return True if the function runs. A task that waits for a retry does not run."""
        return self._task._status == STARTED

    def done(self) -> bool:
        """Return True if the task has ended or was cancelled."""
        if not self._task.done():
            return False
        if "_condition" in vars(self):
            self._copy_outcome()        # the fields become final first
        return True

    def result(self, timeout: Seconds | None = None) -> T:
        """Block until the task has ended; return the function's value or raise its error.

        A pool thread lends its slot meanwhile.

        :param timeout: the longest wait in seconds; None waits without limit, 0 does not wait.
        :raises WaitTimeoutError: (a :class:`concurrent.futures.TimeoutError`) the task has not
            ended in time.
        :raises TaskCancelledError: (a :class:`concurrent.futures.CancelledError`) the task was
            cancelled.
        """
        task = self._task
        try:
            if timeout is None and task._status == COMPLETED and "_condition" not in self.__dict__:
                value: T = task._outcome
                if type(value) is not Failure:
                    return value
            else:
                task._wait_for_end(timeout, False)
                self.done()
            value = task.value(timeout)
            return value
        finally:
            del self, task      # the error's traceback refers to this frame: leave no cycle

    def exception(self, timeout: Seconds | None = None) -> BaseException | None:
        """Block until the task has ended; return the function's error, or None.

        The argument and the errors are those of :meth:`result`.
        """
        self._task._wait_for_end(timeout, False)
        self.done()
        return self._task.exception(timeout)

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        """Call ``fn(future)`` when the task has ended.

        If it has ended already, the call is made before this method returns. The errors of
        callbacks are logged.
        """
        plain("add_done_callback", fn,
              "wrap the future with asyncio.wrap_future() and await it in a coroutine")
        self._task.add_done_callback(partial(_call_done_callback, self, fn))

    def _get_snapshot(self) -> Any:
        # asyncio copies the outcome of a future with it, on Python 3.14.
        if not self.done():
            return False, False, None, None
        if self.cancelled():
            return True, True, None, None
        error = self._task.exception(0)
        return True, False, None if error is not None else self._task._outcome, error

    # -- the interface of an executor --------------------------------------------------------------

    def set_running_or_notify_cancel(self) -> bool:
        """Raise an error: the supervisor sets the state of a task."""
        raise self._refused("set_running_or_notify_cancel")

    def set_result(self, result: Any) -> None:
        """Raise an error: the supervisor sets the state of a task."""
        raise self._refused("set_result")

    def set_exception(self, exception: Any) -> None:
        """Raise an error: the supervisor sets the state of a task."""
        raise self._refused("set_exception")

    def _refused(self, method: str) -> InvalidStateError:
        return InvalidStateError(
            f"{method}() of the future of task {self._task.name} ({self._task.short_id}) was "
            "called, but its function gives the outcome; make a Future of your own for another one")

    # -- comparison --------------------------------------------------------------------------------

    def __eq__(self, other: object) -> bool:
        return self._task is other._task if isinstance(other, FutureView) else NotImplemented

    def __hash__(self) -> int:
        return hash(self._task)

    def __repr__(self) -> str:
        task = self._task
        return f"<Future of task {task.name} {task.short_id} {task.state}>"


def _notify_future(found: ref[FutureView[Any]]) -> None:
    # A waiter of the task. It is weak, as an ended task may keep its waiters.
    future = found()
    if future is not None:
        future._copy_outcome()


def _call_done_callback(future: FutureView[Any], fn: Callable[[Any], Any], task: Any) -> None:
    future.done()
    fn(future)


class _StandardWaiters(_List):
    """The waiters that functions of ``concurrent.futures`` append to a future.

    A pool thread that waits by one of them lends its slot.
    """

    __slots__ = ("task",)

    task: ViewedTask

    def append(self, waiter: Any) -> None:
        # The caller holds the condition of each future that it waits for, so none is set yet.
        if current.pool_thread is not None:
            event = getattr(waiter, "event", None)
            if type(event) is not _LendingEvent and event is not None:
                event = waiter.event = _LendingEvent(event)
            if event is not None:
                event.tasks.append(ref(self.task))
        super().append(waiter)


class _LendingEvent:
    """An event for which a pool thread waits and lends its slot."""

    def __init__(self, event: Any) -> None:
        self._event = event
        self.tasks: list[ref[Any]] = []     # weak, as an iterator keeps no yielded task alive

    def __getattr__(self, name: str) -> Any:
        return getattr(self._event, name)

    def wait(self, timeout: float | None = None) -> bool:
        """Block like :meth:`threading.Event.wait`."""
        tasks = [task for task in (reference() for reference in self.tasks)
                 if task is not None and not task.done()]
        # Uncertain, as the end of one task may be enough: an endless circle is only logged.
        return block_on(tasks, self._acquire, deadline_of(timeout), False)

    def _acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        if not blocking:
            return bool(self._event.is_set())
        return bool(self._event.wait(None if timeout < 0 else timeout))
